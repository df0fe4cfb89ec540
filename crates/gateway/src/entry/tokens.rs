//! Signed tokens (JWT, RFC 7519) of one issuer.
//!
//! One algorithm is believed, the one of the configuration; what a token says of itself is only compared with it. So there is
//! nothing to choose, which is where libraries for tokens went wrong (`none`, a public key taken for a shared secret), and what
//! is left of the format is three parts in base64. The signatures are ring's to check, which checks those of TLS here too. The
//! moments of a token are compared with the clock that is handed in.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farthing_core::time::UnixSeconds;
use http::HeaderName;
use ring::hmac;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::desk::DeskError;
use super::key_set::{KeySet, name_of};
use super::keys::is_name;
use crate::file::{self, Algorithm};

/// The longest token, in bytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// How far the issuer's clock may differ from ours, in seconds.
pub(crate) const CLOCK_SKEW_SECONDS: u64 = 30;
/// The shortest secret that tokens are signed with, in bytes (RFC 7518, section 3.2).
pub(crate) const MIN_SECRET_BYTES: usize = 32;

/// Which tokens are believed.
pub(crate) struct Tokens {
    pub(crate) header: HeaderName,
    pub(crate) is_forwarded: bool,
    pub(crate) unknown: file::Unknown,
    algorithm: Algorithm,
    signer: Signer,
    issuer: Option<String>,
    audience: Option<String>,
    claims: Vec<(String, String)>,
}

enum Signer {
    Secret(hmac::Key),
    Keys(KeySet),
}

/// Why a token is not believed. It is said to whoever brought it, and never repeats the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    #[error("it is no signed token: expected three parts in base64url with JSON in the first two")]
    Malformed,
    #[error("it is signed by another algorithm than the one that is expected here, {0}")]
    Algorithm(&'static str),
    #[error("it has critical parts (`crit`), of which none is known here")]
    Critical,
    #[error("its signature is not the issuer's")]
    Signature,
    #[error("exp: it has expired, or does not say when it does")]
    Expired,
    #[error("nbf: it is not valid yet")]
    NotYet,
    #[error("iss: it is of another issuer")]
    Issuer,
    #[error("aud: it is for somebody else")]
    Audience,
    #[error("sub: it names nobody, or by more than 128 visible characters")]
    Subject,
    #[error("it lacks a claim that is required here")]
    Claim,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Tokens {
    pub(crate) fn new(table: &file::Tokens, secret: Option<&[u8]>, key_set: Option<&str>) -> Result<Self, DeskError> {
        let algorithm = table.algorithm;
        let signer = match (algorithm, secret, key_set) {
            (Algorithm::Hs256, Some(secret), None) if secret.len() >= MIN_SECRET_BYTES => {
                Signer::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret))
            }
            (Algorithm::Hs256, Some(_), None) => return Err(DeskError::ShortSecret),
            (Algorithm::Hs256, ..) => return Err(DeskError::TokenKey("HS256 needs secret, and no key_set")),
            (_, None, Some(text)) => Signer::Keys(KeySet::parse(text, algorithm).map_err(DeskError::TokenKey)?),
            _ => return Err(DeskError::TokenKey("RS256, ES256 and EdDSA need key_set, and no secret")),
        };
        Ok(Self {
            header: table.header.0.clone(),
            is_forwarded: table.forward,
            unknown: table.unknown,
            algorithm,
            signer,
            issuer: table.issuer.clone(),
            audience: table.audience.clone(),
            claims: table.claims.clone(),
        })
    }

    /// Whose token this is.
    pub(crate) fn subscriber(&self, token: &[u8], now: UnixSeconds) -> Result<String, BadToken> {
        let text = std::str::from_utf8(token).ok().filter(|text| text.len() <= MAX_TOKEN_BYTES).ok_or(BadToken::Malformed)?;
        let (message, signature) = text.rsplit_once('.').ok_or(BadToken::Malformed)?;
        let (head, claims) = message.split_once('.').ok_or(BadToken::Malformed)?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| BadToken::Malformed);
        let head: Head = serde_json::from_slice(&bytes(head)?).map_err(|_| BadToken::Malformed)?;
        if head.alg != name_of(self.algorithm) {
            return Err(BadToken::Algorithm(name_of(self.algorithm)));
        }
        if head.crit.is_some() {
            return Err(BadToken::Critical);
        }
        let signature = bytes(signature)?;
        let is_signed = match &self.signer {
            Signer::Secret(key) => hmac::verify(key, message.as_bytes(), &signature).is_ok(),
            Signer::Keys(keys) => keys.signed(head.kid.as_deref(), message.as_bytes(), &signature),
        };
        if !is_signed {
            return Err(BadToken::Signature);
        }
        let claims: Map<String, Value> = serde_json::from_slice(&bytes(claims)?).map_err(|_| BadToken::Malformed)?;
        self.check(&claims, now)
    }

    fn check(&self, claims: &Map<String, Value>, now: UnixSeconds) -> Result<String, BadToken> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let expires_at = claims.get("exp").and_then(Value::as_u64).ok_or(BadToken::Expired)?;
        if UnixSeconds(expires_at).plus(CLOCK_SKEW_SECONDS) <= now {
            return Err(BadToken::Expired);
        }
        if let Some(valid_from) = claims.get("nbf") {
            // What is no moment has not come either.
            let valid_from = valid_from.as_u64().ok_or(BadToken::NotYet)?;
            if now.plus(CLOCK_SKEW_SECONDS) < UnixSeconds(valid_from) {
                return Err(BadToken::NotYet);
            }
        }
        if self.issuer.is_some() && text("iss") != self.issuer.as_deref() {
            return Err(BadToken::Issuer);
        }
        match (&self.audience, claims.get("aud")) {
            (Some(audience), Some(said)) if says(said, audience) => {}
            // A token that is for somebody is not for us unless we know that it is.
            (Some(_), _) | (None, Some(_)) => return Err(BadToken::Audience),
            (None, None) => {}
        }
        for (name, expected) in &self.claims {
            let is_met = claims.get(name).is_some_and(|said| {
                let is_scope = name == "scope" && said.as_str().is_some_and(|said| said.split(' ').any(|one| one == expected));
                is_scope || says(said, expected)
            });
            if !is_met {
                return Err(BadToken::Claim);
            }
        }
        text("sub").filter(|name| is_name(name)).map(str::to_owned).ok_or(BadToken::Subject)
    }
}

/// Whether a claim is this, or a list with this in it.
fn says(said: &Value, expected: &str) -> bool {
    match said {
        Value::String(said) => said == expected,
        Value::Bool(said) => said.to_string() == expected,
        Value::Array(all) => all.iter().any(|one| one.as_str() == Some(expected)),
        _ => false,
    }
}
