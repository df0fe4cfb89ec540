//! Hooks that write down when they are asked, and do what they are told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::{SettleResponse, VerifyResponse};
use farthing_server::hooks::{
    Access, AfterVerify, Before, Cancellation, Failure, HandlerAnswer, HookContext, HookFuture, Hooks, ProtectedRequest,
    SettlePhase,
};
use farthing_server::{ServerBuilder, hooks};
use tokio::sync::Notify;

use crate::support::{NETWORK, PATIENCE, PAYER, Shop, success};

/// What a hook does at its moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Abort,
    /// Skip, or recover, or answer in the place of the handler, or grant: whatever can be said there.
    Answer,
    /// The same, and the answer is no.
    AnswerNo,
    /// The same, and the answer is that nobody knows.
    AnswerUnknown,
    Fail,
    Panic,
    Hang,
}

/// All that hooks were asked, in order.
#[derive(Clone, Default)]
pub struct Notes(Arc<(Mutex<Vec<String>>, Notify)>);

impl Notes {
    pub fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap().clone()
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.0.lock().unwrap())
    }

    fn add(&self, note: String) {
        self.0.0.lock().unwrap().push(note);
        self.0.1.notify_one();
    }

    /// Waits for a note with this in it.
    pub async fn wait_for(&self, part: &str) -> String {
        let waiting = async {
            loop {
                if let Some(note) = self.all().into_iter().find(|note| note.contains(part)) {
                    return note;
                }
                self.0.1.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap()
    }
}

/// A hook that acts at some moments, and goes on at the others.
pub struct Script {
    pub name: &'static str,
    pub notes: Notes,
    pub acts: Vec<(&'static str, Act)>,
}

impl Script {
    fn act(&self, moment: &str, detail: &str) -> Option<Act> {
        let space = if detail.is_empty() { "" } else { " " };
        self.notes.add(format!("{}: {moment}{space}{detail}", self.name));
        self.acts.iter().find(|(at, _)| *at == moment).map(|(_, act)| *act)
    }

    fn does<'a, T: Send + 'a>(&self, act: Option<Act>, none: T, said: impl FnOnce(Act) -> T) -> HookFuture<'a, T> {
        match act {
            None => Box::pin(std::future::ready(Ok(none))),
            Some(Act::Fail) => Box::pin(std::future::ready(Err("the hook's own trouble".into()))),
            Some(Act::Panic) => panic!("{} is broken", self.name),
            Some(Act::Hang) => Box::pin(async {
                tokio::time::sleep(Duration::from_hours(1)).await;
                Ok(none)
            }),
            Some(act) => Box::pin(std::future::ready(Ok(said(act)))),
        }
    }
}

fn refusal() -> Refusal {
    Refusal::new(Reason::from("hook_says_no"), "as the hook wished")
}

fn verdict(act: Act) -> VerifyResponse {
    match act {
        Act::AnswerNo => VerifyResponse::invalid(refusal(), None),
        _ => VerifyResponse::valid(PAYER.parse().unwrap()),
    }
}

fn settlement(act: Act) -> SettleResponse {
    let network = NETWORK.parse().unwrap();
    match act {
        Act::AnswerNo => SettleResponse::failure(refusal(), Some(network)),
        Act::AnswerUnknown => SettleResponse::failure(Refusal::new(Reason::SettlementPending, "who knows"), Some(network)),
        _ => SettleResponse { transaction: String::new(), ..success(&network) },
    }
}

fn told(failure: &Failure) -> String {
    match failure {
        Failure::Refused(refusal) => format!("refused {}", refusal.reason),
        Failure::Unavailable(_) => "unavailable".to_owned(),
        Failure::Unknown { transaction, .. } => format!("unknown {}", transaction.as_ref().map_or("", |id| id.0.as_str())),
    }
}

impl Hooks for Script {
    fn name(&self) -> &str {
        self.name
    }

    fn on_protected_request<'a>(&'a self, request: &'a ProtectedRequest) -> HookFuture<'a, Access> {
        let detail = format!("{} {} {}", request.method, request.resource_url, request.has_payment);
        assert!(!request.headers.contains_key("payment-signature"));
        let act = self.act("request", &detail);
        self.does(act, Access::Continue, |act| match act {
            Act::Abort => Access::Abort("not for you".to_owned()),
            _ => Access::Grant,
        })
    }

    fn on_before_verify<'a>(&'a self, context: &'a HookContext) -> HookFuture<'a, Before<VerifyResponse>> {
        assert!(context.payer.is_none() && context.requirements.amount == 10_000.into());
        let act = self.act("before verify", "");
        self.does(act, Before::Continue, |act| match act {
            Act::Abort => Before::Abort(refusal()),
            act => Before::Skip(verdict(act)),
        })
    }

    fn on_after_verify<'a>(&'a self, context: &'a HookContext, verified: &'a VerifyResponse) -> HookFuture<'a, AfterVerify> {
        assert!(verified.is_valid && context.payer == verified.payer);
        let act = self.act("after verify", "");
        let body = Bytes::from(format!("by {}", self.name));
        self.does(act, AfterVerify::Continue, |act| match act {
            Act::Abort => AfterVerify::Abort(refusal()),
            _ => AfterVerify::SkipHandler(HandlerAnswer { content_type: "text/x-hook".to_owned(), body }),
        })
    }

    fn on_verify_failure<'a>(&'a self, _: &'a HookContext, failure: &'a Failure) -> HookFuture<'a, Option<VerifyResponse>> {
        let act = self.act("verify failure", &told(failure));
        self.does(act, None, |act| Some(verdict(act)))
    }

    fn on_before_settle<'a>(&'a self, context: &'a HookContext, phase: SettlePhase) -> HookFuture<'a, Before<SettleResponse>> {
        let act = self.act("before settle", &format!("{} {}", phase.as_str(), context.requirements.amount));
        self.does(act, Before::Continue, |act| match act {
            Act::Abort => Before::Abort(refusal()),
            act => Before::Skip(settlement(act)),
        })
    }

    fn on_after_settle<'a>(
        &'a self,
        _: &'a HookContext,
        phase: SettlePhase,
        settled: &'a SettleResponse,
    ) -> HookFuture<'a, ()> {
        let act = self.act("after settle", &format!("{} {:?}", phase.as_str(), settled.transaction));
        self.does(act, (), |_| ())
    }

    fn on_settle_failure<'a>(
        &'a self,
        _: &'a HookContext,
        phase: SettlePhase,
        failure: &'a Failure,
    ) -> HookFuture<'a, Option<SettleResponse>> {
        let act = self.act("settle failure", &format!("{} {}", phase.as_str(), told(failure)));
        self.does(act, None, |act| Some(settlement(act)))
    }

    fn on_verified_payment_canceled<'a>(&'a self, _: &'a HookContext, cancellation: &'a Cancellation) -> HookFuture<'a, ()> {
        let Cancellation { reason, status, settled, .. } = cancellation;
        let detail = format!("{} {:?} {:?}", reason.as_str(), status, settled.as_ref().map(|settled| &settled.transaction));
        let act = self.act("canceled", &detail);
        self.does(act, (), |_| ())
    }
}

/// A shop with one hook that acts so.
pub async fn shop(acts: &[(&'static str, Act)]) -> (Shop, Notes) {
    shop_of(&[("a", acts)]).await
}

/// A shop with several hooks, in this order.
pub async fn shop_of(scripts: &[(&'static str, &[(&'static str, Act)])]) -> (Shop, Notes) {
    let notes = Notes::default();
    let shop = Shop::with(|builder| with_hooks(builder, &notes, scripts)).await;
    (shop, notes)
}

pub fn with_hooks(builder: ServerBuilder, notes: &Notes, scripts: &[(&'static str, &[(&'static str, Act)])]) -> ServerBuilder {
    scripts.iter().fold(builder, |builder, (name, acts)| {
        let script: Arc<dyn hooks::Hooks> = Arc::new(Script { name, notes: notes.clone(), acts: acts.to_vec() });
        builder.hooks(script)
    })
}
