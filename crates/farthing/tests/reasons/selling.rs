//! What a seller says of payments before it asks any facilitator, and where it remembers better.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use farthing::core::BoxFuture;
use farthing::core::facilitator::{Facilitator, FacilitatorError};
use farthing::core::header;
use farthing::core::reason::Reason;
use farthing::core::wire::{PaymentRequest, SettleResponse, SupportedKind, SupportedResponse, VerifyResponse, Version};
use farthing_testkit::golden;
use serde_json::{Value, json};

use crate::desk::{Desk, Row};

/// A facilitator that finds everything good, and settles nothing.
struct Trusting;

impl Facilitator for Trusting {
    fn supported(&self) -> BoxFuture<'_, Result<SupportedResponse, FacilitatorError>> {
        let kind = SupportedKind {
            x402_version: Version::V2,
            scheme: "exact".to_owned(),
            network: golden::NETWORK.parse().unwrap(),
            extra: None,
        };
        Box::pin(std::future::ready(Ok(SupportedResponse { kinds: vec![kind], ..SupportedResponse::default() })))
    }

    fn verify<'a>(&'a self, _: &'a PaymentRequest) -> BoxFuture<'a, Result<VerifyResponse, FacilitatorError>> {
        Box::pin(std::future::ready(Ok(VerifyResponse::valid(golden::PAYER.parse().unwrap()))))
    }

    fn settle<'a>(&'a self, _: &'a PaymentRequest) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>> {
        Box::pin(std::future::ready(Err(FacilitatorError::Unavailable("it settles nothing".into()))))
    }
}

const ROWS: &[Row] = &[
    (Reason::NoMatchingRequirements, |it| it["accepted"]["amount"] = json!("9999")),
    (Reason::ResourceMismatch, |it| it["resource"]["url"] = json!("https://api.example.com/other")),
    (Reason::ExtensionEchoMismatch, |it| it["extensions"] = json!({"payment-identifier": {"info": {"required": "perhaps"}}})),
    // So long ago that the book forgot it; the facilitator did not look.
    (Reason::PaymentExpired, |it| it["payload"]["authorization"]["validBefore"] = json!("1000000")),
];

pub async fn given() -> Vec<Reason> {
    let toll = farthing::Server::builder().facilitator(Arc::new(Trusting)).unwrap();
    let toll = toll.pay_to(golden::NETWORK, golden::PAY_TO).unwrap().build().await.unwrap();
    let layer = toll.price("$0.01").unwrap().payment_identifier(false).unwrap();
    let app = Router::new().route("/report", get(|| async { "14 ships in" }).layer(layer));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/report", listener.local_addr().unwrap());
    tokio::spawn(async move { drop(axum::serve(listener, app).await) });

    let desk = Desk::open().await;
    let terms = desk.http.get(&url).send().await.unwrap();
    let terms = header::decode_required(terms.headers()["payment-required"].as_bytes()).unwrap();
    let terms = serde_json::to_value(&terms).unwrap();
    let request = desk.pay(&terms["accepts"][0]).await;
    let payload = &request["paymentPayload"]["payload"];
    let good = json!({"x402Version": 2, "resource": terms["resource"], "accepted": terms["accepts"][0], "payload": payload});
    let mut given = Vec::new();
    for (reason, spoil) in ROWS {
        let mut bad = good.clone();
        spoil(&mut bad);
        let answer = desk.http.get(&url).header("payment-signature", header::encode(&bad).unwrap()).send().await.unwrap();
        assert_eq!(answer.status(), 402, "{reason}");
        let answer: Value = answer.json().await.unwrap();
        given.push(Reason::from(answer["error"].as_str().unwrap()));
        assert_eq!(given.last(), Some(reason), "{answer}");
    }
    given
}
