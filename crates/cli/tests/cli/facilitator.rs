//! `farthing facilitator`: what it needs to start, what it says, and how it ends.

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::market::{Market, NETWORK};
use crate::operator::{Operator, Running, config, network};
use crate::run::{OPERATOR_KEY, farthing, get};

/// After this long something does not happen, and the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn json_of(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

/// Waits until it says that it is ready: it listens before the sending accounts are its own.
fn ready(url: &str) {
    let begun = Instant::now();
    loop {
        let answer = get(&format!("{url}/readyz"));
        if answer == (200, "ready\n".to_owned()) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{answer:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn it_serves_what_it_was_configured_for_and_ends_with_sigterm() {
    let market = Market::open();
    let operator = Operator::new("serves", &config(NETWORK, &market.rpc_url()));
    let Running { service, url, .. } = operator.start();
    assert_eq!(get(&format!("{url}/healthz")), (200, "alive\n".to_owned()));
    ready(&url);
    let (status, body) = get(&format!("{url}/supported"));
    let supported = json_of(&body);
    assert_eq!(status, 200);
    let kinds = supported["kinds"].as_array().unwrap();
    assert!(
        kinds.iter().any(|kind| kind["network"] == NETWORK && kind["scheme"] == "exact" && kind["x402Version"] == 2),
        "{body}"
    );
    assert!(kinds.iter().any(|kind| kind["network"] == "base-sepolia" && kind["x402Version"] == 1), "{body}");
    assert_eq!(supported["signers"]["eip155:*"][0], "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    assert_eq!(get(&format!("{url}/nothing")).0, 404);
    service.end("TERM").with_code(0);
}

#[test]
fn it_announces_itself_to_people_too() {
    let market = Market::open();
    let operator = Operator::new("people", &config("base-sepolia", &market.rpc_url()));
    let mut service = operator.farthing(&["facilitator"]).env("FACILITATOR_KEY", OPERATOR_KEY).start();
    let line = service.line();
    assert!(line.starts_with("farthing facilitator  http://127.0.0.1:"), "{line}");
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    ready(url);
    let ended = service.end("INT").with_code(0);
    assert!(ended.stdout.contains("POST /verify") && !ended.stdout.contains('\x1b'), "{}", ended.stdout);
}

#[test]
fn a_configuration_that_makes_no_sense_is_a_start_up_error_that_says_where_and_what() {
    let good = config(NETWORK, "http://127.0.0.1:1/SECRET");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (from, to, taught) in [
        ("signer =", "singer =", "line 5, singer: unknown field `singer`, expected one of `rpc`, `signer`"),
        ("[facilitator]", "[facilitators]", "unknown field `facilitators`"),
        ("env:FACILITATOR_KEY", OPERATOR_KEY, "line 5, signer: expected where the secret is kept, such as \"env:NAME\""),
        ("env:FACILITATOR_KEY", "env:NOT_SET", "network.\"eip155:84532\": signer: the environment variable NOT_SET is not set"),
        ("env:FACILITATOR_KEY", "env:PATH", "network.\"eip155:84532\": signer: expected a private key"),
        ("env:FACILITATOR_KEY", "file:/nowhere/key", "/nowhere/key cannot be read"),
        ("http://127.0.0.1:1/SECRET", "wss://node.example/SECRET", "line 4, rpc: expected a node's URL, http://… or https://…"),
        (
            "http://127.0.0.1:1/SECRET",
            "env:NO_NODE",
            "network.\"eip155:84532\": rpc: the environment variable NO_NODE is not set",
        ),
        ("127.0.0.1:0", "0.0.0.0:0", "facilitator.listen is 0.0.0.0:0, which others can reach"),
        (
            "127.0.0.1:0\"",
            "0.0.0.0:0\"\npublic = true",
            "nobody needs a key; add a [[caller]] with name and key_sha256 (`farthing facilitator key` makes one), or set anonymous = true",
        ),
        ("[network", "store = \"mysql://db/SECRET\"\n[network", "line 3, store: expected a book, sqlite:PATH or postgres://…"),
        ("[network", "store = \"sqlite::memory:\"\n[network", "facilitator.store: sqlite::memory:: a book in memory forgets"),
        ("[network", "store = \"env:NO_BOOK\"\n[network", "facilitator.store: the environment variable NO_BOOK is not set"),
        ("[network", "metrics_listen = \"here\"\n[network", "line 3, metrics_listen: expected an IP address and a port"),
        ("[network", "[traces]\notlp = \"collector:4318\"\n[network", "traces.otlp: expected a collector's address"),
        (
            "signer =",
            "assets = [\"0x036CbD53842c5426634e7929541eC2318f3dCF7f\"]\nsigner =",
            "expected addresses of tokens known on eip155:84532",
        ),
        (
            "env:FACILITATOR_KEY\"",
            "env:FACILITATOR_KEY\"\n[[caller]]\nname = \"shop\"\nkey_sha256 = \"SECRET\"",
            "line 8, key_sha256: expected the SHA-256 digest",
        ),
        (
            "signer = \"env:FACILITATOR_KEY\"",
            "signer = [\"env:FACILITATOR_KEY\", \"env:FACILITATOR_KEY\"]",
            "is there twice; every account sends by itself",
        ),
        ("signer = \"env:FACILITATOR_KEY\"", "signer = []", "line 5, signer: expected at least one"),
        ("127.0.0.1:0", "localhost", "line 2, listen: expected an IP address and a port"),
        ("127.0.0.1:0", &taken, "cannot be listened on"),
        (NETWORK, "bass", "network.\"bass\": no such network: expected a CAIP-2 network such as \"eip155:8453\""),
        (NETWORK, "solana:abc", "expected an EVM network such as \"eip155:8453\""),
        ("signer =", "gas = { max_units = 0 }\nsigner =", "gas.max_units: expected at least 1"),
        ("signer =", "confirm = { block = 1 }\nsigner =", "unknown field `block`"),
        ("signer =", "signer = \"env:A\"\nsigner =", "duplicate key"),
        ("[network", "[log]\nlevel = \"loud=very\"\n[network", "log.level: expected a log filter"),
    ] {
        let ended = Operator::new("senseless", &good.replace(from, to)).facilitator().run().with_code(1);
        assert!(ended.stderr.contains(taught), "{taught:?} is not in {:?}", ended.stderr);
        assert!(!ended.stderr.contains("SECRET") && ended.stdout.is_empty(), "{ended:?}");
    }
    let ended = Operator::new("empty", "").facilitator().run().with_code(1);
    assert!(ended.stderr.contains("add a table such as [network.\"eip155:84532\"]"), "{}", ended.stderr);
    let ended = farthing(["facilitator", "--config", "/nowhere/x.toml"]).run().with_code(1);
    assert!(ended.stderr.contains("/nowhere/x.toml cannot be read"), "{}", ended.stderr);
    farthing(["facilitator"]).run().with_code(2);
}

#[test]
fn the_same_network_twice_is_a_start_up_error() {
    let twice = config(NETWORK, "http://127.0.0.1:1") + &network("base-sepolia", "\"http://127.0.0.1:2\"");
    let ended = Operator::new("twice", &twice).facilitator().run().with_code(1);
    assert!(ended.stderr.contains("configure each kind once"), "{}", ended.stderr);
}

#[test]
fn a_node_that_is_down_is_no_reason_not_to_start_and_its_address_is_not_told() {
    let operator = Operator::new("down", &config(NETWORK, "http://127.0.0.1:1/SECRET"));
    let Running { service, url, .. } = operator.start();
    assert_eq!(get(&format!("{url}/healthz")).0, 200);
    let (status, body) = get(&format!("{url}/readyz"));
    assert_eq!(status, 503);
    assert!(json_of(&body)["causes"][0]["message"] == "cannot be reached: eip155:84532", "{body}");
    let ended = service.end("TERM").with_code(0);
    assert!(ended.stderr.contains("the node cannot be reached") && ended.stderr.contains(NETWORK), "{}", ended.stderr);
    assert!(!ended.stderr.contains("SECRET") && !body.contains("SECRET"), "{}", ended.stderr);
}

#[test]
fn a_node_of_another_chain_makes_it_unready_and_is_told_at_once() {
    let market = Market::open();
    let operator = Operator::new("other", &config("eip155:8453", &market.rpc_url()));
    let Running { service, url, .. } = operator.start();
    assert_eq!(get(&format!("{url}/readyz")).0, 503);
    assert_eq!(get(&format!("{url}/supported")).0, 200);
    let ended = service.end("TERM").with_code(0);
    assert!(ended.stderr.contains("the node is of chain 84532, expected 8453"), "{}", ended.stderr);
}

#[test]
fn the_log_is_lines_of_json_where_that_is_configured() {
    let config =
        config(NETWORK, "http://127.0.0.1:1").replace("[network", "[log]\nformat = \"json\"\nlevel = \"warn\"\n[network");
    let operator = Operator::new("log", &config);
    let Running { service, url, .. } = operator.start();
    get(&format!("{url}/readyz"));
    let ended = service.end("TERM").with_code(0);
    assert!(!ended.stderr.is_empty());
    for line in ended.stderr.lines() {
        assert_eq!(json_of(line)["level"], "WARN", "{line}");
    }
}

#[test]
fn a_connection_that_never_asks_does_not_keep_it_from_ending() {
    let operator = Operator::new("idle", &config(NETWORK, "http://127.0.0.1:1"));
    let Running { service, url, .. } = operator.start();
    let host = url.strip_prefix("http://").unwrap();
    let silent = TcpStream::connect(host).unwrap();
    let mut half = TcpStream::connect(host).unwrap();
    std::io::Write::write_all(&mut half, b"POST /settle HTTP/1.1\r\nHost: x\r\n").unwrap();
    // Both have been accepted when a later connection has been answered.
    assert_eq!(get(&format!("{url}/healthz")).0, 200);
    service.end("TERM").with_code(0);
    drop((silent, half));
}
