//! Settlements that do not simply succeed: the answer stays here.

use farthing_core::facilitator::FacilitatorError;
use farthing_core::header;
use farthing_core::reason::Reason;
use farthing_core::wire::SettleResponse;
use http::StatusCode;
use serde_json::json;

use crate::support::{
    Answer, Fault, NETWORK, PAYER, Shop, TRANSACTION, buy, fetch, payment, refused, send, success, with_payment,
};

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
    assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written()), (2, (1, 3), vec!["charged", "served"]));
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
    assert_eq!(shop.written(), ["settling", "unsettled", "unsettled"]);
    assert_eq!(shop.runs(), 1, "no work is done before it is known");
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
    let answer = buy(&failing, "/report", "1").await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(answer.settlement().success, "the money has moved, and the buyer hears of it");
    assert_eq!(shop.written(), ["settling", "unsettled", "charged", "unsettled"]);
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

/// A payment that may have been charged, unanswered, and an app to present it to again.
async fn unsettled() -> (Shop, axum::Router, serde_json::Value) {
    let mut shop = Shop::open().await;
    let app = shop.app();
    shop.facilitator.will_settle(Err(FacilitatorError::Indeterminate("timed out".into())));
    let paid = payment(&fetch(&app, "/report").await.terms(), "1");
    assert_eq!(send(&app, with_payment("/report", &paid)).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(shop.written(), ["settling", "unsettled"]);
    (shop, app, paid)
}

#[tokio::test]
async fn no_refusal_frees_a_payment_that_may_have_been_charged_before() {
    let (mut shop, app, paid) = unsettled().await;
    // What a facilitator without a book says of a payment that it has carried out.
    let answers = [
        refused(Reason::InvalidExactEvmNonceAlreadyUsed, ""),
        refused(Reason::InvalidExactEvmTransactionFailed, "0xdead"),
        refused(Reason::UnexpectedSettleError, ""),
    ];
    for answer in answers {
        shop.facilitator.will_settle(Ok(answer));
        let answer = send(&app, with_payment("/report", &paid)).await;
        assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
        assert_eq!(answer.settlement().error_reason, Some(Reason::SettlementPending));
        assert!(answer.text().contains("do not sign another") && !answer.text().contains("nothing was charged"));
        assert_eq!((shop.runs(), shop.written()), (1, vec!["unsettled"]));
    }
    assert_eq!(send(&app, with_payment("/report", &paid)).await.text(), "the report");
    assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written()), (2, (1, 5), vec!["charged", "served"]));
}

#[tokio::test]
async fn a_contradiction_about_a_payment_that_was_presented_again_is_not_believed() {
    let (mut shop, app, paid) = unsettled().await;
    shop.facilitator.will_settle(Ok(SettleResponse { transaction: String::new(), ..success(&NETWORK.parse().unwrap()) }));
    let answer = send(&app, with_payment("/report", &paid)).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_withheld(&answer);
    assert_eq!((shop.runs(), shop.written()), (1, vec!["unsettled"]));
}

#[tokio::test]
async fn work_that_breaks_after_a_payment_was_presented_again_does_not_say_that_nothing_was_charged() {
    let (mut shop, app, paid) = unsettled().await;
    let panics = || -> StatusCode { panic!("a secret") };
    let panicking = axum::routing::get(move || async move { panics() });
    let panicking = axum::Router::new().route("/report", panicking.layer(shop.server.price("$0.01").unwrap()));
    let answer = send(&panicking, with_payment("/report", &paid)).await;
    assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("handler_panicked")));
    assert!(answer.text().contains("has settled") && !answer.text().contains("nothing was charged"), "{}", answer.text());
    assert!(answer.settlement().success);
    assert_eq!(shop.written(), ["charged", "unsettled"]);
    assert_eq!(send(&app, with_payment("/report", &paid)).await.text(), "the report");
}

#[tokio::test]
async fn a_pending_settlement_is_not_refused_for_its_own_sake() {
    for (second, is_final) in [("", false), ("0xdef", false), ("0xabc", true)] {
        let mut shop = Shop::open().await;
        shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, "0xabc")));
        shop.facilitator.will_settle(Ok(refused(Reason::InvalidTransactionState, second)));
        let answer = buy(&shop.app(), "/report", "1").await;
        let expected = if is_final { StatusCode::PAYMENT_REQUIRED } else { StatusCode::SERVICE_UNAVAILABLE };
        assert_eq!((answer.status, answer.settlement().transaction.as_str()), (expected, "0xabc"), "{second}");
        assert_eq!(shop.written(), ["settling", if is_final { "cancelled" } else { "unsettled" }], "{second}");
    }
}

#[tokio::test]
async fn an_answer_whose_delivery_is_not_in_the_book_stays_here_and_is_delivered_once() {
    for fault in [Fault::Unwritten, Fault::Unheard] {
        let mut shop = Shop::open().await;
        let app = shop.app();
        shop.deliveries.will_fail("served", fault);
        let paid = payment(&fetch(&app, "/report").await.terms(), "1");
        let answer = send(&app, with_payment("/report", &paid)).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{fault:?}");
        assert_withheld(&answer);
        let settlement = answer.settlement();
        assert_eq!((settlement.error_reason, &*settlement.transaction), (Some(Reason::SettlementPending), TRANSACTION));
        assert_eq!(shop.written().last(), Some(&"unsettled"), "{fault:?}");
        assert_eq!(send(&app, with_payment("/report", &paid)).await.text(), "the report", "{fault:?}");
        let answer = send(&app, with_payment("/report", &paid)).await;
        assert_eq!(answer.terms()["error"], "payment_already_used", "{fault:?}");
        // What was written and not heard of is found again; what was not is settled and made again.
        let (written, runs) = if fault == Fault::Unheard { (vec!["served"], 1) } else { (vec!["charged", "served"], 2) };
        assert_eq!((shop.written(), shop.runs()), (written, runs), "{fault:?}");
    }
}

#[tokio::test]
async fn a_book_that_is_away_lets_nobody_in_and_asks_nobody_to_sign_again() {
    let (mut shop, app, paid) = unsettled().await;
    shop.deliveries.will_fail("claimed", Fault::Unwritten);
    let answer = send(&app, with_payment("/report", &paid)).await;
    assert_eq!((answer.status, &answer.json()["error"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("book_unavailable")));
    // It may have been charged by the request before.
    assert!(answer.text().contains("by this request") && answer.text().contains("do not sign another"), "{}", answer.text());
    assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written()), (1, (1, 1), vec![]));
}
