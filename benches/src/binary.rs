//! Farthing's facilitator as users run it: the binary beside this one, with a book in SQLite.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use alloy_primitives::hex;
use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::child::Child;
use crate::sample::{self, NETWORK, OPERATOR};
use crate::scratch::Scratch;

/// The variable that holds the key of the sending account.
pub const KEY_VARIABLE: &str = "FARTHING_BENCH_KEY";
const BOOK: &str = "book.db";

/// What a facilitator says of itself on its first line.
#[derive(Deserialize)]
struct Started {
    listening: String,
}

/// A facilitator's configuration and its book. It may be started again and again.
pub struct Farthing {
    folder: Scratch,
    binary: PathBuf,
    rpc_url: String,
}

impl Farthing {
    /// A facilitator on that node, with an empty book.
    pub fn new(name: &str, rpc_url: &str) -> anyhow::Result<Self> {
        Self::within(Scratch::new(name)?, rpc_url)
    }

    /// The same with everything in that folder.
    pub fn within(folder: Scratch, rpc_url: &str) -> anyhow::Result<Self> {
        Ok(Self { folder, binary: program()?, rpc_url: rpc_url.to_owned() })
    }

    /// Where its book is.
    pub fn book(&self) -> PathBuf {
        self.folder.path().join(BOOK)
    }

    /// Starts it.
    pub fn start(&self) -> anyhow::Result<Child> {
        let config = self.folder.path().join("farthing.toml");
        let text = format!(
            "[facilitator]\nlisten = \"127.0.0.1:0\"\nstore = \"sqlite:{BOOK}\"\n\
             [network.\"{NETWORK}\"]\nrpc = \"{}\"\nsigner = \"env:{KEY_VARIABLE}\"\n",
            self.rpc_url
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(&self.binary);
        command.args(["facilitator", "--json", "--config"]).arg(&config);
        command.env(KEY_VARIABLE, hex::encode_prefixed(sample::key(OPERATOR))).stderr(Stdio::null());
        Child::start(&mut command, listening)
    }
}

/// Reads the line with which a facilitator says where it listens.
pub fn listening(line: &str) -> anyhow::Result<SocketAddr> {
    let started: Started = serde_json::from_str(line)?;
    Ok(started.listening.strip_prefix("http://").context("expected an http URL")?.parse()?)
}

/// The binary beside this one.
pub fn program() -> anyhow::Result<PathBuf> {
    let folder = std::env::current_exe()?.parent().context("this program lies in no folder")?.to_owned();
    let binary = folder.join("farthing");
    ensure!(
        binary.exists(),
        "{} is missing; build it with `cargo build --release --bin farthing`, or use `cargo xtask bench`",
        binary.display()
    );
    Ok(binary)
}
