//! Bodies on their way: passed on as they come, within limits, and never gathered.
//!
//! Nothing is read from one side before the other takes it: a frame is asked for only when there is room for it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body as Request;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::activity::Activity;
use crate::hygiene;
use crate::slots::Slot;

/// What ended a request's body before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the request's body is too large")]
    TooLarge,
    #[error("the request's body stopped coming")]
    Stalled,
    #[error("the request's body broke off")]
    Broken,
}

/// What is known about a request's body while it is sent.
#[derive(Debug)]
pub(crate) struct Progress {
    activity: Activity,
    waits_for_client: AtomicBool,
    fault: AtomicU8,
}

impl Progress {
    fn new() -> Self {
        Self { activity: Activity::new(), waits_for_client: AtomicBool::new(false), fault: AtomicU8::new(0) }
    }

    /// Resolves when nothing has been sent to the upstream for `limit`, although the client had sent it; and in any case
    /// when nothing has moved for longer than either of the two may take.
    pub(crate) async fn idle_upstream(&self, limit: Duration, body_timeout: Duration) {
        loop {
            self.activity.silence(limit).await;
            let either = limit.saturating_add(body_timeout);
            if !self.waits_for_client.load(Ordering::Relaxed) || self.activity.deadline(either) <= Instant::now() {
                return;
            }
            tokio::time::sleep(limit).await;
        }
    }

    /// What ended the body, if something did.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self.fault.load(Ordering::Relaxed) {
            1 => Some(Fault::TooLarge),
            2 => Some(Fault::Stalled),
            3 => Some(Fault::Broken),
            _ => None,
        }
    }

    fn fail(&self, fault: Fault) -> Fault {
        let number = match fault {
            Fault::TooLarge => 1,
            Fault::Stalled => 2,
            Fault::Broken => 3,
        };
        self.fault.store(number, Ordering::Relaxed);
        fault
    }
}

/// The body of a request, on its way to the upstream.
pub(crate) struct Upload(Option<Sending>);

struct Sending {
    inner: Request,
    left_bytes: u64,
    patience: Patience,
    progress: Arc<Progress>,
}

impl Upload {
    /// No body at all.
    pub(crate) const fn empty() -> Self {
        Self(None)
    }

    /// A body of at most that many bytes, that pauses at most so long.
    pub(crate) fn new(inner: Request, max_bytes: u64, timeout: Duration) -> (Self, Option<Arc<Progress>>) {
        if inner.is_end_stream() {
            return (Self::empty(), None);
        }
        let progress = Arc::new(Progress::new());
        let known = Some(Arc::clone(&progress));
        (Self(Some(Sending { inner, left_bytes: max_bytes, patience: Patience::new(timeout), progress })), known)
    }
}

impl Sending {
    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Fault> {
        self.progress.activity.touch();
        match frame.into_data() {
            Ok(data) => {
                let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
                match self.left_bytes.checked_sub(length) {
                    Some(left) => self.left_bytes = left,
                    None => return Err(self.progress.fail(Fault::TooLarge)),
                }
                Ok(Frame::data(data))
            }
            Err(frame) => Ok(without_forgeries(frame)),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let Some(sending) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(&mut sending.inner).poll_frame(context);
        sending.progress.waits_for_client.store(polled.is_pending(), Ordering::Relaxed);
        match polled {
            Poll::Ready(frame) => {
                sending.patience.renew();
                Poll::Ready(match frame {
                    Some(Ok(frame)) => Some(sending.take(frame)),
                    Some(Err(error)) => {
                        tracing::debug!(%error, "a request's body broke off");
                        Some(Err(sending.progress.fail(Fault::Broken)))
                    }
                    None => None,
                })
            }
            Poll::Pending if sending.patience.poll_is_over(context) => {
                Poll::Ready(Some(Err(sending.progress.fail(Fault::Stalled))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|sending| sending.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |sending| sending.inner.size_hint())
    }
}

/// Why an answer's body ended before its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DownloadError {
    #[error("the upstream broke off in the middle of an answer")]
    Broken(#[source] hyper::Error),
    #[error("the upstream stopped in the middle of an answer")]
    Stalled,
}

/// The body of an answer, on its way to the client. It holds the request's place until it has gone.
pub(crate) struct Download {
    inner: Incoming,
    patience: Patience,
    _place: Slot,
}

impl Download {
    pub(crate) const fn new(inner: Incoming, timeout: Duration, place: Slot) -> Self {
        Self { inner, patience: Patience::new(timeout), _place: place }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = DownloadError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, DownloadError>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Ready(frame) => {
                self.patience.renew();
                Poll::Ready(frame.map(|frame| match frame {
                    Ok(frame) => Ok(without_forgeries(frame)),
                    Err(error) => {
                        tracing::warn!(%error, "the upstream broke off in the middle of an answer");
                        Err(DownloadError::Broken(error))
                    }
                }))
            }
            Poll::Pending if self.patience.poll_is_over(context) => {
                tracing::warn!("the upstream stopped in the middle of an answer");
                Poll::Ready(Some(Err(DownloadError::Stalled)))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn without_forgeries(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            hygiene::cleanse_trailers(&mut trailers);
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

/// A time-out for each pause. Its timer is made at the first one, and set anew only when there is another.
struct Patience {
    timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

impl Patience {
    const fn new(timeout: Duration) -> Self {
        Self { timeout, timer: None, is_running: false }
    }

    /// The pause has ended.
    const fn renew(&mut self) {
        self.is_running = false;
    }

    /// There is a pause: whether it has lasted too long.
    fn poll_is_over(&mut self, context: &mut Context<'_>) -> bool {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.timeout)));
        if !self.is_running {
            timer.as_mut().reset(Instant::now() + self.timeout);
            self.is_running = true;
        }
        timer.as_mut().poll(context).is_ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_longer_than_both_may_take() {
        let (limit, body_timeout) = (Duration::from_secs(10), Duration::from_mins(1));
        let start = Instant::now();
        Progress::new().idle_upstream(limit, body_timeout).await;
        assert!(start.elapsed() < limit + Duration::from_secs(1), "{:?}", start.elapsed());

        let start = Instant::now();
        let progress = Progress::new();
        progress.waits_for_client.store(true, Ordering::Relaxed);
        progress.idle_upstream(limit, body_timeout).await;
        let waited = start.elapsed();
        assert!(waited > body_timeout && waited < limit + body_timeout + limit, "{waited:?}");
    }
}
