//! P11: a gateway's free routes, against a reverse proxy that does nothing else, and what its priced ones cost.
//!
//! The gateway is Farthing's own binary with a file, as users run it. It and the bare proxy stand before the same origin, and
//! take turns under the same load: what the origin and the load generator cost, they cost both.

pub mod bare;

use std::process::{Command, Stdio};
use std::time::Instant;

use axum::Router;
use axum::routing::get;

use crate::binary::{listening, program};
use crate::chain::{Blocks, Chain, Kind};
use crate::child::Child;
use crate::load::{self, Load};
use crate::measure::{count, quiet};
use crate::report::Bound::{AtLeast, AtMost};
use crate::report::{Report, Row};
use crate::resource::{paying, sample_of_the_route, serve_stub};
use crate::sample::{NETWORK, PAY_TO, PRICE};
use crate::scratch::Scratch;

/// How many requests are sent in one round.
const REQUESTS: usize = 5_000;
/// How many payments are made in one round.
const PAYMENTS: u32 = 500;
/// How many rounds, of one proxy and the other in turn; a quiet one of each is quoted.
const ROUNDS: usize = 16;
const PAID_ROUNDS: u32 = 6;
const CONNECTIONS: usize = 32;
const CONTENT: &str = "VIP content";

/// What one request took in a round, in microseconds: of the clock, and of the process's CPU time.
#[derive(Default)]
struct Figures {
    clock: Vec<f64>,
    cpu: Vec<f64>,
}

/// What is behind both.
pub fn origin() -> Router {
    Router::new().fallback(get(|| async { CONTENT }))
}

pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let origin = Child::serve(&["origin"])?;
    let address = origin.address().to_string();
    let stub_url = serve_stub().await?;
    let scratch = Scratch::new("gateway")?;
    let bare = Child::serve(&["proxy", &address])?;
    let gateway = start(&scratch, &address, &stub_url)?;
    free(&bare, &gateway, report).await?;
    priced(&gateway, report).await
}

/// The binary, with a file of three routes.
fn start(scratch: &Scratch, origin: &str, facilitator_url: &str) -> anyhow::Result<Child> {
    let config = scratch.path().join("farthing.toml");
    let text = format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\nupstream = \"http://{origin}\"\nfacilitator = \"{facilitator_url}\"\n\
         [pay_to]\n\"{NETWORK}\" = \"{PAY_TO}\"\n\
         [[route]]\nmatch = \"GET /healthz\"\nfree = true\n\
         [[route]]\nmatch = \"GET /paid\"\nprice = \"{PRICE}\"\n\
         [[route]]\nmatch = \"GET /free/**\"\nfree = true\n"
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(program()?);
    command.args(["gateway", "--json", "--config"]).arg(&config).stderr(Stdio::null());
    Child::start(&mut command, listening)
}

async fn free(bare: &Child, gateway: &Child, report: &mut Report) -> anyhow::Result<()> {
    let load = Load::repeated(load::get("/free/page", ""), REQUESTS, "HTTP/1.1 200", CONTENT);
    let mut figures = [Figures::default(), Figures::default()];
    // The first round warms up.
    for child in [bare, gateway] {
        load.run(child.address(), CONNECTIONS).await?;
    }
    for _ in 0..ROUNDS {
        for (child, figures) in [bare, gateway].into_iter().zip(&mut figures) {
            let started = Instant::now();
            figures.cpu.push(child.cpu_per_request(&load, CONNECTIONS).await?);
            figures.clock.push(started.elapsed().as_secs_f64() * 1e6 / count(load.count()));
        }
    }
    let [bare, gateway] = figures.map(|Figures { clock, cpu }| (1e6 / quiet(clock), quiet(cpu)));
    report.add(Row::new("-", "bare reverse proxy", bare.0, "requests/s"));
    let speed = Row::new("P11", "gateway, free route", gateway.0, "requests/s");
    report.add(speed.against(bare.0).must(AtLeast(0.95)).aim(AtLeast(1.0)));
    report.add(Row::new("-", "bare reverse proxy", bare.1, "µs"));
    report.add(Row::new("P11", "gateway, free route", gateway.1, "µs").against(bare.1).must(AtMost(1.1)).aim(AtMost(1.0)));
    Ok(())
}

async fn priced(gateway: &Child, report: &mut Report) -> anyhow::Result<()> {
    let load = Load::repeated(load::get("/paid", ""), REQUESTS, "HTTP/1.1 402", "payment-required");
    let mut figures = Vec::new();
    for _ in 0..=ROUNDS {
        figures.push(gateway.cpu_per_request(&load, CONNECTIONS).await?);
    }
    // The first round warms up.
    figures.remove(0);
    report.add(Row::new("-", "gateway, 402 answer", quiet(figures), "µs"));

    let chain = Chain::start(Kind::Devnet, Blocks::Instant).await?;
    let sample = sample_of_the_route(chain.rpc_url()).await?;
    let mut figures = Vec::new();
    for round in 0..=PAID_ROUNDS {
        let serials = round * PAYMENTS..(round + 1) * PAYMENTS;
        let requests = serials.map(|serial| paying(&sample, "/paid", serial)).collect::<anyhow::Result<_>>()?;
        let load = Load::of(requests, "HTTP/1.1 200", CONTENT);
        figures.push(gateway.cpu_per_request(&load, CONNECTIONS).await?);
    }
    figures.remove(0);
    report.add(Row::new("-", "gateway, paid request, stubbed facilitator over HTTP, book on disk", quiet(figures), "µs"));
    Ok(())
}
