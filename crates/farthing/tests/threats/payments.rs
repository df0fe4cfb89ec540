//! What the payer signed, tampered with: amounts, windows, recipients, signatures.

use alloy_primitives::hex;
use farthing::evm::U256;
use farthing::evm::transfer::eip3009::domain_separator;
use farthing_devnet::DevAccount;
use farthing_testkit::golden::{CHAIN_ID, SECOND};
use serde_json::{Value, json};

use crate::market::{Market, PURSE_ATOMIC, Tamper, asking, domain, now, sign_again, usdc};

/// A fault, how it is made, and the reason that must be given for it.
type Row = (&'static str, Tamper, &'static str);

/// The order of the curve.
const ORDER: U256 = alloy_primitives::uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);

/// What is no amount, in the places where a decimal string is expected.
pub fn no_amounts() -> Vec<Value> {
    let too_large = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
    let texts = [
        "0x2710",
        "+10000",
        "-10000",
        " 10000",
        "10000 ",
        "10 000",
        "10000.0",
        "10000.",
        ".1",
        "1e4",
        "010000",
        "00",
        "10_000",
        "10,000",
        "",
        " ",
        "\n",
        "NaN",
        "Infinity",
        "null",
        "１００００",
        too_large,
    ];
    let mut forms: Vec<Value> = texts.into_iter().map(Value::from).collect();
    forms.extend([
        json!(10_000),
        json!(1e4),
        json!(-1),
        json!(null),
        json!(true),
        json!(["10000"]),
        json!({"amount": "10000"}),
    ]);
    forms.push("9".repeat(20_000).into());
    forms
}

#[tokio::test]
async fn an_amount_is_a_decimal_string_and_nothing_else() {
    let market = Market::open().await;
    for form in no_amounts() {
        for field in ["value", "validAfter", "validBefore"] {
            let name: String = format!("{field}: {form}").chars().take(60).collect();
            let tamper = |payment: &mut Value| payment["payload"]["authorization"][field] = form.clone();
            // A payload of 20,000 digits is longer than any header without extensions.
            if form.as_str().is_some_and(|text| text.len() > 10_000) {
                let mut payment = market.pay("/report").await;
                tamper(&mut payment);
                market.turns_away(&name, &payment, 400, "invalid_payload").await;
            } else {
                market.check(&name, tamper, "invalid_payload").await;
            }
        }
    }
}

#[tokio::test]
async fn another_amount_or_recipient_is_refused_however_well_it_is_signed() {
    const VALUE: &str = "invalid_exact_evm_payload_authorization_value_mismatch";
    const RECIPIENT: &str = "invalid_exact_evm_recipient_mismatch";
    let market = Market::open().await;
    let max = U256::MAX.to_string();
    let rows: [(&str, &str, &str, &str); 8] = [
        ("less", "value", "9999", VALUE),
        ("more", "value", "10001", VALUE),
        ("nothing", "value", "0", VALUE),
        ("a hundredfold", "value", "1000000", VALUE),
        ("everything there is", "value", &max, VALUE),
        ("to somebody else", "to", SECOND, RECIPIENT),
        ("to nobody", "to", "0x0000000000000000000000000000000000000000", RECIPIENT),
        ("to the asset", "to", farthing_testkit::golden::ASSET, RECIPIENT),
    ];
    for (name, field, value, reason) in rows {
        let payer = market.payer;
        let tamper = |payment: &mut Value| {
            payment["payload"]["authorization"][field] = json!(value);
            sign_again(payment, &payer, domain());
        };
        market.check(name, tamper, reason).await;
    }
}

#[tokio::test]
async fn an_authorization_outside_its_window_is_refused() {
    const BEFORE: &str = "invalid_exact_evm_payload_authorization_valid_before";
    const AFTER: &str = "invalid_exact_evm_payload_authorization_valid_after";
    let market = Market::open().await;
    let rows = [
        ("expired long ago", "validBefore", 1, BEFORE),
        ("never valid", "validBefore", 0, BEFORE),
        ("expired just now", "validBefore", now() - 1, BEFORE),
        ("no time to settle", "validBefore", now() + 4, BEFORE),
        ("longer than offered", "validBefore", now() + 300 + 3_600, BEFORE),
        ("for ever", "validBefore", u64::MAX, BEFORE),
        ("not yet valid", "validAfter", now() + 120, AFTER),
        ("never to be valid", "validAfter", u64::MAX, AFTER),
    ];
    for (name, field, moment, reason) in rows {
        let payer = market.payer;
        let tamper = |payment: &mut Value| {
            payment["payload"]["authorization"][field] = json!(moment.to_string());
            sign_again(payment, &payer, domain());
        };
        market.check(name, tamper, reason).await;
    }
}

fn bytes(payment: &Value) -> Vec<u8> {
    hex::decode(payment["payload"]["signature"].as_str().unwrap()).unwrap()
}

fn rewrite(payment: &mut Value, change: impl FnOnce(&mut Vec<u8>)) {
    let mut signature = bytes(payment);
    change(&mut signature);
    payment["payload"]["signature"] = hex::encode_prefixed(signature).into();
}

#[tokio::test]
async fn a_signature_in_any_other_form_is_refused() {
    const SIGNATURE: &str = "invalid_exact_evm_signature";
    const UNREADABLE: &str = "invalid_exact_evm_failed_to_parse_signature";
    const PAYLOAD: &str = "invalid_payload";
    let rows: &[Row] = &[
        ("64 bytes", |payment| rewrite(payment, |signature| signature.truncate(64)), SIGNATURE),
        ("66 bytes", |payment| rewrite(payment, |signature| signature.push(0)), SIGNATURE),
        ("no bytes", |payment| rewrite(payment, Vec::clear), SIGNATURE),
        ("1,000 bytes", |payment| rewrite(payment, |signature| signature.resize(1_000, 1)), SIGNATURE),
        ("high s", |payment| rewrite(payment, |signature| mirror(signature)), SIGNATURE),
        ("v 2", |payment| rewrite(payment, |signature| signature[64] = 2), SIGNATURE),
        ("v 26", |payment| rewrite(payment, |signature| signature[64] = 26), SIGNATURE),
        ("v 29", |payment| rewrite(payment, |signature| signature[64] = 29), SIGNATURE),
        ("the other v", |payment| rewrite(payment, |signature| signature[64] = other(signature[64])), SIGNATURE),
        ("zero r", |payment| rewrite(payment, |signature| signature[..32].fill(0)), SIGNATURE),
        ("zero s", |payment| rewrite(payment, |signature| signature[32..64].fill(0)), SIGNATURE),
        ("all zero", |payment| rewrite(payment, |signature| signature.fill(0)), SIGNATURE),
        ("r of no point", |payment| rewrite(payment, |signature| signature[..32].fill(0xff)), SIGNATURE),
        ("one bit", |payment| rewrite(payment, |signature| signature[5] ^= 1), SIGNATURE),
        ("ERC-6492", |payment| rewrite(payment, |signature| signature.extend([0x64, 0x92].repeat(16))), SIGNATURE),
        ("no prefix", |payment| without_prefix(payment), UNREADABLE),
        ("odd digits", |payment| payment["payload"]["signature"] = json!("0x123"), UNREADABLE),
        ("no hexadecimal", |payment| payment["payload"]["signature"] = json!("0xzz"), UNREADABLE),
        ("empty", |payment| payment["payload"]["signature"] = json!(""), UNREADABLE),
        ("null", |payment| payment["payload"]["signature"] = json!(null), PAYLOAD),
        ("a number", |payment| payment["payload"]["signature"] = json!(1), PAYLOAD),
        ("parts", |payment| payment["payload"]["signature"] = json!({"r": "0x1", "s": "0x1", "v": 27}), PAYLOAD),
        ("none", |payment| drop(payment["payload"].as_object_mut().unwrap().remove("signature")), PAYLOAD),
    ];
    let market = Market::open().await;
    for (name, tamper, reason) in rows {
        market.check(name, tamper, reason).await;
    }
}

/// The same signature with its other s: valid on the curve, and malleable.
fn mirror(signature: &mut [u8]) {
    let s = ORDER - U256::from_be_slice(&signature[32..64]);
    signature[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    signature[64] = other(signature[64]);
}

/// The other v.
fn other(v: u8) -> u8 {
    if v == 27 { 28 } else { 27 }
}

fn without_prefix(payment: &mut Value) {
    payment["payload"]["signature"] = hex::encode(bytes(payment)).into();
}

#[tokio::test]
async fn a_signature_of_another_key_or_domain_is_refused() {
    let market = Market::open().await;
    let (payer, other): (DevAccount, DevAccount) = (market.payer, market.stack.devnet().accounts()[2]);
    market.stack.devnet().give_usdc(other.address, U256::from(PURSE_ATOMIC)).unwrap();
    let rows = [
        ("another key", other, domain()),
        ("another name", payer, domain_separator("USD Coin", "2", CHAIN_ID, usdc())),
        ("another version", payer, domain_separator("USDC", "1", CHAIN_ID, usdc())),
        ("another chain", payer, domain_separator("USDC", "2", 8_453, usdc())),
        ("another contract", payer, domain_separator("USDC", "2", CHAIN_ID, payer.address)),
    ];
    for (name, account, domain) in rows {
        market.check(name, |payment| sign_again(payment, &account, domain), "invalid_exact_evm_signature").await;
    }
    let from_other = |payment: &mut Value| payment["payload"]["authorization"]["from"] = json!(other.address);
    market.check("somebody else's money", from_other, "invalid_exact_evm_signature").await;
    let nonce = |payment: &mut Value| payment["payload"]["authorization"]["nonce"] = json!(format!("0x{}", "22".repeat(32)));
    market.check("another nonce", nonce, "invalid_exact_evm_signature").await;
}

#[tokio::test]
async fn a_payload_that_is_no_authorization_is_refused() {
    let rows: &[Row] = &[
        ("empty", |payment| payment["payload"] = json!({}), "invalid_payload"),
        ("no authorization", |payment| payment["payload"]["authorization"] = json!(null), "invalid_payload"),
        ("a list", |payment| payment["payload"]["authorization"] = json!([]), "invalid_payload"),
        ("short nonce", |payment| payment["payload"]["authorization"]["nonce"] = json!("0x11"), "invalid_payload"),
        (
            "long nonce",
            |payment| payment["payload"]["authorization"]["nonce"] = json!(format!("0x{}", "1".repeat(66))),
            "invalid_payload",
        ),
        ("a number as nonce", |payment| payment["payload"]["authorization"]["nonce"] = json!(1), "invalid_payload"),
        ("no address", |payment| payment["payload"]["authorization"]["from"] = json!("vitalik.eth"), "invalid_payload"),
        ("a short address", |payment| payment["payload"]["authorization"]["to"] = json!("0x1234"), "invalid_payload"),
        ("0X", |payment| upper_prefix(payment), "invalid_payload"),
        ("permit2", |payment| payment["payload"] = json!({"signature": "0x", "permit2Authorization": {}}), "invalid_payload"),
        ("both", |payment| payment["payload"]["permit2Authorization"] = json!({}), "invalid_payload"),
    ];
    let market = Market::open().await;
    for (name, tamper, reason) in rows {
        market.check(name, tamper, reason).await;
    }
    for field in ["from", "to", "value", "validAfter", "validBefore", "nonce"] {
        let tamper = |payment: &mut Value| drop(payment["payload"]["authorization"].as_object_mut().unwrap().remove(field));
        market.check(&format!("no {field}"), tamper, "invalid_payload").await;
    }
}

fn upper_prefix(payment: &mut Value) {
    let from = payment["payload"]["authorization"]["from"].as_str().unwrap().replacen("0x", "0X", 1);
    payment["payload"]["authorization"]["from"] = from.into();
}

#[tokio::test]
async fn the_same_payment_in_another_spelling_is_good_once() {
    let spellings: &[(&str, Tamper)] = &[
        ("v 0 or 1", |payment| rewrite(payment, |signature| signature[64] -= 27)),
        ("digits in capitals", |payment| {
            let signature = payment["payload"]["signature"].as_str().unwrap()[2..].to_uppercase();
            payment["payload"]["signature"] = format!("0x{signature}").into();
        }),
        ("addresses in small letters", |payment| {
            for field in ["from", "to"] {
                let text = payment["payload"]["authorization"][field].as_str().unwrap().to_lowercase();
                payment["payload"]["authorization"][field] = text.into();
            }
        }),
        ("more keys", |payment| {
            payment["memo"] = json!("for you");
            payment["payload"]["memo"] = json!(["for", "you"]);
            payment["payload"]["authorization"]["memo"] = json!({"for": "you"});
            payment["accepted"]["extra"]["memo"] = json!("for you");
        }),
        // Clients may add to `extra`, and nothing that they add counts: the seller's own offer is what is settled.
        ("terms of its own", |payment| {
            payment["accepted"]["extra"]["paymentFlow"] = json!("upfront");
            payment["accepted"]["extra"]["assetTransferMethod"] = json!("permit2");
        }),
    ];
    let market = Market::open().await;
    for (name, respell) in spellings {
        let before = market.worth().await;
        let honest = market.pay("/report").await;
        let mut payment = honest.clone();
        respell(&mut payment);
        assert_ne!(payment, honest, "{name}");
        market.buy("/report", &payment).await.assert_delivered(name);
        for copy in [&payment, &honest] {
            let answer = market.buy("/report", copy).await;
            assert_eq!((answer.status, answer.error().as_str()), (402, "payment_already_used"), "{name}: {}", answer.body);
            let (_, reason) = market.refusal(name, &asking(copy, &honest["accepted"])).await;
            assert_eq!(reason, "payment_already_used", "{name}");
        }
        market.assert_sold(1, &before).await;
    }
}
