//! The paid half of an exchange: the request again with the payment, and what its answer means.
//!
//! | answer | settlement says | what follows |
//! |---|---|---|
//! | not 402 | it settled | the answer, paid for |
//! | 402 | it settled | [`Error::Rejected`], and counts as spent |
//! | 2xx, 3xx | it did not, or nothing | the answer; the payment stays reserved |
//! | 4xx, 5xx, 402 among them | it failed, and no transaction is named | [`Error::Rejected`], never paid again |
//! | 4xx, 5xx, 402 among them | it is pending | [`Error::Unknown`] |
//! | 4xx, 5xx, 402 among them | it failed, in a transaction that is named | [`Error::Unknown`]: it may still be mined |
//! | 402, or terms again | nothing | [`Error::Rejected`], never paid again |
//! | other 4xx | nothing | the answer; the payment stays reserved |
//! | 5xx, or none | nothing | [`Error::Unknown`] |
//!
//! The connection could not be made: nothing was sent, the reservation is released.
//!
//! The same request with the same payment goes out once more, and never again, in two cases: a server says 503, that the
//! settlement is pending, and when to come back; or the answer was an error or was lost, and a hook of the buyer's asks for
//! it. If the outcome was unknown before, only a settlement is news after that: whatever else comes, it is as unknown as it
//! was, for the first copy may have settled behind the second's back.

use std::time::Duration;

use farthing_core::Source;
use farthing_core::header::{self, MAX_PAYMENT_BYTES};
use farthing_core::reason::Reason;
use farthing_core::wire::{PaymentRequired, SettleResponse};
use http::{HeaderValue, StatusCode};

use crate::error::{Error, Rejected, Unknown};
use crate::exchange::{Asked, Outgoing};
use crate::heard::{Heard, Meaning, Said, meaning};
use crate::hooks::{AfterAnswer, PaymentAnswer};
use crate::http::Inner;
use crate::origin::origin_of;
use crate::payer::{Promised, Purchase};
use crate::response::Response;
use crate::settlement::PaymentFacts;
use crate::statements::Statements;

/// Pays for what was asked and sends the request once more.
pub(crate) async fn pay(
    inner: &Inner,
    asked: Asked,
    required: &PaymentRequired,
    purchase: &Purchase,
) -> Result<Response, Error> {
    let promised = inner.payer.pay(required, purchase).await?;
    let origin = origin_of(&asked.outgoing.url);
    let request = match with_payment(asked.outgoing, &promised) {
        Ok(request) => request,
        Err(error) => {
            inner.payer.withdraw(promised).await;
            return Err(error);
        }
    };
    let statements = Statements::offered(&request.url, required);
    // Two answers and all that is known of them are in there: too much for every caller's stack.
    Box::pin(Sending { inner, origin, request, promised, statements }.run()).await
}

/// A payment on its way to a server.
struct Sending<'a> {
    inner: &'a Inner,
    origin: String,
    /// The request with the payment: whenever it is sent, it is this one.
    request: Outgoing,
    promised: Promised,
    statements: Statements,
}

/// Why a paid request got no answer.
struct Failed {
    why: String,
    never_left: bool,
    error: Option<reqwest::Error>,
}

impl Sending<'_> {
    async fn run(self) -> Result<Response, Error> {
        let facts = &self.promised.facts;
        tracing::debug!(origin = self.origin, usd = %facts.usd, network = %facts.network, "sending a payment");
        let first = match self.present().await {
            Err(Failed { why, never_left: true, error: Some(error) }) => {
                self.inner.payer.withdraw(self.promised).await;
                return Err(Error::transport(why, error));
            }
            first => first,
        };
        let Some(wait) = self.again_after(&first).await else {
            return match first {
                Ok(heard) => self.answered(heard).await,
                Err(failed) => Err(self.lost(failed).await),
            };
        };
        tracing::info!(origin = self.origin, wait_seconds = wait.as_secs(), "the payment is sent once more");
        tokio::time::sleep(wait).await;
        let second = self.present().await;
        self.tell(&second).await;
        self.answered_twice(first, second).await
    }

    /// Sends the request with the payment, and hears the answer.
    async fn present(&self) -> Result<Heard, Failed> {
        let Self { inner, origin, .. } = self;
        let sent = inner.http.execute(self.request.request());
        match tokio::time::timeout(inner.paid_timeout, sent).await {
            Ok(Ok(response)) => Ok(Heard::of(response).await),
            Ok(Err(error)) if error.is_connect() || error.is_builder() => {
                let why = format!("{origin} could not be reached again to be paid");
                Err(Failed { why, never_left: true, error: Some(error) })
            }
            Ok(Err(error)) => {
                let why = format!("the connection to {origin} failed after the payment was sent");
                Err(Failed { why, never_left: false, error: Some(error) })
            }
            Err(_) => {
                let why = format!("{origin} did not answer within {} seconds after it was paid", inner.paid_timeout.as_secs());
                Err(Failed { why, never_left: false, error: None })
            }
        }
    }

    /// After how long the same payment is to be sent again, if it is. The hooks are told in any case.
    async fn again_after(&self, first: &Result<Heard, Failed>) -> Option<Duration> {
        let is_wanted = self.tell(first).await == AfterAnswer::Recover;
        match first {
            Ok(heard) => {
                let is_open = heard.is_error() && !heard.has_settled();
                heard.asks_to_come_back().or((is_wanted && is_open).then_some(Duration::ZERO))
            }
            Err(_) => is_wanted.then_some(Duration::ZERO),
        }
    }

    /// Tells the hooks what came of presenting the payment.
    async fn tell(&self, presented: &Result<Heard, Failed>) -> AfterAnswer {
        let Promised { payment, facts, .. } = &self.promised;
        let mut facts = facts.clone();
        let heard = presented.as_ref().ok();
        let settlement = heard.and_then(|heard| heard.said.settlement.as_ref());
        if let Some(settlement) = settlement {
            facts.heard(settlement);
        }
        let answer = PaymentAnswer {
            payment,
            facts: &facts,
            status: heard.map(|heard| heard.status.as_u16()),
            settlement,
            required: heard.and_then(|heard| heard.said.terms.as_ref()),
            error: presented.as_ref().err().map(|failed| failed.why.as_str()),
        };
        self.inner.payer.hooks().answered(&answer).await
    }

    /// Takes in what was answered to a payment that was presented twice.
    async fn answered_twice(self, first: Result<Heard, Failed>, second: Result<Heard, Failed>) -> Result<Response, Error> {
        let unclear = match &first {
            Ok(heard) => heard.unknown_because().map(|what| told(heard.status, what)),
            Err(failed) => Some(failed.why.clone()),
        };
        match (second, unclear, first) {
            (Ok(heard), _, _) if heard.has_settled() || !heard.is_error() => self.answered(heard).await,
            (Ok(heard), None, _) => self.answered(heard).await,
            (Err(Failed { never_left: true, .. }), None, Ok(first)) => self.answered(first).await,
            (Err(failed), None, _) => Err(self.lost(failed).await),
            (second, Some(unclear), first) => Err(self.still_unknown(unclear, first, second).await),
        }
    }

    async fn still_unknown(self, unclear: String, first: Result<Heard, Failed>, second: Result<Heard, Failed>) -> Error {
        let (now, pending, source) = match second {
            Ok(heard) => {
                let now = format!("status {} to the same payment again", heard.status.as_u16());
                let is_pending = heard.said.is_pending();
                (now, heard.said.settlement.filter(|_| is_pending), None)
            }
            Err(failed) => (failed.why, None, failed.error),
        };
        let (status, settlement) = match first {
            Ok(first) => (Some(first.status.as_u16()), first.said.settlement),
            Err(_) => (None, None),
        };
        let settlement = settlement.or(pending);
        let payment = self.inner.payer.conclude(self.promised, settlement.as_ref()).await;
        Unknown { why: format!("{unclear}, and then: {now}"), status, settlement, payment, source: source.map(cause) }.into()
    }

    async fn answered(self, heard: Heard) -> Result<Response, Error> {
        let Heard { status, said, answer, .. } = heard;
        let payment = self.inner.payer.conclude(self.promised, said.settlement.as_ref()).await;
        tracing::info!(network = %payment.network, usd = %payment.usd, outcome = ?payment.outcome, "a payment was answered");
        let (why, source) = match (meaning(status, &said, payment.outcome), answer) {
            (Meaning::Answer, Ok(answer)) => {
                let statements = self.statements.received(&payment, said.settlement.as_ref(), self.inner.payer.now());
                return Ok(Response::paid_for(answer, payment, said, statements));
            }
            (Meaning::Rejected, _) => return Err(rejected(status, said, payment)),
            (Meaning::Unknown(what), _) => (told(status, what), None),
            (Meaning::Answer, Err(error)) => ("the connection failed in the middle of the answer".to_owned(), Some(error)),
        };
        let settlement = said.settlement;
        Err(Unknown { why, status: Some(status.as_u16()), settlement, payment, source: source.map(cause) }.into())
    }

    async fn lost(self, failed: Failed) -> Error {
        let payment = self.inner.payer.conclude(self.promised, None).await;
        Unknown { why: failed.why, status: None, settlement: None, payment, source: failed.error.map(cause) }.into()
    }
}

fn told(status: StatusCode, what: &str) -> String {
    format!("the server answered with status {} and {what}", status.as_u16())
}

/// A broken connection as a cause. The address is left out: it may hold secrets.
fn cause(error: reqwest::Error) -> Source {
    Box::new(error.without_url())
}

fn rejected(status: StatusCode, said: Said, payment: PaymentFacts) -> Error {
    let Said { settlement, terms, message, .. } = said;
    let told = settlement.as_ref().and_then(|settlement: &SettleResponse| settlement.error_reason.clone());
    let reason = told.or_else(|| terms.and_then(|terms| terms.error).map(|error| Reason::from(error.as_str())));
    let message = settlement.as_ref().and_then(|settlement| settlement.error_message.clone()).or(message);
    Rejected { status: status.as_u16(), reason, message, settlement, payment }.into()
}

/// The request with the payment in its header.
fn with_payment(mut outgoing: Outgoing, promised: &Promised) -> Result<Outgoing, Error> {
    let bad = |why: String| Error::BadTerms { origin: origin_of(&outgoing.url), why };
    let text = header::encode(&promised.payment).map_err(|error| bad(format!("the payment cannot be written: {error}")))?;
    if text.len() > MAX_PAYMENT_BYTES {
        let got = text.len();
        return Err(bad(format!(
            "what they ask to be echoed makes a header of {got} bytes; at most {MAX_PAYMENT_BYTES} are sent"
        )));
    }
    let value = unlogged(text).ok_or_else(|| bad("the payment does not fit into a header".to_owned()))?;
    outgoing.headers.insert(header::payment_header(promised.payment.version), value);
    Ok(outgoing)
}

/// A header value that loggers and debug output leave out.
pub(crate) fn unlogged(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_header_does_not_show_in_debug_output() {
        let value = unlogged("c2lnbmF0dXJl".to_owned()).unwrap();
        assert!(value.is_sensitive() && !format!("{value:?}").contains("c2ln"));
        assert!(unlogged("two\nlines".to_owned()).is_none());
    }
}
