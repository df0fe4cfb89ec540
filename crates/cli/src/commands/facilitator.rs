//! `farthing facilitator --config FILE`: verify and settle for others, until SIGTERM or Ctrl-C.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use farthing::facilitator::Local;
use farthing::secret::SecretRef;
use serde_json::json;

use crate::config::{self, Config};
use crate::exit::Exit;
use crate::logging;
use crate::terminal::{ACCENT, FAINT, PLAIN, STRONG};

/// What `farthing facilitator` takes.
#[derive(Args)]
pub struct Arguments {
    /// The TOML file; README.md shows one.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print the start-up facts as one JSON object on stdout.
    #[arg(long)]
    json: bool,
}

/// Runs the facilitator.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = Config::load(&arguments.config)?;
    logging::start(config.log.format, &config.log.level);
    let listen = config.facilitator.listen;
    let networks: Vec<String> = config.network.keys().cloned().collect();
    let facilitator = Arc::new(build(config)?);
    let listener = tokio::net::TcpListener::bind(listen).await.with_context(|| format!("{listen} cannot be listened on"))?;
    let url = format!("http://{}", listener.local_addr()?);
    if arguments.json {
        println!("{}", json!({"listening": url, "networks": networks}));
    } else {
        anstream::println!("{STRONG}farthing facilitator{PLAIN}  {ACCENT}{url}{PLAIN}  {}", networks.join(", "));
        anstream::println!("{FAINT}POST /verify · POST /settle · GET /supported · GET /healthz · GET /readyz{PLAIN}");
    }
    axum::serve(listener, farthing::facilitator::router(facilitator)).with_graceful_shutdown(stop_signal()).await?;
    Ok(Exit::Ok.into())
}

fn build(config: Config) -> anyhow::Result<Local> {
    let mut builder = farthing::Facilitator::builder();
    for asset in config.asset {
        builder = builder.asset(asset);
    }
    for (name, network) in config.network {
        let place = || format!("network.{name:?}");
        let signer: SecretRef = network.signer.parse().with_context(place).context("signer")?;
        let rpc = config::rpc_url(&network.rpc).with_context(place)?;
        builder = builder.network(&name, &rpc, &signer, network.confirm, network.gas).with_context(place)?;
    }
    Ok(builder.build()?)
}

/// Ends with SIGTERM or Ctrl-C; what is under way is finished first.
async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    if interrupt.await.is_err() {
        std::future::pending::<()>().await;
    }
}
