//! Which of a route's offers a payment takes.
//!
//! A version 2 payment echoes the offer. It must be ours as it stands: every field of ours equal in value, letter case
//! and JSON type, no field that is not ours; `extra` alone may hold more than we put there, because clients add to it.
//! Nothing of the echo is used afterwards: verification and settlement see our own offer.

use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::{Accepted, PaymentPayload};
use serde_json::{Map, Value};

use crate::offer::Offer;

/// The offer that the payment takes.
pub(crate) fn find<'a>(offers: &'a [Offer], payment: &PaymentPayload) -> Result<&'a Offer, Refusal> {
    match &payment.accepted {
        Accepted::Offer(echo) => {
            let raw = echo.raw();
            let identical = offers.iter().find(|offer| offer.requirements.raw() == raw);
            identical.map_or_else(|| find_equal(offers, raw), Ok)
        }
        Accepted::Named { scheme, network } => offers
            .iter()
            .find(|offer| offer.requirements.scheme == *scheme && offer.requirements.network == *network)
            .ok_or_else(|| mismatch(&format!("no offer with scheme {:?} on network {:?}", cut(scheme), cut(network.as_str())))),
    }
}

fn find_equal<'a>(offers: &'a [Offer], raw: &str) -> Result<&'a Offer, Refusal> {
    let echo: Map<String, Value> =
        serde_json::from_str(raw).map_err(|error| Refusal::new(Reason::InvalidPayload, format!("accepted: {error}")))?;
    let mut closest: Option<Difference> = None;
    for offer in offers {
        match difference(&offer.fields, &echo) {
            None => return Ok(offer),
            Some(found) => closest = Some(closest.filter(|best| best.equal_fields >= found.equal_fields).unwrap_or(found)),
        }
    }
    Err(mismatch(closest.as_ref().map_or("nothing is offered", |difference| &difference.message)))
}

/// How an echo differs from one offer, and how much of it does not, so that the payer hears of the offer it meant.
struct Difference {
    equal_fields: usize,
    message: String,
}

fn difference(ours: &Map<String, Value>, echo: &Map<String, Value>) -> Option<Difference> {
    let nothing = Value::Null;
    let mut equal_fields = 0;
    let mut first = None;
    for (name, expected) in ours {
        let got = echo.get(name).unwrap_or(&nothing);
        let is_equal = if name == "extra" { is_within(expected, got) } else { expected == got };
        if is_equal {
            equal_fields += 1;
        } else if first.is_none() {
            first = Some(format!("accepted.{name}: expected {}, got {}", shown(expected), shown(got)));
        }
    }
    // Some SDKs write null for a field that they do not have.
    let foreign = echo.iter().find(|(name, value)| !value.is_null() && !ours.contains_key(*name));
    let first = first.or_else(|| foreign.map(|(name, _)| format!("accepted.{}: this offer has no such field", cut(name))));
    first.map(|message| Difference { equal_fields, message })
}

/// Whether the echo has everything that we put into `extra`.
fn is_within(ours: &Value, echo: &Value) -> bool {
    match (ours, echo) {
        (Value::Object(ours), Value::Object(echo)) => ours.iter().all(|(name, value)| echo.get(name) == Some(value)),
        (Value::Object(ours), Value::Null) => ours.is_empty(),
        _ => false,
    }
}

fn mismatch(message: &str) -> Refusal {
    Refusal::new(
        Reason::NoMatchingRequirements,
        format!("{message}; take an offer of this answer and echo it in `accepted` as it is"),
    )
}

fn shown(value: &Value) -> String {
    if value.is_null() { "nothing".to_owned() } else { cut(&value.to_string()) }
}

fn cut(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ours() -> Map<String, Value> {
        let offer = json!({
            "scheme": "exact", "network": "eip155:84532", "amount": "10000", "asset": "0xAb", "payTo": "0xCd",
            "maxTimeoutSeconds": 60, "extra": {"name": "USDC", "version": "2"},
        });
        offer.as_object().unwrap().clone()
    }

    fn with(name: &str, value: Value) -> Map<String, Value> {
        let mut echo = ours();
        echo.insert(name.to_owned(), value);
        echo
    }

    #[test]
    fn the_offer_itself_is_accepted_in_any_key_order_and_with_more_in_extra() {
        let reversed: Map<String, Value> = ours().into_iter().rev().collect();
        assert!(difference(&ours(), &reversed).is_none());
        let wider = with("extra", json!({"name": "USDC", "version": "2", "theirs": [1]}));
        assert!(difference(&ours(), &wider).is_none());
        assert!(difference(&ours(), &with("outputSchema", Value::Null)).is_none());
    }

    #[test]
    fn any_other_field_is_refused_by_name() {
        let cases = [
            ("scheme", json!("upto")),
            ("network", json!("eip155:8453")),
            ("amount", json!("9999")),
            ("amount", json!(10000)),
            ("asset", json!("0xab")),
            ("payTo", json!("0xCE")),
            ("maxTimeoutSeconds", json!("60")),
            ("maxTimeoutSeconds", json!(61)),
            ("extra", json!({"name": "USDC"})),
            ("extra", json!({"name": "USDC", "version": 2})),
            ("extra", Value::Null),
            ("more", json!(1)),
        ];
        for (name, value) in cases {
            let difference = difference(&ours(), &with(name, value)).unwrap();
            assert!(difference.message.contains(name), "{}", difference.message);
        }
        let mut missing = ours();
        missing.remove("asset");
        assert!(difference(&ours(), &missing).is_some());
    }

    #[test]
    fn an_empty_extra_may_be_left_out() {
        let mut ours = ours();
        ours.insert("extra".to_owned(), json!({}));
        let mut echo = ours.clone();
        echo.remove("extra");
        assert!(difference(&ours, &echo).is_none());
    }
}
