//! `farthing facilitator --config FILE`: verify and settle for others, until SIGTERM or Ctrl-C.

mod check;
mod key;
mod wiring;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use clap::{Args, Subcommand};
use farthing::facilitator::Local;
use farthing::store::{Access, Store};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::config::{Config, Facilitator};
use crate::exit::{Exit, Usage};
use crate::logging;
use crate::metrics::Metrics;
use crate::serve;
use crate::signals::Stop;
use crate::terminal::{ACCENT, FAINT, PLAIN, STRONG, say, say_json};
use crate::traces::Traces;

/// How long the accounts may take to be this process's, before it says in the log that it is not ready.
const START_TIME: Duration = Duration::from_millis(250);

/// What `farthing facilitator` takes.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// The TOML file; README.md shows one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the start-up facts as one JSON object on stdout
    #[arg(long)]
    json: bool,
    /// End when stdin does; for a program that starts a facilitator and must not leave it behind
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Show the configuration, and whether nodes, accounts and book are as they must be
    Check(check::Arguments),
    /// Make a key for a caller, and what goes into the configuration for it
    Key(key::Arguments),
}

/// Runs the facilitator, or what its subcommands do.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match (arguments.action, arguments.config) {
        (Some(Action::Check(arguments)), _) => check::run(arguments).await,
        (Some(Action::Key(arguments)), _) => key::run(&arguments),
        (None, Some(path)) => serve(&path, arguments.json, arguments.until_stdin_ends).await,
        (None, None) => Err(Usage::new("--config", "name the facilitator's TOML file; README.md shows one").into()),
    }
}

async fn serve(path: &Path, as_json: bool, until_stdin_ends: bool) -> anyhow::Result<ExitCode> {
    let config = Config::load(path)?;
    let place = || path.display().to_string();
    let traces = Traces::to(config.traces.otlp.as_deref()).with_context(place)?;
    logging::start_with(config.log.format, &config.log.level, traces.as_ref())?;
    // Before anything is opened or made: what is wrong with the configuration leaves nothing behind.
    let setup = wiring::setup(&config).with_context(place)?;
    let store_url = config.store(path)?;
    let Config { facilitator: Facilitator { listen, metrics_listen, .. }, network, .. } = config;
    let networks: Vec<String> = network.into_keys().collect();
    let metrics = Metrics::start()?;
    let listener = serve::listen(listen).with_context(|| format!("{listen} cannot be listened on"))?;
    let store = Store::open(&store_url, Access::Own).await.with_context(|| format!("the book {store_url} cannot be used"))?;
    let facilitator = Arc::new(setup.store(&store).build().with_context(place)?);
    let stop = Stop::listen()?;
    let stop = if until_stdin_ends { stop.or_with_stdin()? } else { stop };
    facilitator.start();
    let url = format!("http://{}", listener.local_addr()?);
    let mut app = farthing::facilitator::router(Arc::clone(&facilitator));
    let mut metrics_url = None;
    let mut metrics_server = None;
    if let Some(address) = metrics_listen {
        let (server, url) = serve_metrics(address, metrics.router())?;
        (metrics_server, metrics_url) = (Some(server), Some(url));
    } else if listen.ip().is_loopback() {
        app = app.merge(metrics.router());
        metrics_url = Some(format!("{url}/metrics"));
    }
    announce(&url, &networks, &store_url.to_string(), metrics_url.as_deref(), as_json)?;
    // A node that is down or of another chain is in the log at once, and not only when the first payment comes. It is no
    // reason not to start: /readyz says when it is there.
    let asked = Arc::clone(&facilitator);
    tokio::spawn(async move {
        tokio::time::sleep(START_TIME).await;
        asked.ready().await.is_ok()
    });
    serve::until(stop.wait(), listener, app).await;
    end(&facilitator, store, metrics_server, traces).await;
    Ok(Exit::Ok.into())
}

/// Ends in the order in which things depend on each other: settlements, their book, then whoever watches.
async fn end(facilitator: &Local, store: Store, metrics: Option<JoinHandle<()>>, traces: Option<Traces>) {
    facilitator.stop().await;
    store.close().await;
    if let Some(server) = metrics {
        server.abort();
    }
    if let Some(traces) = traces {
        traces.end().await;
    }
}

fn serve_metrics(address: std::net::SocketAddr, app: Router) -> anyhow::Result<(JoinHandle<()>, String)> {
    let listener = serve::listen(address).with_context(|| format!("metrics_listen: {address} cannot be listened on"))?;
    let url = format!("http://{}/metrics", listener.local_addr()?);
    let server = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "metrics are not served any more");
        }
    });
    Ok((server, url))
}

fn announce(url: &str, networks: &[String], store: &str, metrics: Option<&str>, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return say_json(&json!({"listening": url, "networks": networks, "store": store, "metrics": metrics}));
    }
    say(format!("{STRONG}farthing facilitator{PLAIN}  {ACCENT}{url}{PLAIN}  {}", networks.join(", ")));
    say(format!(
        "{FAINT}POST /verify · POST /settle · GET /supported · GET /settlements/{{id}} · GET /healthz · GET /readyz{PLAIN}"
    ));
    say(format!("{FAINT}book {store}   metrics {}{PLAIN}", metrics.unwrap_or("none")));
    Ok(())
}
