//! `farthing devnet`: a chain alone.

use std::net::TcpListener;

use serde_json::json;

use crate::run::{KEY, farthing};

#[test]
fn the_chain_says_where_it_is_and_whose_money_is_on_it() {
    let mut devnet = farthing(["devnet", "--port", "0"]).may_show_keys().start();
    let mut shown = String::new();
    while !shown.contains("Ctrl-C stops") {
        let line = devnet.line();
        assert!(!line.is_empty(), "it ended early: {shown}");
        assert!(line.trim_end().chars().count() <= 80, "too wide: {line}");
        shown.push_str(&line);
    }
    let url = shown.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let chain_id = farthing_chain_id(url);
    assert_eq!(chain_id, "0x14a34");
    for part in
        ["chain id 84532", "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", KEY]
    {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let ended = devnet.end("INT").with_code(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
}

#[test]
fn facts_for_programs_are_one_object_on_stdout() {
    let mut devnet = farthing(["devnet", "--port", "0", "--json", "--chain-id", "8453", "--block-time", "50ms"]).start();
    let facts = devnet.facts();
    assert_eq!((&facts["chainId"], &facts["usdc"]), (&json!(8453), &json!("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913")));
    assert_eq!(facts["accounts"].as_array().unwrap().len(), 10);
    assert_eq!(facts["accounts"][1]["key"], KEY);
    assert_eq!(farthing_chain_id(facts["rpcUrl"].as_str().unwrap()), "0x2105");
    devnet.end("TERM").with_code(0);
}

#[test]
fn a_chain_that_has_no_usdc_and_a_port_that_is_taken_are_errors_that_teach() {
    let ended = farthing(["devnet", "--port", "0", "--chain-id", "5"]).run().with_code(1);
    assert!(
        ended.stderr.contains("chain id 5 has no USDC here; supported: ") && ended.stderr.contains("84532"),
        "{}",
        ended.stderr
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ended = farthing(["devnet", "--port", &port]).run().with_code(1);
    assert!(ended.stderr.contains("--port 0 takes a free one"), "{}", ended.stderr);
    let ended = farthing(["devnet", "--block-time", "fast"]).run().with_code(2);
    assert!(ended.stderr.contains("such as 2s or 500ms"), "{}", ended.stderr);
}

fn farthing_chain_id(url: &str) -> String {
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}).to_string();
    let answer = farthing(["pay", "-H", "content-type: application/json", "-d", &call, url]).with_wallet().run().with_code(0);
    answer.stdout_json()["result"].as_str().unwrap().to_owned()
}
