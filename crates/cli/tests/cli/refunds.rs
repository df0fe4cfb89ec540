//! Sales are paid back once, whoever carries the refund and wherever that is killed.

use std::time::{Duration, Instant};

use farthing::evm::{Address, U256};
use farthing_devnet::Fault;
use serde_json::{Value, json};

use crate::gateway::Origin;
use crate::market::{Market, NETWORK, SELLER};
use crate::run::{Ended, Farthing, Folder, OPERATOR_KEY, farthing};
use crate::seller::Shop;

const ROUTES: &str = "[[route]]\nmatch = \"GET /reports/*\"\nprice = \"$0.01\"\n";
const PAYER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
/// The account of the operator's key.
const OPERATOR: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const CENT_ATOMIC: u64 = 10_000;
/// After this long something does not happen, and the test has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A shop that has sold once, and an account that holds so much to pay back from.
fn sold(test: &str, purse_atomic: u64) -> (Shop, String) {
    let shop = Shop::open(test, ROUTES);
    shop.chain.devnet.give_usdc(OPERATOR.parse().unwrap(), U256::from(purse_atomic)).unwrap();
    shop.buy("/reports/7");
    let id = shop.ledger(&["sales"])[0]["id"].as_str().unwrap().to_owned();
    (shop, id)
}

fn refund(shop: &Shop, arguments: &[&str]) -> Farthing {
    let command = [&["ledger", "refund", "--yes", "--json", "--wallet", "env:REFUND_KEY"], arguments].concat();
    shop.farthing(&command).env("REFUND_KEY", OPERATOR_KEY).env("FACILITATOR_KEY", OPERATOR_KEY)
}

fn paid_back(ended: Ended) -> Value {
    let row = ended.with_code(0).stdout_json();
    assert_eq!(row["state"], "settled", "{row}");
    row
}

/// What the payer has, in atomic units.
fn purse(shop: &Shop) -> U256 {
    shop.chain.devnet.usdc_balance(PAYER.parse::<Address>().unwrap())
}

#[test]
fn a_sale_is_paid_back_in_parts_and_never_more_than_it_was() {
    let (shop, sale) = sold("refund-parts", CENT_ATOMIC * 5);
    let before = purse(&shop);
    let planned = refund(&shop, &[&sale, "--dry-run", "--amount", "$0.004"]).run().with_code(0).stdout_json();
    assert_eq!((&planned["state"], &planned["amount"], &planned["to"]), (&json!("planned"), &json!("0.004"), &json!(PAYER)));
    assert_eq!(purse(&shop), before);
    // The gateway runs, and settles what is in its book.
    let first = paid_back(refund(&shop, &[&sale, "--amount", "$0.004", "--reason", "too late"]).run());
    assert_eq!((&first["sale"], &first["reason"], &first["symbol"]), (&json!(sale), &json!("too late"), &json!("USDC")));
    assert_eq!(purse(&shop), before + U256::from(4_000));
    let refused = refund(&shop, &[&sale, "--amount", "0.007 USDC"]).run().with_code(1);
    assert!(refused.stderr.contains("what is left of the sale to be paid back: 0.006 of 0.01 USDC"), "{}", refused.stderr);
    let rest = paid_back(refund(&shop, &[first["sale"].as_str().unwrap()]).run());
    assert_eq!((&rest["amount"], purse(&shop)), (&json!("0.006"), before + U256::from(CENT_ATOMIC)));
    let refused = refund(&shop, &[&sale]).run().with_code(1);
    assert!(refused.stderr.contains(": 0 of 0.01 USDC"), "{}", refused.stderr);
    // A refund that is at its end is not made again.
    assert_eq!(paid_back(refund(&shop, &[first["id"].as_str().unwrap()]).run())["transaction"], first["transaction"]);
    assert_eq!(purse(&shop), before + U256::from(CENT_ATOMIC));
    for part in [first["transaction"].as_str().unwrap(), "0.004 USDC", "0.006 USDC", "too late"] {
        let receipt = shop.farthing(&["ledger", "receipt", &sale]).run().with_code(0);
        assert!(receipt.stdout.contains(part), "{part} is not in {}", receipt.stdout);
    }
    assert_eq!(shop.ledger(&["sales"])[0]["refunded"], "0.01");
    exports_have_them(&shop, &sale);
    shop.close();
}

/// Of one sale of a cent, and two refunds.
fn exports_have_them(shop: &Shop, sale: &str) {
    let export = |format: &str| shop.farthing(&["ledger", "export", "--format", format]).run().with_code(0).stdout;
    // What was paid back in this second is not exported before it is over.
    let begun = Instant::now();
    let lines = loop {
        let lines: Vec<Value> = serde_json::from_str(&export("json")).unwrap();
        if lines.len() == 3 || begun.elapsed() > PATIENCE {
            break lines;
        }
    };
    let mut told: Vec<String> =
        lines.iter().map(|line| format!("{} {} {}", line["kind"], line["amount"], line["sale"])).collect();
    told.sort();
    let refund = |amount: &str| format!("\"refund\" \"{amount}\" \"{sale}\"");
    assert_eq!(told, [refund("0.004"), refund("0.006"), "\"sale\" \"0.01\" null".to_owned()]);
    assert_eq!(export("csv").lines().filter(|line| line.starts_with("refund,")).count(), 2);
    let beancount = export("beancount");
    assert!(beancount.contains("-0.004 USDC @@ 0.004 USD\n  Income:X402:Refunds  0.004 USD\n"), "{beancount}");
    crate::sales::check(shop, &beancount);
}

#[test]
fn a_refund_that_was_killed_while_it_was_sent_is_continued_and_not_made_twice() {
    let (shop, sale) = sold("refund-killed", CENT_ATOMIC * 5);
    let shop = shop.killed();
    let before = purse(&shop);
    // It is written down and given to the node, and whoever did that dies before it hears of that.
    for fault in [Fault::LoseTransaction, Fault::DropAnswer] {
        let broadcast = shop.chain.at_the_next_broadcast(fault);
        let running = refund(&shop, &[&sale, "--amount", "$0.003"]).start();
        broadcast();
        running.end("KILL");
        // No amount: it is not a new one.
        let row = paid_back(refund(&shop, &[&sale]).run());
        assert_eq!(row["amount"], "0.003");
        let entries = shop.ledger(&["list"]);
        let entry = entries.iter().find(|entry| entry["id"] == row["id"]).unwrap();
        assert_eq!((&entry["state"], &entry["payer"]), (&json!("settled"), &json!(OPERATOR)), "it is booked as any payment");
    }
    assert_eq!(purse(&shop), before + U256::from(6_000), "each was paid once");
    assert_eq!(shop.ledger(&["sales"])[0]["refunded"], "0.006");
}

#[test]
fn what_cannot_be_paid_back_now_stays_open_and_no_other_is_begun() {
    let (shop, sale) = sold("refund-open", 0);
    let shop = shop.killed();
    let before = purse(&shop);
    let waiting = refund(&shop, &[&sale, "--wait-seconds", "0"]).run().with_code(13);
    let row = waiting.stdout_json();
    assert_eq!(row["state"], "open");
    assert!(row["message"].as_str().unwrap().contains("insufficient"), "{row}");
    shop.chain.devnet.give_usdc(OPERATOR.parse().unwrap(), U256::from(CENT_ATOMIC)).unwrap();
    let again = paid_back(refund(&shop, &[&sale, "--amount", "$0.001"]).run());
    assert_eq!((&again["id"], &again["amount"]), (&row["id"], &json!("0.01")), "it is the same one");
    assert_eq!(purse(&shop), before + U256::from(CENT_ATOMIC));
}

#[test]
fn a_sale_that_somebody_elses_facilitator_settled_is_paid_back_through_it() {
    let (market, origin, folder) = (Market::open(), Origin::open(), Folder::new("refund-remote"));
    let toml = format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\nupstream = {:?}\nfacilitator = {:?}\n[pay_to]\n{NETWORK:?} = {SELLER:?}\n{ROUTES}",
        origin.url,
        market.facilitator_url()
    );
    let config = folder.file("farthing.toml", &toml).to_str().unwrap().to_owned();
    let mut service = farthing(["gateway", "--json", "--config", &config]).start();
    let url = service.facts()["listening"].as_str().unwrap().to_owned();
    farthing(["pay", &format!("{url}/reports/7")]).with_wallet().run().with_code(0);
    let sales = farthing(["ledger", "sales", "--json", "--config", &config]).run().with_code(0).stdout_json();
    // The buyer's own key pays back, for it is the one that has money on this chain.
    let command = ["ledger", "refund", sales["id"].as_str().unwrap(), "--yes", "--json", "--wallet", "env:EVM_PRIVATE_KEY"];
    let refused = farthing(command).arguments(["--config", &config]).with_wallet().run();
    // To pay oneself back moves nothing for anybody, and is as good a payment as any.
    assert_eq!(paid_back(refused)["amount"], "0.01");
    service.end("TERM").with_code(0);
}

#[test]
fn a_refund_needs_a_word_and_a_wallet() {
    let (shop, sale) = sold("refund-usage", 0);
    for (arguments, code, taught) in [
        (vec![sale.as_str(), "--wallet", "env:REFUND_KEY"], 2, "--yes: nobody can be asked here"),
        (vec![sale.as_str(), "--yes"], 2, "--wallet: name the account that pays back"),
        (vec![sale.as_str(), "--yes", "--wallet", OPERATOR_KEY], 2, "--wallet: expected where the secret is kept"),
        (vec![sale.as_str(), "--yes", "--wallet", "env:NOT_SET"], 1, "the environment variable NOT_SET is not set"),
        (vec![sale.as_str(), "--yes", "--amount", "lots"], 2, "--amount: expected a price"),
        (vec![sale.as_str(), "--yes", "--amount", "1 EUR"], 2, "--amount: 1 EUR cannot be asked in USDC"),
        (vec!["0123456789abcdef", "--yes"], 1, "the book knows no sale named so"),
    ] {
        let command = [&["ledger", "refund"][..], &arguments].concat();
        let ended = shop.farthing(&command).env("REFUND_KEY", OPERATOR_KEY).run().with_code(code);
        assert!(ended.stderr.contains(taught), "{taught:?} is not in {}", ended.stderr);
    }
    assert_eq!(shop.ledger(&["sales"])[0]["refunded"], Value::Null);
    shop.close();
}
