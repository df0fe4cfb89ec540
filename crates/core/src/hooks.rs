//! How hooks are asked, the code of sellers and operators at the turns of a payment's life, and how their failures are kept
//! from moving anything. Which turns there are is each role's own.
//!
//! 1. Hooks are asked one after the other, in the order in which they were added.
//! 2. All of them together have one time at one moment ([`HOOKS_TIMEOUT_SECONDS`]).
//! 3. One that panics, wherever, has failed, and so has one that takes longer. What that means is for the moment to say.

use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::reason::Refusal;
use crate::scheme::TransactionId;
use crate::{BoxFuture, Source};

/// How long all hooks together may take at one moment, in seconds.
pub const HOOKS_TIMEOUT_SECONDS: u64 = 5;

/// What one is called whose name cannot be had.
const NAMELESS: &str = "without a name";

/// What a hook comes to; an error is one of its own, not of the payment.
pub type HookFuture<'a, T> = BoxFuture<'a, Result<T, Source>>;

/// What a hook says before something is done.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Before<T> {
    /// Go on.
    #[default]
    Continue,
    /// Don't: the payment is refused.
    Abort(Refusal),
    /// Don't: this is what came of it.
    Skip(T),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The payment was refused; nothing of it has moved by what was sent from here.
    Refused(Refusal),
    /// It could not be done now, and nothing was sent.
    Unavailable(String),
    /// The money may have moved. What a hook answers to that is not passed on.
    Unknown {
        /// The transaction, if there is one.
        transaction: Option<TransactionId>,
        /// What is known.
        message: String,
    },
}

/// A hook did not do its part.
#[derive(Debug, thiserror::Error)]
#[error("{moment} of the hook {hook} {why}")]
pub struct HookFailed {
    moment: &'static str,
    hook: Arc<str>,
    why: Why,
    #[source]
    cause: Option<Source>,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("failed")]
    Failed,
    #[error("panicked")]
    Panicked,
    #[error("took longer than the {HOOKS_TIMEOUT_SECONDS} s that all hooks have")]
    TooSlow,
}

/// Every hook, in order, with its name. All clones are one list.
pub struct HookList<H: ?Sized>(Arc<[(Arc<str>, Arc<H>)]>);

impl<H: ?Sized> HookList<H> {
    /// These hooks, each of which is asked for its name once.
    pub fn new(hooks: Vec<Arc<H>>, name: impl Fn(&H) -> &str) -> Self {
        let named = |hook: Arc<H>| {
            let name = catch_unwind(AssertUnwindSafe(|| Arc::from(name(&hook))));
            (name.unwrap_or_else(|_| NAMELESS.into()), hook)
        };
        Self(hooks.into_iter().map(named).collect())
    }

    /// Whether nobody is asked anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks hooks at a moment. The deadline is a timer that ends [`HOOKS_TIMEOUT_SECONDS`] from now; there is none here,
    /// because there is no runtime.
    pub fn at(&self, moment: &'static str, deadline: impl Future<Output = ()> + Send + 'static) -> Round<'_, H> {
        Round { left: &self.0, moment, deadline: Box::pin(deadline), is_over: false }
    }
}

impl<H: ?Sized> Clone for HookList<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<H: ?Sized> Default for HookList<H> {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl<H: ?Sized> fmt::Debug for HookList<H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// Hooks at one moment.
#[must_use = "nobody is asked unless it is said what"]
pub struct Round<'a, H: ?Sized> {
    left: &'a [(Arc<str>, Arc<H>)],
    moment: &'static str,
    deadline: BoxFuture<'static, ()>,
    is_over: bool,
}

impl<'a, H: ?Sized> Round<'a, H> {
    /// What the next hook says, after its name; `None` once all were asked. Even when the time is over, each of them may say
    /// what it need not wait for.
    pub async fn next<T>(&mut self, ask: impl FnOnce(&'a H) -> HookFuture<'a, T>) -> Option<(&'a str, Result<T, HookFailed>)> {
        let ((name, hook), left) = self.left.split_first()?;
        self.left = left;
        let said = self.said(hook, ask).await.map_err(|(why, cause)| {
            let (moment, hook) = (self.moment, Arc::clone(name));
            HookFailed { moment, hook, why, cause }
        });
        Some((name, said))
    }

    /// The first word that is not to go on, after the name of the hook whose it is. One that fails is the last one asked.
    pub async fn before<T>(
        mut self,
        ask: impl Fn(&'a H) -> HookFuture<'a, Before<T>>,
    ) -> Result<Option<(&'a str, Before<T>)>, HookFailed> {
        while let Some((name, said)) = self.next(&ask).await {
            match said? {
                Before::Continue => {}
                word => return Ok(Some((name, word))),
            }
        }
        Ok(None)
    }

    async fn said<T>(&mut self, hook: &'a H, ask: impl FnOnce(&'a H) -> HookFuture<'a, T>) -> Result<T, (Why, Option<Source>)> {
        // It may panic before there is a future, in it, and as it is dropped.
        let panicked = |_| (Why::Panicked, None);
        let mut asked = catch_unwind(AssertUnwindSafe(|| ask(hook))).map_err(panicked)?;
        let said = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| asked.as_mut().poll(context))) {
            Ok(Poll::Ready(said)) => Poll::Ready(said.map_err(|error| (Why::Failed, Some(error)))),
            Ok(Poll::Pending) if self.is_over(context) => Poll::Ready(Err((Why::TooSlow, None))),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(panicked(panic))),
        });
        let said = said.await;
        catch_unwind(AssertUnwindSafe(|| drop(asked))).map_err(panicked)?;
        said
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.is_over = self.is_over || self.deadline.as_mut().poll(context).is_ready();
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;
    use std::future::{pending, ready};
    use std::task::Waker;

    /// What a hook does, and what it is called.
    struct Hook(&'static str, fn() -> HookFuture<'static, Before<u8>>);

    impl Hook {
        fn name(&self) -> &str {
            assert_ne!(self.0, "", "a name that panics");
            self.0
        }
    }

    /// Panics as it is dropped.
    struct Fragile;

    impl Drop for Fragile {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    fn says(word: Before<u8>) -> HookFuture<'static, Before<u8>> {
        Box::pin(ready(Ok(word)))
    }

    const GOES_ON: Hook = Hook("quiet", || says(Before::Continue));

    fn list(hooks: Vec<Hook>) -> HookList<Hook> {
        HookList::new(hooks.into_iter().map(Arc::new).collect(), Hook::name)
    }

    /// What comes of it without waiting for anything but the time.
    fn now<T>(future: impl Future<Output = T>) -> T {
        let mut future = Box::pin(future);
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("it waits"),
        }
    }

    fn failure(hook: Hook) -> String {
        let list = list(vec![GOES_ON, hook, Hook("never", || panic!("nobody is asked after a failure"))]);
        let failed = now(list.at("on_test", ready(())).before(|hook| hook.1())).unwrap_err();
        failed.source().map_or(failed.to_string(), |cause| format!("{failed}: {cause}"))
    }

    #[test]
    fn the_first_word_is_the_last_one_asked() {
        let hooks = vec![GOES_ON, Hook("loud", || says(Before::Skip(7))), Hook("never", || panic!("asked"))];
        let list = list(hooks);
        let word = now(list.at("on_test", pending()).before(|hook| hook.1())).unwrap();
        assert_eq!(word, Some(("loud", Before::Skip(7))));
        assert_eq!(now(self::list(vec![GOES_ON]).at("on_test", pending()).before(|hook| hook.1())).unwrap(), None);
    }

    #[test]
    fn whatever_a_hook_does_it_has_failed_and_is_named() {
        let slow = "on_test of the hook one took longer than the 5 s that all hooks have";
        let cases: [(Hook, &str); 6] = [
            (
                Hook("one", || Box::pin(ready(Err("the database is away".into())))),
                "on_test of the hook one failed: the database is away",
            ),
            (Hook("one", || panic!("before there is a future")), "on_test of the hook one panicked"),
            (Hook("one", || Box::pin(async { panic!("in it") })), "on_test of the hook one panicked"),
            (
                Hook("one", || {
                    let fragile = Fragile;
                    Box::pin(poll_fn(move |_| {
                        let _ = &fragile;
                        Poll::Ready(Ok(Before::Continue))
                    }))
                }),
                "on_test of the hook one panicked",
            ),
            (Hook("one", || Box::pin(pending())), slow),
            (Hook("", || panic!("and nameless")), "on_test of the hook without a name panicked"),
        ];
        for (hook, expected) in cases {
            assert_eq!(failure(hook), expected);
        }
    }

    #[test]
    fn when_the_time_is_over_the_others_are_asked_all_the_same() {
        let list = list(vec![Hook("slow", || Box::pin(pending())), GOES_ON]);
        let mut round = list.at("on_test", ready(()));
        let (name, said) = now(round.next(|hook| hook.1())).unwrap();
        assert!((name, said.is_err()) == ("slow", true));
        let (name, said) = now(round.next(|hook| hook.1())).unwrap();
        assert!((name, said.is_ok()) == ("quiet", true));
        assert!(now(round.next(|hook| hook.1())).is_none());
    }
}
