//! The process that is killed: what it is told, what it does, and what it says.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use farthing_core::wire::SettleResponse;
use futures_util::future::{Either, select, try_join_all};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::spawn_blocking;

use crate::crash::{Point, Side, Tripwire};
use crate::payments;
use crate::replica::Parts;
use crate::seller::{Plan, Seller};
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
    /// What it does.
    pub work: Work,
    /// Where it writes down every point that it passes.
    pub report: PathBuf,
    /// Where it dies, as [`Fatal`](crate::crash::Fatal) is written.
    pub fatal: Option<String>,
    /// Which life it is, counted from one: a seller's work is not the same in all of them.
    pub life: u64,
}

/// What a child does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Work {
    /// Settles the payments in this file, says each [`Answer`], and ends.
    Settle(PathBuf),
    /// Opens a shop, or a gateway in front of who does the work there, says its URL, and closes it when nobody holds the other
    /// end of its input any more.
    Sell(Option<String>),
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

/// A child at work.
#[derive(Debug)]
pub struct Process {
    child: Child,
    fatal: Option<String>,
    report: PathBuf,
}

impl Job {
    /// Does what it is told, in the child.
    pub async fn work(self) -> Result<()> {
        let fatal = self.fatal.as_deref().map(str::parse).transpose()?;
        let wire = Arc::new(Tripwire::new(fatal, &self.report)?);
        match &self.work {
            Work::Settle(payments) => self.settle(payments, &wire).await,
            Work::Sell(origin_url) => self.sell(origin_url.as_deref(), &wire).await,
        }
    }

    async fn settle(&self, payments: &Path, wire: &Arc<Tripwire>) -> Result<()> {
        let watch: Arc<dyn Watch> = wire.clone();
        let requests = payments::read(payments)?;
        wire.pass("start", Side::Before);
        let store = store::open(&self.store_url).await?;
        let replica = Parts::new(&store, &self.rpc_url, &self.keys)?.watched(&watch).start()?;
        wire.pass("start", Side::After);
        let settle_one = |(payment, request)| {
            let replica = &replica;
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

    async fn sell(&self, origin_url: Option<&str>, wire: &Arc<Tripwire>) -> Result<()> {
        let watch: Arc<dyn Watch> = wire.clone();
        wire.pass("start", Side::Before);
        let (store_url, rpc_url, keys) = (self.store_url.as_str(), self.rpc_url.as_str(), self.keys.as_slice());
        let plan = Plan { store_url, rpc_url, keys, life: self.life, origin_url };
        let seller = Seller::open(plan, &watch).await?;
        wire.pass("start", Side::After);
        println!("{}", seller.url());
        spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
        wire.pass("stop", Side::Before);
        seller.stop().await?;
        wire.pass("stop", Side::After);
        Ok(())
    }

    /// Starts a child.
    pub fn start(&self, program: &Path) -> Result<Process> {
        let file = self.report.with_extension("job.json");
        std::fs::write(&file, serde_json::to_string(self)?)?;
        let mut command = Command::new(program);
        command.arg(&file).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Process { child, fatal: self.fatal.clone(), report: self.report.clone() })
    }
}

impl Process {
    /// The first thing that it says; nothing if it dies before. What it says after that is not heard.
    pub async fn first_line(&mut self) -> Result<Option<String>> {
        let said = BufReader::new(self.child.stdout.take().context("it is listened to for the first time")?);
        Ok(said.lines().next_line().await?)
    }

    /// Waits until it has ended, whatever its end is, and asks it to end once that is time.
    pub async fn end(mut self, is_time: impl Future<Output = ()>) -> Result<Ended> {
        let input = self.child.stdin.take();
        let close = async move {
            is_time.await;
            drop(input);
        };
        let ending = tokio::time::timeout(LIFETIME, self.child.wait_with_output());
        let ended = match select(pin!(ending), pin!(close)).await {
            Either::Left((ended, _)) => ended,
            Either::Right(((), ending)) => ending.await,
        };
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
