//! Farthing in each role, through its public API and over real sockets, as a user would run it.

use std::sync::Arc;

use alloy_primitives::hex;
use anyhow::{Context, Result};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use farthing::client::Error;
use farthing::evm::config::{ChainConfig, RpcUrl};
use farthing::evm::signer::LocalSigner;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::chain::{FACILITATOR_KEY, NETWORK, PAYEE, PAYER_KEY};
use crate::peer::Answer;
use crate::purchase::{PRICE, Service};

/// A facilitator over HTTP on a free port, with [`FACILITATOR_KEY`], serving `exact` on [`NETWORK`] for versions 1 and 2.
pub async fn facilitator(rpc_url: &str) -> Result<Service> {
    let config = ChainConfig::new(NETWORK.parse()?, RpcUrl::new(rpc_url));
    let local = farthing::Facilitator::builder().chain(config, vec![signer(FACILITATOR_KEY)?]).start()?;
    serve(farthing::facilitator::router(local)).await
}

/// An axum app on a free port that charges [`PRICE`] to [`PAYEE`] for `GET /report`, which answers as
/// `interop/peers/README.md` says, and for `GET /fails`, which answers 500.
pub async fn server(facilitator_url: &str) -> Result<Service> {
    let toll = farthing::Server::builder().facilitator(facilitator_url)?.pay_to(NETWORK, &PAYEE.to_string())?.build().await?;
    let report = get(|| async { Json(json!({"report": "a farthing's worth"})) });
    let fails = get(|| async { StatusCode::INTERNAL_SERVER_ERROR });
    let app = Router::new()
        .route("/report", report.layer(toll.price(PRICE)?.description("A report").mime_type("application/json")))
        .route("/fails", fails.layer(toll.price(PRICE)?));
    serve(app).await
}

/// Buys `url` with Farthing's client and [`PAYER_KEY`].
pub async fn buy(url: &str) -> Result<Answer> {
    let client = farthing::Client::builder().signer(signer(PAYER_KEY)?).build()?;
    let response = match client.get(url).send().await {
        Ok(response) => response,
        // A server that fails and does not say whether it settled may have settled: the client says just that.
        Err(Error::Unknown(unknown)) if unknown.status.is_some() => {
            let settlement = unknown.settlement.as_ref().map(serde_json::to_value).transpose()?;
            return Ok(Answer { status: unknown.status.unwrap_or_default(), body: Value::Null, settlement });
        }
        Err(error) => return Err(error.into()),
    };
    let status = response.status().as_u16();
    let settlement = response.settlement().map(serde_json::to_value).transpose()?;
    let body = response.bytes().await?;
    Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null), settlement })
}

fn signer(key: &str) -> Result<Arc<LocalSigner>> {
    let bytes: [u8; 32] = hex::decode_to_array(key).context("a development key is 32 bytes")?;
    Ok(Arc::new(LocalSigner::from_bytes(bytes.into())?))
}

async fn serve(app: Router) -> Result<Service> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let task = tokio::spawn(async move {
        // A server that stops early shows as a refused connection in the test that needs it.
        drop(axum::serve(listener, app).await);
    });
    Ok(Service::new(url, Serving(task)))
}

/// Stops serving when dropped.
struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}
