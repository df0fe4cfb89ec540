//! `settlement_pending` as the official facilitators say it, through a real server and a facilitator behind real HTTP.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use farthing_core::reason::Reason;
use farthing_server::Server;
use http::StatusCode;
use serde_json::{Value, json};

use crate::remote::{Peer, kinds, peer, settled};
use crate::support::{NETWORK, PAY_TO, PAYER, buy, clock, schemes};

/// A shop whose facilitator verifies whatever comes, and then answers each settlement with the next of these.
async fn shop(settlements: Vec<(u16, Value)>) -> (Peer, Router) {
    let answer = move |at: usize| -> Response {
        match at {
            0 => axum::Json(kinds()).into_response(),
            1 => axum::Json(json!({"isValid": true, "payer": PAYER})).into_response(),
            _ => {
                let (status, body) = &settlements[at - 2];
                (StatusCode::from_u16(*status).unwrap(), body.to_string()).into_response()
            }
        }
    };
    let peer = peer(answer).await;
    let builder =
        Server::builder().schemes(schemes()).clock(clock()).facilitator(&peer.url).unwrap().pay_to(NETWORK, PAY_TO).unwrap();
    let layer = builder.build().await.unwrap().price("$0.01").unwrap();
    (peer, Router::new().route("/report", get(|| async { "the report" }).layer(layer)))
}

fn failed(reason: &str, transaction: &str) -> Value {
    json!({"success": false, "errorReason": reason, "transaction": transaction, "network": NETWORK, "payer": PAYER})
}

fn settle_bodies(peer: &Peer) -> Vec<bytes::Bytes> {
    let seen = peer.seen.lock().unwrap();
    seen.iter().filter(|sent| sent.path == "/settle").map(|sent| sent.body.clone()).collect()
}

#[tokio::test]
async fn a_pending_settlement_is_asked_for_once_more_with_the_same_bytes_whatever_its_status() {
    for status in [200, 202, 402, 500, 503] {
        let (peer, app) = shop(vec![(status, failed("settlement_pending", "0xabc")), (200, settled())]).await;
        let answer = buy(&app, "/report", "1").await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"), "{status}");
        let asked = settle_bodies(&peer);
        assert_eq!(asked.len(), 2);
        assert_eq!(asked[0], asked[1]);
    }
}

#[tokio::test]
async fn a_settlement_that_stays_pending_is_asked_for_twice_and_no_more() {
    let pending = (500, failed("settlement_pending", "0xabc"));
    let (peer, app) = shop(vec![pending.clone(), pending.clone(), pending]).await;
    let answer = buy(&app, "/report", "1").await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert_eq!(answer.settlement().error_reason, Some(Reason::SettlementPending));
    assert_eq!(answer.settlement().transaction, "0xabc");
    assert_eq!(settle_bodies(&peer).len(), 2);
}

#[tokio::test]
async fn without_a_transaction_there_is_nothing_to_ask_for_again() {
    let (peer, app) = shop(vec![(503, failed("settlement_pending", ""))]).await;
    let answer = buy(&app, "/report", "1").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.settlement().error_reason, Some(Reason::SettlementPending));
    assert_eq!(settle_bodies(&peer).len(), 1);
}

#[tokio::test]
async fn no_other_failure_is_asked_for_again() {
    let (peer, app) = shop(vec![(200, failed("invalid_transaction_state", "0xdead"))]).await;
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!(settle_bodies(&peer).len(), 1);
}

#[tokio::test]
async fn a_second_question_that_gets_no_answer_leaves_the_settlement_pending_with_its_transaction() {
    let (peer, app) = shop(vec![(500, failed("settlement_pending", "0xabc")), (502, json!("bad gateway"))]).await;
    let answer = buy(&app, "/report", "1").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.settlement().transaction, "0xabc");
    assert_eq!(settle_bodies(&peer).len(), 2);
}

#[tokio::test]
async fn no_buyer_hears_what_a_facilitator_thinks_of_the_seller() {
    let turned_away = json!({"success": false, "errorReason": "unauthorized", "errorMessage": "see to your key", "transaction": "", "network": ""});
    let (_peer, app) = shop(vec![(401, turned_away)]).await;
    let answer = buy(&app, "/report", "1").await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert_eq!(answer.settlement().error_reason, Some(Reason::UnexpectedSettleError));
    assert!(!answer.text().contains("key") && !answer.text().contains("unauthorized"), "{}", answer.text());
}

#[tokio::test]
async fn a_facilitator_that_knows_the_seller_no_more_frees_no_payment_that_may_have_settled() {
    let turned_away = json!({"success": false, "errorReason": "unauthorized", "transaction": "", "network": ""});
    let pending = (500, failed("settlement_pending", "0xabc"));
    let (_peer, app) = shop(vec![pending.clone(), pending, (401, turned_away), (200, settled())]).await;
    for _ in 0..2 {
        let answer = buy(&app, "/report", "1").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.settlement().error_reason, Some(Reason::SettlementPending));
    }
    assert_eq!(buy(&app, "/report", "1").await.text(), "the report");
}
