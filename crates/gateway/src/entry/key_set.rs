//! The public keys by which tokens are believed, as a JSON Web Key Set (RFC 7517), or one key alone.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;

use crate::file::Algorithm;

/// The most keys of one set.
const MAX_KEYS: usize = 64;
/// The first byte of an uncompressed point.
const UNCOMPRESSED: u8 = 4;

/// The keys of one algorithm.
pub(super) struct KeySet(Vec<(Option<String>, PublicKey)>);

enum PublicKey {
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Set { keys: Vec<Key> },
    One(Key),
}

/// As much of a key as is looked at.
#[derive(Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// The keys of the set that are of this algorithm. Others may be there, for others.
    pub(super) fn parse(text: &str, algorithm: Algorithm) -> Result<Self, &'static str> {
        let document: Document =
            serde_json::from_str(text).map_err(|_| "expected a JSON Web Key Set, such as {\"keys\": […]}")?;
        let keys = match document {
            Document::Set { keys } => keys,
            Document::One(key) => vec![key],
        };
        if keys.len() > MAX_KEYS {
            return Err("expected at most 64 keys");
        }
        let keys: Vec<_> = keys.into_iter().filter_map(|key| Some((key.kid.clone(), key.public(algorithm)?))).collect();
        if keys.is_empty() { Err("expected a public key of the algorithm, got none") } else { Ok(Self(keys)) }
    }

    /// Whether one of them signed it: the one that the token names, or any if it names none.
    pub(super) fn signed(&self, name: Option<&str>, message: &[u8], signature: &[u8]) -> bool {
        let is_meant = |own: &Option<String>| name.is_none() || own.as_deref() == name || own.is_none();
        self.0.iter().any(|(own, key)| is_meant(own) && key.signed(message, signature))
    }
}

impl Key {
    fn public(&self, algorithm: Algorithm) -> Option<PublicKey> {
        let is_other = self.alg.as_deref().is_some_and(|alg| alg != name_of(algorithm));
        if is_other || self.purpose.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let bytes = |text: &Option<String>| text.as_ref().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        match (algorithm, self.kty.as_str(), self.crv.as_deref()) {
            (Algorithm::Rs256, "RSA", _) => Some(PublicKey::Rsa { modulus: bytes(&self.n)?, exponent: bytes(&self.e)? }),
            (Algorithm::Es256, "EC", Some("P-256")) => {
                let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
                (x.len() == 32 && y.len() == 32).then(|| PublicKey::P256([&[UNCOMPRESSED][..], &x, &y].concat()))
            }
            (Algorithm::EdDsa, "OKP", Some("Ed25519")) => bytes(&self.x).filter(|x| x.len() == 32).map(PublicKey::Ed25519),
            _ => None,
        }
    }
}

impl PublicKey {
    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Rsa { modulus, exponent } => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            }
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature),
            Self::Ed25519(point) => UnparsedPublicKey::new(&ED25519, point).verify(message, signature),
        };
        verified.is_ok()
    }
}

/// As tokens and keys say it.
pub(super) const fn name_of(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Hs256 => "HS256",
        Algorithm::Rs256 => "RS256",
        Algorithm::Es256 => "ES256",
        Algorithm::EdDsa => "EdDSA",
    }
}
