//! `farthing facilitator --config FILE`: verify and settle for others, until SIGTERM or Ctrl-C.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use farthing::evm::config::{ChainConfig, RpcUrl};
use farthing::evm::signer::LocalSigner;
use farthing::facilitator::Local;
use serde_json::json;

use crate::config::{self, Config};
use crate::exit::Exit;
use crate::logging;
use crate::serve;
use crate::signals::Stop;
use crate::terminal::{ACCENT, FAINT, PLAIN, STRONG, say, say_json};

/// What `farthing facilitator` takes.
#[derive(Args)]
pub struct Arguments {
    /// The TOML file; README.md shows one
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Print the start-up facts as one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// Runs the facilitator.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let config = Config::load(&arguments.config)?;
    logging::start(config.log.format, &config.log.level)?;
    let listen = config.facilitator.listen;
    let networks: Vec<String> = config.network.keys().cloned().collect();
    let facilitator = Arc::new(build(config).with_context(|| arguments.config.display().to_string())?);
    let listener = serve::listen(listen).with_context(|| format!("{listen} cannot be listened on"))?;
    let stop = Stop::listen()?;
    announce(&format!("http://{}", listener.local_addr()?), &networks, arguments.json)?;
    // A node that is down or of another chain is in the log at once, and not only when the first payment comes. It is no
    // reason not to start: /readyz says when it is there.
    let asked = Arc::clone(&facilitator);
    tokio::spawn(async move { asked.ready().await.is_ok() });
    serve::until(stop.wait(), listener, farthing::facilitator::router(facilitator)).await;
    Ok(Exit::Ok.into())
}

fn build(config: Config) -> anyhow::Result<Local> {
    let mut builder = farthing::Facilitator::builder();
    for asset in config.asset {
        builder = builder.asset(asset);
    }
    for (name, network) in config.network {
        let place = || format!("network.{name:?}");
        let id = config::network(&name).with_context(place)?;
        let rpc_url = RpcUrl::new(&**network.rpc.resolve().context("rpc").with_context(place)?);
        let signer = network.signer.resolve().map_err(anyhow::Error::from).and_then(|key| Ok(LocalSigner::from_hex(key)?));
        let signer = Arc::new(signer.context("signer").with_context(place)?);
        let chain = ChainConfig { confirm: network.confirm, gas: network.gas, ..ChainConfig::new(id, rpc_url) };
        builder = builder.chain(chain, signer);
    }
    Ok(builder.build()?)
}

fn announce(url: &str, networks: &[String], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return say_json(&json!({"listening": url, "networks": networks}));
    }
    say(format!("{STRONG}farthing facilitator{PLAIN}  {ACCENT}{url}{PLAIN}  {}", networks.join(", ")));
    say(format!("{FAINT}POST /verify · POST /settle · GET /supported · GET /healthz · GET /readyz{PLAIN}"));
    Ok(())
}
