//! Whom a payment went through stands behind the data of its transaction, and changes nothing else.

use std::time::Duration;

use alloy_sol_types::SolCall;
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::extension::builder_code::{Attribution, Code, FacilitatorCodes, KEY};
use farthing_core::scheme::Outcome;
use farthing_core::wire::Extensions;
use farthing_devnet::Mining;
use farthing_evm::abi::Multicall3;
use farthing_evm::transfer::permit2::Authorization;
use farthing_evm::{Bytes, U256};
use farthing_testkit::golden;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::live::{STRANGER_KEY, send_as};
use crate::market::{Market, market, market_with, offer_in, pay_by, upto_offer};
use crate::support::{RELAYER_KEY, offer, usdc};

fn code(text: &str) -> Code {
    Code::new(text).unwrap()
}

fn ours() -> FacilitatorCodes {
    FacilitatorCodes { wallet: Some(code("our_wallet")), service: Some(code("our_service")) }
}

fn attribution(app: Option<&str>, services: &[&str]) -> Attribution {
    let services = services.iter().map(|text| code(text)).collect();
    Attribution { app: app.map(code), wallet: Some(code("our_wallet")), services }
}

/// The request, with what its payer says it went through.
fn through(mut request: Value, app: &str, services: &[&str]) -> Value {
    request["paymentPayload"]["extensions"][KEY] = json!({"info": {"a": app, "s": services}});
    request
}

async fn eip3009(market: &Market) -> Value {
    pay_by(&market.wallet(golden::PAYER_KEY), &offer(), &Extensions::default()).await
}

async fn permit2(market: &Market, amount: u64) -> Value {
    let mut offer = offer_in(usdc());
    offer["amount"] = json!(amount.to_string());
    pay_by(&market.wallet(golden::PAYER_KEY), &offer, &Extensions::default()).await
}

async fn upto(market: &Market) -> Value {
    let mut request = pay_by(&market.upto_wallet(), &upto_offer(), &Extensions::default()).await;
    request["paymentRequirements"]["amount"] = json!("4000");
    request
}

#[tokio::test]
async fn codes_stand_behind_the_data_and_the_payment_is_known_by_the_chain_all_the_same() {
    let market = market(|_| {}).await.naming(&ours());
    let requests = [eip3009(&market).await, permit2(&market, 10_000).await, upto(&market).await];
    for request in requests {
        let before = market.received();
        let request = through(request, "shop", &["service_one", "Not A Code"]);
        let settlement = market.settle(&request).await.unwrap();
        assert_eq!(market.received() - before, settlement.amount.units());
        let input = market.input_of(&settlement.transaction).await;
        let expected = attribution(Some("shop"), &["service_one", "our_service"]);
        assert_eq!(Attribution::at_end_of(&input), Some(expected));
        assert_eq!(market.outcome(&request).await, Outcome::Settled(settlement), "{request}");
    }
}

#[tokio::test]
async fn a_payment_of_version_1_names_no_app() {
    let market = market(|_| {}).await.naming(&ours());
    let request = through(eip3009(&market).await, "shop", &["service_one"]);
    let (payment, offer) = (&request["paymentPayload"], &request["paymentRequirements"]);
    let old = json!({
        "x402Version": 1,
        "paymentPayload": {
            "x402Version": 1, "scheme": "exact", "network": "base-sepolia",
            "payload": payment["payload"], "extensions": payment["extensions"],
        },
        "paymentRequirements": {
            "scheme": "exact", "network": "base-sepolia", "maxAmountRequired": offer["amount"], "payTo": offer["payTo"],
            "resource": "https://api.example.com/report", "description": "", "mimeType": "", "maxTimeoutSeconds": 300,
            "asset": offer["asset"], "extra": offer["extra"], "outputSchema": null,
        },
    });
    let settlement = market.settle(&old).await.unwrap();
    let input = market.input_of(&settlement.transaction).await;
    assert_eq!(Attribution::at_end_of(&input), Some(attribution(None, &["service_one", "our_service"])));
}

#[tokio::test]
async fn in_a_batch_each_call_keeps_its_codes_and_the_whole_names_whom_all_name() {
    let market = market_with(Mining::Interval(Duration::from_millis(300)), &[RELAYER_KEY], |_| {}).await.naming(&ours());
    for method in ["eip3009", "permit2"] {
        let mut requests = Vec::new();
        for (number, app) in (0..8_u64).zip(["shop", "mall"].into_iter().cycle()) {
            // Alike payments by Permit2 travel apart.
            let request = if method == "eip3009" { eip3009(&market).await } else { permit2(&market, 1_000 + number).await };
            requests.push(through(request, app, &["service_one"]));
        }
        let settled = join_all(requests.iter().map(|request| market.settle(request))).await;
        let mut batches = 0;
        for (request, settlement) in requests.iter().zip(settled) {
            let settlement = settlement.unwrap();
            let input = market.input_of(&settlement.transaction).await;
            assert_eq!(market.outcome(request).await, Outcome::Settled(settlement), "{method}");
            let app = request["paymentPayload"]["extensions"][KEY]["info"]["a"].as_str().unwrap();
            let own = attribution(Some(app), &["service_one", "our_service"]);
            let Ok(batch) = Multicall3::aggregate3Call::abi_decode(&input) else {
                assert_eq!(Attribution::at_end_of(&input), Some(own));
                continue;
            };
            batches += 1;
            let named: Vec<Attribution> =
                batch.calls.iter().map(|call| Attribution::at_end_of(&call.callData).unwrap()).collect();
            assert!(named.contains(&own));
            let is_one_app = named.iter().all(|other| other.app == own.app);
            let app = is_one_app.then_some(app);
            assert_eq!(Attribution::at_end_of(&input), Some(attribution(app, &["service_one", "our_service"])));
        }
        assert!(batches > 1, "nothing by {method} was sent together");
    }
}

#[tokio::test]
async fn a_payment_that_a_stranger_carries_out_under_codes_of_its_own_is_found() {
    let market = market(|_| {}).await;
    let request = market.cent().await;
    let payload = &request["paymentPayload"]["payload"];
    let authorization: Authorization = serde_json::from_value(payload["permit2Authorization"].clone()).unwrap();
    let signature: Bytes = payload["signature"].as_str().unwrap().parse().unwrap();
    let mut data = authorization.calldata(authorization.permitted.amount, &signature, None);
    data.extend(attribution(Some("theirs"), &["another"]).suffix());
    let hash = send_as(&market.devnet, STRANGER_KEY, authorization.spender, data).await;
    let (record, refusal) = (market.read(&request).record, market.refusal(&request).await);
    let found = AnyFacilitatorScheme::moved_already(&market.exact, &record, &refusal).await.unwrap().unwrap();
    assert_eq!((found.settlement.transaction.0, found.settlement.amount), (hash.to_string(), record.amount));
}

#[tokio::test]
async fn without_being_told_to_a_facilitator_writes_no_codes_and_says_so() {
    let market = market(|_| {}).await;
    let settlement = market.settle(&through(eip3009(&market).await, "shop", &["service_one"])).await.unwrap();
    assert_eq!(Attribution::at_end_of(&market.input_of(&settlement.transaction).await), None);
    assert_eq!(market.exact.extensions(), ["eip2612GasSponsoring"]);
    // Told to, but with nothing to say.
    let market = market.naming(&FacilitatorCodes::default());
    let settlement = market.settle(&eip3009(&market).await).await.unwrap();
    assert_eq!(Attribution::at_end_of(&market.input_of(&settlement.transaction).await), None);
    assert_eq!(market.exact.extensions(), ["eip2612GasSponsoring", "builder-code"]);
    assert_eq!(market.upto.extensions(), market.exact.extensions());
    assert_eq!(market.received(), U256::from(20_000));
}

#[tokio::test]
async fn what_is_sponsored_is_what_is_listed() {
    for (permits, approvals, listed) in [
        (false, false, &[][..]),
        (false, true, &["erc20ApprovalGasSponsoring"]),
        (true, true, &["eip2612GasSponsoring", "erc20ApprovalGasSponsoring"]),
    ] {
        let market = market(|config| (config.sponsor.permits, config.sponsor.approvals) = (permits, approvals)).await;
        assert_eq!(market.exact.extensions(), listed);
    }
}

#[tokio::test]
async fn codes_count_towards_the_gas_that_a_payment_may_use() {
    // As learnt from a payment without codes; the next one has the longest there can be.
    let longest: Vec<String> = (0..10).map(|number| format!("{number}{}", "x".repeat(31))).collect();
    let longest: Vec<&str> = longest.iter().map(String::as_str).collect();
    let plain = market(|_| {}).await;
    let settlement = plain.settle(&eip3009(&plain).await).await.unwrap();
    let used = plain.gas_used(&settlement.transaction).await;
    let market = market(|config| config.gas.max_units = used + 3_000).await.naming(&ours());
    market.verify(&eip3009(&market).await).await.unwrap();
    let request = through(eip3009(&market).await, "shop", &longest);
    let error = market.verify(&request).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("gas.max_units allows"), "{cause}");
}
