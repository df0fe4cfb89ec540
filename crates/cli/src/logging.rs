//! Logs go to stderr. `RUST_LOG` filters them; payment headers, signatures and keys are never among the fields.

use std::io::IsTerminal;

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt;

use crate::traces::Traces;

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging for a command that serves.
pub fn start(format: LogFormat, default_level: &str) -> anyhow::Result<()> {
    start_with(format, default_level, None)
}

/// Starts logging, and collects traces for a collector if there is one.
pub fn start_with(format: LogFormat, default_level: &str, traces: Option<&Traces>) -> anyhow::Result<()> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => begin(lines.with_ansi(is_colourful()), default_level, traces),
        LogFormat::Json => begin(lines.json(), default_level, traces),
    }
}

/// Starts logging for a command that makes one request: warnings, as plain lines among what it tells anyway; nothing
/// where stderr has to be one JSON object.
pub fn start_plain(is_json: bool) -> anyhow::Result<()> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(is_colourful());
    begin(lines.without_time().with_target(false), if is_json { "off" } else { "warn" }, None)
}

fn begin(lines: impl Layer<Registry> + Send + Sync, default_level: &str, traces: Option<&Traces>) -> anyhow::Result<()> {
    let lines = lines.with_filter(filter(default_level)?);
    // Traces have every span of ours whatever the lines show, and none of others.
    let ours = Targets::new().with_target("farthing", LevelFilter::DEBUG);
    let spans = traces.map(|traces| traces.layer().with_filter(ours));
    let started = tracing_subscriber::registry().with(lines).with(spans).try_init();
    started.map_err(|error| anyhow!("logging could not start: {error}"))
}

/// By level and module only: the richer filters bring a regular-expression engine into the binary.
fn filter(default_level: &str) -> anyhow::Result<Targets> {
    const EXPECTED: &str = "expected a log filter such as \"info\" or \"warn,farthing_evm=debug\"";
    match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => text.parse().with_context(|| format!("RUST_LOG: {EXPECTED}, got {text:?}")),
        _ => default_level.parse().with_context(|| format!("log.level: {EXPECTED}, got {default_level:?}")),
    }
}

fn is_colourful() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
