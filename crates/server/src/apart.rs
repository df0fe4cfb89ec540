//! Work that goes on when whoever asked for it has left.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::task::Poll;

use futures_util::FutureExt;

/// Does the work, and goes on with it in a task of its own when its caller leaves, until it ends or the runtime does. `None` if
/// it did not end: it panicked, or the runtime shut down.
///
/// A caller can leave only where it waits, so work that never waits needs no task: a book in memory, or a facilitator in this
/// process that has its answer at hand. For every payment there are two of these, and a task for each costs more than what
/// it does.
pub(crate) async fn see_through<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    // Whatever a panic left half done is dropped with the work.
    let mut work = Box::pin(AssertUnwindSafe(work).catch_unwind());
    let begun = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
    match begun {
        Poll::Ready(ended) => ended.ok(),
        Poll::Pending => tokio::spawn(work).await.ok().and_then(Result::ok),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::{Notify, oneshot};

    use super::*;

    #[tokio::test]
    async fn work_ends_whose_caller_has_left_and_a_panic_is_no_answer() {
        let (go, done) = (Arc::new(Notify::new()), oneshot::channel());
        let (going, end) = (Arc::clone(&go), done.0);
        let caller = tokio::spawn(see_through(async move {
            going.notified().await;
            end.send("done").unwrap();
        }));
        tokio::task::yield_now().await;
        caller.abort();
        assert!(caller.await.unwrap_err().is_cancelled());
        go.notify_one();
        assert_eq!(done.1.await, Ok("done"));

        assert_eq!(see_through(async { 1 }).await, Some(1));
        assert_eq!(see_through(async { panic!("at once") }).await, None::<()>);
        let later = async {
            tokio::task::yield_now().await;
            panic!("later")
        };
        assert_eq!(see_through(later).await, None::<()>);
    }
}
