//! Reading terms, without and before paying.

use axum::body::Body;
use farthing_client::Error;
use serde_json::json;

use crate::paying::version_1;
use crate::support::base64_of::encoded;
use crate::support::*;

async fn asking_with(header: Option<&'static str>, body: String) -> Seller {
    Seller::start(move |_, _| {
        let mut answer = response(402);
        if let Some(header) = header {
            answer = answer.header("PAYMENT-REQUIRED", header);
        }
        Some(answer.body(Body::from(body.clone())).unwrap())
    })
    .await
}

#[tokio::test]
async fn a_402_without_terms_is_returned_as_it_is_with_a_note() {
    let bodies =
        ["", "pay me", "{}", "[[[[", r#"{"x402Version":3,"accepts":[]}"#, r#"{"x402Version":2,"accepts":[]}"#, "\u{FEFF}{}"];
    let deep = "[".repeat(100_000);
    for body in bodies.into_iter().chain([deep.as_str()]) {
        let seller = asking_with(None, body.to_owned()).await;
        let answer = Buyer::new().client.get(seller.url("/")).send().await.unwrap();
        assert_eq!(answer.status(), 402);
        assert!(answer.note().unwrap().contains("without saying how"), "{:?}", answer.note());
        assert!(answer.paid().is_none());
        assert_eq!(answer.text().await.unwrap(), body);
    }
}

#[tokio::test]
async fn a_terms_header_that_cannot_be_read_is_an_error_that_says_why() {
    let deep: &'static str = farthing_core::header::encode_bytes("[".repeat(20_000)).leak();
    let third: &'static str = encoded(&json!({"x402Version": 3, "accepts": []})).leak();
    let twice: &'static str = farthing_core::header::encode_bytes(r#"{"x402Version":2,"x402Version":2}"#).leak();
    let long: &'static str = "A".repeat(70_000).leak();
    for (header, says) in [
        ("%%%", "base64"),
        ("bm90IGpzb24=", "expected"),
        (deep, "levels deep"),
        (third, "x402Version 3"),
        (twice, "twice"),
        (long, "70000 bytes"),
    ] {
        let seller = asking_with(Some(header), version_1("http://127.0.0.1").to_string()).await;
        let error = Buyer::new().client.get(seller.url("/")).send().await.unwrap_err();
        assert!(matches!(error, Error::BadTerms { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(says) && text.contains(&seller.base) && text.contains("nothing was paid"), "{says}: {text}");
    }
}

#[tokio::test]
async fn two_terms_headers_are_refused() {
    let seller = Seller::start(|_, base| {
        let terms = encoded(&cent(base));
        Some(response(402).header("PAYMENT-REQUIRED", &terms).header("PAYMENT-REQUIRED", &terms).body(Body::empty()).unwrap())
    })
    .await;
    let error = Buyer::new().client.get(seller.url("/")).send().await.unwrap_err();
    assert!(matches!(error, Error::BadTerms { .. }) && error.to_string().contains("more than once"), "{error}");
}

#[tokio::test]
async fn version_1_terms_that_cannot_be_read_are_an_error() {
    let seller = asking_with(None, r#"{"x402Version":1,"accepts":"all"}"#.to_owned()).await;
    let error = Buyer::new().client.get(seller.url("/")).send().await.unwrap_err();
    assert!(matches!(error, Error::BadTerms { .. }) && error.to_string().contains("version 1"), "{error}");
}

#[tokio::test]
async fn inspecting_shows_every_offer_and_pays_nothing() {
    let seller = Seller::start(|_, base| {
        let mut euro = offer(BASE, "0xEURC", "10000");
        euro["payTo"] = json!("0xOther");
        let offers = [
            offer("eip155:1", "0xUSDC", "1"),
            offer(BASE, "0xUSDC", "20000"),
            offer(SEPOLIA, "0xUSDC", "10000"),
            euro,
            json!({"scheme": 1}),
        ];
        Some(asks(&terms(base, &offers)))
    })
    .await;
    let buyer = Buyer::with(Wallet { held: Some(5_000_000), ..Wallet::default() }, |builder| builder);
    let terms = buyer.client.inspect(seller.url("/report?key=secret")).await.unwrap();
    assert_eq!((terms.status, terms.x402_version, terms.would_pay), (402, Some(2), Some(3)));
    assert_eq!(terms.url, seller.url("/report"));
    let payable: Vec<bool> = terms.offers.iter().map(|offer| offer.is_payable).collect();
    assert_eq!(payable, [false, true, true, false, false]);
    let json = serde_json::to_value(&terms).unwrap();
    assert_eq!(json["offers"][0]["why"], "this wallet cannot pay by exact on eip155:1");
    assert_eq!((&json["offers"][1]["price"], &json["offers"][1]["usd"]), (&json!("0.02 USDC"), &json!("$0.02")));
    assert_eq!(json["offers"][2]["held"], "5000000");
    assert!(json["offers"][3]["why"].as_str().unwrap().contains("dollars"));
    assert!(json["offers"][4]["why"].as_str().unwrap().contains("cannot be read"));
    assert_eq!((buyer.wallet.signed(), buyer.reservation(0), seller.payments().len()), (0, None, 0));
}

#[tokio::test]
async fn a_dry_run_sends_the_request_unpaid_and_knows_what_is_left_of_the_limits() {
    let seller = Seller::honest().await;
    let buyer = Buyer::with(Wallet::default(), |builder| builder.limit("$0.01 per day").unwrap());
    let dry_run = || buyer.client.post(seller.url("/report")).body("x").dry_run();
    assert_eq!(dry_run().await.unwrap().would_pay, Some(1));
    assert_eq!(dry_run().await.unwrap().would_pay, Some(1), "a dry run promises nothing");
    assert!(buyer.client.get(seller.url("/report")).send().await.unwrap().paid().is_some());
    let terms = dry_run().await.unwrap();
    assert_eq!(terms.would_pay, None);
    let why = terms.offers[0].why.as_deref();
    assert_eq!(why, Some("over the limit of $0.01 per day, of which $0.01 is spent or promised already"));
    assert_eq!(seller.seen()[0].method, "POST");
}

#[tokio::test]
async fn inspecting_what_is_free_says_so() {
    let seller = Seller::start(|_, _| Some(response(204).body(Body::empty()).unwrap())).await;
    let terms = Buyer::new().client.inspect(seller.url("/")).await.unwrap();
    assert_eq!((terms.status, terms.offers.len(), terms.would_pay), (204, 0, None));
    assert_eq!(terms.note.as_deref(), Some("the server asks for no payment"));
}

#[tokio::test]
async fn a_client_without_a_wallet_can_inspect() {
    let seller = Seller::honest().await;
    let client = farthing_client::Client::builder().clock(std::sync::Arc::new(Noon)).http(http()).build().unwrap();
    let terms = client.inspect(seller.url("/report")).await.unwrap();
    assert_eq!(terms.offers[0].why.as_deref(), Some("this wallet has no scheme \"exact\""));
    let error = client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(error, Error::NotPayable(_)), "{error}");
}
