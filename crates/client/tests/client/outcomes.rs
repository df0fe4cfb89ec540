//! What becomes of a payment after it was sent, and what the ledger keeps of it.

use std::time::Duration;

use axum::body::Body;
use farthing_client::{Error, PaymentOutcome, Rejected};
use farthing_core::books::ReservationState;
use farthing_core::reason::Reason;
use farthing_core::scheme::TransactionId;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::base64_of::encoded;
use crate::support::*;

const OPEN: Option<ReservationState> = Some(ReservationState::Open);

fn is_committed(buyer: &Buyer) -> bool {
    buyer.reservation(0) == Some(ReservationState::Committed(Some(TransactionId("0xfeed".to_owned()))))
}

fn failed(reason: &str, transaction: &str) -> Value {
    json!({"success": false, "errorReason": reason, "errorMessage": "so it is", "transaction": transaction, "network": BASE})
}

async fn rejected(buyer: &Buyer, seller: &Seller) -> Box<Rejected> {
    match buyer.client.get(seller.url("/report")).send().await {
        Err(Error::Rejected(rejected)) => rejected,
        other => panic!("expected a rejection, got {other:?}"),
    }
}

/// Expects the outcome to be unknown, the money to count, and the error to warn of a repetition.
async fn unknown(buyer: &Buyer, url: &str) -> String {
    match buyer.client.get(url).send().await {
        Err(error @ Error::Unknown(_)) => {
            assert_eq!(buyer.reservation(0), OPEN);
            assert!(error.may_have_paid());
            let text = error.to_string();
            assert!(text.contains("$0.01 may have been paid") && text.contains("could pay twice"), "{text}");
            text
        }
        other => panic!("expected an unknown outcome, got {other:?}"),
    }
}

#[tokio::test]
async fn a_second_402_with_a_fresh_challenge_is_never_paid_again() {
    let seller = Seller::start(|seen, base| {
        let mut terms = cent(base);
        terms["error"] = json!(if seen.payment().is_some() { "payment_already_used" } else { "Payment required" });
        Some(asks(&terms))
    })
    .await;
    let buyer = Buyer::new();
    let rejected = rejected(&buyer, &seller).await;
    assert_eq!((rejected.status, &rejected.reason), (402, &Some(Reason::PaymentAlreadyUsed)));
    assert_eq!((seller.seen().len(), buyer.wallet.signed(), buyer.reservation(0)), (2, 1, OPEN));
    assert!(rejected.to_string().contains("payment_already_used"), "{rejected}");
}

#[tokio::test]
async fn what_the_server_says_for_people_is_passed_on() {
    let seller = Seller::start(|seen, base| {
        let mut answer = asks(&cent(base));
        if seen.payment().is_some() {
            *answer.body_mut() = Body::from(json!({"error": "x", "message": "approve Permit2 first"}).to_string());
        }
        Some(answer)
    })
    .await;
    let rejected = rejected(&Buyer::new(), &seller).await;
    assert_eq!(rejected.message.as_deref(), Some("approve Permit2 first"));
    assert!(rejected.to_string().contains("(approve Permit2 first)"), "{rejected}");
}

#[tokio::test]
async fn a_failed_settlement_is_a_rejection_with_the_servers_reason() {
    for status in [402, 400, 500] {
        let seller = Seller::answering(move || with_settlement(status, &failed("insufficient_funds", ""))).await;
        let buyer = Buyer::new();
        let rejected = rejected(&buyer, &seller).await;
        assert_eq!((rejected.status, &rejected.reason), (status, &Some(Reason::InsufficientFunds)));
        assert_eq!(rejected.payment.outcome, PaymentOutcome::Failed);
        assert!(rejected.to_string().contains("insufficient_funds (so it is)"), "{rejected}");
        assert_eq!(buyer.reservation(0), OPEN, "it was signed, and could still be taken");
    }
}

#[tokio::test]
async fn a_pending_settlement_is_unknown_whatever_the_status() {
    for (status, settlement) in [
        (402, failed("settlement_pending", "0xfeed")),
        (402, failed("settlement_pending", "")),
        (500, failed("settlement_pending", "")),
    ] {
        let seller = Seller::answering(move || with_settlement(status, &settlement)).await;
        assert!(unknown(&Buyer::new(), &seller.url("/report")).await.contains("says that the settlement is pending"));
    }
}

#[tokio::test]
async fn a_failed_settlement_that_names_a_transaction_is_unknown_and_not_called_pending() {
    for status in [402, 400, 500] {
        let seller = Seller::answering(move || with_settlement(status, &failed("transaction_failed", "0xfeed"))).await;
        let text = unknown(&Buyer::new(), &seller.url("/report")).await;
        assert!(text.contains("failed, yet names a transaction") && !text.contains("pending"), "{text}");
    }
}

#[tokio::test]
async fn a_payment_that_settled_is_paid_whatever_the_status() {
    for status in [200, 201, 303, 404, 500, 503] {
        let seller = Seller::answering(move || with_settlement(status, &settled())).await;
        let buyer = Buyer::new();
        let answer = buyer.client.get(seller.url("/report")).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.paid().unwrap().outcome), (status, PaymentOutcome::Settled));
        assert!(is_committed(&buyer));
        assert_eq!(answer.text().await.unwrap(), "the report");
    }
}

#[tokio::test]
async fn a_server_that_took_the_money_and_asks_again_is_told_of() {
    let seller = Seller::start(|seen, base| {
        Some(match seen.payment() {
            None => asks(&cent(base)),
            Some(_) => response(402)
                .header("PAYMENT-REQUIRED", encoded(&cent(base)))
                .header("PAYMENT-RESPONSE", encoded(&settled()))
                .body(Body::empty())
                .unwrap(),
        })
    })
    .await;
    let buyer = Buyer::new();
    let rejected = rejected(&buyer, &seller).await;
    assert!(rejected.to_string().contains("the money moved in 0xfeed"), "{rejected}");
    assert!(rejected.settlement.unwrap().success && is_committed(&buyer));
    assert_eq!(seller.payments().len(), 1);
}

#[tokio::test]
async fn a_settlement_that_is_not_what_was_signed_raises_doubts_and_counts_as_spent() {
    for (field, value) in [
        ("network", json!(SEPOLIA)),
        ("network", json!("")),
        ("amount", json!("10001")),
        ("amount", json!("9999")),
        ("payer", json!("0xSomebody")),
        ("transaction", json!("")),
    ] {
        let mut settlement = settled();
        settlement[field] = value;
        let seller = Seller::answering(move || paid(&settlement)).await;
        let buyer = Buyer::new();
        let answer = buyer.client.get(seller.url("/report")).send().await.unwrap();
        let payment = answer.paid().unwrap();
        assert_eq!(payment.doubts.len(), 1, "{field}");
        assert!(payment.doubts[0].starts_with(field), "{:?}", payment.doubts);
        assert!(matches!(buyer.reservation(0), Some(ReservationState::Committed(_))));
    }
}

#[tokio::test]
async fn the_settlement_is_read_from_either_header() {
    let seller = Seller::answering(|| {
        response(200).header("X-PAYMENT-RESPONSE", encoded(&settled())).body(Body::from("the report")).unwrap()
    })
    .await;
    let buyer = Buyer::new();
    let answer = buyer.client.get(seller.url("/report")).send().await.unwrap();
    assert_eq!(answer.settlement().unwrap().transaction, "0xfeed");
    assert!(is_committed(&buyer));
}

#[tokio::test]
async fn an_answer_without_a_readable_settlement_is_returned_and_stays_reserved() {
    let without = Seller::answering(|| response(200).body(Body::from("the report")).unwrap()).await;
    let unreadable =
        Seller::answering(|| response(200).header("PAYMENT-RESPONSE", "%%").body(Body::from("the report")).unwrap()).await;
    for (seller, note) in [(without, false), (unreadable, true)] {
        let buyer = Buyer::new();
        let answer = buyer.client.get(seller.url("/report")).send().await.unwrap();
        assert_eq!((answer.paid().unwrap().outcome, answer.note().is_some()), (PaymentOutcome::Unconfirmed, note));
        assert_eq!(buyer.reservation(0), OPEN);
        assert_eq!(answer.text().await.unwrap(), "the report");
    }
}

#[tokio::test]
async fn the_resources_own_refusal_is_returned_and_the_payment_stays_reserved() {
    let seller =
        Seller::answering(|| response(404).body(Body::from(r#"{"success":false,"error":"no such report"}"#)).unwrap()).await;
    let buyer = Buyer::new();
    let answer = buyer.client.get(seller.url("/report")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.paid().unwrap().outcome), (404, PaymentOutcome::Unconfirmed));
    assert!(answer.settlement().is_none());
    assert!(answer.text().await.unwrap().contains("no such report"));
    assert_eq!(buyer.reservation(0), OPEN);
}

#[tokio::test]
async fn the_protocols_answers_are_understood_in_bodies_too() {
    let seller =
        Seller::answering(|| response(500).body(Body::from(failed("settlement_pending", "0xfeed").to_string())).unwrap()).await;
    unknown(&Buyer::new(), &seller.url("/report")).await;
    let seller = Seller::answering(|| response(402).body(Body::from(failed("invalid_payload", "").to_string())).unwrap()).await;
    assert_eq!(rejected(&Buyer::new(), &seller).await.reason, Some(Reason::InvalidPayload));
    let terms = json!({"x402Version": 1, "error": "invalid_network", "accepts": []});
    let seller = Seller::answering(move || response(400).body(Body::from(terms.to_string())).unwrap()).await;
    assert_eq!(rejected(&Buyer::new(), &seller).await.reason, Some(Reason::InvalidNetwork));
    let allowance = Seller::start(|seen, base| {
        let mut terms = cent(base);
        let status = if seen.payment().is_some() { 412 } else { 402 };
        terms["error"] = json!(if status == 412 { "permit2_allowance_required" } else { "Payment required" });
        Some(response(status).header("PAYMENT-REQUIRED", encoded(&terms)).body(Body::empty()).unwrap())
    })
    .await;
    let rejected = rejected(&Buyer::new(), &allowance).await;
    assert_eq!((rejected.status, rejected.reason.unwrap().as_str()), (412, "permit2_allowance_required"));
}

#[tokio::test]
async fn a_server_error_without_a_settlement_is_unknown() {
    for status in [500, 502, 503, 504] {
        let seller = Seller::answering(move || response(status).body(Body::from("oops")).unwrap()).await;
        assert!(unknown(&Buyer::new(), &seller.url("/report")).await.contains(&status.to_string()));
    }
}

#[tokio::test]
async fn a_paid_request_that_is_not_answered_in_time_is_unknown() {
    let seller = Seller::start(|seen, base| seen.payment().is_none().then(|| asks(&cent(base)))).await;
    let buyer = Buyer::with(Wallet::default(), |builder| builder.paid_timeout(Duration::from_millis(50)));
    assert!(unknown(&buyer, &seller.url("/report")).await.contains("did not answer"));
    assert_eq!(seller.payments().len(), 1, "it is not sent twice");
}

#[tokio::test]
async fn an_unpaid_request_that_is_not_answered_in_time_costs_nothing() {
    let seller = Seller::start(|_, _| None).await;
    let buyer = Buyer::with(Wallet::default(), |builder| builder.probe_timeout(Duration::from_millis(50)));
    let error = buyer.client.get(seller.url("/report?key=secret")).send().await.unwrap_err();
    assert!(matches!(error, Error::Transport { .. }) && !error.may_have_paid(), "{error}");
    assert!(!format!("{error:?}").contains("secret"));
}

/// Reads one request's head, and answers with a cent's terms, closing the connection.
async fn ask_once(stream: &mut TcpStream, base: &str) {
    read_head(stream).await;
    let terms = encoded(&cent(base));
    let answer =
        format!("HTTP/1.1 402 Payment Required\r\npayment-required: {terms}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

#[tokio::test]
async fn a_connection_lost_after_the_payment_was_sent_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let url = format!("{base}/report");
    let server = tokio::spawn(async move {
        ask_once(&mut listener.accept().await.unwrap().0, &base).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(read_head(&mut stream).await.contains("payment-signature"));
    });
    assert!(unknown(&Buyer::new(), &url).await.contains("after the payment was sent"));
    server.await.unwrap();
}

#[tokio::test]
async fn a_payment_that_never_left_is_released() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let url = format!("{base}/report");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Nobody listens any more when the payment is to be sent.
        drop(listener);
        ask_once(&mut stream, &base).await;
    });
    let buyer = Buyer::new();
    let error = buyer.client.get(&url).send().await.unwrap_err();
    assert!(matches!(error, Error::Transport { .. }) && error.to_string().contains("nothing was paid"), "{error}");
    assert_eq!((buyer.wallet.signed(), buyer.reservation(0)), (1, None));
}

#[tokio::test]
async fn a_body_that_breaks_off_says_that_it_was_paid_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let url = format!("{base}/report");
    tokio::spawn(async move {
        ask_once(&mut listener.accept().await.unwrap().0, &base).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let settlement = encoded(&settled());
        let answer = format!("HTTP/1.1 200 OK\r\npayment-response: {settlement}\r\ncontent-length: 100\r\n\r\nhalf");
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let buyer = Buyer::new();
    let answer = buyer.client.get(&url).send().await.unwrap();
    let error = answer.text().await.unwrap_err();
    assert!(error.may_have_paid() && error.to_string().contains("pay again"), "{error}");
    assert!(is_committed(&buyer));
}

#[tokio::test]
async fn an_echo_too_long_for_a_header_is_withdrawn() {
    let seller = Seller::start(|_, base| {
        let mut terms = cent(base);
        terms["extensions"] = json!({"bazaar": "x".repeat(40_000)});
        Some(asks(&terms))
    })
    .await;
    let buyer = Buyer::new();
    let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(error, Error::BadTerms { .. }), "{error}");
    assert_eq!((buyer.reservation(0), seller.payments().len()), (None, 0));
}

#[tokio::test]
async fn a_body_that_is_no_json_is_not_called_broken_off() {
    let seller = Seller::honest().await;
    let answer = Buyer::new().client.get(seller.url("/report")).send().await.unwrap();
    let error = answer.json::<Value>().await.unwrap_err();
    assert!(error.may_have_paid() && error.to_string().contains("could not be read"), "{error}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_costs_nothing_and_no_error_shows_the_query() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/report?key=secret", free.local_addr().unwrap());
    drop(free);
    let error = Buyer::new().client.get(&url).send().await.unwrap_err();
    assert!(matches!(error, Error::Transport { .. }) && !format!("{error:?} {error}").contains("secret"), "{error:?}");
}
