//! `builder-code`: who built what a payment went through, written behind the transaction's data (ERC-8021, protocol
//! reference §7.5).
//!
//! | field | whose code | set by | how many |
//! |---|---|---|---|
//! | `a` | the app's: who sells | the server, in its terms; no client may invent or change it | 1 |
//! | `w` | the wallet's: who settles | the facilitator, from its configuration | 1 |
//! | `s` | of services in between | clients, servers and the facilitator add theirs | [`MAX_CLIENT_CODES`] + [`MAX_SERVER_CODES`] + [`MAX_FACILITATOR_CODES`] |
//!
//! The codes are for statistics. What is wrong with them is left out, and never a reason to refuse a payment.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::reason::{Reason, Refusal};
use crate::wire::{Extensions, Version};

/// The extension's key.
pub const KEY: &str = "builder-code";
/// The longest code, in characters.
pub const MAX_CODE_CHARS: usize = 32;
/// The most service codes that a client adds.
pub const MAX_CLIENT_CODES: usize = 5;
/// The most service codes that a server declares.
pub const MAX_SERVER_CODES: usize = 5;
/// The most service codes that a facilitator adds.
pub const MAX_FACILITATOR_CODES: usize = 1;
/// The most service codes that a payment may bring.
pub const MAX_ECHOED_CODES: usize = MAX_CLIENT_CODES + MAX_SERVER_CODES;
/// The most service codes of one transaction.
pub const MAX_CODES: usize = MAX_ECHOED_CODES + MAX_FACILITATOR_CODES;

/// What every suffix of ERC-8021 ends with.
const MARKER: [u8; 16] = [0x80, 0x21, 0x80, 0x21, 0x80, 0x21, 0x80, 0x21, 0x80, 0x21, 0x80, 0x21, 0x80, 0x21, 0x80, 0x21];
/// The kind of suffix: a CBOR map.
const SCHEMA_ID: u8 = 2;
/// What stands behind the map: its length, the kind, the marker.
const TAIL_BYTES: usize = 2 + 1 + MARKER.len();

/// A builder's code: 1 to 32 small letters, digits and underscores.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Code(String);

/// What a facilitator writes of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FacilitatorCodes {
    /// Its own code.
    pub wallet: Option<Code>,
    /// A service code besides.
    pub service: Option<Code>,
}

/// Whom a transaction names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// Who sells (`a`).
    pub app: Option<Code>,
    /// Who settles (`w`).
    pub wallet: Option<Code>,
    /// Services in between (`s`).
    pub services: Vec<Code>,
}

impl Code {
    /// Checks a code.
    pub fn new(text: &str) -> Result<Self, Refusal> {
        Self::read(text).ok_or_else(|| {
            let got: String = text.chars().take(100).collect();
            let expected = "1 to 32 small letters, digits and underscores";
            Refusal::mismatch(Reason::InvalidPaymentRequirements, "builder code", expected, format!("{got:?}"))
        })
    }

    fn read(text: &str) -> Option<Self> {
        let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let fits = (1..=MAX_CODE_CHARS).contains(&text.len()) && text.bytes().all(is_good);
        fits.then(|| Self(text.to_owned()))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Code({})", self.0)
    }
}

/// What a server puts into its terms.
pub fn declaration(app: &Code, services: &[Code]) -> Result<Value, Refusal> {
    if services.len() > MAX_SERVER_CODES {
        return Err(too_many("server", MAX_SERVER_CODES, services.len()));
    }
    let info = if services.is_empty() { json!({"a": app}) } else { json!({"a": app, "s": merged(services.to_vec())}) };
    Ok(json!({"info": info, "schema": schema()}))
}

/// Adds a client's service codes to what it echoes: its own first, as the official SDK does, and no code twice. Where the
/// server has declared so many that there is no room for all, the client's last ones are left out.
pub fn add(extensions: &mut Extensions, services: &[Code]) -> Result<(), Refusal> {
    if services.len() > MAX_CLIENT_CODES {
        return Err(too_many("client", MAX_CLIENT_CODES, services.len()));
    }
    if services.is_empty() {
        return Ok(());
    }
    let declared: Option<Value> = extensions.get(KEY, Reason::InvalidPayload)?;
    let mut extension = declared.filter(Value::is_object).unwrap_or_else(|| json!({}));
    let theirs = extension.pointer("/info/s").map(entries).unwrap_or_default();
    let room = MAX_ECHOED_CODES.saturating_sub(theirs.len());
    let ours = merged(services.to_vec()).into_iter().map(|code| Value::String(code.0));
    let new = ours.filter(|code| !theirs.contains(code)).take(room);
    let all: Vec<Value> = new.chain(theirs.iter().cloned()).collect();
    if let Some(object) = extension.as_object_mut() {
        let info = object.entry("info").or_insert_with(|| json!({}));
        if let Some(info) = info.as_object_mut() {
            info.insert("s".to_owned(), Value::Array(all));
        }
    }
    let unwritten = |error: serde_json::Error| Refusal::new(Reason::InvalidPayload, format!("extensions.{KEY}: {error}"));
    extensions.set(KEY, &extension).map_err(unwritten)
}

fn too_many(role: &str, expected: usize, got: usize) -> Refusal {
    let field = format!("{role}'s service codes");
    Refusal::mismatch(Reason::InvalidPaymentRequirements, &field, format!("at most {expected}"), got)
}

/// A list's entries; a single value counts as a list of one.
fn entries(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(entries) => entries.clone(),
        Value::Null => Vec::new(),
        single => vec![single.clone()],
    }
}

/// The codes in their order, none twice.
fn merged(codes: Vec<Code>) -> Vec<Code> {
    let mut merged: Vec<Code> = Vec::with_capacity(codes.len());
    for code in codes {
        if !merged.contains(&code) {
            merged.push(code);
        }
    }
    merged
}

fn schema() -> Value {
    let code = |description: &str| json!({"type": "string", "pattern": "^[a-z0-9_]{1,32}$", "description": description});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "a": code("App builder code"),
            "w": code("Wallet builder code"),
            "s": {
                "type": "array",
                "maxItems": MAX_CODES,
                "items": {"type": "string", "pattern": "^[a-z0-9_]{1,32}$"},
                "description": "Service builder codes",
            },
        },
        "additionalProperties": false,
    })
}

#[derive(Deserialize)]
struct Echo {
    #[serde(default)]
    info: Info,
}

#[derive(Default, Deserialize)]
struct Info {
    #[serde(default)]
    a: Value,
    #[serde(default)]
    s: Value,
}

impl Attribution {
    /// Whom a payment's transaction names: what the payment brings, and what the facilitator says of itself. Of payments of
    /// version 1 the app's code is not read: no server has compared it with what it declared.
    pub fn of(extensions: &Extensions, version: Version, facilitator: &FacilitatorCodes) -> Self {
        let echo = extensions.get::<Echo>(KEY, Reason::InvalidPayload).ok().flatten();
        let info = echo.map(|echo| echo.info).unwrap_or_default();
        let app = info.a.as_str().filter(|_| version == Version::V2).and_then(Code::read);
        let echoed = entries(&info.s).iter().filter_map(Value::as_str).filter_map(Code::read).collect();
        let mut services = merged(echoed);
        services.truncate(MAX_ECHOED_CODES);
        services.extend(facilitator.service.clone());
        Self { app, wallet: facilitator.wallet.clone(), services: merged(services) }
    }

    /// What is written behind the transaction's data: nothing if nobody is named, and else the codes as a CBOR map, its
    /// length in two bytes, the kind of suffix, and the marker. At most 469 bytes.
    pub fn suffix(&self) -> Vec<u8> {
        let map = self.map();
        let Some(length) = u16::try_from(map.len()).ok().filter(|_| !self.is_empty()) else { return Vec::new() };
        [&map[..], &length.to_be_bytes(), &[SCHEMA_ID], &MARKER].concat()
    }

    /// Whether nobody is named.
    pub fn is_empty(&self) -> bool {
        self.app.is_none() && self.wallet.is_none() && self.services.is_empty()
    }

    /// Whom a transaction's data names at its end; `None` if it does not end with a suffix as [`Self::suffix`] writes it.
    pub fn at_end_of(data: &[u8]) -> Option<Self> {
        let (rest, tail) = data.split_at_checked(data.len().checked_sub(TAIL_BYTES)?)?;
        let (length, kind) = tail.split_first_chunk::<2>()?;
        if kind.split_first() != Some((&SCHEMA_ID, &MARKER[..])) {
            return None;
        }
        let start = rest.len().checked_sub(usize::from(u16::from_be_bytes(*length)))?;
        let mut reader = Reader(rest.get(start..)?);
        let attribution = reader.attribution()?;
        reader.0.is_empty().then_some(attribution)
    }

    fn map(&self) -> Vec<u8> {
        let fields = [self.app.is_some(), self.wallet.is_some(), !self.services.is_empty()];
        let mut bytes = Vec::new();
        head(&mut bytes, Major::Map, fields.iter().filter(|is_there| **is_there).count());
        for (key, code) in [("a", &self.app), ("w", &self.wallet)] {
            if let Some(code) = code {
                text(&mut bytes, key);
                text(&mut bytes, code.as_str());
            }
        }
        if !self.services.is_empty() {
            text(&mut bytes, "s");
            head(&mut bytes, Major::Array, self.services.len());
            self.services.iter().for_each(|code| text(&mut bytes, code.as_str()));
        }
        bytes
    }
}

/// CBOR's kinds of values, as far as they are needed (RFC 8949 §3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Major {
    Text = 3,
    Array = 4,
    Map = 5,
}

/// Lengths up to this one stand in the first byte itself.
const MAX_SHORT_LENGTH: u8 = 23;
/// In the first byte: the length is the byte that follows.
const LENGTH_FOLLOWS: u8 = 24;

/// Writes a value's kind and length; no code and no list of codes is longer than 255.
fn head(bytes: &mut Vec<u8>, major: Major, length: usize) {
    let length = u8::try_from(length).unwrap_or(u8::MAX);
    let kind = (major as u8) << 5;
    if length <= MAX_SHORT_LENGTH {
        bytes.push(kind | length);
    } else {
        bytes.extend([kind | LENGTH_FOLLOWS, length]);
    }
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    head(bytes, Major::Text, text.len());
    bytes.extend(text.as_bytes());
}

/// Reads what [`head`] and [`text`] write, and nothing else.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn attribution(&mut self) -> Option<Attribution> {
        let mut attribution = Attribution::default();
        let mut last_place = 0;
        for _ in 0..self.head(Major::Map)? {
            let place = match self.text()? {
                "a" => {
                    attribution.app = Some(self.code()?);
                    1
                }
                "w" => {
                    attribution.wallet = Some(self.code()?);
                    2
                }
                "s" => {
                    let length = self.head(Major::Array).filter(|length| (1..=MAX_CODES).contains(length))?;
                    attribution.services = (0..length).map(|_| self.code()).collect::<Option<_>>()?;
                    3
                }
                _ => return None,
            };
            if place <= last_place {
                return None;
            }
            last_place = place;
        }
        (!attribution.is_empty()).then_some(attribution)
    }

    fn code(&mut self) -> Option<Code> {
        Code::read(self.text()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.head(Major::Text)?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn head(&mut self, major: Major) -> Option<usize> {
        let first = self.byte()?;
        let length = match first & 0x1f {
            LENGTH_FOLLOWS => self.byte().filter(|length| *length > MAX_SHORT_LENGTH)?,
            short => Some(short).filter(|length| *length <= MAX_SHORT_LENGTH)?,
        };
        (first >> 5 == major as u8).then_some(usize::from(length))
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }
}
