//! What honest peers write in more than one way is read; null is absent everywhere.

use farthing_core::wire::{PaymentPayload, PaymentRequest, PaymentRequired, PaymentRequirements, ResourceInfo, v1};
use serde_json::{Value, json};

use crate::golden::{OFFER, PAYLOAD, REQUIRED, REQUIRED_V1, payment, request, request_v1, with};

fn nulled(text: &str, pointers: &[&str], key: &str) -> String {
    let mut value: Value = serde_json::from_str(text).unwrap();
    for pointer in pointers {
        value.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert(key.to_owned(), Value::Null);
    }
    value.to_string()
}

#[test]
fn null_is_absent_in_terms() {
    for key in ["error", "resource", "extensions", "accepts", "unknown"] {
        assert!(PaymentRequired::read(&nulled(REQUIRED, &[""], key)).is_ok(), "{key}");
    }
    for key in ["description", "mimeType", "serviceName", "tags", "iconUrl", "unknown"] {
        let required = PaymentRequired::read(&nulled(REQUIRED, &["/resource"], key)).unwrap();
        let expected = ResourceInfo { url: "https://api.example.com/data".to_owned(), ..ResourceInfo::default() };
        assert_eq!(**required.resource.as_ref().unwrap(), expected, "{key}");
    }
    let required = PaymentRequired::read(&nulled(REQUIRED, &["/accepts/0"], "extra")).unwrap();
    assert!(required.accepts[0].extra.is_empty());
}

#[test]
fn null_is_absent_in_payments_and_requests() {
    for key in ["resource", "extensions", "scheme", "network", "unknown"] {
        let read = PaymentPayload::read(&nulled(&payment(), &[""], key)).unwrap();
        assert_eq!(read.payload.raw().len(), PAYLOAD.len());
        assert!(read.extensions.is_empty());
    }
    for key in ["x402Version", "unknown"] {
        assert!(PaymentRequest::read(nulled(&request(), &[""], key).as_bytes()).is_ok(), "{key}");
    }
    for key in ["accepted", "resource", "extensions"] {
        assert!(PaymentRequest::read(nulled(&request_v1(), &["/paymentPayload"], key).as_bytes()).is_ok(), "{key}");
    }
    for key in ["resource", "description", "mimeType", "outputSchema", "extra"] {
        assert!(PaymentRequest::read(nulled(&request_v1(), &["/paymentRequirements"], key).as_bytes()).is_ok(), "{key}");
        assert_eq!(v1::payment_required(nulled(REQUIRED_V1, &["/accepts/0"], key).as_bytes()).unwrap().accepts.len(), 1);
    }
    assert!(v1::payment_required(nulled(REQUIRED_V1, &[""], "error").as_bytes()).unwrap().error.is_none());
}

#[test]
fn seconds_are_a_whole_number_however_it_is_written() {
    let seconds = |text: &str| serde_json::from_str::<PaymentRequirements>(&with(OFFER, "300", text));
    for (text, expected) in [("60", 60), ("60.0", 60), ("\"60\"", 60), ("6e1", 60), ("18446744073709551615", u64::MAX)] {
        assert_eq!(seconds(text).unwrap().max_timeout_seconds, expected, "{text}");
    }
    for bad in ["0", "0.0", "-1", "60.5", "\"\"", "\"+60\"", "\" 60\"", "\"60s\"", "1e30", "true", "null", "[60]", "\"0x3c\""] {
        assert!(seconds(bad).is_err(), "{bad}");
    }
}

#[test]
fn bad_metadata_is_dropped_and_the_payment_is_not() {
    let resource: ResourceInfo = serde_json::from_value(json!({
        "url": "https://api.example.com/data", "serviceName": 17, "tags": "weather", "iconUrl": {"src": "x"},
    }))
    .unwrap();
    assert_eq!(resource, ResourceInfo { url: "https://api.example.com/data".to_owned(), ..ResourceInfo::default() });
    assert!(serde_json::from_value::<ResourceInfo>(json!({"url": 17})).is_err());
}
