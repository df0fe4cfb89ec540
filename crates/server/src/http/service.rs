//! The service that stands before a priced one.

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
use super::bind::{RequestBody, bind};
use super::body::{Held, Passed, PaymentBody};
use super::future::PaymentFuture;
use super::headers::{self, PAYER_ALONE};
use super::request::{is_preflight, trace_of};
use super::sale::{Sale, stream};
use super::toll::{Arrival, Charge, Passing, Toll};
use super::work::{self, AnswerBody, BrokeOff, Failure, Hold, Work};
use super::{asked, kept, overrides};
use crate::extensions::Visitor;
use crate::gate::Admitted;
use crate::hooks::{CancelReason, HandlerAnswer};
use crate::resource::RequestFacts;

/// What a [`PaymentLayer`](super::PaymentLayer) makes of a service.
///
/// Bodies of requests must be such that they can be made of bytes, as axum's are, because some have to be read before the
/// handler gets them; wrap others, such as hyper's own, in `axum::body::Body::new`. Those that need not be read go through as
/// they come.
#[derive(Clone)]
pub struct PaymentService<S> {
    inner: S,
    toll: Arc<Toll>,
}

impl<S> PaymentService<S> {
    pub(super) const fn new(inner: S, toll: Arc<Toll>) -> Self {
        Self { inner, toll }
    }

    /// The service that was polled ready is the one to call; the clone that stays waits for its own turn.
    fn take_ready(&mut self) -> S
    where
        S: Clone,
    {
        let next = self.inner.clone();
        std::mem::replace(&mut self.inner, next)
    }
}

impl<S, Q, B> Service<Request<Q>> for PaymentService<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Body<Data: Send, Error: Into<Source>> + From<Bytes> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<Source>> + Send + 'static,
{
    type Response = Response<PaymentBody<B>>;
    type Error = S::Error;
    type Future = PaymentFuture<B, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        if self.toll.passes_preflights && is_preflight(&request) {
            // All it does is to ask whether it may be sent.
            return PaymentFuture::working(preflight(self.take_ready(), request));
        }
        if self.toll.has_hooks() {
            let toll = Arc::clone(&self.toll);
            return PaymentFuture::working(guard_and_serve(toll, self.take_ready(), request));
        }
        let arrival = match self.toll.read(&request) {
            Ok(arrival) => arrival,
            Err(answer) => return PaymentFuture::ready(whole(answer)),
        };
        let toll = Arc::clone(&self.toll);
        PaymentFuture::working(open_and_serve(toll, self.take_ready(), request, arrival))
    }
}

type Served<B, E> = Result<Response<PaymentBody<B>>, E>;

/// Serves a preflight, which nobody pays for.
async fn preflight<S, Q, B>(mut inner: S, mut request: Request<Q>) -> Served<B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: AnswerBody,
{
    headers::strip(request.headers_mut());
    Ok(passed(inner.call(request).await?))
}

/// Asks hooks before anything else.
async fn guard_and_serve<S, Q, B>(toll: Arc<Toll>, inner: S, request: Request<Q>) -> Served<B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    Q: RequestBody,
    B: AnswerBody,
{
    match toll.is_granted(&request).await {
        Ok(true) => return visit(inner, request, None).await,
        Ok(false) => {}
        Err(answer) => return Ok(whole(answer)),
    }
    match toll.read(&request) {
        Ok(arrival) => open_and_serve(toll, inner, request, arrival).await,
        Err(answer) => Ok(whole(answer)),
    }
}

async fn open_and_serve<S, Q, B>(toll: Arc<Toll>, inner: S, request: Request<Q>, mut arrival: Arrival) -> Served<B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    Q: RequestBody,
    B: AnswerBody,
{
    match toll.visitor(&mut arrival, request.method(), request.extensions()).await {
        Ok(Some(visitor)) => return visit(inner, request, Some(visitor)).await,
        Ok(None) => {}
        Err(answer) => return Ok(whole(answer)),
    }
    match ask_to_pay(&toll, request, arrival).await {
        Ok(Paying { sale, request, payment, facts }) => serve(&sale, inner, request, payment, facts).await,
        Err(answer) => Ok(whole(answer)),
    }
}

/// A request that pays, before anybody has looked at its payment.
struct Paying<'a, Q> {
    sale: Sale<'a>,
    request: Request<Q>,
    payment: PaymentPayload,
    facts: RequestFacts,
}

/// Finds out what a request has to pay for, and with what it does; or answers it.
async fn ask_to_pay<Q: RequestBody>(
    toll: &Toll,
    request: Request<Q>,
    arrival: Arrival,
) -> Result<Paying<'_, Q>, Response<Bytes>> {
    let facts = RequestFacts::http(request.method().as_str(), arrival.url.clone()).in_trace(trace_of(request.headers()));
    let (asking, request, facts) = match &toll.charge {
        Charge::Nothing | Charge::Fixed(_) => (None, request, facts),
        Charge::Asked(quoter) => {
            let (asking, request, facts) = asked::look(quoter, request, facts).await?;
            (Some(asking), request, facts)
        }
    };
    let sale = Sale { toll, asking };
    let payment = sale.payment(arrival).await?;
    let (request, facts) = match toll.body_limit(&payment) {
        Some(limit) if facts.body.is_none() => bind(request, facts, limit).await?,
        _ => (request, facts),
    };
    Ok(Paying { sale, request, payment, facts })
}

/// Serves a request that pays, and settles.
async fn serve<S, Q, B>(
    sale: &Sale<'_>,
    inner: S,
    mut request: Request<Q>,
    payment: PaymentPayload,
    facts: RequestFacts,
) -> Served<B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: AnswerBody,
{
    let server = &sale.toll.server;
    let gate = server.gate();
    let admitted = match sale.admit(payment, &facts).await {
        Ok(admitted) => admitted,
        Err(answer) => return Ok(answer.map(Either::Left)),
    };
    let passing = &sale.toll.passing;
    let passes = passing.is_for(request.method(), admitted.paid());
    if passes && admitted.sends.are_used_up(gate.clock.now()) {
        return Ok(sale.use_up(admitted, &facts.resource_url).await.map(Either::Left));
    }
    headers::strip(request.headers_mut());
    request.extensions_mut().insert(admitted.paid().clone());
    let passes_above_bytes = passes.then_some(gate.kept_answers().max_bytes);
    let hold = Hold { max_bytes: server.max_held_body_bytes(), passes_above_bytes };
    let work = match admitted.instead() {
        Some(answer) => Work::Done(in_place(answer)),
        None => work::run(inner, request, hold).instrument(admitted.span.clone()).await,
    };
    let (work, admitted) = match (overrides::follow(work, admitted.paid().usage()), passing) {
        (Work::Begun(answer), Passing::Owed(limit)) if admitted.charged().is_none() => {
            match gate.begin_stream(admitted, limit).await {
                Ok(streaming) => return Ok(stream(answer, streaming)),
                Err(admitted) => (work::hold(answer, server.max_held_body_bytes()).await, *admitted),
            }
        }
        (work, _) => (work, admitted),
    };
    match work {
        Work::Done(answer) => {
            let version = admitted.version();
            let kept = kept::of(&answer, gate.kept_answers());
            let (settled, transit) = gate.settle_and_send(admitted, kept).await;
            let answer = sale.release(answer, &settled, version, &facts.resource_url).await;
            Ok(answer.map(|body| Either::Left(body.in_transit(transit))))
        }
        Work::Begun(answer) => Ok(sale.send(answer, admitted, &facts.resource_url).await),
        Work::Declined(answer) => {
            let mut answer = passed(answer);
            headers::mark(answer.headers_mut(), PAYER_ALONE);
            let answer = tell_charge(answer, &admitted);
            gate.cancel_because(admitted, CancelReason::HandlerFailed, Some(answer.status().as_u16())).await;
            Ok(answer)
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
async fn visit<S, Q, B>(mut inner: S, mut request: Request<Q>, visitor: Option<Visitor>) -> Served<B, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    B: AnswerBody,
{
    headers::strip(request.headers_mut());
    if let Some(visitor) = visitor {
        request.extensions_mut().insert(visitor);
    }
    let mut answer = passed(inner.call(request).await?);
    headers::mark(answer.headers_mut(), PAYER_ALONE);
    Ok(answer)
}

/// An answer that is not held back, but says nothing in the protocol's name.
fn passed<B: AnswerBody>(mut answer: Response<B>) -> Response<PaymentBody<B>> {
    headers::strip(answer.headers_mut());
    answer.map(|body| Either::Right(Passed::new(body)))
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
    let message = format!("{}; {then}", failure.message());
    let mut answer = problem(StatusCode::INTERNAL_SERVER_ERROR, failure.code(), &message);
    if matches!(failure, Failure::BodyAborted) {
        answer.extensions_mut().insert(BrokeOff);
    }
    answer
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
