//! The buyer's own code at the turns of a payment's life: what it may do, in which order, and what its failures do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::response::Response;
use farthing_client::hooks::{
    AfterAnswer, Approval, Hooks, PaymentAnswer, PaymentCreated, PaymentCreation, PaymentCreationFailure, PaymentDemand,
    Recovered,
};
use farthing_client::{Error, PaymentOutcome, Rule};
use farthing_core::books::ReservationState;
use farthing_core::wire::{Extensions, Payload};
use farthing_core::{BoxFuture, Source};
use http::HeaderMap;
use serde_json::json;

use crate::support::base64_of::encoded;
use crate::support::*;

const REQUIRED: &str = "on_payment_required";
const BEFORE: &str = "before_payment_creation";
const AFTER: &str = "after_payment_creation";
const FAILURE: &str = "on_payment_creation_failure";
const RESPONSE: &str = "on_payment_response";

/// What a hook does when its turn comes.
#[derive(Clone, Copy)]
enum Act {
    /// Supplies headers, aborts, signs, or asks for another try.
    Decide,
    Fail,
    Panic,
}

/// Does one thing at one turn, and writes every turn down under its name.
struct Hook {
    name: &'static str,
    at: &'static str,
    act: Act,
    told: Told,
}

type Told = Arc<Mutex<Vec<String>>>;

impl Hook {
    fn new(name: &'static str, at: &'static str, act: Act, told: &Told) -> Arc<Self> {
        Arc::new(Self { name, at, act, told: Arc::clone(told) })
    }

    /// Whether this is its turn to decide.
    fn turn(&self, at: &'static str) -> Result<bool, Source> {
        self.told.lock().unwrap().push(format!("{}: {at}", self.name));
        match (self.at == at, self.act) {
            (false, _) => Ok(false),
            (true, Act::Decide) => Ok(true),
            (true, Act::Fail) => Err("the hook's own disk is full".into()),
            (true, Act::Panic) => panic!("sesame"),
        }
    }
}

impl Hooks for Hook {
    fn on_payment_required<'a>(&'a self, _: &'a PaymentDemand<'a>) -> BoxFuture<'a, Result<Option<HeaderMap>, Source>> {
        Box::pin(async {
            let headers = HeaderMap::from_iter([("x-pass".parse().unwrap(), self.name.parse().unwrap())]);
            Ok(self.turn(REQUIRED)?.then_some(headers))
        })
    }

    fn before_payment_creation<'a>(&'a self, creation: &'a PaymentCreation<'a>) -> BoxFuture<'a, Result<Approval, Source>> {
        // Panics before there is a future, too.
        let turn = self.turn(BEFORE);
        Box::pin(async move {
            let reason = format!("{} is too much for {}", creation.selected.price(), creation.resource);
            Ok(if turn? { Approval::Abort { reason } } else { Approval::Go })
        })
    }

    fn after_payment_creation<'a>(&'a self, created: &'a PaymentCreated<'a>) -> BoxFuture<'a, Result<(), Source>> {
        Box::pin(async {
            assert!(created.payment.payload.raw().contains("nonce") || created.payment.payload.raw().contains("other hand"));
            self.turn(AFTER).map(|_| ())
        })
    }

    fn on_payment_creation_failure<'a>(
        &'a self,
        failure: &'a PaymentCreationFailure<'a>,
    ) -> BoxFuture<'a, Result<Option<Recovered>, Source>> {
        Box::pin(async {
            assert!(failure.error.to_string().contains("wallet could not sign"));
            let payload = Payload::new(&json!({"by": "the other hand"})).unwrap();
            Ok(self.turn(FAILURE)?.then(|| Recovered { payload, extensions: Extensions::default() }))
        })
    }

    fn on_payment_response<'a>(&'a self, _: &'a PaymentAnswer<'a>) -> BoxFuture<'a, Result<AfterAnswer, Source>> {
        Box::pin(async { Ok(if self.turn(RESPONSE)? { AfterAnswer::Recover } else { AfterAnswer::Accept }) })
    }
}

/// A buyer with a hook that acts, between two that only look on.
fn hooked(wallet: Wallet, at: &'static str, act: Act) -> (Buyer, Told) {
    let told = Told::default();
    let hooks =
        [Hook::new("one", "never", act, &told), Hook::new("two", at, act, &told), Hook::new("three", "never", act, &told)];
    let buyer = Buyer::with(wallet, |builder| hooks.into_iter().fold(builder, |builder, hook| builder.hooks(hook)));
    (buyer, told)
}

fn told(told: &Told, at: &str) -> Vec<String> {
    let all = told.lock().unwrap();
    all.iter().filter_map(|line| line.strip_suffix(&format!(": {at}"))).map(str::to_owned).collect()
}

fn rule(error: &Error) -> Option<Rule> {
    match error {
        Error::RefusedByPolicy(declined) => Some(declined.rule),
        _ => None,
    }
}

#[tokio::test]
async fn hooks_that_only_look_on_are_told_every_turn_in_their_order() {
    let seller = Seller::honest().await;
    let (buyer, log) = hooked(Wallet::default(), "never", Act::Panic);
    assert!(buyer.client.get(seller.url("/report")).send().await.unwrap().paid().is_some());
    let turns = [REQUIRED, BEFORE, AFTER, RESPONSE];
    let expected = turns.iter().flat_map(|turn| ["one", "two", "three"].map(|name| format!("{name}: {turn}")));
    assert_eq!(*log.lock().unwrap(), expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_hook_may_abort_a_payment_before_anything_is_reserved_or_signed() {
    let seller = Seller::honest().await;
    let (buyer, log) = hooked(Wallet::default(), BEFORE, Act::Decide);
    let error = buyer.client.get(seller.url("/report?key=secret")).send().await.unwrap_err();
    assert_eq!(rule(&error), Some(Rule::Aborted), "{error}");
    let says = format!("the payment was aborted: 0.01 USDC is too much for {}; nothing is paid", seller.url("/report"));
    assert_eq!(error.to_string(), says);
    assert_eq!((buyer.wallet.signed(), buyer.reservation(0), seller.payments().len()), (0, None, 0));
    assert_eq!((told(&log, BEFORE), told(&log, FAILURE)), (vec!["one".to_owned(), "two".to_owned()], vec![]));
}

#[tokio::test]
async fn a_hook_that_fails_or_panics_before_anything_is_sent_lets_nothing_be_paid() {
    for (at, signed) in [(REQUIRED, 0), (BEFORE, 0), (AFTER, 1)] {
        for (act, says) in [(Act::Fail, "disk is full"), (Act::Panic, "it panicked")] {
            let seller = Seller::honest().await;
            let (buyer, log) = hooked(Wallet::default(), at, act);
            let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
            assert_eq!(rule(&error), Some(Rule::HookFailed), "{error}");
            let text = error.to_string();
            assert!(text.contains(at) && text.contains(says) && !text.contains("sesame"), "{text}");
            assert_eq!((buyer.wallet.signed(), buyer.reservation(0), seller.payments().len()), (signed, None, 0), "{at}");
            assert_eq!(told(&log, at), ["one", "two"], "those behind are not asked");
        }
    }
}

#[tokio::test]
async fn a_hook_may_sign_where_the_wallet_cannot_and_what_it_signed_is_sent_under_the_reservation() {
    let seller = Seller::honest().await;
    let (buyer, log) = hooked(Wallet { cannot_sign: true, ..Wallet::default() }, FAILURE, Act::Decide);
    let answer = buyer.client.get(seller.url("/report")).send().await.unwrap();
    assert_eq!(answer.paid().unwrap().outcome, PaymentOutcome::Settled);
    let payment = seller.payments().remove(0);
    assert_eq!((&payment["payload"]["by"], &payment["accepted"]["amount"]), (&json!("the other hand"), &json!("10000")));
    assert!(matches!(buyer.reservation(0), Some(ReservationState::Committed(_))));
    assert_eq!(told(&log, FAILURE), ["one", "two"]);
    assert_eq!(told(&log, AFTER), ["one", "two", "three"], "whatever goes out is seen before");
}

#[tokio::test]
async fn without_a_recovery_the_wallets_failure_stands_and_nothing_counts_as_spent() {
    for (at, act) in [("never", Act::Decide), (FAILURE, Act::Fail), (FAILURE, Act::Panic)] {
        let seller = Seller::honest().await;
        let (buyer, _) = hooked(Wallet { cannot_sign: true, ..Wallet::default() }, at, act);
        let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
        assert!(matches!(error, Error::Wallet(_)), "{error}");
        assert_eq!((buyer.reservation(0), seller.payments().len()), (None, 0));
    }
}

/// Lets in whoever has a pass, and asks a cent of everybody else.
async fn doorkeeper() -> Seller {
    Seller::start(|seen, base| {
        Some(match (seen.headers.get("x-pass"), seen.payment()) {
            (Some(pass), None) if pass == "two" => response(200).body(Body::from("for friends")).unwrap(),
            (_, Some(_)) => paid(&settled()),
            _ => asks(&cent(base)),
        })
    })
    .await
}

#[tokio::test]
async fn a_hooks_headers_are_tried_once_without_paying() {
    let seller = doorkeeper().await;
    let (buyer, log) = hooked(Wallet::default(), REQUIRED, Act::Decide);
    let answer = buyer.client.post(seller.url("/report")).body("why").send().await.unwrap();
    assert!(answer.paid().is_none());
    assert_eq!(answer.text().await.unwrap(), "for friends");
    assert_eq!((buyer.wallet.signed(), buyer.reservation(0)), (0, None));
    let seen = seller.seen();
    assert_eq!((seen.len(), &seen[1].body[..], seen[1].method.as_str()), (2, &b"why"[..], "POST"));
    assert_eq!((told(&log, REQUIRED), told(&log, BEFORE)), (vec!["one".to_owned(), "two".to_owned()], vec![]));
}

#[tokio::test]
async fn headers_that_open_nothing_are_left_off_the_paid_request_and_the_newest_terms_are_paid() {
    let count = AtomicUsize::new(0);
    let seller = Seller::start(move |seen, base| {
        let mut terms = cent(base);
        terms["extensions"] = json!({"quote": {"info": {"number": count.fetch_add(1, Ordering::SeqCst)}}});
        Some(if seen.payment().is_some() { paid(&settled()) } else { asks(&terms) })
    })
    .await;
    let (buyer, log) = hooked(Wallet::default(), REQUIRED, Act::Decide);
    assert!(buyer.client.get(seller.url("/report")).send().await.unwrap().paid().is_some());
    let seen = seller.seen();
    let passes: Vec<bool> = seen.iter().map(|seen| seen.headers.contains_key("x-pass")).collect();
    assert_eq!(passes, [false, true, false]);
    assert_eq!(seller.payments()[0]["extensions"]["quote"]["info"]["number"], 1);
    assert_eq!(told(&log, REQUIRED), ["one", "two"], "they are asked once for a purchase");
}

#[tokio::test]
async fn a_hooks_headers_follow_no_redirect() {
    let elsewhere = doorkeeper().await;
    let target = elsewhere.url("/report");
    let seller = Seller::start(move |seen, base| {
        let lured = seen.headers.contains_key("x-pass");
        Some(if lured { response(307).header("location", &target).body(Body::empty()).unwrap() } else { asks(&cent(base)) })
    })
    .await;
    let (buyer, _) = hooked(Wallet::default(), REQUIRED, Act::Decide);
    let answer = buyer.client.get(seller.url("/report")).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), elsewhere.seen().len(), buyer.wallet.signed()), (307, 0, 0));
}

#[tokio::test]
async fn no_hook_can_slip_a_payment_past_the_limits() {
    struct Smuggler(&'static str);
    impl Hooks for Smuggler {
        fn on_payment_required<'a>(&'a self, _: &'a PaymentDemand<'a>) -> BoxFuture<'a, Result<Option<HeaderMap>, Source>> {
            let headers = HeaderMap::from_iter([(self.0.parse().unwrap(), "e30=".parse().unwrap())]);
            Box::pin(std::future::ready(Ok(Some(headers))))
        }
    }
    for name in ["payment-signature", "x-payment"] {
        let seller = Seller::honest().await;
        let buyer = Buyer::with(Wallet::default(), |builder| builder.hooks(Arc::new(Smuggler(name))));
        let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
        assert!(rule(&error) == Some(Rule::HookFailed) && error.to_string().contains(name), "{error}");
        assert_eq!(seller.seen().len(), 1);
    }
}

#[tokio::test]
async fn where_nobody_may_be_paid_no_hook_is_asked() {
    let other = Seller::honest().await;
    let target = other.url("/report");
    let seller = Seller::start(move |_, _| Some(response(307).header("location", &target).body(Body::empty()).unwrap())).await;
    let (buyer, log) = hooked(Wallet::default(), REQUIRED, Act::Decide);
    let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert_eq!(rule(&error), Some(Rule::CrossOriginRedirect), "{error}");
    assert!(log.lock().unwrap().is_empty());
    assert_eq!(other.seen().len(), 1);
}

/// Asks a cent, and answers the n-th presentation of a payment with the n-th of these; `None` never answers.
async fn answering(answers: Vec<Given>) -> Seller {
    let count = AtomicUsize::new(0);
    Seller::start(move |seen, base| match seen.payment() {
        Some(_) => answers[count.fetch_add(1, Ordering::SeqCst)](),
        None => Some(asks(&cent(base))),
    })
    .await
}

/// The n-th answer.
type Given = fn() -> Option<Response>;

const BROKEN: Given = || Some(response(500).body(Body::from("oops")).unwrap());
const REFUSED: Given = || {
    let failed = json!({"success": false, "errorReason": "invalid_transaction_state", "transaction": "", "network": BASE});
    Some(with_settlement(402, &failed))
};
const PAID: Given = || Some(paid(&settled()));

#[tokio::test]
async fn a_hook_may_ask_for_one_more_try_which_is_the_same_payment_again() {
    for first in [BROKEN, REFUSED, || Some(response(404).body(Body::empty()).unwrap())] {
        let seller = answering(vec![first, PAID]).await;
        let (buyer, log) = hooked(Wallet::default(), RESPONSE, Act::Decide);
        let answer = buyer.client.get(seller.url("/report")).send().await.unwrap();
        assert_eq!(answer.paid().unwrap().outcome, PaymentOutcome::Settled);
        let payments = seller.payments();
        assert_eq!((payments.len(), &payments[0]), (2, &payments[1]));
        assert_eq!((buyer.wallet.signed(), buyer.reservation(1)), (1, None), "one signature, one reservation");
        assert_eq!(told(&log, RESPONSE), ["one", "two", "one", "two"], "they are told of the second answer too");
    }
}

#[tokio::test]
async fn there_is_never_a_third_try() {
    let seller = answering(vec![BROKEN, BROKEN]).await;
    let (buyer, _) = hooked(Wallet::default(), RESPONSE, Act::Decide);
    let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(&error, Error::Unknown(unknown) if unknown.status == Some(500)), "{error}");
    assert!(error.to_string().contains("does not say whether it settled, and then: status 500"), "{error}");
    assert_eq!((seller.payments().len(), buyer.wallet.signed()), (2, 1));
    assert_eq!(buyer.reservation(0), Some(ReservationState::Open));
}

#[tokio::test]
async fn a_refusal_of_the_second_try_leaves_an_unknown_outcome_unknown_and_a_refusal_refused() {
    let seller = answering(vec![BROKEN, REFUSED]).await;
    let (buyer, _) = hooked(Wallet::default(), RESPONSE, Act::Decide);
    let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(&error, Error::Unknown(unknown) if unknown.payment.outcome == PaymentOutcome::Unconfirmed), "{error}");

    let seller = answering(vec![REFUSED, REFUSED]).await;
    let (buyer, _) = hooked(Wallet::default(), RESPONSE, Act::Decide);
    let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(error, Error::Rejected(_)), "{error}");

    let seller = answering(vec![REFUSED, BROKEN]).await;
    let (buyer, _) = hooked(Wallet::default(), RESPONSE, Act::Decide);
    let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(error, Error::Unknown(_)), "the second copy may have been taken: {error}");
    assert_eq!(buyer.reservation(0), Some(ReservationState::Open));
}

#[tokio::test]
async fn what_was_served_or_settled_is_not_presented_again() {
    let settled_and_402: Given = || Some(with_settlement(402, &settled()));
    let served: Given = || Some(response(200).body(Body::from("the report")).unwrap());
    for first in [settled_and_402, served, PAID] {
        let seller = answering(vec![first]).await;
        let (buyer, _) = hooked(Wallet::default(), RESPONSE, Act::Decide);
        drop(buyer.client.get(seller.url("/report")).send().await);
        assert_eq!(seller.payments().len(), 1);
    }
}

#[tokio::test]
async fn a_hook_that_fails_after_the_answer_changes_nothing_and_the_others_are_told() {
    for act in [Act::Fail, Act::Panic] {
        let seller = Seller::honest().await;
        let (buyer, log) = hooked(Wallet::default(), RESPONSE, act);
        let answer = buyer.client.get(seller.url("/report")).send().await.unwrap();
        assert_eq!(answer.paid().unwrap().outcome, PaymentOutcome::Settled);
        assert_eq!(told(&log, RESPONSE), ["one", "two", "three"]);
    }
}

/// Remembers what it was told of each answer, and asks for another try after the first.
#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Hooks for Listener {
    fn on_payment_response<'a>(&'a self, answer: &'a PaymentAnswer<'a>) -> BoxFuture<'a, Result<AfterAnswer, Source>> {
        let line = format!(
            "{:?} {:?} {} {} {}",
            answer.status,
            answer.facts.outcome,
            answer.settlement.is_some(),
            answer.required.is_some(),
            answer.error.unwrap_or_default()
        );
        self.0.lock().unwrap().push(line);
        Box::pin(std::future::ready(Ok(AfterAnswer::Recover)))
    }
}

#[tokio::test]
async fn a_lost_answer_is_told_and_may_be_asked_for_again() {
    let seller = answering(vec![|| None, PAID]).await;
    let listener = Arc::new(Listener::default());
    let buyer = Buyer::with(Wallet::default(), |builder| {
        builder.hooks(Arc::clone(&listener) as _).paid_timeout(std::time::Duration::from_millis(200))
    });
    let answer = buyer.client.get(seller.url("/report")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "the report");
    let payments = seller.payments();
    assert_eq!((payments.len(), &payments[0], buyer.wallet.signed()), (2, &payments[1], 1));
    let lines = listener.0.lock().unwrap();
    assert!(lines[0].starts_with("None Unconfirmed false false ") && lines[0].contains("did not answer"), "{lines:?}");
    assert_eq!(lines[1], "Some(200) Settled true false ");
    assert!(matches!(buyer.reservation(0), Some(ReservationState::Committed(_))));
}

#[tokio::test]
async fn a_lost_answer_stays_unknown_if_the_second_try_is_refused() {
    let seller = answering(vec![|| None, REFUSED]).await;
    let buyer = Buyer::with(Wallet::default(), |builder| {
        builder.hooks(Arc::new(Listener::default())).paid_timeout(std::time::Duration::from_millis(200))
    });
    let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    let Error::Unknown(unknown) = &error else { panic!("{error}") };
    assert_eq!((unknown.payment.outcome, unknown.settlement.is_none()), (PaymentOutcome::Unconfirmed, true));
    assert!(unknown.why.contains("did not answer") && unknown.why.contains("and then: status 402"), "{}", unknown.why);
    assert_eq!((buyer.wallet.signed(), buyer.reservation(0)), (1, Some(ReservationState::Open)));
}

#[tokio::test]
async fn a_server_that_says_pending_is_asked_twice_in_all_whatever_the_hooks_want() {
    let pending: Given = || {
        let told = json!({"success": false, "errorReason": "settlement_pending", "transaction": "0xfeed", "network": BASE});
        let answer = response(503).header("PAYMENT-RESPONSE", encoded(&told)).header("retry-after", "0");
        Some(answer.body(Body::empty()).unwrap())
    };
    let seller = answering(vec![pending, pending]).await;
    let (buyer, _) = hooked(Wallet::default(), RESPONSE, Act::Decide);
    let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(error, Error::Unknown(_)), "{error}");
    assert_eq!((seller.payments().len(), buyer.wallet.signed()), (2, 1));
}

#[tokio::test]
async fn the_limits_hold_while_a_hook_makes_up_its_mind() {
    /// Lets others go ahead before it agrees.
    struct Slow(tokio::sync::Barrier);
    impl Hooks for Slow {
        fn before_payment_creation<'a>(&'a self, _: &'a PaymentCreation<'a>) -> BoxFuture<'a, Result<Approval, Source>> {
            Box::pin(async {
                self.0.wait().await;
                Ok(Approval::Go)
            })
        }
    }
    let seller = Seller::honest().await;
    let slow = Arc::new(Slow(tokio::sync::Barrier::new(2)));
    let buyer = Buyer::with(Wallet::default(), |builder| builder.hooks(slow).limit("$0.01 per day").unwrap());
    let one = tokio::spawn(buyer.client.get(seller.url("/report")).send());
    let two = tokio::spawn(buyer.client.get(seller.url("/report")).send());
    let answers = [one.await.unwrap(), two.await.unwrap()];
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!((seller.payments().len(), buyer.wallet.signed()), (1, 1));
}
