//! What every JSON text from a peer must pass before anything else reads it.
//!
//! Parsers disagree about duplicate keys (first or last wins?), and deep nesting costs memory or the stack. A payment
//! that two parties read differently is an attack, so both are refused here, in one pass and without recursion.
//! Whether the text is JSON at all is left to the parser that follows.

use std::borrow::Cow;

/// The deepest nesting of objects and arrays that a message may have.
pub const MAX_DEPTH: usize = 32;

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
                levels.pop();
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
                    let keys = level.keys.get_or_insert_default();
                    if keys.contains(&key) {
                        return Err(JsonError::DuplicateKey(key.chars().take(100).collect()));
                    }
                    keys.push(key);
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

/// Checks a text and reads it as a `T`.
pub fn read<'de, T: serde::Deserialize<'de>>(text: &'de str) -> Result<T, JsonError> {
    check(text)?;
    serde_json::from_str(text).map_err(|error| JsonError::Syntax(error.to_string()))
}

/// Checks bytes, which must be UTF-8, and reads them as a `T`.
pub fn read_bytes<'de, T: serde::Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError::Syntax(format!("the text is not UTF-8: {error}")))?;
    read(text)
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

/// The key inside its quotes, with escapes resolved, so that `"a"` and `"\u0061"` are the same key.
fn read_key(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.trim_start_matches('"').strip_suffix('"').unwrap_or(quoted);
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
        for good in
            [r#"{"a":{"a":1},"b":["a","a"]}"#, r#"{"a":"a\",\"a","b":"\\"}"#, r#"[{"a":1},{"a":1}]"#, r#"{"a":"}{","c":1}"#]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
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
