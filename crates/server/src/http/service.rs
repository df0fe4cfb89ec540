//! The service that stands before a priced one.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use farthing_core::Source;
use farthing_core::wire::PaymentPayload;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Either;
use tower_service::Service;
use tracing::Instrument;

use super::answer::problem;
use super::body::{Held, PaymentBody};
use super::future::PaymentFuture;
use super::headers::{self, PAYER_ALONE};
use super::overrides;
use super::request::{is_preflight, trace_of};
use super::toll::Toll;
use super::work::{self, Failure, Work};
use crate::gate::Admitted;
use crate::resource::RequestFacts;

/// What a [`PaymentLayer`](super::PaymentLayer) makes of a service.
#[derive(Clone)]
pub struct PaymentService<S> {
    inner: S,
    toll: Arc<Toll>,
}

impl<S> PaymentService<S> {
    pub(super) const fn new(inner: S, toll: Arc<Toll>) -> Self {
        Self { inner, toll }
    }
}

impl<S, Q, B> Service<Request<Q>> for PaymentService<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Source>,
{
    type Response = Response<PaymentBody<B>>;
    type Error = S::Error;
    type Future = PaymentFuture<B, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        if self.toll.passes_preflights && is_preflight(&request) {
            headers::strip(request.headers_mut());
            let answer = self.inner.call(request);
            return PaymentFuture::working(async move {
                let mut answer = answer.await?;
                headers::strip(answer.headers_mut());
                Ok(answer.map(Either::Right))
            });
        }
        let (url, payment) = match self.toll.read(&request) {
            Ok(paying) => paying,
            Err(answer) => return PaymentFuture::ready(whole(answer)),
        };
        // The service that was polled ready is the one to call; the clone waits for its own turn.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        PaymentFuture::working(serve(Arc::clone(&self.toll), inner, request, url, payment))
    }
}

async fn serve<S, Q, B>(
    toll: Arc<Toll>,
    inner: S,
    mut request: Request<Q>,
    url: String,
    payment: PaymentPayload,
) -> Result<Response<PaymentBody<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<Source>,
{
    let gate = toll.server.gate();
    let facts = RequestFacts::http(request.method().as_str(), url).in_trace(trace_of(request.headers()));
    let admitted = match toll.admit(payment, &facts).await {
        Ok(admitted) => admitted,
        Err(answer) => return Ok(whole(answer)),
    };
    headers::strip(request.headers_mut());
    request.extensions_mut().insert(admitted.paid().clone());
    let work = work::run(inner, request, toll.server.max_held_body_bytes()).instrument(admitted.span.clone());
    match overrides::follow(work.await, admitted.paid().usage()) {
        Work::Done(answer) => {
            let version = admitted.version();
            let settled = gate.settle(admitted).await;
            Ok(toll.release(answer, &settled, version, &facts.resource_url).map(Either::Left))
        }
        Work::Declined(mut answer) => {
            headers::strip(answer.headers_mut());
            headers::mark(answer.headers_mut(), PAYER_ALONE);
            let answer = tell_charge(answer, &admitted);
            gate.cancel(admitted).await;
            Ok(answer.map(Either::Right))
        }
        Work::Failed(failure) => {
            let was_charged = admitted.charged().is_some();
            tracing::error!(error = failure.code(), was_charged, "a paid request was not served");
            let answer = tell_charge(failed(failure, &admitted), &admitted);
            gate.cancel(admitted).await;
            Ok(whole(answer))
        }
        Work::Error(error) => {
            gate.cancel(admitted).await;
            Err(error)
        }
    }
}

/// The answer to a request whose work has none.
fn failed(failure: Failure, admitted: &Admitted) -> Response<Bytes> {
    let then = if admitted.charged().is_some() {
        "the payment has settled: present the same payment for the same request again, and do not sign another"
    } else if admitted.may_be_charged() {
        "the payment may have settled before: present it for the same request again, and do not sign another"
    } else {
        "nothing was charged"
    };
    problem(StatusCode::INTERNAL_SERVER_ERROR, failure.code(), &format!("{}; {then}", failure.message()))
}

/// Says in an answer that nobody wants to pay for that the money had moved before.
fn tell_charge<B>(mut answer: Response<B>, admitted: &Admitted) -> Response<B> {
    if let Some(charged) = admitted.charged() {
        headers::tell_settlement(answer.headers_mut(), charged, admitted.version());
    }
    answer
}

fn whole<B>(answer: Response<Bytes>) -> Response<PaymentBody<B>> {
    answer.map(|body| Either::Left(Held::from(body)))
}
