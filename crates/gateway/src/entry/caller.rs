//! Who asks: by address, and by key or token.

use std::net::IpAddr;

use farthing_core::header;
use http::{HeaderMap, HeaderName, Request, StatusCode};

use super::desk::Desk;
use super::keys::presented;
use super::ticket::Subscriber;
use crate::file::{Proof, Unknown};
use crate::forwarded::{Peer, TrustedProxies};
use crate::hygiene;
use crate::problem::Problem;

/// The address of whoever asks, if the connection is known.
pub(crate) fn address<B>(request: &Request<B>, trusted: &TrustedProxies) -> Option<IpAddr> {
    request.extensions().get::<Peer>().map(|peer| peer.client(request.headers(), trusted))
}

/// Whether a request brings a payment.
pub(super) fn pays(headers: &HeaderMap) -> bool {
    headers.contains_key(header::PAYMENT_SIGNATURE) || headers.contains_key(header::X_PAYMENT)
}

impl Desk {
    /// The subscriber who asks, if one of these proofs is there and holds. It is taken away, unless it is for the upstream too.
    pub(super) fn subscriber(&self, headers: &mut HeaderMap, proofs: &[Proof]) -> Result<Option<Subscriber>, Problem> {
        let mut found = None;
        let pays = pays(headers);
        if let Some(keys) = self.keys.as_ref().filter(|_| proofs.contains(&Proof::Key))
            && let Some(key) = presented(headers, &keys.header)
        {
            match keys.subscriber(key) {
                Some(name) => found = Some(Subscriber { proof: Proof::Key, name: name.to_owned() }),
                None if keys.unknown == Unknown::Refuse && !pays => {
                    return Err(unknown("unknown_key", &keys.header, "it is nobody's"));
                }
                None => {}
            }
            if !keys.is_forwarded {
                take_away(headers, &keys.header);
            }
        }
        if let Some((tokens, clock)) = self.tokens.as_ref().zip(self.clock.as_ref()).filter(|_| proofs.contains(&Proof::Token))
            && let Some(token) = presented(headers, &tokens.header)
        {
            match tokens.subscriber(token, clock.now()) {
                Ok(name) => found = found.or(Some(Subscriber { proof: Proof::Token, name })),
                // A key that holds is enough.
                Err(why) if tokens.unknown == Unknown::Refuse && !pays && found.is_none() => {
                    return Err(unknown("bad_token", &tokens.header, &why.to_string()));
                }
                Err(_) => {}
            }
            if !tokens.is_forwarded {
                take_away(headers, &tokens.header);
            }
        }
        Ok(found)
    }
}

/// The gateway's secrets are not the upstream's business.
fn take_away(headers: &mut HeaderMap, name: &HeaderName) {
    hygiene::remove_lookalikes(headers, || std::iter::once(name));
}

fn unknown(error: &'static str, header: &HeaderName, why: &str) -> Problem {
    let message = format!(
        "{header}: expected what a subscriber has, but {why}; nothing was charged; correct it, or leave the header out to be told \
         what this costs without a subscription"
    );
    Problem::new(StatusCode::UNAUTHORIZED, error, message)
}
