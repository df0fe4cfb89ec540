//! `exact` against a real EVM over HTTP: the embedded development chain.

use std::sync::Arc;
use std::time::Duration;

use farthing_core::erased::AnyFacilitatorScheme;
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

use crate::support::{Counting, Log, RELAYER_KEY, offer, pay, pay_to, payer, signer};

/// The chain's own clock.
struct ChainClock(Arc<Devnet>);

impl Clock for ChainClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.now())
    }
}

struct Live {
    devnet: Arc<Devnet>,
    wallet: exact::Client,
    facilitator: exact::Facilitator,
}

async fn live(mining: Mining, change: impl FnOnce(&mut ChainConfig)) -> Live {
    let devnet = Arc::new(Devnet::builder().chain_id(golden::CHAIN_ID).mining(mining).start().await.unwrap());
    devnet.give_usdc(payer(), U256::from(1_000_000)).unwrap();
    let mut config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(devnet.rpc_url()));
    change(&mut config);
    let chain = Chain::connect(&config, signer(RELAYER_KEY)).unwrap();
    let assets = Arc::new(AssetTable::known());
    let clock = Arc::new(ChainClock(devnet.clone()));
    let node = Arc::new(HttpNode::new(&config.network, &config.node).unwrap());
    let entropy = Arc::new(Counting::default());
    let wallet = exact::Client::new(signer(golden::PAYER_KEY), assets.clone(), clock.clone(), entropy)
        .with_node(config.network.clone(), node);
    let facilitator = exact::Facilitator::new(vec![chain], assets, clock);
    Live { devnet, wallet, facilitator }
}

impl Live {
    async fn settle(&self, request: &Value) -> Result<Settlement, SettleError> {
        self.settle_logged(request, &Log::default()).await
    }

    async fn settle_logged(&self, request: &Value, log: &Log) -> Result<Settlement, SettleError> {
        let request = PaymentRequest::read(request.to_string().as_bytes()).unwrap();
        let payment = AnyFacilitatorScheme::read(&self.facilitator, &request).unwrap();
        AnyFacilitatorScheme::settle(&self.facilitator, &payment, log).await
    }

    async fn rejection(&self, request: &Value) -> (Reason, String) {
        match self.settle(request).await {
            Err(SettleError::Rejected(refusal)) => (refusal.reason, refusal.message),
            other => panic!("expected a rejection, got {other:?}"),
        }
    }

    async fn payments(&self, count: usize) -> Vec<Value> {
        join_all((0..count).map(|_| async { pay(&self.wallet, &offer()).await })).await
    }

    fn received(&self) -> U256 {
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
    let request = PaymentRequest::read(request.to_string().as_bytes()).unwrap();
    let payment = AnyFacilitatorScheme::read(&live.facilitator, &request).unwrap();
    let outcome = AnyFacilitatorScheme::outcome(&live.facilitator, &payment, &settlement.transaction).await.unwrap();
    assert_eq!(outcome, Outcome::Settled(settlement));
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
async fn a_payment_that_somebody_else_settles_first_is_a_rejection() {
    let live = live(Mining::Manual, |_| {}).await;
    let request = pay(&live.wallet, &offer()).await;
    // Two facilitators settle the same authorization: both simulate it well, one lands.
    let other = Chain::connect(
        &ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(live.devnet.rpc_url())),
        signer(golden::SECOND_KEY),
    )
    .unwrap();
    let assets = Arc::new(AssetTable::known());
    let other = exact::Facilitator::new(vec![other], assets, Arc::new(ChainClock(live.devnet.clone())));
    let read = PaymentRequest::read(request.to_string().as_bytes()).unwrap();
    let payment = AnyFacilitatorScheme::read(&other, &read).unwrap();
    let (log, other_log) = (Log::default(), Log::default());
    let mine = async {
        while log.sent().is_empty() || other_log.sent().is_empty() {
            tokio::task::yield_now().await;
        }
        loop {
            live.devnet.mine(1).unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let both =
        async { tokio::join!(live.settle_logged(&request, &log), AnyFacilitatorScheme::settle(&other, &payment, &other_log)) };
    let (one, two) = tokio::select! { both = both => both, () = mine => unreachable!("it mines for ever") };
    let loser = match (one, two) {
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
        both => panic!("exactly one must land: {both:?}"),
    };
    match loser {
        SettleError::Rejected(refusal) => {
            assert_eq!(refusal.reason, Reason::InvalidExactEvmTransactionFailed);
            assert!(refusal.message.contains("authorization is used or canceled"), "{}", refusal.message);
        }
        other => panic!("{other:?}"),
    }
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
    assert!(reason == Reason::InvalidExactEvmSignature && message.contains("smart wallet"), "{reason}: {message}");
}

#[tokio::test]
async fn lost_answers_and_doubled_requests_settle_all_the_same() {
    let live = live(Mining::Instant, |config| config.confirm.rebroadcast_milliseconds = 50).await;
    let faults = [Fault::DropAnswer, Fault::ExecuteTwice, Fault::LoseTransaction, Fault::HttpStatus(503)];
    for (number, fault) in (1_u64..).zip(faults) {
        let request = pay(&live.wallet, &offer()).await;
        live.devnet.faults().inject("eth_sendRawTransaction", fault.clone(), Times::Exactly(1));
        let log = Log::default();
        live.settle_logged(&request, &log).await.unwrap_or_else(|error| panic!("{fault:?}: {error:?}"));
        assert_eq!(log.sent().len(), 1, "{fault:?}: one transaction, never another");
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
    let request = PaymentRequest::read(request.to_string().as_bytes()).unwrap();
    let payment = AnyFacilitatorScheme::read(&live.facilitator, &request).unwrap();
    let outcome = AnyFacilitatorScheme::outcome(&live.facilitator, &payment, &transaction).await.unwrap();
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
