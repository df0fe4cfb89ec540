//! Tells the book where transactions landed, after those who wait for them were told.
//!
//! The order of the notes is kept. One that can't be written is tried again; if it is lost all the same, whoever takes the
//! lane next finds out the same from the chain. Only that a block is gone must not be lost: the book would go on saying that
//! its payments are settled.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::{BookError, Landing, LaneLease, Outbox};
use farthing_core::time::UnixSeconds;
use futures_util::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

/// How often a note is tried that may be lost.
const MAX_TRIES: u32 = 6;
/// The pause after the first try; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two tries.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How long anybody waits for the notes to be written.
const WRITTEN_PATIENCE: Duration = Duration::from_secs(5);

/// What the book is to be told.
pub(super) enum Note {
    /// One of the transactions with that number was mined.
    Landed(LaneLease, u64, Landing),
    /// Its block is gone.
    Reopened(LaneLease, u64, UnixSeconds),
    /// Nothing can change any more.
    Closed(LaneLease, u64),
    /// Everything before this was written.
    Written(oneshot::Sender<()>),
}

/// Where notes are left.
pub(super) struct Notes(mpsc::UnboundedSender<Note>);

impl Note {
    async fn write(&self, outbox: &dyn Outbox) -> Result<(), BookError> {
        match self {
            Self::Landed(lease, sequence, landing) => outbox.landed(lease, *sequence, landing).await,
            Self::Reopened(lease, sequence, now) => outbox.reopened(lease, *sequence, *now).await,
            Self::Closed(lease, sequence) => outbox.closed(lease, *sequence).await,
            Self::Written(_) => Ok(()),
        }
    }
}

impl Notes {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Note>) {
        // A few for each transaction under way; while the book can't be told that a block is gone, those behind it gather.
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    pub(super) fn leave(&self, note: Note) {
        // Nobody reads them while the relayer is being torn down; then the next one finds out by itself.
        drop(self.0.send(note));
    }

    /// Waits until everything that was left is written, but not for ever.
    pub(super) async fn written(&self) {
        let (sender, written) = oneshot::channel();
        self.leave(Note::Written(sender));
        // What is not written by then, whoever takes the lane next finds out.
        drop(timeout(WRITTEN_PATIENCE, written).await);
    }
}

/// Writes what is noted, for as long as anybody notes.
pub(super) async fn write(outbox: Arc<dyn Outbox>, mut notes: mpsc::UnboundedReceiver<Note>) {
    while let Some(note) = notes.recv().await {
        let mut pause = FIRST_PAUSE;
        let may_be_lost = !matches!(note, Note::Reopened(..));
        for tries in 1_u32.. {
            // A book that panics is one that can't be written now.
            let written = AssertUnwindSafe(note.write(&*outbox)).catch_unwind().await;
            let error = match written {
                Ok(Ok(())) => break,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it panicked".to_owned(),
            };
            tracing::warn!(error, tries, "the outbox could not be told where a transaction landed");
            if may_be_lost && tries >= MAX_TRIES {
                break;
            }
            sleep(pause).await;
            pause = pause.saturating_mul(2).min(MAX_PAUSE);
        }
        if let Note::Written(sender) = note {
            // Whoever waited may have gone away.
            let _ = sender.send(());
        }
    }
}
