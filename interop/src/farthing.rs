//! Farthing in each role, through its public API and over real sockets, as a user would run it.

use anyhow::{Result, bail};

use crate::{peer::Answer, purchase::Service};

/// `farthing-facilitator` over HTTP on a free port, with [`FACILITATOR_KEY`](crate::chain::FACILITATOR_KEY), serving
/// `exact` on [`NETWORK`](crate::chain::NETWORK) for versions 1 and 2.
#[expect(clippy::unused_async, reason = "binds a socket as soon as there is something to serve")]
pub async fn facilitator(rpc_url: &str) -> Result<Service> {
    bail!("Farthing is no facilitator yet (for {rpc_url})")
}

/// An axum app on a free port that charges [`PRICE`](crate::purchase::PRICE) to [`PAYEE`](crate::chain::PAYEE) for
/// `GET /report`, which answers as `interop/peers/README.md` says, and for `GET /fails`, which answers 500.
#[expect(clippy::unused_async, reason = "binds a socket as soon as there is something to serve")]
pub async fn server(facilitator_url: &str) -> Result<Service> {
    bail!("Farthing is no server yet (through {facilitator_url})")
}

/// Buys `url` with `farthing-client` and [`PAYER_KEY`](crate::chain::PAYER_KEY).
#[expect(clippy::unused_async, reason = "sends requests as soon as there is a client")]
pub async fn buy(url: &str) -> Result<Answer> {
    bail!("Farthing is no client yet (of {url})")
}
