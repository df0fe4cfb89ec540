//! The reconciler: finds out the end of every payment in the book that nobody in this process is settling.
//!
//! 1. Whatever a crash, a lost answer, another node that died or a vanished block left as `Sending` is taken up: at the
//!    start, and then every few seconds.
//! 2. It asks the scheme and writes the answer down. It never sends.
//! 3. An end that may still change and that no outbox follows is checked, until it is for good: settlements by somebody
//!    else's transaction, and dead payments from their expiry on. What the chain took back is open again.
//! 4. Each network has a task of its own, so that one that hangs does not keep the others waiting; in it, so many
//!    questions are under way at once, and a payment whose end is not known yet is asked about less and less often.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::{BookError, SettlementEntry, SettlementQuery, SettlementState, SettlementStateName};
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::network::Network;
use farthing_core::scheme::{Outcome, PaymentKey, Settlement, TransactionId, VerifyError};
use farthing_core::time::UnixSeconds;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{Instrument, info_span, warn};

use crate::book::Book;
use crate::error::{TooSlow, chain};
use crate::flight::Flights;
use crate::kinds::Kinds;
use crate::metrics;

/// How often the book is looked through, in seconds.
pub const RECONCILE_EVERY_SECONDS: u64 = 3;
/// How old a payment must be before it is looked at, in seconds: a moment for whoever is settling it.
pub const RECONCILE_GRACE_SECONDS: u64 = 5;
/// How long a scheme may take to say what became of a payment, in seconds.
pub(crate) const OUTCOME_TIMEOUT_SECONDS: u64 = 15;
/// The most questions to one network at once.
const MAX_OUTCOMES_IN_FLIGHT: usize = 16;
/// The first pause before a payment is asked about again, in seconds; each one is twice as long as the last.
const FIRST_PAUSE_SECONDS: u64 = 2;
/// The longest pause before a payment is asked about again, in seconds.
const MAX_PAUSE_SECONDS: u64 = 60;
/// The first pause before an end is checked again, in seconds; each one is twice as long as the last.
const FIRST_CHECK_PAUSE_SECONDS: u64 = 15;
/// The longest pause before an end is checked again, in seconds.
const MAX_CHECK_PAUSE_SECONDS: u64 = 900;
/// The most entries that are read of the book at once.
const MAX_PAGE_ENTRIES: usize = 500;
/// The most unfinished entries of one network that are looked at in one round, and the most ends that are checked.
const MAX_UNFINISHED_ENTRIES: usize = 100_000;

pub(crate) struct Reconciler {
    pub(crate) kinds: Arc<Kinds>,
    pub(crate) book: Book,
    pub(crate) flights: Flights,
}

/// When a payment may be asked about again.
struct Pause {
    until: Instant,
    length: Duration,
}

/// Entries of the book, page by page.
struct Pages {
    query: SettlementQuery,
    read: usize,
    is_last: bool,
}

/// What one task remembers from round to round.
#[derive(Default)]
struct Memory {
    pauses: HashMap<PaymentKey, Pause>,
    /// What was last found to be wrong, so that it is logged when it begins and not at every round.
    book_fails: bool,
    node_fails: bool,
}

/// What a question came to.
enum Found {
    End,
    NothingYet,
    NoAnswer(String),
}

impl Reconciler {
    /// Begins. The tasks end with the set.
    pub(crate) fn spawn(self) -> JoinSet<()> {
        let reconciler = Arc::new(self);
        let mut tasks = JoinSet::new();
        for network in reconciler.kinds.networks() {
            let span = info_span!("reconcile", %network);
            tasks.spawn(Arc::clone(&reconciler).watch(network).instrument(span));
        }
        tasks.spawn(async move { reconciler.log_unserved().await });
        tasks
    }

    async fn watch(self: Arc<Self>, network: Network) {
        let mut memory = Memory::default();
        loop {
            self.round(&network, &mut memory).await;
            sleep(Duration::from_secs(RECONCILE_EVERY_SECONDS)).await;
        }
    }

    async fn round(self: &Arc<Self>, network: &Network, memory: &mut Memory) {
        let (unfinished, failure) = match self.pass(network, memory).await {
            Ok(passed) => passed,
            Err(cause) => {
                if !memory.book_fails {
                    warn!(error = chain(&cause), "the book cannot be read; payments without an end are left for later");
                }
                memory.book_fails = true;
                return;
            }
        };
        memory.book_fails = false;
        memory.forget();
        metrics::unfinished(network, unfinished);
        if let (Some(cause), false) = (&failure, memory.node_fails) {
            warn!(error = cause, "the network does not say what became of a payment; it is asked again later");
        }
        memory.node_fails = failure.is_some();
    }

    /// Goes through the book page by page, so that however many payments are open, few are in memory. Returns how many
    /// have no end, and the last reason why one could not be asked about.
    async fn pass(self: &Arc<Self>, network: &Network, memory: &mut Memory) -> Result<(usize, Option<String>), BookError> {
        let (mut unfinished, mut failure) = (0_usize, None);
        let mut pages = Pages::unfinished(Some(network.clone()));
        while let Some(page) = pages.next(&self.book).await? {
            unfinished = unfinished.saturating_add(page.len());
            let due = self.due(page, memory);
            failure = self.ask_all(due, memory).await.or(failure);
        }
        let mut pages = Pages::to_check(network.clone(), self.book.now());
        while let Some(page) = pages.next(&self.book).await? {
            let due = self.due(page, memory);
            failure = self.ask_all(due, memory).await.or(failure);
        }
        Ok((unfinished, failure))
    }

    /// Which entries are to be asked about now.
    fn due(&self, mut entries: Vec<SettlementEntry>, memory: &Memory) -> Vec<SettlementEntry> {
        let clock = self.book.now();
        let sent_before = clock.minus(RECONCILE_GRACE_SECONDS);
        let now = Instant::now();
        entries.retain(|entry| {
            let key = entry.record.key;
            let is_paused = memory.pauses.get(&key).is_some_and(|pause| pause.until > now);
            // By a clock that was put back, it may have been sent in the future.
            let is_old = entry.sent_at <= sent_before || entry.sent_at > clock;
            !is_paused && is_old && !self.flights.has(key)
        });
        entries
    }

    /// Asks about all of them, so many at once. Returns the last reason why one could not be asked about.
    async fn ask_all(self: &Arc<Self>, due: Vec<SettlementEntry>, memory: &mut Memory) -> Option<String> {
        let mut failure = None;
        let mut tasks = JoinSet::new();
        for entry in due {
            let Some(scheme) = self.kinds.scheme_of(&entry.record).map(Arc::clone) else { continue };
            if tasks.len() >= MAX_OUTCOMES_IN_FLIGHT {
                failure = joined(&mut tasks, memory).await.or(failure);
            }
            // Set before it is asked, so that a scheme that panics is not asked at every round either.
            memory.pause(&entry);
            let reconciler = Arc::clone(self);
            tasks.spawn(async move { (entry.record.key, reconciler.ask(&*scheme, &entry).await) }.in_current_span());
        }
        while !tasks.is_empty() {
            failure = joined(&mut tasks, memory).await.or(failure);
        }
        failure
    }

    async fn ask(&self, scheme: &dyn AnyFacilitatorScheme, entry: &SettlementEntry) -> Found {
        let found = match &entry.state {
            SettlementState::Sending(transaction) => self.find_end(scheme, entry, transaction).await,
            SettlementState::Settled(settlement) => self.check_settled(scheme, entry, settlement).await,
            SettlementState::Dead(_) => self.check_dead(scheme, entry).await,
        };
        found.unwrap_or_else(Found::NoAnswer)
    }

    async fn find_end(
        &self,
        scheme: &dyn AnyFacilitatorScheme,
        entry: &SettlementEntry,
        transaction: &TransactionId,
    ) -> Result<Found, String> {
        let key = entry.record.key;
        let outcome = answered(scheme.outcome(entry)).await?;
        if self.flights.has(key) {
            // It has been asked for meanwhile, and whoever settles it finds the end.
            return Ok(Found::NothingYet);
        }
        Ok(match outcome {
            Outcome::Settled(settlement) => Found::end(self.book.settled(key, &settlement).await, "settled"),
            Outcome::Failed(refusal) => {
                Found::end(matches!(self.book.dead(key, transaction, &refusal).await, Ok(true)), "dead")
            }
            Outcome::Unknown => Found::NothingYet,
        })
    }

    /// Whether what settled a payment still does, for good or for now.
    async fn check_settled(
        &self,
        scheme: &dyn AnyFacilitatorScheme,
        entry: &SettlementEntry,
        settlement: &Settlement,
    ) -> Result<Found, String> {
        let (outcome, is_final) = match answered(scheme.final_outcome(entry)).await? {
            Outcome::Unknown => (answered(scheme.outcome(entry)).await?, false),
            outcome => (outcome, true),
        };
        Ok(match outcome {
            Outcome::Settled(found) if found.transaction != settlement.transaction => {
                self.book.settled(entry.record.key, &found).await;
                Found::NothingYet
            }
            Outcome::Settled(_) if is_final => Found::end(self.book.finished(entry).await, "final"),
            Outcome::Settled(_) => Found::NothingYet,
            Outcome::Failed(_) | Outcome::Unknown => Found::end(self.book.undone(entry).await, "undone"),
        })
    }

    /// Whether somebody else has carried a dead payment out before it expired.
    async fn check_dead(&self, scheme: &dyn AnyFacilitatorScheme, entry: &SettlementEntry) -> Result<Found, String> {
        Ok(match answered(scheme.final_outcome(entry)).await? {
            Outcome::Settled(settlement) => Found::end(self.book.settled(entry.record.key, &settlement).await, "settled"),
            Outcome::Failed(_) => Found::end(self.book.finished(entry).await, "final"),
            Outcome::Unknown => Found::NothingYet,
        })
    }

    /// Tells of payments that nothing here can find the end of; once, because somebody has to configure it.
    async fn log_unserved(&self) {
        let mut pages = Pages::unfinished(None);
        let mut counts: HashMap<(String, Network), usize> = HashMap::new();
        while let Ok(Some(page)) = pages.next(&self.book).await {
            for entry in page.iter().filter(|entry| self.kinds.scheme_of(&entry.record).is_none()) {
                let count = counts.entry((entry.record.scheme.clone(), entry.record.network.clone())).or_default();
                *count = count.saturating_add(1);
            }
        }
        for ((scheme, network), payments) in counts {
            warn!(
                scheme,
                %network,
                payments,
                "payments of a kind that is not served here have no end yet; serve it again to find it out"
            );
        }
    }
}

impl Pages {
    /// What has no end.
    fn unfinished(network: Option<Network>) -> Self {
        Self::of(SettlementQuery { network, state: Some(SettlementStateName::Sending), ..SettlementQuery::default() })
    }

    /// What has an end that may change, and can be judged now.
    fn to_check(network: Network, now: UnixSeconds) -> Self {
        Self::of(SettlementQuery { network: Some(network), check_by: Some(now), ..SettlementQuery::default() })
    }

    fn of(query: SettlementQuery) -> Self {
        Self { query: SettlementQuery { limit: MAX_PAGE_ENTRIES, ..query }, read: 0, is_last: false }
    }

    async fn next(&mut self, book: &Book) -> Result<Option<Vec<SettlementEntry>>, BookError> {
        if self.is_last || self.read >= MAX_UNFINISHED_ENTRIES {
            return Ok(None);
        }
        let page = book.list(&self.query).await?;
        self.is_last = page.len() < MAX_PAGE_ENTRIES;
        self.read = self.read.saturating_add(page.len());
        self.query.after = page.last().map(|entry| (entry.sent_at, entry.record.key));
        Ok(Some(page))
    }
}

impl Memory {
    /// What was not asked about for longer than any pause has found its end elsewhere.
    fn forget(&mut self) {
        let long_ago = Duration::from_secs(MAX_PAUSE_SECONDS);
        self.pauses.retain(|_, pause| pause.until.elapsed() < long_ago);
    }

    fn pause(&mut self, entry: &SettlementEntry) {
        let (first, max) = match entry.state {
            SettlementState::Sending(_) => (FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS),
            SettlementState::Settled(_) | SettlementState::Dead(_) => (FIRST_CHECK_PAUSE_SECONDS, MAX_CHECK_PAUSE_SECONDS),
        };
        let last = self.pauses.get(&entry.record.key);
        let length = last.map_or(Duration::from_secs(first), |pause| pause.length.saturating_mul(2));
        let length = length.min(Duration::from_secs(max));
        self.pauses.insert(entry.record.key, Pause { until: Instant::now() + length, length });
    }
}

impl Found {
    /// The end, if the book took it.
    fn end(took: bool, outcome: &'static str) -> Self {
        if !took {
            return Self::NothingYet;
        }
        metrics::reconciled(outcome);
        Self::End
    }
}

/// The answer to a question, or why there is none.
async fn answered(question: impl Future<Output = Result<Outcome, VerifyError>>) -> Result<Outcome, String> {
    match timeout(Duration::from_secs(OUTCOME_TIMEOUT_SECONDS), question).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(VerifyError::Invalid(refusal))) => Err(refusal.to_string()),
        Ok(Err(VerifyError::Unavailable(cause))) => Err(chain(&*cause)),
        Err(_elapsed) => {
            let what = "the question what became of a payment";
            Err(TooSlow { what, seconds: OUTCOME_TIMEOUT_SECONDS }.to_string())
        }
    }
}

/// Waits for one question to be answered; returns why it could not be.
async fn joined(tasks: &mut JoinSet<(PaymentKey, Found)>, memory: &mut Memory) -> Option<String> {
    match tasks.join_next().await? {
        Ok((key, Found::End)) => {
            memory.pauses.remove(&key);
            None
        }
        Ok((_, Found::NothingYet)) => None,
        Ok((_, Found::NoAnswer(cause))) => Some(cause),
        Err(panic) => Some(panic.to_string()),
    }
}
