//! The reconciler: finds out the end of every payment in the book that nobody in this process is settling.
//!
//! 1. Whatever a crash, a lost answer, another node that died or a vanished block left as `Sending` is taken up: at the
//!    start, and then every few seconds.
//! 2. It asks the scheme and writes the answer down. It never sends.
//! 3. Each network has a task of its own, so that one that hangs does not keep the others waiting; in it, so many
//!    questions are under way at once, and a payment whose end is not known yet is asked about less and less often.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::{BookError, SettlementEntry, SettlementQuery, SettlementStateName};
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::network::Network;
use farthing_core::scheme::{Outcome, PaymentKey, VerifyError};
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
/// The most entries that are read of the book at once.
const MAX_PAGE_ENTRIES: usize = 500;
/// The most unfinished entries of one network that are looked at in one round.
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

/// The entries that have no end yet, page by page.
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

    /// Goes through the book page by page, so that however many payments are open, few are in memory.
    async fn round(self: &Arc<Self>, network: &Network, memory: &mut Memory) {
        let mut pages = Pages::of(Some(network.clone()));
        let (mut count, mut failure) = (0_usize, None);
        loop {
            let page = match pages.next(&self.book).await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(cause) => {
                    if !memory.book_fails {
                        warn!(error = chain(&cause), "the book cannot be read; payments without an end are left for later");
                    }
                    memory.book_fails = true;
                    return;
                }
            };
            count = count.saturating_add(page.len());
            let due = self.due(page, memory);
            failure = self.ask_all(due, memory).await.or(failure);
        }
        memory.book_fails = false;
        memory.forget();
        metrics::unfinished(network, count);
        if let (Some(cause), false) = (&failure, memory.node_fails) {
            warn!(error = cause, "the network does not say what became of a payment; it is asked again later");
        }
        memory.node_fails = failure.is_some();
    }

    /// Which entries are to be asked about now.
    fn due(&self, mut entries: Vec<SettlementEntry>, memory: &Memory) -> Vec<SettlementEntry> {
        let sent_before = self.book.now().minus(RECONCILE_GRACE_SECONDS);
        let now = Instant::now();
        entries.retain(|entry| {
            let key = entry.record.key;
            let is_paused = memory.pauses.get(&key).is_some_and(|pause| pause.until > now);
            !is_paused && entry.sent_at <= sent_before && !self.flights.has(key)
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
            memory.pause(entry.record.key);
            let reconciler = Arc::clone(self);
            tasks.spawn(async move { (entry.record.key, reconciler.ask(&*scheme, &entry).await) }.in_current_span());
        }
        while !tasks.is_empty() {
            failure = joined(&mut tasks, memory).await.or(failure);
        }
        failure
    }

    async fn ask(&self, scheme: &dyn AnyFacilitatorScheme, entry: &SettlementEntry) -> Found {
        let key = entry.record.key;
        let (took, outcome) = match timeout(Duration::from_secs(OUTCOME_TIMEOUT_SECONDS), scheme.outcome(entry)).await {
            Ok(Ok(Outcome::Settled(settlement))) => (self.book.settled(key, &settlement).await, "settled"),
            Ok(Ok(Outcome::Failed(refusal))) => (self.book.dead(key, &refusal).await, "dead"),
            Ok(Ok(Outcome::Unknown)) => return Found::NothingYet,
            Ok(Err(VerifyError::Invalid(refusal))) => return Found::NoAnswer(refusal.to_string()),
            Ok(Err(VerifyError::Unavailable(cause))) => return Found::NoAnswer(chain(&*cause)),
            Err(_elapsed) => {
                let too_slow = TooSlow { what: "the question what became of a payment", seconds: OUTCOME_TIMEOUT_SECONDS };
                return Found::NoAnswer(too_slow.to_string());
            }
        };
        if !took {
            return Found::NothingYet;
        }
        metrics::reconciled(outcome);
        Found::End
    }

    /// Tells of payments that nothing here can find the end of; once, because somebody has to configure it.
    async fn log_unserved(&self) {
        let mut pages = Pages::of(None);
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
    fn of(network: Option<Network>) -> Self {
        let query = SettlementQuery {
            network,
            state: Some(SettlementStateName::Sending),
            limit: MAX_PAGE_ENTRIES,
            ..SettlementQuery::default()
        };
        Self { query, read: 0, is_last: false }
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

    fn pause(&mut self, key: PaymentKey) {
        let length = self.pauses.get(&key).map_or(Duration::from_secs(FIRST_PAUSE_SECONDS), |pause| {
            pause.length.saturating_mul(2).min(Duration::from_secs(MAX_PAUSE_SECONDS))
        });
        self.pauses.insert(key, Pause { until: Instant::now() + length, length });
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
