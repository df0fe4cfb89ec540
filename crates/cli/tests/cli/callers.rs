//! Who may call: keys made by `farthing facilitator key`, and quotas.

use serde_json::json;

use crate::chain::Chain;
use crate::market::NETWORK;
use crate::operator::{Operator, config};
use crate::run::{farthing, post};

#[test]
fn a_caller_needs_the_key_that_was_made_for_it_and_keeps_within_its_quota() {
    let chain = Chain::open();
    let made = farthing(["facilitator", "key", "shop", "--json"]).run().with_code(0).stdout_json();
    let caller = format!("[[caller]]\nname = \"shop\"\nkey_sha256 = {}\nverifies_per_minute = 1\n", made["keySha256"]);
    let operator = Operator::new("callers", &format!("{}{caller}", config(NETWORK, &chain.rpc_url())));
    let running = operator.start();
    let (verify, settle, payment) = (running.at("/verify"), running.at("/settle"), chain.payment());

    for headers in [&[][..], &[("Authorization", "Bearer farthing_0000")], &[("Authorization", "Basic c2hvcDo=")]] {
        let (status, answer) = post(&verify, headers, &payment).unwrap();
        assert_eq!((status, &answer["invalidReason"]), (401, &json!("unauthorized")), "{answer}");
        assert_eq!(post(&settle, headers, &payment).unwrap().0, 401);
    }
    let bearer = format!("Bearer {}", made["key"].as_str().unwrap());
    let headers = [("Authorization", bearer.as_str())];
    // Three requests fall into at most two minutes.
    let answers: Vec<_> = (0..3).map(|_| post(&verify, &headers, &payment).unwrap()).collect();
    assert_eq!((answers[0].0, &answers[0].1["isValid"]), (200, &json!(true)), "{answers:?}");
    let refused: Vec<_> = answers.iter().filter(|(status, _)| *status == 429).collect();
    assert!(
        !refused.is_empty() && refused.iter().all(|(_, answer)| answer["invalidReason"] == "quota_exceeded"),
        "{answers:?}"
    );
    assert_eq!(post(&settle, &headers, &payment).unwrap().1["success"], true, "settling has a quota of its own");

    let ended = running.service.end("TERM").with_code(0);
    assert!(!ended.stderr.contains(made["key"].as_str().unwrap()), "{}", ended.stderr);
    assert_eq!(operator.ledger(&["list"])[0]["caller"], "shop");
}

#[test]
fn a_key_is_printed_with_the_table_that_goes_into_the_configuration() {
    let ended = farthing(["facilitator", "key", "my-shop"]).run().with_code(0);
    let key = ended.stdout.lines().find(|line| line.starts_with("farthing_")).unwrap();
    assert_eq!(key.len(), "farthing_".len() + 64);
    let table = ended.stdout.split_once("[[caller]]").unwrap().1;
    assert!(table.contains("name = \"my-shop\"") && !table.contains(key), "{table}");
    let config = format!("{}[[caller]]{table}", config(NETWORK, "http://127.0.0.1:1"));
    Operator::new("key-table", &config).start().service.end("TERM").with_code(0);

    let again = farthing(["facilitator", "key", "my-shop"]).run().with_code(0);
    assert!(!again.stdout.contains(key), "no two keys are the same");
    let ended = farthing(["facilitator", "key", "my shop"]).run().with_code(2);
    assert!(ended.stderr.contains("expected a name of 1 to 64 printable ASCII characters"), "{}", ended.stderr);
}
