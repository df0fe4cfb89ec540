//! `GET /metrics`: what docs/operations.md promises is there, where it says.

use std::thread;
use std::time::{Duration, Instant};

use crate::chain::Chain;
use crate::market::NETWORK;
use crate::operator::{Operator, config};
use crate::run::{get, post};

const NONE_IN_FLIGHT: &str =
    "x402_signer_inflight{chain=\"eip155:84532\",signer=\"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\"} 0";
/// After this long something does not happen, and the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The metrics that the operator's page names.
fn promised() -> Vec<&'static str> {
    let page = include_str!("../../../../docs/operations.md");
    let section = page.split_once("## What to watch").unwrap().1.split_once("\n## ").unwrap().0;
    let names = section.split('`').skip(1).step_by(2);
    names.filter(|name| name.starts_with("x402_") || name.starts_with("farthing_")).collect()
}

#[test]
fn a_verify_and_a_settle_are_counted_under_the_documented_names() {
    let chain = Chain::open();
    let config = config(NETWORK, &chain.rpc_url());
    let config = config.replace("[network", "metrics_listen = \"127.0.0.1:0\"\n[network");
    let operator = Operator::new("metrics", &config);
    let running = operator.start();
    let payment = chain.payment();
    assert_eq!(post(&running.at("/verify"), &[], &payment).unwrap().1["isValid"], true);
    assert_eq!(post(&running.at("/settle"), &[], &payment).unwrap().1["success"], true);
    let mut refused = chain.payment();
    refused["paymentRequirements"]["amount"] = "1".into();
    assert_eq!(post(&running.at("/verify"), &[], &refused).unwrap().1["isValid"], false);

    assert_eq!(get(&running.at("/metrics")).0, 404, "they have an address of their own");
    let address = running.facts["metrics"].as_str().unwrap();
    // A transaction is counted out of flight a moment after its payment was answered.
    let begun = Instant::now();
    let page = loop {
        let (status, page) = get(address);
        assert_eq!(status, 200);
        if page.contains(NONE_IN_FLIGHT) || begun.elapsed() > PATIENCE {
            break page;
        }
        thread::sleep(Duration::from_millis(20));
    };
    for line in [
        "x402_facilitator_verify_requests_total{status=\"valid\",scheme=\"exact\",chain=\"eip155:84532\"} 1",
        "x402_facilitator_verify_requests_total{status=\"invalid\",scheme=\"exact\",chain=\"eip155:84532\"} 1",
        "x402_facilitator_settle_requests_total{status=\"settled\",scheme=\"exact\",chain=\"eip155:84532\"} 1",
        "x402_facilitator_settle_duration_seconds_count{scheme=\"exact\",chain=\"eip155:84532\"} 1",
        NONE_IN_FLIGHT,
        "farthing_settlements_unfinished{chain=\"eip155:84532\"} 0",
        "farthing_transactions_total{chain=\"eip155:84532\",outcome=\"succeeded\"} 1",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
    // What has not happened has no line yet.
    let rare = [
        "farthing_reorged_total",
        "farthing_signer_external_use_total",
        "farthing_replacements_total",
        "farthing_reconciled_total",
    ];
    let names = promised();
    assert!(names.len() > 10, "{names:?}");
    for name in names.iter().filter(|name| !rare.contains(name)) {
        assert!(page.contains(&format!("\n{name}")), "{name} is not in {page}");
    }
    running.service.end("TERM").with_code(0);
}

#[test]
fn on_loopback_they_are_beside_the_rest_and_off_it_nowhere_unless_an_address_is_named() {
    let chain = Chain::open();
    let operator = Operator::new("metrics-here", &config(NETWORK, &chain.rpc_url()));
    let running = operator.start();
    assert_eq!(running.facts["metrics"], running.at("/metrics"));
    assert_eq!(get(&running.at("/metrics")).0, 200);
    running.service.end("TERM").with_code(0);

    let public = config(NETWORK, &chain.rpc_url()).replace("127.0.0.1:0\"", "0.0.0.0:0\"\npublic = true\nanonymous = true");
    let operator = Operator::new("metrics-nowhere", &public);
    let running = operator.start();
    assert!(running.facts["metrics"].is_null());
    let port = running.url.rsplit_once(':').unwrap().1;
    assert_eq!(get(&format!("http://127.0.0.1:{port}/healthz")).0, 200);
    assert_eq!(get(&format!("http://127.0.0.1:{port}/metrics")).0, 404);
    running.service.end("TERM").with_code(0);
}
