//! Golden texts are those of `@x402/extensions` 2.27.0.

use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::signed::{EIP712, JWS};
use super::*;

const NOW: UnixSeconds = UnixSeconds(1_799_999_700);
const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const URL: &str = "https://api.example.com/data";
const KEY_ID: &str = "did:web:api.example.com#key-1";
const HEADER: &str = r#"{"alg":"ES256K","kid":"did:web:api.example.com#key-1"}"#;
const OFFER: &str = concat!(
    r#"{"amount":"10000","asset":"0x036CbD53842c5426634e7929541eC2318f3dCF7e","network":"eip155:84532","#,
    r#""payTo":"0x209693Bc6afc0C5328bA36FaF03C514EF312287C","resourceUrl":"https://api.example.com/data","#,
    r#""scheme":"exact","validUntil":1800000000,"version":1}"#,
);
const RECEIPT: &str = concat!(
    r#"{"issuedAt":1800000000,"network":"eip155:84532","payer":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","#,
    r#""resourceUrl":"https://api.example.com/data","version":1}"#,
);

fn jws(header: &str, payload: &str) -> String {
    [header, payload, "signature"].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

fn offer_jws() -> String {
    jws(HEADER, OFFER)
}

/// Signs both forms with the bytes of `signature`.
struct Fixed {
    format: &'static str,
}

impl Fixed {
    fn signed<T: Statement>(&self, payload: T) -> Result<Signed<T>, Source> {
        match self.format {
            JWS => Ok(JwsDraft::new(&payload, "ES256K", KEY_ID)?.signed(b"signature")),
            EIP712 => Ok(Signed::Eip712 { payload, signature: "0x51".to_owned() }),
            _ => Err("no key".into()),
        }
    }
}

impl OfferSigner for Fixed {
    fn sign_offer(&self, offer: Offer) -> BoxFuture<'_, Result<Signed<Offer>, Source>> {
        Box::pin(std::future::ready(self.signed(offer)))
    }

    fn sign_receipt(&self, receipt: Receipt) -> BoxFuture<'_, Result<Signed<Receipt>, Source>> {
        Box::pin(std::future::ready(self.signed(receipt)))
    }
}

fn finished<T>(future: impl Future<Output = T>) -> T {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("nothing here waits"),
    }
}

fn issuer(format: &'static str) -> Issuer {
    Issuer::new(Arc::new(Fixed { format }))
}

fn requirements(amount: u64) -> PaymentRequirements {
    PaymentRequirements {
        scheme: "exact".to_owned(),
        network: "eip155:84532".parse().unwrap(),
        amount: Amount::from(amount),
        asset: "0x036CbD53842c5426634e7929541eC2318f3dCF7e".parse().unwrap(),
        pay_to: "0x209693Bc6afc0C5328bA36FaF03C514EF312287C".parse().unwrap(),
        max_timeout_seconds: 300,
        extra: Map::new(),
    }
}

fn settlement() -> SettleResponse {
    let network = Some("eip155:84532".parse().unwrap());
    SettleResponse {
        success: true,
        payer: Some(PAYER.parse().unwrap()),
        transaction: "0xabcd".to_owned(),
        ..SettleResponse::failure(Refusal::new(Reason::InvalidPayload, ""), network)
    }
}

fn declared(issuer: &Issuer, accepts: &[PaymentRequirements]) -> Extensions {
    let mut extensions = Extensions::default();
    extensions.set(KEY, &finished(issuer.declaration(URL, accepts, NOW)).unwrap()).unwrap();
    extensions
}

fn settled(issuer: &Issuer, now: UnixSeconds) -> SettleResponse {
    let receipt = finished(issuer.receipt(URL, &settlement(), now)).unwrap().unwrap();
    SettleResponse { extensions: Some(json!({KEY: receipt})), ..settlement() }
}

#[test]
fn a_jws_is_that_of_the_official_sdk() {
    let offers = offers(&declared(&issuer(JWS), &[requirements(10_000)])).unwrap();
    assert_eq!(serde_json::to_value(&offers[0]).unwrap(), json!({"format": "jws", "acceptIndex": 0, "signature": offer_jws()}));
    let receipt = receipt(&settled(&issuer(JWS), UnixSeconds(1_800_000_000))).unwrap();
    assert_eq!(serde_json::to_value(&receipt).unwrap(), json!({"format": "jws", "signature": jws(HEADER, RECEIPT)}));
}

#[test]
fn typed_data_carry_what_is_signed() {
    let offers = offers(&declared(&issuer(EIP712), &[requirements(10_000)])).unwrap();
    assert_eq!(
        serde_json::to_string(&offers[0]).unwrap(),
        concat!(
            r#"{"format":"eip712","acceptIndex":0,"payload":{"version":1,"resourceUrl":"https://api.example.com/data","#,
            r#""scheme":"exact","network":"eip155:84532","asset":"0x036CbD53842c5426634e7929541eC2318f3dCF7e","#,
            r#""payTo":"0x209693Bc6afc0C5328bA36FaF03C514EF312287C","amount":"10000","validUntil":1800000000},"#,
            r#""signature":"0x51"}"#
        )
    );
    let receipt = receipt(&settled(&issuer(EIP712), UnixSeconds(1_800_000_000))).unwrap();
    assert_eq!(
        serde_json::to_string(&receipt).unwrap(),
        concat!(
            r#"{"format":"eip712","payload":{"version":1,"network":"eip155:84532","#,
            r#""resourceUrl":"https://api.example.com/data","payer":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","#,
            r#""issuedAt":1800000000,"transaction":""},"signature":"0x51"}"#
        )
    );
    assert!(!format!("{receipt:?}{:?}", offers[0]).contains("0x51"));
}

#[test]
fn a_transaction_is_named_only_where_the_seller_says_so() {
    for format in [JWS, EIP712] {
        let named = |issuer: &Issuer| receipt(&settled(issuer, NOW)).unwrap().signed.statement().unwrap().transaction;
        assert_eq!(named(&issuer(format)), "");
        assert_eq!(named(&issuer(format).naming_transactions()), "0xabcd");
    }
}

#[test]
fn nothing_is_receipted_that_was_not_settled() {
    for unsettled in [
        SettleResponse { success: false, ..settlement() },
        SettleResponse { payer: None, ..settlement() },
        SettleResponse { network: None, ..settlement() },
    ] {
        assert_eq!(finished(issuer(JWS).receipt(URL, &unsettled, NOW)).unwrap(), None);
    }
}

#[test]
fn an_offer_is_good_as_long_as_the_payment_may_take_or_as_is_configured() {
    let until = |issuer: &Issuer, requirements: PaymentRequirements| {
        offers(&declared(issuer, &[requirements])).unwrap()[0].signed.statement().unwrap().valid_until
    };
    assert_eq!(until(&issuer(JWS), requirements(1)), NOW.plus(300));
    let slow = PaymentRequirements { max_timeout_seconds: 60, ..requirements(1) };
    assert_eq!(until(&issuer(JWS), slow.clone()), NOW.plus(60));
    assert_eq!(until(&issuer(JWS).valid_for(300), slow.clone()), NOW.plus(300));
    assert_eq!(until(&issuer(JWS).valid_for(u64::MAX), slow), NOW.plus(MAX_VALIDITY_SECONDS));
}

#[test]
fn a_signer_that_fails_signs_nothing() {
    assert!(finished(issuer("none").declaration(URL, &[requirements(1)], NOW)).is_err());
    assert!(finished(issuer("none").receipt(URL, &settlement(), NOW)).is_err());
}

#[test]
fn no_more_offers_are_signed_or_read_than_there_is_room_for() {
    let accepts = vec![requirements(1); MAX_OFFERS + 1];
    assert_eq!(offers(&declared(&issuer(JWS), &accepts)).unwrap().len(), MAX_OFFERS);
    let many = vec![json!({"format": "jws", "signature": offer_jws()}); MAX_OFFERS + 1];
    let mut extensions = Extensions::default();
    extensions.set(KEY, &json!({"info": {"offers": many}})).unwrap();
    assert_eq!(offers(&extensions).unwrap().len(), MAX_OFFERS);
    assert_eq!(offers(&Extensions::default()).unwrap(), []);
}

#[test]
fn what_is_in_no_known_form_is_left_out() {
    let payload = json!({"version": 1});
    let mut extensions = Extensions::default();
    let odd = json!([
        {"format": "cbor", "signature": "x"},
        {"format": "jws", "payload": payload, "signature": "x"},
        {"format": "eip712", "signature": "0x"},
        {"format": "eip712", "payload": payload, "signature": "0x"},
        7,
        {"format": "jws", "signature": offer_jws()},
    ]);
    extensions.set(KEY, &json!({"info": {"offers": odd}})).unwrap();
    assert_eq!(offers(&extensions).unwrap().len(), 1);
    let unreadable = SettleResponse { extensions: Some(json!({KEY: {"info": 7}})), ..settled(&issuer(JWS), NOW) };
    assert_eq!(receipt(&unreadable), None);
    assert_eq!(receipt(&SettleResponse { extensions: None, ..unreadable }), None);
}

#[test]
fn an_offer_is_found_among_the_terms_and_its_hint_is_only_a_hint() {
    let accepts = [requirements(7), requirements(10_000), requirements(10_000)];
    let mut offer = offers(&declared(&issuer(JWS), &accepts)).unwrap().remove(2);
    for (hint, expected) in [(Some(2), 2), (Some(1), 1), (Some(0), 1), (Some(9), 1), (None, 1)] {
        offer.accept_index = hint;
        assert_eq!(offer.find(&accepts).unwrap(), Some(expected), "{hint:?}");
    }
    assert_eq!(offer.find(&[requirements(10_001)]).unwrap(), None);
    for other in [
        PaymentRequirements { scheme: "upto".to_owned(), ..requirements(10_000) },
        PaymentRequirements { network: "eip155:1".parse().unwrap(), ..requirements(10_000) },
        PaymentRequirements { asset: "0x1".parse().unwrap(), ..requirements(10_000) },
        PaymentRequirements { pay_to: "0x1".parse().unwrap(), ..requirements(10_000) },
    ] {
        assert_eq!(offer.find(&[other]).unwrap(), None);
    }
}

#[test]
fn an_offer_is_for_one_resource_and_until_one_moment() {
    let offer = offers(&declared(&issuer(JWS), &[requirements(10_000)])).unwrap().remove(0);
    assert_eq!(offer.check(URL, NOW.plus(300)).unwrap().amount, Amount::from(10_000));
    assert!(matches!(offer.check("https://api.example.com/other", NOW), Err(StatementError::Mismatch { .. })));
    assert!(matches!(offer.check(URL, NOW.plus(301)), Err(StatementError::TooOld { field: "validUntil", .. })));
    let endless = Offer { valid_until: UnixSeconds(0), ..offer.signed.statement().unwrap() };
    let signed = Signed::Eip712 { payload: endless, signature: String::new() };
    assert!(SignedOffer { accept_index: None, signed }.check(URL, NOW).is_ok());
}

#[test]
fn a_receipt_is_for_what_was_offered_for_who_paid_and_from_now() {
    let offer = offers(&declared(&issuer(JWS), &[requirements(10_000)])).unwrap().remove(0).signed.statement().unwrap();
    let receipt = receipt(&settled(&issuer(JWS), NOW)).unwrap();
    let payers = ["0x1".parse().unwrap(), PAYER.to_lowercase().parse().unwrap()];
    let check = |offer: &Offer, payers: &[AccountId], now| receipt.check(offer, payers, now, DEFAULT_MAX_AGE_SECONDS);
    assert_eq!(check(&offer, &payers, NOW.plus(3599)).unwrap().payer.as_str(), PAYER);
    assert!(matches!(check(&offer, &payers, NOW.plus(3600)), Err(StatementError::TooOld { field: "issuedAt", .. })));
    assert!(matches!(check(&offer, &payers[..1], NOW), Err(StatementError::Mismatch { field: "payer", .. })));
    let other = Offer { resource_url: "https://api.example.com/other".to_owned(), ..offer.clone() };
    assert!(matches!(check(&other, &payers, NOW), Err(StatementError::Mismatch { field: "resourceUrl", .. })));
    let other = Offer { network: "eip155:1".parse().unwrap(), ..offer };
    assert!(matches!(check(&other, &payers, NOW), Err(StatementError::Mismatch { field: "network", .. })));
}

#[test]
fn a_jws_is_taken_apart_strictly() {
    let official = offer_jws();
    let read = Jws::read(&official).unwrap();
    assert_eq!((read.algorithm(), read.key_id(), read.signature()), ("ES256K", KEY_ID, &b"signature"[..]));
    assert!(official.starts_with(read.signed_text()) && !format!("{read:?}").contains("c2ln"));
    let [header, payload, signature] = official.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    for bad in [
        String::new(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}.{signature}.x"),
        format!("{header}.{payload}=.{signature}"),
        format!("{official}{}", "A".repeat(MAX_JWS_BYTES)),
        jws("{}", OFFER),
        jws(r#"{"alg":"ES256K"}"#, OFFER),
        jws(r#"{"alg":"ES256K","kid":""}"#, OFFER),
        jws(r#"{"alg":"None","kid":"k"}"#, OFFER),
        jws(r#"{"alg":"ES256K","kid":"k","kid":"l"}"#, OFFER),
        jws(r#"{"alg":"ES256K","kid":"k","crit":["b64"]}"#, OFFER),
    ] {
        assert_eq!(Signed::<Offer>::Jws(bad.clone()).statement(), Err(StatementError::NotJws), "{bad}");
    }
    let receipt_as_offer = Signed::<Offer>::Jws(jws(HEADER, RECEIPT)).statement();
    assert!(matches!(receipt_as_offer, Err(StatementError::Content(_))));
}

#[test]
fn another_version_is_not_understood() {
    let offer = offers(&declared(&issuer(JWS), &[requirements(1)])).unwrap().remove(0).signed.statement().unwrap();
    let newer = Offer { version: 2, ..offer };
    let compact = JwsDraft::new(&newer, "ES256K", KEY_ID).unwrap().signed::<Offer>(b"x");
    for signed in [compact, Signed::Eip712 { payload: newer, signature: String::new() }] {
        assert_eq!(signed.statement(), Err(StatementError::Version(2)));
    }
}

#[test]
fn canonical_json_is_that_of_the_official_sdk() {
    let value = json!({"transaction": "0x1", "resourceUrl": "https://api.example.com/é\"\\\n/\u{7f}\u{2028}"});
    let expected = "{\"resourceUrl\":\"https://api.example.com/é\\\"\\\\\\u000a/\u{7f}\u{2028}\",\"transaction\":\"0x1\"}";
    assert_eq!(super::jws::canonical(&value), expected);
    let nested = json!({"b": [1, null, true, {}], "a": {"\u{10000}": 1, "\u{ffff}": 2}});
    assert_eq!(super::jws::canonical(&nested), "{\"a\":{\"\u{10000}\":1,\"\u{ffff}\":2},\"b\":[1,null,true,{}]}");
}

#[test]
fn the_schemas_are_those_of_the_official_sdk() {
    let offers = finished(issuer(JWS).declaration(URL, &[], NOW)).unwrap();
    assert_eq!(offers["info"], json!({"offers": []}));
    assert_eq!(offers["schema"]["required"], json!(["offers"]));
    let required = &offers["schema"]["properties"]["offers"]["items"]["properties"]["payload"]["required"];
    assert_eq!(required, &json!(["version", "resourceUrl", "scheme", "network", "asset", "payTo", "amount"]));
    let receipt = finished(issuer(JWS).receipt(URL, &settlement(), NOW)).unwrap().unwrap();
    assert_eq!(receipt["schema"]["required"], json!(["receipt"]));
}
