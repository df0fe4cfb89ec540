use super::http::{answers, request_body};
use super::*;
use crate::config::NodeConfig;
use crate::config::RpcUrl;
use alloy_primitives::{Address, B256, hex};
use alloy_sol_types::SolError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn two_calls() -> Vec<Call> {
    vec![Call::chain_id(), Call::block_number()]
}

#[test]
fn one_call_is_an_object_and_several_are_an_array() {
    let one = serde_json::from_str::<serde_json::Value>(&request_body(&[Call::chain_id()])).unwrap();
    assert_eq!(one, serde_json::json!({"jsonrpc": "2.0", "id": 0, "method": "eth_chainId", "params": []}));
    let address = Address::repeat_byte(0xab);
    let calls = [
        Call::code(address),
        Call::execute(address, &[1, 2]),
        Call::estimate_gas(address, address, &[]),
        Call::fee_history(),
        Call::pending_count(address),
        Call::broadcast(&[2, 3]),
        Call::receipt(B256::ZERO),
    ];
    let batch = serde_json::from_str::<serde_json::Value>(&request_body(&calls)).unwrap();
    assert_eq!(batch.as_array().unwrap().len(), calls.len());
    assert_eq!(batch[1]["params"], serde_json::json!([{"to": format!("{address:?}"), "data": "0x0102"}, "latest"]));
    assert_eq!(batch[3]["params"], serde_json::json!(["0x5", "latest", [50]]));
}

#[test]
fn answers_come_in_any_order() {
    let body = br#" [{"jsonrpc":"2.0","id":1,"result":"0x10"},{"id":0,"result":"0x14a34"}]"#;
    let answers = answers(&two_calls(), body).unwrap();
    assert_eq!(quantity(&answers[0], "a"), Ok(84_532));
    assert_eq!(quantity(&answers[1], "b"), Ok(16));
}

#[test]
fn answers_that_do_not_fit_the_calls_are_no_answers() {
    for body in [
        "",
        "null",
        "<html>",
        "[]",
        r#"[{"id":0,"result":"0x1"}]"#,
        r#"[{"id":0,"result":"0x1"},{"id":0,"result":"0x1"}]"#,
        r#"[{"id":0,"result":"0x1"},{"id":2,"result":"0x1"}]"#,
        r#"[{"result":"0x1"},{"id":1,"result":"0x1"}]"#,
        r#"{"id":0,"result":"0x1"}"#,
    ] {
        let error = answers(&two_calls(), body.as_bytes()).unwrap_err();
        assert_eq!(error, NodeError::Malformed("eth_chainId"), "{body}");
    }
    let refused = answers(&two_calls(), br#"{"id":null,"error":{"code":-32005,"message":"slow down"}}"#).unwrap_err();
    assert!(matches!(refused, NodeError::Refused { error: CallError { code: -32005, .. }, .. }));
}

#[test]
fn a_revert_is_told_from_the_nodes_own_trouble() {
    let call = [Call::execute(Address::ZERO, &[])];
    let data = hex::encode_prefixed(alloy_sol_types::Revert::from("no money".to_owned()).abi_encode());
    for error in [
        format!(r#"{{"code":3,"message":"execution reverted: no money","data":"{data}"}}"#),
        format!(r#"{{"code":-32000,"message":"VM Exception","data":{{"data":"{data}"}}}}"#),
        format!(r#"{{"code":-32015,"message":"VM execution error.","data":"Reverted {data}"}}"#),
        r#"{"code":-32000,"message":"execution reverted: no money"}"#.to_owned(),
    ] {
        let answers = answers(&call, format!(r#"{{"id":0,"error":{error}}}"#).as_bytes()).unwrap();
        let revert = executed(&answers[0]).unwrap().unwrap_err();
        assert!(revert.reason.ends_with("no money"), "{error} read as {revert:?}");
    }
    for error in [r#"{"code":-32000,"message":"header not found"}"#, r#"{"code":-32603,"message":"Internal error"}"#, "{}"] {
        let answers = answers(&call, format!(r#"{{"id":0,"error":{error}}}"#).as_bytes()).unwrap();
        assert!(matches!(executed(&answers[0]), Err(NodeError::Refused { .. })), "{error}");
    }
}

#[test]
fn a_receipt_may_be_missing_but_not_odd() {
    let hash = B256::repeat_byte(1);
    let read = |json: &str| receipt(&Ok(RawValue::from_string(json.to_owned()).unwrap()));
    assert_eq!(read("null"), Ok(None));
    let good = format!(
        r#"{{"transactionHash":"{hash}","status":"0x1","blockNumber":"0x10","blockHash":"{hash}",
            "gasUsed":"0x5208","effectiveGasPrice":"0x3","l1Fee":"0x7","logs":[
            {{"address":"{:?}","topics":["{hash}"],"data":"0x01","logIndex":"0x0"}}],"type":"0x2"}}"#,
        Address::ZERO
    );
    let receipt = read(&good).unwrap().unwrap();
    assert!(receipt.succeeded && receipt.block_number == 16 && receipt.gas_used == 21_000 && receipt.logs.len() == 1);
    assert_eq!((receipt.block_hash, receipt.cost_wei()), (hash, 63_007));
    let no_rollup = read(&good.replace(r#""l1Fee":"0x7","#, "")).unwrap().unwrap();
    assert_eq!(no_rollup.cost_wei(), 63_000);
    for bad in [
        "{}",
        "\"0x1\"",
        "[]",
        &good.replace("\"0x1\"", "\"0x2\""),
        &good.replace("\"0x1\"", "1"),
        &good.replace("\"0x10\"", "null"),
        &good.replace("blockHash", "hash"),
        &good.replace("\"0x7\"", "7"),
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_block_is_read_with_the_hashes_of_its_transactions() {
    let read = |json: &str| block(&Ok(RawValue::from_string(json.to_owned()).unwrap()));
    let (hash, parent) = (B256::repeat_byte(1), B256::repeat_byte(2));
    let good = format!(
        r#"{{"number":"0x10","hash":"{hash}","parentHash":"{parent}","timestamp":"0x64","baseFeePerGas":"0x7",
            "transactions":["{parent}","{hash}"],"gasUsed":"0x1","withdrawals":[]}}"#
    );
    let expected = Block {
        number: 16,
        hash,
        parent_hash: parent,
        timestamp_seconds: 100,
        base_fee_wei: Some(7),
        transactions: vec![parent, hash],
    };
    assert_eq!(read(&good), Ok(Some(expected.clone())));
    let without_fee = good.replace(r#""baseFeePerGas":"0x7","#, "");
    assert_eq!(read(&without_fee), Ok(Some(Block { base_fee_wei: None, ..expected })));
    assert_eq!(read("null"), Ok(None));
    assert!(read(&good.replace("0x64", "")).is_err() && read("{}").is_err());
}

#[test]
fn logs_say_where_they_were_found() {
    let read = |json: &str| logs(&Ok(RawValue::from_string(json.to_owned()).unwrap()));
    let hash = B256::repeat_byte(1);
    let good = format!(
        r#"[{{"address":"{:?}","topics":["{hash}"],"data":"0x","blockNumber":"0x10","blockHash":"{hash}",
            "transactionHash":"{hash}","logIndex":"0x0","removed":false}}]"#,
        Address::ZERO
    );
    let found = read(&good).unwrap();
    assert_eq!((found.len(), found[0].block_number, found[0].transaction_hash), (1, 16, hash));
    assert_eq!(found[0].log.topics, [hash]);
    assert!(read(&good.replace("\"0x10\"", "null")).is_err(), "a log of no block yet");
    let call = Call::logs(Address::ZERO, &[Some(hash), None], 5, 16);
    let params: serde_json::Value = serde_json::from_str(&call.params).unwrap();
    assert_eq!(params[0]["topics"], serde_json::json!([hash, null]));
    assert_eq!((params[0]["fromBlock"].as_str(), params[0]["toBlock"].as_str()), (Some("0x5"), Some("0x10")));
}

#[test]
fn an_amount_of_coin_is_read_exactly() {
    let read = |json: &str| wei(&Ok(RawValue::from_string(json.to_owned()).unwrap()), "eth_getBalance");
    assert_eq!(read(r#""0x0""#), Ok(alloy_primitives::U256::ZERO));
    assert_eq!(read(&format!(r#""0x{}""#, "f".repeat(64))), Ok(alloy_primitives::U256::MAX));
    for bad in [r#""0x""#, r#""1""#, "1", r#""0x+1""#, "null"] {
        // An empty number is no number; U256 would read it as nought.
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_assumed_code_travels_as_a_third_parameter() {
    let address = Address::repeat_byte(0xab);
    let params: serde_json::Value = serde_json::from_str(&Call::execute_with_code(address, &[1], &[2]).params).unwrap();
    let account = format!("{address:?}");
    assert_eq!(params, serde_json::json!([{"to": account, "data": "0x02"}, "latest", {(account.clone()): {"code": "0x01"}}]));
}

#[test]
fn nodes_words_for_their_limits_are_understood() {
    let error = |code: i64, message: &str| CallError { code, message: message.to_owned(), data: None };
    for words in
        ["block range is too large", "query returned more than 10000 results", "eth_getLogs is limited to a 10,000 range"]
    {
        assert!(error(-32000, words).range_is_too_large(), "{words}");
        assert!(!error(-32000, words).is_rate_limit(), "{words}");
    }
    for words in ["too many arguments, want at most 2", "state override is not supported"] {
        assert!(error(-32000, words).refuses_overrides(), "{words}");
    }
    assert!(!error(3, "execution reverted").refuses_overrides());
    assert!(error(-32005, "daily request count exceeded, request rate limited").is_rate_limit());
    assert!(error(429, "").is_rate_limit() && !error(-32000, "already known").is_rate_limit());
    assert!(error(-32000, "already known").is_already_known() && error(-32010, "AlreadyKnown").is_already_known());
    assert!(!error(-32000, "unknown transaction type").is_already_known());
    assert!(error(-32603, "internal error").is_own_trouble() && error(-32000, "header not found").is_own_trouble());
    assert!(!error(-32603, "execution reverted: no").is_own_trouble() && !error(-32000, "nonce too low").is_own_trouble());
}

#[test]
fn the_next_base_fee_is_the_last_of_the_history() {
    let read = |json: &str| fee_history(&Ok(RawValue::from_string(json.to_owned()).unwrap()));
    let json =
        r#"{"oldestBlock":"0x1","baseFeePerGas":["0x1","0x2","0x3"],"reward":[["0x9"],["0x5"]],"gasUsedRatio":[0.5,0.1]}"#;
    assert_eq!(read(json), Ok(FeeHistory { base_fee_wei: 3, tip_wei: 9 }));
    assert_eq!(read(r#"{"baseFeePerGas":["0x3"],"reward":null}"#), Ok(FeeHistory { base_fee_wei: 3, tip_wei: 0 }));
    assert!(read(r#"{"baseFeePerGas":[]}"#).is_err());
    assert!(read(r#"{"baseFeePerGas":["3"]}"#).is_err());
}

/// Answers each connection's first request with these bytes.
async fn serve(response: Vec<u8>) -> NodeConfig {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v2/secret-key", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&response).await;
        }
    });
    NodeConfig { request_timeout_milliseconds: 2_000, ..NodeConfig::new(RpcUrl::new(url)) }
}

async fn ask(config: &NodeConfig) -> Result<u64, NodeError> {
    let node = HttpNode::new(&crate::network::network(1), config).unwrap();
    quantity(&node.ask(&[Call::chain_id()]).await?[0], "eth_chainId")
}

#[tokio::test]
async fn a_node_is_asked_over_http_and_its_address_is_never_told() {
    let body = r#"{"jsonrpc":"2.0","id":0,"result":"0x1"}"#;
    let good = serve(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()).await;
    assert_eq!(ask(&good).await, Ok(1));
    let too_many = serve(b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nslow".to_vec()).await;
    assert_eq!(ask(&too_many).await, Err(NodeError::Status(429)));
    let redirecting = serve(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    assert_eq!(ask(&redirecting).await, Err(NodeError::Status(302)));
    let broken = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec()).await;
    let error = ask(&broken).await.unwrap_err();
    assert!(matches!(error, NodeError::Unreachable | NodeError::TimedOut), "{error}");
    assert!(!format!("{error} {error:?}").contains("secret"));
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let mut endless = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_vec();
    endless.resize(MAX_RESPONSE_BYTES + 1_000, b' ');
    assert_eq!(ask(&serve(endless).await).await, Err(NodeError::TooLarge));
}

#[tokio::test]
async fn a_silent_node_times_out() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = NodeConfig { request_timeout_milliseconds: 50, ..NodeConfig::new(RpcUrl::new(url)) };
    assert_eq!(ask(&config).await, Err(NodeError::TimedOut));
}

#[test]
fn only_http_addresses_are_nodes() {
    for bad in ["", "localhost:8545", "ws://localhost:8545", "file:///etc/passwd"] {
        let error = HttpNode::new(&crate::network::network(1), &NodeConfig::new(RpcUrl::new(bad))).unwrap_err();
        assert!(error.to_string().contains("rpc_url of eip155:1"));
    }
}
