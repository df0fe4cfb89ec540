//! The facilitators that are measured side by side, each a process of its own on a node of ours.

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use alloy_primitives::hex;
use anyhow::{Context, bail, ensure};
use farthing_interop::peer::{Peer, Script};

use crate::binary::{self, Farthing};
use crate::child::Child;
use crate::measure::{children_of, cpu_microseconds_of_all};
use crate::sample::{self, CHAIN_ID, OPERATOR};

/// Names the x402-rs facilitator that `cargo xtask bench` builds from `benches/peers/x402-rs`.
const X402_RS_VARIABLE: &str = "FARTHING_BENCH_X402_RS";

/// Who.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    Farthing,
    X402Rs,
    Official,
}

/// One of them, running. It ends when dropped.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    process: u32,
    _kept: Kept,
}

enum Kept {
    Farthing { _child: Child, _files: Farthing },
    X402Rs { _child: Child },
    Official { _peer: Peer },
}

impl Contender {
    pub const ALL: [Self; 3] = [Self::Farthing, Self::X402Rs, Self::Official];

    /// What the report calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Farthing => "Farthing",
            Self::X402Rs => "x402-rs 2.0.2",
            Self::Official => "official TypeScript 2.27",
        }
    }

    /// Starts it on that node.
    pub async fn start(self, rpc_url: &str) -> anyhow::Result<Running> {
        let key = hex::encode_prefixed(sample::key(OPERATOR));
        match self {
            Self::Farthing => {
                let files = Farthing::new("peers", rpc_url)?;
                let child = files.start()?;
                let (address, process) = (child.address(), child.id());
                Ok(Running { address, process, _kept: Kept::Farthing { _child: child, _files: files } })
            }
            Self::X402Rs => {
                let mut command = Command::new(x402_rs()?);
                command.arg(rpc_url).env("PRIVATE_KEY", key).stderr(Stdio::null());
                let child = Child::start(&mut command, binary::listening)?;
                let (address, process) = (child.address(), child.id());
                Ok(Running { address, process, _kept: Kept::X402Rs { _child: child } })
            }
            Self::Official => {
                let before = children_of(std::process::id())?;
                let chain_id = CHAIN_ID.to_string();
                let settings = [("RPC_URL", rpc_url), ("PRIVATE_KEY", &key), ("CHAIN_ID", &chain_id)];
                let peer = Peer::start(Script::Ts("facilitator.mjs"), &settings).await?;
                let started: Vec<u32> =
                    children_of(std::process::id())?.into_iter().filter(|child| !before.contains(child)).collect();
                let [process] = started.as_slice() else { bail!("expected one new process, found {}", started.len()) };
                let address = peer.url().strip_prefix("http://").context("expected an http URL")?.parse()?;
                Ok(Running { address, process: *process, _kept: Kept::Official { _peer: peer } })
            }
        }
    }
}

impl Running {
    /// The CPU time that it and its children have used, in microseconds.
    pub fn cpu_microseconds(&self) -> anyhow::Result<f64> {
        cpu_microseconds_of_all(self.process)
    }

    /// Returns when it has nothing left to do, so that one measurement does not pay for another.
    pub async fn quiet(&self) -> anyhow::Result<()> {
        const LOOK: Duration = Duration::from_millis(100);
        const IDLE_MICROSECONDS: f64 = 2_000.0;
        const MAX_LOOKS: usize = 100;
        for _ in 0..MAX_LOOKS {
            let before = self.cpu_microseconds()?;
            tokio::time::sleep(LOOK).await;
            if self.cpu_microseconds()? - before < IDLE_MICROSECONDS {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn x402_rs() -> anyhow::Result<PathBuf> {
    let program = env::var_os(X402_RS_VARIABLE).map(PathBuf::from);
    let program = program.with_context(|| format!("{X402_RS_VARIABLE} is not set: run it as `cargo xtask bench`"))?;
    ensure!(program.exists(), "{} is missing", program.display());
    Ok(program)
}
