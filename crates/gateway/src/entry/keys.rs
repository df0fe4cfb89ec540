//! API keys. The gateway knows their digests, so that nothing it reads or keeps opens anything.

use http::{HeaderMap, HeaderName};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::desk::DeskError;
use crate::file;

/// The most keys there can be: each request with a key is compared with all of them.
pub(crate) const MAX_KEYS: usize = 10_000;
/// The longest key that is looked at, in bytes.
pub(crate) const MAX_KEY_BYTES: usize = 512;
/// The longest name of a subscriber, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 128;

const DIGEST_BYTES: usize = 32;

/// Who has which key.
pub(crate) struct Keys {
    pub(crate) header: HeaderName,
    pub(crate) is_forwarded: bool,
    pub(crate) unknown: file::Unknown,
    subscribers: Vec<(String, [u8; DIGEST_BYTES])>,
}

impl Keys {
    /// The keys of the table, and those of its file.
    pub(crate) fn new(table: &file::Keys, more: Option<&str>) -> Result<Self, DeskError> {
        let mut keys = Self {
            header: table.header.0.clone(),
            is_forwarded: table.forward,
            unknown: table.unknown,
            subscribers: Vec::new(),
        };
        for (name, digest) in &table.subscribers {
            keys.add(name, digest).map_err(|why| DeskError::Key { place: name.clone(), why })?;
        }
        let lines = more.unwrap_or_default().lines().enumerate();
        for (number, line) in lines.map(|(index, line)| (index.saturating_add(1), line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fault = |why| DeskError::Key { place: format!("file, line {number}"), why };
            let (name, digest) = line.split_once(char::is_whitespace).ok_or_else(|| fault("expected a name and a digest"))?;
            keys.add(name, digest.trim()).map_err(fault)?;
        }
        if keys.subscribers.is_empty() && table.file.is_none() {
            return Err(DeskError::NoKeys);
        }
        Ok(keys)
    }

    fn add(&mut self, name: &str, digest: &str) -> Result<(), &'static str> {
        if !is_name(name) {
            return Err("expected a name of at most 128 visible characters");
        }
        if self.subscribers.len() >= MAX_KEYS {
            return Err("expected at most 10000 keys; let more subscribers in by tokens");
        }
        let digits =
            digest.strip_prefix("sha256:").ok_or("expected sha256: and 64 hexadecimal digits, never the key itself")?;
        let digest = digest_of(digits).ok_or("expected 64 hexadecimal digits after sha256:")?;
        if self.subscribers.iter().any(|(_, other)| *other == digest) {
            return Err("expected another key for each subscriber, got one twice");
        }
        self.subscribers.push((name.to_owned(), digest));
        Ok(())
    }

    /// Whose key this is. How long that takes tells nothing of the keys.
    pub(crate) fn subscriber(&self, key: &[u8]) -> Option<&str> {
        if key.len() > MAX_KEY_BYTES {
            return None;
        }
        let digest: [u8; DIGEST_BYTES] = Sha256::digest(key).into();
        let (mut found, mut place) = (Choice::from(0), u32::MAX);
        for (number, (_, other)) in (0_u32..).zip(&self.subscribers) {
            let is_this = other.ct_eq(&digest);
            place = u32::conditional_select(&place, &number, is_this);
            found |= is_this;
        }
        if !bool::from(found) {
            return None;
        }
        self.subscribers.get(usize::try_from(place).ok()?).map(|(name, _)| name.as_str())
    }
}

/// What a header says: what follows `Bearer` in `authorization`, and all of any other. `None` if it is not there; of several in
/// one request none is anybody's, for the upstream might read another one.
pub(super) fn presented<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return Some(&[]);
    }
    if name != http::header::AUTHORIZATION {
        return Some(value.trim_ascii());
    }
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

/// Whether it can be in a header and in a log.
pub(super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

fn digest_of(digits: &str) -> Option<[u8; DIGEST_BYTES]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * DIGEST_BYTES {
        return None;
    }
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut bytes = [0; DIGEST_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = value(high)?.checked_mul(16)?.checked_add(value(low)?)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `printf %s KEY | sha256sum` says.
    const ALICE: &str = "sha256:2bd806c97f0e00af1a1fc3328fa763a9269723c8db8fac4f93af71db186d6e90";

    fn keys(text: &str, more: Option<&str>) -> Result<Keys, DeskError> {
        Keys::new(&toml::from_str(text).unwrap(), more)
    }

    fn digest(key: &str) -> String {
        format!("sha256:{:x}", Sha256::digest(key))
    }

    #[test]
    fn a_key_is_its_subscribers() {
        assert_eq!(digest("alice"), ALICE);
        let more = format!("# more of them\n\nbob  {}\n", digest("bob").to_uppercase().replace("SHA256", "sha256"));
        let keys = keys(&format!("subscribers = {{ alice = '{ALICE}' }}\nfile = 'file:keys'"), Some(&more)).unwrap();
        assert_eq!((keys.subscriber(b"alice"), keys.subscriber(b"bob")), (Some("alice"), Some("bob")));
        for wrong in ["", "Alice", "alice ", ALICE, &"a".repeat(MAX_KEY_BYTES + 1)] {
            assert_eq!(keys.subscriber(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_digest_is_refused_and_not_repeated() {
        for bad in ["hunter2", "sha256:hunter2", &ALICE[..70], &format!("{ALICE}00")] {
            let error = keys(&format!("subscribers = {{ alice = '{bad}' }}"), None).err().unwrap().to_string();
            assert!(error.contains("keys: alice: expected") && !error.contains("hunter2"), "{error}");
        }
        let twice = keys(&format!("subscribers = {{ a = '{ALICE}', b = '{ALICE}' }}"), None).err().unwrap().to_string();
        assert!(twice.contains("keys: b: expected another key"), "{twice}");
        let line = keys("file = 'file:keys'", Some("\nalice")).err().unwrap().to_string();
        assert!(line.contains("keys: file, line 2: expected a name and a digest"), "{line}");
        assert!(matches!(keys("", None), Err(DeskError::NoKeys)));
    }

    #[test]
    fn a_key_stands_in_its_header() {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", " k ".parse().unwrap());
        headers.insert("authorization", "bearer  t".parse().unwrap());
        assert_eq!(presented(&headers, &HeaderName::from_static("x-api-key")), Some(&b"k"[..]));
        assert_eq!(presented(&headers, &http::header::AUTHORIZATION), Some(&b"t"[..]));
        headers.insert("authorization", "Basic dTpw".parse().unwrap());
        assert_eq!(presented(&headers, &http::header::AUTHORIZATION), None);
        headers.append("x-api-key", "k".parse().unwrap());
        assert_eq!(presented(&headers, &HeaderName::from_static("x-api-key")), Some(&b""[..]));
    }
}
