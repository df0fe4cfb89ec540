//! The proxy does what it says, and can be healed.
#![expect(clippy::unwrap_used, reason = "a test that finds nothing there has failed")]

use std::time::Duration;

use farthing_devnet::{Devnet, Mining};
use farthing_proof::chaos::{Chaos, Kind, Weather};
use farthing_proof::rpc::Rpc;
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_millis(50);

async fn proxied(weather: Weather) -> (Devnet, Chaos, Rpc) {
    let devnet = Devnet::builder().mining(Mining::Manual).start().await.unwrap();
    let chaos = Chaos::start(&devnet.rpc_url(), 7, weather).await.unwrap();
    let rpc = Rpc::new(chaos.url()).unwrap();
    (devnet, chaos, rpc)
}

async fn height(rpc: &Rpc) -> anyhow::Result<u64> {
    rpc.number("eth_blockNumber", json!([])).await
}

#[tokio::test]
async fn without_faults_the_proxy_is_the_node() {
    let (devnet, chaos, rpc) = proxied(Weather::stormy(0, PATIENCE)).await;
    devnet.mine(3).unwrap();
    assert_eq!(height(&rpc).await.unwrap(), 3);
    let batch = json!([
        {"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_chainId", "params": []},
    ]);
    let answers = rpc.exchange(&batch).await.unwrap();
    assert_eq!((&answers[0]["result"], &answers[1]["result"]), (&json!("0x3"), &json!("0x14a34")));
    assert_eq!((chaos.tally().exchanges, chaos.tally().all_faults()), (2, 0));
}

#[tokio::test]
async fn every_way_to_get_no_answer_is_an_error_and_calm_ends_it() {
    let ways = [
        Kind::TimeOutBefore,
        Kind::TimeOutAfter,
        Kind::CutBefore,
        Kind::CutAfter,
        Kind::TooManyRequests,
        Kind::ServerError,
        Kind::BadGateway,
        Kind::GatewayTimeOut,
        Kind::Garbage,
        Kind::Truncated,
        Kind::Empty,
    ];
    for kind in ways {
        let (_devnet, chaos, rpc) = proxied(Weather::only(kind, PATIENCE)).await;
        assert!(height(&rpc).await.is_err(), "{kind}");
        assert_eq!(chaos.tally().faults.get(&kind), Some(&1));
        chaos.calm();
        assert_eq!(height(&rpc).await.unwrap(), 0, "{kind}");
    }
}

#[tokio::test]
async fn a_fault_after_the_call_has_done_its_work() {
    let (devnet, _chaos, rpc) = proxied(Weather::only(Kind::CutAfter, PATIENCE)).await;
    assert!(rpc.call("evm_mine", json!([])).await.is_err());
    assert_eq!(devnet.block_number(), 1);
    let (devnet, _chaos, rpc) = proxied(Weather::only(Kind::CutBefore, PATIENCE)).await;
    assert!(rpc.call("evm_mine", json!([])).await.is_err());
    assert_eq!(devnet.block_number(), 0);
}

#[tokio::test]
async fn a_stale_node_repeats_itself() {
    let (devnet, chaos, rpc) = proxied(Weather::only(Kind::Stale, PATIENCE)).await;
    assert_eq!(height(&rpc).await.unwrap(), 0, "nothing older is known");
    devnet.mine(1).unwrap();
    assert_eq!(height(&rpc).await.unwrap(), 0);
    chaos.calm();
    assert_eq!(height(&rpc).await.unwrap(), 1);
    chaos.storm();
    assert_eq!(height(&rpc).await.unwrap(), 0);
}

#[tokio::test]
async fn the_chain_id_is_wrong_for_a_while() {
    let (_devnet, chaos, rpc) = proxied(Weather::only(Kind::OtherChain, PATIENCE)).await;
    assert_eq!(rpc.call("eth_chainId", json!([])).await.unwrap(), json!("0x7a69f"));
    chaos.calm();
    assert_eq!(rpc.call("eth_chainId", json!([])).await.unwrap(), json!("0x14a34"));
}

/// A signed transfer of nothing from the first development account to itself, for chain 84532, nonce 0. It is judged by
/// the node, which answers an error for what it can't take, so that it shows whether anything reached the node.
const NO_TRANSACTION: &str = "0x02c0";

#[tokio::test]
async fn broadcasts_are_dropped_denied_and_answered_falsely() {
    let broadcast = |rpc: Rpc| async move {
        let body = json!({"jsonrpc": "2.0", "id": 9, "method": "eth_sendRawTransaction", "params": [NO_TRANSACTION]});
        rpc.exchange(&body).await.unwrap()
    };
    let (_devnet, _chaos, rpc) = proxied(Weather::only(Kind::DroppedBroadcast, PATIENCE)).await;
    let dropped = broadcast(rpc).await;
    assert_eq!(dropped["result"].as_str().map(str::len), Some(66), "{dropped}");
    let (_devnet, _chaos, rpc) = proxied(Weather::only(Kind::FalselyKnown, PATIENCE)).await;
    assert_eq!(broadcast(rpc).await["error"]["message"], json!("already known"));
    let (_devnet, _chaos, rpc) = proxied(Weather::only(Kind::FalselyTooLow, PATIENCE)).await;
    assert_eq!(broadcast(rpc).await["error"]["message"], json!("nonce too low"));
    let (_devnet, _chaos, rpc) = proxied(Weather::only(Kind::DoubledBroadcast, PATIENCE)).await;
    let doubled = broadcast(rpc).await;
    assert!(doubled["error"].is_object() && doubled["id"] == json!(9), "the node's own answer comes: {doubled}");
}

#[tokio::test]
async fn a_seed_repeats_itself() {
    let mut runs = Vec::new();
    for seed in [3, 3, 4] {
        let devnet = Devnet::builder().mining(Mining::Manual).start().await.unwrap();
        let chaos = Chaos::start(&devnet.rpc_url(), seed, Weather::stormy(400, Duration::from_millis(2))).await.unwrap();
        let rpc = Rpc::new(chaos.url()).unwrap();
        let mut answers: Vec<Option<Value>> = Vec::new();
        for _ in 0..60 {
            answers.push(rpc.call("eth_chainId", json!([])).await.ok());
        }
        runs.push((answers, chaos.tally()));
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    let faults = runs[0].1.all_faults();
    assert!((12..36).contains(&faults), "{faults} of 60 exchanges at 40 %");
}
