//! P9 and P10: a priced route, unpaid and paid, against the bare route of the same app.

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::routing::{MethodRouter, any};
use farthing::facilitator::Local;
use farthing::server::Server;
use farthing_core::BoxFuture;
use farthing_core::books::MemorySettlements;
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::header;
use farthing_core::wire::{PaymentRequest, SettleResponse, SupportedResponse, VerifyResponse};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::chain::{Blocks, Chain, Kind};
use crate::child::Child;
use crate::load::{self, Load};
use crate::measure::quiet;
use crate::node::Remembering;
use crate::rejects;
use crate::report::Bound::AtMost;
use crate::report::{Report, Row};
use crate::sample::{AMOUNT_ATOMIC, NETWORK, PAY_TO, PRICE, Sample};

/// How many requests are sent in one round.
const REQUESTS: usize = 10_000;
/// How many payments are made in one round.
const PAYMENTS: u32 = 2_000;
/// How many rounds, of one kind and the other in turn; a quiet one of each is quoted.
const ROUNDS: usize = 16;
const PAID_ROUNDS: u32 = 8;
const CONNECTIONS: usize = 32;

pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let stub_url = serve_stub().await?;
    let chain = Chain::start(Kind::Devnet, Blocks::Instant).await?;
    let child = Child::serve(&["resource", &stub_url, chain.rpc_url()])?;
    unpaid(&child, report).await?;
    paid(&child, chain.rpc_url(), report).await
}

async fn unpaid(child: &Child, report: &mut Report) -> anyhow::Result<()> {
    let loads = [
        Load::repeated(load::get("/bare", ""), REQUESTS, "HTTP/1.1 200", "VIP content"),
        Load::repeated(load::get("/same-bytes", ""), REQUESTS, "HTTP/1.1 402", "payment-required"),
        Load::repeated(load::get("/paid", ""), REQUESTS, "HTTP/1.1 402", "payment-required"),
    ];
    let mut figures = [Vec::new(), Vec::new(), Vec::new()];
    for load in &loads {
        child.cpu_per_request(load, CONNECTIONS).await?;
    }
    for _ in 0..ROUNDS {
        for (load, figures) in loads.iter().zip(&mut figures) {
            figures.push(child.cpu_per_request(load, CONNECTIONS).await?);
        }
    }
    let [bare, same_bytes, priced] = figures.map(quiet);
    report.add(Row::new("-", "bare route", bare, "µs"));
    report.add(Row::new("P9", "402 answer", priced, "µs").against(bare).must(AtMost(1.3)).aim(AtMost(1.1)));
    report.add(Row::new("-", "the same against the same bytes from a bare route", priced, "µs").against(same_bytes));
    Ok(())
}

async fn paid(child: &Child, rpc_url: &str, report: &mut Report) -> anyhow::Result<()> {
    let sample = sample_of_the_route(rpc_url).await?;
    let mut serial = 0_u32;
    for (path, what, must, aim) in [
        ("/paid", "paid request, stubbed facilitator over HTTP", 90.0, 70.0),
        ("/paid-here", "paid request, facilitator in process with recovery, settle stubbed", 80.0, 70.0),
    ] {
        let mut figures = Vec::new();
        for _ in 0..=PAID_ROUNDS {
            let serials = serial..serial + PAYMENTS;
            serial += PAYMENTS;
            let requests = serials.map(|serial| paying(&sample, path, serial)).collect::<anyhow::Result<_>>()?;
            let load = Load::of(requests, "HTTP/1.1 200", "VIP content");
            figures.push(child.cpu_per_request(&load, CONNECTIONS).await?);
        }
        // The first round warms up.
        figures.remove(0);
        report.add(Row::new("P10", what, quiet(figures), "µs").must(AtMost(must)).aim(AtMost(aim)));
    }
    Ok(())
}

/// A request that pays with the payment of that serial number.
pub fn paying(sample: &Sample, path: &str, serial: u32) -> anyhow::Result<Vec<u8>> {
    let mut payment = sample.good(serial)?;
    payment.resource = None;
    let payment = header::encode(&payment)?;
    Ok(load::get(path, &format!("payment-signature: {payment}\r\n")))
}

/// Payments that take the very offer that the route makes.
pub async fn sample_of_the_route(rpc_url: &str) -> anyhow::Result<Sample> {
    let seller = farthing::Server::builder().facilitator(Arc::new(InProcess::new(rpc_url)?))?;
    let seller: Server = seller.pay_to(NETWORK, PAY_TO)?.build().await?;
    let route = seller.route(&PRICE.parse()?)?;
    let requirements = route.offers().next().context("the route offers nothing")?.clone();
    let mut sample = Sample::new()?;
    sample.requirements = requirements;
    Ok(sample)
}

/// A facilitator that finds everything good, on loopback.
pub async fn serve_stub() -> anyhow::Result<String> {
    let supported = serde_json::json!({"kinds": [{"x402Version": 2, "scheme": "exact", "network": NETWORK}]});
    let verified = serde_json::json!({"isValid": true, "payer": PAY_TO});
    let app = Router::new()
        .route("/supported", always(&supported)?)
        .route("/verify", always(&verified)?)
        .route("/settle", always(&settled())?);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}

/// The same answer to whatever is asked.
fn always(answer: &impl Serialize) -> anyhow::Result<MethodRouter> {
    let json = Bytes::from(serde_json::to_string(answer)?);
    Ok(any(move |_: Bytes| std::future::ready(([("content-type", "application/json")], json.clone()))))
}

fn settled() -> SettleResponse {
    SettleResponse {
        success: true,
        error_reason: None,
        error_message: None,
        payer: PAY_TO.parse().ok(),
        transaction: format!("{:#066x}", 1),
        network: NETWORK.parse().ok(),
        amount: Some(AMOUNT_ATOMIC.into()),
        extra: None,
        extensions: None,
    }
}

/// A facilitator in the seller's process: it verifies in earnest, with a node in memory, and only says that it settles.
pub struct InProcess(Local);

impl InProcess {
    pub fn new(rpc_url: &str) -> anyhow::Result<Self> {
        Ok(Self(rejects::local(Arc::new(Remembering::new(rpc_url)?), Arc::new(MemorySettlements::default()))?))
    }
}

impl Facilitator for InProcess {
    fn supported(&self) -> BoxFuture<'_, Result<SupportedResponse, FacilitatorError>> {
        self.0.supported()
    }

    fn verify<'a>(&'a self, request: &'a PaymentRequest) -> BoxFuture<'a, Result<VerifyResponse, FacilitatorError>> {
        self.0.verify(request)
    }

    fn settle<'a>(&'a self, _: &'a PaymentRequest) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>> {
        Box::pin(std::future::ready(Ok(SettleResponse { payer: None, ..settled() })))
    }
}
