//! The process that is killed: what it is told, what it does, and what it says.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use farthing_core::wire::SettleResponse;
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::crash::{Point, Side, Tripwire};
use crate::payments;
use crate::replica::Parts;
use crate::store;
use crate::watched::Watch;

/// How long a child may take for all its payments.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may live at all.
const LIFETIME: Duration = Duration::from_mins(1);

/// What a child is told, as a JSON file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Where its books are.
    pub store_url: String,
    /// Where its node is.
    pub rpc_url: String,
    /// The keys of its sending accounts; they are worth nothing.
    pub keys: Vec<[u8; 32]>,
    /// The payments that it is to settle.
    pub payments: PathBuf,
    /// Where it writes down every point that it passes.
    pub report: PathBuf,
    /// Where it dies.
    pub fatal: Option<String>,
}

/// One answer of a child.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// To which payment.
    pub payment: usize,
    /// What it was.
    pub response: SettleResponse,
}

/// How a child ended, and what it said until then.
#[derive(Debug)]
pub struct Ended {
    /// Whether it died where it was told to.
    pub was_killed: bool,
    /// Its answers.
    pub answers: Vec<Answer>,
    /// The points that it passed.
    pub passed: Vec<Point>,
}

impl Job {
    /// Does what it is told, in the child.
    pub async fn work(self) -> Result<()> {
        let fatal = self.fatal.as_deref().map(str::parse).transpose()?;
        let wire = Arc::new(Tripwire::new(fatal, &self.report)?);
        let watch: Arc<dyn Watch> = wire.clone();
        let requests = payments::read(&self.payments)?;
        wire.pass("start", Side::Before);
        let store = store::open(&self.store_url).await?;
        let replica = Parts::new(&store, &self.rpc_url, &self.keys)?.watched(&watch).start()?;
        wire.pass("start", Side::After);
        let settle_one = |(payment, request)| {
            let (replica, wire) = (&replica, &wire);
            async move {
                let response = replica.settle(request, PATIENCE).await?;
                wire.pass("answer", Side::Before);
                println!("{}", serde_json::to_string(&Answer { payment, response })?);
                wire.pass("answer", Side::After);
                anyhow::Ok(())
            }
        };
        try_join_all(requests.iter().enumerate().map(settle_one)).await?;
        wire.pass("stop", Side::Before);
        replica.stop().await;
        store.close().await;
        wire.pass("stop", Side::After);
        Ok(())
    }

    /// Runs a child to its end, whatever that is.
    pub async fn run(&self, program: &Path, folder: &Path) -> Result<Ended> {
        let file = folder.join("job.json");
        std::fs::write(&file, serde_json::to_string(self)?)?;
        let mut command = Command::new(program);
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let ended = tokio::time::timeout(LIFETIME, child.wait_with_output()).await;
        let output = ended.with_context(|| format!("the child did not end; it was to die at {:?}", self.fatal))??;
        let was_killed = is_kill(output.status);
        if !was_killed && !output.status.success() {
            bail!("the child failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        if was_killed && self.fatal.is_none() {
            bail!("somebody else killed the child");
        }
        // A line that the kill cut off was not said.
        let text = String::from_utf8_lossy(&output.stdout);
        let answers = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok(Ended { was_killed, answers, passed: crate::crash::passed(&self.report)? })
    }
}

fn is_kill(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal() == Some(rustix::process::Signal::KILL.as_raw())
}
