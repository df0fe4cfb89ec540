//! The messages as HTTP header values: base64 of JSON (x402 transports v2, HTTP).
//!
//! Written: standard base64 with padding. Read: standard or URL-safe alphabet, with padding or without.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;

use crate::extension::sign_in_with_x::SignIn;
use crate::json::{self, JsonError};
use crate::reason::{Reason, Refusal};
use crate::wire::{PaymentPayload, PaymentRequired, SettleResponse, Version, v1};

/// Server to client, with status 402: the terms.
pub const PAYMENT_REQUIRED: &str = "payment-required";
/// Client to server: the payment.
pub const PAYMENT_SIGNATURE: &str = "payment-signature";
/// Server to client, settled or failed: the settlement.
pub const PAYMENT_RESPONSE: &str = "payment-response";
/// Client to server in version 1: the payment.
pub const X_PAYMENT: &str = "x-payment";
/// Server to client in version 1: the settlement.
pub const X_PAYMENT_RESPONSE: &str = "x-payment-response";

/// Client to server: who is asking, where the server knows the extension `sign-in-with-x`.
pub const SIGN_IN_WITH_X: &str = "sign-in-with-x";

/// The longest payment header that is read, in bytes; with extensions.
pub const MAX_PAYMENT_BYTES: usize = 32 * 1024;
/// The longest payment header without extensions, in bytes.
pub const MAX_PLAIN_PAYMENT_BYTES: usize = 8 * 1024;
/// The longest terms or settlement header that a client reads, in bytes.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// The longest sign-in header that is read, in bytes; smart wallets' signatures are long.
pub const MAX_SIGN_IN_BYTES: usize = 32 * 1024;

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Why a header from a server cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Longer than any honest header.
    #[error("the header is {got_bytes} bytes long; at most {max_bytes} are read")]
    TooLong {
        /// The header's length.
        got_bytes: usize,
        /// The longest that is read.
        max_bytes: usize,
    },
    /// Not base64.
    #[error("the header is not base64")]
    NotBase64,
    /// Base64, but not of the message.
    #[error("the header's content cannot be read: {0}")]
    Content(#[from] JsonError),
}

/// Any message as a header value.
pub fn encode(message: &impl Serialize) -> Result<String, serde_json::Error> {
    serde_json::to_vec(message).map(encode_bytes)
}

/// A message's JSON text as a header value.
pub fn encode_bytes(json: impl AsRef<[u8]>) -> String {
    STANDARD.encode(json)
}

/// The payment in a `PAYMENT-SIGNATURE` or `X-PAYMENT` header of either version.
pub fn decode_payment(value: &[u8]) -> Result<PaymentPayload, Refusal> {
    let unreadable = |error: HeaderError| Refusal::new(Reason::InvalidPayload, format!("payment header: {error}"));
    let text = decode(value, MAX_PAYMENT_BYTES).map_err(unreadable)?;
    let payment = PaymentPayload::read(&text)?;
    if payment.extensions.is_empty() && value.len() > MAX_PLAIN_PAYMENT_BYTES {
        return Err(unreadable(HeaderError::TooLong { got_bytes: value.len(), max_bytes: MAX_PLAIN_PAYMENT_BYTES }));
    }
    Ok(payment)
}

/// The sign-in in a `SIGN-IN-WITH-X` header.
pub fn decode_sign_in(value: &[u8]) -> Result<SignIn, Refusal> {
    let unreadable = |error: HeaderError| Refusal::new(Reason::InvalidPayload, format!("sign-in header: {error}"));
    let text = decode(value, MAX_SIGN_IN_BYTES).map_err(unreadable)?;
    json::read(&text).map_err(|error| unreadable(error.into()))
}

/// The terms in a `PAYMENT-REQUIRED` header.
pub fn decode_required(value: &[u8]) -> Result<PaymentRequired, HeaderError> {
    Ok(PaymentRequired::read(&decode(value, MAX_ANSWER_BYTES)?)?)
}

/// The settlement in a `PAYMENT-RESPONSE` or `X-PAYMENT-RESPONSE` header.
pub fn decode_settlement(value: &[u8]) -> Result<SettleResponse, HeaderError> {
    Ok(json::read(&decode(value, MAX_ANSWER_BYTES)?)?)
}

/// The settlement as the header value for a buyer of that version.
pub fn encode_settlement(response: &SettleResponse, version: Version) -> Result<String, serde_json::Error> {
    match version {
        Version::V2 => encode(response),
        Version::V1 => encode(&v1::settle_response(response)?),
    }
}

/// The name of the header in which a buyer of that version sends the payment.
pub const fn payment_header(version: Version) -> &'static str {
    match version {
        Version::V1 => X_PAYMENT,
        Version::V2 => PAYMENT_SIGNATURE,
    }
}

/// The name of the header in which a buyer of that version finds the settlement.
pub const fn settlement_header(version: Version) -> &'static str {
    match version {
        Version::V1 => X_PAYMENT_RESPONSE,
        Version::V2 => PAYMENT_RESPONSE,
    }
}

fn decode(value: &[u8], max_bytes: usize) -> Result<String, HeaderError> {
    let value = value.trim_ascii();
    if value.len() > max_bytes {
        return Err(HeaderError::TooLong { got_bytes: value.len(), max_bytes });
    }
    let is_url_safe = value.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = if is_url_safe { URL_SAFE } else { STANDARD };
    let bytes = engine.decode(value).map_err(|_| HeaderError::NotBase64)?;
    String::from_utf8(bytes).map_err(|_| HeaderError::Content(JsonError::Syntax("it is not UTF-8".to_owned())))
}
