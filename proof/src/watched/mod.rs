//! Books and nodes with somebody who looks on.
//!
//! [`Watched`] stands around a trait of the product and asks a [`Watch`] before and after each call. What the watch says
//! decides: the call goes on, fails, or never comes back, as if the process had ended there; or the watch ends the
//! process for real. The product has no line of this.

mod books;
mod node;

use std::future::Future;
use std::sync::Arc;

use farthing_core::BoxFuture;
use farthing_core::amount::Amount;
use farthing_core::scheme::PaymentKey;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Go,
    /// It fails: before, nothing of it happens; after, it has happened and its caller is told that it has not.
    Fail,
    /// It never comes back: whoever called is dead.
    Freeze,
}

/// Somebody who looks on.
pub trait Watch: Send + Sync {
    /// A call is about to be made.
    fn before(&self, call: &str) -> Verdict;

    /// A call has been made, and its caller does not know yet.
    fn after(&self, call: &str) -> Verdict;

    /// A seller's book is told that a payment is about to be charged, for so much; and then, if that holds, it has been told.
    fn charging(&self, _payment: PaymentKey, _charge: Amount, _is_written: bool) {}
}

/// A book or a node with somebody who looks on.
pub struct Watched<T: ?Sized> {
    inner: Arc<T>,
    watch: Arc<dyn Watch>,
}

impl<T: Send + Sync + ?Sized> Watched<T> {
    /// Puts the watch around it.
    pub fn new(inner: Arc<T>, watch: Arc<dyn Watch>) -> Arc<Self> {
        Arc::new(Self { inner, watch })
    }

    /// Makes a call under the watch. The call begins only when it is let through: some books act before they are polled.
    fn call<'a, A, E, F>(
        &'a self,
        name: impl AsRef<str> + Send + 'a,
        make: impl FnOnce() -> F + Send + 'a,
        failure: fn() -> E,
    ) -> BoxFuture<'a, Result<A, E>>
    where
        A: Send + 'a,
        E: Send + 'a,
        F: Future<Output = Result<A, E>> + Send + 'a,
    {
        Box::pin(async move {
            obey(self.watch.before(name.as_ref()), failure).await?;
            let answer = make().await;
            obey(self.watch.after(name.as_ref()), failure).await?;
            answer
        })
    }
}

async fn obey<E>(verdict: Verdict, failure: fn() -> E) -> Result<(), E> {
    match verdict {
        Verdict::Go => Ok(()),
        Verdict::Fail => Err(failure()),
        Verdict::Freeze => std::future::pending().await,
    }
}
