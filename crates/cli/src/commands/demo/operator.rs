//! The demo's facilitator: a process of its own, so that it can be killed like one.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use farthing::core::time::Entropy;
use farthing::system::SystemEntropy;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};

use super::stack::{NETWORK, loopback};
use crate::serve;

/// Where the process finds the account that pays for gas.
const KEY_VARIABLE: &str = "FARTHING_DEMO_FACILITATOR_KEY";
/// How long a facilitator may take to say that it listens.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A process, and what it prints: kept open, since it must not meet a closed pipe.
type Running = (Child, BufReader<ChildStdout>);

/// A facilitator with its folder: the configuration and the book, both gone with it.
pub struct Operator {
    /// Where it listens, before and after a restart.
    pub url: String,
    folder: PathBuf,
    key: String,
    running: Running,
}

impl Operator {
    /// Starts one on the port, or on any other if somebody has it.
    pub async fn start(port: u16, rpc_url: &str, key: String) -> anyhow::Result<Self> {
        let folder = new_folder()?;
        let port = free_port(port)?;
        let config = format!(
            "[facilitator]\nlisten = \"{}\"\nstore = \"sqlite:book.db\"\n[log]\nlevel = \"error\"\n\
             [network.\"{NETWORK}\"]\nrpc = \"{rpc_url}\"\nsigner = \"env:{KEY_VARIABLE}\"\nsponsor = {{ permits = true }}\n",
            loopback(port)
        );
        std::fs::write(folder.join("facilitator.toml"), config)?;
        let (url, running) = spawn(&folder, &key).await?;
        Ok(Self { url, folder, key, running })
    }

    /// Kills it as `kill -9` does: it gets no chance to write or say anything.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.running.0.kill().await.context("the facilitator could not be killed")
    }

    /// Starts it again, on the book that the killed one left.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        (self.url, self.running) = spawn(&self.folder, &self.key).await?;
        Ok(())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // The process is killed by its own handle; what stays behind in the folder for temporary files harms nobody.
        let _stays = self.running.0.start_kill().is_err();
        let _stays = std::fs::remove_dir_all(&self.folder).is_err();
    }
}

async fn spawn(folder: &std::path::Path, key: &str) -> anyhow::Result<(String, Running)> {
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let mut child = Command::new(program)
        .args(["facilitator", "--json", "--until-stdin-ends", "--config"])
        .arg(folder.join("facilitator.toml"))
        .env(KEY_VARIABLE, key)
        .env_remove("RUST_LOG")
        // Held by the child's handle: when this process is gone, even by kill -9, the facilitator ends as well.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the facilitator could not be started")?;
    let mut facts = BufReader::new(child.stdout.take().context("the facilitator has no output")?);
    let mut line = String::new();
    tokio::time::timeout(START_TIMEOUT, facts.read_line(&mut line)).await.context("the facilitator does not start")??;
    let Ok(said) = serde_json::from_str::<Value>(&line) else { bail!("the facilitator did not start") };
    let url = said.get("listening").and_then(Value::as_str).context("the facilitator did not say where it listens")?;
    Ok((url.to_owned(), (child, facts)))
}

/// A folder that nobody else has made, or can guess: the configuration in it decides what is run with the key.
fn new_folder() -> anyhow::Result<PathBuf> {
    let mut name = [0_u8; 16];
    SystemEntropy.fill(&mut name).map_err(anyhow::Error::from_boxed)?;
    let folder = std::env::temp_dir().join(format!("farthing-demo-{}", alloy_primitives::hex::encode(name)));
    std::fs::create_dir(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}

/// The port, or a free one. It must be known beforehand: after a restart the seller finds the facilitator where it was.
fn free_port(preferred: u16) -> io::Result<u16> {
    let listener = serve::listen(loopback(preferred)).or_else(|_taken| serve::listen(loopback(0)))?;
    Ok(listener.local_addr()?.port())
}
