//! Where a count or a value is found.

use std::fmt;
use std::str::FromStr;

use http::HeaderName;
use serde_json::Value;

use crate::pattern::fold;

/// The longest name of a place, in bytes.
const MAX_BYTES: usize = 256;

/// Where something is found: `request`, `request:/text`, `query:pages`, `header:x-pages`, `response` or
/// `response:/usage/total_tokens`. After `request:` and `response:` stands a JSON pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The body of the request, or what a pointer finds in it.
    Request(Pointer),
    /// A parameter of the query.
    Query(String),
    /// A header of the request.
    Header(HeaderName),
    /// The body of the answer, or what a pointer finds in it.
    Response(Pointer),
}

/// A place in a JSON document; empty for all of a body, whatever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer(String);

/// Why a text names no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// None of the known places.
    #[error(
        "expected where to look: \"request\", \"request:/text\", \"query:pages\", \"header:x-pages\", \"response\" or \
         \"response:/usage/total_tokens\""
    )]
    Unknown,
    /// What follows `request:` or `response:` is no pointer.
    #[error("expected a JSON pointer, such as /usage/total_tokens, in which ~0 stands for ~ and ~1 for /")]
    Pointer,
}

impl Pointer {
    /// Whether it is all of the body.
    pub(crate) const fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// What it finds.
    pub(crate) fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        document.pointer(&self.0)
    }

    /// Whether a server that reads keys in any letter case could find something else: two keys on the way differ only in that.
    pub(crate) fn is_ambiguous(&self, document: &Value) -> bool {
        let mut at = document;
        for token in self.0.split('/').skip(1) {
            let key = token.replace("~1", "/").replace("~0", "~");
            let next = match at {
                Value::Object(members) if members.keys().filter(|other| fold(other) == fold(&key)).nth(1).is_some() => {
                    return true;
                }
                Value::Object(members) => members.get(&key),
                Value::Array(list) => key.parse::<usize>().ok().and_then(|index| list.get(index)),
                _ => None,
            };
            let Some(next) = next else { return false };
            at = next;
        }
        false
    }

    fn parse(text: Option<&str>) -> Result<Self, SourceError> {
        let Some(text) = text else { return Ok(Self::default()) };
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            if letter == '~' && !matches!(letters.next(), Some('0' | '1')) {
                return Err(SourceError::Pointer);
            }
        }
        if text.starts_with('/') { Ok(Self(text.to_owned())) } else { Err(SourceError::Pointer) }
    }
}

impl Source {
    /// Whether it is known only after the work.
    pub(crate) const fn is_of_response(&self) -> bool {
        matches!(self, Self::Response(_))
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let (place, name) = text.split_once(':').map_or((text, None), |(place, name)| (place, Some(name)));
        let is_long = text.len() > MAX_BYTES;
        match (place, name) {
            _ if is_long => Err(SourceError::Unknown),
            ("request", pointer) => Pointer::parse(pointer).map(Self::Request),
            ("response", pointer) => Pointer::parse(pointer).map(Self::Response),
            ("query", Some(name)) if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            ("header", Some(name)) => name.parse().map(Self::Header).map_err(|_| SourceError::Unknown),
            _ => Err(SourceError::Unknown),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(pointer) if pointer.is_whole() => formatter.write_str("the body"),
            Self::Request(pointer) => write!(formatter, "the body's {}", pointer.0),
            Self::Query(name) => write!(formatter, "the query's {name}"),
            Self::Header(name) => write!(formatter, "the header {name}"),
            Self::Response(pointer) if pointer.is_whole() => formatter.write_str("the answer"),
            Self::Response(pointer) => write!(formatter, "the answer's {}", pointer.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_only_in_letter_case_are_two_readings() {
        let Source::Request(pointer) = "request:/a/0/te~1xt".parse().unwrap() else { unreachable!() };
        let is_ambiguous = |text: &str| pointer.is_ambiguous(&serde_json::from_str(text).unwrap());
        assert!(is_ambiguous(r#"{"a":[{"te/xt":1,"TE/xt":2}]}"#) && is_ambiguous(r#"{"A":[],"a":[{"te/xt":1}]}"#));
        assert!(!is_ambiguous(r#"{"a":[{"te/xt":1,"text":2,"B":3,"b":4}],"C":1,"c":2}"#) && !is_ambiguous("7"));
    }

    #[test]
    fn places_are_read_and_told() {
        for (text, told) in [
            ("request", "the body"),
            ("request:/text", "the body's /text"),
            ("query:pages", "the query's pages"),
            ("header:X-Pages", "the header x-pages"),
            ("response", "the answer"),
            ("response:/usage/total_tokens", "the answer's /usage/total_tokens"),
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), told);
        }
        for bad in [
            "",
            "body",
            "query",
            "query:",
            "header:",
            "header:a b",
            "request:text",
            "response:",
            "request:/a~2",
            "request:/a~",
            "cookie:a",
        ] {
            assert!(bad.parse::<Source>().is_err(), "{bad}");
        }
    }
}
