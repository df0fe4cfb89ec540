//! The body of an answer: one that was held until its payment had settled, or one that is passed on as it comes.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use farthing_core::wire::Version;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;
use tokio::task::JoinHandle;

use super::headers;
use crate::departed::InTransit;
use crate::sending::Sending;
use crate::settle::Settled;
use crate::streaming::Streaming;

/// The body of an answer that has passed a [`PaymentService`](super::PaymentService) around a service with bodies `B`.
pub type PaymentBody<B> = Either<Held, Passed<B>>;

/// A whole body in memory.
#[derive(Clone, Default)]
pub struct Held {
    data: Bytes,
    trailers: Option<HeaderMap>,
    /// To be told once the last of it was taken. An empty body is never asked for, so nobody can tell when it has gone out.
    transit: Option<InTransit>,
}

impl Held {
    pub(super) const fn new(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self { data, trailers, transit: None }
    }

    /// All of it, as long as nobody has begun to read it.
    pub(super) const fn parts(&self) -> (&Bytes, Option<&HeaderMap>) {
        (&self.data, self.trailers.as_ref())
    }

    /// The same body, which says when it has gone out.
    pub(super) fn in_transit(self, transit: Option<InTransit>) -> Self {
        Self { transit, ..self }
    }

    /// Removes the protocol's names from the trailers, too.
    pub(super) fn strip_trailers(&mut self) {
        if let Some(trailers) = &mut self.trailers {
            headers::strip(trailers);
        }
        self.trailers = self.trailers.take().filter(|trailers| !trailers.is_empty());
    }
}

/// A body as its handler sends it, but for the protocol's names in its trailers: neither there nor among the headers may a
/// handler say what became of a payment.
pub struct Passed<B> {
    body: Pin<Box<B>>,
    /// How many bytes there still are, where that is known.
    left_bytes: Option<u64>,
    end: End,
}

/// Who is to hear when a body has gone out.
enum End {
    /// Nobody.
    Unheard,
    /// Who was paid before.
    Paid(Sending),
    /// Who is paid then.
    Owed(Streaming),
    /// It has gone out, and is being settled; its own trailers are still to come.
    Settling(JoinHandle<Settled>, Version, HeaderMap),
    /// Nothing more comes.
    Settled,
}

impl<B: Body> Passed<B> {
    pub(super) fn new(body: B) -> Self {
        Self { left_bytes: body.size_hint().exact(), body: Box::pin(body), end: End::Unheard }
    }

    /// One that was paid for, and says when it has gone out.
    pub(super) fn paid(body: B, sending: Sending) -> Self {
        Self { end: End::Paid(sending), ..Self::new(body) }
    }

    /// One that is paid for when it has gone out, and ends with a trailer that says so.
    pub(super) fn owed(body: B, streaming: Streaming) -> Self {
        Self { end: End::Owed(streaming), ..Self::new(body) }
    }

    /// Not every reader asks again when it has what it was told to expect.
    fn has_sent(&mut self, bytes: usize) {
        let sent = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.left_bytes = self.left_bytes.map(|left| left.saturating_sub(sent));
        if self.left_bytes == Some(0) || self.body.is_end_stream() {
            self.has_ended(HeaderMap::new());
        }
    }

    fn has_ended(&mut self, trailers: HeaderMap) {
        self.end = match std::mem::replace(&mut self.end, End::Unheard) {
            End::Unheard => End::Unheard,
            End::Paid(sending) => {
                sending.has_ended();
                End::Unheard
            }
            End::Owed(streaming) => match streaming.has_ended() {
                Some((settling, version)) => End::Settling(settling, version, trailers),
                None => End::Unheard,
            },
            later @ (End::Settling(..) | End::Settled) => later,
        };
    }

    /// The trailers of a body that has gone out, once it is settled.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Option<HeaderMap>> {
        let End::Settling(settling, version, trailers) = &mut self.end else { return Poll::Ready(None) };
        let settled = std::task::ready!(Pin::new(settling).poll(context));
        let mut trailers = std::mem::take(trailers);
        if let Ok(settled) = settled {
            headers::tell_settlement(&mut trailers, settled.response(), *version);
        }
        self.end = End::Settled;
        Poll::Ready(Some(trailers).filter(|trailers| !trailers.is_empty()))
    }
}

impl<B: Body<Data = Bytes>> Body for Passed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if matches!(self.end, End::Settled) {
            return Poll::Ready(None);
        }
        if matches!(self.end, End::Settling(..)) {
            return self.poll_end(context).map(|trailers| trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        match std::task::ready!(self.body.as_mut().poll_frame(context)) {
            None => {
                self.has_ended(HeaderMap::new());
                self.poll_end(context).map(|trailers| trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Some(Err(error)) => {
                // It has broken off, whatever its reader does with it now.
                self.end = End::Unheard;
                Poll::Ready(Some(Err(error)))
            }
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(mut trailers) => {
                    headers::strip(&mut trailers);
                    if matches!(self.end, End::Owed(_)) {
                        self.has_ended(trailers);
                        return self.poll_end(context).map(|trailers| trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                    }
                    self.has_ended(HeaderMap::new());
                    Poll::Ready(Some(Ok(Frame::trailers(trailers))))
                }
                Err(frame) => {
                    self.has_sent(frame.data_ref().map_or(0, Bytes::len));
                    Poll::Ready(Some(Ok(frame)))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.end {
            End::Unheard | End::Paid(_) => self.body.is_end_stream(),
            End::Owed(_) | End::Settling(..) => false,
            End::Settled => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.end {
            End::Unheard | End::Paid(_) => self.body.size_hint(),
            // With an exact length HTTP/1 would leave the trailers out.
            End::Owed(_) | End::Settling(..) | End::Settled => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Held {
    /// Answers are their buyers' alone.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Held({} bytes)", self.data.len())
    }
}

impl<B> fmt::Debug for Passed<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passed(…)")
    }
}

impl<T: Into<Bytes>> From<T> for Held {
    fn from(data: T) -> Self {
        Self::new(data.into(), None)
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = std::mem::take(&mut self.data);
        let frame = if data.is_empty() { self.trailers.take().map(Frame::trailers) } else { Some(Frame::data(data)) };
        if self.trailers.is_none()
            && let Some(transit) = self.transit.take()
        {
            transit.has_departed();
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // With an exact length HTTP/1 would leave the trailers out.
        let length = u64::try_from(self.data.len()).ok().filter(|_| self.trailers.is_none());
        length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn trailers_follow_the_data_and_the_length_is_known_without_them() {
        let plain = Held::from("data");
        assert_eq!(format!("{plain:?}"), "Held(4 bytes)", "an answer is not printed");
        assert_eq!(plain.size_hint().exact(), Some(4));
        assert!(Held::default().is_end_stream());
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let held = Held::new(Bytes::from_static(b"data"), Some(trailers.clone()));
        assert_eq!(held.size_hint().exact(), None);
        let collected = held.collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "data");
    }
}
