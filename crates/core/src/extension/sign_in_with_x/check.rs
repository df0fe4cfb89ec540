//! Whether a sign-in is good, and what it opens: the server's side.
//!
//! The order is the protocol's: domain, `uri`, `issuedAt`, `expirationTime`, `notBefore`, nonce, then the signature. Only a
//! sign-in that would be let in uses its nonce up, so that nobody can use up somebody else's.

use std::sync::Arc;

use super::message::{self, Message, MessageFormat, refuse};
use super::origin::Origin;
use super::{CLOCK_SKEW_SECONDS, Info, MAX_AGE_SECONDS, SignIn, moment};
use crate::asset::AccountId;
use crate::books::{BookError, Reach, SignIns, Visit};
use crate::network::Network;
use crate::reason::{Reason, Refusal};
use crate::time::UnixSeconds;
use crate::{BoxFuture, Source};

/// What a sign-in has to meet.
#[derive(Clone)]
pub struct Expected<'a> {
    /// Where the server is to be found, by its configuration.
    pub origin: &'a Origin,
    /// The networks whose accounts can sign in to what is asked for: those of its challenge.
    pub networks: &'a [Network],
    /// Who checks signatures, one for each chain family.
    pub verifiers: &'a [Arc<dyn MessageVerifier>],
    /// The present moment.
    pub now: UnixSeconds,
}

/// A text, and what is said to be an account's signature of it.
#[derive(Clone, Copy)]
pub struct Claimed<'a> {
    /// The text.
    pub message: &'a Message,
    /// The account.
    pub account: &'a AccountId,
    /// Where the account is.
    pub network: &'a Network,
    /// The signature, as a peer wrote it.
    pub signature: &'a str,
}

/// Who checks signatures of one chain family.
pub trait MessageVerifier: Send + Sync {
    /// The family's namespace, such as `eip155`.
    fn namespace(&self) -> &str;

    /// How its accounts sign in.
    fn format(&self) -> MessageFormat;

    /// An account as the family writes it, so that one account has one name; `None` if it is none.
    fn account(&self, address: &str) -> Option<AccountId>;

    /// Whether the signature is the account's, and how far it reaches. Whatever cannot be found out is an error.
    fn verify<'a>(&'a self, claimed: Claimed<'a>) -> BoxFuture<'a, Result<Reach, MessageError>>;
}

/// Why a signature was not found to be the account's. Explanations repeat no signature.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It cannot be read.
    #[error("{0}")]
    Malformed(String),
    /// It is somebody else's, or of something else.
    #[error("{0}")]
    NotTheirs(String),
    /// The family's chain could not be asked.
    #[error("the signature could not be checked")]
    Unavailable(#[source] Source),
}

/// Why a sign-in is not good.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// It is bad.
    #[error("{0}")]
    Refused(Refusal),
    /// Its signature could not be checked: nobody is let in, and it may be tried again.
    #[error("{refusal}")]
    Unavailable {
        /// What the visitor may know of it.
        refusal: Refusal,
        /// The cause.
        #[source]
        source: Source,
    },
}

impl SignInError {
    /// What the visitor may know of it.
    pub const fn refusal(&self) -> &Refusal {
        match self {
            Self::Refused(refusal) | Self::Unavailable { refusal, .. } => refusal,
        }
    }
}

/// A good sign-in, whose nonce was not looked up yet: only [`enter`] does that.
#[must_use = "its nonce may have been used before"]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    account: AccountId,
    network: Network,
    reach: Reach,
    nonce: String,
    useless_from: UnixSeconds,
}

/// What a good sign-in opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It may be had without paying, this once for this sign-in.
    Granted,
    /// The account has not paid for it: the terms go out as if nobody had signed in.
    Unpaid,
    /// The sign-in was used before.
    Refused(Refusal),
}

impl SignedIn {
    /// Who signed in, as the family writes accounts.
    pub const fn account(&self) -> &AccountId {
        &self.account
    }

    /// Where the account is.
    pub const fn network(&self) -> &Network {
        &self.network
    }
}

/// Checks a sign-in: its fields, then its signature.
pub async fn check(sign_in: &SignIn, expected: &Expected<'_>) -> Result<SignedIn, SignInError> {
    check_fields(&sign_in.info, expected.origin, expected.now).map_err(SignInError::Refused)?;
    let (network, verifier) = verifier_of(sign_in, expected).map_err(SignInError::Refused)?;
    let (account, message) = message_of(sign_in, &network, verifier).map_err(SignInError::Refused)?;
    let claimed = Claimed { message: &message, account: &account, network: &network, signature: &sign_in.signature };
    let reach = verifier.verify(claimed).await.map_err(refusal_of)?;
    let issued_at = moment::read(&sign_in.info.issued_at).unwrap_or(expected.now);
    let useless_from = issued_at.plus(MAX_AGE_SECONDS).plus(1);
    Ok(SignedIn { account, network, reach, nonce: sign_in.info.nonce.clone(), useless_from })
}

/// Lets a visitor in: everybody who signed in, if what is asked for costs nothing, and else who has paid for it. Uses the
/// nonce up before it says that somebody may enter.
pub async fn enter(book: &dyn SignIns, signed_in: &SignedIn, paid: Option<&str>, now: UnixSeconds) -> Result<Entry, BookError> {
    if let Some(resource) = paid {
        let SignedIn { account, network, reach, .. } = signed_in.clone();
        let visit = Visit { resource: resource.to_owned(), network, payer: account, reach, now };
        if !book.is_granted(&visit).await? {
            return Ok(Entry::Unpaid);
        }
    }
    if book.use_nonce(&signed_in.nonce, signed_in.useless_from, now).await? {
        return Ok(Entry::Granted);
    }
    let message = "sign-in: nonce: it was used before; sign the challenge of the newest terms";
    Ok(Entry::Refused(Refusal::new(Reason::InvalidSiwxNonce, message)))
}

/// Checks all that can be checked without a chain and without the book, in the protocol's order.
pub fn check_fields(info: &Info, origin: &Origin, now: UnixSeconds) -> Result<(), Refusal> {
    check_origin(info, origin)?;
    check_issued_at(info, now)?;
    if let Some(text) = &info.expiration_time {
        let expires_at = read(text, Reason::InvalidSiwxExpirationTime, "expirationTime")?;
        if expires_at < now {
            let expected = format!("a moment after {}", moment::write(now));
            return Err(refuse(Reason::InvalidSiwxExpired, "expirationTime", &expected, text));
        }
    }
    if let Some(text) = &info.not_before {
        let valid_from = read(text, Reason::InvalidSiwxNotBefore, "notBefore")?;
        if now < valid_from {
            let expected = format!("a moment before {}", moment::write(now));
            return Err(refuse(Reason::InvalidSiwxNotYetValid, "notBefore", &expected, text));
        }
    }
    message::check_nonce(&info.nonce)
}

/// Whether a challenge or sign-in is for this origin; for servers and for clients.
pub(super) fn check_origin(info: &Info, origin: &Origin) -> Result<(), Refusal> {
    if info.domain != origin.host() {
        return Err(refuse(Reason::InvalidSiwxDomainMismatch, "domain", &format!("{:?}", origin.host()), &info.domain));
    }
    if Origin::of(&info.uri).as_ref() != Some(origin) {
        let expected = format!("an address at {origin}");
        return Err(refuse(Reason::InvalidSiwxUriMismatch, "uri", &expected, &info.uri));
    }
    Ok(())
}

fn check_issued_at(info: &Info, now: UnixSeconds) -> Result<(), Refusal> {
    let issued_at = read(&info.issued_at, Reason::InvalidSiwxIssuedAt, "issuedAt")?;
    let earliest = now.minus(MAX_AGE_SECONDS);
    if issued_at < earliest {
        let expected = format!("{} or later; sign the challenge of the newest terms", moment::write(earliest));
        return Err(refuse(Reason::InvalidSiwxIssuedAtTooOld, "issuedAt", &expected, &info.issued_at));
    }
    if issued_at > now.plus(CLOCK_SKEW_SECONDS) {
        let expected = format!("{} or earlier, as the challenge has it", moment::write(now));
        return Err(refuse(Reason::InvalidSiwxIssuedAtInFuture, "issuedAt", &expected, &info.issued_at));
    }
    Ok(())
}

fn read(text: &str, reason: Reason, field: &str) -> Result<UnixSeconds, Refusal> {
    moment::read(text).ok_or_else(|| refuse(reason, field, "a moment such as 2027-01-15T08:00:00.000Z", text))
}

/// The network of a sign-in, if it is one of those that were offered, and who checks signatures there.
fn verifier_of<'a>(sign_in: &SignIn, expected: &Expected<'a>) -> Result<(Network, &'a dyn MessageVerifier), Refusal> {
    let text = &sign_in.chain_id;
    let network: Network = text
        .parse()
        .map_err(|_| refuse(Reason::InvalidSiwxChainId, "chainId", "a CAIP-2 network such as eip155:8453", text))?;
    let verifier = expected.verifiers.iter().find(|verifier| verifier.namespace() == network.namespace());
    let Some(verifier) = verifier.filter(|_| expected.networks.contains(&network)) else {
        let names: Vec<&str> = expected.networks.iter().map(Network::as_str).collect();
        let expected = format!("one of the challenge's chains ({})", names.join(", "));
        return Err(refuse(Reason::InvalidSiwxUnsupportedChain, "chainId", &expected, text));
    };
    let signature_type = verifier.format().signature_type();
    if sign_in.signature_type != signature_type {
        let got = &sign_in.signature_type;
        return Err(refuse(Reason::InvalidSiwxUnsupportedChain, "type", &format!("{signature_type:?} for {network}"), got));
    }
    Ok((network, verifier.as_ref()))
}

fn message_of(sign_in: &SignIn, network: &Network, verifier: &dyn MessageVerifier) -> Result<(AccountId, Message), Refusal> {
    let address = sign_in.address.as_str();
    let account = verifier.account(address).ok_or_else(|| {
        let expected = format!("an account of {}, with its checksum if it has one", verifier.namespace());
        refuse(Reason::InvalidSiwxMalformedSignature, "address", &expected, address)
    })?;
    let message = Message::new(verifier.format(), &sign_in.info, &account, network)?;
    Ok((account, message))
}

fn refusal_of(error: MessageError) -> SignInError {
    match error {
        MessageError::Malformed(why) => {
            let message = format!("sign-in: signature: {why}");
            SignInError::Refused(Refusal::new(Reason::InvalidSiwxMalformedSignature, message))
        }
        MessageError::NotTheirs(why) => {
            let message =
                format!("sign-in: signature: {why}; sign the challenge's text to the byte, with the account in `address`");
            SignInError::Refused(Refusal::new(Reason::InvalidSiwxSignature, message))
        }
        MessageError::Unavailable(source) => {
            let message = "sign-in: signature: it could not be checked; try again later, or pay";
            SignInError::Unavailable { refusal: Refusal::new(Reason::InvalidSiwxVerifierError, message), source }
        }
    }
}
