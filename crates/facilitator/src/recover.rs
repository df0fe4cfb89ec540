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
        let read = self.unfinished(Some(network)).await;
        if let (Err(cause), false) = (&read, memory.book_fails) {
            warn!(error = chain(cause), "the book cannot be read; payments without an end are left for later");
        }
        memory.book_fails = read.is_err();
        let Ok(entries) = read else { return };
        metrics::unfinished(network, entries.len());
        let due = self.due(entries, memory);
        let failure = self.ask_all(due, memory).await;
        if let (Some(cause), false) = (&failure, memory.node_fails) {
            warn!(error = cause, "the network does not say what became of a payment; it is asked again later");
        }
        memory.node_fails = failure.is_some();
    }

    /// Which entries are to be asked about now.
    fn due(&self, entries: Vec<SettlementEntry>, memory: &mut Memory) -> Vec<SettlementEntry> {
        let sent_before = self.book.now().minus(RECONCILE_GRACE_SECONDS);
        let now = Instant::now();
        let mut pauses = HashMap::new();
        let mut due = Vec::new();
        for entry in entries {
            let key = entry.record.key;
            let pause = memory.pauses.remove(&key);
            let is_paused = pause.as_ref().is_some_and(|pause| pause.until > now);
            if let Some(pause) = pause {
                pauses.insert(key, pause);
            }
            if !is_paused && entry.sent_at <= sent_before && !self.flights.has(key) {
                due.push(entry);
            }
        }
        // What is finished by now is forgotten here, too.
        memory.pauses = pauses;
        due
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

    /// All entries that have no end yet.
    async fn unfinished(&self, network: Option<&Network>) -> Result<Vec<SettlementEntry>, BookError> {
        let mut query = SettlementQuery {
            network: network.cloned(),
            state: Some(SettlementStateName::Sending),
            limit: MAX_PAGE_ENTRIES,
            ..SettlementQuery::default()
        };
        let mut all: Vec<SettlementEntry> = Vec::new();
        while all.len() < MAX_UNFINISHED_ENTRIES {
            let page = self.book.list(&query).await?;
            query.after = page.last().map(|entry| (entry.sent_at, entry.record.key));
            let is_last = page.len() < MAX_PAGE_ENTRIES;
            all.extend(page);
            if is_last {
                break;
            }
        }
        Ok(all)
    }

    /// Tells of payments that nothing here can find the end of; once, because somebody has to configure it.
    async fn log_unserved(&self) {
        let Ok(entries) = self.unfinished(None).await else { return };
        let mut counts: HashMap<(String, Network), usize> = HashMap::new();
        for entry in entries.iter().filter(|entry| self.kinds.scheme_of(&entry.record).is_none()) {
            let count = counts.entry((entry.record.scheme.clone(), entry.record.network.clone())).or_default();
            *count = count.saturating_add(1);
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

impl Memory {
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
