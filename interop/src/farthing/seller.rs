//! Farthing as the server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Json, Router};
use farthing::core::BoxFuture;
use farthing::core::erased::ServerSchemes;
use farthing::core::extension::offer_receipt::{Issuer, OfferSigner};
use farthing::core::facilitator::{Facilitator, FacilitatorError};
use farthing::core::wire::{PaymentRequest, SettleResponse, SupportedResponse, VerifyResponse};
use farthing::evm::asset::{AssetTable, TransferMethod};
use farthing::evm::config::AssetConfig;
use farthing::evm::exact;
use farthing::evm::offer_receipt::StatementSigner;
use farthing::server::{IntoFacilitator, Paid, RemoteFacilitator, Server, SignInOptions, smart_wallets};
use farthing::system::SystemClock;
use serde_json::{Value, json};

use super::statements::JwsSigner;
use super::{open, place, plain_token, signer};
use crate::chain::{NETWORK, PAYEE, TOKEN};
use crate::service::{APP_CODE, ISSUER_KEY, PRICE, SERVICE_CODE, Service};

pub(super) const REPORT: &str = "a farthing's worth";
/// [`PRICE`] in the plain token.
const PRICE_IN_PLAIN_TOKEN: &str = "0.01 SILENT";

/// An axum app on a free port that charges [`PRICE`] to [`PAYEE`] for everything that `interop/peers/README.md` lists, and
/// answers as it says.
pub async fn server(facilitator_url: &str, rpc_url: &str) -> Result<Service> {
    let (listener, url) = place().await?;
    let app = goods(facilitator_url).await?.merge(extensions(facilitator_url, rpc_url, &url).await?);
    Ok(open(listener, url, app))
}

async fn goods(facilitator_url: &str) -> Result<Router> {
    let toll = farthing::Server::builder().facilitator(facilitator_url)?.pay_to(NETWORK, &PAYEE.to_string())?.build().await?;
    let silent = || RemoteFacilitator::new(facilitator_url).map(|remote| Arc::new(Silent(remote)));
    let unsponsored = farthing::Server::builder().facilitator(silent()?)?.pay_to(NETWORK, &PAYEE.to_string())?.build().await?;
    let by_permit2 = seller_by_permit2(facilitator_url).await?;
    let unsponsored_by_permit2 = seller_by_permit2(silent()?).await?;
    let report = || get(|| async { Json(the_report()) });
    let fails = || get(|| async { StatusCode::INTERNAL_SERVER_ERROR });
    let metered = || get(|Extension(paid): Extension<Paid>| async move { charged(&paid, "30%") });
    let unused = || get(|Extension(paid): Extension<Paid>| async move { charged(&paid, "0") });
    Ok(Router::new()
        .route("/report", report().layer(toll.price(PRICE)?.description("A report").mime_type("application/json")))
        .route("/fails", fails().layer(toll.price(PRICE)?))
        .route("/permit2", report().layer(unsponsored_by_permit2.price(PRICE)?))
        .route("/sponsored-permit", report().layer(by_permit2.price(PRICE)?))
        .route("/sponsored-approval", report().layer(by_permit2.price(PRICE_IN_PLAIN_TOKEN)?))
        .route("/metered", metered().layer(unsponsored.price_up_to(PRICE)?))
        .route("/sponsored-metered", metered().layer(toll.price_up_to(PRICE)?))
        .route("/unused", unused().layer(toll.price_up_to(PRICE)?))
        .route("/upfront", report().layer(toll.price(PRICE)?.upfront()?))
        .route("/upfront-fails", fails().layer(toll.price(PRICE)?.upfront()?)))
}

async fn extensions(facilitator_url: &str, rpc_url: &str, url: &str) -> Result<Router> {
    let seller = || -> Result<_> {
        let seller = farthing::Server::builder().facilitator(facilitator_url)?.pay_to(NETWORK, &PAYEE.to_string())?;
        Ok(seller.public_url(url)?.message_verifier(smart_wallets(&[(NETWORK, rpc_url)])?))
    };
    let toll = seller()?.builder_code(APP_CODE, &[SERVICE_CODE])?.build().await?;
    let issuer = |signer: Arc<dyn OfferSigner>| Issuer::new(signer).naming_transactions();
    let typed = StatementSigner::new(signer(ISSUER_KEY)?);
    let signing = seller()?.offer_receipts(issuer(Arc::new(typed))).build().await?;
    let signing_jws = seller()?.offer_receipts(issuer(Arc::new(JwsSigner::new()?))).build().await?;

    let report = || get(|| async { Json(the_report()) });
    let number = Arc::new(AtomicU64::new(0));
    let numbered = get(move || async move {
        let number = number.fetch_add(1, Ordering::Relaxed);
        Json(json!({"report": REPORT, "number": number}))
    });
    let seen = SignInHeader::default();
    let again = SignInOptions::new().statement("Sign in to read it again");
    Ok(Router::new()
        .route("/sign-in", report().layer(toll.price(PRICE)?.sign_in(again)?).layer(from_fn_with_state(seen.clone(), see)))
        .route("/last-sign-in", get(|| async move { Json(json!({"signIn": *held(&seen)})) }))
        .route("/named", numbered.layer(toll.price(PRICE)?.payment_identifier(true)?))
        .route("/named-otherwise", report().layer(toll.price(PRICE)?.payment_identifier(true)?))
        .route("/attributed", report().layer(toll.price(PRICE)?))
        .route("/signed", report().layer(signing.price(PRICE)?))
        .route("/signed-jws", report().layer(signing_jws.price(PRICE)?)))
}

/// What the last visitor signed, seen before it is checked: handlers never see it.
pub(super) type SignInHeader = Arc<Mutex<Option<String>>>;

pub(super) async fn see(State(seen): State<SignInHeader>, request: Request, next: Next) -> Response {
    let header = request.headers().get("SIGN-IN-WITH-X").and_then(|value| value.to_str().ok());
    if let Some(header) = header {
        *held(&seen) = Some(header.to_owned());
    }
    next.run(request).await
}

pub(super) fn held(seen: &SignInHeader) -> MutexGuard<'_, Option<String>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn the_report() -> Value {
    json!({"report": REPORT})
}

fn charged(paid: &Paid, charge: &str) -> Result<Json<Value>, StatusCode> {
    paid.usage().set_text(charge).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(the_report()))
}

/// A seller for whom Permit2 moves whatever is paid, USDC included.
pub(super) async fn seller_by_permit2(facilitator: impl IntoFacilitator) -> Result<Server> {
    let usdc = AssetConfig {
        network: NETWORK.parse()?,
        address: TOKEN.to_string(),
        symbol: "USDC".to_owned(),
        decimals: 6,
        name: "USDC".to_owned(),
        version: "2".to_owned(),
        method: TransferMethod::Permit2,
        permits: true,
        usd: true,
    };
    // Prices in dollars mean USDC alone.
    let plain = AssetConfig { usd: false, ..plain_token()? };
    let assets = Arc::new(AssetTable::known().with(&usdc)?.with(&plain)?);
    let schemes: ServerSchemes = vec![Arc::new(exact::Server::new(assets))];
    let toll = Server::builder().schemes(schemes).clock(Arc::new(SystemClock)).facilitator(facilitator)?;
    Ok(toll.pay_to(NETWORK, &PAYEE.to_string())?.build().await?)
}

/// A facilitator as a seller knows it who has not asked what else it does: nothing is said of approvals that it would sponsor.
pub(super) struct Silent(pub(super) RemoteFacilitator);

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
