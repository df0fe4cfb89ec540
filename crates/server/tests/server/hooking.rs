//! Hooks: when they are asked, in which order, what they may change, and what the book says whatever they do.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::routing::get;
use farthing_core::facilitator::FacilitatorError;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::VerifyResponse;
use http::StatusCode;
use tower::ServiceExt;

use crate::hook_support::{Act, Notes, shop, shop_of, with_hooks};
use crate::quote_support::{Prices, key};
use crate::support::{Answer, MeteredScheme, Shop, TRANSACTION, buy, fetch, payment, refused, with_payment};

const BEFORE_SETTLE: &str = "a: before settle after-handler 10000";

/// All but what every request says.
fn turns(notes: &Notes) -> Vec<String> {
    notes.take().into_iter().filter(|note| !note.contains(": request")).collect()
}

fn assert_turned_away(answer: &Answer, shop: &mut Shop) {
    assert_eq!((answer.status, answer.json()["error"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("hook_failed")));
    assert!(answer.json()["message"].to_string().contains("nothing was charged by this request"));
    assert_eq!((shop.runs(), shop.facilitator.calls().1), (0, 0));
}

#[tokio::test]
async fn hooks_are_asked_at_every_turn_in_the_order_in_which_they_were_added() {
    let (mut shop, notes) = shop_of(&[("a", &[]), ("b", &[])]).await;
    let answer = buy(&shop.app(), "/report", "1").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
    let turns = [
        "request GET http://localhost/report false".to_owned(),
        "request GET http://localhost/report true".to_owned(),
        "before verify".to_owned(),
        "after verify".to_owned(),
        "before settle after-handler 10000".to_owned(),
        format!("after settle after-handler {TRANSACTION:?}"),
    ];
    let expected: Vec<String> = turns.iter().flat_map(|turn| [format!("a: {turn}"), format!("b: {turn}")]).collect();
    assert_eq!(notes.all(), expected);
    assert_eq!(shop.written(), ["settling", "served"]);
}

#[tokio::test]
async fn where_the_money_moves_first_the_phase_says_so_and_nobody_else_verifies() {
    let (mut shop, notes) = shop(&[]).await;
    let layer = shop.server.price("$0.01").unwrap().upfront().unwrap();
    let app = Router::new().route("/report", get(|| async { "the report" }).layer(layer));
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::OK);
    let settled = format!("a: after settle before-handler {TRANSACTION:?}");
    assert_eq!(turns(&notes), ["a: before verify", "a: before settle before-handler 10000", &settled]);
    assert_eq!(shop.written(), ["settling", "charged", "served"]);
}

#[tokio::test]
async fn a_hook_may_let_a_request_in_without_payment_or_turn_it_away() {
    let (mut shop, notes) = shop_of(&[("a", &[("request", Act::Answer)]), ("b", &[("request", Act::Abort)])]).await;
    let granted = fetch(&shop.app(), "/report").await;
    assert_eq!((granted.status, granted.text()), (StatusCode::OK, "the report"));
    assert_eq!(granted.header("cache-control"), "private, no-store");
    assert_eq!(notes.take(), ["a: request GET http://localhost/report false"], "the first one decides");

    let (other, _) = shop_of(&[("b", &[("request", Act::Abort)])]).await;
    let denied = fetch(&other.app(), "/report").await;
    assert_eq!((denied.status, denied.json()["error"].as_str()), (StatusCode::FORBIDDEN, Some("access_denied")));
    assert_eq!(denied.json()["message"], "not for you");
    assert!(denied.header("payment-required").is_empty());
    for act in [Act::Fail, Act::Panic] {
        let (mut broken, _) = crate::hook_support::shop(&[("request", act)]).await;
        assert_turned_away(&fetch(&broken.app(), "/report").await, &mut broken);
    }
    assert_eq!((shop.facilitator.calls(), shop.written(), other.runs()), ((0, 0), vec![], 0));
}

#[tokio::test]
async fn routes_whose_price_is_asked_ask_hooks_first() {
    let notes = Notes::default();
    let hooks = |builder| with_hooks(builder, &notes, &[("a", &[("request", Act::Abort)])]).quote_key(key(1));
    let (shop, prices) = (Shop::with(hooks).await, Prices::of(1));
    let app = crate::quote_support::app(&shop, &prices);
    assert_eq!(fetch(&app, "/report").await.status, StatusCode::FORBIDDEN);
    assert_eq!((prices.times_asked(), shop.runs()), (0, 0));
}

#[tokio::test]
async fn an_abort_before_the_verification_refuses_the_payment_and_leaves_it_free() {
    let (mut shop, notes) = shop_of(&[("a", &[("before verify", Act::Abort)]), ("b", &[])]).await;
    let answer = buy(&shop.app(), "/report", "1").await;
    assert_eq!((answer.status, answer.terms()["error"].as_str()), (StatusCode::PAYMENT_REQUIRED, Some("hook_says_no")));
    assert_eq!((turns(&notes), shop.facilitator.calls()), (vec!["a: before verify".to_owned()], (0, 0)));
    assert_eq!((shop.runs(), shop.written()), (0, vec!["cancelled"]));
}

#[tokio::test]
async fn a_skipped_verification_is_the_hooks_word_and_the_facilitator_still_settles() {
    let (mut shop, notes) = shop(&[("before verify", Act::Answer)]).await;
    assert_eq!(buy(&shop.app(), "/report", "1").await.text(), "the report");
    assert_eq!(shop.facilitator.calls(), (0, 1));
    assert_eq!(turns(&notes)[..2], ["a: before verify", "a: after verify"]);
    assert_eq!(shop.written(), ["settling", "served"]);
    let (mut shop, _) = crate::hook_support::shop(&[("before verify", Act::AnswerNo)]).await;
    assert_eq!(buy(&shop.app(), "/report", "1").await.terms()["error"], "hook_says_no");
    assert_eq!((shop.facilitator.calls(), shop.written()), ((0, 0), vec!["cancelled"]));
}

#[tokio::test]
async fn an_abort_after_the_verification_cancels_the_payment() {
    let (mut shop, notes) = shop_of(&[("a", &[("after verify", Act::Answer)]), ("b", &[("after verify", Act::Abort)])]).await;
    let answer = buy(&shop.app(), "/report", "1").await;
    assert_eq!((answer.status, answer.terms()["error"].as_str()), (StatusCode::PAYMENT_REQUIRED, Some("hook_says_no")));
    let canceled = "canceled after_verify_aborted None None";
    assert_eq!(turns(&notes)[4..], [format!("a: {canceled}"), format!("b: {canceled}")]);
    assert_eq!((shop.runs(), shop.facilitator.calls().1, shop.written()), (0, 0, vec!["cancelled"]));
}

#[tokio::test]
async fn an_answer_in_the_handlers_place_is_what_is_paid_for() {
    let (mut shop, notes) = shop_of(&[("a", &[("after verify", Act::Answer)]), ("b", &[])]).await;
    let answer = buy(&shop.app(), "/report", "1").await;
    assert_eq!((answer.status, answer.text(), answer.header("content-type")), (StatusCode::OK, "by a", "text/x-hook"));
    assert_eq!(answer.settlement().transaction, TRANSACTION);
    assert_eq!((shop.runs(), shop.facilitator.calls(), shop.written()), (0, (1, 1), vec!["settling", "served"]));
    assert!(notes.all().contains(&"b: after verify".to_owned()), "the others are asked all the same");
}

#[tokio::test]
async fn a_payment_that_was_not_found_good_can_be_taken_by_a_hooks_word() {
    for (verdict, told) in [
        (Ok(VerifyResponse::invalid(Refusal::new(Reason::InsufficientFunds, "poor"), None)), "refused insufficient_funds"),
        (Err(FacilitatorError::Unavailable("away".into())), "unavailable"),
    ] {
        let (mut shop, notes) = shop(&[("verify failure", Act::Answer)]).await;
        shop.facilitator.will_verify(verdict);
        assert_eq!(buy(&shop.app(), "/report", "1").await.text(), "the report");
        assert_eq!(turns(&notes)[1..3], [format!("a: verify failure {told}"), "a: after verify".to_owned()]);
        assert_eq!(shop.written(), ["settling", "served"]);
    }
    for act in [Act::AnswerNo, Act::Fail, Act::Panic] {
        let (mut shop, _) = shop(&[("verify failure", act)]).await;
        shop.facilitator.will_verify(Ok(VerifyResponse::invalid(Refusal::new(Reason::InsufficientFunds, "poor"), None)));
        assert_eq!(buy(&shop.app(), "/report", "1").await.terms()["error"], "insufficient_funds", "{act:?}");
        assert_eq!((shop.runs(), shop.written()), (0, vec!["cancelled"]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_before_the_work_lets_nobody_in() {
    for moment in ["before verify", "after verify"] {
        for act in [Act::Fail, Act::Panic, Act::Hang] {
            let (mut shop, notes) = shop(&[(moment, act)]).await;
            assert_turned_away(&buy(&shop.app(), "/report", "1").await, &mut shop);
            assert_eq!(shop.written(), ["cancelled"], "{moment} {act:?}");
            let is_told = turns(&notes).contains(&"a: canceled after_verify_aborted None None".to_owned());
            assert_eq!(is_told, moment == "after verify");
        }
    }
}

#[tokio::test]
async fn an_abort_before_the_settlement_charges_nobody_and_gives_no_answer() {
    let (mut shop, notes) = shop(&[("before settle", Act::Abort)]).await;
    let answer = buy(&shop.app(), "/report", "1").await;
    assert_eq!((answer.status, answer.terms()["error"].as_str()), (StatusCode::PAYMENT_REQUIRED, Some("hook_says_no")));
    assert_eq!(answer.settlement().error_reason, Some(Reason::from("hook_says_no")));
    assert_eq!((shop.runs(), shop.facilitator.calls().1, shop.written()), (1, 0, vec!["cancelled"]));
    assert_eq!(turns(&notes)[2..], [BEFORE_SETTLE], "who aborts knows that by itself");
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_before_the_settlement_sends_nothing() {
    for act in [Act::Fail, Act::Panic, Act::Hang] {
        let (mut shop, _) = shop(&[("before settle", act)]).await;
        let answer = buy(&shop.app(), "/report", "1").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{act:?}");
        assert!(!answer.settlement().success && answer.text().contains("nothing was charged"));
        assert_eq!((shop.facilitator.calls().1, shop.written()), (0, vec!["cancelled"]));
    }
}

#[tokio::test]
async fn what_a_hook_says_to_be_settled_is_served_and_marked_in_the_book() {
    let (mut shop, notes) = shop(&[("before settle", Act::Answer)]).await;
    let answer = buy(&shop.app(), "/report", "1").await;
    assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
    let settlement = answer.settlement();
    assert_eq!((settlement.transaction.as_str(), settlement.extra), ("", Some(serde_json::json!({"settledBy": "hook"}))));
    assert_eq!((shop.facilitator.calls().1, shop.written()), (0, vec!["settling", "served"]));
    assert_eq!(turns(&notes)[2..], [BEFORE_SETTLE, "a: after settle after-handler \"\""]);
    let again = buy(&shop.app(), "/report", "1").await;
    assert_eq!(again.json()["error"], "payment_already_used", "it has bought what it can buy");
}

#[tokio::test]
async fn what_a_hook_says_not_to_be_settled_is_not() {
    let (mut shop, _) = shop(&[("before settle", Act::AnswerNo)]).await;
    let answer = buy(&shop.app(), "/report", "1").await;
    assert_eq!((answer.status, answer.terms()["error"].as_str()), (StatusCode::PAYMENT_REQUIRED, Some("hook_says_no")));
    assert_eq!((shop.facilitator.calls().1, shop.written()), (0, vec!["settling", "cancelled"]));
    let (mut shop, _) = crate::hook_support::shop(&[("before settle", Act::AnswerUnknown)]).await;
    let answer = buy(&shop.app(), "/report", "1").await;
    assert_eq!(
        (answer.status, answer.settlement().error_reason),
        (StatusCode::SERVICE_UNAVAILABLE, Some(Reason::SettlementPending))
    );
    assert_eq!(shop.written(), ["settling", "unsettled"]);
}

#[tokio::test]
async fn a_refused_settlement_can_be_taken_over_and_is_marked() {
    let away = || Err(FacilitatorError::Unavailable("away".into()));
    for (settlement, told) in
        [(Ok(refused(Reason::InsufficientFunds, "")), "refused insufficient_funds"), (away(), "unavailable")]
    {
        let (mut shop, notes) = shop(&[("settle failure", Act::Answer)]).await;
        shop.facilitator.will_settle(settlement);
        let answer = buy(&shop.app(), "/report", "1").await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "the report"));
        assert_eq!(answer.settlement().extra, Some(serde_json::json!({"settledBy": "hook"})));
        assert_eq!(turns(&notes)[3..], [format!("a: settle failure after-handler {told}")]);
        assert_eq!(shop.written(), ["settling", "served"]);
    }
    for act in [Act::AnswerNo, Act::Fail, Act::Panic] {
        let (mut shop, _) = shop(&[("settle failure", act)]).await;
        shop.facilitator.will_settle(Ok(refused(Reason::InsufficientFunds, "")));
        assert_eq!(buy(&shop.app(), "/report", "1").await.terms()["error"], "insufficient_funds");
        assert_eq!(shop.written(), ["settling", "cancelled"], "{act:?}");
    }
}

#[tokio::test]
async fn no_hook_ends_what_is_not_known() {
    for act in [Act::Answer, Act::AnswerNo, Act::Fail, Act::Panic] {
        let (mut shop, notes) = shop(&[("settle failure", act)]).await;
        for _ in 0..2 {
            shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, "0xabc")));
        }
        let answer = buy(&shop.app(), "/report", "1").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{act:?}");
        assert_eq!(answer.settlement().transaction, "0xabc");
        assert_eq!(turns(&notes)[3..], ["a: settle failure after-handler unknown 0xabc"]);
        assert_eq!(shop.written(), ["settling", "unsettled"]);
        // Presented again, it is settled before the work.
        assert_eq!(buy(&shop.app(), "/report", "1").await.text(), "the report");
        let settled = format!("a: after settle before-handler {TRANSACTION:?}");
        assert_eq!(turns(&notes), ["a: before settle before-handler 10000", &settled]);
        assert_eq!(shop.written(), ["charged", "served"]);
    }
}

#[tokio::test]
async fn a_hook_that_keeps_an_unknown_settlement_from_being_asked_about_leaves_it_unknown() {
    for act in [Act::Abort, Act::Fail, Act::Panic, Act::AnswerNo] {
        let mut shop = Shop::open().await;
        for _ in 0..2 {
            shop.facilitator.will_settle(Ok(refused(Reason::SettlementPending, "0xabc")));
        }
        buy(&shop.app(), "/report", "1").await;
        shop.written();
        let gate = shop.server.gate().clone();
        let script = crate::hook_support::Script { name: "a", notes: Notes::default(), acts: vec![("before settle", act)] };
        let gate = gate.hooks(vec![Arc::new(script)]);
        let layer = shop.server.price("$0.01").unwrap();
        let presented = payment(&fetch(&shop.app(), "/report").await.terms(), "1");
        let presented = farthing_core::header::decode_payment(farthing_core::header::encode(&presented).unwrap().as_bytes());
        let facts = farthing_server::RequestFacts::http("GET", "http://localhost/report".to_owned());
        let admission = gate.admit(layer.route(), Some(presented.unwrap()), &facts).await;
        assert!(matches!(admission, farthing_server::Admission::Unsettled(farthing_server::Settled::Pending(_))), "{act:?}");
        assert_eq!((shop.facilitator.calls().1, shop.written()), (2, vec!["unsettled"]));
        assert_eq!(buy(&shop.app(), "/report", "1").await.text(), "the report", "without that hook it goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_after_the_settlement_changes_nothing() {
    for act in [Act::Fail, Act::Panic, Act::Hang] {
        let (mut shop, notes) = shop_of(&[("a", &[("after settle", act)]), ("b", &[])]).await;
        let answer = buy(&shop.app(), "/report", "1").await;
        assert_eq!((answer.status, answer.settlement().transaction.as_str()), (StatusCode::OK, TRANSACTION), "{act:?}");
        assert_eq!(shop.written(), ["settling", "served"]);
        assert!(turns(&notes).iter().any(|note| note.starts_with("b: after settle")), "the others look all the same");
    }
}

#[tokio::test]
async fn work_that_fails_cancels_the_payment_for_its_reason() {
    let failing = |shop: &Shop| {
        let handler = |query: axum::extract::RawQuery| async move {
            match query.0.as_deref() {
                Some("panic") => panic!("the handler is broken"),
                _ => StatusCode::BAD_GATEWAY,
            }
        };
        Router::new().route("/report", get(handler).layer(shop.server.price("$0.01").unwrap()))
    };
    for act in [None, Some(Act::Fail), Some(Act::Panic)] {
        let acts: Vec<_> = act.map(|act| ("canceled", act)).into_iter().collect();
        let (mut shop, notes) = shop(&acts).await;
        let app = failing(&shop);
        assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::BAD_GATEWAY);
        assert_eq!(turns(&notes)[2..], ["a: canceled handler_failed Some(502) None"]);
        assert_eq!(buy(&app, "/report?panic", "2").await.json()["error"], "handler_panicked");
        assert_eq!(turns(&notes)[2..], ["a: canceled handler_threw None None"]);
        assert_eq!((shop.facilitator.calls().1, shop.written()), (0, vec!["cancelled", "cancelled"]));
    }
}

#[tokio::test]
async fn a_caller_who_leaves_cancels_the_payment_and_hooks_hear_of_it() {
    let (mut shop, notes) = shop(&[]).await;
    let layer = shop.server.price("$0.01").unwrap();
    let runs = Arc::clone(&shop.runs);
    let handler = move || {
        runs.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<&str>()
    };
    let app = Router::new().route("/report", get(handler).layer(layer));
    let terms = fetch(&app, "/report").await.terms();
    let request = tokio::spawn(app.oneshot(with_payment("/report", &payment(&terms, "1"))));
    notes.wait_for("after verify").await;
    while shop.runs() == 0 {
        tokio::task::yield_now().await;
    }
    request.abort();
    assert_eq!(notes.wait_for("canceled").await, "a: canceled handler_threw None None");
    assert_eq!(shop.next_written().await, Some("cancelled"));
}

#[tokio::test]
async fn a_caller_who_leaves_while_it_is_charged_in_advance_is_told_of_with_its_settlement() {
    let (mut shop, notes) = shop(&[]).await;
    let layer = shop.server.price("$0.01").unwrap().upfront().unwrap();
    let app = Router::new().route("/report", get(|| async { "the report" }).layer(layer));
    let terms = fetch(&app, "/report").await.terms();
    shop.facilitator.may_settle.forget_permits(usize::MAX >> 3);
    let request = tokio::spawn(app.oneshot(with_payment("/report", &payment(&terms, "1"))));
    shop.facilitator.settling.notified().await;
    request.abort();
    assert!(request.await.unwrap_err().is_cancelled());
    shop.facilitator.may_settle.add_permits(1);
    let canceled = format!("a: canceled handler_threw None Some({TRANSACTION:?})");
    assert_eq!(notes.wait_for("canceled").await, canceled);
    for expected in ["settling", "charged", "unsettled"] {
        assert_eq!(shop.next_written().await, Some(expected));
    }
}

#[tokio::test]
async fn a_caller_who_leaves_while_a_hook_is_asked_leaves_nothing_behind() {
    for moment in ["before verify", "after verify"] {
        let (mut shop, notes) = shop(&[(moment, Act::Hang)]).await;
        let app = shop.app();
        let terms = fetch(&app, "/report").await.terms();
        let request = tokio::spawn(app.oneshot(with_payment("/report", &payment(&terms, "1"))));
        notes.wait_for(moment).await;
        request.abort();
        assert_eq!(shop.next_written().await, Some("cancelled"), "{moment}");
    }
}

#[tokio::test]
async fn work_that_fails_after_it_was_paid_is_told_with_its_settlement() {
    let (mut shop, notes) = shop(&[]).await;
    let layer = shop.server.price("$0.01").unwrap().upfront().unwrap();
    let app = Router::new().route("/report", get(|| async { StatusCode::BAD_GATEWAY }).layer(layer));
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::BAD_GATEWAY);
    let canceled = format!("a: canceled handler_failed Some(502) Some({TRANSACTION:?})");
    assert_eq!(turns(&notes).last(), Some(&canceled));
    assert_eq!(shop.written(), ["settling", "charged", "unsettled"]);
}

#[tokio::test]
async fn hooks_are_shown_what_a_metered_request_is_charged() {
    let notes = Notes::default();
    let hooks = |builder| with_hooks(builder, &notes, &[("a", &[])]).schemes(vec![Arc::new(MeteredScheme)]);
    let shop = Shop::with(hooks).await;
    let handler = || async { ([("Settlement-Overrides", r#"{"amount": "25%"}"#)], "the report") };
    let app = Router::new().route("/report", get(handler).layer(shop.server.price_up_to("$0.01").unwrap()));
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::OK);
    assert!(notes.all().contains(&"a: before settle after-handler 2500".to_owned()), "{:?}", notes.all());
}

#[tokio::test]
async fn copies_and_what_does_not_fit_reach_no_hook() {
    let (shop, notes) = shop(&[]).await;
    let terms = fetch(&shop.app(), "/report").await.terms();
    assert_eq!(buy(&shop.app(), "/report", "1").await.status, StatusCode::OK);
    turns(&notes);
    assert_eq!(buy(&shop.app(), "/report", "1").await.json()["error"], "payment_already_used");
    let mut wrong = payment(&terms, "2");
    wrong["accepted"]["amount"] = "1".into();
    assert_eq!(crate::support::send(&shop.app(), with_payment("/report", &wrong)).await.status, StatusCode::PAYMENT_REQUIRED);
    assert!(turns(&notes).is_empty());
}

/// Refuses every request, and cannot say who it is.
struct Nameless;

impl farthing_server::Hooks for Nameless {
    fn name(&self) -> &str {
        panic!("it has no name")
    }

    fn on_protected_request<'a>(
        &'a self,
        _: &'a farthing_server::hooks::ProtectedRequest,
    ) -> farthing_server::hooks::HookFuture<'a, farthing_server::hooks::Access> {
        Box::pin(std::future::ready(Ok(farthing_server::hooks::Access::Abort("closed today".to_owned()))))
    }
}

#[tokio::test]
async fn a_hook_whose_name_panics_still_has_its_say() {
    let shop = Shop::with(|builder| builder.hooks(Arc::new(Nameless))).await;
    assert_eq!(fetch(&shop.app(), "/report").await.json()["error"], "access_denied");
}
