//! Several nodes of one chain behind one [`NodePool`], over HTTP: what goes wrong at one of them is nobody's trouble.

use std::sync::Arc;
use std::time::Duration;

use alloy_consensus::{SignableTransaction, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Signature, TxKind, U256};
use farthing_core::network::Network;
use farthing_devnet::{DevAccount, Devnet, Endpoint, Fault, Mining, Times};
use farthing_evm::config::{ChainConfig, NodeConfig, RpcUrl};
use farthing_evm::rpc::{self, BlockTag, Call, Node, NodeError, NodePool};
use metrics_util::MetricKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use serde_json::json;

const PAYEE: Address = Address::repeat_byte(0x42);
const BROADCAST: &str = "eth_sendRawTransaction";

fn network() -> Network {
    "eip155:84532".parse().unwrap()
}

fn node(name: &str, url: String) -> NodeConfig {
    NodeConfig { name: Some(name.to_owned()), request_timeout_milliseconds: 5_000, ..NodeConfig::new(RpcUrl::new(url)) }
}

/// A chain with two endpoints that fail apart from each other, and a pool of both.
struct Rig {
    devnet: Devnet,
    second: Endpoint,
    pool: NodePool,
}

impl Rig {
    async fn start(mining: Mining) -> Self {
        let devnet = Devnet::builder().mining(mining).start().await.unwrap();
        let second = devnet.open_endpoint().await.unwrap();
        let nodes = [node("first", devnet.rpc_url()), node("second", second.rpc_url())];
        let pool = NodePool::connect(&network(), &nodes).unwrap();
        Self { devnet, second, pool }
    }

    async fn height(&self) -> Result<u64, NodeError> {
        rpc::quantity(&self.pool.ask(&[Call::block_number()]).await?[0], "eth_blockNumber")
    }

    fn transaction(&self, nonce: u64) -> (B256, Call) {
        let (hash, raw) = sign(&self.devnet.accounts()[0], nonce);
        (hash, Call::broadcast(&raw))
    }

    async fn receipt(&self, hash: B256) -> Option<rpc::Receipt> {
        rpc::receipt(&self.pool.ask(&[Call::receipt(hash)]).await.unwrap()[0]).unwrap()
    }
}

fn sign(account: &DevAccount, nonce: u64) -> (B256, Vec<u8>) {
    let fields = TxEip1559 {
        chain_id: 84_532,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(PAYEE),
        value: U256::from(1),
        ..TxEip1559::default()
    };
    let key = secp256k1::SecretKey::from_byte_array(account.secret).unwrap();
    let message = secp256k1::Message::from_digest(fields.signature_hash().0);
    let (id, compact) = secp256k1::SECP256K1.sign_ecdsa_recoverable(message, &key).serialize_compact();
    let signature = Signature::from_bytes_and_parity(&compact, i32::from(id) == 1);
    let envelope = TxEnvelope::from(fields.into_signed(signature));
    (*envelope.tx_hash(), envelope.encoded_2718())
}

#[tokio::test]
async fn whatever_is_wrong_with_one_node_no_question_is_lost() {
    let faults = [
        Fault::HttpStatus(429),
        Fault::HttpStatus(503),
        Fault::Garbage,
        Fault::DropAnswer,
        Fault::AnswerTwice,
        Fault::Answer(json!("0x1")),
        Fault::Error { code: 429, message: "your app has exceeded its compute units per second".to_owned() },
    ];
    for fault in faults {
        let rig = Rig::start(Mining::Instant).await;
        rig.devnet.mine(7).unwrap();
        rig.devnet.faults().inject("*", fault.clone(), Times::UntilCleared);
        for _ in 0..3 {
            assert_eq!(rig.height().await, Ok(7), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn two_nodes_that_fail_by_chance_leave_no_transaction_behind() {
    let rig = Rig::start(Mining::Instant).await;
    let sometimes = |seed| Times::Sometimes { per_mille: 200, seed };
    for (seed, fault) in [Fault::HttpStatus(503), Fault::DropAnswer, Fault::Garbage].into_iter().enumerate() {
        rig.devnet.faults().inject("*", fault.clone(), sometimes(u64::try_from(seed).unwrap()));
        rig.second.faults().inject("*", fault, sometimes(u64::try_from(seed).unwrap() + 100));
    }
    let within = Duration::from_secs(30);
    for nonce in 0..20 {
        let (hash, call) = rig.transaction(nonce);
        let mined = async {
            // As a relayer does it: the same bytes again, until the chain says what became of them.
            loop {
                let _unclear = rig.pool.ask(std::slice::from_ref(&call)).await;
                if let Ok(answers) = rig.pool.ask(&[Call::receipt(hash)]).await
                    && let Ok(Some(receipt)) = rpc::receipt(&answers[0])
                {
                    break receipt;
                }
            }
        };
        assert!(tokio::time::timeout(within, mined).await.unwrap().succeeded);
    }
    assert_eq!(rig.devnet.balance(PAYEE), U256::from(20), "each of them once");
    assert!(rig.devnet.faults().fired() + rig.second.faults().fired() > 0);
}

#[tokio::test]
async fn a_broadcast_whose_answer_is_lost_is_known_to_the_next_node() {
    let rig = Rig::start(Mining::Manual).await;
    rig.devnet.faults().inject(BROADCAST, Fault::DropAnswer, Times::Exactly(1));
    let (hash, call) = rig.transaction(0);
    let answer = rig.pool.ask(&[call]).await.unwrap().remove(0);
    assert!(answer.unwrap_err().is_already_known());
    rig.devnet.mine(1).unwrap();
    let receipt = rig.receipt(hash).await.unwrap();
    assert!(receipt.succeeded && receipt.block_number == 1);
    assert!(receipt.cost_wei() > 0);
}

#[tokio::test]
async fn a_node_that_refuses_does_not_stop_a_broadcast_that_another_takes() {
    let rig = Rig::start(Mining::Manual).await;
    let full = Fault::Error { code: -32_000, message: "txpool is full".to_owned() };
    rig.devnet.faults().inject(BROADCAST, full.clone(), Times::UntilCleared);
    let (hash, call) = rig.transaction(0);
    assert!(rig.pool.ask(&[call]).await.unwrap()[0].is_ok());
    rig.devnet.mine(1).unwrap();
    assert!(rig.receipt(hash).await.unwrap().succeeded);
    rig.second.faults().inject(BROADCAST, full, Times::UntilCleared);
    let (_, call) = rig.transaction(1);
    let refused = rig.pool.ask(&[call]).await.unwrap().remove(0).unwrap_err();
    assert_eq!(refused.message, "txpool is full");
}

#[tokio::test]
async fn a_refusal_after_a_lost_answer_is_no_refusal() {
    let rig = Rig::start(Mining::Instant).await;
    rig.devnet.faults().inject(BROADCAST, Fault::DropAnswer, Times::Exactly(1));
    let (hash, call) = rig.transaction(0);
    // The first node sent it and it is mined; the second one says that its nonce is taken.
    assert!(rig.pool.ask(&[call]).await.is_err());
    assert!(rig.receipt(hash).await.unwrap().succeeded);
}

#[tokio::test]
async fn a_node_of_another_chain_is_never_asked() {
    let devnet = Devnet::builder().start().await.unwrap();
    let other = Devnet::builder().chain_id(8453).start().await.unwrap();
    other.mine(5).unwrap();
    let nodes = [node("other", other.rpc_url()), node("right", devnet.rpc_url())];
    let pool = NodePool::connect(&network(), &nodes).unwrap();
    other.faults().inject("eth_blockNumber", Fault::Garbage, Times::UntilCleared);
    let (_, raw) = sign(&devnet.accounts()[0], 0);
    other.faults().inject(BROADCAST, Fault::Garbage, Times::UntilCleared);
    assert!(pool.ask(&[Call::broadcast(&raw)]).await.unwrap()[0].is_ok());
    assert_eq!(rpc::quantity(&pool.ask(&[Call::block_number()]).await.unwrap()[0], ""), Ok(1));
    assert_eq!(other.faults().fired(), 0);
    let alone = NodePool::connect(&network(), &nodes[..1]).unwrap();
    let error = alone.ask(&[Call::block_number()]).await.unwrap_err();
    assert_eq!(error, NodeError::OtherChain { expected: 84_532, got: 8_453 });
}

#[tokio::test]
async fn blocks_logs_balances_and_assumed_code_are_read_from_a_real_chain() {
    let rig = Rig::start(Mining::Instant).await;
    let (hash, call) = rig.transaction(0);
    rig.pool.ask(&[call]).await.unwrap();
    // Answers with 42, and logs nothing.
    let code = [0x60, 0x2a, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];
    let usdc = rig.devnet.usdc();
    let calls = [
        Call::block(BlockTag::Latest),
        Call::block(BlockTag::Number(0)),
        Call::block(BlockTag::Number(9)),
        Call::balance(PAYEE),
        Call::execute_with_code(PAYEE, &code, &[]),
        Call::logs(usdc, &[None], 0, 1),
        Call::receipt(hash),
    ];
    let answers = rig.pool.ask(&calls).await.unwrap();
    let newest = rpc::block(&answers[0]).unwrap().unwrap();
    let genesis = rpc::block(&answers[1]).unwrap().unwrap();
    assert_eq!((newest.number, newest.parent_hash, &newest.transactions[..]), (1, genesis.hash, &[hash][..]));
    assert!(newest.base_fee_wei.is_some() && newest.timestamp_seconds >= genesis.timestamp_seconds);
    assert_eq!(rpc::block(&answers[2]), Ok(None));
    assert_eq!(rpc::wei(&answers[3], "eth_getBalance"), Ok(U256::from(1)));
    let executed = rpc::executed(&answers[4]).unwrap().unwrap();
    assert_eq!(U256::from_be_slice(&executed), U256::from(42));
    assert_eq!(rpc::logs(&answers[5]), Ok(Vec::new()));
    assert_eq!(rpc::receipt(&answers[6]).unwrap().unwrap().block_hash, newest.hash);
}

#[test]
fn nodes_are_configured_by_list_and_told_apart_by_name() {
    let json = r#"{"network": "eip155:8453", "nodes": [{"rpc_url": "https://a.example", "name": "a"}, {"rpc_url": "https://b.example"}]}"#;
    let config: ChainConfig = serde_json::from_str(json).unwrap();
    assert!(NodePool::connect(&config.network, &config.nodes).is_ok());
    assert_eq!(config.request_timeout(), config.nodes[0].request_timeout() * rpc::POOL_PATIENCE);
    let refused = |nodes: &[NodeConfig]| NodePool::connect(&network(), nodes).unwrap_err().to_string();
    let named = |name: &str| node(name, "https://node.example/secret".to_owned());
    assert!(refused(&[]).contains("at least one node"));
    assert!(refused(&[named("a"), named("a")]).contains("a name of its own"));
    assert!(refused(&[named("1"), NodeConfig { name: None, ..named("") }]).contains("a name of its own"));
    for bad in ["", "https://node.example/secret", "a b", &"a".repeat(33)] {
        let error = refused(&[named(bad)]);
        assert!(error.contains("nodes.name") && !error.contains("secret"), "{error}");
    }
    let timeless = NodeConfig { request_timeout_milliseconds: 0, ..named("a") };
    assert!(refused(&[timeless]).contains("request_timeout_milliseconds"));
}

fn counted(snapshotter: &Snapshotter) -> Vec<(String, DebugValue)> {
    let entries = snapshotter.snapshot().into_vec().into_iter();
    let shown = entries.map(|(key, _, _, value)| {
        let (kind, key) = key.into_parts();
        let labels: Vec<String> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        assert!(matches!(kind, MetricKind::Counter | MetricKind::Gauge));
        (format!("{} {}", key.name(), labels.join(" ")), value)
    });
    shown.collect()
}

#[tokio::test]
async fn nodes_are_counted_by_name_and_outcome() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let rig = Rig::start(Mining::Instant).await;
    rig.devnet.faults().inject("*", Fault::HttpStatus(503), Times::UntilCleared);
    rig.height().await.unwrap();
    let counted = counted(&snapshotter);
    let value = |name: &str| counted.iter().find(|(shown, _)| shown == name).map(|(_, value)| value);
    let chain = "chain=eip155:84532";
    assert_eq!(value(&format!("farthing_node_calls_total {chain}")), Some(&DebugValue::Counter(1)), "{counted:?}");
    let failed = format!("farthing_node_requests_total {chain} endpoint=first outcome=status");
    // A look in the background may have failed as well.
    assert!(matches!(value(&failed), Some(DebugValue::Counter(1..=2))), "{counted:?}");
    assert_eq!(value(&format!("farthing_node_healthy {chain} endpoint=first")), Some(&DebugValue::Gauge(0.0.into())));
    assert_eq!(value(&format!("farthing_node_healthy {chain} endpoint=second")), Some(&DebugValue::Gauge(1.0.into())));
    assert!(counted.iter().all(|(shown, _)| !shown.contains("http")), "{counted:?}");
}

#[tokio::test]
async fn a_pool_serves_many_at_once() {
    let rig = Arc::new(Rig::start(Mining::Instant).await);
    let asks = (0..200).map(|_| {
        let rig = Arc::clone(&rig);
        async move { rig.height().await }
    });
    rig.devnet.faults().inject("eth_blockNumber", Fault::HttpStatus(503), Times::Sometimes { per_mille: 500, seed: 3 });
    let heights = futures_util::future::join_all(asks).await;
    assert!(heights.into_iter().all(|height| height == Ok(0)));
}
