//! The facilitator in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farthing_core::asset::AccountId;
use farthing_core::books::{BookError, Fingerprint, SettlementEntry, SettlementQuery, SettlementState};
use farthing_core::erased::{AnyFacilitatorScheme, TypedPayment};
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::reason::Refusal;
use farthing_core::scheme::{Outcome, PaymentKey, TransactionId, VerifyError};
use farthing_core::trace::TraceParent;
use farthing_core::wire::{PaymentRequest, SettleResponse, SupportedResponse, VerifyResponse};
use farthing_core::{BoxFuture, Source};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::field::{Empty, display};
use tracing::{Instrument, Span, info, info_span, warn};

use crate::answers::{already_used, fingerprint, known, pending};
use crate::book::Book;
use crate::builder::Builder;
use crate::callers::Callers;
use crate::error::{NoAnswer, NoTurn, Overloaded, TooSlow, chain};
use crate::flight::{Answer, Flights, Turn};
use crate::fly::fly;
use crate::hooks::{Before, Failure, HookContext, HookList};
use crate::kinds::{Kinds, short};
use crate::progress::Progress;
use crate::proven::Proven;
use crate::ready::{NotReady, Readiness};
use crate::recover::Reconciler;
use crate::settle::{Job, Watch};
use crate::slots::{NoSlot, Slot, Slots};

/// The most payments that are verified at once; more are answered 503.
pub const MAX_VERIFIES_IN_FLIGHT: usize = 4_096;
/// The most settle requests that are under way at once, those included that wait for another one with the same
/// authorization, but not the copies of one that is under way; more are answered 503.
pub const MAX_SETTLES_IN_FLIGHT: usize = 4_096;
/// The most looks into the book at once that nobody settles or verifies for; more are answered 503.
pub const MAX_LOOKUPS_IN_FLIGHT: usize = 64;
/// How long such a look may take, in seconds.
const LOOKUP_TIMEOUT_SECONDS: u64 = 5;
/// How long a verification may take, in seconds.
pub const VERIFY_TIMEOUT_SECONDS: u64 = 15;
/// How long a settle request may wait for its answer, in seconds: less than the 90 s that the official clients wait.
/// What was sent by then is pending and goes on; what was not is given up.
pub const SETTLE_TIMEOUT_SECONDS: u64 = 75;
/// How long a settle request waits while another request has the same authorization, in seconds; longer than a forgery
/// can stand in the way.
const TURN_TIMEOUT_SECONDS: u64 = 10;
/// How long [`Local::stop`] waits for settlements that are under way, in seconds: by then every caller has an answer.
const STOP_TIMEOUT_SECONDS: u64 = 90;
/// The most payments that are told of one transaction.
const MAX_SETTLEMENTS_SHOWN: usize = 200;

/// Verifies and settles with the schemes that it was given, and keeps the book of it.
///
/// ```
/// use std::sync::Arc;
/// use farthing_core::books::MemorySettlements;
/// use farthing_facilitator::{BuildError, Local};
///
/// // A facilitator that could settle nothing is a mistake, and is found at start-up.
/// let nothing = Local::builder().schemes([]).settlements(Arc::new(MemorySettlements::default())).build();
/// assert!(matches!(nothing, Err(BuildError::NoKinds)));
/// ```
pub struct Local {
    kinds: Arc<Kinds>,
    book: Book,
    callers: Option<Arc<Callers>>,
    flights: Flights,
    proven: Proven,
    hooks: HookList,
    verifies: Semaphore,
    lookups: Semaphore,
    settles: Arc<Slots>,
    readiness: Readiness,
    reconciling: Mutex<Option<JoinSet<()>>>,
}

impl Local {
    /// Starts to make a facilitator.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(kinds: Kinds, book: Book, callers: Option<Callers>, hooks: HookList) -> Self {
        Self {
            kinds: Arc::new(kinds),
            book,
            callers: callers.map(Arc::new),
            flights: Flights::default(),
            proven: Proven::default(),
            hooks,
            verifies: Semaphore::new(MAX_VERIFIES_IN_FLIGHT),
            lookups: Semaphore::new(MAX_LOOKUPS_IN_FLIGHT),
            settles: Slots::new(),
            readiness: Readiness::default(),
            reconciling: Mutex::default(),
        }
    }

    /// Takes up what was left under way, here or on a node that died: the schemes begin, and so does the reconciler.
    /// Called inside the runtime, before the first payment; a second call does nothing.
    pub fn start(&self) {
        let mut reconciling = self.reconciling();
        if reconciling.is_some() {
            return;
        }
        for scheme in self.kinds.schemes() {
            scheme.start();
        }
        let (kinds, book, flights) = (Arc::clone(&self.kinds), self.book.clone(), self.flights.clone());
        *reconciling = Some(Reconciler { kinds, book, flights }.spawn());
    }

    /// Takes no more settlements, and says so at once; waits for those that are under way, as long as their callers do; and
    /// gives the sending accounts back to other nodes. What has no end by then is in the book.
    pub async fn stop(&self) {
        self.settles.close();
        let limit = Duration::from_secs(STOP_TIMEOUT_SECONDS);
        if tokio::time::timeout(limit, self.drained()).await.is_err() {
            warn!(limit_seconds = STOP_TIMEOUT_SECONDS, "settlements are still under way; they are in the book");
        }
        let reconciling = self.reconciling().take();
        if let Some(mut reconciling) = reconciling {
            reconciling.shutdown().await;
        }
        for scheme in self.kinds.schemes() {
            scheme.stop().await;
        }
    }

    /// Whether everything that is served could be settled now, and if not, why. Book and nodes are asked at most once a
    /// second.
    pub async fn ready(&self) -> Result<(), Vec<NotReady>> {
        if self.settles.is_closed() {
            return Err(vec![NotReady::Stopping]);
        }
        let causes = self.readiness.check(&self.kinds, &self.book).await;
        if causes.is_empty() { Ok(()) } else { Err(causes) }
    }

    /// Returns when no settlement is under way. A settlement goes on when its caller has left, and the end of the runtime
    /// would cut it off.
    pub async fn drained(&self) {
        self.settles.emptied().await;
    }

    /// What the chain says of a payment in the book, whatever the book says; for accounts. Writes and sends nothing.
    pub async fn outcome(&self, entry: &SettlementEntry) -> Result<Outcome, VerifyError> {
        let Some(scheme) = self.kinds.scheme_of(&entry.record) else {
            let what = format!("{} on {} is not served here", entry.record.scheme, entry.record.network);
            return Err(VerifyError::Unavailable(what.into()));
        };
        scheme.outcome(entry).await
    }

    /// Settles for a caller of that name, which goes into the book, and whose quota of settlements a day it counts against
    /// if it is one of the configured callers.
    pub async fn settle_for(&self, caller: Option<&str>, request: &PaymentRequest) -> Result<SettleResponse, FacilitatorError> {
        let span = info_span!(
            "settle",
            scheme = short(&request.requirements.scheme),
            network = %request.requirements.network,
            payment = Empty,
            caller,
            transaction = Empty,
            trace_id = Empty,
            span_id = Empty,
            parent_id = Empty,
        );
        let (since, labels) = (Instant::now(), self.kinds.labels(request));
        let answer = self.settle_now(caller, request).instrument(span.clone()).await;
        if let Ok(SettleResponse { transaction, .. }) = &answer
            && !transaction.is_empty()
        {
            span.record("transaction", transaction);
        }
        labels.settled(since, &answer);
        answer
    }

    pub(crate) fn callers(&self) -> Option<&Callers> {
        self.callers.as_deref()
    }

    pub(crate) async fn verify_for(
        &self,
        caller: Option<&str>,
        request: &PaymentRequest,
    ) -> Result<VerifyResponse, FacilitatorError> {
        let span = info_span!(
            "verify",
            scheme = short(&request.requirements.scheme),
            network = %request.requirements.network,
            payment = Empty,
            caller,
            trace_id = Empty,
            span_id = Empty,
            parent_id = Empty,
        );
        let (since, labels) = (Instant::now(), self.kinds.labels(request));
        let answer = self.verify_now(caller, request).instrument(span.clone()).await;
        if let Err(cause) = &answer {
            span.in_scope(|| warn!(error = chain(cause), "could not verify"));
        }
        labels.verified(since, &answer);
        answer
    }

    /// What can be said at once of this very request, by whoever has used up what it may ask; none if it was never sent
    /// and is not being settled.
    pub(crate) async fn settled_before(&self, request: &PaymentRequest) -> Option<Result<SettleResponse, FacilitatorError>> {
        let (Ok((_, payment)), Ok(print)) = (self.read(request), fingerprint(request)) else { return None };
        let (since, key) = (Instant::now(), payment.record.key);
        let told = match self.find(key).await {
            Ok(entry) => entry
                .filter(|entry| entry.request == print)
                .and_then(|entry| known(&entry, &print, &request.requirements.network))
                .map(Ok)
                .or_else(|| self.flights.has(key).then(|| Err(NoAnswer::unclear("it is being settled at this moment")))),
            Err(cause) => Some(Err(cause)),
        };
        let told = told.map(|answer| answer.map_err(FacilitatorError::from));
        if let Some(answer) = &told {
            self.kinds.labels(request).settled(since, answer);
        }
        told
    }

    /// One payment in the book.
    pub(crate) async fn find(&self, key: PaymentKey) -> Result<Option<SettlementEntry>, NoAnswer> {
        self.look_up(self.book.find(key)).await
    }

    /// The payments that a transaction carries, the newest first.
    pub(crate) async fn carried_by(&self, transaction: TransactionId) -> Result<Vec<SettlementEntry>, NoAnswer> {
        let query =
            SettlementQuery { transaction: Some(transaction), limit: MAX_SETTLEMENTS_SHOWN, ..SettlementQuery::default() };
        self.look_up(self.book.list(&query)).await
    }

    async fn verify_now(&self, caller: Option<&str>, request: &PaymentRequest) -> Result<VerifyResponse, FacilitatorError> {
        let invalid = |refusal: Refusal| {
            info!(reason = %refusal.reason, "not valid");
            Ok(VerifyResponse::invalid(refusal, None))
        };
        let (scheme, payment) = match self.read(request) {
            Ok(read) => read,
            Err(refusal) => return invalid(refusal),
        };
        let overloaded = |_| unavailable(Overloaded { what: "verifications", max: MAX_VERIFIES_IN_FLIGHT });
        let _slot = self.verifies.try_acquire().map_err(overloaded)?;
        let context = HookContext { request, record: &payment.record, caller };
        match self.hooks.before_verify(&context).await.map_err(unavailable)? {
            Before::Continue => {}
            Before::Abort(refusal) => return invalid(refusal),
            Before::Skip(answer) => return Ok(answer),
        }
        let checked = tokio::time::timeout(Duration::from_secs(VERIFY_TIMEOUT_SECONDS), self.check(&**scheme, &payment)).await;
        let too_slow =
            || VerifyError::Unavailable(TooSlow { what: "the verification", seconds: VERIFY_TIMEOUT_SECONDS }.into());
        match checked.unwrap_or_else(|_elapsed| Err(too_slow())) {
            Ok(payer) => {
                self.proven.of(&payment.record, &fingerprint(request).map_err(unavailable)?, caller).remember();
                self.found_good(&context, VerifyResponse::valid(payer)).await
            }
            Err(error) => {
                let failure = match &error {
                    VerifyError::Invalid(refusal) => Failure::Refused(refusal.clone()),
                    VerifyError::Unavailable(source) => Failure::Unavailable(chain(&**source)),
                };
                match (self.hooks.verify_failure(&context, &failure).await, error) {
                    (Some(answer), _) if answer.is_valid => self.found_good(&context, answer).await,
                    (Some(answer), _) => Ok(answer),
                    (None, VerifyError::Invalid(refusal)) => invalid(refusal),
                    (None, VerifyError::Unavailable(source)) => Err(FacilitatorError::Unavailable(source)),
                }
            }
        }
    }

    /// The answer, once every hook has seen it.
    async fn found_good(&self, context: &HookContext<'_>, answer: VerifyResponse) -> Result<VerifyResponse, FacilitatorError> {
        self.hooks.after_verify(context, &answer).await.map_err(unavailable)?;
        Ok(answer)
    }

    /// Whether the payment is good. What the book knows to be used is not, and takes no look at the chain. What the chain
    /// refuses is looked up again: another process may have sent it meanwhile, and that is why it looks bad now.
    async fn check(&self, scheme: &dyn AnyFacilitatorScheme, payment: &TypedPayment) -> Result<AccountId, VerifyError> {
        let key = payment.record.key;
        self.check_unused(key).await?;
        match scheme.verify(payment).await {
            Err(VerifyError::Invalid(refusal)) => {
                self.check_unused(key).await?;
                Err(VerifyError::Invalid(refusal))
            }
            checked => checked,
        }
    }

    async fn check_unused(&self, key: PaymentKey) -> Result<(), VerifyError> {
        let entry = self.book.find(key).await.map_err(|cause| VerifyError::Unavailable(Box::new(cause)))?;
        match entry.map(|entry| entry.state) {
            Some(SettlementState::Settled(_)) => Err(already_used().into()),
            Some(SettlementState::Sending(transaction)) => Err(pending(&transaction).into()),
            Some(SettlementState::Dead(_)) | None => Ok(()),
        }
    }

    async fn settle_now(&self, caller: Option<&str>, request: &PaymentRequest) -> Result<SettleResponse, FacilitatorError> {
        let network = request.requirements.network.clone();
        let (scheme, payment) = match self.read(request) {
            Ok(read) => read,
            Err(refusal) => {
                info!(reason = %refusal.reason, "not settled");
                return Ok(SettleResponse::failure(refusal, Some(network)));
            }
        };
        let presented = (!self.hooks.is_empty()).then(|| request.clone());
        let request = fingerprint(request).map_err(unavailable)?;
        let slot = match self.settles.take() {
            Ok(slot) => slot,
            Err(cause) => return Err(self.turned_away(payment.record.key, &request, cause).await),
        };
        let proof = self.proven.of(&payment.record, &request, caller);
        let job = Job {
            scheme: Arc::clone(scheme),
            book: self.book.clone(),
            callers: self.callers.clone(),
            payment,
            request,
            caller: caller.map(str::to_owned),
            network: network.clone(),
            progress: Progress::new(),
            proof,
            watch: Watch::new(self.hooks.clone(), presented),
        };
        Ok(self.take_turn(job, slot).await?)
    }

    /// Settles when it is this request's turn, or waits for the copy that does. Where the turn does not come, the book
    /// answers.
    async fn take_turn(&self, job: Job, slot: Slot) -> Answer {
        let deadline = Instant::now() + Duration::from_secs(TURN_TIMEOUT_SECONDS);
        let key = job.payment.record.key;
        let why = loop {
            match self.flights.turn(key, &job.request) {
                Turn::Other(wait) => {
                    if tokio::time::timeout_at(deadline, wait.end()).await.is_err() {
                        break NoTurn::TooSlow;
                    }
                }
                Turn::Copy(wait) => {
                    // The one that settles has a place for all of them.
                    drop(slot);
                    return wait.answer().await;
                }
                Turn::OneTooMany => break NoTurn::TooMany,
                Turn::Lead(lead, wait) => {
                    // The place is the work's, which may go on when nobody waits any more.
                    let flight = async move {
                        fly(job, lead).await;
                        drop(slot);
                    };
                    tokio::spawn(flight.in_current_span());
                    return wait.answer().await;
                }
            }
        };
        // Not in the book does not mean not sent: another process may be about to.
        let told = self.find(key).await?.and_then(|entry| known(&entry, &job.request, &job.network));
        told.ok_or_else(|| NoAnswer::unclear(why))
    }

    /// The answer where there is no place. That nothing was sent is said only where it is so.
    async fn turned_away(&self, key: PaymentKey, request: &Fingerprint, cause: NoSlot) -> FacilitatorError {
        warn!(error = chain(&cause), "could not settle");
        if self.may_be_sent(key, request).await { FacilitatorError::Indeterminate(Box::new(cause)) } else { unavailable(cause) }
    }

    async fn may_be_sent(&self, key: PaymentKey, request: &Fingerprint) -> bool {
        self.flights.has(key)
            || match self.find(key).await {
                Ok(entry) => {
                    entry.is_some_and(|entry| entry.request == *request && !matches!(entry.state, SettlementState::Dead(_)))
                }
                Err(_unknown) => true,
            }
    }

    /// Looks into the book for somebody who has no other place in a queue: a few at once, and not for long.
    async fn look_up<T>(&self, look: impl Future<Output = Result<T, BookError>>) -> Result<T, NoAnswer> {
        let overloaded = |_| NoAnswer::unclear(Overloaded { what: "looks into the book", max: MAX_LOOKUPS_IN_FLIGHT });
        let _place = self.lookups.try_acquire().map_err(overloaded)?;
        match tokio::time::timeout(Duration::from_secs(LOOKUP_TIMEOUT_SECONDS), look).await {
            Ok(found) => found.map_err(NoAnswer::unclear),
            Err(_elapsed) => {
                Err(NoAnswer::unclear(TooSlow { what: "the look into the book", seconds: LOOKUP_TIMEOUT_SECONDS }))
            }
        }
    }

    fn read(&self, request: &PaymentRequest) -> Result<(&Arc<dyn AnyFacilitatorScheme>, TypedPayment), Refusal> {
        let scheme = self.kinds.scheme_for(request)?;
        let payment = scheme.read(request)?;
        join_trace(request, payment.record.key);
        Ok((scheme, payment))
    }

    fn reconciling(&self) -> MutexGuard<'_, Option<JoinSet<()>>> {
        self.reconciling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facilitator for Local {
    fn supported(&self) -> BoxFuture<'_, Result<SupportedResponse, FacilitatorError>> {
        let mut supported = SupportedResponse::default();
        let mut signers: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for scheme in self.kinds.schemes() {
            supported.kinds.extend(scheme.kinds());
            for key in scheme.extensions() {
                if supported.extensions.iter().all(|listed| listed != key) {
                    supported.extensions.push(key.to_owned());
                }
            }
            for (family, account) in scheme.signers() {
                let accounts = signers.entry(family).or_default();
                if !accounts.contains(&account) {
                    accounts.push(account);
                }
            }
        }
        supported.signers = signers;
        Box::pin(std::future::ready(Ok(supported)))
    }

    fn verify<'a>(&'a self, request: &'a PaymentRequest) -> BoxFuture<'a, Result<VerifyResponse, FacilitatorError>> {
        Box::pin(self.verify_for(None, request))
    }

    fn settle<'a>(&'a self, request: &'a PaymentRequest) -> BoxFuture<'a, Result<SettleResponse, FacilitatorError>> {
        Box::pin(self.settle_for(None, request))
    }
}

/// Tells the span of this operation whose payment it is about, and makes it a part of the asker's trace. Whoever asks
/// without one gets the payment's own, so that verify, settle and every copy of them are found together.
fn join_trace(request: &PaymentRequest, key: PaymentKey) {
    let span = Span::current();
    let trace = request.trace.unwrap_or_else(|| TraceParent::of_payment(key)).child("facilitator");
    span.record("payment", display(key));
    span.record("trace_id", display(trace.trace_id()));
    span.record("span_id", display(trace.span_id()));
    if let Some(parent) = request.trace {
        span.record("parent_id", display(parent.span_id()));
    }
}

fn unavailable(cause: impl Into<Source>) -> FacilitatorError {
    FacilitatorError::Unavailable(cause.into())
}
