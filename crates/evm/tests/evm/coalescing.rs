//! Reads that share a round trip: what that saves, what it never costs, and that no payment can spoil another's answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alloy_sol_types::SolCall;
use farthing_core::BoxFuture;
use farthing_core::books::MemorySettlements;
use farthing_core::reason::Reason;
use farthing_core::scheme::VerifyError;
use farthing_evm::abi::Token;
use farthing_evm::chain::{BlockView, Chain, Probe, Question};
use farthing_evm::config::{ChainConfig, RpcUrl};
use farthing_evm::rpc::{Answer, Call, CallError, Node, NodeError};
use farthing_evm::{Bytes, U256};
use farthing_testkit::golden;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::Instant;

use crate::fake_node::FakeNode;
use crate::live::{json, live};
use crate::support::{RELAYER_KEY, StillClock, payer, sign, signer, usdc};

const DELAY: Duration = Duration::from_millis(100);

/// A fake node that answers after [`DELAY`], on a clock that only moves when everybody waits.
struct SlowNode {
    node: Arc<FakeNode>,
    running: AtomicUsize,
    most: AtomicUsize,
}

impl Node for SlowNode {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        Box::pin(async move {
            let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(running, Ordering::Relaxed);
            tokio::time::sleep(DELAY).await;
            self.running.fetch_sub(1, Ordering::Relaxed);
            self.node.ask(calls).await
        })
    }
}

struct Slow {
    node: Arc<SlowNode>,
    chain: Arc<Chain>,
}

fn slow() -> Slow {
    let fake = FakeNode::new(golden::CHAIN_ID, usdc(), "USDC");
    fake.world().balances.insert(payer(), U256::from(1_000_000));
    let node = Arc::new(SlowNode { node: fake, running: AtomicUsize::new(0), most: AtomicUsize::new(0) });
    let config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new("http://127.0.0.1:1"));
    let outbox = Arc::new(MemorySettlements::default());
    let chain = Chain::new(&config, node.clone(), vec![signer(RELAYER_KEY)], outbox, StillClock::at(0)).unwrap();
    Slow { node, chain }
}

impl Slow {
    fn round_trips(&self) -> usize {
        self.node.node.round_trips()
    }

    /// What the payer holds, and how long it took to learn it.
    async fn balance(&self) -> (U256, Duration) {
        let started = Instant::now();
        let observed = self.chain.observe(balance_question()).await.unwrap();
        (U256::from_be_slice(observed.executed[0].as_ref().unwrap()), started.elapsed())
    }
}

fn balance_question() -> Question {
    let data = Token::balanceOfCall { account: payer() }.abi_encode().into();
    Question { account: payer(), ordinary_only: false, probes: vec![Probe { to: usdc(), data }], payment: None, sender: None }
}

#[tokio::test(start_paused = true)]
async fn an_idle_facilitator_adds_no_delay() {
    let slow = slow();
    for round_trips in 1..=3 {
        assert_eq!(slow.balance().await, (U256::from(1_000_000), DELAY));
        assert_eq!(slow.round_trips(), round_trips);
    }
}

#[tokio::test(start_paused = true)]
async fn questions_that_arrive_together_wait_little_and_share_round_trips() {
    let slow = slow();
    slow.balance().await;
    let before = slow.round_trips();
    for (_, waited) in join_all((0..32).map(|_| slow.balance())).await {
        assert!(waited <= DELAY + Duration::from_millis(5), "it took {waited:?}");
    }
    assert!(slow.round_trips() - before <= 3, "{} round trips", slow.round_trips() - before);
}

#[tokio::test(start_paused = true)]
async fn a_question_never_waits_for_a_read_that_is_on_its_way() {
    let slow = slow();
    slow.balance().await;
    let before = slow.round_trips();
    // One every millisecond, for longer than a round trip.
    let questions = (0..150).map(|number| {
        let slow = &slow;
        async move {
            tokio::time::sleep(Duration::from_millis(number)).await;
            slow.balance().await.1
        }
    });
    for waited in join_all(questions).await {
        assert!(waited <= DELAY + Duration::from_millis(5), "it took {waited:?}");
    }
    assert!(slow.node.most.load(Ordering::Relaxed) > 1, "reads overlap");
    assert!(slow.round_trips() - before <= 80, "{} round trips", slow.round_trips() - before);
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_full_leaves_at_once() {
    let slow = slow();
    slow.balance().await;
    let before = slow.round_trips();
    for (balance, waited) in join_all((0..1_000).map(|_| slow.balance())).await {
        assert_eq!(balance, U256::from(1_000_000));
        assert!(waited <= DELAY + Duration::from_millis(5), "it took {waited:?}");
    }
    assert!(slow.round_trips() - before <= 20, "{} round trips", slow.round_trips() - before);
}

#[tokio::test(start_paused = true)]
async fn whoever_goes_away_takes_nothing_with_them() {
    let slow = slow();
    let first = tokio::spawn({
        let chain = slow.chain.clone();
        async move { chain.observe(balance_question()).await.map(drop) }
    });
    tokio::time::sleep(DELAY / 2).await;
    let second = slow.balance();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(second.await.0, U256::from(1_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_question_that_did_not_fit_is_asked_again_by_itself() {
    let slow = slow();
    slow.balance().await;
    slow.node.node.world().starves_last = true;
    let before = slow.round_trips();
    for (balance, _) in join_all((0..10).map(|_| slow.balance())).await {
        assert_eq!(balance, U256::from(1_000_000));
    }
    assert!(slow.round_trips() - before <= 4, "{} round trips", slow.round_trips() - before);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_too_much_as_a_whole_is_asked_again_in_parts() {
    let slow = slow();
    slow.balance().await;
    slow.node.node.refuse_next("eth_call", -32_000, "out of gas");
    for (balance, _) in join_all((0..2).map(|_| slow.balance())).await {
        assert_eq!(balance, U256::from(1_000_000));
    }
    // That says nothing of the node: the next read is a shared one again.
    slow.node.node.world().calls.clear();
    slow.balance().await;
    assert_eq!(slow.node.node.world().calls.iter().filter(|call| call.method == "eth_call").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_node_can_do_is_found_out_again_after_a_while() {
    let slow = slow();
    slow.node.node.world().has_overrides = false;
    slow.balance().await;
    slow.node.node.world().has_overrides = true;
    let assumed = || {
        let calls = std::mem::take(&mut slow.node.node.world().calls);
        calls.iter().filter(|call| call.method == "eth_call" && call.params.contains("\"code\"")).count()
    };
    assert_eq!(assumed(), 1);
    slow.balance().await;
    assert_eq!(assumed(), 0);
    tokio::time::advance(Duration::from_mins(1)).await;
    slow.balance().await;
    slow.balance().await;
    assert_eq!(assumed(), 2);
}

#[tokio::test]
async fn on_a_real_chain_many_payments_are_verified_in_a_few_round_trips() {
    let live = live(|_| {}).await;
    let promises = join_all((0..32).map(|_| live.promise())).await;
    live.verify(&promises[0].request).await.unwrap();
    live.node.delay(Duration::from_millis(20));
    let before = live.node.round_trips();
    live.node.take_calls();
    for verified in join_all(promises.iter().map(|promise| live.verify(&promise.request))).await {
        assert_eq!(verified.unwrap().as_str(), golden::PAYER);
    }
    let round_trips = live.node.round_trips() - before;
    assert!(round_trips <= 6, "{round_trips} round trips");
    let calls = live.node.take_calls();
    assert_eq!(calls.iter().filter(|call| call.method == "eth_call").count(), round_trips);
    assert!(calls.iter().filter(|call| call.method == "eth_estimateGas").count() <= 1);
}

#[tokio::test]
async fn copies_of_one_payment_in_one_read_do_not_disturb_each_other() {
    let live = live(|_| {}).await;
    let promise = live.promise().await;
    for verified in join_all((0..20).map(|_| live.verify(&promise.request))).await {
        verified.unwrap();
    }
    assert!(live.node.round_trips() <= 4, "{} round trips", live.node.round_trips());
}

#[tokio::test]
async fn what_is_observed_is_what_the_chain_shows() {
    let live = live(|_| {}).await;
    live.devnet.mine(7).unwrap();
    let promise = live.promise().await;
    let probe = |data: Vec<u8>| Probe { to: usdc(), data: data.into() };
    let question = Question {
        account: usdc(),
        ordinary_only: false,
        probes: vec![
            probe(promise.calldata()),
            probe(Token::balanceOfCall { account: payer() }.abi_encode()),
            probe(promise.calldata()),
            Probe { to: payer(), data: Bytes::new() },
        ],
        payment: None,
        sender: None,
    };
    for _ in 0..2 {
        let observed = live.chain.observe(question.clone()).await.unwrap();
        assert!(observed.code_size > 10_000);
        assert_eq!(observed.executed[0].as_ref().unwrap(), &Bytes::new());
        let balance = U256::from_be_slice(observed.executed[1].as_ref().unwrap());
        assert_eq!(balance, U256::from(990_000), "later probes see what earlier ones did, and the next question does not");
        let revert = observed.executed[2].as_ref().unwrap_err();
        assert_eq!(revert.reason, "FiatTokenV2: authorization is used or canceled");
        assert_eq!(observed.executed[3].as_ref().unwrap(), &Bytes::new());
        let BlockView { number, timestamp_seconds } = observed.block.unwrap();
        assert_eq!(number, live.devnet.block_number());
        assert!(timestamp_seconds.abs_diff(live.devnet.now()) <= 1);
    }
}

#[tokio::test]
async fn payers_with_code_are_asked_by_themselves() {
    let live = live(|_| {}).await;
    let second = golden::SECOND.parse().unwrap();
    live.devnet.give_usdc(second, U256::from(1_000_000)).unwrap();
    let good = join_all((0..20).map(|_| live.promise())).await;
    let mut bad = Vec::new();
    for promise in join_all((0..20).map(|_| live.promise())).await {
        let mut request = promise.request;
        request["paymentPayload"]["payload"]["authorization"]["from"] = Value::from(golden::SECOND);
        sign(&mut request, golden::SECOND_KEY).await;
        bad.push(request);
    }
    // The account has become a contract that never ends.
    live.devnet.set_code(second, Bytes::from_static(&[0x5b, 0x60, 0x00, 0x56])).unwrap();
    live.verify(&good[0].request).await.unwrap();
    let before = live.node.round_trips();
    let requests: Vec<&Value> = good.iter().zip(&bad).flat_map(|(good, bad)| [bad, &good.request]).collect();
    let verified = join_all(requests.into_iter().map(|request| live.verify(request))).await;
    for pair in verified.chunks(2) {
        let [bad, good] = pair else { panic!("they come in pairs") };
        assert!(
            matches!(bad, Err(VerifyError::Invalid(refusal)) if refusal.reason == Reason::InvalidExactEvmSignature),
            "{bad:?}"
        );
        good.as_ref().unwrap();
    }
    let alone = bad.len();
    assert!(live.node.round_trips() - before <= 10 + alone, "{} round trips", live.node.round_trips() - before);
}

#[tokio::test]
async fn code_that_burns_gas_harms_nobody_else() {
    // Eight of these use up what the node allows for one call.
    let live = live(|config| config.gas.max_units = 6_000_000).await;
    let burner = golden::SECOND.parse().unwrap();
    live.devnet.set_code(burner, Bytes::from_static(&[0xfe])).unwrap();
    live.chain.observe(balance_question()).await.unwrap();
    live.node.delay(Duration::from_millis(20));
    let questions = (0..20).map(|_| async {
        let probe = Probe { to: burner, data: Bytes::new() };
        let burns = Question { account: burner, ordinary_only: false, probes: vec![probe], payment: None, sender: None };
        tokio::join!(live.chain.observe(burns), live.chain.observe(balance_question()))
    });
    for (burnt, good) in join_all(questions).await {
        assert!(!burnt.is_ok_and(|observed| observed.executed[0].is_ok()));
        assert_eq!(U256::from_be_slice(good.unwrap().executed[0].as_ref().unwrap()), U256::from(1_000_000));
    }
}

#[tokio::test]
async fn answers_that_are_too_long_are_cut_before_they_cost() {
    let live = live(|_| {}).await;
    live.chain.observe(balance_question()).await.unwrap();
    // Whatever it is asked, it answers with 64 KiB of nothing.
    live.devnet.set_code(usdc(), Bytes::from_static(&[0x62, 0x01, 0x00, 0x00, 0x60, 0x00, 0xf3])).unwrap();
    let observed = live.chain.observe(balance_question()).await.unwrap();
    assert_eq!(observed.executed[0].as_ref().unwrap().len(), 1_024);
}

#[tokio::test]
async fn a_node_without_overrides_serves_as_well() {
    let live = live(|_| {}).await;
    live.node.meddle(|call, answer| {
        if call.method == "eth_call" && call.params.contains("\"code\"") {
            let message = "too many arguments, want at most 2".to_owned();
            return Err(CallError { code: -32_602, message, data: None });
        }
        answer
    });
    let promises = join_all((0..10).map(|_| live.promise())).await;
    for verified in join_all(promises.iter().map(|promise| live.verify(&promise.request))).await {
        verified.unwrap();
    }
    // A node that ignores the assumption finds no code there, and answers with nothing.
    live.node.meddle(
        |call, answer| {
            if call.method == "eth_call" && call.params.contains("\"code\"") { json("\"0x\"") } else { answer }
        },
    );
    for verified in join_all(promises.iter().map(|promise| live.verify(&promise.request))).await {
        verified.unwrap();
    }
}

#[tokio::test]
async fn whether_there_is_a_multicall_can_be_asked() {
    let live = live(|_| {}).await;
    assert!(live.chain.has_multicall().await.unwrap());
    let before = live.node.round_trips();
    assert!(live.chain.has_multicall().await.unwrap());
    assert_eq!(live.node.round_trips(), before);
    let slow = slow();
    slow.node.node.world().has_multicall = false;
    assert!(!slow.chain.has_multicall().await.unwrap());
}
