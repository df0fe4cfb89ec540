//! Reads of the chain: questions that arrive together share one round trip.
//!
//! 1. Nothing is on its way and nothing is gathered: a question leaves at once, so that an idle facilitator adds no delay.
//! 2. Otherwise questions gather for [`GATHER`], or until there are [`MAX_TOGETHER`], whichever is first. They never wait
//!    for a read that is on its way, so that a slow node adds its delay once and not twice.
//! 3. What does not come back well from a shared call (it did not fit, or the node made no sense) is asked again call by
//!    call: no question can spoil the answer to another.
//! 4. What the chain needs for itself travels along: which chain it is and what it can do while that is not known, fees,
//!    one estimate of gas. An estimate runs whatever its payment runs, many times over, so it goes beside a read that
//!    others share.
//!
//! A read that is shared is a task of its own: a caller that goes away takes nothing with it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::exchange::Exchange;
use super::question::{Observed, Question};
use crate::rpc::{Answer, NodeError};

/// How long questions gather while others are on their way.
const GATHER: Duration = Duration::from_millis(1);
/// The most questions in one read.
const MAX_TOGETHER: usize = 64;

/// What reads share.
pub(super) struct Reads {
    exchange: Exchange,
    gathered: Mutex<Gathered>,
    /// How many reads are on their way.
    running: AtomicUsize,
}

/// The questions that wait for the next read.
#[derive(Default)]
struct Gathered {
    waiting: Vec<Waiting>,
    /// Counts the reads, so that a timer knows whether its own has left.
    read: u64,
}

struct Waiting {
    question: Question,
    answer: oneshot::Sender<Result<Observed, NodeError>>,
}

/// Counts a read as on its way.
struct Running<'a>(&'a AtomicUsize);

impl Reads {
    pub(super) fn new(exchange: Exchange) -> Self {
        Self { exchange, gathered: Mutex::default(), running: AtomicUsize::new(0) }
    }

    /// What asks, for questions that are not gathered.
    pub(super) const fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Answers a question, together with others.
    pub(super) async fn ask(self: &Arc<Self>, question: Question) -> Result<Observed, NodeError> {
        let (sender, answer) = oneshot::channel();
        self.gather(Waiting { question, answer: sender });
        answer.await.unwrap_or(Err(NodeError::Unreachable))
    }

    /// Answers a question that is asked by itself.
    pub(super) async fn ask_alone(self: &Arc<Self>, question: Question) -> Result<Observed, NodeError> {
        self.exchange.read(&[&question]).await.pop().unwrap_or(Err(NodeError::Unreachable))
    }

    fn gather(self: &Arc<Self>, waiting: Waiting) {
        let mut gathered = self.gathered();
        gathered.waiting.push(waiting);
        if gathered.waiting.len() >= MAX_TOGETHER {
            let full = self.leave(&mut gathered);
            drop(gathered);
            tokio::spawn(self.clone().run(full));
        } else if gathered.waiting.len() == 1 {
            let read = gathered.read;
            drop(gathered);
            let at_once = self.running.load(Ordering::Acquire) == 0;
            tokio::spawn(self.clone().depart(read, at_once));
        }
    }

    /// Lets a read leave when its time has come, unless it left because it was full.
    async fn depart(self: Arc<Self>, read: u64, at_once: bool) {
        if !at_once {
            tokio::time::sleep(GATHER).await;
        }
        let waiting = {
            let mut gathered = self.gathered();
            if gathered.read != read {
                return;
            }
            self.leave(&mut gathered)
        };
        self.run(waiting).await;
    }

    /// Takes what is gathered, and counts it as on its way from this moment on.
    fn leave(&self, gathered: &mut Gathered) -> Vec<Waiting> {
        gathered.read = gathered.read.wrapping_add(1);
        self.running.fetch_add(1, Ordering::AcqRel);
        std::mem::take(&mut gathered.waiting)
    }

    /// Asks, and tells everybody who still waits. What [`Self::leave`] took must be handed in.
    async fn run(self: Arc<Self>, mut waiting: Vec<Waiting>) {
        let _running = Running(&self.running);
        waiting.retain(|waiting| !waiting.answer.is_closed());
        let questions: Vec<&Question> = waiting.iter().map(|waiting| &waiting.question).collect();
        let mut beside = match questions.as_slice() {
            [] => return,
            // The exchange itself asks for the estimate of a lone question.
            [_] => None,
            _ => self.estimate_beside(&questions),
        };
        let answers = self.exchange.read(&questions).await;
        for (index, (waiting, answer)) in waiting.into_iter().zip(answers).enumerate() {
            match beside.take_if(|(place, _)| *place == index) {
                Some((_, estimate)) => drop(tokio::spawn(waiting.tell_with(answer, estimate))),
                None => waiting.tell(answer),
            }
        }
    }

    /// Asks for the estimate that is due, and says for which question.
    fn estimate_beside(self: &Arc<Self>, questions: &[&Question]) -> Option<(usize, JoinHandle<Option<Answer>>)> {
        let (index, call) = self.exchange.due_estimate(questions)?;
        let reads = self.clone();
        Some((index, tokio::spawn(async move { reads.exchange.ask_alone(call).await })))
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Whoever went away meanwhile needs no answer.
    fn tell(self, answer: Result<Observed, NodeError>) {
        drop(self.answer.send(answer));
    }

    async fn tell_with(self, mut answer: Result<Observed, NodeError>, estimate: JoinHandle<Option<Answer>>) {
        if let Ok(observed) = &mut answer {
            observed.estimate = estimate.await.ok().flatten();
        }
        self.tell(answer);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
