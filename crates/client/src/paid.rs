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
//! A server that says 503, that the settlement is pending, and when to come back, is sent the same request with the same
//! payment exactly once more. After that only a settlement is news: whatever else comes, the outcome is as unknown as
//! before, for the first copy may have settled behind the second's back.

use std::time::Duration;

use farthing_core::Source;
use farthing_core::books::Usd;
use farthing_core::header::{self, MAX_PAYMENT_BYTES};
use farthing_core::json;
use farthing_core::reason::Reason;
use farthing_core::wire::{PaymentRequired, SettleResponse, v1};
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use crate::error::{Declined, Error, Rejected, Rule, Unknown};
use crate::exchange::{self, Asked, Outgoing};
use crate::http::Inner;
use crate::origin::{self, fit_to_show, origin_of};
use crate::payer::{Promised, Purchase};
use crate::response::Response;
use crate::settlement::{PaymentFacts, PaymentOutcome};
use crate::terms::Terms;

/// The longest that a server may ask to wait before its pending settlement is asked for again.
pub const MAX_PENDING_WAIT: Duration = Duration::from_secs(30);

/// Pays for what was asked and sends the request once more.
pub(crate) async fn pay(
    inner: &Inner,
    asked: Asked,
    required: &PaymentRequired,
    at_most: Option<Usd>,
) -> Result<Response, Error> {
    if let Some(declined) = exposure(inner, &asked) {
        return Err(Error::RefusedByPolicy(declined));
    }
    let promised = inner.payer.pay(required, &purchase(&asked.outgoing, at_most)).await?;
    let origin = origin_of(&asked.outgoing.url);
    let request = match with_payment(asked.outgoing, &promised) {
        Ok(request) => request,
        Err(error) => {
            inner.payer.withdraw(promised).await;
            return Err(error);
        }
    };
    let again = request.try_clone();
    tracing::debug!(origin, usd = %promised.facts.usd, network = %promised.facts.network, "sending a payment");
    let response = match execute(inner, request, &origin).await {
        Ok(response) => response,
        Err(Failed { why, never_left: true, error: Some(error) }) => {
            inner.payer.withdraw(promised).await;
            return Err(Error::transport(why, error));
        }
        Err(Failed { why, error, .. }) => return Err(unknown(inner, promised, why, error).await),
    };
    let heard = Heard::of(response).await;
    match (heard.asks_to_come_back(), again) {
        (Some(wait), Some(again)) => {
            tracing::info!(origin, wait_seconds = wait.as_secs(), "a settlement is pending; the payment is sent once more");
            tokio::time::sleep(wait).await;
            asked_again(inner, promised, heard, execute(inner, again, &origin).await).await
        }
        _ => answered(inner, promised, heard).await,
    }
}

/// Why a paid request got no answer.
struct Failed {
    why: String,
    never_left: bool,
    error: Option<reqwest::Error>,
}

async fn execute(inner: &Inner, request: reqwest::Request, origin: &str) -> Result<reqwest::Response, Failed> {
    match tokio::time::timeout(inner.paid_timeout, inner.http.execute(request)).await {
        Ok(Ok(response)) => Ok(response),
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

/// Takes in what a server answered that had called the settlement pending before.
async fn asked_again(
    inner: &Inner,
    promised: Promised,
    pending: Heard,
    second: Result<reqwest::Response, Failed>,
) -> Result<Response, Error> {
    let (now, source) = match second {
        Ok(response) => {
            let heard = Heard::of(response).await;
            let has_settled = heard.said.settlement.as_ref().is_some_and(|settlement| settlement.success);
            let is_error = heard.status.is_client_error() || heard.status.is_server_error();
            if has_settled || !is_error {
                return answered(inner, promised, heard).await;
            }
            (format!("status {} to the same payment again", heard.status.as_u16()), None)
        }
        Err(Failed { why, error, .. }) => (why, error.map(|error| Box::new(error.without_url()) as Source)),
    };
    let settlement = pending.said.settlement;
    let payment = inner.payer.conclude(promised, settlement.as_ref()).await;
    let why = format!("the server said that the settlement is pending, and then: {now}");
    Err(Unknown { why, status: Some(pending.status.as_u16()), settlement, payment, source }.into())
}

/// What [`pay`] would do.
pub(crate) async fn consider(
    inner: &Inner,
    asked: &Asked,
    required: &PaymentRequired,
    at_most: Option<Usd>,
) -> Result<Terms, Error> {
    let consideration = inner.payer.consider(required, &purchase(&asked.outgoing, at_most)).await?;
    let refusal = exposure(inner, asked).map(|declined| declined.to_string());
    Ok(Terms::of(fit_to_show(&asked.outgoing.url), required, &consideration, refusal))
}

fn purchase(outgoing: &Outgoing, at_most: Option<Usd>) -> Purchase {
    Purchase { resource: fit_to_show(&outgoing.url), host: outgoing.url.host_str().map(str::to_owned), at_most }
}

/// Why nobody can be paid on this way, whatever the offers.
fn exposure(inner: &Inner, asked: &Asked) -> Option<Declined> {
    let Asked { outgoing, crossing } = asked;
    if let Some((from, to)) = crossing {
        let (from, to) = (origin_of(from), origin_of(to));
        let why = format!(
            "{from} was asked, and redirected to {to}, which asks for payment; redirects to another origin are not paid. If \
             you trust {to}, ask it directly"
        );
        return Some(Declined::rule(Rule::CrossOriginRedirect, why));
    }
    if origin::is_exposed(&outgoing.url) && !inner.payer.controls().allows_plain_http() {
        let why = format!(
            "{} asks for payment over unencrypted HTTP, where anybody on the way can change the terms; use https, or allow \
             plain HTTP",
            origin_of(&outgoing.url)
        );
        return Some(Declined::rule(Rule::PlainHttp, why));
    }
    None
}

fn with_payment(mut outgoing: Outgoing, promised: &Promised) -> Result<reqwest::Request, Error> {
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
    Ok(outgoing.request())
}

/// A header value that loggers and debug output leave out.
fn unlogged(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What an answer to a paid request says of the payment.
#[derive(Default)]
struct Said {
    settlement: Option<SettleResponse>,
    /// Terms, once more.
    terms: Option<PaymentRequired>,
    note: Option<String>,
}

/// What an answer to a paid request means for the caller.
enum Meaning {
    /// It is the answer.
    Answer,
    /// The payment was refused.
    Rejected,
    /// Nobody knows.
    Unknown(&'static str),
}

/// The table at the top of this file.
fn meaning(status: StatusCode, said: &Said, outcome: PaymentOutcome) -> Meaning {
    let is_error = status.is_client_error() || status.is_server_error();
    let asks_again = status == StatusCode::PAYMENT_REQUIRED || (status.is_client_error() && said.terms.is_some());
    match outcome {
        PaymentOutcome::Settled if status == StatusCode::PAYMENT_REQUIRED => Meaning::Rejected,
        PaymentOutcome::Settled => Meaning::Answer,
        _ if !is_error => Meaning::Answer,
        PaymentOutcome::Failed => Meaning::Rejected,
        PaymentOutcome::Unconfirmed if said.is_pending() => Meaning::Unknown("says that the settlement is pending"),
        PaymentOutcome::Unconfirmed if said.settlement.is_some() => {
            Meaning::Unknown("says that the settlement failed, yet names a transaction, which may move the money all the same")
        }
        PaymentOutcome::Unconfirmed if asks_again => Meaning::Rejected,
        PaymentOutcome::Unconfirmed if status.is_server_error() => Meaning::Unknown("does not say whether it settled"),
        PaymentOutcome::Unconfirmed => Meaning::Answer,
    }
}

/// An answer to a paid request, and what it says of the payment.
struct Heard {
    status: StatusCode,
    said: Said,
    answer: Result<reqwest::Response, reqwest::Error>,
    retry_after: Option<Duration>,
}

impl Heard {
    async fn of(response: reqwest::Response) -> Self {
        let status = response.status();
        let mut said = said_in(response.headers());
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let retry_after = seconds.map(Duration::from_secs);
        let is_error = status.is_client_error() || status.is_server_error();
        let answer = if is_error && said.settlement.is_none() {
            exchange::peek(response).await.map(|peeked| {
                said.search(&peeked.body);
                peeked.response
            })
        } else {
            Ok(response)
        };
        Self { status, said, answer, retry_after }
    }

    /// In how long the same payment may be sent again, if the server says that its settlement is pending.
    fn asks_to_come_back(&self) -> Option<Duration> {
        let is_asked = self.said.is_pending() && self.status == StatusCode::SERVICE_UNAVAILABLE;
        let wait = self.retry_after.filter(|_| is_asked)?;
        (wait <= MAX_PENDING_WAIT).then_some(wait)
    }
}

async fn answered(inner: &Inner, promised: Promised, heard: Heard) -> Result<Response, Error> {
    let Heard { status, said, answer, .. } = heard;
    let payment = inner.payer.conclude(promised, said.settlement.as_ref()).await;
    tracing::info!(network = %payment.network, usd = %payment.usd, outcome = ?payment.outcome, "a payment was answered");
    match (meaning(status, &said, payment.outcome), answer) {
        (Meaning::Answer, Ok(answer)) => Ok(Response::paid_for(answer, payment, said.settlement, said.note)),
        (Meaning::Rejected, _) => Err(rejected(status, said, payment)),
        (Meaning::Unknown(what), _) => {
            let why = format!("the server answered with status {} and {what}", status.as_u16());
            Err(Unknown { why, status: Some(status.as_u16()), settlement: said.settlement, payment, source: None }.into())
        }
        (Meaning::Answer, Err(error)) => {
            let why = "the connection failed in the middle of the answer".to_owned();
            let source = Some(Box::new(error.without_url()) as Source);
            Err(Unknown { why, status: Some(status.as_u16()), settlement: said.settlement, payment, source }.into())
        }
    }
}

fn rejected(status: StatusCode, said: Said, payment: PaymentFacts) -> Error {
    let Said { settlement, terms, .. } = said;
    let told = settlement.as_ref().and_then(|settlement| settlement.error_reason.clone());
    let reason = told.or_else(|| terms.and_then(|terms| terms.error).map(|error| Reason::from(error.as_str())));
    let message = settlement.as_ref().and_then(|settlement| settlement.error_message.clone());
    Rejected { status: status.as_u16(), reason, message, settlement, payment }.into()
}

async fn unknown(inner: &Inner, promised: Promised, why: String, error: Option<reqwest::Error>) -> Error {
    let payment = inner.payer.conclude(promised, None).await;
    let source = error.map(|error| Box::new(error.without_url()) as Source);
    Unknown { why, status: None, settlement: None, payment, source }.into()
}

/// What the headers say.
fn said_in(headers: &HeaderMap) -> Said {
    let mut said = Said::default();
    for name in [header::PAYMENT_RESPONSE, header::X_PAYMENT_RESPONSE] {
        let mut values = headers.get_all(name).iter();
        let Some(value) = values.next() else { continue };
        match header::decode_settlement(value.as_bytes()) {
            Ok(_) if values.next().is_some() => said.note = Some(format!("the header {name} came more than once")),
            Ok(settlement) => {
                said.settlement = Some(settlement);
                break;
            }
            Err(error) => said.note = Some(format!("the settlement in {name} cannot be read: {error}")),
        }
    }
    said.terms = exchange::terms_in(headers).and_then(Result::ok);
    said
}

impl Said {
    /// Whether it says that nobody knows yet what became of the settlement.
    fn is_pending(&self) -> bool {
        let settlement = self.settlement.as_ref();
        settlement.is_some_and(|told| !told.success && told.error_reason == Some(Reason::SettlementPending))
    }

    /// What the body of an answer that is no success says.
    fn search(&mut self, body: &[u8]) {
        self.terms = self.terms.take().or_else(|| v1::payment_required(body).ok());
        // Any API may say `"success": false`; a settlement also names a network or a transaction, or gives a reason.
        let is_settlement = |body: &Value| {
            body.get("success").is_some_and(Value::is_boolean)
                && ["transaction", "network", "errorReason"].iter().any(|key| body.get(key).is_some_and(Value::is_string))
        };
        if json::read_bytes::<Value>(body).is_ok_and(|body| is_settlement(&body)) {
            self.settlement = json::read_bytes(body).ok();
        }
    }
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
