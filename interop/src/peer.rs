//! The official SDKs as processes. `interop/peers/README.md` states the contract.

use std::{env, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::installed;

const START_LIMIT: Duration = Duration::from_mins(1);
const PURCHASE_LIMIT: Duration = Duration::from_mins(1);

/// A script of `interop/peers/`, with the installed set that it runs on.
#[derive(Debug, Clone, Copy)]
pub enum Script {
    /// Node.js with the current TypeScript SDK.
    Ts(&'static str),
    /// Node.js with the last TypeScript SDK that spoke only version 1.
    TsV1(&'static str),
    /// Python with the Python SDK.
    Python(&'static str),
    /// Python with the Python SDKs of the protocol and of MCP.
    Mcp(&'static str),
}

impl Script {
    /// The command that runs the script, with nothing of our environment but what programs need to start.
    fn command(self, settings: &[(&str, &str)]) -> Result<Command> {
        let (set, file) = match self {
            Self::Ts(file) => ("ts", file),
            Self::TsV1(file) => ("ts-v1", file),
            Self::Python(file) => ("python", file),
            Self::Mcp(file) => ("mcp", file),
        };
        let installed = installed::set(set)?;
        let program = match self {
            Self::Python(_) | Self::Mcp(_) => installed.join("bin/python"),
            Self::Ts(_) | Self::TsV1(_) => PathBuf::from("node"),
        };
        let mut command = Command::new(program);
        command.arg(installed::root()?.join("interop/peers").join(set).join(file)).env_clear();
        for name in ["PATH", "HOME"] {
            command.envs(env::var_os(name).map(|value| (name, value)));
        }
        command.env("FARTHING_NODE_MODULES", installed.join("node_modules")).env("PYTHONDONTWRITEBYTECODE", "1");
        if matches!(self, Self::Mcp(_)) {
            // What every Python peer shares.
            command.env("PYTHONPATH", installed::root()?.join("interop/peers/python"));
        }
        command.envs(settings.iter().copied()).kill_on_drop(true).stdout(Stdio::piped());
        Ok(command)
    }
}

/// A server or facilitator of the official SDKs. It ends when dropped: by its standard input, which then closes, and by
/// force.
pub struct Peer {
    url: String,
    http: reqwest::Client,
    _process: Child,
}

impl Peer {
    /// Starts a script with its settings, and waits until it listens.
    pub async fn start(script: Script, settings: &[(&str, &str)]) -> Result<Self> {
        let mut process = script.command(settings)?.stdin(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("the peer's output is ours")?).lines();
        let ready = timeout(START_LIMIT, lines.next_line()).await;
        let ready = ready.with_context(|| format!("{script:?} is not ready"))??;
        let ready = ready.with_context(|| format!("{script:?} ended before it listened"))?;
        let ready: Value = serde_json::from_str(&ready).with_context(|| format!("{script:?} printed {ready}"))?;
        let url = ready.get("listening").and_then(Value::as_str);
        let url = url.with_context(|| format!("{script:?} does not say where it listens"))?.to_owned();
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        // Node closes a connection that was idle for five seconds, which may be just when the next order goes out.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(PURCHASE_LIMIT).build()?;
        Ok(Self { url, http, _process: process })
    }

    /// Has a buyer buy.
    pub async fn buys(&self, order: &Value) -> Result<Answer> {
        Answer::read(self.asks("/", order).await?)
    }

    /// Asks for something else.
    pub async fn asks(&self, path: &str, question: &Value) -> Result<Value> {
        let answer = self.http.post(format!("{}{path}", self.url)).json(question).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// What came of a purchase, as the buyer tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The status of the last answer.
    pub status: u16,
    /// Its body.
    pub body: Value,
    /// The settlement that the server reports, decoded.
    pub settlement: Option<Value>,
    /// Why the server asks for payment in this answer.
    pub refusal: Option<String>,
    /// What the server signed of the purchase, and who signed, by the client's own check; null if it signed nothing.
    pub statements: Value,
}

impl Answer {
    /// Reads what a buyer tells.
    fn read(mut answer: Value) -> Result<Self> {
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            bail!("{error}");
        }
        let status = answer.get("status").and_then(Value::as_u64).context("a purchase has a status")?;
        let refusal = answer.get("refusal").and_then(Value::as_str).map(str::to_owned);
        let mut take = |key: &str| answer.get_mut(key).map(Value::take).unwrap_or_default();
        Ok(Self {
            status: u16::try_from(status)?,
            body: take("body"),
            settlement: Some(take("settlement")).filter(|settlement| !settlement.is_null()),
            refusal,
            statements: take("statements"),
        })
    }
}

/// Buys with a client script of the official SDKs.
pub async fn buy(script: Script, settings: &[(&str, &str)]) -> Result<Answer> {
    Answer::read(run(script, settings).await?).with_context(|| format!("{script:?}"))
}

/// Runs a script until it ends: what it prints, one JSON document.
pub async fn run(script: Script, settings: &[(&str, &str)]) -> Result<Value> {
    let output = script.command(settings)?.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = timeout(PURCHASE_LIMIT, output).await.with_context(|| format!("{script:?} does not end"))??;
    let text = String::from_utf8(output.stdout)?;
    serde_json::from_str(text.trim()).with_context(|| format!("{script:?} ended with {} and printed {text:?}", output.status))
}
