//! JSON Web Signatures in their compact form (RFC 7515), with canonical JSON in them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;

use super::{Signed, Statement, StatementError};
use crate::json;

/// The longest JWS that is read, in bytes.
pub const MAX_JWS_BYTES: usize = 16 * 1024;

/// A JWS as it was read. That its signature is good is for a verifier to say.
#[derive(Clone, PartialEq, Eq)]
pub struct Jws<'a> {
    algorithm: String,
    key_id: String,
    payload: String,
    signed_text: &'a str,
    signature: Vec<u8>,
}

/// A statement that only lacks its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwsDraft(String);

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    #[serde(default)]
    crit: Option<Value>,
}

impl<'a> Jws<'a> {
    /// Takes a JWS apart. One without algorithm or key's name, and one with demands that are not known here, is none.
    pub fn read(text: &'a str) -> Result<Self, StatementError> {
        Self::parts(text).ok_or(StatementError::NotJws)
    }

    fn parts(text: &'a str) -> Option<Self> {
        let (signed_text, signature) = text.rsplit_once('.').filter(|_| text.len() <= MAX_JWS_BYTES)?;
        let (header, payload) = signed_text.split_once('.')?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = json::read_bytes(&decoded(header)?).ok()?;
        let is_known = header.crit.is_none() && !header.alg.eq_ignore_ascii_case("none") && !header.kid.is_empty();
        is_known.then_some(Self {
            algorithm: header.alg,
            key_id: header.kid,
            payload: String::from_utf8(decoded(payload)?).ok()?,
            signed_text,
            signature: decoded(signature).filter(|signature| !signature.is_empty())?,
        })
    }

    /// The algorithm, such as `ES256K` or `EdDSA`. A verifier knows which one its key is for, and takes no other.
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// The key's name, such as `did:web:api.example.com#key-1`.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// What is signed, as JSON text.
    pub fn payload(&self) -> &str {
        &self.payload
    }

    /// The text that the signature is over.
    pub fn signed_text(&self) -> &str {
        self.signed_text
    }

    /// The signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl fmt::Debug for Jws<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Jws({} by {})", self.algorithm, self.key_id)
    }
}

impl JwsDraft {
    /// A statement to be signed by the key of that name with that algorithm.
    pub fn new(statement: &impl Statement, algorithm: &str, key_id: &str) -> Result<Self, serde_json::Error> {
        let mut header = String::from("{\"alg\":");
        write_text(&mut header, algorithm);
        header.push_str(",\"kid\":");
        write_text(&mut header, key_id);
        header.push('}');
        let payload = canonical(&Value::Object(statement.fields()?));
        Ok(Self(format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))))
    }

    /// The text to be signed.
    pub fn text_to_sign(&self) -> &str {
        &self.0
    }

    /// The statement with its signature, which is raw bytes (for ES256K: r and s, 64 bytes).
    pub fn signed<T>(&self, signature: &[u8]) -> Signed<T> {
        Signed::Jws(format!("{}.{}", self.0, URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The one way to write a JSON value: keys in order, no spaces (RFC 8785, for what statements hold: text and whole numbers).
/// As the official SDK does, every control character is written by its number.
pub(super) fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value);
    text
}

fn write(text: &mut String, value: &Value) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by(|(one, _), (other, _)| one.encode_utf16().cmp(other.encode_utf16()));
            write_list(text, ['{', '}'], fields, |text, (key, value)| {
                write_text(text, key);
                text.push(':');
                write(text, value);
            });
        }
        Value::Array(entries) => write_list(text, ['[', ']'], entries, write),
        Value::String(content) => write_text(text, content),
        plain => text.push_str(&plain.to_string()),
    }
}

fn write_list<T>(
    text: &mut String,
    [open, close]: [char; 2],
    entries: impl IntoIterator<Item = T>,
    each: impl Fn(&mut String, T),
) {
    text.push(open);
    for (place, entry) in entries.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        each(text, entry);
    }
    text.push(close);
}

fn write_text(text: &mut String, content: &str) {
    text.push('"');
    for character in content.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\u{0}'..='\u{1f}' => text.extend([format!("\\u{:04x}", u32::from(character))]),
            other => text.push(other),
        }
    }
    text.push('"');
}
