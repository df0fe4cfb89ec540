//! `farthing demo`: the story comes true, fits a terminal, and can be tried on.

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::run::{Folder, KEY, farthing, farthing_with_open_files, get};

const WIDEST_LINE_CHARS: usize = 80;
const MOST_LINES: usize = 60;
/// After this long something does not happen, and the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn the_story_comes_true() {
    let ended = farthing(["demo", "--once", "--agents", "8"]).run().with_code(0);
    for part in [
        "402 Payment Required",
        "200 OK",
        "agent $100 → $99.99   seller $0 → $0.01",
        "402, up to $0.10",
        "12 words later  →  200, and $0.012 is what moves",
        "the contract paid the price, once",
        "this payment has bought its answer already",
        "over the limit of $1 per payment",
        "kill -9 with a transaction under way  →  503, nothing is given away",
        "nothing lost, nothing doubled",
        "8/8 served",
    ] {
        assert!(ended.stdout.contains(part), "{part} is not in {}", ended.stdout);
    }
    assert!(!ended.stdout.contains(['✗', '\x1b', '\r']), "{}", ended.stdout);
    assert_eq!(ended.stderr, "");
    let widest = ended.stdout.lines().max_by_key(|line| line.chars().count()).unwrap();
    assert!(widest.chars().count() <= WIDEST_LINE_CHARS, "too wide: {widest}");
}

#[test]
fn the_facts_are_one_object_in_which_every_check_holds() {
    let facts = farthing(["demo", "--once", "--json", "--agents", "8"]).run().with_code(0).stdout_json();
    let checks = facts["checks"].as_array().unwrap();
    assert!(checks.len() >= 9 && checks.iter().all(|check| check["holds"] == true), "{checks:?}");
    assert_eq!(facts["replayRefusedWith"], "payment_already_used");
    assert_eq!((&facts["purchase"]["agentBefore"], &facts["purchase"]["agentAfter"]), (&json!("$100"), &json!("$99.99")));
    let metered = &facts["metered"];
    assert_eq!(
        (&metered["ceiling"], &metered["charged"], &metered["exact"]),
        (&json!("$0.10"), &json!("$0.012"), &json!(true))
    );
    assert_eq!(facts["smartWallet"]["exact"], true);
    let crash = &facts["crash"];
    assert_eq!((&crash["firstStatus"], &crash["secondStatus"], &crash["exact"]), (&json!(503), &json!(200), &json!(true)));
    assert!(
        crash["transaction"].as_str().unwrap().starts_with("0x") && crash["transaction"] != facts["purchase"]["transaction"]
    );
    assert_eq!((&facts["crowd"]["served"], &facts["crowd"]["exact"]), (&json!(8), &json!(true)));
}

#[test]
fn it_stays_up_with_lines_that_work_until_ctrl_c() {
    let mut demo = farthing(["demo", "--agents", "1"]).may_show_keys().start();
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.contains("Ctrl-C stops everything")) {
        let line = demo.line();
        assert!(!line.is_empty(), "it ended early: {lines:?}");
        lines.push(line.trim().to_owned());
    }
    assert!(lines.len() <= MOST_LINES, "{} lines", lines.len());
    let rest_of =
        |start: &str| lines.iter().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("no line {start:?}"));
    assert_eq!(rest_of("export EVM_PRIVATE_KEY="), KEY);
    assert_eq!(get(rest_of("curl -i ")).0, 402);
    assert!(get(&format!("http{}", rest_of("curl http"))).1.contains("\"exact\""));
    farthing(["inspect", rest_of("farthing inspect ")]).run().with_code(0);
    let ended = farthing(["pay", rest_of("farthing pay ")]).with_wallet().run().with_code(0);
    assert!(ended.stdout.contains("ships_in"), "{}", ended.stdout);
    let ended = demo.end("INT").with_code(0);
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_demo_that_is_killed_leaves_no_facilitator_behind() {
    // What it cannot clean up any more is in a folder of the test's own.
    let folder = Folder::new("killed-demo");
    let demo = farthing(["demo", "--json", "--agents", "1"]).env("TMPDIR", folder.at("").to_str().unwrap());
    let mut demo = demo.start();
    let facilitator = demo.facts()["facilitator"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    assert!(TcpStream::connect(&facilitator).is_ok());
    demo.end("KILL");
    let begun = Instant::now();
    while TcpStream::connect(&facilitator).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "{facilitator} is still there");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn ports_that_are_taken_are_replaced_by_free_ones() {
    // One that cannot be taken here is taken by somebody else, who may give it back in the meantime.
    let taken = [("chain", 8545), ("facilitator", 4021), ("api", 4020)]
        .map(|(name, port)| (name, TcpListener::bind(("127.0.0.1", port))));
    let mut demo = farthing(["demo", "--json", "--agents", "1"]).start();
    let facts = demo.facts();
    for (name, held) in &taken {
        let url = facts[name].as_str().unwrap();
        let is_held = held.as_ref().is_ok_and(|held| url.ends_with(&format!(":{}", held.local_addr().unwrap().port())));
        assert!(!is_held, "{name} is at {url}");
    }
    let api = facts["api"].as_str().unwrap();
    assert_eq!(get(&format!("{api}/report")).0, 402);
    demo.end("TERM").with_code(0);
    drop(taken);
}

#[test]
fn a_crowd_beyond_what_may_be_open_is_refused_with_the_number_that_fits() {
    let ended = farthing_with_open_files(200, ["demo", "--once"]).run().with_code(1);
    assert!(ended.stderr.contains("this system allows 200 in all; try --agents 22"), "{}", ended.stderr);
    farthing_with_open_files(200, ["demo", "--once", "--agents", "22"]).run().with_code(0);
    let ended = farthing(["demo", "--agents", "0"]).run().with_code(2);
    assert!(ended.stderr.contains("1..=1000"), "{}", ended.stderr);
}
