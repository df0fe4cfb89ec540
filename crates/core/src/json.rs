//! What every JSON text from a peer must pass before anything else reads it.
//!
//! Parsers disagree about duplicate keys (first or last wins?), and deep nesting costs memory or the stack. A payment
//! that two parties read differently is an attack, so both are refused here, in one pass and without recursion.
//! Whether the text is JSON at all is left to the parser that follows.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// The deepest nesting of objects and arrays that a message may have.
pub const MAX_DEPTH: usize = 32;

/// The longest explanation of what is wrong with a text, in characters, so that a peer's nonsense is not sent back whole.
const MAX_EXPLANATION_CHARS: usize = 200;

/// Why a JSON text is refused before it is parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Objects and arrays are nested too deep.
    #[error("the JSON is nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// An object has the same key twice.
    #[error("the JSON has the key {0:?} twice in one object")]
    DuplicateKey(String),
    /// The text is not JSON, or not what was expected there.
    #[error("{0}")]
    Syntax(String),
}

struct Level<'a> {
    keys: Option<Vec<Cow<'a, str>>>,
    expects_key: bool,
}

/// Refuses nesting beyond [`MAX_DEPTH`] and duplicate keys.
pub fn check(text: &str) -> Result<(), JsonError> {
    let bytes = text.as_bytes();
    let mut levels: Vec<Level<'_>> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => {
                if levels.len() == MAX_DEPTH {
                    return Err(JsonError::TooDeep);
                }
                let is_object = *byte == b'{';
                levels.push(Level { keys: is_object.then(Vec::new), expects_key: is_object });
            }
            b'}' | b']' => {
                if let Some(keys) = levels.pop().and_then(|level| level.keys) {
                    refuse_duplicates(keys)?;
                }
            }
            b',' => {
                if let Some(level) = levels.last_mut() {
                    level.expects_key = level.keys.is_some();
                }
            }
            b'"' => {
                let end = end_of_string(bytes, at);
                if let Some(level) = levels.last_mut().filter(|level| level.expects_key) {
                    level.expects_key = false;
                    let key = read_key(text.get(at..end).unwrap_or_default());
                    level.keys.get_or_insert_default().push(key);
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Checks a text and reads it as a `T`. Every message of the protocol is an object; an array is refused, although serde
/// would take its elements for the fields of a struct in their order.
pub fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, JsonError> {
    check(text)?;
    parse(text).map_err(|error| JsonError::Syntax(error.to_string()))
}

/// Checks bytes, which must be UTF-8, and reads them as a `T`.
pub fn read_bytes<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError::Syntax(format!("the text is not UTF-8: {error}")))?;
    read(text)
}

/// Reads an object whose text has passed [`check`] as a `T`. The error names the field, and never quotes a string that
/// was found in the wrong place: it may be a signature.
pub(crate) fn parse<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, serde_json::Error> {
    if text.trim_start().starts_with('[') {
        return Err(serde::de::Error::custom("expected an object, got an array"));
    }
    serde_json::from_str(text).map_err(|error| if error.is_data() { explained::<T>(text, error) } else { error })
}

/// An object of JSON as a `T`; errors are as those of [`parse`].
pub(crate) fn parse_object<T: DeserializeOwned>(object: &Map<String, Value>) -> Result<T, String> {
    // Only a bad one is worth the path of its field.
    T::deserialize(object).or_else(|_| serde_path_to_error::deserialize(object).map_err(|located| told(&located)))
}

/// The error again, with the path of the field. The text is read a second time, so that good messages do not pay for it.
fn explained<'de, T: Deserialize<'de>>(text: &'de str, error: serde_json::Error) -> serde_json::Error {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => error,
        Err(located) => serde::de::Error::custom(told(&located)),
    }
}

/// What is wrong, and where.
fn told(located: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let (path, what) = (located.path().to_string(), without_value(&located.inner().to_string()));
    if path == "." { what } else { format!("{}: {what}", shortened(&path)) }
}

/// What serde says of a value, without the value if it is a string, and without the place, which a path says better.
fn without_value(message: &str) -> String {
    let message = message.rfind(" at line ").map_or(message, |place| message.get(..place).unwrap_or(message));
    let message = message
        .split_once("expected struct ")
        .map_or_else(|| message.to_owned(), |(wrong, _rust_name)| format!("{wrong}expected an object"));
    for wrong in ["invalid type: string", "invalid value: string"] {
        let rest = message.strip_prefix(wrong).and_then(|rest| rest.rfind(", expected ").and_then(|at| rest.get(at..)));
        if let Some(expected) = rest {
            return shortened(&format!("{wrong}{expected}"));
        }
    }
    shortened(&message)
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_EXPLANATION_CHARS).collect()
}

/// One past the closing quote of the string that opens at `start`, or the end of the text.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Sorts instead of comparing each with each: an object may have ten thousand keys. An object that never ends is no JSON,
/// so its keys need no look.
fn refuse_duplicates(mut keys: Vec<Cow<'_, str>>) -> Result<(), JsonError> {
    keys.sort_unstable();
    let twice = keys.windows(2).find_map(|pair| if let [one, other] = pair { (one == other).then_some(one) } else { None });
    twice.map_or(Ok(()), |key| Err(JsonError::DuplicateKey(key.chars().take(100).collect())))
}

/// The key inside its quotes, with escapes resolved, so that `"a"` and `"\u0061"` are the same key.
fn read_key(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(quoted);
    if inner.contains('\\') {
        serde_json::from_str(quoted).map_or(Cow::Borrowed(inner), Cow::Owned)
    } else {
        Cow::Borrowed(inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn duplicate_keys_are_refused_however_they_are_spelt() {
        for bad in
            [r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, r#"{"x":{"b":[{"c":1,"c":1}]}}"#, r#"{"a":{"a":1},"b":[],"a":0}"#]
        {
            assert!(matches!(check(bad), Err(JsonError::DuplicateKey(_))), "{bad}");
        }
        for good in [
            r#"{"":1,"\"\"":2}"#,
            r#"{"a":{"a":1},"b":["a","a"]}"#,
            r#"{"a":"a\",\"a","b":"\\"}"#,
            r#"[{"a":1},{"a":1}]"#,
            r#"{"a":"}{","c":1}"#,
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn many_keys_take_no_longer_than_their_text() {
        let keys: Vec<String> = (0..200_000).map(|number| format!("\"{number}\":0")).collect();
        assert_eq!(check(&format!("{{{}}}", keys.join(","))), Ok(()));
        assert!(matches!(check(&format!("{{{},\"7\":1}}", keys.join(","))), Err(JsonError::DuplicateKey(key)) if key == "7"));
    }

    #[test]
    fn an_error_names_the_field_and_quotes_no_string() {
        #[derive(Debug, Deserialize)]
        struct Outer {
            #[expect(dead_code, reason = "only read")]
            inner: Inner,
        }
        #[derive(Debug, Deserialize)]
        struct Inner {
            #[expect(dead_code, reason = "only read")]
            number: u8,
        }
        let error = |text: &str| read::<Outer>(text).unwrap_err().to_string();
        assert_eq!(error(r#"{"inner":{"number":"0xSECRET, expected"}}"#), "inner.number: invalid type: string, expected u8");
        assert_eq!(error(r#"{"inner":{}}"#), "inner: missing field `number`");
        assert_eq!(error(r#"{"inner":{"number":300}}"#), "inner.number: invalid value: integer `300`, expected u8");
        assert_eq!(error(r#"{"inner":"0xSECRET"}"#), "inner: invalid type: string, expected an object");
        assert_eq!(error("[{}]"), "expected an object, got an array");
        assert_eq!(error("{"), "EOF while parsing an object at line 1 column 1");
    }

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(check(&nested(MAX_DEPTH)), Ok(()));
        assert_eq!(check(&nested(MAX_DEPTH + 1)), Err(JsonError::TooDeep));
        assert_eq!(check(&"{\"a\":".repeat(100_000)), Err(JsonError::TooDeep));
        assert_eq!(check(&"[".repeat(1_000_000)), Err(JsonError::TooDeep));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_check_panic(text in r#"[\[\]{}",:\\a-c0-9 ]{0,60}"#) {
            let _ = check(&text);
        }
    }
}
