//! Somebody who runs a facilitator: a folder with its configuration and book, and the commands that read them.

use serde_json::Value;

use crate::run::{Farthing, Folder, OPERATOR_KEY, Service, farthing};

pub struct Operator {
    pub folder: Folder,
    config: String,
}

/// A facilitator under way.
pub struct Running {
    /// Where it listens.
    pub url: String,
    /// What it said when it started.
    pub facts: Value,
    pub service: Service,
}

/// A file for one network.
pub fn config(network_name: &str, rpc: &str) -> String {
    format!("[facilitator]\nlisten = \"127.0.0.1:0\"\n{}", network(network_name, &format!("{rpc:?}")))
}

/// A table for one network; `rpc` as TOML.
pub fn network(name: &str, rpc: &str) -> String {
    format!("[network.\"{name}\"]\nrpc = {rpc}\nsigner = \"env:FACILITATOR_KEY\"\n")
}

impl Operator {
    /// With this configuration; `test` keeps the folder apart from other tests'.
    pub fn new(test: &str, config: &str) -> Self {
        let folder = Folder::new(test);
        let config = folder.file("facilitator.toml", config).to_str().unwrap().to_owned();
        Self { folder, config }
    }

    /// A command that takes the configuration.
    pub fn farthing(&self, arguments: &[&str]) -> Farthing {
        farthing(arguments.iter().copied().chain(["--config", &self.config]))
    }

    /// The facilitator, with its key.
    pub fn facilitator(&self) -> Farthing {
        self.farthing(&["facilitator", "--json"]).env("FACILITATOR_KEY", OPERATOR_KEY)
    }

    /// The check, with the same key.
    pub fn check(&self) -> Farthing {
        self.farthing(&["facilitator", "check"]).env("FACILITATOR_KEY", OPERATOR_KEY)
    }

    pub fn start(&self) -> Running {
        let mut service = self.facilitator().start();
        let facts = service.facts();
        Running { url: facts["listening"].as_str().unwrap().to_owned(), facts, service }
    }

    /// The lines that `farthing ledger …` prints as JSON.
    pub fn ledger(&self, arguments: &[&str]) -> Vec<Value> {
        let ended = self.farthing(&[&["ledger"], arguments, &["--json"]].concat()).run().with_code(0);
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Running {
    /// The address of an endpoint.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}
