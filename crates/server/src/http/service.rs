//! The service that stands before a priced one.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use farthing_core::Source;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::{PaymentPayload, Version};
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Either;
use tower_service::Service;

use super::answer::{Challenges, problem};
use super::body::{Held, PaymentBody};
use super::future::PaymentFuture;
use super::headers::{self, PAYER_ALONE};
use super::request::{is_preflight, payment_of, url_of};
use super::work::{self, Work};
use crate::gate::{Admission, Denied};
use crate::resource::RequestFacts;
use crate::route::Route;
use crate::server::Server;
use crate::settle::Settled;

/// What a [`PaymentLayer`](super::PaymentLayer) makes of a service.
#[derive(Clone)]
pub struct PaymentService<S> {
    inner: S,
    toll: Arc<Toll>,
}

/// What all clones of a service share.
struct Toll {
    server: Server,
    challenges: Challenges,
    passes_preflights: bool,
}

impl<S> PaymentService<S> {
    pub(super) fn new(inner: S, server: Server, route: Route, passes_preflights: bool) -> Self {
        Self { inner, toll: Arc::new(Toll { server, challenges: Challenges::new(route), passes_preflights }) }
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

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        if self.toll.passes_preflights && is_preflight(&request) {
            let answer = self.inner.call(request);
            return PaymentFuture::working(async move { Ok(answer.await?.map(Either::Right)) });
        }
        let (url, payment) = match self.toll.read(&request) {
            Ok(paying) => paying,
            Err(answer) => return PaymentFuture::ready(answer.map(|body| Either::Left(Held::from(body)))),
        };
        // The service that was polled ready is the one to call; the clone waits for its own turn.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        PaymentFuture::working(Arc::clone(&self.toll).serve(inner, request, url, payment))
    }
}

impl Toll {
    /// The resource's URL and the payment for it, or the answer to a request without one.
    #[expect(clippy::result_large_err, reason = "the answer is made once and moved once; a box would cost more")]
    fn read<Q>(&self, request: &Request<Q>) -> Result<(String, PaymentPayload), Response<Bytes>> {
        let url = url_of(request, self.server.public_url()).map_err(|bad| problem(bad.status, bad.error, bad.message))?;
        match payment_of(request.headers()) {
            Ok(Some(payment)) => Ok((url, payment)),
            Ok(None) => Err(self.challenges.first(&url)),
            // The request is well formed and speaks of something that is not known here: it may choose again.
            Err(refusal) if refusal.reason != Reason::InvalidPayload => Err(self.challenges.again(&url, &refusal)),
            Err(refusal) => Err(problem(StatusCode::BAD_REQUEST, refusal.reason.as_str(), &refusal.message)),
        }
    }

    async fn serve<S, Q, B>(
        self: Arc<Self>,
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
        let gate = self.server.gate();
        let facts = RequestFacts::http(request.method().as_str(), url);
        let admitted = match gate.admit(self.challenges.route(), Some(payment), &facts).await {
            Admission::Paid(admitted) => admitted,
            Admission::Required(None) => return Ok(whole(self.challenges.first(&facts.resource_url))),
            Admission::Required(Some(refusal)) => return Ok(whole(self.challenges.again(&facts.resource_url, &refusal))),
            Admission::Denied(denied) => return Ok(whole(turn_away(&denied))),
        };
        headers::strip(request.headers_mut());
        request.extensions_mut().insert(admitted.paid().clone());
        match work::run(inner, request, self.server.max_held_body_bytes()).await {
            Work::Done(answer) => {
                let version = admitted.version();
                let settled = gate.settle(admitted).await;
                Ok(self.release(answer, &settled, version, &facts.resource_url).map(Either::Left))
            }
            Work::Declined(mut answer) => {
                gate.cancel(admitted).await;
                headers::strip(answer.headers_mut());
                headers::mark(answer.headers_mut(), PAYER_ALONE);
                Ok(answer.map(Either::Right))
            }
            Work::Failed(failure) => {
                gate.cancel(admitted).await;
                tracing::error!(error = failure.code(), "a paid request was not served");
                Ok(whole(problem(StatusCode::INTERNAL_SERVER_ERROR, failure.code(), failure.message())))
            }
            Work::Error(error) => {
                gate.cancel(admitted).await;
                Err(error)
            }
        }
    }

    /// Lets the answer go if the money has moved, and drops it if not.
    fn release(&self, mut answer: Response<Held>, settled: &Settled, version: Version, url: &str) -> Response<Held> {
        let response = settled.response();
        let reason = response.error_reason.clone().unwrap_or(Reason::UnexpectedSettleError);
        let message = response.error_message.clone().unwrap_or_default();
        let instead = |status| problem(status, reason.as_str(), &message).map(Held::from);
        let mut answer = match settled {
            Settled::Charged(_) => {
                headers::strip(answer.headers_mut());
                headers::mark(answer.headers_mut(), PAYER_ALONE);
                answer
            }
            Settled::Refused(_) => self.challenges.again(url, &Refusal::new(reason, message)).map(Held::from),
            Settled::NotSent(_) | Settled::Pending(_) => instead(StatusCode::SERVICE_UNAVAILABLE),
            Settled::Untrusted(_) => instead(StatusCode::BAD_GATEWAY),
        };
        headers::tell_settlement(answer.headers_mut(), response, version);
        answer
    }
}

fn turn_away(denied: &Denied) -> Response<Bytes> {
    let (status, error) = match denied {
        Denied::InFlight => (StatusCode::CONFLICT, Reason::PaymentInFlight.as_str()),
        Denied::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "facilitator_unavailable"),
        Denied::Malformed(_) => (StatusCode::BAD_GATEWAY, "facilitator_malformed"),
        Denied::Book(_) => (StatusCode::SERVICE_UNAVAILABLE, "book_unavailable"),
    };
    problem(status, error, &denied.to_string())
}

fn whole<B>(answer: Response<Bytes>) -> Response<PaymentBody<B>> {
    answer.map(|body| Either::Left(Held::from(body)))
}
