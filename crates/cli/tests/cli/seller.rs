//! Somebody who sells through a gateway that settles for itself.

use serde_json::Value;

use crate::chain::Chain;
use crate::gateway::{Origin, config};
use crate::run::{Farthing, Folder, OPERATOR_KEY, Service, farthing};

pub struct Shop {
    pub chain: Chain,
    pub folder: Folder,
    pub url: String,
    config: String,
    service: Option<Service>,
    origin: Origin,
}

impl Shop {
    /// With these routes; `test` keeps the folder apart from other tests'.
    pub fn open(test: &str, routes: &str) -> Self {
        let (chain, origin, folder) = (Chain::open(), Origin::open(), Folder::new(test));
        let toml = config(&origin.url, &chain.rpc_url(), routes);
        let config = folder.file("farthing.toml", &toml).to_str().unwrap().to_owned();
        let mut shop = Self { chain, folder, url: String::new(), config, service: None, origin };
        shop.start();
        shop
    }

    /// Starts the gateway, or starts it again.
    pub fn start(&mut self) {
        let gateway = self.farthing(&["gateway", "--json"]);
        let mut service = gateway.env("FACILITATOR_KEY", OPERATOR_KEY).env("UPSTREAM_KEY", "hunter2").start();
        service.facts()["listening"].as_str().unwrap().clone_into(&mut self.url);
        self.service = Some(service);
    }

    /// A command that takes the configuration.
    pub fn farthing(&self, arguments: &[&str]) -> Farthing {
        farthing(arguments.iter().copied().chain(["--config", &self.config]))
    }

    /// Buys, as the payer with the development key.
    pub fn buy(&self, path: &str) {
        farthing(["pay", &format!("{}{path}", self.url)]).with_wallet().run().with_code(0);
    }

    /// The lines that `farthing ledger …` prints as JSON.
    pub fn ledger(&self, arguments: &[&str]) -> Vec<Value> {
        let ended = self.farthing(&[&["ledger"], arguments, &["--json"]].concat()).run().with_code(0);
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The same shop after the gateway was killed.
    pub fn killed(mut self) -> Self {
        self.service.take().unwrap().end("KILL");
        self
    }

    /// Ends the gateway in good order.
    pub fn close(mut self) {
        self.service.take().unwrap().end("TERM").with_code(0);
        drop(self.origin);
    }
}
