//! Servers and facilitators of everybody, each started as its own kind is.

use std::{env, fs::OpenOptions, io::Write};

use alloy_primitives::{Address, address};
use anyhow::Result;
use farthing_devnet::SMART_WALLET_FACTORY;
use serde_json::Value;

use crate::{
    chain::{CHAIN_ID, Chain, FACILITATOR_KEY, NETWORK, NETWORK_V1, PAYEE, PLAIN_TOKEN},
    farthing,
    peer::{Peer, Script},
    roles::{Facilitator, Server},
};

/// What one request costs.
pub const PRICE: &str = "$0.01";
/// The same in atomic units.
pub const PRICE_ATOMIC: u64 = 10_000;
/// Whose wallet settles, as transactions name it (`builder-code`): the facilitator's word.
pub const WALLET_CODE: &str = "harbour_pay";
/// Whose app sells: the server's word.
pub const APP_CODE: &str = "farside_news";
/// Which service is part of that app: the server's word.
pub const SERVICE_CODE: &str = "tide_tables";
/// Which service buys: the client's word.
pub const BUYER_CODE: &str = "sea_agent";
/// Who signs offers and receipts (`offer-receipt`). It has no money.
pub const ISSUER_KEY: &str = "0x5715e158fa243e6d879152ded3d6333acfa5b1dc040fa4b45b629851949d345f";
/// The address of [`ISSUER_KEY`].
pub const ISSUER: Address = address!("0x405F5202aE2E6887ddcEBB671BfcD1d93f2411D0");
/// The name of [`ISSUER_KEY`] in a JWS, which is its public key.
pub const ISSUER_KEY_ID: &str = "did:jwk:eyJrdHkiOiJFQyIsImNydiI6InNlY3AyNTZrMSIsIngiOiI4VDRQd1NEaGNZWVNMNU9BOHd2WnhVeGRQSFU1a2hENEdHb05ud3Q0dzNZIiwieSI6Ii1WZkxpRXNPUVg5WW1pU19kWVE5UTc4ZWgxdFVlTUlSREJZVzFJMHB5em8ifQ";

/// Somebody who serves HTTP until dropped.
pub struct Service {
    url: String,
    _running: Box<dyn Send>,
}

impl Service {
    /// Keeps `running` alive as long as the service is.
    pub fn new(url: String, running: impl Send + 'static) -> Self {
        Self { url, _running: Box::new(running) }
    }

    /// Where it listens, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl From<Peer> for Service {
    fn from(peer: Peer) -> Self {
        Self::new(peer.url().to_owned(), peer)
    }
}

/// Appends a line to the results that `cargo xtask test` counts; without that task it does nothing.
pub fn record(result: &Value) -> Result<()> {
    let Some(file) = env::var_os("FARTHING_INTEROP_RESULTS") else { return Ok(()) };
    // One write of one line: the tests of a run append at the same time.
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    Ok(file.write_all(format!("{result}\n").as_bytes())?)
}

pub(crate) async fn start_facilitator(facilitator: Facilitator, chain: &Chain) -> Result<Service> {
    let (chain_id, factory) = (CHAIN_ID.to_string(), SMART_WALLET_FACTORY.to_string());
    let settings = [
        ("RPC_URL", chain.rpc_url()),
        ("PRIVATE_KEY", FACILITATOR_KEY),
        ("CHAIN_ID", chain_id.as_str()),
        ("WALLET_FACTORY", factory.as_str()),
        ("WALLET_CODE", WALLET_CODE),
    ];
    match facilitator {
        Facilitator::Farthing => farthing::facilitator(chain.rpc_url()).await,
        Facilitator::Ts => Ok(Peer::start(Script::Ts("facilitator.mjs"), &settings).await?.into()),
        Facilitator::Python => Ok(Peer::start(Script::Python("facilitator.py"), &settings).await?.into()),
    }
}

pub(crate) async fn start_server(server: Server, facilitator_url: &str, rpc_url: &str) -> Result<Service> {
    let (payee, plain_token, plain_amount) = (PAYEE.to_string(), PLAIN_TOKEN.address.to_string(), PRICE_ATOMIC.to_string());
    let (script, network) = match server {
        Server::Farthing => return farthing::server(facilitator_url, rpc_url).await,
        Server::Gateway => return farthing::gateway(facilitator_url, rpc_url).await,
        Server::Ts => (Script::Ts("server.mjs"), NETWORK),
        Server::Python => (Script::Python("server.py"), NETWORK),
        Server::V1 => (Script::TsV1("server.mjs"), NETWORK_V1),
    };
    let settings = [
        ("FACILITATOR_URL", facilitator_url),
        ("PAY_TO", payee.as_str()),
        ("NETWORK", network),
        ("PRICE", PRICE),
        ("PLAIN_TOKEN", plain_token.as_str()),
        ("PLAIN_AMOUNT", plain_amount.as_str()),
        ("RPC_URL", rpc_url),
        ("APP_CODE", APP_CODE),
        ("SERVICE_CODE", SERVICE_CODE),
        ("ISSUER_KEY", ISSUER_KEY),
        ("ISSUER_KEY_ID", ISSUER_KEY_ID),
    ];
    Ok(Peer::start(script, &settings).await?.into())
}
