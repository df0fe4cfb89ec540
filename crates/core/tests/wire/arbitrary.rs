//! No bytes make a reader panic.

use farthing_core::header::{decode_payment, decode_required, decode_settlement, encode_bytes};
use farthing_core::json;
use farthing_core::wire::{
    PaymentPayload, PaymentRequest, PaymentRequired, SettleResponse, SupportedResponse, VerifyResponse, v1,
};
use proptest::prelude::*;

use crate::golden::{REQUIRED, REQUIRED_V1, SETTLED, SUPPORTED, request, request_v1};

/// Hands the bytes to every reader; what a reader takes, it can write and read again.
fn read_by_all(bytes: &[u8]) {
    if let Ok(request) = PaymentRequest::read(bytes) {
        PaymentRequest::read(&serde_json::to_vec(&request).unwrap()).unwrap();
    }
    if let Ok(required) = v1::payment_required(bytes) {
        v1::payment_required(&serde_json::to_vec(&required).unwrap()).unwrap();
    }
    if let Ok(required) = std::str::from_utf8(bytes).map_err(drop).and_then(|text| PaymentRequired::read(text).map_err(drop)) {
        PaymentRequired::read(&serde_json::to_string(&required).unwrap()).unwrap();
    }
    if let Ok(payment) = std::str::from_utf8(bytes).map_err(drop).and_then(|text| PaymentPayload::read(text).map_err(drop)) {
        PaymentPayload::read(&payment.write().unwrap()).unwrap();
    }
    if let Ok(answer) = json::read_bytes::<SettleResponse>(bytes) {
        assert_eq!(json::read::<SettleResponse>(&serde_json::to_string(&answer).unwrap()).unwrap(), answer);
    }
    let _ = json::read_bytes::<VerifyResponse>(bytes);
    let _ = json::read_bytes::<SupportedResponse>(bytes);
    for header in [bytes, encode_bytes(bytes).as_bytes()] {
        let _ = decode_payment(header);
        let _ = decode_required(header);
        let _ = decode_settlement(header);
    }
}

fn golden() -> impl Strategy<Value = String> {
    let texts =
        [request(), request_v1(), REQUIRED.to_owned(), REQUIRED_V1.to_owned(), SETTLED.to_owned(), SUPPORTED.to_owned()];
    proptest::sample::select(texts.to_vec())
}

proptest! {
    #[test]
    fn of_any_kind(bytes in any::<Vec<u8>>()) {
        read_by_all(&bytes);
    }

    #[test]
    fn that_look_like_json(text in r#"[\[\]{}",:\\a-c0-9 tfnue.\-]{0,80}"#) {
        read_by_all(text.as_bytes());
    }

    #[test]
    fn of_a_message_with_damage(text in golden(), changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
        let mut bytes = text.into_bytes();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        read_by_all(&bytes);
    }

    #[test]
    fn of_a_message_with_a_piece_cut_out_or_doubled(text in golden(), from: prop::sample::Index, to: prop::sample::Index, double: bool) {
        let (from, to) = (from.index(text.len()), to.index(text.len()));
        let (from, to) = (from.min(to), from.max(to));
        let middle = if double { text[from..to].repeat(2) } else { String::new() };
        read_by_all(format!("{}{middle}{}", &text[..from], &text[to..]).as_bytes());
    }
}
