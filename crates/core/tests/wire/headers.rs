//! Messages as header values.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use farthing_core::header::{
    self, HeaderError, MAX_ANSWER_BYTES, MAX_PAYMENT_BYTES, MAX_PLAIN_PAYMENT_BYTES, decode_payment, decode_required,
    decode_settlement, encode, encode_settlement,
};
use farthing_core::reason::Reason;
use farthing_core::wire::{PaymentRequired, SettleResponse, Version};

use crate::golden::{PAYLOAD, REQUIRED, SETTLED, SETTLED_V1, payment, payment_v1, with};

#[test]
fn a_header_is_padded_standard_base64_of_compact_json() {
    assert_eq!(encode(&serde_json::json!({})).unwrap(), "e30=");
    let required = PaymentRequired::read(REQUIRED).unwrap();
    assert_eq!(encode(&required).unwrap(), STANDARD.encode(REQUIRED));
}

#[test]
fn all_four_variants_of_base64_are_read() {
    // Letters outside ASCII make the alphabets differ, and one of three lengths needs padding.
    let error = "ÿ?>~ÿ?>~?>".to_owned() + &"~".repeat(REQUIRED.len() % 3);
    let text = with(REQUIRED, "Payment required", &error);
    let encoded =
        [STANDARD.encode(&text), STANDARD_NO_PAD.encode(&text), URL_SAFE.encode(&text), URL_SAFE_NO_PAD.encode(&text)];
    assert!(encoded[0].contains(['+', '/']) && encoded[0].ends_with('='), "{}", encoded[0]);
    for value in encoded {
        assert_eq!(decode_required(value.as_bytes()).unwrap().error.as_ref(), Some(&error));
        let spaced = format!(" {value}\t");
        assert!(decode_required(spaced.as_bytes()).is_ok());
    }
}

#[test]
fn what_is_not_base64_of_text_is_refused() {
    for bad in ["{}", "e30=e30=", "e3 0=", "+-8=", "====", "e30=,e30=", "é"] {
        assert_eq!(decode_required(bad.as_bytes()).unwrap_err(), HeaderError::NotBase64, "{bad}");
        let refusal = decode_payment(bad.as_bytes()).unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.message.as_str()),
            (Reason::InvalidPayload, "payment header: the header is not base64")
        );
    }
    let not_utf8 = STANDARD.encode([0xff, 0xfe]);
    assert!(matches!(decode_required(not_utf8.as_bytes()), Err(HeaderError::Content(_))));
    assert!(matches!(decode_settlement(b""), Err(HeaderError::Content(_))));
}

#[test]
fn payments_of_both_versions_are_read_from_either_header() {
    for (text, version) in [(payment(), Version::V2), (payment_v1(), Version::V1)] {
        let read = decode_payment(STANDARD.encode(&text).as_bytes()).unwrap();
        assert_eq!(read.version, version);
        assert_eq!(encode(&read).unwrap(), STANDARD.encode(&text));
    }
}

#[test]
fn a_settlement_is_written_in_the_buyers_version() {
    let read: SettleResponse = decode_settlement(STANDARD.encode(SETTLED).as_bytes()).unwrap();
    assert_eq!(encode_settlement(&read, Version::V2).unwrap(), STANDARD.encode(SETTLED));
    let old = STANDARD.decode(encode_settlement(&read, Version::V1).unwrap()).unwrap();
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&old).unwrap(),
        serde_json::from_str::<serde_json::Value>(SETTLED_V1).unwrap()
    );
    assert_eq!(
        (header::payment_header(Version::V1), header::settlement_header(Version::V1)),
        ("x-payment", "x-payment-response")
    );
    assert_eq!(
        (header::payment_header(Version::V2), header::settlement_header(Version::V2)),
        ("payment-signature", "payment-response")
    );
}

#[test]
fn headers_have_a_longest_length() {
    let padded = |text: &str, bytes: usize| {
        let spaces = bytes / 4 * 3 - text.len();
        STANDARD.encode(with(text, "{", &format!("{{{}", " ".repeat(spaces))))
    };
    let plain = padded(&payment(), MAX_PLAIN_PAYMENT_BYTES);
    assert_eq!(plain.len(), MAX_PLAIN_PAYMENT_BYTES);
    assert!(decode_payment(plain.as_bytes()).is_ok());
    let longer = decode_payment(padded(&payment(), MAX_PLAIN_PAYMENT_BYTES + 4).as_bytes()).unwrap_err();
    assert_eq!(longer.reason, Reason::InvalidPayload);
    assert!(longer.message.contains("8196 bytes long; at most 8192"), "{}", longer.message);

    let extended =
        with(&payment(), &format!("\"payload\":{PAYLOAD}"), &format!("\"payload\":{PAYLOAD},\"extensions\":{{\"a\":1}}"));
    assert!(decode_payment(padded(&extended, MAX_PAYMENT_BYTES).as_bytes()).is_ok());
    let longer = decode_payment(padded(&extended, MAX_PAYMENT_BYTES + 4).as_bytes()).unwrap_err();
    assert!(longer.message.contains("at most 32768"), "{}", longer.message);

    assert!(decode_required(padded(REQUIRED, MAX_ANSWER_BYTES).as_bytes()).is_ok());
    let too_long = HeaderError::TooLong { got_bytes: MAX_ANSWER_BYTES + 4, max_bytes: MAX_ANSWER_BYTES };
    assert_eq!(decode_required(padded(REQUIRED, MAX_ANSWER_BYTES + 4).as_bytes()).unwrap_err(), too_long);
    assert_eq!(decode_settlement(padded(SETTLED, MAX_ANSWER_BYTES + 4).as_bytes()).unwrap_err(), too_long);
    assert!(decode_payment("A".repeat(10_000_000).as_bytes()).is_err());
}
