//! The JSON-RPC surface: batches, malformed requests and injected faults.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::time::{Duration, Instant};

use alloy_primitives::{Address, B256};
use farthing_devnet::{Devnet, Fault, MAX_BATCH_REQUESTS, MAX_BODY_BYTES, Mining, Times};
use serde_json::{Value, json};
use support::{Client, GWEI, hex, number, sign_1559};

const PAYEE: Address = Address::repeat_byte(0x42);

async fn start() -> (Devnet, Client) {
    let devnet = Devnet::builder().start().await.unwrap();
    let client = Client::new(&devnet);
    (devnet, client)
}

async fn post(client: &Client, body: impl Into<String>) -> Value {
    let text = client.post(body.into()).await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"))
}

#[tokio::test]
async fn batch_is_answered_in_order_without_its_notifications() {
    let (_devnet, client) = start().await;
    let batch = json!([
        { "jsonrpc": "2.0", "id": 7, "method": "eth_chainId", "params": [] },
        { "jsonrpc": "2.0", "method": "evm_mine", "params": [] },
        { "jsonrpc": "2.0", "id": "b", "method": "eth_blockNumber" },
        { "jsonrpc": "2.0", "id": 9, "method": "eth_nonsense" },
    ]);
    let answers = post(&client, batch.to_string()).await;
    assert_eq!(answers.as_array().unwrap().len(), 3);
    assert_eq!(answers[0], json!({ "jsonrpc": "2.0", "id": 7, "result": "0x14a34" }));
    assert_eq!(answers[1]["result"], "0x1");
    assert_eq!(answers[2]["error"]["code"], -32601);
}

#[tokio::test]
async fn malformed_requests_get_errors() {
    let (_devnet, client) = start().await;
    let code = async |body: &str| post(&client, body).await["error"]["code"].as_i64().unwrap();
    assert_eq!(code("{").await, -32700);
    assert_eq!(code(&"[".repeat(10_000)).await, -32700);
    assert_eq!(code("[]").await, -32600);
    assert_eq!(code("7").await, -32600);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1}"#).await, -32600);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#).await, -32600);
    assert_eq!(code(r#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":{}}"#).await, -32602);
    let batch = vec![json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" }); MAX_BATCH_REQUESTS + 1];
    assert_eq!(code(&json!(batch).to_string()).await, -32600);
    let large = client.post(" ".repeat(MAX_BODY_BYTES + 1)).await.unwrap();
    assert_eq!(large.status(), 413);
}

#[tokio::test]
async fn garbage_parameters_get_errors_from_every_method() {
    let (devnet, client) = start().await;
    let methods = [
        "eth_getBalance",
        "eth_getCode",
        "eth_getStorageAt",
        "eth_getTransactionCount",
        "eth_call",
        "eth_estimateGas",
        "eth_feeHistory",
        "eth_sendRawTransaction",
        "eth_getTransactionByHash",
        "eth_getTransactionReceipt",
        "eth_getBlockReceipts",
        "eth_getBlockByNumber",
        "eth_getBlockByHash",
        "eth_getLogs",
        "eth_newFilter",
        "eth_getFilterChanges",
        "eth_getFilterLogs",
        "eth_uninstallFilter",
        "evm_increaseTime",
        "evm_setNextBlockTimestamp",
        "evm_revert",
        "anvil_setBalance",
        "anvil_setCode",
        "anvil_setNonce",
        "anvil_setStorageAt",
        "anvil_dropTransaction",
        "dev_giveUsdc",
        "dev_giveTokens",
        "dev_setAllowance",
        "dev_createSmartWallet",
        "dev_reorg",
        "dev_fault",
        "dev_clearFault",
    ];
    let garbage = [
        json!([]),
        json!([null]),
        json!(["0x"]),
        json!(["0xzz", "0xzz"]),
        json!([-1, -1]),
        json!([[[]], {}]),
        json!([{ "to": 5, "fromBlock": [] }, "soon"]),
        json!(["0x123456789012345678901234567890", "€"]),
        json!([{ "blockHash": "0x12", "topics": {}, "to": 7 }]),
        json!([{ "method": 1, "to": 1, "address": 1 }]),
    ];
    for method in methods {
        for params in &garbage {
            let (code, message) = client.error(method, params.clone()).await;
            assert!(code == -32602 || code == -32000, "{method} {params}: {code} {message}");
        }
    }
    for code in ["0xef0100", "0xef01"] {
        client.error("anvil_setCode", json!([PAYEE.to_string(), code])).await;
    }
    client.error("eth_sendRawTransaction", json!(["0x02f8"])).await;
    client.error("anvil_mine", json!(["0xffffffffffff"])).await;
    // And it still works.
    client.transact(&devnet.accounts()[0], PAYEE, Vec::new()).await;
}

#[tokio::test]
async fn extreme_calls_are_answered() {
    let (devnet, client) = start().await;
    let max = "0xffffffffffffffff";
    client.request("eth_call", json!([{ "gas": max, "value": format!("{:#x}", alloy_primitives::U256::MAX) }])).await;
    client.request("eth_estimateGas", json!([{ "gas": "0x0", "to": PAYEE.to_string() }])).await;
    client.request("eth_feeHistory", json!([max, "latest", [100]])).await;
    client.request("eth_getLogs", json!([{ "fromBlock": max, "toBlock": max }])).await;
    client.request("evm_increaseTime", json!([max])).await;
    client.request("evm_mine", json!([])).await;
    client.request("evm_increaseTime", json!([max])).await;
    client.request("anvil_setBalance", json!([PAYEE.to_string(), format!("{:#x}", alloy_primitives::U256::MAX)])).await;
    client.request("anvil_setNonce", json!([devnet.accounts()[0].address.to_string(), max])).await;
    client.request("eth_getTransactionCount", json!([devnet.accounts()[0].address.to_string(), "pending"])).await;
    // A loop that never ends runs out of gas.
    client.ok("anvil_setCode", json!([PAYEE.to_string(), "0x5b5f56"])).await;
    assert_eq!(client.error("eth_call", json!([{ "to": PAYEE.to_string() }])).await, (-32000, "out of gas".to_owned()));
    client.transact(&devnet.accounts()[1], Address::repeat_byte(1), Vec::new()).await;
}

#[tokio::test]
async fn delayed_method_answers_late_and_others_do_not() {
    let (devnet, client) = start().await;
    devnet.faults().inject("eth_chainId", Fault::Delay(Duration::from_millis(200)), Times::Exactly(1));
    let started = Instant::now();
    let (late, early) = tokio::join!(
        async {
            client.number("eth_chainId", json!([])).await;
            started.elapsed()
        },
        async {
            client.number("eth_blockNumber", json!([])).await;
            started.elapsed()
        }
    );
    assert!(late >= Duration::from_millis(200) && early < late, "{late:?} {early:?}");
    assert_eq!(devnet.faults().fired(), 1);
}

#[tokio::test]
async fn lost_answer_has_still_sent_the_transaction() {
    let (devnet, client) = start().await;
    devnet.faults().inject("eth_sendRawTransaction", Fault::DropAnswer, Times::Exactly(1));
    let raw = client.transaction(&devnet.accounts()[0], 0, PAYEE, Vec::new());
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [hex(&raw)] });
    let lost = match client.post(body.to_string()).await {
        Err(_) => true,
        Ok(response) => response.bytes().await.is_err(),
    };
    assert!(lost);
    assert_eq!(devnet.block_number(), 1);
    let again = client.error("eth_sendRawTransaction", json!([hex(&raw)])).await.1;
    assert_eq!(again, "nonce too low: next nonce 1, tx nonce 0", "once it is mined, nodes know it by its nonce only");
}

#[tokio::test]
async fn held_transaction_is_visible_and_replaceable_but_never_mined() {
    let (devnet, client) = start().await;
    let payer = devnet.accounts()[0];
    devnet.faults().inject("eth_sendRawTransaction", Fault::HoldTransaction, Times::Exactly(1));
    let held = client.send(&client.transaction(&payer, 0, PAYEE, Vec::new())).await;
    devnet.mine(2).unwrap();
    assert_eq!(client.receipt(held).await, Value::Null);
    assert!(!client.ok("eth_getTransactionByHash", json!([held.to_string()])).await.is_null());
    let mut fields = client.fields(0, PAYEE, Vec::new());
    fields.max_fee_per_gas = 120 * GWEI;
    fields.max_priority_fee_per_gas = 2 * GWEI;
    let replacement = client.send(&sign_1559(&payer, fields)).await;
    assert_eq!(number(&client.receipt(replacement).await["status"]), 1);
}

#[tokio::test]
async fn lost_transaction_is_answered_and_forgotten() {
    let (devnet, client) = start().await;
    client.ok("dev_fault", json!([{ "method": "eth_sendRawTransaction", "fault": "lose_transaction", "times": 1 }])).await;
    let raw = client.transaction(&devnet.accounts()[0], 0, PAYEE, Vec::new());
    let hash: B256 = client.send(&raw).await;
    assert_eq!(client.ok("eth_getTransactionByHash", json!([hash.to_string()])).await, Value::Null);
    assert_eq!(client.send(&raw).await, hash, "it can be sent again");
    assert_eq!(number(&client.receipt(hash).await["status"]), 1);
}

#[tokio::test]
async fn method_executed_twice_answers_once() {
    let (devnet, client) = start().await;
    devnet.faults().inject("evm_mine", Fault::ExecuteTwice, Times::Exactly(1));
    client.ok("evm_mine", json!([])).await;
    assert_eq!(devnet.block_number(), 2);
}

#[tokio::test]
async fn injected_errors_last_until_cleared() {
    let (devnet, client) = start().await;
    let error = Fault::Error { code: -32005, message: "limit exceeded".to_owned() };
    let id = devnet.faults().inject("eth_call", error, Times::UntilCleared);
    for _ in 0..3 {
        assert_eq!(client.error("eth_call", json!([{}])).await, (-32005, "limit exceeded".to_owned()));
    }
    assert!(devnet.faults().clear(id));
    client.ok("eth_call", json!([{ "to": PAYEE.to_string() }])).await;
    client.ok("dev_fault", json!([{ "method": "*", "fault": "http_status", "status": 503 }])).await;
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" }).to_string();
    assert_eq!(client.post(body.clone()).await.unwrap().status(), 503);
    client.ok("dev_clearFaults", json!([])).await;
    assert_eq!(client.post(body).await.unwrap().status(), 200);
}

#[tokio::test]
async fn many_senders_at_once_are_all_mined() {
    let devnet = Devnet::builder().mining(Mining::Interval(Duration::from_millis(20))).start().await.unwrap();
    let client = Client::new(&devnet);
    let sends = devnet.accounts().iter().flat_map(|account| (0..20).map(move |nonce| (account, nonce)));
    let mut hashes = Vec::new();
    for (account, nonce) in sends {
        hashes.push(client.send(&client.transaction(account, nonce, PAYEE, Vec::new())).await);
    }
    let all = async {
        for hash in hashes {
            while client.receipt(hash).await.is_null() {
                tokio::task::yield_now().await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
}
