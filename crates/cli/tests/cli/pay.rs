//! `farthing pay` where it pays, or has nothing to pay.

use farthing::evm::U256;
use serde_json::json;

use crate::market::{Market, NETWORK, SELLER};
use crate::peer::{Peer, answer};
use crate::run::{Folder, farthing};

const CENT: u64 = 10_000;

#[test]
fn the_body_goes_to_stdout_and_the_facts_to_stderr() {
    let market = Market::open();
    let ended = farthing(["pay", &market.at("/report")]).with_wallet().run().with_code(0);
    assert_eq!(ended.stdout, "14 ships in");
    let facts: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(facts[..2], [format!("paid     0.01 USDC on {NETWORK}"), format!("to       {SELLER}")]);
    assert!(facts[2].starts_with("receipt  0x") && facts.len() == 3, "{facts:?}");
    assert_eq!(market.earned(), U256::from(CENT));
}

#[test]
fn facts_for_programs_are_one_object_on_stderr() {
    let market = Market::open();
    let ended = farthing(["pay", "--json", &market.at("/report")]).with_wallet().run().with_code(0);
    assert_eq!(ended.stdout, "14 ships in");
    let facts = ended.stderr_json();
    assert_eq!((&facts["status"], &facts["error"]), (&json!(200), &json!(null)));
    let payment = &facts["payment"];
    for (field, value) in [
        ("outcome", "settled"),
        ("usd", "$0.01"),
        ("amount", "10000"),
        ("network", NETWORK),
        ("payTo", SELLER),
        ("symbol", "USDC"),
    ] {
        assert_eq!(payment[field], value);
    }
    assert_eq!(payment["transaction"].as_str().unwrap().len(), 66);
}

#[test]
fn what_is_free_is_not_paid_for_and_not_talked_about() {
    let market = Market::open();
    let ended = farthing(["pay", &market.at("/free")]).with_wallet().run().with_code(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("no charge", ""));
    let facts = farthing(["pay", "--json", &market.at("/free")]).with_wallet().run().with_code(0).stderr_json();
    assert_eq!(facts, json!({"status": 200, "payment": null, "error": null, "note": null}));
}

#[test]
fn a_request_with_method_headers_and_body_is_paid_for_as_it_is() {
    let market = Market::open();
    let order = market.at("/order");
    let folder = Folder::new("order");
    let from_file = format!("@{}", folder.file("order", "three fish").display());
    for (data, input, expected) in
        [("two fish", "", "two fish"), (&from_file, "", "three fish"), ("@-", "four fish", "four fish")]
    {
        let ended = farthing(["pay", "-d", data, &order]).with_wallet().input(input).run().with_code(0);
        assert_eq!(ended.stdout, format!("ordered {expected}"));
    }
    assert_eq!(market.earned(), U256::from(6 * CENT));
}

#[test]
fn a_request_goes_out_as_it_was_asked_for() {
    let echo = Peer::new(|request| Some(answer("200 OK", "", &request.to_ascii_lowercase())));
    let request = farthing(["pay", "-X", "PUT", "-H", "X-Trace: a:b", "-H", "Accept:text/csv", "-d", "Rows", &echo.url]);
    let seen = request.with_wallet().run().with_code(0).stdout;
    assert!(seen.starts_with("put / http/1.1\r\n"), "{seen}");
    for part in ["\r\nx-trace: a:b\r\n", "\r\naccept: text/csv\r\n", "\r\n\r\nrows"] {
        assert!(seen.contains(part), "{part:?} is not in {seen:?}");
    }
    assert!(farthing(["pay", &echo.url]).with_wallet().run().stdout.starts_with("get / "));
    assert!(farthing(["pay", "-d", "x", &echo.url]).with_wallet().run().stdout.starts_with("post / "));
}

#[test]
fn the_body_goes_to_a_file_if_one_is_named() {
    let market = Market::open();
    let folder = Folder::new("body");
    let path = folder.file("body", "an older and much longer body");
    let output = path.to_str().unwrap();
    let ended = farthing(["pay", "-o", output, &market.at("/report")]).with_wallet().run().with_code(0);
    assert_eq!(ended.stdout, "");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "14 ships in");
    // A device cannot be truncated, and is a good place all the same.
    farthing(["pay", "-o", "/dev/null", &market.at("/free")]).with_wallet().run().with_code(0);
}

#[test]
fn a_file_stays_as_it_was_where_nothing_is_paid() {
    let market = Market::open();
    let folder = Folder::new("kept");
    let kept = folder.file("kept", "yesterday's report");
    let absent = kept.with_extension("absent");
    for path in [&kept, &absent] {
        let output = path.to_str().unwrap();
        farthing(["pay", "--max-amount", "0.001", "-o", output, &market.at("/report")]).with_wallet().run().with_code(10);
    }
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "yesterday's report");
    assert!(!absent.exists());
}

#[test]
fn a_place_that_cannot_be_written_is_found_out_before_anything_is_paid() {
    let market = Market::open();
    let ended = farthing(["pay", "-o", "/nowhere/report", &market.at("/report")]).with_wallet().run().with_code(1);
    assert!(ended.stderr.contains("-o: /nowhere/report cannot be written"), "{}", ended.stderr);
    assert_eq!(market.earned(), U256::ZERO);
}

#[cfg(target_os = "linux")]
#[test]
fn a_body_that_was_paid_for_and_cannot_be_written_is_no_invitation_to_repeat() {
    let market = Market::open();
    let command = || farthing(["pay", "-o", "/dev/full", &market.at("/report")]).with_wallet();
    let ended = command().run().with_code(13);
    assert!(ended.stderr.contains("repeating the command would pay again"), "{}", ended.stderr);
    let facts = command().arguments(["--json"]).run().with_code(13).stderr_json();
    assert_eq!((&facts["error"], &facts["mayHavePaid"]), (&json!("unknown"), &json!(true)));
}

#[test]
fn a_dry_run_shows_the_offer_to_this_very_request_and_pays_nothing() {
    let market = Market::open();
    let ended = farthing(["pay", "--dry-run", "-d", "two fish", &market.at("/order")]).with_wallet().run().with_code(0);
    assert!(ended.stdout.contains("✓ 1. 0.02 USDC on eip155:84532 by exact"), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("would pay offer 1\n"), "{}", ended.stdout);
    let terms = farthing(["pay", "--dry-run", "--json", &market.at("/archive")]).with_wallet().run().with_code(0).stdout_json();
    assert_eq!(terms["offers"][0]["isPayable"], json!(false));
    assert_eq!(market.earned(), U256::ZERO);
}

#[test]
fn a_higher_limit_pays_more() {
    let market = Market::open();
    let archive = market.at("/archive");
    farthing(["pay", &archive]).with_wallet().run().with_code(10);
    let node = market.node();
    let ended = farthing(["pay", "--max-amount", "$25", "--rpc", &node, &archive]).with_wallet().run().with_code(0);
    assert_eq!(ended.stdout, "ten years");
}

#[test]
fn a_wallet_in_a_file_pays_too() {
    let market = Market::open();
    let folder = Folder::new("wallet");
    let wallet = format!("file:{}", folder.file("wallet", crate::run::KEY).display());
    farthing(["pay", "--wallet", &wallet, &market.at("/report")]).run().with_code(0);
    farthing(["pay", "--wallet", "env:PURSE", &market.at("/report")]).env("PURSE", crate::run::KEY).run().with_code(0);
    assert_eq!(market.earned(), U256::from(2 * CENT));
}

#[test]
fn an_unreachable_node_does_not_keep_a_payment_back_and_is_told() {
    let market = Market::open();
    let node = format!("{NETWORK}=http://127.0.0.1:1/secret-path");
    let ended = farthing(["pay", "--rpc", &node, &market.at("/report")]).with_wallet().run().with_code(0);
    assert!(ended.stderr.contains("the balance could not be read"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("secret-path"));
}

#[test]
fn colours_come_only_where_they_are_wanted() {
    let market = Market::open();
    let pay = || farthing(["pay", &market.at("/report")]).with_wallet();
    assert!(!pay().run().stderr.contains('\x1b'));
    assert!(pay().env("CLICOLOR_FORCE", "1").run().stderr.contains("\x1b[32mpaid\x1b[0m"));
    assert!(!pay().env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1").run().stderr.contains('\x1b'));
}
