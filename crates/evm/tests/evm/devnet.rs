//! `exact` against a real EVM over HTTP: the embedded development chain.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::books::{SettlementEntry, Settlements};
use farthing_core::erased::{AnyFacilitatorScheme, TypedPayment};
use farthing_core::reason::Reason;
use farthing_core::scheme::{Outcome, SettleError, Settlement};
use farthing_core::time::{Clock, UnixSeconds};
use farthing_core::wire::PaymentRequest;
use farthing_devnet::{Devnet, Fault, Mining, Times};
use farthing_evm::asset::AssetTable;
use farthing_evm::chain::Chain;
use farthing_evm::config::{ChainConfig, RpcUrl};
use farthing_evm::exact;
use farthing_evm::rpc::HttpNode;
use farthing_evm::{Bytes, U256};
use farthing_testkit::golden;
use futures_util::future::join_all;
use serde_json::Value;

use crate::support::{Book, Counting, RELAYER_KEY, Right, offer, pay, pay_to, payer, signer};

/// The chain's own clock.
struct ChainClock(Arc<Devnet>);

impl Clock for ChainClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.now())
    }
}

pub struct Live {
    pub devnet: Arc<Devnet>,
    pub book: Book,
    pub wallet: exact::Client,
    pub facilitator: exact::Facilitator,
}

pub async fn live(mining: Mining, change: impl FnOnce(&mut ChainConfig)) -> Live {
    let devnet = Arc::new(Devnet::builder().chain_id(golden::CHAIN_ID).mining(mining).start().await.unwrap());
    devnet.give_usdc(payer(), U256::from(1_000_000)).unwrap();
    live_on(devnet, Book::default(), &[RELAYER_KEY], change)
}

/// A facilitator on this chain and this book, with these sending accounts.
pub fn live_on(devnet: Arc<Devnet>, book: Book, keys: &[&str], change: impl FnOnce(&mut ChainConfig)) -> Live {
    let mut config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(devnet.rpc_url()));
    change(&mut config);
    let clock = Arc::new(ChainClock(devnet.clone()));
    let signers = keys.iter().map(|key| signer(key)).collect();
    let chain = Chain::connect(&config, signers, Arc::new(book.clone()), clock.clone()).unwrap();
    let assets = Arc::new(AssetTable::known());
    let node = Arc::new(HttpNode::new(&config.network, &config.nodes[0]).unwrap());
    let entropy = Arc::new(Counting::default());
    let wallet = exact::Client::new(signer(golden::PAYER_KEY), assets.clone(), clock.clone(), entropy)
        .with_node(config.network.clone(), node);
    let facilitator = exact::Facilitator::new(vec![chain], assets, clock);
    Live { devnet, book, wallet, facilitator }
}

impl Live {
    pub async fn settle(&self, request: &Value) -> Result<Settlement, SettleError> {
        self.settle_with(request, Right::new()).await
    }

    async fn settle_with(&self, request: &Value, right: Right) -> Result<Settlement, SettleError> {
        AnyFacilitatorScheme::settle(&self.facilitator, &self.read(request), Arc::new(right)).await
    }

    fn read(&self, request: &Value) -> TypedPayment {
        let request = PaymentRequest::read(request.to_string().as_bytes()).unwrap();
        AnyFacilitatorScheme::read(&self.facilitator, &request).unwrap()
    }

    pub async fn entry(&self, request: &Value) -> Option<SettlementEntry> {
        self.book.memory.find(self.read(request).record.key).await.unwrap()
    }

    async fn outcome(&self, request: &Value) -> Outcome {
        let entry = self.entry(request).await.unwrap();
        AnyFacilitatorScheme::outcome(&self.facilitator, &entry).await.unwrap()
    }

    /// Mines now and then while something goes on.
    pub async fn mining<T>(&self, work: impl Future<Output = T>) -> T {
        let mine = async {
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.devnet.mine(1).unwrap();
            }
        };
        tokio::select! { done = work => done, () = mine => unreachable!("it mines for ever") }
    }

    async fn rejection(&self, request: &Value) -> (Reason, String) {
        match self.settle(request).await {
            Err(SettleError::Rejected(refusal)) => (refusal.reason, refusal.message),
            other => panic!("expected a rejection, got {other:?}"),
        }
    }

    pub async fn payments(&self, count: usize) -> Vec<Value> {
        join_all((0..count).map(|_| async { pay(&self.wallet, &offer()).await })).await
    }

    pub fn received(&self) -> U256 {
        self.devnet.usdc_balance(pay_to())
    }
}

#[tokio::test]
async fn a_payment_settles_and_its_outcome_can_be_asked_for() {
    let live = live(Mining::Instant, |_| {}).await;
    let request = pay(&live.wallet, &offer()).await;
    let settlement = live.settle(&request).await.unwrap();
    assert_eq!(live.received(), U256::from(10_000));
    assert_eq!(live.devnet.usdc_balance(payer()), U256::from(990_000));
    assert_eq!(live.outcome(&request).await, Outcome::Settled(settlement));
    AnyFacilitatorScheme::ready(&live.facilitator).await.unwrap();
}

#[tokio::test]
async fn fifty_payments_settle_at_once_from_one_account() {
    let live = live(Mining::Instant, |_| {}).await;
    for settled in join_all(live.payments(50).await.iter().map(|request| live.settle(request))).await {
        settled.unwrap();
    }
    assert_eq!(live.received(), U256::from(500_000));
}

#[tokio::test]
async fn fifty_payments_settle_in_a_few_blocks() {
    let live = live(Mining::Interval(Duration::from_millis(300)), |_| {}).await;
    let payments = live.payments(50).await;
    let before = live.devnet.block_number();
    for settled in join_all(payments.iter().map(|request| live.settle(request))).await {
        settled.unwrap();
    }
    assert_eq!(live.received(), U256::from(500_000));
    let blocks = live.devnet.block_number() - before;
    assert!(blocks <= 10, "it took {blocks} blocks");
}

#[tokio::test]
async fn a_used_authorization_is_refused_and_costs_no_gas() {
    let live = live(Mining::Instant, |_| {}).await;
    let request = pay(&live.wallet, &offer()).await;
    live.settle(&request).await.unwrap();
    let gas_money = live.devnet.balance(signer(RELAYER_KEY).address());
    assert_eq!(live.rejection(&request).await.0, Reason::InvalidExactEvmNonceAlreadyUsed);
    assert_eq!(live.devnet.balance(signer(RELAYER_KEY).address()), gas_money);
}

#[tokio::test]
async fn a_payment_that_somebody_else_carried_out_first_is_settled_by_their_transaction() {
    let live = live(Mining::Manual, |_| {}).await;
    // Two facilitators with a book each settle the same authorization: both simulate it well, one lands.
    let other = live_on(live.devnet.clone(), Book::default(), &[golden::SECOND_KEY], |_| {});
    let request = pay(&live.wallet, &offer()).await;
    let mine = async {
        while live.book.sent().is_empty() || other.book.sent().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        live.mining(std::future::pending::<()>()).await;
    };
    let both = async { tokio::join!(live.settle(&request), other.settle(&request)) };
    let (one, two) = tokio::select! { both = both => both, () = mine => unreachable!("it mines for ever") };
    assert_eq!(one.unwrap(), two.unwrap(), "both name the transaction that moved the money");
    assert_eq!(live.received(), U256::from(10_000));
}

#[tokio::test]
async fn an_empty_wallet_is_refused() {
    let live = live(Mining::Instant, |_| {}).await;
    let mut expensive = offer();
    expensive["amount"] = "1000001".into();
    let request = pay(&live.wallet, &expensive).await;
    assert_eq!(live.rejection(&request).await.0, Reason::InvalidExactEvmInsufficientBalance);
}

#[tokio::test]
async fn a_payer_with_code_is_refused() {
    let live = live(Mining::Instant, |_| {}).await;
    let request = pay(&live.wallet, &offer()).await;
    live.devnet.set_code(payer(), Bytes::from_static(&[0x60, 0x00])).unwrap();
    let (reason, message) = live.rejection(&request).await;
    assert!(reason == Reason::InvalidExactEvmSignature && message.contains("ERC-1271"), "{reason}: {message}");
}

#[tokio::test]
async fn lost_answers_and_doubled_requests_settle_all_the_same() {
    let live = live(Mining::Instant, |config| config.confirm.rebroadcast_milliseconds = 50).await;
    let faults = [Fault::DropAnswer, Fault::ExecuteTwice, Fault::LoseTransaction, Fault::HttpStatus(503)];
    for (number, fault) in (1_u64..).zip(faults) {
        let request = pay(&live.wallet, &offer()).await;
        live.devnet.faults().inject("eth_sendRawTransaction", fault.clone(), Times::Exactly(1));
        live.settle(&request).await.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert_eq!(live.book.sent().len(), usize::try_from(number).unwrap(), "{fault:?}: one transaction, never another");
        assert_eq!(live.received(), U256::from(10_000 * number));
    }
}

#[tokio::test]
async fn a_transaction_that_is_not_mined_in_time_is_unknown_and_lands_later() {
    let live = live(Mining::Manual, |config| config.confirm.timeout_milliseconds = 100).await;
    let request = pay(&live.wallet, &offer()).await;
    let transaction = match live.settle(&request).await {
        Err(SettleError::Unknown(transaction)) => transaction,
        other => panic!("{other:?}"),
    };
    live.devnet.mine(1).unwrap();
    let outcome = live.outcome(&request).await;
    assert!(matches!(outcome, Outcome::Settled(settlement) if settlement.transaction == transaction));
}

#[tokio::test]
async fn the_wallet_sees_its_balance() {
    use farthing_core::erased::AnyClientScheme;
    let live = live(Mining::Instant, |_| {}).await;
    let requirements = serde_json::from_value(offer()).unwrap();
    let balance = AnyClientScheme::balance(&live.wallet, &requirements).await.unwrap().unwrap();
    assert_eq!(balance.to_string(), "1000000");
}
