//! The future of an answer. Most requests have not paid, and their answer is ready at once, without a task or a box.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use farthing_core::BoxFuture;
use http::Response;

use super::body::PaymentBody;

type Answer<B, E> = Result<Response<PaymentBody<B>>, E>;

/// What a [`PaymentService`](super::PaymentService) answers with.
pub struct PaymentFuture<B, E>(State<B, E>);

#[expect(clippy::large_enum_variant, reason = "the larger one is the common one, and is to cost no allocation")]
enum State<B, E> {
    Ready(Ready<Answer<B, E>>),
    Working(BoxFuture<'static, Answer<B, E>>),
}

impl<B, E> PaymentFuture<B, E> {
    pub(super) fn ready(response: Response<PaymentBody<B>>) -> Self {
        Self(State::Ready(ready(Ok(response))))
    }

    pub(super) fn working(work: impl Future<Output = Answer<B, E>> + Send + 'static) -> Self {
        Self(State::Working(Box::pin(work)))
    }
}

impl<B, E> Future for PaymentFuture<B, E> {
    type Output = Answer<B, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(answer) => Pin::new(answer).poll(context),
            State::Working(work) => work.as_mut().poll(context),
        }
    }
}
