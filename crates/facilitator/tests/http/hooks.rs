//! Code of the operator's own around verifications and settlements: what it may say, and what it may not.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use farthing_core::Source;
use farthing_core::amount::Amount;
use farthing_core::books::SettlementState;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::{SettleResponse, VerifyResponse};
use farthing_facilitator::{Before, Failure, HOOKS_TIMEOUT_SECONDS, HookContext, HookFuture, Hooks};
use http::StatusCode;
use serde_json::{Value, json};

use crate::probes::Log;
use crate::support::{Chain, Facilitator, Fault, PAYER, request, request_for, transaction};

/// What a hook does at one of its moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Nothing,
    Aborts,
    Answers,
    Fails,
    Panics,
    PanicsAtOnce,
    Hangs,
}

/// A hook that does one thing at one moment, and writes down every moment.
struct Scripted {
    name: &'static str,
    at: &'static str,
    does: Does,
    seen: Seen,
}

type Seen = Arc<Mutex<Vec<String>>>;

impl Scripted {
    fn sees(&self, moment: &str, what: &str) {
        self.seen.lock().unwrap().push(format!("{} {moment}{what}", self.name));
    }

    async fn acts<T>(&self, moment: &str, answers: impl Fn(Does) -> T) -> Result<T, Source> {
        match self.does {
            does if moment != self.at => Ok(answers(if does == Does::Nothing { does } else { Does::Nothing })),
            Does::Fails => Err("the operator's database is away".into()),
            Does::Panics | Does::PanicsAtOnce => panic!("the hook panics"),
            Does::Hangs => std::future::pending().await,
            does => Ok(answers(does)),
        }
    }

    fn before<'a, T: Send + 'a>(&'a self, moment: &'static str, answer: fn() -> T) -> HookFuture<'a, Before<T>> {
        self.sees(moment, "");
        assert!(moment != self.at || self.does != Does::PanicsAtOnce, "the hook panics before there is a future");
        Box::pin(self.acts(moment, move |does| match does {
            Does::Aborts => Before::Abort(Refusal::new(Reason::from("not_today"), "the operator says no")),
            Does::Answers => Before::Skip(answer()),
            _ => Before::Continue,
        }))
    }

    fn failed<'a, T: Send + 'a>(
        &'a self,
        moment: &'static str,
        failure: &Failure,
        answer: fn() -> T,
    ) -> HookFuture<'a, Option<T>> {
        let what = match failure {
            Failure::Refused(refusal) => format!(": refused {}", refusal.reason),
            Failure::Unavailable(_) => ": unavailable".to_owned(),
            Failure::Unknown { transaction, .. } => format!(": unknown {}", transaction.is_some()),
        };
        self.sees(moment, &what);
        Box::pin(self.acts(moment, move |does| (does == Does::Answers).then(answer)))
    }
}

fn said_good() -> VerifyResponse {
    VerifyResponse::valid("0xSaidByHook".parse().unwrap())
}

fn said_settled() -> SettleResponse {
    SettleResponse {
        success: true,
        error_reason: None,
        error_message: None,
        payer: Some("0xSaidByHook".parse().unwrap()),
        transaction: String::new(),
        network: Some("eip155:84532".parse().unwrap()),
        amount: Some(Amount::from(1)),
        extra: None,
        extensions: None,
    }
}

impl Hooks for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn on_before_verify<'a>(&'a self, context: &'a HookContext<'a>) -> HookFuture<'a, Before<VerifyResponse>> {
        assert_eq!(context.record.payer.as_str(), PAYER);
        self.before("before verify", said_good)
    }

    fn on_after_verify<'a>(&'a self, _: &'a HookContext<'a>, answer: &'a VerifyResponse) -> HookFuture<'a, ()> {
        assert!(answer.is_valid);
        self.sees("after verify", "");
        Box::pin(self.acts("after verify", |_| ()))
    }

    fn on_verify_failure<'a>(&'a self, _: &'a HookContext<'a>, failure: &'a Failure) -> HookFuture<'a, Option<VerifyResponse>> {
        self.failed("verify failure", failure, said_good)
    }

    fn on_before_settle<'a>(&'a self, context: &'a HookContext<'a>) -> HookFuture<'a, Before<SettleResponse>> {
        assert_eq!((context.request.requirements.scheme.as_str(), context.caller), ("exact", None));
        self.before("before settle", said_settled)
    }

    fn on_after_settle<'a>(&'a self, _: &'a HookContext<'a>, answer: &'a SettleResponse) -> HookFuture<'a, ()> {
        assert!(answer.success && !answer.transaction.is_empty());
        self.sees("after settle", "");
        Box::pin(self.acts("after settle", |_| ()))
    }

    fn on_settle_failure<'a>(&'a self, _: &'a HookContext<'a>, failure: &'a Failure) -> HookFuture<'a, Option<SettleResponse>> {
        self.failed("settle failure", failure, said_settled)
    }
}

/// A facilitator with one hook of each of these, in that order, and what they saw.
fn with(scripts: &[(&'static str, &'static str, Does)]) -> (Facilitator, Seen) {
    let seen = Seen::default();
    let hook = |(name, at, does): &(&'static str, &'static str, Does)| {
        Arc::new(Scripted { name, at, does: *does, seen: seen.clone() }) as Arc<dyn Hooks>
    };
    (Facilitator::with_hooks(scripts.iter().map(hook).collect()), seen)
}

fn one(at: &'static str, does: Does) -> (Facilitator, Seen) {
    with(&[("one", at, does)])
}

/// A request whose payer has not signed it.
fn forged() -> Value {
    let mut request = request(1);
    request["paymentPayload"]["payload"]["signature"] = json!("somebody else's");
    request
}

fn take(seen: &Seen) -> Vec<String> {
    std::mem::take(&mut seen.lock().unwrap())
}

#[tokio::test(start_paused = true)]
async fn hooks_that_only_look_are_asked_in_order_and_change_nothing() {
    let (facilitator, seen) = with(&[("one", "", Does::Nothing), ("two", "", Does::Nothing)]);
    assert_eq!(facilitator.verify(&request(1)).await.json["isValid"], json!(true));
    assert_eq!(take(&seen), ["one before verify", "two before verify", "one after verify", "two after verify"]);
    assert_eq!(facilitator.settle(&request(1)).await.json["transaction"], json!(transaction(1)));
    assert_eq!(take(&seen), ["one before settle", "two before settle", "one after settle", "two after settle"]);
    // The book knows it now: nothing is about to happen, so no hook is asked.
    assert_eq!(facilitator.settle(&request(1)).await.json["transaction"], json!(transaction(1)));
    assert_eq!(take(&seen), Vec::<String>::new());
    assert_eq!(facilitator.verify(&request(1)).await.reason(), "payment_already_used");
    assert_eq!(take(&seen).last().unwrap(), "two verify failure: refused payment_already_used");
}

#[tokio::test(start_paused = true)]
async fn an_abort_refuses_and_nothing_is_asked_or_sent() {
    for moment in ["before verify", "before settle"] {
        let (facilitator, seen) = with(&[("one", moment, Does::Aborts), ("two", "", Does::Nothing)]);
        let answer = if moment == "before verify" {
            facilitator.verify(&request(1)).await
        } else {
            facilitator.settle(&request(1)).await
        };
        assert_eq!((answer.status, answer.reason(), answer.message()), (StatusCode::OK, "not_today", "the operator says no"));
        assert_eq!(take(&seen), [format!("one {moment}")], "nobody is asked after it");
        assert_eq!(Chain::count(&facilitator.chain.node_calls), 0);
        assert_eq!(facilitator.state(1).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_instead_is_passed_on_and_enters_no_book_and_proves_nothing() {
    let (facilitator, seen) = one("before verify", Does::Answers);
    let forged = request_for(1, "0xSomebodyElse", "10000");
    assert_eq!(facilitator.verify(&forged).await.json, json!({"isValid": true, "payer": "0xSaidByHook"}));
    assert_eq!(take(&seen), ["one before verify"]);
    // Somebody else carries it out: what only a hook has found good is refused as used.
    facilitator.chain.front_run(1);
    let answer = facilitator.settle(&forged).await;
    assert_eq!(answer.json["success"], json!(false), "{answer:?}");
    assert_eq!(facilitator.state(1).await, None);

    let (facilitator, seen) = one("before settle", Does::Answers);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((&answer.json["success"], &answer.json["payer"]), (&json!(true), &json!("0xSaidByHook")));
    assert_eq!(take(&seen), ["one before settle"]);
    assert_eq!((facilitator.state(1).await, Chain::count(&facilitator.chain.settles)), (None, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_before_anything_is_done_keeps_it_from_being_done() {
    for does in [Does::Fails, Does::Panics, Does::PanicsAtOnce, Does::Hangs] {
        for moment in ["before verify", "after verify", "before settle"] {
            if (moment, does) == ("after verify", Does::PanicsAtOnce) {
                continue;
            }
            let (facilitator, _) = one(moment, does);
            let began = tokio::time::Instant::now();
            let answer = if moment == "before settle" {
                facilitator.settle(&request(1)).await
            } else {
                facilitator.verify(&request(1)).await
            };
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{moment} {does:?}: {answer:?}");
            assert!(began.elapsed().as_secs() <= HOOKS_TIMEOUT_SECONDS);
            assert!(!answer.json.to_string().contains("database"), "the operator's own words stay in the log");
            assert_eq!((facilitator.state(1).await, Chain::count(&facilitator.chain.broadcasts)), (None, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_after_a_settlement_changes_nothing_and_the_next_is_asked() {
    for does in [Does::Fails, Does::Panics, Does::Hangs] {
        let (facilitator, seen) = with(&[("one", "after settle", does), ("two", "", Does::Nothing)]);
        assert_eq!(facilitator.settle(&request(1)).await.json["transaction"], json!(transaction(1)));
        assert!(matches!(facilitator.state(1).await, Some(SettlementState::Settled(_))));
        assert_eq!(take(&seen).last().unwrap(), "two after settle", "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_may_be_answered_by_a_hook_and_the_book_does_not_learn_of_it() {
    let (facilitator, seen) = one("verify failure", Does::Answers);
    assert_eq!(facilitator.verify(&forged()).await.json, json!({"isValid": true, "payer": "0xSaidByHook"}));
    let moments = take(&seen);
    assert_eq!((moments.len(), moments[2].as_str()), (3, "one after verify"), "{moments:?}");
    facilitator.chain.fault(Fault::NodeDown);
    assert_eq!(facilitator.verify(&request(1)).await.json["isValid"], json!(true));
    assert_eq!(take(&seen)[1], "one verify failure: unavailable");

    for (request, fault, seen_as) in [
        (forged(), Fault::None, "refused invalid_exact_evm_signature"),
        (request(1), Fault::NodeDown, "unavailable"),
        (request(1), Fault::Reverts, "refused invalid_exact_evm_transaction_failed"),
    ] {
        let (facilitator, seen) = one("settle failure", Does::Answers);
        facilitator.chain.fault(fault);
        let answer = facilitator.settle(&request).await;
        assert_eq!(answer.json["payer"], json!("0xSaidByHook"), "{fault:?}: {answer:?}");
        assert_eq!(take(&seen)[1], format!("one settle failure: {seen_as}"));
        assert!(!matches!(facilitator.state(1).await, Some(SettlementState::Settled(_))), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_fails_after_a_failure_leaves_it_as_it_is() {
    for does in [Does::Fails, Does::Panics, Does::Hangs] {
        let (facilitator, _) = one("settle failure", does);
        let answer = facilitator.settle(&forged()).await;
        assert_eq!((answer.status, answer.json["success"].clone()), (StatusCode::OK, json!(false)), "{does:?}");
        let (facilitator, _) = one("verify failure", does);
        assert_eq!(facilitator.verify(&forged()).await.json["isValid"], json!(false), "{does:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_hook_can_say_what_became_of_a_payment_that_is_not_known() {
    for fault in [Fault::Unknown, Fault::HangsAfter, Fault::PanicsAfter] {
        let (facilitator, seen) = one("settle failure", Does::Answers);
        facilitator.chain.fault(fault);
        let answer = facilitator.settle(&request(1)).await;
        assert_eq!(answer.reason(), "settlement_pending", "{fault:?}: {answer:?}");
        assert!(matches!(facilitator.state(1).await, Some(SettlementState::Sending(_))), "{fault:?}");
        // Asked again, it is reconciled, and settled.
        facilitator.chain.fault(Fault::None);
        facilitator.chain.mine();
        assert_eq!(facilitator.settle(&request(1)).await.json["transaction"], json!(transaction(1)), "{fault:?}");
        let heard: Vec<String> = take(&seen).into_iter().filter(|moment| moment.contains("settle")).collect();
        assert!(heard.iter().all(|moment| !moment.contains("refused")), "{heard:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_hook_can_refuse_what_is_settled_or_under_way() {
    let (facilitator, seen) = one("before settle", Does::Aborts);
    // Another process, without hooks, has sent it.
    let other = facilitator.replica();
    other.chain.fault(Fault::Unknown);
    assert_eq!(other.settle(&request(1)).await.reason(), "settlement_pending");
    other.chain.fault(Fault::None);
    assert_eq!(facilitator.settle(&request(1)).await.reason(), "settlement_pending");
    other.chain.mine();
    assert_eq!(facilitator.settle(&request(1)).await.json["transaction"], json!(transaction(1)));
    assert_eq!(take(&seen), Vec::<String>::new());
    // What the book has for another request is refused as ever, and no hook makes a second sale of it.
    let (facilitator, _) = one("settle failure", Does::Answers);
    let other = facilitator.replica();
    other.settle(&request(1)).await;
    let mut second = request(1);
    second["paymentPayload"]["resource"]["url"] = json!("https://api.example.com/other");
    assert_eq!(facilitator.settle(&second).await.reason(), "payment_already_used");
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_was_dead_and_moved_after_all_is_told_whatever_a_hook_says() {
    let (facilitator, _) = one("before settle", Does::Aborts);
    let other = facilitator.replica();
    other.chain.fault(Fault::Reverts);
    assert_eq!(other.settle(&request(1)).await.json["success"], json!(false));
    other.chain.fault(Fault::None);
    assert_eq!(facilitator.settle(&request(1)).await.reason(), "not_today");
    let theirs = other.chain.front_run(1);
    assert_eq!(facilitator.settle(&request(1)).await.json["transaction"], json!(theirs.0));
}

#[tokio::test(start_paused = true)]
async fn hooks_are_asked_once_for_all_copies_of_a_request() {
    let (facilitator, seen) = one("", Does::Nothing);
    let request = request(1);
    let answers = futures_util::future::join_all((0..50).map(|_| facilitator.settle(&request))).await;
    assert!(answers.iter().all(|answer| answer.json["transaction"] == json!(transaction(1))));
    assert_eq!(take(&seen), ["one before settle", "one after settle"]);
    assert_eq!(facilitator.chain.broadcasts.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_served_here_reaches_no_hook() {
    let (facilitator, seen) = one("settle failure", Does::Answers);
    let mut elsewhere: Value = request(1);
    elsewhere["paymentPayload"]["accepted"]["network"] = json!("eip155:1");
    elsewhere["paymentRequirements"]["network"] = json!("eip155:1");
    for answer in [facilitator.verify(&elsewhere).await, facilitator.settle(&elsewhere).await] {
        assert_eq!(answer.reason(), "invalid_network");
    }
    assert_eq!(take(&seen), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_a_hook_said_is_marked_in_the_log() {
    for (at, does, marked) in [
        ("before verify", Does::Answers, "a hook answers in place of the facilitator; it enters no book"),
        ("before settle", Does::Answers, "a hook answers in place of the facilitator; it enters no book"),
        ("settle failure", Does::Answers, "a hook answers in place of the facilitator; it enters no book"),
        ("before settle", Does::Aborts, "a hook refuses the payment"),
        ("before settle", Does::Fails, "on_before_settle of the hook one failed: the operator's database is away"),
        ("after settle", Does::Panics, "on_after_settle of the hook one panicked"),
        ("after settle", Does::Hangs, "on_after_settle of the hook one took longer than the 5 s that all hooks have"),
    ] {
        let (log, _guard) = Log::capture();
        let (facilitator, _) = one(at, does);
        facilitator.chain.fault(if at == "settle failure" { Fault::Reverts } else { Fault::None });
        facilitator.verify(&request(1)).await;
        facilitator.settle(&request(1)).await;
        let text = log.text();
        assert!(text.contains(marked), "{marked} is not in {text}");
        assert!(!text.contains("SECRET"), "a signature is in the log: {text}");
    }
    let (log, _guard) = Log::capture();
    let (facilitator, _) = one("settle failure", Does::Answers);
    facilitator.chain.fault(Fault::Unknown);
    facilitator.settle(&request(1)).await;
    assert!(log.text().contains("a hook's answer is not passed on"), "{}", log.text());
}
