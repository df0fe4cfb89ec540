//! Routes that are priced up to a ceiling: the handler says how much is charged.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use farthing_core::amount::Amount;
use farthing_core::facilitator::FacilitatorError;
use farthing_core::reason::Reason;
use farthing_core::wire::{PaymentPayload, SettleResponse, Version};
use farthing_server::{Admission, Paid, RequestFacts, RouteError, Server, Settled, Usage, UsageError};
use http::StatusCode;

use crate::support::{
    Answer, MeteredScheme, NETWORK, PATIENCE, Shop, TRANSACTION, buy, fetch, payment, refused, replica, send, success,
    with_payment,
};

const CEILING: u64 = 10_000;

async fn metered_shop() -> Shop {
    Shop::with(|builder| builder.schemes(vec![Arc::new(MeteredScheme)])).await
}

/// `/report` for at most a cent, whose handler does this with its usage.
fn app(shop: &Shop, handler: impl Fn(&Usage) -> Response + Clone + Send + Sync + 'static) -> Router {
    app_of(&shop.server, "up to", handler)
}

fn app_of(server: &Server, price: &str, handler: impl Fn(&Usage) -> Response + Clone + Send + Sync + 'static) -> Router {
    let report = move |Extension(paid): Extension<Paid>| std::future::ready(handler(paid.usage()));
    let layer = if price == "up to" { server.price_up_to("$0.01") } else { server.price("$0.01") };
    Router::new().route("/report", get(report).layer(layer.unwrap()))
}

fn saying(header: &'static str) -> impl Fn(&Usage) -> Response + Clone + Send + Sync + 'static {
    move |_| ([("Settlement-Overrides", header)], "the report").into_response()
}

fn said(outcome: &Result<(), UsageError>) -> Response {
    assert_eq!(outcome, &Ok(()));
    "the report".into_response()
}

/// What the facilitator was asked to settle, each time.
fn asked(shop: &Shop) -> Vec<Amount> {
    shop.facilitator.settled.lock().unwrap().iter().map(|request| request.requirements.amount).collect()
}

fn free_success() -> SettleResponse {
    SettleResponse { transaction: String::new(), amount: Some(Amount::ZERO), ..success(&NETWORK.parse().unwrap()) }
}

fn assert_failed_free(answer: &Answer, shop: &mut Shop) {
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.json()["error"], "handler_charged_wrongly");
    assert!(answer.json()["message"].as_str().unwrap().contains("nothing was charged"));
    assert!(answer.header("payment-response").is_empty() && answer.header("settlement-overrides").is_empty());
    assert_eq!((asked(shop), shop.written()), (vec![], vec!["cancelled"]));
}

#[tokio::test]
async fn a_handler_charges_less_than_the_payer_allowed() {
    let mut shop = metered_shop().await;
    let app = app(&shop, |usage| said(&usage.add(300).and_then(|()| usage.clone().add(45))));
    let answer = buy(&app, "/report", "1").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
    assert_eq!(answer.settlement().amount, Some(345.into()));
    let verified = shop.facilitator.verified.lock().unwrap()[0].clone();
    assert_eq!((verified.requirements.amount, verified.requirements.scheme.as_str()), (CEILING.into(), "upto"));
    let settled = shop.facilitator.settled.lock().unwrap()[0].clone();
    assert!(settled.requirements.raw().contains("\"amount\":\"345\""), "{}", settled.requirements.raw());
    assert_eq!(settled.payment.payload.raw(), verified.payment.payload.raw());
    assert_eq!(shop.written(), ["settling", "served"]);
}

#[tokio::test]
async fn every_form_of_a_charge_is_understood_in_code_and_in_the_header() {
    let shop = metered_shop().await;
    let in_code: [fn(&Usage) -> Response; 3] =
        [|usage| said(&usage.set(77)), |usage| said(&usage.set_percent("33.33%")), |usage| said(&usage.set_price("$0.005"))];
    for ((nonce, charge), handler) in [("1", 77), ("2", 3_333), ("3", 5_000)].into_iter().zip(in_code) {
        assert_eq!(buy(&app(&shop, handler), "/report", nonce).await.settlement().amount, Some(charge.into()));
    }
    let in_header = [
        ("4", r#"{"amount":"77"}"#, 77),
        ("5", r#"{"amount":"33.33%"}"#, 3_333),
        ("6", r#"{"amount":"$0.005"}"#, 5_000),
        ("7", r#"{"other":1}"#, CEILING),
    ];
    for (nonce, header, charge) in in_header {
        let answer = buy(&app(&shop, saying(header)), "/report", nonce).await;
        assert_eq!((answer.settlement().amount, answer.header("settlement-overrides")), (Some(charge.into()), ""), "{header}");
    }
    let both = app(&shop, |usage| {
        usage.set(5).unwrap();
        saying(r#"{"amount":"6"}"#)(usage)
    });
    assert_eq!(buy(&both, "/report", "8").await.settlement().amount, Some(5.into()), "code counts more than a header");
}

#[tokio::test]
async fn without_a_word_the_whole_ceiling_is_charged() {
    let shop = metered_shop().await;
    let answer = buy(&app(&shop, |_| "the report".into_response()), "/report", "1").await;
    assert_eq!((answer.settlement().amount, asked(&shop)), (Some(CEILING.into()), vec![CEILING.into()]));
}

#[tokio::test]
async fn a_handler_cannot_charge_more_than_the_payer_allowed() {
    let shop = metered_shop().await;
    let app = app(&shop, |usage| {
        usage.set(CEILING).unwrap();
        let error = usage.add(1).unwrap_err();
        assert_eq!(error, UsageError::AboveCeiling { got: "1 more".to_owned(), ceiling: CEILING.into() });
        assert_eq!(usage.charge(), CEILING.into());
        said(&usage.set(9_999))
    });
    assert_eq!(buy(&app, "/report", "1").await.settlement().amount, Some(9_999.into()));
}

#[tokio::test]
async fn a_header_that_charges_what_cannot_be_charged_fails_the_request_and_charges_nothing() {
    for header in [r#"{"amount":"10001"}"#, r#"{"amount":"101%"}"#, r#"{"amount":"$1"}"#, r#"{"amount":5}"#, "5", "", "null"] {
        let mut shop = metered_shop().await;
        let answer = buy(&app(&shop, saying(header)), "/report", "1").await;
        assert_failed_free(&answer, &mut shop);
    }
    let mut shop = metered_shop().await;
    let twice = |_: &Usage| {
        let headers = [r#"{"amount":"1"}"#, r#"{"amount":"2"}"#].map(|value| ("settlement-overrides", value));
        (axum::response::AppendHeaders(headers), "the report").into_response()
    };
    let answer = buy(&app(&shop, twice), "/report", "1").await;
    assert_failed_free(&answer, &mut shop);
}

#[tokio::test]
async fn a_fixed_price_cannot_be_changed_by_a_handler() {
    let by_code = |usage: &Usage| {
        assert_eq!(usage.set(1), Err(UsageError::NotMetered));
        "the report".into_response()
    };
    let mut shop = Shop::open().await;
    let answer = buy(&app_of(&shop.server, "fixed", by_code), "/report", "1").await;
    assert_failed_free(&answer, &mut shop);
    let answer = buy(&app_of(&shop.server, "fixed", saying(r#"{"amount":"10000"}"#)), "/report", "1").await;
    assert_failed_free(&answer, &mut shop);
}

#[tokio::test]
async fn the_header_is_stripped_from_free_answers_too() {
    let shop = metered_shop().await;
    let declining = |usage: &Usage| (StatusCode::NOT_FOUND, saying(r#"{"amount":"1"}"#)(usage)).into_response();
    let answer = buy(&app(&shop, declining), "/report", "1").await;
    assert_eq!((answer.status, answer.header("settlement-overrides")), (StatusCode::NOT_FOUND, ""));
    assert_eq!(asked(&shop), []);
}

#[tokio::test]
async fn a_charge_of_nothing_is_asked_for_all_the_same_and_uses_the_payment_up() {
    let mut shop = metered_shop().await;
    shop.facilitator.will_settle(Ok(free_success()));
    let app = app(&shop, |usage| said(&usage.set(0)));
    let answer = buy(&app, "/report", "1").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
    let settlement = answer.settlement();
    assert_eq!((settlement.success, settlement.transaction.as_str(), settlement.amount), (true, "", Some(Amount::ZERO)));
    assert_eq!((asked(&shop), shop.written()), (vec![Amount::ZERO], vec!["settling", "served"]));
    let again = buy(&app, "/report", "1").await;
    assert_eq!((again.status, again.json()["error"].as_str()), (StatusCode::PAYMENT_REQUIRED, Some("payment_already_used")));
    assert!(again.json()["message"].as_str().unwrap().contains("cost nothing"));
}

#[tokio::test]
async fn a_settlement_that_does_not_fit_the_charge_is_not_believed() {
    let network = NETWORK.parse().unwrap();
    let cases = [
        (0, SettleResponse { transaction: TRANSACTION.to_owned(), ..free_success() }),
        (0, SettleResponse { amount: Some(1.into()), ..free_success() }),
        (5, SettleResponse { transaction: String::new(), ..success(&network) }),
        (5, SettleResponse { amount: Some(CEILING.into()), ..success(&network) }),
    ];
    for (charge, response) in cases {
        let mut shop = metered_shop().await;
        shop.facilitator.will_settle(Ok(response));
        let answer = buy(&app(&shop, move |usage| said(&usage.set(charge))), "/report", "1").await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{charge}");
        assert_eq!(shop.written(), ["settling", "unsettled"]);
    }
}

/// A handler that charges more each time it runs.
fn growing() -> (Arc<AtomicUsize>, impl Fn(&Usage) -> Response + Clone + Send + Sync + 'static) {
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let handler = move |usage: &Usage| {
        let run = u64::try_from(counted.fetch_add(1, Ordering::SeqCst)).unwrap();
        said(&usage.set(100 + run))
    };
    (runs, handler)
}

#[tokio::test]
async fn a_settlement_that_is_asked_for_again_is_asked_for_with_the_same_charge() {
    let shop = metered_shop().await;
    for settlement in [refused(Reason::SettlementPending, "0xabc"), refused(Reason::SettlementPending, "0xabc")] {
        shop.facilitator.will_settle(Ok(settlement));
    }
    shop.facilitator.will_settle(Err(FacilitatorError::Indeterminate("no answer".into())));
    let (runs, handler) = growing();
    let app = app(&shop, handler);
    for runs_so_far in [1, 1] {
        assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(runs.load(Ordering::SeqCst), runs_so_far, "it is settled before the work from now on");
    }
    let answer = buy(&app, "/report", "1").await;
    assert_eq!((answer.text(), answer.settlement().amount), ("the report", Some(100.into())));
    assert_eq!(asked(&shop), [Amount::from(100); 4]);
    assert_eq!((runs.load(Ordering::SeqCst), shop.facilitator.calls().0), (2, 1));
}

#[tokio::test]
async fn another_server_settles_for_the_very_charge_of_the_one_that_died_before_any_work() {
    let mut shop = metered_shop().await;
    let (runs, handler) = growing();
    shop.facilitator.may_settle.forget_permits(usize::MAX);
    let first = app(&shop, handler.clone());
    let paid = payment(&fetch(&first, "/report").await.terms(), "1");
    let request = tokio::spawn(async move { send(&first, with_payment("/report", &paid)).await });
    tokio::time::timeout(PATIENCE, shop.facilitator.settling.notified()).await.unwrap();
    assert_eq!(shop.next_written().await, Some("settling"));
    shop.deliveries.inner.die();
    request.abort();

    let next = app_of(&replica(&shop).await, "up to", handler);
    let permits = async {
        shop.facilitator.settling.notified().await;
        assert_eq!(runs.load(Ordering::SeqCst), 1, "nothing is done before it is settled");
        shop.facilitator.may_settle.add_permits(10);
    };
    let (answer, ()) = tokio::join!(buy(&next, "/report", "1"), permits);
    assert_eq!((answer.text(), answer.settlement().amount), ("the report", Some(100.into())));
    assert_eq!(asked(&shop), [Amount::from(100); 2]);
    assert_eq!((runs.load(Ordering::SeqCst), shop.facilitator.calls().0), (2, 1));
}

#[tokio::test]
async fn no_refusal_of_the_same_charge_sets_a_payment_free() {
    let mut shop = metered_shop().await;
    shop.facilitator.will_settle(Err(FacilitatorError::Indeterminate("no answer".into())));
    let (runs, handler) = growing();
    let app = app(&shop, handler);
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    shop.facilitator.will_settle(Ok(refused(Reason::PaymentAlreadyUsed, "")));
    let answer = buy(&app, "/report", "1").await;
    assert_eq!(answer.settlement().error_reason, Some(Reason::SettlementPending));
    assert_eq!((runs.load(Ordering::SeqCst), shop.written()), (1, vec!["settling", "unsettled", "unsettled"]));
    let answer = buy(&app, "/report", "1").await;
    assert_eq!((answer.text(), answer.settlement().amount), ("the report", Some(100.into())));
    assert_eq!(shop.written(), ["charged", "served"]);
    assert_eq!(asked(&shop), [Amount::from(100); 3]);
}

#[tokio::test]
async fn a_handle_that_outlives_its_request_changes_nothing_any_more() {
    let shop = metered_shop().await;
    let kept: Arc<Mutex<Option<Usage>>> = Arc::default();
    let keeper = Arc::clone(&kept);
    let app = app(&shop, move |usage| {
        *keeper.lock().unwrap() = Some(usage.clone());
        said(&usage.set(5))
    });
    assert_eq!(buy(&app, "/report", "1").await.settlement().amount, Some(5.into()));
    let usage = kept.lock().unwrap().take().unwrap();
    assert_eq!((usage.add(1), usage.charge()), (Err(UsageError::Late), 5.into()));
}

#[tokio::test]
async fn fixed_prices_and_ceilings_are_offered_by_their_own_schemes() {
    let shop = metered_shop().await;
    for (price, scheme) in [("fixed", "exact"), ("up to", "upto")] {
        let terms = fetch(&app_of(&shop.server, price, |_| ().into_response()), "/report").await.terms();
        let offered: Vec<&str> =
            terms["accepts"].as_array().unwrap().iter().map(|offer| offer["scheme"].as_str().unwrap()).collect();
        assert_eq!(offered, [scheme], "{price}");
    }
    let fixed = Shop::open().await.server;
    let error = fixed.price_up_to("$0.01").map(|_| ()).unwrap_err();
    assert!(
        matches!(error, RouteError::NoScheme { is_metered: true, .. }) && error.to_string().contains("exact on"),
        "{error}"
    );
    let refused = shop.server.price_up_to("$0.01").unwrap().upfront().map(|_| ()).unwrap_err();
    assert!(matches!(refused, RouteError::Offer { scheme: "upto", .. }), "{refused}");
}

#[tokio::test]
async fn a_client_cannot_send_the_header_itself() {
    let shop = metered_shop().await;
    let echo = |headers: http::HeaderMap| std::future::ready((headers, "the report"));
    let app = Router::new().route("/report", get(echo).layer(shop.server.price_up_to("$0.01").unwrap()));
    let paid = payment(&fetch(&app, "/report").await.terms(), "1");
    let mut request = with_payment("/report", &paid);
    request.headers_mut().insert("settlement-overrides", r#"{"amount":"0"}"#.parse().unwrap());
    assert_eq!(send(&app, request).await.settlement().amount, Some(CEILING.into()));
}

#[tokio::test]
async fn the_gate_itself_settles_nothing_for_a_handler_that_changes_a_fixed_price() {
    let mut shop = Shop::open().await;
    let facts = RequestFacts::http("GET", "https://tools.example/search".to_owned());
    let (gate, route) = (shop.server.gate(), shop.server.route(&"$0.01".parse().unwrap()).unwrap());
    let terms = route.terms(Version::V2, &facts.resource_url, "").unwrap();
    let paid = PaymentPayload::read(&payment(&serde_json::from_str(&terms).unwrap(), "1").to_string()).unwrap();
    let Admission::Paid(admitted) = gate.admit(&route, Some(paid), &facts).await else {
        panic!("a good payment was not admitted");
    };
    assert_eq!(admitted.paid().usage().add(1), Err(UsageError::NotMetered));
    assert!(matches!(gate.settle(admitted).await, Settled::NotSent(_)));
    assert_eq!((asked(&shop), shop.written()), (vec![], vec!["cancelled"]));
}
