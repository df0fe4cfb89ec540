//! Settlements that do not simply succeed: the answer stays here.

use farthing_core::facilitator::FacilitatorError;
use farthing_core::header;
use farthing_core::reason::Reason;
use farthing_core::wire::SettleResponse;
use http::StatusCode;
use serde_json::json;

use crate::support::{Answer, NETWORK, PAYER, Shop, buy, fetch, payment, refused, send, success, with_payment};

fn assert_withheld(answer: &Answer) {
    assert!(!answer.text().contains("the report"), "{}", answer.text());
    assert!(!answer.settlement().success);
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_refused_settlement_is_402_with_its_reason_and_without_the_answer() {
    let mut shop = Shop::open().await;
    shop.facilitator.will_settle(Ok(refused(Reason::InvalidExactEvmTransactionFailed, "0xdead")));
    let answer = buy(&shop.app(), "/report", "1").await;
    assert_eq!(answer.status, StatusCode::PAYMENT_REQUIRED);
    assert_withheld(&answer);
    assert_eq!(answer.terms()["error"], "invalid_exact_evm_transaction_failed");
    assert_eq!(answer.settlement().error_reason, Some(Reason::InvalidExactEvmTransactionFailed));
    assert_eq!(answer.settlement().network, Some(NETWORK.parse().unwrap()));
    assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written()), (1, (1, 1), vec!["settling", "cancelled"]));
}

#[tokio::test]
async fn a_version_1_buyer_hears_of_a_refused_settlement_in_version_1() {
    let shop = Shop::open().await;
    shop.facilitator.will_settle(Ok(refused(Reason::InsufficientFunds, "")));
    let payment = json!({"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": {"nonce": "1"}});
    let request = http::Request::get("/report").header("x-payment", header::encode(&payment).unwrap());
    let answer = send(&shop.app(), request.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("insufficient_funds")));
    let told = header::decode_settlement(answer.headers["x-payment-response"].as_bytes()).unwrap();
    assert_eq!(told.error_reason, Some(Reason::InsufficientFunds));
}

#[tokio::test]
async fn a_pending_settlement_is_asked_for_once_more_with_the_same_payment() {
    let mut shop = Shop::open().await;
    shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, "0xabc")));
    let answer = buy(&shop.app(), "/report", "1").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
    assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written()), (1, (1, 2), vec!["settling", "served"]));
    let asked = shop.facilitator.settled.lock().unwrap();
    assert_eq!(serde_json::to_string(&asked[0]).unwrap(), serde_json::to_string(&asked[1]).unwrap());
}

#[tokio::test]
async fn a_settlement_that_stays_pending_is_resumed_by_the_same_request_without_verifying() {
    let mut shop = Shop::open().await;
    let app = shop.app();
    for _ in 0..2 {
        shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, "0xabc")));
    }
    let terms = fetch(&app, "/report").await.terms();
    let paid = payment(&terms, "1");
    let answer = send(&app, with_payment("/report", &paid)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert_withheld(&answer);
    assert_eq!(answer.settlement().error_reason, Some(Reason::SettlementPending));
    assert_eq!(answer.settlement().transaction, "0xabc");
    assert_eq!((shop.facilitator.calls(), shop.written()), ((1, 2), vec!["settling", "unsettled"]));

    let mut elsewhere = paid.clone();
    elsewhere.as_object_mut().unwrap().remove("resource");
    let answer = send(&app, with_payment("/report?other", &elsewhere)).await;
    assert_eq!((answer.status, &answer.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("payment_already_used")));

    let answer = send(&app, with_payment("/report", &paid)).await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
    assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written()), (2, (1, 3), vec!["settling", "served"]));
}

#[tokio::test]
async fn another_payment_with_the_same_nonce_does_not_take_up_a_pending_settlement() {
    let mut shop = Shop::open().await;
    let app = shop.app();
    shop.facilitator.will_settle(Err(FacilitatorError::Indeterminate("timed out".into())));
    let paid = payment(&fetch(&app, "/report").await.terms(), "1");
    assert_eq!(send(&app, with_payment("/report", &paid)).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((shop.runs(), shop.written()), (1, vec!["settling", "unsettled"]));
    let mut forged = paid.clone();
    forged["payload"]["signature"] = json!("of somebody else");
    let answer = send(&app, with_payment("/report", &forged)).await;
    assert_eq!((answer.status, &answer.terms()["error"]), (StatusCode::PAYMENT_REQUIRED, &json!("payment_already_used")));
    assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written()), (1, (1, 1), vec![]));
    assert_eq!(send(&app, with_payment("/report", &paid)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_settlement_without_an_answer_may_have_happened() {
    let mut shop = Shop::open().await;
    let app = shop.app();
    shop.facilitator.will_settle(Err(FacilitatorError::Indeterminate("timed out".into())));
    let answer = buy(&app, "/report", "1").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_withheld(&answer);
    assert_eq!(answer.settlement().error_reason, Some(Reason::SettlementPending));
    // Even a facilitator that cannot be reached now does not undo what may have been sent before.
    shop.facilitator.will_settle(Err(FacilitatorError::Unavailable("down".into())));
    assert_eq!(buy(&app, "/report", "1").await.settlement().error_reason, Some(Reason::SettlementPending));
    assert_eq!(shop.written(), ["settling", "unsettled", "settling", "unsettled"]);
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::OK);
    assert_eq!(shop.facilitator.calls(), (1, 3));
}

#[tokio::test]
async fn a_resumed_payment_is_not_set_free_by_a_handler_that_fails() {
    let mut shop = Shop::open().await;
    shop.facilitator.will_settle(Err(FacilitatorError::Indeterminate("timed out".into())));
    assert_eq!(buy(&shop.app(), "/report", "1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let failing = axum::routing::get(|| async { StatusCode::INTERNAL_SERVER_ERROR });
    let failing = axum::Router::new().route("/report", failing.layer(shop.server.price("$0.01").unwrap()));
    assert_eq!(buy(&failing, "/report", "1").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(shop.written(), ["settling", "unsettled", "unsettled"]);
    assert_eq!(buy(&shop.app(), "/report", "1").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_settlement_that_was_never_sent_leaves_the_payment_as_it_was() {
    let mut shop = Shop::open().await;
    let app = shop.app();
    shop.facilitator.will_settle(Err(FacilitatorError::Unavailable("refused".into())));
    let answer = buy(&app, "/report", "1").await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert_withheld(&answer);
    assert_eq!(answer.settlement().error_reason, Some(Reason::UnexpectedSettleError));
    assert_eq!(shop.written(), ["settling", "cancelled"]);
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::OK);
    assert_eq!(shop.facilitator.calls(), (2, 2));
}

#[tokio::test]
async fn a_settlement_that_contradicts_the_payment_is_not_believed() {
    let honest = success(&NETWORK.parse().unwrap());
    let lies = [
        SettleResponse { transaction: String::new(), ..honest.clone() },
        SettleResponse { network: Some("eip155:8453".parse().unwrap()), ..honest.clone() },
        SettleResponse { network: None, ..honest.clone() },
        SettleResponse { payer: Some("0x0000000000000000000000000000000000000001".parse().unwrap()), ..honest.clone() },
        SettleResponse { amount: Some(9_999.into()), ..honest.clone() },
    ];
    for lie in lies {
        let mut shop = Shop::open().await;
        shop.facilitator.will_settle(Ok(lie.clone()));
        let answer = buy(&shop.app(), "/report", "1").await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{lie:?}");
        assert_withheld(&answer);
        assert_eq!(shop.written(), ["settling", "unsettled"], "{lie:?}");
    }
    let truths = [
        SettleResponse { payer: None, ..honest.clone() },
        SettleResponse { payer: Some(PAYER.to_lowercase().parse().unwrap()), ..honest.clone() },
        SettleResponse { amount: Some(10_000.into()), ..honest },
    ];
    for truth in truths {
        let shop = Shop::open().await;
        shop.facilitator.will_settle(Ok(truth));
        let answer = buy(&shop.app(), "/report", "1").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.settlement().payer.is_some());
    }
}

#[tokio::test]
async fn a_settlement_that_makes_no_sense_is_unknown() {
    let mut shop = Shop::open().await;
    shop.facilitator.will_settle(Err(FacilitatorError::Malformed("success: \"yes\"".to_owned())));
    let answer = buy(&shop.app(), "/report", "1").await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_withheld(&answer);
    assert_eq!(shop.written(), ["settling", "unsettled"]);
}
