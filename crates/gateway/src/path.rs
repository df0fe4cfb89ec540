//! The path that is matched is the path that is forwarded.
//!
//! A wall is gone around by a path that the wall reads in one way and the server behind it in another. So a path is let in only
//! if there is one way to read it, and it is then forwarded byte for byte. One way to read it means:
//!
//! 1. It starts with `/`, and no segment but the last is empty.
//! 2. No segment is `.` or `..`, and none holds `;`, where some servers cut.
//! 3. Every byte is one that RFC 3986 allows in a path, or one of `[ ] | ^`, which browsers send as they are.
//! 4. `%` is followed by two hex digits, and never stands for something that needs no encoding (`%61`, `%2e`), for `/`, `\`,
//!    `;`, a control character, or for `%` before two hex digits, which would be an encoding once more.
//! 5. What is encoded is UTF-8 in its only form.
//!
//! Routes are matched on [`CanonicalPath::decoded`]: `/a%40b` and `/a@b` are one path to every server.
//!
//! ```
//! use farthing_gateway::CanonicalPath;
//!
//! let path = CanonicalPath::parse("/reports/caf%C3%A9")?;
//! assert_eq!((path.as_str(), &*path.decoded()), ("/reports/caf%C3%A9", "/reports/café"));
//! assert!(CanonicalPath::parse("/free/%2e%2e/reports").is_err());
//! # Ok::<_, farthing_gateway::path::PathError>(())
//! ```

use std::borrow::Cow;
use std::fmt;

/// Why a path is not let in. Positions count bytes from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Such as `*`, or nothing.
    #[error("the path does not start with /; ask for a path such as /reports/1")]
    NotAbsolute,
    /// `//`.
    #[error("the path has an empty segment at byte {0} (//); send a single /")]
    EmptySegment(usize),
    /// `.` or `..`.
    #[error("the path has a dot segment at byte {0}; send the path that it leads to")]
    DotSegment(usize),
    /// A byte that must not be in a path, or not as it is.
    #[error("the path has a character at byte {0} that must be percent-encoded, or may not be in a path at all")]
    Character(usize),
    /// `;`.
    #[error("the path has a parameter at byte {0} (;), which servers read in different ways; leave it out")]
    Parameter(usize),
    /// `%` without two hex digits.
    #[error("the path has a % at byte {0} without two hex digits; a percent sign itself is sent as %25")]
    BadEncoding(usize),
    /// An encoding of what needs none.
    #[error("the path encodes at byte {0} what needs no encoding; send the character itself")]
    NeedlessEncoding(usize),
    /// An encoded separator, control character or encoding.
    #[error("the path encodes at byte {0} a separator, a control character or another encoding, which no path here may hold")]
    HiddenCharacter(usize),
    /// Not UTF-8, or in a longer form than needed.
    #[error("the path does not decode to UTF-8; encode names as UTF-8 before they are percent-encoded")]
    NotUtf8,
}

impl PathError {
    /// A stable code for logs and clients.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotAbsolute => "path_not_absolute",
            Self::EmptySegment(_) => "path_empty_segment",
            Self::DotSegment(_) => "path_dot_segment",
            Self::Character(_) => "path_character",
            Self::Parameter(_) => "path_parameter",
            Self::BadEncoding(_) => "path_bad_encoding",
            Self::NeedlessEncoding(_) => "path_needless_encoding",
            Self::HiddenCharacter(_) => "path_hidden_character",
            Self::NotUtf8 => "path_not_utf8",
        }
    }
}

/// A path that everybody reads in the same way.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CanonicalPath<'a>(&'a str);

impl<'a> CanonicalPath<'a> {
    /// The path of a request target, without its query.
    pub fn parse(path: &'a str) -> Result<Self, PathError> {
        let Some(rest) = path.strip_prefix('/') else { return Err(PathError::NotAbsolute) };
        let mut start = 1;
        let mut is_encoded = false;
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next() {
            match segment {
                "" if segments.peek().is_some() => return Err(PathError::EmptySegment(start)),
                "." | ".." => return Err(PathError::DotSegment(start)),
                _ => is_encoded |= check_segment(segment.as_bytes(), start)?,
            }
            start = start.saturating_add(segment.len()).saturating_add(1);
        }
        if is_encoded && String::from_utf8(decode(path)).is_err() {
            return Err(PathError::NotUtf8);
        }
        Ok(Self(path))
    }

    /// The path as it was sent and is forwarded.
    #[must_use]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// The path with its encodings undone: what routes are matched on.
    #[must_use]
    pub fn decoded(self) -> Cow<'a, str> {
        if !self.0.contains('%') {
            return Cow::Borrowed(self.0);
        }
        // It was found to be UTF-8 when it was parsed; if it were not, the path as it was sent matches nothing else.
        String::from_utf8(decode(self.0)).map_or(Cow::Borrowed(self.0), Cow::Owned)
    }
}

impl fmt::Debug for CanonicalPath<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, formatter)
    }
}

impl fmt::Display for CanonicalPath<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

/// Whether the segment holds an encoding.
fn check_segment(segment: &[u8], start: usize) -> Result<bool, PathError> {
    let mut is_encoded = false;
    let mut rest = segment;
    while let [byte, after @ ..] = rest {
        let position = start.saturating_add(segment.len()).saturating_sub(rest.len());
        rest = match byte {
            b'%' => {
                is_encoded = true;
                check_encoding(after, position)?
            }
            b';' => return Err(PathError::Parameter(position)),
            byte if is_plain(*byte) => after,
            _ => return Err(PathError::Character(position)),
        };
    }
    Ok(is_encoded)
}

/// What follows an encoding.
fn check_encoding(after: &[u8], position: usize) -> Result<&[u8], PathError> {
    let (byte, rest) = encoded(after).ok_or(PathError::BadEncoding(position))?;
    match byte {
        b'/' | b'\\' | b';' => Err(PathError::HiddenCharacter(position)),
        byte if byte.is_ascii_control() => Err(PathError::HiddenCharacter(position)),
        b'%' if encoded(rest).is_some() => Err(PathError::HiddenCharacter(position)),
        byte if is_unreserved(byte) => Err(PathError::NeedlessEncoding(position)),
        _ => Ok(rest),
    }
}

/// The byte that two hex digits stand for, and what follows them.
fn encoded(after: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, rest @ ..] = after else { return None };
    Some((hex(*high)? << 4 | hex(*low)?, rest))
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986 `pchar` without `;`, and what browsers leave as it is.
const fn is_plain(byte: u8) -> bool {
    const SUB_DELIMITERS_AND_MORE: &[u8] = b"!$&'()*+,=:@[]|^";
    let mut index = 0;
    if is_unreserved(byte) {
        return true;
    }
    while index < SUB_DELIMITERS_AND_MORE.len() {
        #[expect(clippy::indexing_slicing, reason = "below the length, as the loop says")]
        if SUB_DELIMITERS_AND_MORE[index] == byte {
            return true;
        }
        index += 1;
    }
    false
}

fn decode(path: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [byte, after @ ..] = rest {
        let (byte, next) = if *byte == b'%' { encoded(after).unwrap_or((*byte, after)) } else { (*byte, after) };
        decoded.push(byte);
        rest = next;
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_paths_pass_as_they_are() {
        for (path, decoded) in [
            ("/", "/"),
            ("/a/b/", "/a/b/"),
            ("/.well-known/x402", "/.well-known/x402"),
            ("/a..b/...", "/a..b/..."),
            ("/a%20b/100%25", "/a b/100%"),
            ("/na%c3%AFve", "/naïve"),
            ("/users/a%40b", "/users/a@b"),
            ("/a:b@c!$&'()*+,=~_-", "/a:b@c!$&'()*+,=~_-"),
            ("/[id]|^", "/[id]|^"),
            ("/what%3F%23", "/what?#"),
        ] {
            let parsed = CanonicalPath::parse(path).unwrap();
            assert_eq!((parsed.as_str(), &*parsed.decoded()), (path, decoded));
        }
    }

    #[test]
    fn paths_with_two_readings_are_refused() {
        use PathError::{
            BadEncoding, Character, DotSegment, EmptySegment, HiddenCharacter, NeedlessEncoding, NotAbsolute, NotUtf8,
            Parameter,
        };
        for (path, error) in [
            ("", NotAbsolute),
            ("*", NotAbsolute),
            ("//", EmptySegment(1)),
            ("/a//b", EmptySegment(3)),
            ("/.", DotSegment(1)),
            ("/a/..", DotSegment(3)),
            ("/a/../b", DotSegment(3)),
            ("/a/%2e%2E/b", NeedlessEncoding(3)),
            ("/%61", NeedlessEncoding(1)),
            ("/a%2fb", HiddenCharacter(2)),
            ("/a%5Cb", HiddenCharacter(2)),
            ("/a%3bb", HiddenCharacter(2)),
            ("/a%00", HiddenCharacter(2)),
            ("/a%0d%0aX:y", HiddenCharacter(2)),
            ("/a%7f", HiddenCharacter(2)),
            ("/a%252e", HiddenCharacter(2)),
            ("/a;b=c", Parameter(2)),
            ("/..;/a", Parameter(3)),
            ("/a\\b", Character(2)),
            ("/a b", Character(2)),
            ("/a\"<>`{}", Character(2)),
            ("/é", Character(1)),
            ("/a#b", Character(2)),
            ("/a?b", Character(2)),
            ("/%", BadEncoding(1)),
            ("/%4", BadEncoding(1)),
            ("/%zz", BadEncoding(1)),
            ("/%u002e", BadEncoding(1)),
            ("/%c0%ae%c0%ae/", NotUtf8),
            ("/%ff", NotUtf8),
            ("/%ed%a0%80", NotUtf8),
        ] {
            assert_eq!(CanonicalPath::parse(path), Err(error), "{path}");
        }
    }

    proptest! {
        /// What is let in has one decoding, which holds as many segments, none of them a step up or sideways.
        #[test]
        fn what_is_let_in_decodes_to_the_same_segments(path in "/([a-z./;\\\\]|%[0-9a-fA-F]{2}){0,12}") {
            if let Ok(parsed) = CanonicalPath::parse(&path) {
                let decoded = parsed.decoded();
                prop_assert_eq!(decoded.split('/').count(), path.split('/').count());
                prop_assert!(decoded.split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert!(!decoded.contains(['\\', ';', '\0']));
            }
        }

        #[test]
        fn no_path_panics(path in ".*") {
            let _either = CanonicalPath::parse(&path).is_ok();
        }
    }
}
