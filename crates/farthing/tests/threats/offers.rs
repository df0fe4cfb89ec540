//! What a payment says it pays for, tampered with: offers, versions, networks, resources; and offers that nobody should
//! verify a payment against.

use farthing_testkit::golden::{PAYER, SECOND};
use serde_json::{Value, json};

use crate::market::{Market, Tamper, asking, domain, sign_again};
use crate::payments::no_amounts;

/// The offer that a payment takes is not one that is made.
const NO_MATCH: &str = "No matching payment requirements";

/// A fault, how it is made, and status and reason that must be given for it.
type Row = (&'static str, Tamper, u16, &'static str);

#[tokio::test]
async fn an_offer_that_is_not_made_gets_a_fresh_challenge() {
    let rows: &[Row] = &[
        ("another scheme", |offer| offer["scheme"] = json!("upto"), 402, NO_MATCH),
        ("scheme in capitals", |offer| offer["scheme"] = json!("EXACT"), 402, NO_MATCH),
        ("an unheard-of scheme", |offer| offer["scheme"] = json!("x".repeat(1_000)), 402, NO_MATCH),
        ("no scheme", |offer| offer["scheme"] = json!(null), 400, "invalid_payload"),
        ("another network", |offer| offer["network"] = json!("eip155:8453"), 402, NO_MATCH),
        ("another family", |offer| offer["network"] = json!("solana:84532"), 402, NO_MATCH),
        ("a leading zero", |offer| offer["network"] = json!("eip155:084532"), 402, NO_MATCH),
        ("a pattern", |offer| offer["network"] = json!("eip155:*"), 402, "invalid_network"),
        ("a name of version 1", |offer| offer["network"] = json!("base-sepolia"), 402, "invalid_network"),
        ("no network", |offer| offer["network"] = json!(""), 402, "invalid_network"),
        ("a number as network", |offer| offer["network"] = json!(84_532), 400, "invalid_payload"),
        ("less", |offer| offer["amount"] = json!("9999"), 402, NO_MATCH),
        ("more", |offer| offer["amount"] = json!("10001"), 402, NO_MATCH),
        ("nothing", |offer| offer["amount"] = json!("0"), 402, NO_MATCH),
        ("another asset", |offer| offer["asset"] = json!(SECOND), 402, NO_MATCH),
        ("asset in small letters", |offer| in_small_letters(offer, "asset"), 402, NO_MATCH),
        ("no asset", |offer| offer["asset"] = json!(""), 400, "invalid_payload"),
        ("another recipient", |offer| offer["payTo"] = json!(PAYER), 402, NO_MATCH),
        ("recipient in small letters", |offer| in_small_letters(offer, "payTo"), 402, NO_MATCH),
        ("recipient with a space", |offer| offer["payTo"] = json!("0x 1"), 400, "invalid_payload"),
        ("more time", |offer| offer["maxTimeoutSeconds"] = json!(301), 402, NO_MATCH),
        ("time as text", |offer| offer["maxTimeoutSeconds"] = json!("300"), 402, NO_MATCH),
        ("time as a fraction", |offer| offer["maxTimeoutSeconds"] = json!(300.0), 402, NO_MATCH),
        ("half a second", |offer| offer["maxTimeoutSeconds"] = json!(0.5), 400, "invalid_payload"),
        ("no time", |offer| offer["maxTimeoutSeconds"] = json!(0), 400, "invalid_payload"),
        ("time before time", |offer| offer["maxTimeoutSeconds"] = json!(-300), 400, "invalid_payload"),
        ("another name", |offer| offer["extra"]["name"] = json!("USD Coin"), 402, NO_MATCH),
        ("another version", |offer| offer["extra"]["version"] = json!("1"), 402, NO_MATCH),
        ("version as a number", |offer| offer["extra"]["version"] = json!(2), 402, NO_MATCH),
        ("no extra", |offer| offer["extra"] = json!(null), 402, NO_MATCH),
        ("extra as text", |offer| offer["extra"] = json!("USDC"), 400, "invalid_payload"),
        ("a field of nobody's", |offer| offer["discount"] = json!(1), 402, NO_MATCH),
        ("nothing at all", |offer| *offer = json!({}), 400, "invalid_payload"),
        ("a list", |offer| *offer = json!([]), 400, "invalid_payload"),
        ("a text", |offer| *offer = json!("exact"), 400, "invalid_payload"),
        ("null", |offer| *offer = json!(null), 400, "invalid_payload"),
    ];
    let market = Market::open().await;
    let honest = market.pay("/report").await;
    for (name, tamper, status, reason) in rows {
        let mut payment = honest.clone();
        tamper(&mut payment["accepted"]);
        assert_ne!(payment, honest, "{name}");
        market.turns_away(name, &payment, *status, reason).await;
    }
    for field in ["scheme", "network", "amount", "asset", "payTo", "maxTimeoutSeconds"] {
        let mut payment = honest.clone();
        payment["accepted"].as_object_mut().unwrap().remove(field);
        market.turns_away(&format!("without {field}"), &payment, 400, "invalid_payload").await;
    }
    for form in no_amounts().into_iter().filter(|form| form.as_str().is_none_or(|text| text.len() < 100)) {
        let mut payment = honest.clone();
        payment["accepted"]["amount"] = form.clone();
        market.turns_away(&format!("amount {form}"), &payment, 400, "invalid_payload").await;
    }
    market.buy("/report", &honest).await.assert_delivered("after all that");
}

fn in_small_letters(offer: &mut Value, field: &str) {
    offer[field] = offer[field].as_str().unwrap().to_lowercase().into();
}

#[tokio::test]
async fn an_unknown_version_gets_a_fresh_challenge() {
    let market = Market::open().await;
    let honest = market.pay("/report").await;
    for version in
        [json!(0), json!(3), json!("2"), json!(null), json!(2.0), json!(-2), json!(true), json!([2]), json!(u64::MAX)]
    {
        let mut payment = honest.clone();
        payment["x402Version"] = version.clone();
        let name = format!("version {version}");
        market.turns_away(&name, &payment, 402, "invalid_x402_version").await;
        let mut request = asking(&payment, &honest["accepted"]);
        assert_eq!(market.refusal(&name, &request).await, (400, "invalid_x402_version".to_owned()));
        request["x402Version"] = version;
        assert_eq!(market.refusal(&name, &request).await, (400, "invalid_x402_version".to_owned()));
    }
    let mut payment = honest.clone();
    payment.as_object_mut().unwrap().remove("x402Version");
    market.turns_away("no version", &payment, 402, "invalid_x402_version").await;
    let request = asking(&payment, &honest["accepted"]);
    assert_eq!(market.refusal("no version", &request).await, (400, "invalid_x402_version".to_owned()));
    let mut request = asking(&honest, &honest["accepted"]);
    request["x402Version"] = json!(1);
    assert_eq!(market.refusal("two versions", &request).await, (400, "invalid_x402_version".to_owned()));
}

#[tokio::test]
async fn a_version_1_payment_for_what_is_not_offered_gets_a_fresh_challenge() {
    let market = Market::open().await;
    let honest = market.pay("/report").await;
    let rows = [
        ("a name of version 2", json!("exact"), json!("eip155:84532"), 402, "invalid_network"),
        ("an unknown name", json!("exact"), json!("bitcoin"), 402, "invalid_network"),
        ("no name", json!("exact"), json!(""), 402, "invalid_network"),
        ("another network", json!("exact"), json!("base"), 402, NO_MATCH),
        ("another scheme", json!("upto"), json!("base-sepolia"), 402, NO_MATCH),
        ("no scheme", json!(null), json!("base-sepolia"), 400, "invalid_payload"),
        ("no network", json!("exact"), json!(null), 400, "invalid_payload"),
        ("a number", json!("exact"), json!(84_532), 400, "invalid_payload"),
    ];
    for (name, scheme, network, status, reason) in rows {
        let payment = json!({"x402Version": 1, "scheme": scheme, "network": network, "payload": honest["payload"]});
        market.turns_away(name, &payment, status, reason).await;
    }
}

#[tokio::test]
async fn a_payment_for_another_resource_buys_nothing() {
    let market = Market::open().await;
    let honest = market.pay("/report").await;
    let url = market.at("/report");
    let port = url.replace("/report", "0/report");
    let rows = [
        ("another page", market.at("/other"), 402, "resource_mismatch"),
        ("a query", market.at("/report?page=2"), 402, "resource_mismatch"),
        ("a slash", market.at("/report/"), 402, "resource_mismatch"),
        ("another host", "http://evil.example/report".to_owned(), 402, "resource_mismatch"),
        ("a host as user", url.replace("http://", "http://evil.example@"), 402, "resource_mismatch"),
        ("another port", port, 402, "resource_mismatch"),
        ("a tool", "mcp://tool/report".to_owned(), 402, "resource_mismatch"),
        ("no URL", "report".to_owned(), 402, "resource_mismatch"),
        ("nothing", String::new(), 402, "resource_mismatch"),
    ];
    for (name, resource, status, reason) in rows {
        let mut payment = honest.clone();
        payment["resource"]["url"] = json!(resource);
        market.turns_away(name, &payment, status, reason).await;
    }
    let mut payment = honest.clone();
    payment["resource"] = json!("text");
    market.turns_away("a text", &payment, 400, "invalid_payload").await;
    // The other page has the same price and the same offer.
    market.turns_away("a payment for the other page", &market.pay("/other").await, 402, "resource_mismatch").await;

    // Whoever leaves the resource out has one delivery, of whatever page.
    let before = market.worth().await;
    let mut anywhere = honest.clone();
    anywhere.as_object_mut().unwrap().remove("resource");
    market.buy("/other", &anywhere).await.assert_delivered("anywhere");
    for path in ["/report", "/other"] {
        let answer = market.buy(path, &anywhere).await;
        assert_eq!((answer.status, answer.error().as_str()), (402, "payment_already_used"), "{path}: {}", answer.body);
    }
    market.turns_away("the same with its resource", &honest, 402, "payment_already_used").await;
    market.assert_sold(1, &before).await;
}

#[tokio::test]
async fn requirements_that_cannot_be_met_are_refused() {
    const REQUIREMENTS: &str = "invalid_payment_requirements";
    const NOBODY: &str = "0x0000000000000000000000000000000000000000";
    let rows: &[Row] = &[
        ("another scheme", |offer| offer["scheme"] = json!("upto"), 200, "invalid_payload"),
        ("an unheard-of scheme", |offer| offer["scheme"] = json!("barter"), 200, "unsupported_scheme"),
        ("no scheme", |offer| offer["scheme"] = json!(null), 400, REQUIREMENTS),
        ("a network that is not served", |offer| offer["network"] = json!("eip155:8453"), 200, "invalid_network"),
        ("another family", |offer| offer["network"] = json!("solana:84532"), 200, "invalid_network"),
        ("a leading zero", |offer| offer["network"] = json!("eip155:084532"), 200, "invalid_network"),
        ("a pattern", |offer| offer["network"] = json!("eip155:*"), 200, "invalid_network"),
        ("a name of version 1", |offer| offer["network"] = json!("base-sepolia"), 200, "invalid_network"),
        ("an unknown asset", |offer| offer["asset"] = json!(SECOND), 200, REQUIREMENTS),
        (
            "USDC of another network",
            |offer| offer["asset"] = json!("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"),
            200,
            REQUIREMENTS,
        ),
        ("no address", |offer| offer["asset"] = json!("USDC"), 200, REQUIREMENTS),
        ("nobody to pay", |offer| offer["payTo"] = json!(NOBODY), 200, REQUIREMENTS),
        ("somebody without address", |offer| offer["payTo"] = json!("vitalik.eth"), 200, REQUIREMENTS),
        ("somebody else", |offer| offer["payTo"] = json!(SECOND), 200, "invalid_exact_evm_recipient_mismatch"),
        (
            "another amount",
            |offer| offer["amount"] = json!("9999"),
            200,
            "invalid_exact_evm_payload_authorization_value_mismatch",
        ),
        ("no time", |offer| offer["maxTimeoutSeconds"] = json!(0), 400, REQUIREMENTS),
        (
            "less time",
            |offer| offer["maxTimeoutSeconds"] = json!(60),
            200,
            "invalid_exact_evm_payload_authorization_valid_before",
        ),
        ("no domain", |offer| offer["extra"] = json!({}), 200, "invalid_exact_evm_missing_eip712_domain"),
        ("no name", |offer| offer["extra"]["name"] = json!(null), 200, "invalid_exact_evm_missing_eip712_domain"),
        ("another name", |offer| offer["extra"]["name"] = json!("USD Coin"), 200, "invalid_exact_evm_token_name_mismatch"),
        ("another version", |offer| offer["extra"]["version"] = json!("1"), 200, "invalid_exact_evm_token_version_mismatch"),
        ("version as a number", |offer| offer["extra"]["version"] = json!(2), 200, REQUIREMENTS),
        ("by Permit2", |offer| offer["extra"]["assetTransferMethod"] = json!("permit2"), 200, "unsupported_payload_type"),
        (
            "by magic",
            |offer| offer["extra"]["assetTransferMethod"] = json!("default"),
            200,
            "unsupported_asset_transfer_method",
        ),
        ("by escrow", |offer| offer["extra"]["paymentFlow"] = json!("escrow"), 200, "unsupported_payment_flow"),
        ("an unknown flow", |offer| offer["extra"]["paymentFlow"] = json!("later"), 200, "unsupported_payment_flow"),
        ("nothing at all", |offer| *offer = json!({}), 400, REQUIREMENTS),
        ("a list", |offer| *offer = json!([]), 400, REQUIREMENTS),
        ("null", |offer| *offer = json!(null), 400, REQUIREMENTS),
    ];
    let market = Market::open().await;
    let honest = market.pay("/report").await;
    for (name, tamper, status, reason) in rows {
        let mut offer = honest["accepted"].clone();
        tamper(&mut offer);
        assert_eq!(market.refusal(name, &asking(&honest, &offer)).await, (*status, (*reason).to_owned()), "{name}");
        // The payment says the same of itself: nothing that it says makes a bad offer good.
        let mut payment = honest.clone();
        payment["accepted"] = offer.clone();
        let (_, reason) = market.refusal(name, &asking(&payment, &offer)).await;
        assert!(!reason.is_empty(), "{name}");
    }
    for form in no_amounts().into_iter().filter(|form| form.as_str().is_none_or(|text| text.len() < 10_000)) {
        let mut offer = honest["accepted"].clone();
        offer["amount"] = form.clone();
        let (_, reason) = market.refusal(&format!("amount {form}"), &asking(&honest, &offer)).await;
        assert_eq!(reason, REQUIREMENTS, "{form}");
    }
}

#[tokio::test]
async fn a_free_payment_is_none() {
    let market = Market::open().await;
    let mut payment = market.pay("/report").await;
    payment["payload"]["authorization"]["value"] = json!("0");
    payment["accepted"]["amount"] = json!("0");
    sign_again(&mut payment, &market.payer, domain());
    let request = asking(&payment, &payment["accepted"].clone());
    assert_eq!(market.refusal("nothing", &request).await, (200, "invalid_payment_requirements".to_owned()));
    market.turns_away("nothing", &payment, 402, NO_MATCH).await;
}

#[tokio::test]
async fn a_payment_that_says_something_else_than_its_requirements_is_refused() {
    let market = Market::open().await;
    let honest = market.pay("/report").await;
    let rows =
        [("scheme", "upto", "invalid_exact_evm_scheme"), ("network", "eip155:8453", "invalid_exact_evm_network_mismatch")];
    for (field, value, reason) in rows {
        let mut payment = honest.clone();
        payment["accepted"][field] = json!(value);
        let request = asking(&payment, &honest["accepted"]);
        assert_eq!(market.refusal(field, &request).await, (200, reason.to_owned()), "{field}");
    }
    let mut payment = honest.clone();
    payment["accepted"]["network"] = json!("base-sepolia");
    let request = asking(&payment, &honest["accepted"]);
    assert_eq!(market.refusal("a name of version 1", &request).await, (200, "invalid_network".to_owned()));
}
