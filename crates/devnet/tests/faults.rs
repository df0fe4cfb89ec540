//! What can be made to go wrong with a node: what it says, what it has seen, and how often.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use alloy_primitives::Address;
use farthing_devnet::{Devnet, Fault, Mining, Times};
use serde_json::{Value, json};
use support::{Client, GWEI, hex, number, sign_1559};

const PAYEE: Address = Address::repeat_byte(0x42);

async fn start(mining: Mining) -> (Devnet, Client) {
    let devnet = Devnet::builder().mining(mining).start().await.unwrap();
    let client = Client::new(&devnet);
    (devnet, client)
}

#[tokio::test]
async fn garbage_is_a_success_without_json() {
    let (devnet, client) = start(Mining::Instant).await;
    devnet.faults().inject("eth_chainId", Fault::Garbage, Times::Exactly(1));
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" }).to_string();
    let response = client.post(body).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(serde_json::from_str::<Value>(&response.text().await.unwrap()).is_err());
    assert_eq!(client.number("eth_chainId", json!([])).await, devnet.chain_id());
}

#[tokio::test]
async fn another_answer_is_given_in_place_of_the_right_one() {
    let (devnet, client) = start(Mining::Instant).await;
    let id = devnet.faults().inject("eth_chainId", Fault::Answer(json!("0x1")), Times::UntilCleared);
    assert_eq!(client.number("eth_chainId", json!([])).await, 1, "the node is of another chain now");
    devnet.faults().clear(id);
    client.ok("dev_fault", json!([{ "method": "eth_getCode", "fault": "answer", "answer": null, "times": 1 }])).await;
    assert_eq!(client.ok("eth_getCode", json!([PAYEE.to_string()])).await, Value::Null);
    let accepted = json!(format!("{:#066x}", 7));
    devnet.faults().inject("eth_sendRawTransaction", Fault::Answer(accepted.clone()), Times::Exactly(1));
    let raw = client.transaction(&devnet.accounts()[0], 0, PAYEE, Vec::new());
    assert_eq!(client.ok("eth_sendRawTransaction", json!([hex(&raw)])).await, accepted);
    assert_eq!(devnet.block_number(), 0, "and nothing was sent");
}

#[tokio::test]
async fn answer_comes_twice() {
    let (devnet, client) = start(Mining::Instant).await;
    devnet.faults().inject("eth_chainId", Fault::AnswerTwice, Times::Exactly(2));
    let alone = client.request("eth_chainId", json!([])).await;
    assert_eq!(alone.as_array().unwrap().len(), 2);
    let call = |id: u64, method: &str| json!({ "jsonrpc": "2.0", "id": id, "method": method });
    let batch = json!([call(1, "eth_chainId"), call(2, "eth_blockNumber")]).to_string();
    let answers: Value = serde_json::from_str(&client.post(batch).await.unwrap().text().await.unwrap()).unwrap();
    let ids: Vec<u64> = answers.as_array().unwrap().iter().map(|answer| answer["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, 1, 2]);
}

#[tokio::test]
async fn stale_node_has_not_seen_the_newest_blocks() {
    let (devnet, client) = start(Mining::Instant).await;
    let payer = devnet.accounts()[0];
    devnet.mine(3).unwrap();
    let receipt = client.transact(&payer, PAYEE, Vec::new()).await;
    let hash = receipt["transactionHash"].clone();
    client.ok("dev_fault", json!([{ "method": "*", "fault": "stale_head", "blocks": 2 }])).await;
    assert_eq!(client.number("eth_blockNumber", json!([])).await, 2);
    assert_eq!(number(&client.ok("eth_getBlockByNumber", json!(["latest", false])).await["number"]), 2);
    assert_eq!(client.ok("eth_getBlockByNumber", json!(["0x3", false])).await, Value::Null);
    assert_eq!(client.ok("eth_getTransactionReceipt", json!([hash])).await, Value::Null);
    for tag in ["latest", "pending"] {
        let count = client.number("eth_getTransactionCount", json!([payer.address.to_string(), tag])).await;
        assert_eq!(count, 0, "{tag}");
    }
    client.ok("dev_clearFaults", json!([])).await;
    assert_eq!(client.number("eth_blockNumber", json!([])).await, 4);
    devnet.faults().inject("*", Fault::StaleHead(u64::MAX), Times::Exactly(1));
    assert_eq!(client.number("eth_blockNumber", json!([])).await, 0);
}

#[tokio::test]
async fn failures_by_chance_repeat_with_their_seed() {
    let (_devnet, client) = start(Mining::Instant).await;
    let failures = async |seed: u64| {
        let fault = json!({ "method": "eth_chainId", "fault": "http_status", "status": 429, "per_mille": 300, "seed": seed });
        let id = client.ok("dev_fault", json!([fault])).await;
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" }).to_string();
        let mut statuses = Vec::new();
        for _ in 0..50 {
            statuses.push(client.post(body.clone()).await.unwrap().status().as_u16());
        }
        assert_eq!(client.ok("dev_clearFault", json!([id])).await, true);
        statuses
    };
    let first = failures(1).await;
    assert!(first.contains(&200) && first.contains(&429));
    assert_eq!(failures(1).await, first);
    assert_ne!(failures(2).await, first);
    let both = json!({ "method": "*", "fault": "garbage", "per_mille": 1, "times": 1 });
    assert_eq!(client.error("dev_fault", json!([both])).await.0, -32602);
}

#[tokio::test]
async fn forgotten_transaction_of_a_reorganisation_leaves_its_nonce_free() {
    let (devnet, client) = start(Mining::Manual).await;
    let payer = devnet.accounts()[0];
    let first = client.send(&client.transaction(&payer, 0, PAYEE, Vec::new())).await;
    devnet.mine(1).unwrap();
    devnet.reorg(1).unwrap();
    assert_eq!(client.ok("eth_getTransactionByHash", json!([first.to_string()])).await, Value::Null);
    let count = client.number("eth_getTransactionCount", json!([payer.address.to_string(), "pending"])).await;
    assert_eq!(count, 0);
    // Another transaction may take it, even a cheaper one: the node has forgotten the first.
    let mut fields = client.fields(0, Address::repeat_byte(0x43), Vec::new());
    fields.max_fee_per_gas = 50 * GWEI;
    let second = client.send(&sign_1559(&payer, fields)).await;
    devnet.mine(1).unwrap();
    assert_eq!(number(&client.receipt(second).await["status"]), 1);
    let message =
        client.error("eth_sendRawTransaction", json!([hex(&client.transaction(&payer, 0, PAYEE, Vec::new()))])).await.1;
    assert_eq!(message, "nonce too low: next nonce 1, tx nonce 0");
}

#[tokio::test]
async fn second_endpoint_has_the_same_chain_and_its_own_faults() {
    let (devnet, client) = start(Mining::Instant).await;
    let endpoint = devnet.open_endpoint().await.unwrap();
    let second = Client { url: endpoint.rpc_url(), ..Client::new(&devnet) };
    let receipt = second.transact(&devnet.accounts()[0], PAYEE, Vec::new()).await;
    assert_eq!(client.ok("eth_getTransactionReceipt", json!([receipt["transactionHash"]])).await, receipt);
    endpoint.faults().inject("eth_blockNumber", Fault::StaleHead(1), Times::UntilCleared);
    assert_eq!(second.number("eth_blockNumber", json!([])).await, 0);
    assert_eq!(client.number("eth_blockNumber", json!([])).await, 1);
    client.ok("dev_clearFaults", json!([])).await;
    assert_eq!(second.number("eth_blockNumber", json!([])).await, 0, "each endpoint has its own");
    second.ok("dev_clearFaults", json!([])).await;
    assert_eq!(second.number("eth_blockNumber", json!([])).await, 1);
    drop(endpoint);
    let closed = async {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" }).to_string();
        while reqwest::Client::new().post(&second.url).body(body.clone()).send().await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), closed).await.unwrap();
    assert_eq!(client.number("eth_blockNumber", json!([])).await, 1);
}
