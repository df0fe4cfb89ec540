//! The body of an answer: one that was held until its payment had settled, or one that is passed on as it comes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;

/// The body of an answer that has passed a [`PaymentService`](super::PaymentService) around a service with bodies `B`.
pub type PaymentBody<B> = Either<Held, B>;

/// A whole body in memory.
#[derive(Clone, Debug, Default)]
pub struct Held {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl Held {
    pub(super) const fn new(data: Bytes, trailers: Option<HeaderMap>) -> Self {
        Self { data, trailers }
    }

    /// All of it, as long as nobody has begun to read it.
    pub(super) const fn parts(&self) -> (&Bytes, Option<&HeaderMap>) {
        (&self.data, self.trailers.as_ref())
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
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.data)))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
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
