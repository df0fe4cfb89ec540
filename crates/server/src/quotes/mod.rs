//! Prices that are asked for each request, and quotes, by which they are known again when they are paid.
//!
//! 1. A [`Pricer`] is asked for the price of one request. Every offer of the answer then holds a quote in `extra.quote`: a
//!    moment, and a MAC over that moment, the request and the offer.
//! 2. The paid request echoes its offer. If the quote in it is ours, for this very request and these very terms, it is honoured
//!    without asking again, whatever the price is by now. Nothing has to be remembered for that.
//! 3. Else the request is refused, with a fresh quote.
//!
//! | a quote is bound to | |
//! |---|---|
//! | the request | method, host, path, query; the body, where the pricer reads it; headers that it [names](Pricer::headers) |
//! | the offer | scheme, network, amount, asset, payTo, time-out, and all that we put into `extra` |
//! | time | a last moment |
//!
//! A quote is a promise and no ticket: until it expires, the same request can be bought at its price as often as it is paid for,
//! by whoever has it. Sellers whose prices move fast choose a short life for it.
//!
//! A quote that has expired, or that is not ours by the key that we have now, buys nothing new. But a payment that may have been
//! charged for it before is still answered for: the book of deliveries knows the request and the very payment, and remembers
//! both for longer than any quote or key lives. To be told that nothing was charged, and to sign anew, would cost its buyer
//! twice.
//!
//! Buyers of version 1 echo nothing. They are held to the price of now, unless the book knows what their payment may have been
//! charged before.

mod key;
mod pricer;
mod quoter;

pub use key::{QUOTE_KEY_BYTES, QuoteKey};
pub use pricer::{DEFAULT_MAX_PRICED_BODY_BYTES, NoQuote, PriceRequest, Pricer, Quote, reading_body, reading_headers};
pub(crate) use quoter::{Honoured, Premises, Quoter};

use std::sync::Arc;

use farthing_core::reason::{Reason, Refusal};
use farthing_core::time::{Clock, UnixSeconds};
use farthing_core::wire::PaymentRequirements;

use crate::resource::{hex, locate};

/// Where an offer's `extra` holds its quote.
pub(crate) const EXTRA: &str = "quote";
/// How long a quote is good unless set otherwise, in seconds.
pub const DEFAULT_QUOTE_SECONDS: u64 = 300;
/// How long the body of a request may take to come where its price depends on it, or a payment is bound to it, in seconds.
pub const PRICED_BODY_TIMEOUT_SECONDS: u64 = 60;
/// How long a pricer has for one price, in seconds.
pub const PRICER_TIMEOUT_SECONDS: u64 = 10;

/// The form of a quote: `1.<last moment, in seconds since 1970>.<MAC, in hex>`.
const VERSION: &str = "1";
/// What no other use of the key begins with.
const DOMAIN: &[u8] = b"farthing quote 1";

/// Makes quotes and knows them again.
pub(crate) struct Quotes {
    pub(crate) key: QuoteKey,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) seconds: u64,
}

/// The request that a quote is for.
#[derive(Clone)]
pub(crate) struct Binding {
    method: String,
    authority: String,
    target: String,
    /// The SHA-256 digest of the body, where it is priced.
    body: Option<[u8; 32]>,
    /// The SHA-256 digest of the headers that the price depends on, where it does.
    headers: Option<[u8; 32]>,
}

impl Binding {
    pub(crate) fn new(method: &str, resource_url: &str, body: Option<[u8; 32]>) -> Self {
        let (authority, target) = locate(resource_url);
        Self {
            method: method.to_owned(),
            authority: authority.to_ascii_lowercase(),
            target: target.to_owned(),
            body,
            headers: None,
        }
    }

    /// The same request, with the digest of the headers that it is priced by.
    pub(crate) fn with_headers(self, headers: Option<[u8; 32]>) -> Self {
        Self { headers, ..self }
    }
}

impl Quotes {
    /// The last moment of a quote that is made now.
    fn until(&self) -> UnixSeconds {
        self.clock.now().plus(self.seconds)
    }

    /// The quote of an offer for a request.
    fn make(&self, binding: &Binding, offer: &PaymentRequirements, until: UnixSeconds) -> String {
        format!("{VERSION}.{until}.{}", hex(&self.mac(binding, offer, until).end()))
    }

    /// Whether a quote is ours for this request and this offer, and if it has expired, why it buys nothing new.
    fn check(&self, quote: &str, binding: &Binding, offer: &PaymentRequirements) -> Result<Option<Refusal>, Refusal> {
        let (until, mac) = read(quote).ok_or_else(|| foreign(binding))?;
        if !self.mac(binding, offer, until).is(&mac) {
            return Err(foreign(binding));
        }
        let now = self.clock.now();
        let expired = || {
            let message = format!(
                "accepted.extra.quote: this quote was good until {until}, and it is {now} now; nothing was charged; take the fresh \
                 one of this answer and sign a payment for that"
            );
            Refusal::new(Reason::from("quote_expired"), message)
        };
        Ok((now > until).then(expired))
    }

    fn mac(&self, binding: &Binding, offer: &PaymentRequirements, until: UnixSeconds) -> key::Parts {
        let (amount, extra) = (offer.amount.to_string(), serde_json::Value::from(offer.extra.clone()).to_string());
        // The bodies that are not read and those that are empty differ in length.
        let body = binding.body.as_ref().map_or(&[][..], |digest| &digest[..]);
        let parts = [
            DOMAIN,
            binding.method.as_bytes(),
            binding.authority.as_bytes(),
            binding.target.as_bytes(),
            body,
            &until.0.to_be_bytes(),
            offer.scheme.as_bytes(),
            offer.network.as_str().as_bytes(),
            amount.as_bytes(),
            offer.asset.as_str().as_bytes(),
            offer.pay_to.as_str().as_bytes(),
            &offer.max_timeout_seconds.to_be_bytes(),
            extra.as_bytes(),
        ];
        // One part more is another text, because each comes after its length.
        let headers = binding.headers.as_ref().map(|digest| &digest[..]);
        parts.into_iter().chain(headers).fold(self.key.parts(), key::Parts::with)
    }
}

/// The moment and the MAC of a quote.
fn read(quote: &str) -> Option<(UnixSeconds, [u8; 32])> {
    let (version, rest) = quote.split_once('.')?;
    let (until, mac) = rest.split_once('.')?;
    if version != VERSION {
        return None;
    }
    let (moment, bytes): (UnixSeconds, _) = (until.parse().ok()?, key::read_hex(mac)?);
    // Nobody can write one quote in two ways.
    (moment.to_string() == until && hex(&bytes) == mac).then_some((moment, bytes))
}

fn foreign(binding: &Binding) -> Refusal {
    let Binding { method, authority, target, body, headers } = binding;
    let body = if body.is_some() { ", with the body that was priced" } else { "" };
    let headers = if headers.is_some() { ", with the headers that were priced" } else { "" };
    let message = format!(
        "accepted.extra.quote: expected a quote of this server for {method} {authority}{target}{body}{headers}, on the terms \
         beside it, got one that is not; nothing was charged; repeat the request as it was quoted and echo its offer as it \
         is, or take the fresh quote of this answer"
    );
    Refusal::new(Reason::from("quote_mismatch"), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct At(u64);

    impl Clock for At {
        fn now(&self) -> UnixSeconds {
            UnixSeconds(self.0)
        }
    }

    fn quotes(now: u64) -> Quotes {
        Quotes { key: QuoteKey::new([7; QUOTE_KEY_BYTES]), clock: Arc::new(At(now)), seconds: 300 }
    }

    fn offer() -> serde_json::Value {
        json!({"scheme": "exact", "network": "eip155:1", "amount": "7", "asset": "0xAb", "payTo": "0xCd",
            "maxTimeoutSeconds": 60, "extra": {"name": "USDC"}})
    }

    fn read_offer(offer: serde_json::Value) -> PaymentRequirements {
        serde_json::from_value(offer).unwrap()
    }

    /// The MAC as anybody can compute it from the table above, with a tool of their own.
    #[test]
    fn the_form_is_pinned() {
        let binding = Binding::new("GET", "https://API.example.com/a?b=c", None);
        let quote = quotes(1_000).make(&binding, &read_offer(offer()), UnixSeconds(1_300));
        assert_eq!(quote, "1.1300.8e668a0923a7c56934380398dd3385d5b9138238ec935ac5290b9de64665d433");
    }

    #[test]
    fn a_quote_is_good_for_what_it_was_made_for_until_its_last_moment() {
        let binding = Binding::new("GET", "https://api.example.com/a?b=c", Some([1; 32]));
        let offer = read_offer(offer());
        let quote = quotes(1_000).make(&binding, &offer, quotes(1_000).until());
        assert_eq!(quotes(1_300).check(&quote, &binding, &offer).unwrap(), None);
        let expired = quotes(1_301).check(&quote, &binding, &offer).unwrap().unwrap();
        assert_eq!(expired.reason.as_str(), "quote_expired");
        let other = Quotes { key: QuoteKey::new([8; QUOTE_KEY_BYTES]), ..quotes(1_000) };
        assert_eq!(other.check(&quote, &binding, &offer).unwrap_err().reason.as_str(), "quote_mismatch");
    }

    #[test]
    fn whatever_else_is_asked_or_offered_is_another_sale() {
        let binding = Binding::new("GET", "https://api.example.com/a?b=c", Some([1; 32]));
        let quote = quotes(1_000).make(&binding, &read_offer(offer()), UnixSeconds(1_300));
        let requests = [
            Binding::new("POST", "https://api.example.com/a?b=c", Some([1; 32])),
            Binding::new("GET", "https://api.example.org/a?b=c", Some([1; 32])),
            Binding::new("GET", "https://api.example.com/a?b=d", Some([1; 32])),
            Binding::new("GET", "https://api.example.com/a", Some([1; 32])),
            Binding::new("GET", "https://api.example.com/a?b=c", Some([2; 32])),
            Binding::new("GET", "https://api.example.com/a?b=c", None),
        ];
        for other in requests {
            assert!(quotes(1_000).check(&quote, &other, &read_offer(offer())).is_err(), "{}{}", other.method, other.target);
        }
        for (field, value) in [
            ("scheme", json!("upto")),
            ("network", json!("eip155:8453")),
            ("amount", json!("6")),
            ("asset", json!("0xAc")),
            ("payTo", json!("0xCe")),
            ("maxTimeoutSeconds", json!(61)),
            ("extra", json!({})),
        ] {
            let mut other = offer();
            other[field] = value;
            assert!(quotes(1_000).check(&quote, &binding, &read_offer(other)).is_err(), "{field}");
        }
    }

    #[test]
    fn what_is_no_quote_is_refused() {
        let binding = Binding::new("GET", "https://api.example.com/", None);
        let offer = read_offer(offer());
        let quote = quotes(1_000).make(&binding, &offer, UnixSeconds(1_300));
        let later = quote.replacen("1300", "9300", 1);
        let padded = quote.replacen("1300", "01300", 1);
        let upper = quote.to_uppercase();
        for bad in ["", "1", "1.", "1.1300", "1.1300.", "2.1300.00", &quote[..quote.len() - 1], &later, &padded, &upper] {
            let refusal = quotes(1_000).check(bad, &binding, &offer).unwrap_err();
            assert_eq!(refusal.reason.as_str(), "quote_mismatch", "{bad}");
        }
    }
}
