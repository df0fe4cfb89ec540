//! Farthing in each role, through its public API and over real sockets, as a user would run it.

use std::sync::Arc;

use alloy_primitives::hex;
use anyhow::{Context, Result};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Json, Router};
use farthing::client::{Client, Error};
use farthing::core::BoxFuture;
use farthing::core::erased::{AnyClientScheme, ServerSchemes};
use farthing::core::facilitator::{Facilitator, FacilitatorError};
use farthing::core::wire::{PaymentRequest, SettleResponse, SupportedResponse, VerifyResponse};
use farthing::evm::asset::{AssetTable, TransferMethod};
use farthing::evm::config::{AssetConfig, ChainConfig, RpcUrl};
use farthing::evm::signer::LocalSigner;
use farthing::evm::{exact, upto};
use farthing::server::{IntoFacilitator, Paid, RemoteFacilitator, Server};
use farthing::system::{SystemClock, SystemEntropy};
use farthing_devnet::{DevToken, SMART_WALLET_FACTORY};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::chain::{FACILITATOR_KEY, NETWORK, PAYEE, PAYER_KEY, PLAIN_TOKEN, TOKEN};
use crate::payer::Payer;
use crate::peer::Answer;
use crate::purchase::{PRICE, Service};

/// [`PRICE`] in [`PLAIN_TOKEN`].
const PRICE_IN_PLAIN_TOKEN: &str = "0.01 SILENT";

/// A facilitator over HTTP on a free port, with [`FACILITATOR_KEY`], on [`NETWORK`]: `exact` for versions 1 and 2, `upto`.
/// It sponsors approvals of Permit2 both ways, and creates the smart wallets of development chains.
pub async fn facilitator(rpc_url: &str) -> Result<Service> {
    let mut config = ChainConfig::new(NETWORK.parse()?, RpcUrl::new(rpc_url));
    config.wallets.factories = vec![SMART_WALLET_FACTORY.to_string()];
    config.sponsor.approvals = true;
    let setup = farthing::Facilitator::builder().asset(plain_token()?).chain(config, vec![signer(FACILITATOR_KEY)?]);
    serve(farthing::facilitator::router(setup.start()?)).await
}

/// An axum app on a free port that charges [`PRICE`] to [`PAYEE`] for everything that `interop/peers/README.md` lists, and
/// answers as it says.
pub async fn server(facilitator_url: &str) -> Result<Service> {
    let toll = farthing::Server::builder().facilitator(facilitator_url)?.pay_to(NETWORK, &PAYEE.to_string())?.build().await?;
    let silent = || RemoteFacilitator::new(facilitator_url).map(|remote| Arc::new(Silent(remote)));
    let unsponsored = farthing::Server::builder().facilitator(silent()?)?.pay_to(NETWORK, &PAYEE.to_string())?.build().await?;
    let by_permit2 = seller_by_permit2(facilitator_url).await?;
    let unsponsored_by_permit2 = seller_by_permit2(silent()?).await?;
    let report = || get(|| async { Json(json!({"report": "a farthing's worth"})) });
    let fails = || get(|| async { StatusCode::INTERNAL_SERVER_ERROR });
    let metered = || get(|Extension(paid): Extension<Paid>| async move { charged(&paid, "30%") });
    let unused = || get(|Extension(paid): Extension<Paid>| async move { charged(&paid, "0") });
    let app = Router::new()
        .route("/report", report().layer(toll.price(PRICE)?.description("A report").mime_type("application/json")))
        .route("/fails", fails().layer(toll.price(PRICE)?))
        .route("/permit2", report().layer(unsponsored_by_permit2.price(PRICE)?))
        .route("/sponsored-permit", report().layer(by_permit2.price(PRICE)?))
        .route("/sponsored-approval", report().layer(by_permit2.price(PRICE_IN_PLAIN_TOKEN)?))
        .route("/metered", metered().layer(unsponsored.price_up_to(PRICE)?))
        .route("/sponsored-metered", metered().layer(toll.price_up_to(PRICE)?))
        .route("/unused", unused().layer(toll.price_up_to(PRICE)?))
        .route("/upfront", report().layer(toll.price(PRICE)?.upfront()?))
        .route("/upfront-fails", fails().layer(toll.price(PRICE)?.upfront()?));
    serve(app).await
}

fn charged(paid: &Paid, charge: &str) -> Result<Json<Value>, StatusCode> {
    paid.usage().set_text(charge).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(json!({"report": "a farthing's worth"})))
}

/// A seller for whom Permit2 moves whatever is paid, USDC included.
async fn seller_by_permit2(facilitator: impl IntoFacilitator) -> Result<Server> {
    let usdc = AssetConfig {
        network: NETWORK.parse()?,
        address: TOKEN.to_string(),
        symbol: "USDC".to_owned(),
        decimals: 6,
        name: "USDC".to_owned(),
        version: "2".to_owned(),
        method: TransferMethod::Permit2,
        usd: true,
    };
    // Prices in dollars mean USDC alone.
    let plain = AssetConfig { usd: false, ..plain_token()? };
    let assets = Arc::new(AssetTable::known().with(&usdc)?.with(&plain)?);
    let schemes: ServerSchemes = vec![Arc::new(exact::Server::new(assets))];
    let toll = Server::builder().schemes(schemes).clock(Arc::new(SystemClock)).facilitator(facilitator)?;
    Ok(toll.pay_to(NETWORK, &PAYEE.to_string())?.build().await?)
}

fn plain_token() -> Result<AssetConfig> {
    Ok(AssetConfig {
        network: NETWORK.parse()?,
        address: PLAIN_TOKEN.address.to_string(),
        symbol: PLAIN_TOKEN.symbol.to_owned(),
        decimals: PLAIN_TOKEN.decimals,
        name: PLAIN_TOKEN.name.to_owned(),
        version: DevToken::DOMAIN_VERSION.to_owned(),
        method: TransferMethod::Permit2,
        // Buyers' limits are in dollars.
        usd: true,
    })
}

/// A facilitator as a seller knows it who has not asked what else it does: nothing is said of approvals that it would sponsor.
struct Silent(RemoteFacilitator);

impl Facilitator for Silent {
    fn supported(&self) -> BoxFuture<'_, Result<SupportedResponse, FacilitatorError>> {
        Box::pin(async { self.0.supported().await.map(|supported| SupportedResponse { extensions: Vec::new(), ..supported }) })
    }

    fn verify<'a>(&'a self, request: &'a PaymentRequest) -> BoxFuture<'a, Result<VerifyResponse, FacilitatorError>> {
        self.0.verify(request)
    }

    fn settle<'a>(&'a self, request: &'a PaymentRequest) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>> {
        self.0.settle(request)
    }
}

/// Buys `url` with Farthing's client and [`PAYER_KEY`].
pub async fn buy(url: &str) -> Result<Answer> {
    answer(farthing::Client::builder().signer(signer(PAYER_KEY)?).build()?, url).await
}

/// Buys `url` with Farthing's client as this payer, who can ask a node.
pub async fn buy_as(payer: &Payer, rpc_url: &str, url: &str) -> Result<Answer> {
    let mut client = farthing::Client::builder().node(NETWORK, rpc_url)?.asset(plain_token()?);
    if let Some(signer) = payer.signer() {
        client = client.signer(signer);
    }
    if let Some(wallet) = payer.contract_signer() {
        let (assets, clock, entropy) = (Arc::new(AssetTable::known()), Arc::new(SystemClock), Arc::new(SystemEntropy));
        let exact = exact::Client::with_wallet(wallet.clone(), assets.clone(), clock.clone(), entropy.clone());
        let upto = upto::Client::with_wallet(wallet, assets, clock, entropy);
        let schemes: [Arc<dyn AnyClientScheme>; 2] = [Arc::new(exact), Arc::new(upto)];
        client = client.configure(|inner| inner.schemes(schemes));
    }
    answer(client.build()?, url).await
}

async fn answer(client: Client, url: &str) -> Result<Answer> {
    let response = match client.get(url).send().await {
        Ok(response) => response,
        // A server that fails and does not say whether it settled may have settled: the client says just that.
        Err(Error::Unknown(unknown)) if unknown.status.is_some() => {
            let settlement = unknown.settlement.as_ref().map(serde_json::to_value).transpose()?;
            let status = unknown.status.unwrap_or_default();
            return Ok(Answer { status, body: Value::Null, settlement, refusal: None });
        }
        Err(Error::Rejected(rejected)) => {
            let settlement = rejected.settlement.as_ref().map(serde_json::to_value).transpose()?;
            let refusal = rejected.reason.as_ref().map(ToString::to_string);
            return Ok(Answer { status: rejected.status, body: Value::Null, settlement, refusal });
        }
        Err(error) => return Err(error.into()),
    };
    let status = response.status().as_u16();
    let settlement = response.settlement().map(serde_json::to_value).transpose()?;
    let body = response.bytes().await?;
    Ok(Answer { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null), settlement, refusal: None })
}

fn signer(key: &str) -> Result<Arc<LocalSigner>> {
    let bytes: [u8; 32] = hex::decode_to_array(key).context("a development key is 32 bytes")?;
    Ok(Arc::new(LocalSigner::from_bytes(bytes.into())?))
}

/// Serves an app on a free port.
pub(crate) async fn serve(app: Router) -> Result<Service> {
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
