//! One paid request, end to end.

use axum::body::Body;
use farthing_client::{Error, PaymentOutcome};
use farthing_core::books::ReservationState;
use farthing_core::scheme::TransactionId;
use serde_json::{Value, json};

use crate::support::base64_of::{decoded, encoded};
use crate::support::*;

#[tokio::test]
async fn a_free_answer_is_returned_and_nothing_is_paid() {
    let seller = Seller::start(|_, _| Some(response(200).body(Body::from("free")).unwrap())).await;
    let buyer = Buyer::new();
    let answer = buyer.client.get(seller.url("/")).send().await.unwrap();
    assert!(answer.paid().is_none() && answer.settlement().is_none());
    assert_eq!(answer.text().await.unwrap(), "free");
    assert_eq!((seller.seen().len(), buyer.wallet.signed()), (1, 0));
}

#[tokio::test]
async fn a_priced_answer_is_paid_for_once_and_its_settlement_reported() {
    let seller = Seller::honest().await;
    let buyer = Buyer::new();
    let answer = buyer.client.get(seller.url("/report?day=1")).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let payment = answer.paid().unwrap();
    assert_eq!(payment.outcome, PaymentOutcome::Settled);
    assert_eq!((payment.usd.to_string(), payment.price()), ("$0.01".to_owned(), "0.01 USDC".to_owned()));
    assert_eq!(payment.transaction, Some(TransactionId("0xfeed".to_owned())));
    assert_eq!(payment.doubts, Vec::<String>::new());
    assert_eq!(serde_json::to_value(payment).unwrap()["payTo"], SELLER);
    assert_eq!(answer.settlement().unwrap().transaction, "0xfeed");
    assert_eq!(answer.text().await.unwrap(), "the report");
    assert_eq!(seller.payments().len(), 1);
    let seen = seller.seen();
    assert!(seen.iter().all(|seen| seen.path == "/report?day=1"), "both requests are for the same thing");
    assert_eq!(buyer.reservation(0), Some(ReservationState::Committed(Some(TransactionId("0xfeed".to_owned())))));
}

#[tokio::test]
async fn the_offer_the_resource_and_the_extensions_are_echoed_as_they_came() {
    // Odd spacing, a number as a string, an unknown key, an escaped letter: all of it has to come back.
    let seller = Seller::start(|seen, base| {
        if seen.payment().is_some() {
            return Some(paid(&settled()));
        }
        let text = odd_terms(base);
        Some(response(402).header("PAYMENT-REQUIRED", farthing_core::header::encode_bytes(text)).body(Body::empty()).unwrap())
    })
    .await;
    Buyer::new().client.get(seller.url("/report")).send().await.unwrap();
    let seen = seller.seen();
    let header = seen[1].headers.get("payment-signature").unwrap();
    let text = String::from_utf8(decoded(header.as_bytes())).unwrap();
    for part in odd_parts(&seller.base) {
        assert!(text.contains(&part), "{part} is not in {text}");
    }
}

fn odd_parts(base: &str) -> [String; 3] {
    [
        format!(r#"{{ "url" : "{base}/report", "unknown": 1.50 }}"#),
        r#"{"scheme":"exact","network":"eip155:8453","amount":"10000","asset":"0xUSDC", "payTo":"0xS\u0065ller","maxTimeoutSeconds":"60","extra":{"b":1,"a":2},"unknown":null}"#.to_owned(),
        r#"{"bazaar":{"info": {"z":1,"a":[1.0]}}}"#.to_owned(),
    ]
}

fn odd_terms(base: &str) -> String {
    let [resource, offer, extensions] = odd_parts(base);
    format!(r#"{{"x402Version":2,"resource":{resource},"accepts":[{offer}],"extensions":{extensions}}}"#)
}

#[tokio::test]
async fn version_1_terms_in_the_body_are_paid_by_version_1s_header() {
    let seller = Seller::start(|seen, base| {
        if let Some(payment) = seen.payment() {
            assert_eq!(
                (payment["x402Version"].as_u64(), &payment["scheme"], &payment["network"]),
                (Some(1), &json!("exact"), &json!("base"))
            );
            assert!(payment.get("accepted").is_none() && seen.headers.get("payment-signature").is_none());
            let settlement = json!({"success": true, "transaction": "0xfeed", "network": "base", "payer": PAYER});
            return Some(response(200).header("X-PAYMENT-RESPONSE", encoded(&settlement)).body(Body::from("v1")).unwrap());
        }
        Some(response(402).body(Body::from(version_1(base).to_string())).unwrap())
    })
    .await;
    let answer = Buyer::new().client.get(seller.url("/report")).send().await.unwrap();
    let payment = answer.paid().unwrap();
    assert_eq!((payment.version.number(), payment.network.as_str(), payment.doubts.len()), (1, BASE, 0));
    assert_eq!(answer.text().await.unwrap(), "v1");
}

pub fn version_1(base: &str) -> Value {
    json!({"x402Version": 1, "error": "X-PAYMENT header is required", "accepts": [{
        "scheme": "exact", "network": "base", "maxAmountRequired": "10000", "resource": format!("{base}/report"),
        "description": "", "mimeType": "", "payTo": SELLER, "maxTimeoutSeconds": 60, "asset": "0xUSDC",
        "outputSchema": null, "extra": {"name": "USD Coin", "version": "2"}
    }]})
}

#[tokio::test]
async fn the_header_of_version_2_goes_before_a_body_of_version_1() {
    let seller = Seller::start(|seen, base| {
        if seen.payment().is_some() {
            return Some(paid(&settled()));
        }
        let builder = response(402).header("PAYMENT-REQUIRED", encoded(&cent(base)));
        Some(builder.body(Body::from(version_1(base).to_string())).unwrap())
    })
    .await;
    let answer = Buyer::new().client.get(seller.url("/report")).send().await.unwrap();
    assert_eq!(answer.paid().unwrap().version.number(), 2);
}

#[tokio::test]
async fn a_body_is_sent_again_with_the_payment() {
    let seller = Seller::honest().await;
    let buyer = Buyer::new();
    let request = buyer.client.post(seller.url("/ask")).header("x-mine", "1").json(&json!({"q": "why"})).unwrap();
    assert!(request.send().await.unwrap().paid().is_some());
    let seen = seller.seen();
    assert_eq!(seen.len(), 2);
    for seen in seen {
        assert_eq!(
            (seen.method.as_str(), &seen.body[..], &seen.headers["x-mine"]),
            ("POST", &br#"{"q":"why"}"#[..], &"1".parse().unwrap())
        );
        assert_eq!(seen.headers["content-type"], "application/json");
        assert!(seen.headers.get("access-control-expose-headers").is_none(), "an answer's header is no request's");
    }
}

#[tokio::test]
async fn a_streaming_body_is_refused_before_anything_is_sent() {
    let seller = Seller::honest().await;
    let stream = futures_util::stream::iter([Ok::<_, std::io::Error>("chunk")]);
    let error = Buyer::new().client.post(seller.url("/")).body(reqwest::Body::wrap_stream(stream)).send().await.unwrap_err();
    assert!(matches!(error, Error::BadRequest(_)) && error.to_string().contains("collect the body"), "{error}");
    assert!(seller.seen().is_empty());
}

#[tokio::test]
async fn a_payment_header_of_the_callers_own_is_refused() {
    let seller = Seller::honest().await;
    for name in ["X-Payment", "PAYMENT-SIGNATURE"] {
        let error = Buyer::new().client.get(seller.url("/")).header(name, "e30=").send().await.unwrap_err();
        assert!(matches!(error, Error::BadRequest(_)), "{error}");
    }
    assert!(seller.seen().is_empty());
}

#[tokio::test]
async fn mistakes_in_a_request_are_told_when_it_is_sent() {
    let client = Buyer::new().client;
    for (request, says) in [
        (client.get("not a url"), "URL"),
        (client.get("ftp://example.com/"), "http or https"),
        (client.get("http://127.0.0.1/").header("bad name", "x"), "bad name"),
        (client.get("http://127.0.0.1/").header("x", "line\nbreak"), "value"),
    ] {
        let error = request.send().await.unwrap_err();
        assert!(matches!(error, Error::BadRequest(_)) && error.to_string().contains(says), "{error}");
    }
    assert!(client.get("http://127.0.0.1/").at_most("cheap").is_err());
}

#[tokio::test]
async fn neither_signature_nor_header_shows_in_debug_output() {
    let seller = Seller::honest().await;
    let buyer = Buyer::new();
    let answer = buyer.client.get(seller.url("/report")).bearer_auth("sesame").send().await.unwrap();
    let request = buyer.client.get(seller.url("/report")).bearer_auth("sesame");
    let shown = format!("{answer:?} {request:?} {:?}", buyer.client);
    assert!(!shown.contains(SIGNATURE) && !shown.contains("sesame"), "{shown}");
    let told = answer.headers()["payment-response"].to_str().unwrap();
    assert!(!shown.contains(told), "a receipt is in there, and so a signature: {shown}");
    assert_eq!(seller.seen()[1].headers["authorization"], "Bearer sesame");
}

#[tokio::test]
async fn an_answer_reads_to_its_end_even_if_it_was_looked_into() {
    let long = "x".repeat(300_000);
    let body = long.clone();
    let seller = Seller::answering(move || response(404).body(Body::from(body.clone())).unwrap()).await;
    let url = seller.url("/report");
    let answer = Buyer::new().client.get(&url).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.url().as_str()), (404, url.as_str()));
    assert_eq!(answer.text().await.unwrap(), long);
}
