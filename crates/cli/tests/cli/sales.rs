//! What was sold: listed, shown whole, and exported for accounts.

use std::process::Command;

use farthing_devnet::Fault;
use serde_json::{Value, json};

use crate::market::{NETWORK, SELLER};
use crate::run::{OPERATOR_KEY, farthing};
use crate::seller::Shop;

const PAYER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const WIDEST_LINE_CHARS: usize = 130;
const ROUTES: &str = "[[route]]\nmatch = \"GET /reports/*\"\nprice = \"$0.01\"\n[[route]]\nmatch = \"GET /=SUM(A1)*\"\n\
                      price = \"$0.025\"\ndescription = \"a \\\"dear\\\" one, with commas\"\n";

#[test]
fn sales_are_listed_found_and_shown_while_the_gateway_runs() {
    let shop = Shop::open("sales", ROUTES);
    shop.buy("/reports/7?key=secret");
    shop.buy("/=SUM(A1)2");
    let rows = shop.ledger(&["sales"]);
    assert_eq!(rows.len(), 2);
    let row = rows.iter().find(|row| row["route"] == "GET /reports/*").unwrap();
    let resource = format!("GET {}/reports/7", shop.url);
    assert_eq!((&row["resource"], &row["payer"], &row["payTo"]), (&json!(resource), &json!(PAYER), &json!(SELLER)));
    assert_eq!((&row["amount"], &row["symbol"], &row["usd"]), (&json!("0.01"), &json!("USDC"), &json!("0.01")));
    assert_eq!(
        (&row["state"], &row["settledBy"], &row["network"]),
        (&json!("settled"), &json!("facilitator"), &json!(NETWORK))
    );
    assert_eq!(shop.ledger(&["list"]).len(), 2, "the book of settlements has them, too");
    let count = |arguments: &[&str]| shop.ledger(&[&["sales"], arguments].concat()).len();
    assert_eq!((count(&["--route", "GET /reports/*"]), count(&["--route", "GET /reports/7"])), (1, 0));
    assert_eq!((count(&["--payer", &PAYER.to_lowercase()]), count(&["--payer", SELLER])), (2, 0));
    assert_eq!((count(&["--network", "base-sepolia"]), count(&["--network", "base"])), (2, 0));
    assert_eq!((count(&["--since", "1h"]), count(&["--limit", "1"]), count(&["--open"])), (2, 1, 0));
    let transaction = row["transaction"].as_str().unwrap();
    assert_eq!(count(&["--transaction", transaction]), 1);

    let id = row["id"].as_str().unwrap();
    for name in [id, &id[..12], transaction] {
        let [receipt] = &shop.ledger(&["receipt", name])[..] else { panic!("one sale is {name}") };
        assert_eq!((&receipt["id"], &receipt["resource"]), (&json!(id), &json!(resource)));
        assert!(receipt["transactionFeeGwei"].as_u64().unwrap() > 0 && receipt["blockHeight"].as_u64().unwrap() > 0);
    }
    let ended = shop.farthing(&["ledger", "receipt", id]).run().with_code(0);
    for part in ["0.01 USDC  settled", id, &resource, PAYER, "GET /reports/*", "$0.01", transaction, "facilitator"] {
        assert!(ended.stdout.contains(part), "{part} is not in {}", ended.stdout);
    }
    assert!(!ended.stdout.contains("secret"), "{}", ended.stdout);
    let ended = shop.farthing(&["ledger", "sales"]).run().with_code(0);
    assert!(ended.stdout.starts_with("SOLD  ") && ended.stdout.contains("0.025 USDC  GET /=SUM(A1)*"), "{}", ended.stdout);
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= WIDEST_LINE_CHARS), "{}", ended.stdout);
    assert_eq!(ended.stderr, "2 sales\n");
    for (name, code, taught) in [
        ("0".repeat(64), 1, "the book knows no sale"),
        ("123".to_owned(), 2, "at least its first 8 digits"),
        ("not-an-id".to_owned(), 2, "expected a sale's id"),
    ] {
        let ended = shop.farthing(&["ledger", "receipt", &name]).run().with_code(code);
        assert!(ended.stderr.contains(taught), "{}", ended.stderr);
    }
    shop.close();
}

#[test]
fn what_was_under_way_when_the_gateway_died_is_open() {
    let shop = Shop::open("sales-open", ROUTES);
    let broadcast = shop.chain.at_the_next_broadcast(Fault::LoseTransaction);
    let buying = std::thread::spawn({
        let url = format!("{}/reports/7", shop.url);
        move || farthing(["pay", &url]).with_wallet().run()
    });
    broadcast();
    let shop = shop.killed();
    buying.join().unwrap();
    assert_eq!(shop.ledger(&["sales"]), Vec::<Value>::new());
    let [open] = &shop.ledger(&["sales", "--open"])[..] else { panic!("one is open") };
    assert_eq!((&open["state"], &open["amount"], &open["route"]), (&json!("open"), &json!("0.01"), &json!("GET /reports/*")));
    assert_eq!((&open["payer"], &open["transaction"]), (&json!(PAYER), &Value::Null));
}

#[test]
fn exports_are_exact_and_no_spreadsheet_runs_them() {
    let shop = Shop::open("sales-export", ROUTES);
    let started = jiff::Timestamp::now();
    shop.buy("/reports/1");
    shop.buy("/=SUM(A1)2");
    let export = |format: &str, more: &[&str]| {
        let command = [&["ledger", "export", "--format", format], more].concat();
        shop.farthing(&command).run().with_code(0).stdout
    };
    // What is sold in this second is not exported before it is over.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let sales = loop {
        let sales: Vec<Value> = serde_json::from_str(&export("json", &[])).unwrap();
        if sales.len() == 2 || std::time::Instant::now() > until {
            break sales;
        }
    };
    let of = |field: &str| {
        // Both may have been sold in the same second.
        let mut values: Vec<&str> = sales.iter().map(|sale| sale[field].as_str().unwrap()).collect();
        values.sort_unstable();
        values
    };
    assert_eq!((of("amount"), of("usd")), (vec!["0.01", "0.025"], vec!["0.01", "0.025"]));
    assert!(of("networkFee").iter().all(|fee| fee.starts_with("0.0")), "{sales:?}");
    assert!(of("at").iter().all(|at| at.parse::<jiff::Timestamp>().is_ok()), "{sales:?}");

    let csv = export("csv", &[]);
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!((lines.len(), lines[0].split(',').count()), (4, 19));
    assert!(lines[1..3].iter().all(|line| line.starts_with("sale,")) && csv.contains(",GET /reports/*,"), "{csv}");
    assert!(csv.contains(",USDC,6,10000,0.01,0.01,exact,0x"), "{csv}");
    let later = (started + jiff::Span::new().hours(1)).to_string();
    assert_eq!(export("json", &["--from", &later]), "[]\n");
    let before = (started - jiff::Span::new().hours(1)).to_string();
    assert_eq!(export("csv", &["--to", &before]).lines().count(), 1);

    let beancount = export("beancount", &[]);
    for part in [
        "open Assets:X402:Eip155-84532\n",
        "* \"GET /reports/*\" \"GET http://",
        "  Assets:X402:Eip155-84532  0.01 USDC @@ 0.01 USD\n  Income:X402  -0.01 USD\n",
        "  Expenses:X402:NetworkFees  0.",
    ] {
        assert!(beancount.contains(part), "{part} is not in {beancount}");
    }
    check(&shop, &beancount);
    let unopened = export("beancount", &["--without-open"]);
    assert!(!unopened.contains(" open ") && unopened.contains("@@"), "{unopened}");
    for (arguments, taught) in [
        (vec!["--format", "csv", "--without-open"], "--without-open: only beancount"),
        (vec!["--format", "xls"], "[possible values: csv, json, beancount]"),
        (vec!["--format", "csv", "--from", "yesterday"], "expected a day such as 2026-01-01"),
    ] {
        let ended = shop.farthing(&[&["ledger", "export"][..], &arguments].concat()).run().with_code(2);
        assert!(ended.stderr.contains(taught), "{}", ended.stderr);
    }
    shop.close();
}

/// Beancount's own check has nothing to say.
pub fn check(shop: &Shop, text: &str) {
    let file = shop.folder.file("sales.beancount", text);
    let index = std::env::var_os("FARTHING_PEERS").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/peers.json"),
        std::path::PathBuf::from,
    );
    let sets: Value = serde_json::from_str(&std::fs::read_to_string(index).unwrap()).unwrap();
    let set = sets["accounts"].as_str().unwrap_or_else(|| panic!("{sets} does not name accounts: run `cargo xtask peers`"));
    let output = Command::new(format!("{set}/bin/python")).args(["-m", "beancount.scripts.check"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_seller_whose_settlements_are_elsewhere_has_a_book_of_sales_all_the_same() {
    let market = crate::market::Market::open();
    let folder = crate::run::Folder::new("sales-remote");
    let origin = crate::gateway::Origin::open();
    let text = format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\nupstream = {:?}\nfacilitator = {:?}\n[pay_to]\n{NETWORK:?} = {SELLER:?}\n{ROUTES}",
        origin.url,
        market.facilitator_url()
    );
    let config = folder.file("farthing.toml", &text).to_str().unwrap().to_owned();
    let mut service = farthing(["gateway", "--json", "--config", &config]).start();
    let url = service.facts()["listening"].as_str().unwrap().to_owned();
    farthing(["pay", &format!("{url}/reports/7")]).with_wallet().run().with_code(0);
    let ended = farthing(["ledger", "sales", "--json", "--config", &config]).run().with_code(0);
    let row = ended.stdout_json();
    assert_eq!((&row["amount"], &row["payTo"]), (&json!("0.01"), &json!(SELLER)));
    let receipt = farthing(["ledger", "receipt", row["id"].as_str().unwrap(), "--json", "--config", &config]).run();
    assert_eq!(receipt.with_code(0).stdout_json()["transactionFeeGwei"], Value::Null, "that is in somebody else's book");
    service.end("TERM").with_code(0);
    let ended = farthing(["ledger", "list", "--config", &config]).run().with_code(1);
    assert!(ended.stderr.contains("the book of settlements is there"), "{}", ended.stderr);
    let facilitator = folder.file("f.toml", &crate::operator::config(NETWORK, &market.rpc_url()));
    let ended =
        farthing(["ledger", "sales", "--config", facilitator.to_str().unwrap()]).env("FACILITATOR_KEY", OPERATOR_KEY).run();
    assert!(ended.with_code(1).stderr.contains("this is no gateway's file"));
}
