//! The key of quotes, and the MAC under it.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// How long a key is, in bytes.
pub const QUOTE_KEY_BYTES: usize = 32;
/// How much SHA-256 takes in at once, in bytes; HMAC fills a shorter key up with zeros to that.
const BLOCK_BYTES: usize = 64;

/// By which a server knows its own quotes again. Whoever has it can make quotes, so it is as secret as a password, and is
/// overwritten when it is dropped.
#[derive(Clone)]
pub struct QuoteKey(Zeroizing<[u8; BLOCK_BYTES]>);

impl QuoteKey {
    /// A key of 32 random bytes.
    pub fn new(bytes: [u8; QUOTE_KEY_BYTES]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let mut block = Zeroizing::new([0; BLOCK_BYTES]);
        for (at, byte) in block.iter_mut().zip(bytes.iter()) {
            *at = *byte;
        }
        Self(block)
    }

    /// A key that is written in hex, with or without `0x`; `None` unless these are 32 bytes.
    pub fn from_hex(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(read_hex(text.strip_prefix("0x").unwrap_or(text))?);
        Some(Self::new(*bytes))
    }

    /// A MAC over nothing yet.
    pub(super) fn parts(&self) -> Parts {
        Parts(Mac::new((&*self.0).into()))
    }
}

/// A MAC over parts that each come after their length, so that nothing can be moved from one into the next.
pub(super) struct Parts(Hmac<Sha256>);

impl Parts {
    pub(super) fn with(mut self, part: &[u8]) -> Self {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        self.0.update(&length.to_be_bytes());
        self.0.update(part);
        self
    }

    pub(super) fn end(self) -> [u8; 32] {
        self.0.finalize().into_bytes().into()
    }

    /// Compares in a time that says nothing about where the difference is.
    pub(super) fn is(self, mac: &[u8; 32]) -> bool {
        self.0.verify_slice(mac).is_ok()
    }
}

/// 32 bytes in hex.
pub(super) fn read_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |letter: u8| match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        b'A'..=b'F' => Some(letter - b'A' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() {
        return None;
    }
    let mut letters = text.bytes();
    for byte in &mut bytes {
        *byte = digit(letters.next()?)? << 4 | digit(letters.next()?)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_thirty_two_bytes_of_hex() {
        let hex = "07".repeat(QUOTE_KEY_BYTES);
        for good in [hex.clone(), format!("0x{hex}")] {
            let key = QuoteKey::from_hex(&good).unwrap();
            assert_eq!(key.parts().with(b"a").end(), QuoteKey::new([7; QUOTE_KEY_BYTES]).parts().with(b"a").end());
        }
        for bad in ["", "07", &hex[2..], &format!("{hex}07"), &hex.replacen('0', "g", 1)] {
            assert!(QuoteKey::from_hex(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_letter_case_of_a_key_does_not_matter() {
        let hex = "5e".repeat(QUOTE_KEY_BYTES);
        let [lower, upper] = [hex.clone(), hex.to_uppercase()].map(|hex| QuoteKey::from_hex(&hex).unwrap().parts().end());
        assert_eq!(lower, upper);
    }

    #[test]
    fn no_part_can_be_moved_into_the_next() {
        let key = QuoteKey::new([1; QUOTE_KEY_BYTES]);
        let macs = [[&b"ab"[..], b"c"], [b"a", b"bc"], [b"abc", b""]];
        let [first, second, third] = macs.map(|parts| parts.into_iter().fold(key.parts(), Parts::with).end());
        assert!(first != second && second != third && first != third);
    }
}
