//! This program again, as a server in a process of its own, so that its CPU time can be told from the load generator's.
//!
//! It prints its address on the first line of stdout, and ends when its stdin does: with the parent, at the latest.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::Request;
use axum::http::header::HOST;
use axum::routing::{get, post};
use farthing::evm::config::{ChainConfig, RpcUrl};
use farthing_devnet::{Devnet, Mining};
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::load::Load;
use crate::measure::{count, cpu_microseconds_of, memory_kib_of};
use crate::sample::{self, NETWORK, OPERATOR, PAY_TO, PRICE};
use crate::{gateway, rejects, resource};

/// The longest answer of a route, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// An answer of the usual length.
const REFUSAL: &str = r#"{"isValid":false,"invalidReason":"invalid_exact_evm_payload_authorization_value_mismatch","invalidMessage":"authorization.value: expected exactly 10000, got 9999"}"#;

/// A server in a process of its own. It ends when this is dropped.
pub struct Child {
    process: std::process::Child,
    address: SocketAddr,
}

impl Child {
    /// Starts this program as that server.
    pub fn serve(what: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        Self::start(command.arg("serve").args(what), |line| Ok(line.parse()?))
    }

    /// Starts any program whose first line tells where it listens.
    pub fn start(command: &mut Command, read: impl FnOnce(&str) -> anyhow::Result<SocketAddr>) -> anyhow::Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().context("the child has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let mut child = Self { process, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        child.address = read(line.trim()).with_context(|| format!("the child began with {line:?}"))?;
        Ok(child)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Puts a load on it, and returns its CPU time for each request, in microseconds.
    pub async fn cpu_per_request(&self, load: &Load, connections: usize) -> anyhow::Result<f64> {
        let before = self.cpu_microseconds()?;
        load.run(self.address, connections).await?;
        Ok((self.cpu_microseconds()? - before) / count(load.count()))
    }

    /// The CPU time that it has used, in microseconds.
    pub fn cpu_microseconds(&self) -> anyhow::Result<f64> {
        cpu_microseconds_of(self.process.id())
    }

    /// Its memory, in KiB: all that is in use, or (`RssAnon`) what it shares with nobody and no file.
    pub fn memory_kib(&self, kind: &str) -> anyhow::Result<f64> {
        memory_kib_of(self.process.id(), kind)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ended = self.process.kill().is_err();
        let _reaped = self.process.wait().is_err();
    }
}

/// The child's side: `facilitator RPC_URL`, `resource FACILITATOR_URL RPC_URL`, `devnet SECONDS_PER_BLOCK`, `origin`, or
/// `proxy ORIGIN`.
pub async fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["facilitator", rpc_url] => serve_router(facilitator(rpc_url).await?).await,
        ["resource", facilitator_url, rpc_url] => serve_router(priced(facilitator_url, rpc_url).await?).await,
        ["devnet", seconds_per_block] => serve_devnet(seconds_per_block.parse()?).await,
        ["origin"] => serve_router(gateway::origin()).await,
        ["proxy", origin] => serve_proxy(origin.parse()?).await,
        _ => bail!(
            "expected facilitator RPC_URL, resource FACILITATOR_URL RPC_URL, devnet SECONDS_PER_BLOCK, origin, or proxy ORIGIN"
        ),
    }
}

async fn serve_router(app: Router) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    tokio::select! {
        served = axum::serve(listener, app) => Ok(served?),
        ended = parent_ended() => ended,
    }
}

/// A reverse proxy that does nothing else.
async fn serve_proxy(origin: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    tokio::select! {
        served = gateway::bare::serve(listener, origin) => served,
        ended = parent_ended() => ended,
    }
}

/// A chain that makes a block so often, or one for each transaction if that is 0.
async fn serve_devnet(seconds_per_block: u64) -> anyhow::Result<()> {
    let interval = Mining::Interval(Duration::from_secs(seconds_per_block));
    let mining = if seconds_per_block == 0 { Mining::Instant } else { interval };
    let devnet = Devnet::builder().mining(mining).start().await?;
    println!("{}", devnet.address());
    parent_ended().await
}

async fn parent_ended() -> anyhow::Result<()> {
    let read = || std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    tokio::task::spawn_blocking(read).await??;
    Ok(())
}

/// A facilitator as a user would wire it, whose book knows one settled payment.
async fn facilitator(rpc_url: &str) -> anyhow::Result<Router> {
    let config = ChainConfig::new(NETWORK.parse()?, RpcUrl::new(rpc_url));
    let book = rejects::book_with_one_payment().await?;
    let facilitator = farthing::Facilitator::builder()
        .chain(config, vec![Arc::new(sample::payer(OPERATOR)?)])
        .book(book.clone(), book)
        .build()?;
    // What HTTP alone costs: the body is read, and a refusal is answered.
    let bare = post(|_: Bytes| async { ([("content-type", "application/json")], REFUSAL) });
    Ok(farthing::facilitator::router(Arc::new(facilitator)).route("/bare", bare))
}

/// The same handler bare, priced with a facilitator elsewhere, and priced with one in this process.
async fn priced(facilitator_url: &str, rpc_url: &str) -> anyhow::Result<Router> {
    let seller = |builder: farthing::server::ServerBuilder| builder.pay_to(NETWORK, PAY_TO);
    let remote = seller(farthing::Server::builder().facilitator(facilitator_url)?)?.build().await?;
    let here = seller(farthing::Server::builder().facilitator(Arc::new(resource::InProcess::new(rpc_url)?))?)?.build().await?;
    let handler = || get(|| async { "VIP content" });
    let app = Router::new()
        .route("/bare", handler())
        .route("/paid", handler().layer(remote.price(PRICE)?))
        .route("/paid-here", handler().layer(here.price(PRICE)?));
    // The very bytes of an unpaid answer, from a route that does nothing for them.
    let unpaid = Request::get("/paid").header(HOST, "127.0.0.1").body(Body::empty())?;
    let (parts, body) = app.clone().oneshot(unpaid).await?.into_parts();
    let answer = (parts.status, parts.headers, to_bytes(body, MAX_ANSWER_BYTES).await?);
    Ok(app.route("/same-bytes", get(move || std::future::ready(answer.clone()))))
}
