//! Answers that have gone out whole are forgotten, so that after a restart only those are given again that may have got lost.
//!
//! Nobody waits for that to be written, and it is no loss if it is not: then an answer is given again that has got out. So
//! what has gathered for a moment is written at once, which takes no more commits than one for each such moment.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farthing_core::books::{ClaimId, Deliveries};
use tokio::runtime::Handle;

/// For how long answers gather that have gone out, in milliseconds.
const GATHERED_FOR_MILLISECONDS: u64 = 200;
/// How many of them are written together at most. More come with the next moment, in a write of their own.
const WRITTEN_TOGETHER_MAX: usize = 1_024;

/// The answers that have gone out and are still in the book.
#[derive(Clone)]
pub(crate) struct Departed {
    deliveries: Arc<dyn Deliveries>,
    gathered: Arc<Mutex<Vec<ClaimId>>>,
}

/// A kept answer on its way to its buyer. Dropping it says nothing: if this process dies, the answer may have got lost, and
/// is given again for as long as it is kept.
#[must_use = "an answer that is not said to have gone out is given again after a restart"]
#[derive(Clone)]
pub struct InTransit {
    departed: Departed,
    claim: ClaimId,
    runtime: Handle,
}

impl InTransit {
    /// The last of the answer is out of our hands: nobody gets it again. Written a moment later.
    pub fn has_departed(self) {
        let Self { departed, claim, runtime } = self;
        let needs_writer = {
            let mut gathered = departed.gathered();
            gathered.push(claim);
            // Never by the first alone: a writer ends with its runtime, and there may be another one.
            gathered.len() % WRITTEN_TOGETHER_MAX == 1
        };
        if needs_writer {
            // The task ends by itself.
            drop(runtime.spawn(departed.write()));
        }
    }
}

impl Departed {
    pub(crate) fn new(deliveries: Arc<dyn Deliveries>) -> Self {
        Self { deliveries, gathered: Arc::default() }
    }

    /// An answer that was written down under this claim. Must be called inside a tokio runtime.
    pub(crate) fn in_transit(&self, claim: ClaimId) -> InTransit {
        InTransit { departed: self.clone(), claim, runtime: Handle::current() }
    }

    async fn write(self) {
        tokio::time::sleep(Duration::from_millis(GATHERED_FOR_MILLISECONDS)).await;
        let gathered = std::mem::take(&mut *self.gathered());
        for claims in gathered.chunks(WRITTEN_TOGETHER_MAX) {
            if let Err(error) = self.deliveries.delivered(claims).await {
                let (cause, answers) = (&error as &dyn std::error::Error, claims.len());
                tracing::warn!(answers, cause, "answers that went out stay in the deliveries book until their time is past");
            }
        }
    }

    fn gathered(&self) -> MutexGuard<'_, Vec<ClaimId>> {
        // A list of ids is whole whatever panicked beside it.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
