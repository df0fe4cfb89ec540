//! What an answer to a paid request says of the payment, and what that means.

use std::time::Duration;

use farthing_core::extension::offer_receipt;
use farthing_core::header;
use farthing_core::json;
use farthing_core::reason::Reason;
use farthing_core::wire::{PaymentRequired, SettleResponse, v1};
use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::exchange;
use crate::settlement::{PaymentOutcome, outcome_of};

/// The longest that a server may ask to wait before its pending settlement is asked for again.
pub const MAX_PENDING_WAIT: Duration = Duration::from_secs(30);

/// What an answer to a paid request says of the payment.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) settlement: Option<SettleResponse>,
    /// Terms, once more.
    pub(crate) terms: Option<PaymentRequired>,
    pub(crate) note: Option<String>,
    /// Why it is no success, for people.
    pub(crate) message: Option<String>,
}

/// What an answer to a paid request means for the caller.
pub(crate) enum Meaning {
    /// It is the answer.
    Answer,
    /// The payment was refused.
    Rejected,
    /// Nobody knows.
    Unknown(&'static str),
}

/// The table at the top of [`paid`](crate::paid).
pub(crate) fn meaning(status: StatusCode, said: &Said, outcome: PaymentOutcome) -> Meaning {
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
pub(crate) struct Heard {
    pub(crate) status: StatusCode,
    pub(crate) said: Said,
    pub(crate) answer: Result<reqwest::Response, reqwest::Error>,
    retry_after: Option<Duration>,
}

impl Heard {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
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
    pub(crate) fn asks_to_come_back(&self) -> Option<Duration> {
        let is_asked = self.said.is_pending() && self.status == StatusCode::SERVICE_UNAVAILABLE;
        let wait = self.retry_after.filter(|_| is_asked)?;
        (wait <= MAX_PENDING_WAIT).then_some(wait)
    }

    /// Whether the money moved, as the server says.
    pub(crate) fn has_settled(&self) -> bool {
        self.said.settlement.as_ref().is_some_and(|settlement| settlement.success)
    }

    /// Whether nothing was served.
    pub(crate) fn is_error(&self) -> bool {
        self.status.is_client_error() || self.status.is_server_error()
    }

    /// What makes the outcome unknown, if it is.
    pub(crate) fn unknown_because(&self) -> Option<&'static str> {
        let outcome = self.said.settlement.as_ref().map_or(PaymentOutcome::Unconfirmed, outcome_of);
        match meaning(self.status, &self.said, outcome) {
            Meaning::Unknown(what) => Some(what),
            Meaning::Answer | Meaning::Rejected => None,
        }
    }
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
                let has_receipt = settlement.extensions.as_ref().is_some_and(|told| told.get(offer_receipt::KEY).is_some());
                if has_receipt && offer_receipt::receipt(&settlement).is_none() {
                    said.note = Some("the server's receipt cannot be read".to_owned());
                }
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
    pub(crate) fn is_pending(&self) -> bool {
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
        let Ok(value) = json::read_bytes::<Value>(body) else { return };
        self.message = value.get("message").and_then(Value::as_str).map(str::to_owned);
        if is_settlement(&value) {
            self.settlement = json::read_bytes(body).ok();
        }
    }
}
