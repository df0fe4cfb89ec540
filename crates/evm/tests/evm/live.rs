//! A facilitator on the embedded development chain, over a node with which a test can meddle.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{B256, TxKind, keccak256};
use alloy_sol_types::{SolValue, sol};
use farthing_core::BoxFuture;
use farthing_core::books::{Fingerprint, MemorySettlements, PaymentRecord, SettlementEntry, SettlementState};
use farthing_core::erased::{AnyFacilitatorScheme, TypedPayment};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Found, Outcome, TransactionId, VerifyError};
use farthing_core::time::{Clock, UnixSeconds};
use farthing_core::wire::PaymentRequest;
use farthing_devnet::{Devnet, Mining};
use farthing_evm::asset::AssetTable;
use farthing_evm::chain::Chain;
use farthing_evm::config::{ChainConfig, RpcUrl};
use farthing_evm::rpc::{Answer, Call, CallError, HttpNode, Node, NodeError};
use farthing_evm::signature::{Signature, WireSignature};
use farthing_evm::transfer::domain_separator;
use farthing_evm::transfer::eip3009::Authorization;
use farthing_evm::{Address, Bytes, U256, exact};
use farthing_testkit::golden;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::support::{Counting, offer, pay, payer, signer, usdc};

/// The key of somebody who has nothing to do with the payment: development key 3.
pub const STRANGER_KEY: &str = "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6";

sol! {
    function cancelAuthorization(address authorizer, bytes32 nonce, bytes signature);
}

/// Sees every call with its answer, and may give another answer.
pub type Meddle = Box<dyn Fn(&Call, Answer) -> Answer + Send>;

/// The development chain's node, over HTTP: counted, slowed down and meddled with.
pub struct MeddledNode {
    node: HttpNode,
    meddle: Mutex<Option<Meddle>>,
    delay: Mutex<Duration>,
    round_trips: AtomicUsize,
    calls: Mutex<Vec<Call>>,
}

impl MeddledNode {
    pub fn meddle(&self, meddle: impl Fn(&Call, Answer) -> Answer + Send + 'static) {
        *self.meddle.lock().unwrap() = Some(Box::new(meddle));
    }

    pub fn leave_alone(&self) {
        *self.meddle.lock().unwrap() = None;
    }

    /// It executes no call under an assumed state from now on, as some nodes never do.
    pub fn assumes_nothing(&self) {
        self.meddle(|call, answer| {
            let refused = CallError { code: -32_602, message: "too many arguments, want at most 2".to_owned(), data: None };
            if call.params.contains(r#"{"code":"#) { Err(refused) } else { answer }
        });
    }

    /// How long every round trip takes from now on, at least.
    pub fn delay(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    pub fn round_trips(&self) -> usize {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// The calls since the last time.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Node for MeddledNode {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        self.calls.lock().unwrap().extend_from_slice(calls);
        let delay = *self.delay.lock().unwrap();
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let answers = self.node.ask(calls).await?;
            let meddle = self.meddle.lock().unwrap();
            let Some(meddle) = &*meddle else { return Ok(answers) };
            Ok(calls.iter().zip(answers).map(|(call, answer)| meddle(call, answer)).collect())
        })
    }
}

/// An answer in JSON.
#[expect(clippy::unnecessary_wraps, reason = "it stands where a node's answer does, which may be an error")]
pub fn json(json: &str) -> Answer {
    Ok(RawValue::from_string(json.to_owned()).unwrap())
}

struct ChainClock(Arc<Devnet>);

impl Clock for ChainClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.now())
    }
}

/// The rig.
pub struct Live {
    pub devnet: Arc<Devnet>,
    pub node: Arc<MeddledNode>,
    pub chain: Arc<Chain>,
    pub outbox: Arc<MemorySettlements>,
    pub wallet: exact::Client,
    pub facilitator: exact::Facilitator,
}

/// A payment that is about to be carried out.
pub struct Promise {
    pub request: Value,
    pub authorization: Authorization,
    pub signature: Signature,
    pub record: PaymentRecord,
}

impl Promise {
    pub fn calldata(&self) -> Vec<u8> {
        self.authorization.calldata(&self.signature)
    }
}

/// Blocks are made when a test says so, and the payer holds a dollar.
pub async fn live(change: impl FnOnce(&mut ChainConfig)) -> Live {
    let devnet = Devnet::builder().chain_id(golden::CHAIN_ID).mining(Mining::Manual).start().await.unwrap();
    let devnet = Arc::new(devnet);
    devnet.give_usdc(payer(), U256::from(1_000_000)).unwrap();
    let mut config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(devnet.rpc_url()));
    change(&mut config);
    let node = Arc::new(MeddledNode {
        node: HttpNode::new(&config.network, &config.nodes[0]).unwrap(),
        meddle: Mutex::default(),
        delay: Mutex::default(),
        round_trips: AtomicUsize::new(0),
        calls: Mutex::default(),
    });
    let clock = Arc::new(ChainClock(devnet.clone()));
    let signers = vec![signer(golden::SECOND_KEY)];
    let outbox = Arc::new(MemorySettlements::default());
    let chain = Chain::new(&config, node.clone(), signers, outbox.clone(), clock.clone()).unwrap();
    let assets = Arc::new(AssetTable::known());
    let entropy = Arc::new(Counting::default());
    let wallet = exact::Client::new(signer(golden::PAYER_KEY), assets.clone(), clock.clone(), entropy);
    let facilitator = exact::Facilitator::new(vec![chain.clone()], assets, clock);
    Live { devnet, node, chain, outbox, wallet, facilitator }
}

/// Broadcasts a call as somebody; it waits to be mined.
pub async fn send_as(devnet: &Devnet, key: &str, to: Address, data: Vec<u8>) -> B256 {
    let config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(devnet.rpc_url()));
    let node = HttpNode::new(&config.network, &config.nodes[0]).unwrap();
    let sender = signer(key);
    let count = node.ask(&[Call::pending_count(sender.address())]).await.unwrap();
    let transaction = TxEip1559 {
        chain_id: golden::CHAIN_ID,
        nonce: farthing_evm::rpc::quantity(&count[0], "eth_getTransactionCount").unwrap(),
        gas_limit: 1_000_000,
        max_fee_per_gas: 100_000_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(to),
        input: Bytes::from(data),
        ..TxEip1559::default()
    };
    let bytes = sender.sign_hash(transaction.signature_hash()).await.unwrap().to_bytes();
    let signature = alloy_primitives::Signature::from_raw(&bytes).unwrap();
    let signed = transaction.into_signed(signature);
    let mut bytes = Vec::new();
    signed.eip2718_encode(&mut bytes);
    node.ask(&[Call::broadcast(&bytes)]).await.unwrap()[0].as_ref().unwrap();
    *signed.hash()
}

impl Live {
    pub fn read(&self, request: &Value) -> TypedPayment {
        let request = PaymentRequest::read(request.to_string().as_bytes()).unwrap();
        AnyFacilitatorScheme::read(&self.facilitator, &request).unwrap()
    }

    pub async fn verify(&self, request: &Value) -> Result<farthing_core::asset::AccountId, VerifyError> {
        AnyFacilitatorScheme::verify(&self.facilitator, &self.read(request)).await
    }

    /// A payment of the wallet's.
    pub async fn promise(&self) -> Promise {
        let request = pay(&self.wallet, &offer()).await;
        let payload = &request["paymentPayload"]["payload"];
        let authorization = serde_json::from_value(payload["authorization"].clone()).unwrap();
        let signature = WireSignature::from(payload["signature"].as_str().unwrap()).strict().unwrap();
        let record = self.read(&request).record;
        Promise { request, authorization, signature, record }
    }

    /// The payer signs the same authorization again, changed.
    pub async fn changed(&self, promise: &Promise, change: impl FnOnce(&mut Authorization)) -> Vec<u8> {
        let mut authorization = promise.authorization;
        change(&mut authorization);
        let digest = authorization.digest(domain_separator("USDC", "2", golden::CHAIN_ID, usdc()));
        authorization.calldata(&signer(golden::PAYER_KEY).sign_hash(digest).await.unwrap())
    }

    /// The payer's cancellation of an authorization.
    pub async fn cancellation(&self, promise: &Promise) -> Vec<u8> {
        use alloy_sol_types::SolCall;
        let Authorization { from, nonce, .. } = promise.authorization;
        let kind = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
        let message = keccak256((kind, from, nonce).abi_encode());
        let domain = domain_separator("USDC", "2", golden::CHAIN_ID, usdc());
        let digest = keccak256([&[0x19, 0x01], domain.as_slice(), message.as_slice()].concat());
        let signature = signer(golden::PAYER_KEY).sign_hash(digest).await.unwrap();
        cancelAuthorizationCall { authorizer: from, nonce, signature: signature.to_bytes().to_vec().into() }.abi_encode()
    }

    /// Broadcasts a call as somebody; it waits to be mined.
    pub async fn send(&self, key: &str, to: Address, data: Vec<u8>) -> B256 {
        send_as(&self.devnet, key, to, data).await
    }

    /// Has a call mined, as somebody.
    pub async fn carry_out(&self, key: &str, to: Address, data: Vec<u8>) -> B256 {
        let hash = self.send(key, to, data).await;
        self.devnet.mine(1).unwrap();
        hash
    }

    /// Whether the facilitator says that somebody else carried out a payment that is refused for this reason now.
    pub async fn moved_already(&self, promise: &Promise, reason: Reason) -> Result<Option<Found>, VerifyError> {
        let refusal = Refusal::new(reason, "a test's refusal");
        AnyFacilitatorScheme::moved_already(&self.facilitator, &promise.record, &refusal).await
    }

    /// What the facilitator says became of a payment that this transaction was to carry.
    pub async fn outcome(&self, promise: &Promise, transaction: B256) -> Result<Outcome, VerifyError> {
        AnyFacilitatorScheme::outcome(&self.facilitator, &self.entry(promise, transaction)).await
    }

    /// The same, for good.
    pub async fn final_outcome(&self, promise: &Promise, transaction: B256) -> Result<Outcome, VerifyError> {
        AnyFacilitatorScheme::final_outcome(&self.facilitator, &self.entry(promise, transaction)).await
    }

    fn entry(&self, promise: &Promise, transaction: B256) -> SettlementEntry {
        let id = TransactionId(transaction.to_string());
        SettlementEntry {
            record: promise.record.clone(),
            request: Fingerprint("a test's request".to_owned()),
            caller: None,
            state: SettlementState::Sending(id.clone()),
            transaction: id,
            height: 0,
            sent_at: UnixSeconds(self.devnet.now()),
            changed_at: UnixSeconds(self.devnet.now()),
        }
    }
}
