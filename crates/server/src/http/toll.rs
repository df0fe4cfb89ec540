//! What one priced route asks and answers, whatever it is laid over.

use bytes::Bytes;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::{PaymentPayload, Version};
use http::{Request, Response, StatusCode};

use super::answer::{challenge, first_challenge, problem};
use super::body::Held;
use super::headers::{self, PAYER_ALONE};
use super::last::LastAnswer;
use super::request::{payment_of, url_of};
use crate::count::Outcome;
use crate::gate::{Admission, Admitted, Denied};
use crate::resource::RequestFacts;
use crate::route::{Pricing, Route};
use crate::server::Server;
use crate::settle::Settled;

/// The rules of [`super`], without the work that is paid for.
#[derive(Clone)]
pub(super) struct Toll {
    pub(super) server: Server,
    pub(super) pricing: Pricing,
    pub(super) route: Route,
    pub(super) passes_preflights: bool,
    pub(super) unpaid: LastAnswer,
}

impl Toll {
    /// The resource's URL and the payment for it, or the answer to a request without one.
    #[expect(clippy::result_large_err, reason = "the answer is made once and moved once; a box would cost more")]
    pub(super) fn read<Q>(&self, request: &Request<Q>) -> Result<(String, PaymentPayload), Response<Bytes>> {
        let bad_request = |status, error, message| {
            Outcome::Refused.count();
            problem(status, error, message)
        };
        let url = url_of(request, self.server.public_url()).map_err(|bad| bad_request(bad.status, bad.error, bad.message))?;
        match payment_of(request.headers()) {
            Ok(Some(payment)) => Ok((url, payment)),
            Ok(None) => {
                Outcome::Required.count();
                Err(self.unpaid.of(&url, || first_challenge(&self.route, &url)))
            }
            // The request is well formed and speaks of something that is not known here: it may choose again.
            Err(refusal) if refusal.reason != Reason::InvalidPayload => {
                Outcome::Refused.count();
                Err(challenge(&self.route, &url, &refusal))
            }
            Err(refusal) => Err(bad_request(StatusCode::BAD_REQUEST, refusal.reason.as_str(), &refusal.message)),
        }
    }

    /// Lets a request in with its payment, or answers it.
    pub(super) async fn admit(&self, payment: PaymentPayload, facts: &RequestFacts) -> Result<Admitted, Response<Bytes>> {
        let url = &facts.resource_url;
        let version = payment.version;
        match self.server.gate().admit(&self.route, Some(payment), facts).await {
            Admission::Paid(admitted) => Ok(admitted),
            Admission::Required(None) => Err(first_challenge(&self.route, url)),
            Admission::Required(Some(refusal)) => Err(challenge(&self.route, url, &refusal)),
            Admission::Unsettled(settled) => Err(self.withhold(&settled, version, url)),
            Admission::Denied(denied) => Err(turn_away(&denied)),
        }
    }

    /// Lets the answer go if the money has moved, and drops it if not.
    pub(super) fn release(&self, mut answer: Response<Held>, settled: &Settled, version: Version, url: &str) -> Response<Held> {
        if !matches!(settled, Settled::Charged(_)) {
            return self.withhold(settled, version, url).map(Held::from);
        }
        headers::strip(answer.headers_mut());
        headers::mark(answer.headers_mut(), PAYER_ALONE);
        headers::tell_settlement(answer.headers_mut(), settled.response(), version);
        answer
    }

    /// The answer instead of one that does not go.
    fn withhold(&self, settled: &Settled, version: Version, url: &str) -> Response<Bytes> {
        let response = settled.response();
        let reason = response.error_reason.clone().unwrap_or(Reason::UnexpectedSettleError);
        let refusal = Refusal::new(reason, response.error_message.clone().unwrap_or_default());
        let status = match settled {
            Settled::Refused(_) => None,
            Settled::Untrusted(_) => Some(StatusCode::BAD_GATEWAY),
            Settled::NotSent(_) | Settled::Pending(_) | Settled::Charged(_) => Some(StatusCode::SERVICE_UNAVAILABLE),
        };
        let mut answer = match status {
            None => challenge(&self.route, url, &refusal),
            Some(status) => problem(status, refusal.reason.as_str(), &refusal.message),
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
