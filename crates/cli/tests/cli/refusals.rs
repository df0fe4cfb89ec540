//! `farthing pay` where nothing comes of it: each way has its exit code, and says what to do.

use farthing::evm::U256;
use serde_json::{Value, json};

use crate::market::{Market, NETWORK};
use crate::peer::{Peer, answer, offer, required};
use crate::run::{Ended, KEY, farthing};

/// The third development account, which has no USDC.
const POOR_KEY: &str = "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a";

fn pay(url: &str) -> Ended {
    farthing(["pay", url]).with_wallet().run()
}

fn error_of(url: &str) -> Value {
    farthing(["pay", "--json", url]).with_wallet().run().stderr_json()
}

#[test]
fn more_than_the_limit_is_refused_with_10_and_nothing_is_signed() {
    let market = Market::open();
    let command = || farthing(["pay", "--max-amount", "0.005", &market.at("/report")]).with_wallet();
    let ended = command().run().with_code(10);
    assert_eq!(ended.stdout, "");
    assert_eq!(
        ended.stderr,
        "refused by policy: no offer can be paid\n  1. 0.01 USDC on eip155:84532 by exact: over the limit of $0.005 per \
         payment\n--max-amount allows more, if you want to pay it\n"
    );
    let facts = command().arguments(["--json"]).run().with_code(10).stderr_json();
    assert_eq!((&facts["error"], &facts["mayHavePaid"]), (&json!("refused_by_policy"), &json!(false)));
    assert_eq!(market.earned(), U256::ZERO);
}

#[test]
fn another_network_than_the_named_ones_is_refused_with_10() {
    let market = Market::open();
    let ended = farthing(["pay", "--network", "base", &market.at("/report")]).with_wallet().run().with_code(10);
    assert!(ended.stderr.contains("eip155:84532 is not among the allowed networks"), "{}", ended.stderr);
    farthing(["pay", "--network", "base-sepolia", &market.at("/report")]).with_wallet().run().with_code(0);
}

#[test]
fn a_wallet_that_holds_too_little_ends_with_11() {
    let market = Market::open();
    let (node, url) = (market.node(), market.at("/report"));
    let ended = farthing(["pay", "--rpc", &node, &url]).env("EVM_PRIVATE_KEY", POOR_KEY).run().with_code(11);
    assert!(
        ended.stderr.contains("the wallet holds 0 USDC there") && ended.stderr.contains("fund the wallet"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_payment_that_is_refused_ends_with_12() {
    let terms = required(&json!([offer()]));
    let stubborn = Peer::new(move |_| Some(terms.clone()));
    let ended = pay(&stubborn.url).with_code(12);
    assert!(
        ended.stderr.starts_with("rejected: the server refused the payment of $0.01 with status 402: pay first"),
        "{}",
        ended.stderr
    );
    let facts = error_of(&stubborn.url);
    assert_eq!((&facts["error"], &facts["mayHavePaid"]), (&json!("rejected"), &json!(true)));
    assert_eq!(facts["payment"]["usd"], "$0.01");
}

#[test]
fn a_payment_that_got_no_answer_ends_with_13_and_must_not_be_repeated() {
    let silent = Peer::paid(&json!([offer()]), || None);
    let ended = pay(&silent.url).with_code(13);
    assert!(ended.stderr.contains("Repeating the call could pay twice"), "{}", ended.stderr);
    let facts = error_of(&silent.url);
    assert_eq!((&facts["error"], &facts["mayHavePaid"]), (&json!("unknown"), &json!(true)));
    assert_eq!(facts["payment"]["network"], NETWORK);
}

#[test]
fn an_answer_that_breaks_off_after_the_payment_ends_with_13() {
    let broken = Peer::paid(&json!([offer()]), || Some("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it".to_owned()));
    let ended = pay(&broken.url).with_code(13);
    assert_eq!(ended.stdout, "half of it");
    assert!(ended.stderr.contains("repeating the call would pay again"), "{}", ended.stderr);
    assert_eq!(error_of(&broken.url)["payment"]["usd"], "$0.01");
}

#[test]
fn terms_that_nobody_here_can_pay_end_with_14() {
    let mut elsewhere = offer();
    elsewhere["network"] = json!("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp");
    let terms = required(&json!([elsewhere]));
    let peer = Peer::new(move |_| Some(terms.clone()));
    let ended = pay(&peer.url).with_code(14);
    assert!(ended.stderr.contains("this wallet cannot pay by exact on solana:5eykt"), "{}", ended.stderr);
    assert_eq!(error_of(&peer.url)["error"], "not_payable");

    let unreadable = Peer::new(|_| Some(answer("402 Payment Required", "payment-required: !\r\n", "")));
    assert!(pay(&unreadable.url).with_code(14).stderr.contains("terms that cannot be read"));

    let unsaid = Peer::new(|_| Some(answer("402 Payment Required", "", "pay at the desk")));
    let ended = pay(&unsaid.url).with_code(14);
    assert_eq!(ended.stdout, "pay at the desk");
    assert!(ended.stderr.contains("asks for payment without saying how"), "{}", ended.stderr);
}

#[test]
fn an_http_error_ends_with_22_and_its_body_is_passed_on() {
    let peer = Peer::new(|_| Some(answer("404 Not Found", "", "no such report")));
    let ended = pay(&peer.url).with_code(22);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("no such report", "404 Not Found\n"));
    assert_eq!(error_of(&peer.url)["error"], "http_error");
}

#[test]
fn a_server_that_is_not_there_ends_with_1() {
    let ended = pay("http://127.0.0.1:1/report").with_code(1);
    assert!(ended.stderr.contains("http://127.0.0.1:1 could not be asked; nothing was paid"), "{}", ended.stderr);
    assert_eq!(error_of("http://127.0.0.1:1/report")["mayHavePaid"], json!(false));
}

#[test]
fn a_command_line_that_makes_no_sense_ends_with_2_and_says_what_would() {
    let url = "http://127.0.0.1:1/";
    for (arguments, taught) in [
        (vec![], "Usage: farthing pay <URL>"),
        (vec!["--no-such-option", url], "--no-such-option"),
        (vec!["api.example.com/report"], "URL: expected one that begins with https:// or http://"),
        (vec!["http://"], "the URL cannot be read"),
        (vec!["-X", "G T", url], "-X: \"G T\" is no HTTP method"),
        (vec!["-H", "Authorization Bearer 123", url], "-H: expected 'Name: value'"),
        (vec!["-H", "payment-signature: x", url], "is made by this client; leave it out"),
        (vec!["--max-amount", "bash.05", url], "--max-amount: expected dollars such as 0.05 or '$0.05'"),
        (vec!["--network", "nowhere", url], "--network: expected a CAIP-2 network such as \"eip155:8453\""),
        (vec!["--rpc", "http://node.example/SECRET", url], "--rpc: expected NETWORK=URL"),
        (vec!["--rpc", "eip155:1=wss://node.example/SECRET", url], "--rpc: expected a node's URL"),
        (vec!["--wallet", KEY, url], "--wallet: expected where the secret is kept"),
    ] {
        let ended = farthing(["pay"]).arguments(arguments).with_wallet().run().with_code(2);
        assert!(ended.stderr.contains(taught), "{taught:?} is not in {:?}", ended.stderr);
        assert!(!ended.stderr.contains("SECRET") && !ended.stderr.contains("Bearer 123"), "{}", ended.stderr);
    }
}

#[test]
fn a_wallet_that_is_not_there_is_named_with_what_to_do() {
    let url = "http://127.0.0.1:1/";
    for wallet in [None, Some("")] {
        let command = farthing(["pay", url]);
        let ended = match wallet {
            Some(key) => command.env("EVM_PRIVATE_KEY", key),
            None => command,
        };
        let ended = ended.run().with_code(1);
        assert!(
            ended.stderr.contains("EVM_PRIVATE_KEY is not set") && ended.stderr.contains("--wallet file:PATH"),
            "{}",
            ended.stderr
        );
    }
    let ended = farthing(["pay", "--wallet", "env:PURSE", url]).run().with_code(1);
    assert_eq!(ended.stderr, "error: --wallet env:PURSE: the environment variable PURSE is not set\n");
    let ended = farthing(["pay", "--wallet", "file:/nowhere/key", url]).run().with_code(1);
    assert!(ended.stderr.contains("/nowhere/key cannot be read"), "{}", ended.stderr);
    let ended = farthing(["pay", url]).env("EVM_PRIVATE_KEY", &format!("{KEY}00")).run().with_code(1);
    assert!(ended.stderr.contains("expected a private key: 0x and 64 hexadecimal digits"), "{}", ended.stderr);
    let facts = farthing(["pay", "--json", url]).run().with_code(1).stderr_json();
    assert_eq!((&facts["error"], &facts["mayHavePaid"]), (&json!("failed"), &json!(false)));
}

#[test]
fn a_strangers_text_cannot_draw_on_the_terminal() {
    let evil = "pay\u{1b}[2J\u{1b}]0;x\u{7} \u{202e}00.1$";
    let terms = required(
        &json!([{"scheme": evil, "network": "eip155:84532", "amount": "1", "asset": "x", "payTo": "y", "maxTimeoutSeconds": 9}]),
    );
    let peer = Peer::new(move |_| Some(terms.clone()));
    let rejecting =
        json!({"x402Version": 2, "error": evil, "accepts": [offer()], "resource": {"url": "/", "description": evil}});
    let rejecting = farthing::core::header::encode(&rejecting).unwrap();
    let rejecting = answer("402 Payment Required", &format!("payment-required: {rejecting}\r\n"), "");
    let rejecting = Peer::new(move |_| Some(rejecting.clone()));
    for ended in [
        pay(&peer.url).with_code(14),
        farthing(["inspect", &peer.url]).run().with_code(0),
        pay(&rejecting.url).with_code(12),
        farthing(["inspect", &rejecting.url]).run().with_code(0),
    ] {
        let shown = format!("{}{}", ended.stdout, ended.stderr);
        assert!(shown.contains("[2J"), "{shown:?}");
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{shown:?}");
    }
}
