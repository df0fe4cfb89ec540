//! One settlement in tasks of its own, against time: neither a caller who leaves, nor a panic, nor a chain that hangs can
//! leave the outcome untold.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{Instrument, error, warn};

use crate::error::{NoAnswer, TooSlow, chain};
use crate::flight::{Answer, Lead};
use crate::local::SETTLE_TIMEOUT_SECONDS;
use crate::progress::Stage;
use crate::settle::Job;

/// How long a write into the book that has begun may take, once the settlement is given up, in seconds.
const WRITE_TIMEOUT_SECONDS: u64 = 5;
/// How long a settlement that was answered with `settlement_pending` goes on before the reconciler takes it over, in
/// seconds.
const AFTERMATH_TIMEOUT_SECONDS: u64 = 120;

/// Settles, and answers whoever waits.
pub(crate) async fn fly(job: Job, lead: Lead) {
    let job = Arc::new(job);
    let mut work = tokio::spawn({
        let job = Arc::clone(&job);
        async move { job.run().await }.in_current_span()
    });
    let answer = match timeout(Duration::from_secs(SETTLE_TIMEOUT_SECONDS), &mut work).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panic)) => broken_off(&job, panic).await,
        Err(_elapsed) => overdue(&job, &lead, work).await,
    };
    if let Err(cause) = &answer {
        warn!(error = chain(cause), "could not settle");
    }
    lead.answer(job.watched(answer).await);
}

/// The callers have waited long enough. What is in the book goes on; what is not is given up for good.
async fn overdue(job: &Job, lead: &Lead, mut work: JoinHandle<Answer>) -> Answer {
    job.progress.close();
    until_written(job).await;
    if let Stage::Written(transaction) = job.progress.stage() {
        lead.answer(Ok(job.pending(&transaction)));
        match timeout(Duration::from_secs(AFTERMATH_TIMEOUT_SECONDS), &mut work).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(panic)) => return broken_off(job, panic).await,
            Err(_elapsed) => {}
        }
    }
    work.abort();
    match work.await {
        Ok(answer) => answer,
        Err(_aborted) => broken_off(job, TooSlow { what: "the settlement", seconds: SETTLE_TIMEOUT_SECONDS }).await,
    }
}

/// The work ended without an answer: it panicked, or took too long and was stopped. The book knows what was sent.
async fn broken_off(job: &Job, cause: impl Error + Send + Sync + 'static) -> Answer {
    job.progress.close();
    until_written(job).await;
    let read = timeout(Duration::from_secs(WRITE_TIMEOUT_SECONDS), job.read_back()).await;
    let answer = match (read, job.progress.stage()) {
        (Ok(Ok(Some(answer))), _) => answer,
        (_, Stage::Written(transaction)) => job.pending(&transaction),
        (Ok(Ok(None)), Stage::Unread | Stage::Nothing | Stage::Withdrawn(_)) => return Err(NoAnswer::not_sent(cause)),
        // Another process may have sent it meanwhile: only the book can rule that out.
        (_, Stage::Unread | Stage::Nothing | Stage::Withdrawn(_) | Stage::Entered) => return Err(NoAnswer::unclear(cause)),
    };
    error!(error = chain(&cause), "the settlement broke off; it was answered from the book");
    Ok(answer)
}

/// Returns when it is known whether a write that has begun was done, as far as that can be waited for.
async fn until_written(job: &Job) {
    // If it is not known by then, the stage says so.
    drop(timeout(Duration::from_secs(WRITE_TIMEOUT_SECONDS), job.progress.entered()).await);
}
