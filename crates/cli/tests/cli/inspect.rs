//! `farthing inspect`: looks, and pays nothing.

use farthing::evm::U256;
use serde_json::json;

use crate::market::{Market, SELLER};
use crate::run::farthing;

#[test]
fn without_a_wallet_the_offers_are_held_against_the_limits_and_it_says_so() {
    let market = Market::open();
    let ended = farthing(["inspect", &market.at("/report")]).run().with_code(0);
    assert_eq!(
        ended.stdout.lines().collect::<Vec<_>>(),
        [
            &format!("{}  402", market.at("/report")),
            "  ✓ 1. 0.01 USDC on eip155:84532 by exact",
            &format!("       to {SELLER}"),
            "would pay offer 1",
            "no wallet: this is what the limits allow; no balance was asked",
        ]
    );
    let ended = farthing(["inspect", &market.at("/archive")]).run().with_code(0);
    assert!(ended.stdout.contains("✗ 1. 25 USDC"), "{}", ended.stdout);
    assert!(ended.stdout.contains("over the limit of $1 per payment\nwould pay none of them\n"), "{}", ended.stdout);
    assert_eq!(market.earned(), U256::ZERO);
}

#[test]
fn with_a_wallet_its_balance_counts_too() {
    let market = Market::open();
    let (node, archive) = (market.node(), market.at("/archive"));
    let inspect = |max| farthing(["inspect", "--max-amount", max, "--rpc", &node, &archive, "--json"]).with_wallet().run();
    let terms = inspect("30").with_code(0).stdout_json();
    assert_eq!((&terms["wouldPay"], &terms["offers"][0]["held"]), (&json!(1), &json!("100000000")));
    assert_eq!(terms["wallet"], "0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
    let poor = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";
    let ended = farthing(["inspect", "--rpc", &node, &market.at("/report")]).env("EVM_PRIVATE_KEY", poor).run().with_code(0);
    assert!(ended.stdout.contains("the wallet holds 0 USDC there") && !ended.stdout.contains("no wallet"), "{}", ended.stdout);
}

#[test]
fn terms_for_programs_are_one_object_on_stdout() {
    let market = Market::open();
    let terms = farthing(["inspect", "--json", &market.at("/report")]).run().with_code(0).stdout_json();
    assert_eq!((&terms["status"], &terms["x402Version"], &terms["wallet"]), (&json!(402), &json!(2), &json!(null)));
    assert_eq!((&terms["offers"][0]["price"], &terms["offers"][0]["isPayable"]), (&json!("0.01 USDC"), &json!(true)));
}

#[test]
fn what_is_free_is_said_to_be_free() {
    let market = Market::open();
    let ended = farthing(["inspect", &market.at("/free")]).run().with_code(0);
    assert_eq!(ended.stdout, format!("{}  200\nthe server asks for no payment\n", market.at("/free")));
}

#[test]
fn a_server_that_is_not_there_ends_with_1() {
    let ended = farthing(["inspect", "http://127.0.0.1:1/"]).run().with_code(1);
    assert!(ended.stderr.contains("could not be asked"), "{}", ended.stderr);
    let facts = farthing(["inspect", "--json", "http://127.0.0.1:1/"]).run().with_code(1).stderr_json();
    assert_eq!(facts["error"], "failed");
    farthing(["inspect", "example.com"]).run().with_code(2);
}
