//! One request that is asked to pay: the terms it hears, its payment let in, its answer released or withheld.

use std::sync::Arc;

use bytes::Bytes;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::{Accepted, PaymentPayload, Version};
use http::header::{CONTENT_LENGTH, HeaderValue, RETRY_AFTER, TRAILER};
use http::{Response, StatusCode};
use http_body_util::Either;

use super::answer::{challenge, first_challenge, problem, turned_away};
use super::body::{Held, Passed, PaymentBody};
use super::headers::{self, PAYER_ALONE};
use super::kept;
use super::toll::{Arrival, Toll, bad_request, unreadable};
use super::work::AnswerBody;
use crate::count::Outcome;
use crate::extensions::Fresh;
use crate::gate::{Admission, Admitted, Denied, Repeated};
use crate::quotes::{Binding, Honoured, NoQuote, PriceRequest, Quoter};
use crate::resource::RequestFacts;
use crate::route::Route;
use crate::sending::{MAX_SENDS, SEND_AGAIN_SECONDS};
use crate::settle::Settled;
use crate::streaming::Streaming;

/// One request at a priced route.
pub(super) struct Sale<'a> {
    pub(super) toll: &'a Toll,
    /// What its price is asked for with, where it is.
    pub(super) asking: Option<Asking<'a>>,
}

/// A request whose price is asked.
pub(super) struct Asking<'a> {
    pub(super) quoter: &'a Quoter,
    pub(super) request: PriceRequest,
    pub(super) binding: Binding,
}

impl Sale<'_> {
    /// The payment that an arrival brings, or the answer to one without.
    pub(super) async fn payment(&self, arrival: Arrival) -> Result<PaymentPayload, Response<Bytes>> {
        let Arrival { url, payment, refused, .. } = arrival;
        match payment {
            Ok(Some(payment)) => Ok(payment),
            Ok(None) => {
                Outcome::Required.count();
                Err(self.challenge(&url, refused.as_ref()).await)
            }
            // The request is well formed and speaks of something that is not known here: it may choose again.
            Err(refusal) if refusal.reason != Reason::InvalidPayload => {
                Outcome::Refused.count();
                Err(self.challenge(&url, Some(&refusal)).await)
            }
            Err(refusal) => Err(unreadable(&refusal)),
        }
    }

    /// The terms, with what was wrong with the request, if anything was.
    async fn challenge(&self, url: &str, refusal: Option<&Refusal>) -> Response<Bytes> {
        let Some(asking) = &self.asking else {
            let route = &self.toll.route;
            return answered(route, url, &route.declared().freshen(url).await, refusal);
        };
        match asking.ask(self.toll).await {
            Ok(route) => {
                let mut fresh = route.declared().freshen(url).await;
                fresh.quotes = asking.quoter.quotes_of(&route, &asking.binding);
                answered(&route, url, &fresh, refusal)
            }
            Err(answer) => answer,
        }
    }

    /// Lets a request in with its payment, or answers it.
    pub(super) async fn admit(&self, payment: PaymentPayload, facts: &RequestFacts) -> Result<Admitted, Response<Held>> {
        let url = &facts.resource_url;
        let version = payment.version;
        let gate = self.toll.server.gate();
        let admission = match &self.asking {
            None => match self.toll.earlier(&payment) {
                None => gate.admit(&self.toll.route, Some(payment), facts).await,
                Some((route, refusal)) => gate.admit_quoted(&route, payment, facts, Some(refusal)).await,
            },
            Some(asking) => match &payment.accepted {
                Accepted::Offer(echo) => match asking.quoter.honour(&self.toll.premises(), echo, &asking.binding) {
                    Ok(Honoured { route, stale }) => gate.admit_quoted(&route, payment, facts, stale).await,
                    Err(refusal) => {
                        Outcome::Refused.count();
                        Admission::Required(Some(refusal))
                    }
                },
                // Its buyer echoes nothing, and is held to the price of now.
                Accepted::Named { .. } => match asking.ask(self.toll).await {
                    Ok(route) => gate.admit(&route, Some(payment), facts).await,
                    Err(answer) => return Err(answer.map(Held::from)),
                },
            },
        };
        let answer = match admission {
            Admission::Paid(admitted) => return Ok(admitted),
            Admission::Repeated(repeated) => return Err(self.repeat(&repeated, version, url).await),
            Admission::Required(refusal) => self.challenge(url, refusal.as_ref()).await,
            Admission::Unsettled(settled) => self.withhold(&settled, version, url).await,
            Admission::Denied(denied) => turn_away(&denied),
        };
        Err(answer.map(Held::from))
    }

    /// The answer that was bought before, as it went out, with its settlement.
    async fn repeat(&self, repeated: &Repeated, version: Version, url: &str) -> Response<Held> {
        let settled = Settled::Charged(repeated.settlement.clone());
        if let Some(answer) = kept::again(repeated) {
            return self.release(answer, &settled, version, url).await;
        }
        let message =
            "this was paid for, and the answer that was kept cannot be read any more; show the seller the transaction";
        let mut answer = problem(StatusCode::INTERNAL_SERVER_ERROR, "answer_unreadable", message);
        headers::tell_settlement(answer.headers_mut(), settled.response(), version);
        answer.map(Held::from)
    }

    /// Lets the answer go if the money has moved, and drops it if not.
    pub(super) async fn release(
        &self,
        mut answer: Response<Held>,
        settled: &Settled,
        version: Version,
        url: &str,
    ) -> Response<Held> {
        if !matches!(settled, Settled::Charged(_)) {
            return self.withhold(settled, version, url).await.map(Held::from);
        }
        headers::strip(answer.headers_mut());
        answer.body_mut().strip_trailers();
        headers::mark(answer.headers_mut(), PAYER_ALONE);
        headers::tell_settlement(answer.headers_mut(), settled.response(), version);
        answer
    }

    /// Lets an answer go out as it comes if the money has moved, and drops it if not.
    pub(super) async fn send<B: AnswerBody>(
        &self,
        answer: Response<B>,
        admitted: Admitted,
        url: &str,
    ) -> Response<PaymentBody<B>> {
        let version = admitted.version();
        let sending = match self.toll.server.gate().settle_at_head(admitted).await {
            Ok(sending) => sending,
            Err(settled) => {
                drop(answer);
                return self.withhold(&settled, version, url).await.map(|body| Either::Left(Held::from(body)));
            }
        };
        let (mut parts, body) = answer.into_parts();
        headers::strip(&mut parts.headers);
        headers::mark(&mut parts.headers, PAYER_ALONE);
        headers::tell_settlement(&mut parts.headers, sending.settlement(), version);
        Response::from_parts(parts, Either::Right(Passed::paid(body, sending)))
    }

    /// The answer to a payment for which an answer has gone out, or begun to, as often as it may.
    pub(super) async fn use_up(&self, admitted: Admitted, url: &str) -> Response<Held> {
        let (version, charged) = (admitted.version(), admitted.charged().cloned());
        let is_ended = self.toll.server.gate().use_up(admitted).await;
        Outcome::Refused.count();
        let mut answer = if is_ended {
            let transaction = charged.as_ref().map(|charged| charged.transaction.clone()).unwrap_or_default();
            let message = format!(
                "this payment has settled in transaction {transaction}, and its answer has begun to go out {MAX_SENDS} times, or longer \
                 than {SEND_AGAIN_SECONDS} seconds ago; show the seller the transaction, or sign a new payment"
            );
            self.challenge(url, Some(&Refusal::new(Reason::PaymentAlreadyUsed, message))).await
        } else {
            let message = "payments cannot be recorded right now; nothing was charged by this request; come again later";
            problem(StatusCode::SERVICE_UNAVAILABLE, "book_unavailable", message)
        };
        if let Some(charged) = charged {
            headers::tell_settlement(answer.headers_mut(), &charged, version);
        }
        answer.map(Held::from)
    }

    /// The answer instead of one that does not go.
    async fn withhold(&self, settled: &Settled, version: Version, url: &str) -> Response<Bytes> {
        let response = settled.response();
        let reason = response.error_reason.clone().unwrap_or(Reason::UnexpectedSettleError);
        let refusal = Refusal::new(reason, response.error_message.clone().unwrap_or_default());
        let status = match settled {
            Settled::Refused(_) => None,
            Settled::Untrusted(_) => Some(StatusCode::BAD_GATEWAY),
            Settled::NotSent(_) | Settled::Pending(_) | Settled::Charged(_) => Some(StatusCode::SERVICE_UNAVAILABLE),
        };
        let mut answer = match status {
            None => self.challenge(url, Some(&refusal)).await,
            Some(status) => problem(status, refusal.reason.as_str(), &refusal.message),
        };
        headers::tell_settlement(answer.headers_mut(), response, version);
        answer
    }
}

impl Asking<'_> {
    /// The route as it is priced now, or the answer to a request that has no price.
    async fn ask(&self, toll: &Toll) -> Result<Arc<Route>, Response<Bytes>> {
        self.quoter.ask(&toll.premises(), self.request.clone()).await.map_err(unpriced)
    }
}

/// The answer to a request that has no price.
fn unpriced(why: NoQuote) -> Response<Bytes> {
    match why {
        NoQuote::BadRequest { status, message } => {
            // With a 402 it would be asked to pay, and with no error it would be served.
            let fits = status.is_client_error() && status != StatusCode::PAYMENT_REQUIRED;
            bad_request(if fits { status } else { StatusCode::BAD_REQUEST }, "request_refused", &message)
        }
        NoQuote::Failed(error) => {
            let cause = error.as_ref() as &dyn std::error::Error;
            tracing::error!(cause, "a request has no price, and was turned away");
            Outcome::Denied.count();
            let message = "what this costs is not known right now; nothing was charged by this request; come again later";
            problem(StatusCode::SERVICE_UNAVAILABLE, "price_unavailable", message)
        }
    }
}

fn answered(route: &Route, url: &str, fresh: &Fresh, refusal: Option<&Refusal>) -> Response<Bytes> {
    match refusal {
        Some(refusal) => challenge(route, url, fresh, refusal),
        None => first_challenge(route, url, fresh),
    }
}

/// Lets an answer go out as it comes whose money moves at its end.
pub(super) fn stream<B: AnswerBody>(answer: Response<B>, streaming: Streaming) -> Response<PaymentBody<B>> {
    let (mut parts, body) = answer.into_parts();
    headers::strip(&mut parts.headers);
    headers::mark(&mut parts.headers, PAYER_ALONE);
    // A length would leave no place for the trailer.
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(TRAILER, HeaderValue::from_static("payment-response"));
    Response::from_parts(parts, Either::Right(Passed::owed(body, streaming)))
}

fn turn_away(denied: &Denied) -> Response<Bytes> {
    let (status, error) = match denied {
        Denied::InFlight => (StatusCode::CONFLICT, Reason::PaymentInFlight.as_str()),
        Denied::NameInUse => {
            let mut answer = problem(StatusCode::CONFLICT, "payment_identifier_conflict", &denied.to_string());
            // The same request will never do.
            answer.headers_mut().remove(RETRY_AFTER);
            return answer;
        }
        Denied::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "facilitator_unavailable"),
        Denied::Malformed(_) => (StatusCode::BAD_GATEWAY, "facilitator_malformed"),
        Denied::Hook(_) => (StatusCode::SERVICE_UNAVAILABLE, "hook_failed"),
        Denied::TurnedAway(away) => return turned_away(away),
        Denied::Book(_) => (StatusCode::SERVICE_UNAVAILABLE, "book_unavailable"),
    };
    problem(status, error, &denied.to_string())
}
