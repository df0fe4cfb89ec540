//! Golden suffixes are those of `@x402/extensions` 2.27.0.

use super::*;
use crate::extension::echo;
use proptest::prelude::*;

fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

fn codes(texts: &[&str]) -> Vec<Code> {
    texts.iter().map(|text| code(text)).collect()
}

fn extensions(info: &Value) -> Extensions {
    let mut extensions = Extensions::default();
    extensions.set(KEY, &json!({"info": info})).unwrap();
    extensions
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn suffix(info: &Value, version: Version, facilitator: &FacilitatorCodes) -> String {
    hex(&Attribution::of(&extensions(info), version, facilitator).suffix())
}

fn facilitator(wallet: Option<&str>, service: Option<&str>) -> FacilitatorCodes {
    FacilitatorCodes { wallet: wallet.map(code), service: service.map(code) }
}

#[test]
fn the_suffix_is_that_of_the_official_sdk() {
    let long = json!({
        "a": "a".repeat(24),
        "s": ["s1", "s2", "s3", "s4", "s5", "t1", "t2", "t3", "t4", "t5", "t6", "BAD"],
    });
    let long_wallet = "w".repeat(32);
    let cases = [
        (
            suffix(&json!({"a": "app1", "s": ["svc1"]}), Version::V2, &facilitator(Some("facil"), None)),
            "a361616461707031617765666163696c617381647376633100180280218021802180218021802180218021",
        ),
        (
            suffix(&long, Version::V2, &facilitator(Some(&long_wallet), Some("facsvc"))),
            "a361617818616161616161616161616161616161616161616161616161617778207777777777777777777777777777777777\
             77777777777777777777777777777761738b6273316273326273336273346273356274316274326274336274346274356666\
             616373766300690280218021802180218021802180218021",
        ),
        (
            suffix(&json!({"a": "app1", "s": "svc1"}), Version::V1, &FacilitatorCodes::default()),
            "a1617381647376633100090280218021802180218021802180218021",
        ),
        (
            suffix(&json!({"a": "app1"}), Version::V2, &FacilitatorCodes::default()),
            "a16161646170703100080280218021802180218021802180218021",
        ),
    ];
    for (got, expected) in cases {
        assert_eq!(got, expected);
    }
}

#[test]
fn what_is_wrong_is_left_out_and_nobody_named_is_no_suffix() {
    let none = FacilitatorCodes::default();
    for info in [json!({}), json!({"a": "No", "s": [7, "NO", null]}), json!({"a": ["app"], "s": {}}), json!(null), json!(7)] {
        assert_eq!(suffix(&info, Version::V2, &none), "", "{info}");
    }
    assert_eq!(Attribution::of(&Extensions::default(), Version::V2, &none), Attribution::default());
}

#[test]
fn a_code_is_short_and_plain() {
    for good in ["a", "app_1", &"z".repeat(32)] {
        assert_eq!(code(good).as_str(), good);
    }
    for bad in ["", "App", "a-b", "a b", "é", "a\n", &"z".repeat(33)] {
        assert!(Code::new(bad).unwrap_err().message.contains("small letters"), "{bad:?}");
    }
}

#[test]
fn no_service_is_named_twice_and_each_party_has_its_own_room() {
    let info = json!({"s": ["x", "x", "y"]});
    let named = Attribution::of(&extensions(&info), Version::V2, &facilitator(None, Some("x")));
    assert_eq!(named.services, codes(&["x", "y"]));
    let many: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    let named = Attribution::of(&extensions(&json!({"s": many})), Version::V2, &facilitator(None, Some("mine")));
    assert_eq!((named.services.len(), named.services.last()), (MAX_CODES, Some(&code("mine"))));
}

#[test]
fn a_client_adds_its_codes_to_the_servers_and_the_echo_is_good() {
    let mut terms = Extensions::default();
    terms.set(KEY, &declaration(&code("app"), &codes(&["one", "two"])).unwrap()).unwrap();
    let mut payment = terms.clone();
    add(&mut payment, &codes(&["mine", "two", "mine"])).unwrap();
    let written: Value = payment.get(KEY, Reason::InvalidPayload).unwrap().unwrap();
    assert_eq!(written["info"], json!({"a": "app", "s": ["mine", "one", "two"]}));
    assert!(written["schema"].is_object());
    echo::check(&terms, &payment).unwrap();
    let mut unasked = Extensions::default();
    add(&mut unasked, &codes(&["mine"])).unwrap();
    assert_eq!(unasked.raw(KEY), Some(r#"{"info":{"s":["mine"]}}"#));
    echo::check(&Extensions::default(), &unasked).unwrap();
    let before = payment.raw(KEY).map(str::to_owned);
    add(&mut payment, &[]).unwrap();
    assert_eq!(payment.raw(KEY), before.as_deref());
}

#[test]
fn where_the_server_leaves_no_room_the_echo_is_still_good() {
    let many: Vec<String> = (0..8).map(|number| format!("s{number}")).collect();
    let terms = extensions(&json!({"a": "app", "s": many}));
    let mut payment = terms.clone();
    add(&mut payment, &codes(&["c1", "c2", "c3"])).unwrap();
    echo::check(&terms, &payment).unwrap();
    let named = Attribution::of(&payment, Version::V2, &FacilitatorCodes::default());
    assert_eq!((named.services.len(), &named.services[..2]), (MAX_ECHOED_CODES, &codes(&["c1", "c2"])[..]));
}

#[test]
fn too_many_codes_are_a_mistake_of_whoever_configures_them() {
    let six = codes(&["a", "b", "c", "d", "e", "f"]);
    assert!(declaration(&code("app"), &six).unwrap_err().message.contains("at most 5"));
    assert!(add(&mut Extensions::default(), &six).unwrap_err().message.contains("at most 5"));
    let alone = declaration(&code("app"), &[]).unwrap();
    assert_eq!(alone["info"], json!({"a": "app"}));
    assert_eq!(alone["schema"]["properties"]["s"]["maxItems"], json!(11));
}

#[test]
fn a_suffix_is_read_strictly() {
    let attribution = Attribution { app: Some(code("app1")), wallet: Some(code("facil")), services: codes(&["svc1"]) };
    let whole = [&[0xde, 0xad][..], &attribution.suffix()].concat();
    assert_eq!(Attribution::at_end_of(&whole), Some(attribution.clone()));
    assert_eq!(attribution.suffix().len(), 24 + TAIL_BYTES);
    for at in 2..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x80;
        assert_ne!(Attribution::at_end_of(&changed), Some(attribution.clone()), "byte {at}");
        assert_eq!(Attribution::at_end_of(&whole[..at]), None);
    }
    let with = |map: &[u8]| [map, &[0, u8::try_from(map.len()).unwrap(), SCHEMA_ID], &MARKER].concat();
    for map in [
        &b"\xa0"[..],
        b"\xa2\x61a\x61x\x61a\x61y",
        b"\xa2\x61w\x61x\x61a\x61y",
        b"\xa1\x61s\x80",
        b"\xa1\x61a\x78\x01x",
        b"\xa1\x61b\x61x",
        b"\xa1\x61a\x61x\x00",
    ] {
        assert_eq!(Attribution::at_end_of(&with(map)), None, "{map:?}");
    }
}

#[test]
fn the_longest_suffix_is_as_long_as_is_said() {
    let longest = |number: usize| code(&format!("{number:0>32}"));
    let services = (0..MAX_CODES).map(longest).collect();
    let attribution = Attribution { app: Some(longest(0)), wallet: Some(longest(0)), services };
    assert_eq!(attribution.suffix().len(), 469);
    assert_eq!(Attribution::at_end_of(&attribution.suffix()), Some(attribution));
}

proptest! {
    #[test]
    fn every_suffix_is_read_back(
        app in proptest::option::of("[a-z0-9_]{1,32}"),
        wallet in proptest::option::of("[a-z0-9_]{1,32}"),
        services in proptest::collection::vec("[a-z0-9_]{1,32}", 0..=11),
        data in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let read = |text: Option<String>| text.map(|text| code(&text));
        let services = services.iter().map(|text| code(text)).collect();
        let attribution = Attribution { app: read(app), wallet: read(wallet), services };
        let whole = [data, attribution.suffix()].concat();
        let expected = (!attribution.is_empty()).then_some(attribution);
        prop_assert_eq!(Attribution::at_end_of(&whole), expected);
    }

    #[test]
    fn no_data_makes_the_reader_panic(map in proptest::collection::vec(any::<u8>(), 0..60), length in 0..80_u8) {
        let _ = Attribution::at_end_of(&[&map[..], &[0, length, SCHEMA_ID], &MARKER].concat());
        let _ = Attribution::at_end_of(&map);
    }
}
