//! The service that stands before a priced one.

use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use farthing_core::Source;
use farthing_core::wire::PaymentPayload;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Either;
use tower_service::Service;
use tracing::Instrument;

use super::answer::problem;
use super::body::{Held, PaymentBody};
use super::future::PaymentFuture;
use super::headers::{self, PAYER_ALONE};
use super::layer::FixedPrice;
use super::request::{is_preflight, trace_of};
use super::sale::Sale;
use super::toll::{Arrival, Toll};
use super::work::{self, Failure, Work};
use super::{kept, overrides};
use crate::extensions::Visitor;
use crate::gate::Admitted;
use crate::hooks::{CancelReason, HandlerAnswer, ProtectedRequest};
use crate::resource::RequestFacts;

/// What a [`PaymentLayer`](super::PaymentLayer) makes of a service.
#[derive(Clone)]
pub struct PaymentService<S, P = FixedPrice> {
    pub(super) inner: S,
    pub(super) toll: Arc<Toll>,
    price: PhantomData<P>,
}

impl<S, P> PaymentService<S, P> {
    pub(super) const fn new(inner: S, toll: Arc<Toll>) -> Self {
        Self { inner, toll, price: PhantomData }
    }

    /// Whether a request is let through unpaid, because all it does is to ask whether it may be sent.
    pub(super) fn passes<Q>(&self, request: &Request<Q>) -> bool {
        self.toll.passes_preflights && is_preflight(request)
    }

    /// The service that was polled ready is the one to call; the clone that stays waits for its own turn.
    pub(super) fn take_ready(&mut self) -> S
    where
        S: Clone,
    {
        let next = self.inner.clone();
        std::mem::replace(&mut self.inner, next)
    }
}

impl<S, Q, B> Service<Request<Q>> for PaymentService<S, FixedPrice>
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
        if self.passes(&request) {
            return preflight(&mut self.inner, request);
        }
        if self.toll.has_hooks() {
            let (toll, inner) = (Arc::clone(&self.toll), self.take_ready());
            return PaymentFuture::working(guard_and_serve(toll, inner, request));
        }
        let arrival = match self.toll.read(&request) {
            Ok(arrival) => arrival,
            Err(answer) => return PaymentFuture::ready(whole(answer)),
        };
        let (toll, inner) = (Arc::clone(&self.toll), self.take_ready());
        PaymentFuture::working(open_and_serve(toll, inner, request, arrival))
    }
}

/// Serves a preflight, which nobody pays for.
pub(super) fn preflight<S, Q, B>(inner: &mut S, mut request: Request<Q>) -> PaymentFuture<B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    headers::strip(request.headers_mut());
    let answer = inner.call(request);
    PaymentFuture::working(async move {
        let mut answer = answer.await?;
        headers::strip(answer.headers_mut());
        Ok(answer.map(Either::Right))
    })
}

/// Asks hooks before anything else.
async fn guard_and_serve<S, Q, B>(toll: Arc<Toll>, inner: S, request: Request<Q>) -> Result<Response<PaymentBody<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<Source>,
{
    match granted(&toll, toll.protected(&request)).await {
        Ok(true) => return visit(inner, request, None).await,
        Ok(false) => {}
        Err(answer) => return Ok(whole(answer)),
    }
    match toll.read(&request) {
        Ok(arrival) => open_and_serve(toll, inner, request, arrival).await,
        Err(answer) => Ok(whole(answer)),
    }
}

/// Whether hooks let a request in without payment, or the answer to one that is turned away.
pub(super) async fn granted(toll: &Toll, request: Result<ProtectedRequest, Response<Bytes>>) -> Result<bool, Response<Bytes>> {
    toll.is_granted(request?).await
}

async fn open_and_serve<S, Q, B>(
    toll: Arc<Toll>,
    inner: S,
    request: Request<Q>,
    mut arrival: Arrival,
) -> Result<Response<PaymentBody<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<Source>,
{
    match toll.visitor(&mut arrival, request.method()).await {
        Ok(Some(visitor)) => return visit(inner, request, Some(visitor)).await,
        Ok(None) => {}
        Err(answer) => return Ok(whole(answer)),
    }
    let url = arrival.url.clone();
    let facts = RequestFacts::http(request.method().as_str(), url).in_trace(trace_of(request.headers()));
    let sale = Sale { toll: &toll, asking: None };
    match sale.payment(arrival).await {
        Ok(payment) => serve(&sale, inner, request, payment, facts).await,
        Err(answer) => Ok(whole(answer)),
    }
}

/// Serves a request that pays, and settles.
pub(super) async fn serve<S, Q, B>(
    sale: &Sale<'_>,
    inner: S,
    mut request: Request<Q>,
    payment: PaymentPayload,
    facts: RequestFacts,
) -> Result<Response<PaymentBody<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: Body<Data = Bytes>,
    B::Error: Into<Source>,
{
    let server = &sale.toll.server;
    let gate = server.gate();
    let admitted = match sale.admit(payment, &facts).await {
        Ok(admitted) => admitted,
        Err(answer) => return Ok(answer.map(Either::Left)),
    };
    headers::strip(request.headers_mut());
    request.extensions_mut().insert(admitted.paid().clone());
    let work = match admitted.instead() {
        Some(answer) => Work::Done(in_place(answer)),
        None => work::run(inner, request, server.max_held_body_bytes()).instrument(admitted.span.clone()).await,
    };
    match overrides::follow(work, admitted.paid().usage()) {
        Work::Done(answer) => {
            let version = admitted.version();
            let kept = kept::of(&answer, gate.kept_answers());
            let settled = gate.settle_and_keep(admitted, kept).await;
            Ok(sale.release(answer, &settled, version, &facts.resource_url).await.map(Either::Left))
        }
        Work::Declined(mut answer) => {
            headers::strip(answer.headers_mut());
            headers::mark(answer.headers_mut(), PAYER_ALONE);
            let answer = tell_charge(answer, &admitted);
            gate.cancel_because(admitted, CancelReason::HandlerFailed, Some(answer.status().as_u16())).await;
            Ok(answer.map(Either::Right))
        }
        Work::Failed(failure) => {
            let was_charged = admitted.charged().is_some();
            tracing::error!(error = failure.code(), was_charged, "a paid request was not served");
            let answer = tell_charge(failed(failure, &admitted), &admitted);
            gate.cancel_because(admitted, failure.cancels(), None).await;
            Ok(whole(answer))
        }
        Work::Error(error) => {
            gate.cancel_because(admitted, CancelReason::HandlerThrew, None).await;
            Err(error)
        }
    }
}

/// Serves somebody who need not pay, so nothing is held back.
pub(super) async fn visit<S, Q, B>(
    mut inner: S,
    mut request: Request<Q>,
    visitor: Option<Visitor>,
) -> Result<Response<PaymentBody<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
{
    headers::strip(request.headers_mut());
    if let Some(visitor) = visitor {
        request.extensions_mut().insert(visitor);
    }
    let mut answer = inner.call(request).await?;
    headers::strip(answer.headers_mut());
    headers::mark(answer.headers_mut(), PAYER_ALONE);
    Ok(answer.map(Either::Right))
}

/// What a hook answers where no handler runs.
fn in_place(answer: &HandlerAnswer) -> Response<Held> {
    let mut response = Response::new(Held::from(answer.body.clone()));
    match HeaderValue::from_str(&answer.content_type) {
        Ok(content_type) => {
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        Err(error) => tracing::error!(%error, "a hook's answer goes out without its media type, which cannot be written"),
    }
    response
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

pub(super) fn whole<B>(answer: Response<Bytes>) -> Response<PaymentBody<B>> {
    answer.map(|body| Either::Left(Held::from(body)))
}
