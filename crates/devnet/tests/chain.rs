//! Blocks, the pool, time, snapshots and reorganisations, as clients see them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use alloy_consensus::{TxEip1559, TxLegacy};
use alloy_primitives::{Address, TxKind, U256};
use alloy_sol_types::SolCall;
use farthing_devnet::{Devnet, MULTICALL3, Mining};
use serde_json::{Value, json};
use support::{Authorization, Client, GWEI, Multicall, Token, hex, number, sign_1559, sign_legacy};

const PAYEE: Address = Address::repeat_byte(0x42);

async fn start(mining: Mining) -> (Devnet, Client) {
    let devnet = Devnet::builder().mining(mining).start().await.unwrap();
    let client = Client::new(&devnet);
    (devnet, client)
}

#[tokio::test]
async fn every_transaction_gets_a_block_with_real_links() {
    let (devnet, client) = start(Mining::Instant).await;
    let payer = devnet.accounts()[0];
    devnet.give_usdc(payer.address, U256::from(100)).unwrap();
    for value in 1..=3_u64 {
        let data = Token::transferCall { to: PAYEE, value: U256::from(value) }.abi_encode();
        client.transact(&payer, devnet.usdc(), data).await;
    }
    assert_eq!(client.number("eth_blockNumber", json!([])).await, 3);
    let latest = client.ok("eth_getBlockByNumber", json!(["latest", true])).await;
    let parent = client.ok("eth_getBlockByHash", json!([latest["parentHash"], false])).await;
    assert_eq!(number(&parent["number"]), 2);
    let transaction = &latest["transactions"][0];
    assert_eq!(transaction["blockHash"], latest["hash"]);
    assert_eq!(transaction["type"], "0x2");
    let receipt = client.receipt(transaction["hash"].as_str().unwrap().parse().unwrap()).await;
    assert_eq!(receipt["blockHash"], latest["hash"]);
    assert_eq!(receipt["gasUsed"], latest["gasUsed"]);
    assert_eq!(receipt["logsBloom"], latest["logsBloom"]);
    assert_eq!(number(&receipt["effectiveGasPrice"]), number(&latest["baseFeePerGas"]) + 1_000_000_000);
    assert_eq!(transaction["gasPrice"], receipt["effectiveGasPrice"]);
    assert!(number(&latest["baseFeePerGas"]) < number(&parent["baseFeePerGas"]), "nearly empty blocks lower the base fee");
    // State of an earlier block can still be read.
    let call = json!({ "to": devnet.usdc().to_string(), "data": hex(&Token::balanceOfCall { account: PAYEE }.abi_encode()) });
    let past = client.ok("eth_call", json!([call, "0x1"])).await;
    assert_eq!(U256::from_be_slice(&support::bytes(&past)), U256::from(1));
}

#[tokio::test]
async fn transaction_after_a_gap_waits_for_the_gap_to_close() {
    let (devnet, client) = start(Mining::Instant).await;
    let payer = devnet.accounts()[0];
    let later = client.send(&client.transaction(&payer, 1, PAYEE, Vec::new())).await;
    assert_eq!(client.receipt(later).await, Value::Null);
    let waiting = client.ok("eth_getTransactionByHash", json!([later.to_string()])).await;
    assert_eq!(waiting["blockHash"], Value::Null);
    assert_eq!(client.number("eth_getTransactionCount", json!([payer.address.to_string(), "pending"])).await, 0);
    client.send(&client.transaction(&payer, 0, PAYEE, Vec::new())).await;
    let receipt = client.receipt(later).await;
    assert_eq!(number(&receipt["transactionIndex"]), 1);
    assert_eq!(number(&receipt["cumulativeGasUsed"]), 42_000);
    assert_eq!(client.number("eth_getTransactionCount", json!([payer.address.to_string(), "latest"])).await, 2);
}

#[tokio::test]
async fn manual_block_takes_what_waits_best_tip_first() {
    let (devnet, client) = start(Mining::Manual).await;
    let (first, second) = (devnet.accounts()[0], devnet.accounts()[1]);
    let mut generous = client.fields(0, PAYEE, Vec::new());
    generous.max_priority_fee_per_gas = 5 * GWEI;
    let low = client.send(&client.transaction(&first, 0, PAYEE, Vec::new())).await;
    let high = client.send(&sign_1559(&second, generous)).await;
    assert_eq!(client.number("eth_getTransactionCount", json!([first.address.to_string(), "pending"])).await, 1);
    assert_eq!(client.number("eth_blockNumber", json!([])).await, 0);
    devnet.mine(1).unwrap();
    assert_eq!(number(&client.receipt(high).await["transactionIndex"]), 0);
    assert_eq!(number(&client.receipt(low).await["transactionIndex"]), 1);
}

#[tokio::test]
async fn block_gas_limit_holds() {
    let devnet = Devnet::builder().mining(Mining::Manual).block_gas_limit(500_000).start().await.unwrap();
    let client = Client::new(&devnet);
    let mut hashes = Vec::new();
    for nonce in 0..2 {
        let mut fields = client.fields(nonce, PAYEE, Vec::new());
        fields.gas_limit = 490_000;
        hashes.push(client.send(&sign_1559(&devnet.accounts()[0], fields)).await);
    }
    devnet.mine(1).unwrap();
    // The first used 21,000; the second asks for more than is left.
    assert_eq!(client.receipt(hashes[1]).await, Value::Null);
    devnet.mine(1).unwrap();
    assert_eq!(number(&client.receipt(hashes[1]).await["blockNumber"]), 2);
    let (code, message) = {
        let mut fields = client.fields(3, PAYEE, Vec::new());
        fields.gas_limit = 500_001;
        client.error("eth_sendRawTransaction", json!([hex(&sign_1559(&devnet.accounts()[0], fields))])).await
    };
    assert_eq!((code, message.as_str()), (-32000, "exceeds block gas limit"));
}

#[tokio::test]
async fn impossible_transactions_are_refused_in_geths_words() {
    let (devnet, client) = start(Mining::Manual).await;
    let payer = devnet.accounts()[0];
    let refused = async |change: &dyn Fn(&mut alloy_consensus::TxEip1559)| {
        let mut fields = client.fields(0, PAYEE, Vec::new());
        change(&mut fields);
        let (code, message) = client.error("eth_sendRawTransaction", json!([hex(&sign_1559(&payer, fields))])).await;
        assert_eq!(code, -32000);
        message
    };
    assert_eq!(refused(&|fields| fields.chain_id = 1).await, "invalid sender: invalid chain id for signer: have 1 want 84532");
    assert_eq!(refused(&|fields| fields.gas_limit = 20_999).await, "intrinsic gas too low: gas 20999, minimum needed 21000");
    assert!(
        refused(&|fields| fields.value = U256::MAX).await.starts_with("insufficient funds for gas * price + value: balance ")
    );
    assert!(
        refused(&|fields| fields.max_priority_fee_per_gas = 101 * GWEI)
            .await
            .starts_with("max priority fee per gas higher than max fee per gas")
    );
    let original = client.transaction(&payer, 0, PAYEE, Vec::new());
    client.send(&original).await;
    let error = client.error("eth_sendRawTransaction", json!([hex(&original)])).await;
    assert_eq!(error.1, "already known");
    assert_eq!(refused(&|fields| fields.max_fee_per_gas += 1).await, "replacement transaction underpriced");
    devnet.mine(1).unwrap();
    assert_eq!(refused(&|fields| fields.value = U256::from(1)).await, "nonce too low: next nonce 1, tx nonce 0");
    let unprotected = sign_legacy(
        &payer,
        TxLegacy { gas_limit: 21_000, gas_price: 2 * GWEI, nonce: 1, to: TxKind::Call(PAYEE), ..TxLegacy::default() },
    );
    let error = client.error("eth_sendRawTransaction", json!([hex(&unprotected)])).await;
    assert_eq!(error.1, "only replay-protected (EIP-155) transactions allowed over RPC");
    let legacy = TxLegacy {
        chain_id: Some(84532),
        gas_limit: 21_000,
        gas_price: 2 * GWEI,
        nonce: 1,
        to: TxKind::Call(PAYEE),
        ..TxLegacy::default()
    };
    let hash = client.send(&sign_legacy(&payer, legacy)).await;
    devnet.mine(1).unwrap();
    assert_eq!(client.receipt(hash).await["type"], "0x0");
}

#[tokio::test]
async fn better_paying_replacement_takes_the_nonce() {
    let (devnet, client) = start(Mining::Manual).await;
    let payer = devnet.accounts()[0];
    let original = client.send(&client.transaction(&payer, 0, PAYEE, Vec::new())).await;
    let mut fields = client.fields(0, PAYEE, Vec::new());
    for (max_fee_per_gas, max_priority_fee_per_gas) in [(110 * GWEI, GWEI), (100 * GWEI, 2 * GWEI), (110 * GWEI - 1, 2 * GWEI)]
    {
        let raw = sign_1559(&payer, TxEip1559 { max_fee_per_gas, max_priority_fee_per_gas, ..fields.clone() });
        let message = client.error("eth_sendRawTransaction", json!([hex(&raw)])).await.1;
        assert_eq!(message, "replacement transaction underpriced");
    }
    assert!(!client.ok("eth_getTransactionByHash", json!([original.to_string()])).await.is_null());
    fields.max_fee_per_gas = 110 * GWEI;
    fields.max_priority_fee_per_gas = GWEI + GWEI / 10;
    let replacement = client.send(&sign_1559(&payer, fields)).await;
    assert_eq!(client.ok("eth_getTransactionByHash", json!([original.to_string()])).await, Value::Null);
    let waiting = client.ok("eth_getTransactionByHash", json!([replacement.to_string()])).await;
    assert_eq!((&waiting["blockNumber"], &waiting["blockHash"]), (&Value::Null, &Value::Null));
    let count = async |tag: &str| client.number("eth_getTransactionCount", json!([payer.address.to_string(), tag])).await;
    assert_eq!((count("latest").await, count("pending").await), (0, 1), "one nonce, whoever holds it");
    devnet.mine(1).unwrap();
    assert_eq!(client.receipt(original).await, Value::Null);
    assert_eq!(number(&client.receipt(replacement).await["status"]), 1);
}

#[tokio::test]
async fn transaction_below_the_base_fee_waits() {
    let (devnet, client) = start(Mining::Instant).await;
    let mut fields = client.fields(0, PAYEE, Vec::new());
    fields.max_fee_per_gas = 1_000_000;
    fields.max_priority_fee_per_gas = 0;
    let hash = client.send(&sign_1559(&devnet.accounts()[0], fields)).await;
    assert_eq!(devnet.block_number(), 0);
    // Empty blocks lower the base fee by an eighth each, from one gwei.
    devnet.mine(60).unwrap();
    assert_eq!(number(&client.receipt(hash).await["status"]), 1);
}

#[tokio::test]
async fn dropped_transaction_leaves_the_pool() {
    let (devnet, client) = start(Mining::Manual).await;
    let hash = client.send(&client.transaction(&devnet.accounts()[0], 0, PAYEE, Vec::new())).await;
    assert_eq!(client.ok("anvil_dropTransaction", json!([hash.to_string()])).await, json!(hash.to_string()));
    devnet.mine(1).unwrap();
    assert_eq!(client.receipt(hash).await, Value::Null);
}

#[tokio::test]
async fn interval_mining_makes_blocks_by_itself() {
    let (devnet, client) = start(Mining::Interval(Duration::from_millis(10))).await;
    let hash = client.send(&client.transaction(&devnet.accounts()[0], 0, PAYEE, Vec::new())).await;
    let mined = async {
        while client.receipt(hash).await.is_null() {
            tokio::task::yield_now().await;
        }
        let seen = devnet.block_number();
        while devnet.block_number() < seen + 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), mined).await.unwrap();
}

#[tokio::test]
async fn snapshot_and_revert_put_everything_back() {
    let (devnet, client) = start(Mining::Instant).await;
    let payer = devnet.accounts()[0];
    devnet.give_usdc(payer.address, U256::from(100)).unwrap();
    let before = devnet.now();
    let snapshot = client.ok("evm_snapshot", json!([])).await;
    devnet.increase_time(10_000);
    let authorization = Authorization::sign(&payer, &devnet, "USDC", PAYEE, 5, 1);
    let receipt = client.transact(&devnet.accounts()[1], devnet.usdc(), authorization.split()).await;
    let orphan = receipt["blockHash"].clone();
    assert_eq!(client.ok("evm_revert", json!([snapshot])).await, true);
    assert_eq!(devnet.usdc_balance(PAYEE), U256::ZERO);
    assert_eq!(devnet.block_number(), 0);
    assert!(devnet.now() < before + 5_000);
    assert_eq!(client.ok("eth_getTransactionReceipt", json!([receipt["transactionHash"]])).await, Value::Null);
    assert_eq!(client.ok("eth_getBlockByHash", json!([orphan, false])).await, Value::Null);
    assert_eq!(client.ok("evm_revert", json!([snapshot])).await, false, "a snapshot is used up");
    // The same transaction again makes another block.
    let receipt = client.transact(&devnet.accounts()[1], devnet.usdc(), authorization.split()).await;
    assert_ne!(receipt["blockHash"], orphan);
}

#[tokio::test]
async fn reorg_removes_a_transaction_and_its_effects() {
    let (devnet, client) = start(Mining::Instant).await;
    let payer = devnet.accounts()[0];
    devnet.give_usdc(payer.address, U256::from(100)).unwrap();
    let authorization = Authorization::sign(&payer, &devnet, "USDC", PAYEE, 5, 1);
    let receipt = client.transact(&devnet.accounts()[1], devnet.usdc(), authorization.split()).await;
    devnet.mine(2).unwrap();
    devnet.reorg(3).unwrap();
    assert_eq!(devnet.block_number(), 3);
    assert_eq!(client.ok("eth_getTransactionReceipt", json!([receipt["transactionHash"]])).await, Value::Null);
    assert_eq!(client.ok("eth_getTransactionByHash", json!([receipt["transactionHash"]])).await, Value::Null);
    assert_eq!(devnet.usdc_balance(PAYEE), U256::ZERO);
    let block = client.ok("eth_getBlockByNumber", json!(["0x1", false])).await;
    assert_ne!(block["hash"], receipt["blockHash"]);
    let logs = client.ok("eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": "latest" }])).await;
    assert_eq!(logs, json!([]));
    // The authorization is unused again.
    let again = client.transact(&devnet.accounts()[1], devnet.usdc(), authorization.split()).await;
    assert_eq!(number(&again["status"]), 1);
    assert!(devnet.reorg(5).is_err(), "the chain has four blocks");
    assert!(devnet.reorg(0).is_err());
}

#[tokio::test]
async fn requeued_transaction_comes_back_in_a_later_block() {
    let (devnet, client) = start(Mining::Instant).await;
    let hash = client.send(&client.transaction(&devnet.accounts()[0], 0, PAYEE, Vec::new())).await;
    client.ok("dev_reorg", json!([1, "requeue"])).await;
    assert_eq!(number(&client.receipt(hash).await["blockNumber"]), 2);
}

#[tokio::test]
async fn calls_see_time_move_without_a_block() {
    let (devnet, client) = start(Mining::Instant).await;
    let stamp = async || client.view(MULTICALL3, &Multicall::getCurrentBlockTimestampCall {}).await;
    let before = stamp().await;
    devnet.increase_time(1000);
    assert!(stamp().await >= before + U256::from(1000));
    let target = devnet.now() + 5000;
    client.ok("evm_setNextBlockTimestamp", json!([target])).await;
    client.ok("evm_mine", json!([])).await;
    let block = client.ok("eth_getBlockByNumber", json!(["latest", false])).await;
    assert_eq!(number(&block["timestamp"]), target);
    assert!(devnet.now() >= target);
    assert!(devnet.set_next_block_timestamp(target - 1).is_err());
}

#[tokio::test]
async fn logs_are_found_by_address_topic_range_and_block() {
    let (devnet, client) = start(Mining::Instant).await;
    let payer = devnet.accounts()[0];
    devnet.give_usdc(payer.address, U256::from(100)).unwrap();
    let filter = client.ok("eth_newFilter", json!([{ "address": devnet.usdc().to_string() }])).await;
    let blocks = client.ok("eth_newBlockFilter", json!([])).await;
    let mut receipts = Vec::new();
    for (to, value) in [(PAYEE, 1_u64), (Address::repeat_byte(0x43), 2)] {
        let data = Token::transferCall { to, value: U256::from(value) }.abi_encode();
        receipts.push(client.transact(&payer, devnet.usdc(), data).await);
    }
    let count = async |query: Value| client.ok("eth_getLogs", json!([query])).await.as_array().unwrap().len();
    let everything = json!({ "fromBlock": "earliest", "toBlock": "latest" });
    assert_eq!(count(everything).await, 2);
    assert_eq!(count(json!({ "fromBlock": "0x2", "toBlock": "0x2" })).await, 1);
    assert_eq!(count(json!({ "fromBlock": "0x0", "topics": [null, null, PAYEE.into_word().to_string()] })).await, 1);
    assert_eq!(count(json!({ "fromBlock": "0x0", "address": [MULTICALL3.to_string()] })).await, 0);
    assert_eq!(count(json!({ "blockHash": receipts[0]["blockHash"] })).await, 1);
    assert_eq!(client.ok("eth_getFilterChanges", json!([filter])).await.as_array().unwrap().len(), 2);
    assert_eq!(client.ok("eth_getFilterChanges", json!([filter])).await, json!([]));
    assert_eq!(client.ok("eth_getFilterChanges", json!([blocks])).await[1], receipts[1]["blockHash"]);
    assert_eq!(client.ok("eth_uninstallFilter", json!([filter])).await, true);
    assert_eq!(client.error("eth_getFilterChanges", json!([filter])).await.1, "filter not found");
}

#[tokio::test]
async fn estimate_is_enough_and_not_far_above() {
    let (devnet, client) = start(Mining::Instant).await;
    let payer = devnet.accounts()[0];
    devnet.give_usdc(payer.address, U256::from(100)).unwrap();
    let authorization = Authorization::sign(&payer, &devnet, "USDC", PAYEE, 5, 1);
    let call =
        json!([{ "from": payer.address.to_string(), "to": devnet.usdc().to_string(), "data": hex(&authorization.packed()) }]);
    let estimate = client.number("eth_estimateGas", call.clone()).await;
    let mut fields = client.fields(0, devnet.usdc(), authorization.packed());
    fields.gas_limit = estimate;
    let hash = client.send(&sign_1559(&payer, fields)).await;
    let receipt = client.receipt(hash).await;
    assert_eq!(number(&receipt["status"]), 1);
    assert!(estimate < number(&receipt["gasUsed"]) * 110 / 100);
    assert_eq!(client.error("eth_estimateGas", call).await.0, 3);
    assert_eq!(
        client
            .number("eth_estimateGas", json!([{ "to": PAYEE.to_string(), "value": "0x1", "from": payer.address.to_string() }]))
            .await,
        21_000
    );
}

#[tokio::test]
async fn state_overrides_hold_for_one_call() {
    let (devnet, client) = start(Mining::Instant).await;
    let slot = alloy_primitives::keccak256((alloy_sol_types::SolValue::abi_encode(&(PAYEE, U256::from(9)))).as_slice());
    let word = format!("{:#066x}", 77);
    let call = json!({ "to": devnet.usdc().to_string(), "data": hex(&Token::balanceOfCall { account: PAYEE }.abi_encode()) });
    let overrides = json!({ devnet.usdc().to_string(): { "stateDiff": { slot.to_string(): word } } });
    let result = client.ok("eth_call", json!([call, "latest", overrides])).await;
    assert_eq!(U256::from_be_slice(&support::bytes(&result)), U256::from(77));
    assert_eq!(devnet.usdc_balance(PAYEE), U256::ZERO);
}

#[tokio::test]
async fn code_balance_and_nonce_are_assumed_for_one_call() {
    let (devnet, client) = start(Mining::Instant).await;
    let account = Address::repeat_byte(0x55);
    // Answers with the account's own balance; and one that makes a contract and answers with its address.
    let own_balance = json!({ "code": "0x475f5260205ff3", "balance": "0x2a" });
    let creates = json!({ "code": "0x5f5f5ff05f5260205ff3", "nonce": "0x7" });
    let call = async |fields: Value| {
        let overrides = json!({ account.to_string(): fields });
        support::bytes(&client.ok("eth_call", json!([{ "to": account.to_string() }, "latest", overrides])).await)
    };
    assert_eq!(U256::from_be_slice(&call(own_balance).await), U256::from(42));
    assert_eq!(Address::from_slice(&call(creates).await[12..]), account.create(7));
    // Answers with the first slot: what `state` does not name is nought, what `stateDiff` does not name stays.
    client.ok("anvil_setStorageAt", json!([account.to_string(), "0x0", format!("{:#066x}", 5)])).await;
    let reads = "0x5f545f5260205ff3";
    let slot_one = json!({ format!("{:#066x}", 1): format!("{:#066x}", 9) });
    assert_eq!(U256::from_be_slice(&call(json!({ "code": reads, "state": slot_one })).await), U256::ZERO);
    assert_eq!(U256::from_be_slice(&call(json!({ "code": reads, "stateDiff": slot_one })).await), U256::from(5));
    assert_eq!(client.ok("eth_getCode", json!([account.to_string(), "latest"])).await, "0x");
    assert_eq!(devnet.balance(account), U256::ZERO);
    assert_eq!(client.error("eth_call", json!([{}, "latest", { account.to_string(): { "colour": 1 } }])).await.0, -32602);
}

#[tokio::test]
async fn query_of_logs_above_the_range_limit_is_refused() {
    let devnet = Devnet::builder().max_log_range_blocks(10).start().await.unwrap();
    let client = Client::new(&devnet);
    devnet.mine(30).unwrap();
    let logs = async |from: u64, to: u64| {
        client.request("eth_getLogs", json!([{ "fromBlock": format!("{from:#x}"), "toBlock": format!("{to:#x}") }])).await
    };
    assert_eq!(logs(11, 20).await["result"], json!([]));
    assert_eq!(logs(10, 20).await["error"]["message"], "block range is too large, the limit is 10");
    assert_eq!(logs(25, 1_000).await["result"], json!([]), "what is not mined yet does not count");
}

#[tokio::test]
async fn block_receipts_are_those_of_its_transactions() {
    let (devnet, client) = start(Mining::Manual).await;
    let mut hashes = Vec::new();
    for nonce in 0..3 {
        hashes.push(client.send(&client.transaction(&devnet.accounts()[0], nonce, PAYEE, Vec::new())).await);
    }
    devnet.mine(1).unwrap();
    let receipts = client.ok("eth_getBlockReceipts", json!(["latest"])).await;
    assert_eq!(receipts.as_array().unwrap().len(), 3);
    for (receipt, hash) in receipts.as_array().unwrap().iter().zip(hashes) {
        assert_eq!(*receipt, client.receipt(hash).await);
    }
    assert_eq!(client.ok("eth_getBlockReceipts", json!(["0x9"])).await, Value::Null);
}

#[tokio::test]
async fn fee_history_ends_with_the_next_base_fee() {
    let (devnet, client) = start(Mining::Instant).await;
    client.send(&client.transaction(&devnet.accounts()[0], 0, PAYEE, Vec::new())).await;
    let history = client.ok("eth_feeHistory", json!(["0x2", "latest", [25, 75.5]])).await;
    assert_eq!(number(&history["oldestBlock"]), 0);
    let fees = history["baseFeePerGas"].as_array().unwrap();
    assert_eq!(fees.len(), 3);
    let pending = client.ok("eth_getBlockByNumber", json!(["pending", false])).await;
    assert_eq!(fees[2], pending["baseFeePerGas"]);
    assert_eq!(history["gasUsedRatio"], json!([0.0, 0.0007]));
    assert_eq!(number(&history["reward"][1][0]), 1_000_000_000);
}

#[tokio::test]
async fn contract_creation_reports_its_address() {
    let (devnet, client) = start(Mining::Instant).await;
    let mut fields = client.fields(0, PAYEE, vec![0x5f, 0x5f, 0xf3]);
    fields.to = TxKind::Create;
    let receipt = client.receipt(client.send(&sign_1559(&devnet.accounts()[0], fields)).await).await;
    let created = devnet.accounts()[0].address.create(0);
    assert_eq!(receipt["contractAddress"], json!(format!("{created:#x}")));
    assert_eq!(receipt["to"], Value::Null);
}

#[tokio::test]
async fn stopped_chain_frees_its_port() {
    let (devnet, client) = start(Mining::Instant).await;
    client.number("eth_chainId", json!([])).await;
    let address = devnet.address();
    devnet.stop().await;
    assert!(client.post("{}".to_owned()).await.is_err());
    let again = Devnet::builder().listen(address).start().await.unwrap();
    drop(again);
}
