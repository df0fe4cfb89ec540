//! `farthing facilitator check`: what it finds, and its exit code.

use farthing::evm::U256;
use serde_json::{Value, json};

use crate::chain::Chain;
use crate::market::NETWORK;
use crate::operator::{Operator, config, network};
use crate::run::{Ended, OPERATOR_KEY};

const ACCOUNT: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

/// What the check finds with exit code 1.
fn faults(ended: Ended) -> Value {
    let report = ended.with_code(1).stdout_json();
    assert_eq!(report["isGood"], false);
    report
}

#[test]
fn what_is_as_it_must_be_is_shown_and_ends_with_0() {
    let chain = Chain::open();
    let operator = Operator::new("check", &config(NETWORK, &chain.rpc_url()));
    let ended = operator.check().run().with_code(0);
    assert_eq!(ended.stderr, "");
    for part in [
        "facilitator  127.0.0.1:0, serves everybody who reaches it",
        "farthing.db  not there yet; the first start makes it",
        "✓ endpoint 0                                  chain 84532, height ",
        &format!("✓ {ACCOUNT}  holds "),
        "1 confirmation; the gas of one payment costs at most 0.25 of the network's coin",
        "takes USDC 0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "all is as it must be",
    ] {
        assert!(ended.stdout.contains(part), "{part} is not in {}", ended.stdout);
    }
    assert!(!ended.stdout.contains(['✗', '\x1b']), "{}", ended.stdout);
    let running = operator.start();
    let report = operator.check().arguments(["--json"]).run().with_code(0).stdout_json();
    assert_eq!((&report["isGood"], &report["store"]["found"]), (&json!(true), &json!("can be read")));
    assert_eq!(report["networks"][0]["signers"][0]["what"], ACCOUNT);
    assert_eq!(report["networks"][0]["maxFeeGwei"], "250000000");
    running.service.end("TERM").with_code(0);
}

#[test]
fn nodes_that_are_down_or_of_another_chain_are_named_by_their_place_and_not_by_their_address() {
    let (chain, other) = (Chain::open(), Chain::with_id(8_453));
    let other_url = format!("{}/?key=SECRET", other.rpc_url());
    let nodes = format!("[{:?}, \"http://127.0.0.1:1/SECRET\", {other_url:?}]", chain.rpc_url());
    let operator =
        Operator::new("check-nodes", &format!("[facilitator]\nlisten = \"127.0.0.1:0\"\n{}", network(NETWORK, &nodes)));
    let report = faults(operator.check().arguments(["--json"]).run());
    let endpoints = &report["networks"][0]["endpoints"];
    assert_eq!(endpoints[0]["isGood"], true);
    assert_eq!((&endpoints[1]["isGood"], &endpoints[1]["what"]), (&json!(false), &json!("endpoint 1")));
    assert!(endpoints[1]["found"].as_str().unwrap().contains("cannot be reached"), "{endpoints}");
    let found = endpoints[2]["found"].as_str().unwrap();
    assert!(found.contains("it is of chain 8453, expected eip155:84532"), "{endpoints}");
    assert_eq!(report["networks"][0]["signers"][0]["isGood"], true, "another node told what it holds");
    let ended = operator.check().run().with_code(1);
    assert!(ended.stdout.contains("✗ endpoint 1") && ended.stdout.contains("not ready"), "{}", ended.stdout);
    assert!(!format!("{report}{ended:?}").contains("SECRET"), "{report}{ended:?}");
}

#[test]
fn an_account_that_holds_too_little_is_told_by_how_much() {
    let chain = Chain::open();
    let account = chain.devnet.accounts()[0].address;
    let limited = format!("{}gas = {{ low_balance_gwei = 2_000_000_000 }}\n", config(NETWORK, &chain.rpc_url()));
    let operator = Operator::new("check-account", &limited);
    chain.devnet.set_balance(account, U256::from(1_500_000_000_000_000_000_u64));
    let report = faults(operator.check().arguments(["--json"]).run());
    let signer = &report["networks"][0]["signers"][0];
    assert_eq!(signer["balanceGwei"], "1500000000");
    assert_eq!(signer["found"], "holds 1.5 of the network's coin, below gas.low_balance_gwei = 2000000000; fund it");
    chain.devnet.set_balance(account, U256::ZERO);
    let ended = operator.check().run().with_code(1);
    assert!(ended.stdout.contains("holds 0 of the network's coin; fund it"), "{}", ended.stdout);
}

#[test]
fn a_book_that_cannot_be_read_and_a_folder_that_is_not_there_end_with_1() {
    let chain = Chain::open();
    let operator = Operator::new("check-book", &config(NETWORK, &chain.rpc_url()));
    operator.folder.file("farthing.db", "this is no database, and was never one");
    let report = faults(operator.check().arguments(["--json"]).run());
    assert_eq!(report["store"]["isGood"], false, "{report}");
    let elsewhere = config(NETWORK, &chain.rpc_url()).replace("[network", "store = \"sqlite:nowhere/x.db\"\n[network");
    let operator = Operator::new("check-folder", &elsewhere);
    let report = faults(operator.check().arguments(["--json"]).run());
    assert!(report["store"]["found"].as_str().unwrap().contains("its folder is not there"), "{report}");
}

#[test]
fn what_start_up_refuses_the_check_refuses_in_the_same_words() {
    let good = config(NETWORK, "http://127.0.0.1:1/SECRET");
    for (from, to) in [
        ("env:FACILITATOR_KEY", "env:NOT_SET"),
        ("signer =", "assets = [\"0x036CbD53842c5426634e7929541eC2318f3dCF7f\"]\nsigner ="),
        ("signer =", "gas = { max_units = 0 }\nsigner ="),
        ("127.0.0.1:0", "0.0.0.0:0"),
    ] {
        let operator = Operator::new("check-refuses", &good.replace(from, to));
        let refused = operator.facilitator().run().with_code(1);
        let checked = operator.check().run().with_code(1);
        assert_eq!(checked.stderr, refused.stderr);
        assert!(!checked.stderr.contains("SECRET") && !checked.stderr.contains(OPERATOR_KEY), "{}", checked.stderr);
    }
}
