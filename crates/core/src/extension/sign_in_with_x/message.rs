//! The text that an account signs: EIP-4361 ("SIWE") and its sister for Solana ("SIWS"), to the byte as the official SDKs
//! build it.
//!
//! The text is built anew from the fields by whoever checks the signature, so it must not be possible to write two sets of
//! fields that make one text. Every field is held to the characters that EIP-4361 allows it, line breaks least of all.

use std::fmt;

use super::{Info, moment};
use crate::asset::AccountId;
use crate::network::Network;
use crate::reason::{Reason, Refusal};

/// The shortest nonce, in characters (EIP-4361).
pub const MIN_NONCE_CHARS: usize = 8;
/// The longest nonce, in characters.
pub const MAX_NONCE_CHARS: usize = 128;
/// The longest of the other fields, in bytes.
pub const MAX_FIELD_BYTES: usize = 4096;
/// The most resources that a sign-in may name.
pub const MAX_RESOURCES: usize = 16;

/// How the accounts of a chain family sign in. The family's own crate says which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFormat {
    /// EIP-4361, signed as EIP-191 says.
    Siwe,
    /// The same lines for Solana, signed with Ed25519.
    Siws,
}

impl MessageFormat {
    /// The kind of signature, as the wire names it.
    pub const fn signature_type(self) -> &'static str {
        match self {
            Self::Siwe => "eip191",
            Self::Siws => "ed25519",
        }
    }

    const fn whose_account(self) -> &'static str {
        match self {
            Self::Siwe => "Ethereum",
            Self::Siws => "Solana",
        }
    }
}

/// A text that an account signs to say who it is. Only well-formed fields make one.
#[derive(Clone, PartialEq, Eq)]
pub struct Message(String);

impl Message {
    /// The text for an account, which is written as its family writes it (for EIP-4361 with the checksum of EIP-55).
    pub fn new(format: MessageFormat, info: &Info, account: &AccountId, network: &Network) -> Result<Self, Refusal> {
        check_form(info)?;
        check_reference(format, network)?;
        Ok(Self(write(format, info, account, network)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Message({:?})", self.0)
    }
}

fn write(format: MessageFormat, info: &Info, account: &AccountId, network: &Network) -> String {
    let is_siwe = format == MessageFormat::Siwe;
    let mut lines = vec![
        format!("{} wants you to sign in with your {} account:", info.domain, format.whose_account()),
        account.to_string(),
        String::new(),
    ];
    match &info.statement {
        Some(statement) if is_siwe || !statement.is_empty() => lines.extend([statement.clone(), String::new()]),
        None if is_siwe => lines.push(String::new()),
        _ => {}
    }
    lines.extend([
        format!("URI: {}", info.uri),
        format!("Version: {}", info.version),
        format!("Chain ID: {}", network.reference()),
        format!("Nonce: {}", info.nonce),
        format!("Issued At: {}", info.issued_at),
    ]);
    lines.extend(info.expiration_time.as_ref().map(|moment| format!("Expiration Time: {moment}")));
    lines.extend(info.not_before.as_ref().map(|moment| format!("Not Before: {moment}")));
    let request_id = info.request_id.as_ref().filter(|id| is_siwe || !id.is_empty());
    lines.extend(request_id.map(|id| format!("Request ID: {id}")));
    if let Some(resources) = info.resources.as_ref().filter(|resources| is_siwe || !resources.is_empty()) {
        lines.push("Resources:".to_owned());
        lines.extend(resources.iter().map(|resource| format!("- {resource}")));
    }
    lines.join("\n")
}

/// Holds every field to what EIP-4361 allows it.
pub(super) fn check_form(info: &Info) -> Result<(), Refusal> {
    let unreadable = Reason::InvalidPayload;
    if info.version != "1" {
        return Err(refuse(unreadable, "version", "\"1\"", &info.version));
    }
    let is_domain = !info.domain.is_empty() && info.domain.bytes().all(is_uri_byte);
    hold(is_domain && info.domain.len() <= MAX_FIELD_BYTES, unreadable, "domain", "a host, with its port", &info.domain)?;
    let statement = info.statement.as_deref().unwrap_or_default();
    let is_statement = statement.bytes().all(|byte| byte == b' ' || (is_uri_byte(byte) && byte != b'%'));
    let rule = "one line of letters, digits, spaces and -._~:/?#[]@!$&'()*+,;=";
    hold(is_statement && statement.len() <= MAX_FIELD_BYTES, Reason::InvalidPayload, "statement", rule, statement)?;
    hold(is_uri(&info.uri), Reason::InvalidSiwxUriMismatch, "uri", "an absolute URI (RFC 3986)", &info.uri)?;
    check_nonce(&info.nonce)?;
    let is_moment = |text: &str| moment::read(text).is_some();
    let rule = "a moment such as 2027-01-15T08:00:00.000Z";
    hold(is_moment(&info.issued_at), Reason::InvalidSiwxIssuedAt, "issuedAt", rule, &info.issued_at)?;
    if let Some(text) = &info.expiration_time {
        hold(is_moment(text), Reason::InvalidSiwxExpirationTime, "expirationTime", rule, text)?;
    }
    if let Some(text) = &info.not_before {
        hold(is_moment(text), Reason::InvalidSiwxNotBefore, "notBefore", rule, text)?;
    }
    let request_id = info.request_id.as_deref().unwrap_or_default();
    let is_id = request_id.bytes().all(|byte| is_uri_byte(byte) && !b"/?#[]".contains(&byte));
    let rule = "letters, digits and -._~:@!$&'()*+,;=%";
    hold(is_id && request_id.len() <= MAX_FIELD_BYTES, Reason::InvalidPayload, "requestId", rule, request_id)?;
    let resources = info.resources.as_deref().unwrap_or_default();
    if resources.len() > MAX_RESOURCES {
        let expected = format!("at most {MAX_RESOURCES}");
        return Err(Refusal::mismatch(Reason::InvalidPayload, "sign-in: resources", expected, resources.len()));
    }
    let bad = resources.iter().find(|resource| !is_uri(resource));
    bad.map_or(Ok(()), |bad| Err(refuse(Reason::InvalidPayload, "resources", "absolute URIs (RFC 3986)", bad)))
}

pub(super) fn check_nonce(nonce: &str) -> Result<(), Refusal> {
    let is_nonce =
        (MIN_NONCE_CHARS..=MAX_NONCE_CHARS).contains(&nonce.len()) && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric());
    hold(is_nonce, Reason::InvalidSiwxNonce, "nonce", "8 to 128 letters and digits, as the server gave it", nonce)
}

/// A chain of EIP-4361 is a number, written in one way.
fn check_reference(format: MessageFormat, network: &Network) -> Result<(), Refusal> {
    let reference = network.reference();
    let is_number = reference.bytes().all(|byte| byte.is_ascii_digit()) && (!reference.starts_with('0') || reference == "0");
    let is_good = format != MessageFormat::Siwe || is_number;
    hold(is_good, Reason::InvalidSiwxChainId, "chainId", "a chain's number, such as eip155:8453", network.as_str())
}

fn hold(is_good: bool, reason: Reason, field: &str, expected: &str, got: &str) -> Result<(), Refusal> {
    if is_good { Ok(()) } else { Err(refuse(reason, field, expected, got)) }
}

/// A refusal that quotes what came, cut short.
pub(super) fn refuse(reason: Reason, field: &str, expected: &str, got: &str) -> Refusal {
    let got: String = got.chars().take(100).collect();
    Refusal::mismatch(reason, &format!("sign-in: {field}"), expected, format!("{got:?}"))
}

/// Whether a byte may stand in a URI: unreserved, reserved, or the percent sign.
pub(super) const fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_scheme && text.len() <= MAX_FIELD_BYTES && text.bytes().all(is_uri_byte)
}
