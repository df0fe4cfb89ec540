//! `sign-in-with-x`: a wallet proves who it is, so that what it paid for once opens again (CAIP-122, protocol reference §7.2).
//!
//! 1. The server's terms carry a challenge: where the sign-in is for, a nonce, and when it was issued ([`SignInTerms`]).
//! 2. The client checks that the challenge is for the server that it talks to, and signs the text that the challenge makes
//!    with its own account ([`Challenge::sign`]). The request goes again, with the header `SIGN-IN-WITH-X`.
//! 3. The server builds the text anew from the header's fields and checks them, then the signature, then whether this
//!    account has paid, and last that the nonce was never used ([`check`], [`enter`]).
//!
//! A sign-in that will not do is no error: the request is answered as one that brought none, and the terms go out again.
//!
//! The origin is always the configured one. Core knows no chain, so signing and checking are behind [`MessageSigner`] and
//! [`MessageVerifier`], one for each chain family.

mod check;
mod message;
mod moment;
mod origin;
#[cfg(test)]
mod tests;

pub use check::{Claimed, Entry, Expected, MessageError, MessageVerifier, SignInError, SignedIn, check, check_fields, enter};
pub use message::{MAX_FIELD_BYTES, MAX_NONCE_CHARS, MAX_RESOURCES, MIN_NONCE_CHARS, Message, MessageFormat};
pub use origin::{Origin, OriginError};

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::asset::AccountId;
use crate::network::Network;
use crate::reason::{Reason, Refusal};
use crate::time::{Entropy, UnixSeconds};
use crate::wire::Extensions;
use crate::{BoxFuture, Source};

/// The extension's key.
pub const KEY: &str = "sign-in-with-x";
/// How old a challenge may be when it comes back signed, in seconds.
pub const MAX_AGE_SECONDS: u64 = 300;
/// How far the clocks of a server's nodes may differ, in seconds.
pub const CLOCK_SKEW_SECONDS: u64 = 5;
/// The most chains of a challenge that a client looks at.
pub const MAX_CHAINS: usize = 64;

const NONCE_BYTES: usize = 16;

/// What a challenge says, and what is signed of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// The server's host, with its port unless it is the scheme's own.
    pub domain: String,
    /// What was asked for.
    pub uri: String,
    /// The format's version: `1`.
    pub version: String,
    /// Good for one sign-in.
    pub nonce: String,
    /// When the challenge was made (RFC 3339).
    pub issued_at: String,
    /// The moment from which the sign-in is good no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_time: Option<String>,
    /// The moment from which the sign-in is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// The server's name for the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Why to sign, for people; one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// What the sign-in is to open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<String>>,
}

/// A chain whose accounts can sign in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SupportedChain {
    /// The network (CAIP-2), as text: a client skips what it can't read.
    pub chain_id: String,
    /// The kind of signature: `eip191` or `ed25519`.
    #[serde(rename = "type")]
    pub signature_type: String,
    /// A hint for wallets: `eip191`, `eip1271`, `eip6492` or `siws`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature_scheme: Option<String>,
}

/// What a server's terms ask a wallet to sign, as a client reads it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Challenge {
    /// What is to be signed.
    pub info: Info,
    /// Whose accounts can.
    pub supported_chains: Vec<SupportedChain>,
}

/// A signed challenge: the content of the header `SIGN-IN-WITH-X`. `Debug` does not show the signature.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct SignIn {
    /// What was signed.
    pub info: Info,
    /// Who signed.
    pub address: AccountId,
    /// The network of the account (CAIP-2), as text.
    pub chain_id: String,
    /// The kind of signature.
    pub signature_type: String,
    /// A hint that changes nothing here.
    pub signature_scheme: Option<String>,
    /// The signature, as the family writes it.
    pub signature: String,
}

/// [`SignIn`] as JSON: everything side by side, in the official order.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    domain: String,
    address: AccountId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    statement: Option<String>,
    uri: String,
    version: String,
    chain_id: String,
    #[serde(rename = "type")]
    signature_type: String,
    nonce: String,
    issued_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expiration_time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    not_before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resources: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature_scheme: Option<String>,
    signature: String,
}

/// What a server needs to make challenges: one for each answer, since nonce and moment are new in each.
#[derive(Clone, Debug)]
pub struct SignInTerms {
    origin: Origin,
    statement: Option<String>,
}

/// A wallet that signs in, for one chain family.
pub trait MessageSigner: Send + Sync {
    /// The family's namespace, such as `eip155`.
    fn namespace(&self) -> &str;

    /// How its accounts sign in.
    fn format(&self) -> MessageFormat;

    /// The account to sign in with on a network of the family; `None` if there is none.
    fn account(&self, network: &Network) -> Option<AccountId>;

    /// The account's signature of the text, as the family writes signatures.
    fn sign<'a>(&'a self, message: &'a Message) -> BoxFuture<'a, Result<String, Source>>;
}

/// Why a client signed nothing.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The challenge is not one to sign, and says why.
    #[error("{0}")]
    Challenge(Refusal),
    /// The wallet could not sign.
    #[error("the wallet could not sign")]
    Wallet(#[source] Source),
}

impl SignInTerms {
    /// Terms for a server at that origin, with a line that tells people why to sign. Refuses a line that no wallet signs.
    pub fn new(origin: Origin, statement: Option<&str>) -> Result<Self, Refusal> {
        let terms = Self { origin, statement: statement.map(str::to_owned) };
        let info = terms.info("/", &"0".repeat(MIN_NONCE_CHARS), UnixSeconds(0));
        message::check_form(&info)?;
        Ok(terms)
    }

    /// Where the server is to be found.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A challenge for somebody who asks for this path and query.
    pub fn challenge(&self, target: &str, entropy: &dyn Entropy, now: UnixSeconds) -> Result<Info, Source> {
        let mut bytes = [0; NONCE_BYTES];
        entropy.fill(&mut bytes)?;
        let nonce = format!("{:032x}", u128::from_be_bytes(bytes));
        Ok(self.info(target, &nonce, now))
    }

    fn info(&self, target: &str, nonce: &str, now: UnixSeconds) -> Info {
        let slash = if target.starts_with('/') { "" } else { "/" };
        let uri = format!("{}{slash}{}", self.origin, escaped(target));
        Info {
            domain: self.origin.host().to_owned(),
            resources: Some(vec![uri.clone()]),
            uri,
            version: "1".to_owned(),
            nonce: nonce.to_owned(),
            issued_at: moment::write(now),
            expiration_time: Some(moment::write(now.plus(MAX_AGE_SECONDS))),
            statement: self.statement.clone(),
            ..Info::default()
        }
    }
}

/// What a server puts into its terms, for the networks whose accounts can sign in.
pub fn declaration(info: &Info, networks: &[(Network, MessageFormat)]) -> Value {
    let chains: Vec<Value> = networks
        .iter()
        .map(|(network, format)| json!({"chainId": network.as_str(), "type": format.signature_type()}))
        .collect();
    json!({"info": info, "supportedChains": chains, "schema": schema()})
}

fn schema() -> Value {
    let text = || json!({"type": "string"});
    let uri = || json!({"type": "string", "format": "uri"});
    let moment = || json!({"type": "string", "format": "date-time"});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "domain": text(), "address": text(), "statement": text(), "uri": uri(), "version": text(), "chainId": text(),
            "type": text(), "nonce": text(), "issuedAt": moment(), "expirationTime": moment(), "notBefore": moment(),
            "requestId": text(), "resources": {"type": "array", "items": uri()}, "signature": text(),
        },
        "required": ["domain", "address", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature"],
    })
}

impl Challenge {
    /// The challenge of a server's terms, if there is one.
    pub fn of(extensions: &Extensions) -> Result<Option<Self>, Refusal> {
        extensions.get(KEY, Reason::InvalidPayload)
    }

    /// Signs in with the wallet's account, on the first of the preferred networks that the server knows, or else on the
    /// first that it names; `None` if the wallet has no account on any.
    ///
    /// The origin is that of the address that the terms came from. A challenge for any other is not signed: it would let
    /// this server sign in there.
    pub async fn sign(
        &self,
        origin: &Origin,
        preferred: &[Network],
        signer: &dyn MessageSigner,
    ) -> Result<Option<SignIn>, SignError> {
        check::check_origin(&self.info, origin).map_err(SignError::Challenge)?;
        let Some((chain, network, address)) = self.chain_for(preferred, signer) else { return Ok(None) };
        let message = Message::new(signer.format(), &self.info, &address, &network).map_err(SignError::Challenge)?;
        let signature = signer.sign(&message).await.map_err(SignError::Wallet)?;
        Ok(Some(SignIn {
            info: self.info.clone(),
            address,
            chain_id: chain.chain_id.clone(),
            signature_type: chain.signature_type.clone(),
            signature_scheme: chain.signature_scheme.clone(),
            signature,
        }))
    }

    fn chain_for(&self, preferred: &[Network], signer: &dyn MessageSigner) -> Option<(&SupportedChain, Network, AccountId)> {
        let known = self.supported_chains.iter().take(MAX_CHAINS).filter_map(|chain| {
            let network: Network = chain.chain_id.parse().ok()?;
            let is_ours = network.namespace() == signer.namespace() && chain.signature_type == signer.format().signature_type();
            let account = is_ours.then(|| signer.account(&network)).flatten()?;
            Some((chain, network, account))
        });
        let rank = |network: &Network| preferred.iter().position(|it| it == network).unwrap_or(usize::MAX);
        known.min_by_key(|(_, network, _)| rank(network))
    }
}

/// A path and query as a URI may hold them: other bytes are written with a percent sign.
fn escaped(target: &str) -> String {
    let escape = |byte: u8| match byte {
        b'#' => "%23".to_owned(),
        byte if message::is_uri_byte(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    target.bytes().map(escape).collect()
}

impl From<Wire> for SignIn {
    fn from(wire: Wire) -> Self {
        let info = Info {
            domain: wire.domain,
            uri: wire.uri,
            version: wire.version,
            nonce: wire.nonce,
            issued_at: wire.issued_at,
            expiration_time: wire.expiration_time,
            not_before: wire.not_before,
            request_id: wire.request_id,
            statement: wire.statement,
            resources: wire.resources,
        };
        let Wire { address, chain_id, signature_type, signature_scheme, signature, .. } = wire;
        Self { info, address, chain_id, signature_type, signature_scheme, signature }
    }
}

impl From<SignIn> for Wire {
    fn from(sign_in: SignIn) -> Self {
        let SignIn { info, address, chain_id, signature_type, signature_scheme, signature } = sign_in;
        Self {
            domain: info.domain,
            address,
            statement: info.statement,
            uri: info.uri,
            version: info.version,
            chain_id,
            signature_type,
            nonce: info.nonce,
            issued_at: info.issued_at,
            expiration_time: info.expiration_time,
            not_before: info.not_before,
            request_id: info.request_id,
            resources: info.resources,
            signature_scheme,
            signature,
        }
    }
}

impl fmt::Debug for SignIn {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SignIn({} on {} at {})", self.address, self.chain_id, self.info.domain)
    }
}
