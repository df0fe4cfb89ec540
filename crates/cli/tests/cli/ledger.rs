//! `farthing ledger`: what it lists, what it explains, and whether the book is the chain.

use std::thread;

use farthing_devnet::Fault;
use serde_json::{Value, json};

use crate::chain::{CENT, Chain};
use crate::market::{NETWORK, SELLER};
use crate::operator::{Operator, Running, config};
use crate::run::{farthing, post};

const PAYER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const WIDEST_LINE_CHARS: usize = 100;

fn settle(running: &Running, chain: &Chain) -> Value {
    let (status, answer) = post(&running.at("/settle"), &[], &chain.payment()).unwrap();
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    answer
}

/// A payment that is under way when the facilitator dies.
fn leave_one_sending(running: Running, chain: &Chain) {
    let payment = chain.payment();
    let broadcast = chain.at_the_next_broadcast(Fault::LoseTransaction);
    let asked = thread::spawn({
        let settle = running.at("/settle");
        move || post(&settle, &[], &payment)
    });
    broadcast();
    running.service.end("KILL");
    assert_eq!(asked.join().unwrap(), None);
}

#[test]
fn payments_are_listed_the_newest_first_while_the_facilitator_runs() {
    let chain = Chain::open();
    let operator = Operator::new("list", &config(NETWORK, &chain.rpc_url()));
    let running = operator.start();
    let answers = [settle(&running, &chain), settle(&running, &chain), settle(&running, &chain)];

    let rows = operator.ledger(&["list"]);
    assert_eq!(rows.len(), 3);
    assert!(rows.is_sorted_by(|one, next| one["sentAt"].as_str() >= next["sentAt"].as_str()), "{rows:?}");
    let row = rows.iter().find(|row| row["transaction"] == answers[0]["transaction"]).unwrap();
    assert_eq!((&row["state"], &row["payer"], &row["payTo"]), (&json!("settled"), &json!(PAYER), &json!(SELLER)));
    assert_eq!((&row["amountAtomic"], &row["amount"], &row["symbol"]), (&json!("10000"), &json!("0.01"), &json!("USDC")));

    let ended = operator.farthing(&["ledger", "list"]).run().with_code(0);
    assert_eq!(ended.stdout.lines().count(), 4, "{}", ended.stdout);
    assert!(ended.stdout.starts_with("SENT  ") && ended.stdout.contains("  settled  0.01 USDC  0x7099…79C8  0x2096…287C  "));
    let widest = ended.stdout.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= WIDEST_LINE_CHARS, "{widest}: {}", ended.stdout);
    assert_eq!(ended.stderr, "3 payments\n");
    let ended = operator.farthing(&["ledger", "list", "--limit", "2"]).run().with_code(0);
    assert_eq!(ended.stderr, "2 payments; there may be more, --limit shows them\n");
    running.service.end("TERM").with_code(0);
}

#[test]
fn every_filter_narrows_and_accounts_are_found_in_any_letter_case() {
    let chain = Chain::open();
    let operator = Operator::new("filters", &config(NETWORK, &chain.rpc_url()));
    let running = operator.start();
    let answer = settle(&running, &chain);
    settle(&running, &chain);
    leave_one_sending(running, &chain);
    let count = |arguments: &[&str]| operator.ledger(&[&["list"], arguments].concat()).len();
    assert_eq!((count(&["--state", "settled"]), count(&["--state", "sending"]), count(&["--state", "dead"])), (2, 1, 0));
    assert_eq!((count(&["--network", "base-sepolia"]), count(&["--network", "base"])), (3, 0));
    assert_eq!((count(&["--payer", &PAYER.to_lowercase()]), count(&["--payer", SELLER])), (3, 0));
    assert_eq!((count(&["--pay-to", &SELLER.to_lowercase()]), count(&["--pay-to", PAYER])), (3, 0));
    assert_eq!(count(&["--transaction", &answer["transaction"].as_str().unwrap().to_uppercase().replace("0X", "0x")]), 1);
    assert_eq!((count(&["--since", "1h"]), count(&["--limit", "1"])), (3, 1));

    let book = format!("sqlite:{}", operator.folder.at("farthing.db").display());
    let ended = farthing(["ledger", "list", "--json", "--store", &book]).run().with_code(0);
    assert_eq!(ended.stdout.lines().count(), 3, "the book can be named without a configuration");
    for (arguments, taught) in [
        (vec!["list"], "--config: name the TOML file of the facilitator or gateway, or its book with --store"),
        (vec!["list", "--store", "secret.db"], "--store: expected a book"),
        (vec!["list", "--store", &book, "--state", "lost"], "expected sending, settled or dead"),
        (vec!["list", "--store", &book, "--network", "bass"], "--network: no such network"),
        (vec!["list", "--store", &book, "--since", "soon"], "expected a time such as 90s"),
        (vec!["list", "--store", &book, "--payer", "a b"], "--payer: expected 1 to 256 printable"),
    ] {
        let ended = farthing(["ledger"]).arguments(arguments).run().with_code(2);
        assert!(ended.stderr.contains(taught), "{taught:?} is not in {}", ended.stderr);
    }
    let ended = farthing(["ledger", "list", "--store", "sqlite:/nowhere/x.db"]).run().with_code(1);
    assert!(ended.stderr.contains("the book sqlite:/nowhere/x.db cannot be read"), "{}", ended.stderr);
}

#[test]
fn one_payment_is_explained_by_its_id_by_its_transaction_and_by_what_list_shows() {
    let chain = Chain::open();
    let operator = Operator::new("show", &config(NETWORK, &chain.rpc_url()));
    let running = operator.start();
    let answer = settle(&running, &chain);
    let transaction = answer["transaction"].as_str().unwrap();
    let id = operator.ledger(&["list"])[0]["id"].as_str().unwrap().to_owned();
    let shortened = format!("{}…{}", &transaction[..6], &transaction[transaction.len() - 4..]);
    for name in [id.as_str(), transaction, &id[..8], &shortened, &transaction[..10]] {
        let [life] = &operator.ledger(&["show", name])[..] else { panic!("one payment is {name}") };
        assert_eq!((&life["id"], &life["transaction"]), (&json!(id), &json!(transaction)));
        assert_eq!(life["state"], "settled");
        assert_eq!(life["blockHeight"], chain.devnet.block_number());
        assert!(life["transactionFeeGwei"].as_u64().unwrap() > 0, "{life}");
    }
    let ended = operator.farthing(&["ledger", "show", transaction]).run().with_code(0);
    for part in ["0.01 USDC  settled", &id, PAYER, "verified, written down, then sent", "settled: the transfer is on the chain"]
    {
        assert!(ended.stdout.contains(part), "{part} is not in {}", ended.stdout);
    }
    let widest = ended.stdout.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= WIDEST_LINE_CHARS, "{widest}: {}", ended.stdout);
    for unknown in ["0".repeat(64), format!("0x{}", "0".repeat(64))] {
        let ended = operator.farthing(&["ledger", "show", &unknown]).run().with_code(1);
        assert!(ended.stderr.contains("a payment that was never sent is not in it"), "{}", ended.stderr);
    }
    let ended = operator.farthing(&["ledger", "show", "0x1"]).run().with_code(2);
    assert!(ended.stderr.contains("at least the first 4 digits"), "{}", ended.stderr);
    running.service.end("TERM").with_code(0);
}

#[test]
fn the_book_is_the_chain_and_reconciling_needs_no_key() {
    let chain = Chain::open();
    let operator = Operator::new("reconcile", &config(NETWORK, &chain.rpc_url()));
    let running = operator.start();
    settle(&running, &chain);
    settle(&running, &chain);
    let ended = operator.farthing(&["ledger", "reconcile"]).run().with_code(0);
    assert_eq!(
        ended.stdout,
        format!("{NETWORK}  → {SELLER}  book 0.02 USDC = chain 0.02 USDC\n2 payments: 2 agree\nbook = chain\n")
    );
    let [totals] = &operator.ledger(&["reconcile"])[..] else { panic!("totals alone") };
    assert_eq!((&totals["payments"], &totals["different"], &totals["notAsked"]), (&json!(2), &json!(0), &json!(0)));
    assert_eq!(totals["sums"][0]["bookAtomic"], (CENT + CENT).to_string());
    running.service.end("TERM").with_code(0);
}

#[test]
fn a_payment_that_the_chain_does_not_have_is_a_difference_and_ends_with_1() {
    let chain = Chain::open();
    let operator = Operator::new("differs", &config(NETWORK, &chain.rpc_url()));
    let running = operator.start();
    settle(&running, &chain);
    let snapshot = chain.devnet.snapshot();
    let vanished = settle(&running, &chain);
    running.service.end("TERM").with_code(0);
    chain.devnet.revert(snapshot).unwrap();

    let ended = operator.farthing(&["ledger", "reconcile"]).run().with_code(1);
    for part in [
        "✗ 0.01 USDC  0x7099…79C8 → 0x2096…287C",
        &format!("book   settled by {}", vanished["transaction"].as_str().unwrap()),
        "chain  nothing moved yet",
        "book 0.02 USDC ≠ chain 0.01 USDC",
        "2 payments: 1 agree, 1 different",
        "book ≠ chain",
    ] {
        assert!(ended.stdout.contains(part), "{part} is not in {}", ended.stdout);
    }
    let ended = operator.farthing(&["ledger", "reconcile", "--json"]).run().with_code(1);
    let lines: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["transaction"], &lines[0]["isWrong"]), (&vanished["transaction"], &json!(true)));
    assert_eq!((&lines[1]["different"], &lines[1]["agreeing"]), (&json!(1), &json!(1)));
}

#[test]
fn a_chain_that_cannot_be_asked_is_no_agreement() {
    let chain = Chain::open();
    let operator = Operator::new("unasked", &config(NETWORK, &chain.rpc_url()));
    let running = operator.start();
    settle(&running, &chain);
    running.service.end("TERM").with_code(0);
    operator.folder.file("facilitator.toml", &config(NETWORK, "http://127.0.0.1:1/SECRET"));
    let ended = operator.farthing(&["ledger", "reconcile"]).run().with_code(1);
    assert!(ended.stdout.contains("1 payment: 1 not asked\nbook ≠ chain"), "{}", ended.stdout);
    assert!(!format!("{ended:?}").contains("SECRET"), "{ended:?}");
}
