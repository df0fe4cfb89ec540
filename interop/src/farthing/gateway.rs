//! Farthing as a server without a line of code: a gateway, as a file describes it, in front of an app that knows nothing of
//! payments.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Json, Router};
use farthing::server::{RemoteFacilitator, Server, ServerBuilder, smart_wallets};
use farthing_gateway::file::{self, Route};
use farthing_gateway::{Gateway, Materials, Upstream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::seller::{REPORT, SignInHeader, Silent, held, see, seller_by_permit2};
use super::{open, place, serve};
use crate::chain::{NETWORK, PAYEE};
use crate::service::Service;

/// What is paid as it is.
const PLAIN: &str = r#"
    route = [
      { match = "GET /report", price = "$0.01", description = "A report", mime_type = "application/json" },
      { match = "GET /fails", price = "$0.01" },
      { match = "GET /upfront", price = "$0.01", upfront = true },
      { match = "GET /upfront-fails", price = "$0.01", upfront = true },
      { match = "GET /sponsored-metered", price = { each = "$0.001", per = "page", of = "response:/usage/pages", at_most = "$0.01" } },
      { match = "GET /named", price = "$0.01", payment_identifier = "required" },
      { match = "GET /named-otherwise", price = "$0.01", payment_identifier = "required" },
      { match = "GET /sign-in", price = "$0.01", sign_in = { statement = "Sign in to read it again" } },
    ]
"#;
/// What is metered where nobody says that he sponsors approvals.
const UNSPONSORED: &str = r#"
    route = [
      { match = "GET /metered", price = { each = "$0.001", per = "page", of = "response:/usage/pages", at_most = "$0.01" } },
      { match = "GET /unused", price = { each = "$0.001", per = "page", of = "response:/usage/pages", at_most = "$0.01" } },
    ]
"#;
/// What is paid by Permit2.
const PERMIT2: &str = r#"
    route = [
      { match = "GET /sponsored-permit", price = "$0.01" },
      { match = "GET /sponsored-approval", price = "0.01 SILENT" },
    ]
"#;
const UNSPONSORED_PERMIT2: &str = r#"route = [{ match = "GET /permit2", price = "$0.01" }]"#;

/// The part of a gateway's file that this crate reads.
#[derive(Deserialize)]
struct File {
    gateway: file::Gateway,
    route: Vec<Route>,
}

/// Gateways on one free port, which charge as [`server`](super::server) does, and what is behind them. A file says for all of
/// its routes who settles and how dollars move, so there is one for each.
pub async fn gateway(facilitator_url: &str, rpc_url: &str) -> Result<Service> {
    let (listener, url) = place().await?;
    let upstream = serve(app()).await?;
    let silent = || RemoteFacilitator::new(facilitator_url).map(|remote| Arc::new(Silent(remote)));
    let paid = |builder: ServerBuilder| builder.pay_to(NETWORK, &PAYEE.to_string());
    let toll = paid(farthing::Server::builder().facilitator(facilitator_url)?)?;
    let toll = toll.public_url(&url)?.message_verifier(smart_wallets(&[(NETWORK, rpc_url)])?);
    let toll = toll.build().await?;
    let unsponsored = paid(farthing::Server::builder().facilitator(silent()?)?)?.build().await?;
    let (by_permit2, unsponsored_by_permit2) = (seller_by_permit2(facilitator_url).await?, seller_by_permit2(silent()?).await?);
    let seen = SignInHeader::default();
    let mut all = Router::new();
    for (seller, routes) in
        [(toll, PLAIN), (unsponsored, UNSPONSORED), (by_permit2, PERMIT2), (unsponsored_by_permit2, UNSPONSORED_PERMIT2)]
    {
        all = all.merge(in_front_of(upstream.url(), seller, routes)?);
    }
    let all = all.layer(from_fn_with_state(seen.clone(), see));
    let all = all.route("/last-sign-in", get(|| async move { Json(json!({"signIn": *held(&seen)})) }));
    let shop = open(listener, url.clone(), all);
    Ok(Service::new(url, (shop, upstream)))
}

/// One gateway, on the paths of its routes.
fn in_front_of(upstream_url: &str, seller: Server, routes: &str) -> Result<Router> {
    let text = format!("{routes}\n[gateway]\nupstream = {upstream_url:?}");
    let File { gateway: settings, route } = toml::from_str(&text)?;
    let upstream = Upstream::new(settings.upstream.clone(), Materials::default())?;
    let paths: Vec<String> =
        routes.split("GET ").skip(1).filter_map(|rest| rest.split('"').next().map(str::to_owned)).collect();
    let gateway = Gateway::new(seller, upstream, settings, &route)?;
    Ok(paths.iter().fold(Router::new(), |all, path| all.route_service(path, gateway.clone())))
}

/// What is behind: it answers whoever asks, and says what was used where that is counted.
fn app() -> Router {
    let report = || get(|| async { Json(json!({"report": REPORT})) });
    let fails = || get(|| async { StatusCode::INTERNAL_SERVER_ERROR });
    let pages = |pages: u64| get(move || async move { Json::<Value>(json!({"report": REPORT, "usage": {"pages": pages}})) });
    let number = Arc::new(AtomicU64::new(0));
    let numbered = get(move || async move {
        let number = number.fetch_add(1, Ordering::Relaxed);
        Json(json!({"report": REPORT, "number": number}))
    });
    Router::new()
        .route("/fails", fails())
        .route("/upfront-fails", fails())
        .route("/metered", pages(3))
        .route("/sponsored-metered", pages(3))
        .route("/unused", pages(0))
        .route("/named", numbered)
        .fallback_service(report())
}
