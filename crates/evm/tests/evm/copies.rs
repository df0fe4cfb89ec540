//! Copies of one sponsored payment at two replicas, on one book and one chain, interleaved at chosen moments: what one of
//! them does for the payment is no reason for the other to refuse it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use farthing_core::BoxFuture;
use farthing_core::books::{SettlementQuery, Settlements};
use farthing_core::reason::Reason;
use farthing_core::scheme::{Outcome, SettleError, Settlement, VerifyError};
use farthing_devnet::{DevToken, Fault, Times};
use farthing_evm::U256;
use farthing_evm::config::ChainConfig;
use farthing_evm::rpc::{Answer, Call, HttpNode, Node, NodeError};
use farthing_evm::transfer::approval::{self, Approval, Wanted};
use farthing_evm::transfer::eip2612;
use farthing_evm::transfer::permit2::PERMIT2;
use farthing_testkit::golden;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::market::{Market, advertised, market, offer_in, pay_by};
use crate::support::{RELAYER_KEY, pay_to, payer, signer, usdc};

const TOKEN: DevToken = DevToken::PLAIN;
/// The newest block, as calls name it.
const LATEST: &str = r#""latest""#;
const CENT: U256 = U256::from_limbs([10_000, 0, 0, 0]);

type Cue = fn(&Call) -> bool;

/// A node at whose questions a test does something else first, and which may be behind.
struct Staged {
    node: Arc<HttpNode>,
    scenes: Mutex<VecDeque<(Cue, BoxFuture<'static, ()>)>>,
    /// Whether it has answered the first call of such a question by then.
    in_between: AtomicBool,
    /// The methods by which it shows an older block as its latest one, and that block.
    behind: Mutex<(Vec<&'static str>, u64)>,
    /// The methods by which it knows nothing.
    blind: Mutex<Vec<&'static str>>,
}

impl Staged {
    fn new(market: &Market) -> Arc<Self> {
        let (scenes, in_between, behind, blind) = Default::default();
        Arc::new(Self { node: market.node(), scenes, in_between, behind, blind })
    }

    /// Before a question like that is put, this happens; after everything that was to happen before.
    fn before(&self, cue: Cue, act: impl Future<Output = ()> + Send + 'static) {
        self.scenes.lock().unwrap().push_back((cue, Box::pin(act)));
    }

    fn due(&self, calls: &[Call]) -> Option<BoxFuture<'static, ()>> {
        let mut scenes = self.scenes.lock().unwrap();
        let (cue, _) = scenes.front()?;
        if calls.iter().any(cue) { scenes.pop_front().map(|(_, act)| act) } else { None }
    }

    async fn ask_now(&self, calls: &[Call]) -> Result<Vec<Answer>, NodeError> {
        let (behind, number) = self.behind.lock().unwrap().clone();
        let latest = |call: &Call| if behind.contains(&call.method) { format!(r#""{number:#x}""#) } else { LATEST.to_owned() };
        let older = |call: &Call| Call { params: call.params.replace(LATEST, &latest(call)), ..call.clone() };
        let asked: Vec<Call> = calls.iter().map(older).collect();
        self.node.ask(&asked).await
    }
}

impl Node for Staged {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        Box::pin(async move {
            let mut answers = Vec::new();
            if let Some(act) = self.due(calls) {
                if self.in_between.load(Ordering::Relaxed) {
                    answers = self.ask_now(&calls[..1]).await?;
                }
                act.await;
            }
            answers.extend(self.ask_now(&calls[answers.len()..]).await?);
            let blind = self.blind.lock().unwrap().clone();
            for (call, answer) in calls.iter().zip(&mut answers) {
                if blind.contains(&call.method) {
                    *answer = Ok(RawValue::from_string("null".to_owned()).unwrap());
                }
            }
            Ok(answers)
        })
    }
}

fn reads_state(call: &Call) -> bool {
    call.method == "eth_call"
}

fn broadcasts(call: &Call) -> bool {
    call.method == "eth_sendRawTransaction"
}

fn asks_for_number(call: &Call) -> bool {
    call.method == "eth_getTransactionCount" && call.params.contains(&format!("{:?}", payer()))
}

fn asks_for_block(call: &Call) -> bool {
    call.method == "eth_getBlockByNumber"
}

/// What only funding asks by itself.
fn asks_for_coin(call: &Call) -> bool {
    call.method == "eth_getBalance" && call.params.contains(&format!("{:?}", payer()))
}

/// Pair replicas, and a payment of which both get a copy.
struct Pair {
    first: Arc<Market>,
    stage_of_first: Arc<Staged>,
    second: Arc<Market>,
    stage: Arc<Staged>,
    request: Value,
}

/// A settlement at the first replica that waits: the approval is mined, and the payment not sent.
struct Held {
    settling: JoinHandle<Result<Settlement, SettleError>>,
    go: oneshot::Sender<()>,
}

impl Held {
    async fn go_on(self) -> Result<Settlement, SettleError> {
        self.go.send(()).unwrap();
        self.settling.await.unwrap()
    }
}

async fn pair(change: fn(&mut ChainConfig)) -> Pair {
    let market = market(|_| {}).await;
    let request = pay_by(&market.wallet(golden::PAYER_KEY), &offer_in(TOKEN.address), &advertised(approval::EXTENSION)).await;
    assert!(request["paymentPayload"]["extensions"][approval::EXTENSION]["info"]["signedTransaction"].is_string());
    pair_with(&market, request, change)
}

fn pair_with(market: &Market, request: Value, change: fn(&mut ChainConfig)) -> Pair {
    market.devnet.set_balance(signer(golden::SECOND_KEY).address(), U256::from(10).pow(U256::from(18)));
    let (stage_of_first, stage) = (Staged::new(market), Staged::new(market));
    let config = |config: &mut ChainConfig| {
        config.sponsor.approvals = true;
        config.confirm.poll_milliseconds = 20;
        change(config);
    };
    let first = Arc::new(market.joined_over(stage_of_first.clone(), &[RELAYER_KEY], config));
    let second = Arc::new(market.joined_over(stage.clone(), &[golden::SECOND_KEY], config));
    Pair { first, stage_of_first, second, stage, request }
}

impl Pair {
    /// Lets the first replica come as far as that.
    fn approving(&self) -> impl Future<Output = Held> + Send + 'static {
        let (one, stage, request) = (self.first.clone(), self.stage_of_first.clone(), self.request.clone());
        async move {
            let ((reached, until_reached), (go, until_go)) = (oneshot::channel(), oneshot::channel());
            stage.before(broadcasts, std::future::ready(()));
            stage.before(reads_state, async move {
                reached.send(()).unwrap();
                drop(until_go.await);
            });
            let settling = tokio::spawn(async move { one.settle(&request).await });
            until_reached.await.unwrap();
            Held { settling, go }
        }
    }

    /// The same, at the moment at which the second replica puts a question like that.
    fn approving_before(&self, cue: Cue, then: impl FnOnce() + Send + 'static) -> oneshot::Receiver<Held> {
        let (approving, (sender, held)) = (self.approving(), oneshot::channel());
        self.stage.before(cue, async move {
            drop(sender.send(approving.await));
            then();
        });
        held
    }

    /// The first replica settles a payment, at that moment.
    fn settling_before(&self, cue: Cue, request: &Value) {
        let (one, request) = (self.first.clone(), request.clone());
        self.stage.before(cue, async move { drop(one.settle(&request).await.unwrap()) });
    }

    /// The payer has no more coin than its approval can cost.
    fn has_just_enough(&self) {
        let info = &self.request["paymentPayload"]["extensions"][approval::EXTENSION]["info"]["signedTransaction"];
        let wanted = Wanted {
            chain_id: golden::CHAIN_ID,
            asset: TOKEN.address,
            payer: payer(),
            amount: CENT,
            max_fee_per_unit_wei: u128::MAX,
        };
        let approval = Approval::read(info.as_str().unwrap(), &wanted).unwrap();
        self.first.devnet.set_balance(payer(), approval.max_cost_wei());
    }

    /// From now on the second replica's node shows by these methods what was before the approval.
    fn falls_behind(&self, methods: &[&'static str], number: u64) {
        *self.stage.behind.lock().unwrap() = (methods.to_vec(), number);
    }

    async fn asks_again(&self) {
        match self.second.verify(&self.request).await {
            Err(VerifyError::Unavailable(_)) => {}
            other => panic!("expected to be asked again, got {other:?}"),
        }
        self.settles_later().await;
    }

    async fn settles_later(&self) {
        match self.second.settle(&self.request).await {
            Err(SettleError::NotSent(_)) => {}
            other => panic!("expected to be asked again, got {other:?}"),
        }
    }

    /// The second replica settles while the first one waits, which then finds it done.
    async fn second_settles_instead_of(&self, held: Held) {
        self.second.settle(&self.request).await.unwrap();
        let too_late = held.go_on().await;
        let is_told = match &too_late {
            Err(SettleError::Taken) => true,
            // The book has it by then, which is read before this is passed on.
            Err(SettleError::Rejected(refusal)) => refusal.reason == Reason::Permit2InvalidNonce,
            _ => false,
        };
        assert!(is_told, "{too_late:?}");
        self.moved_once().await;
    }

    async fn moved_once(&self) {
        assert_eq!(self.first.devnet.token_balance(TOKEN.address, pay_to()).unwrap(), CENT);
        assert!(matches!(self.first.outcome(&self.request).await, Outcome::Settled(_)));
    }

    /// How often a payer was given coin.
    async fn gifts(&self) -> usize {
        let query = SettlementQuery { limit: 10, ..SettlementQuery::default() };
        let entries = self.first.book.memory.list(&query).await.unwrap();
        entries.iter().filter(|entry| entry.record.reference.starts_with("funding:")).count()
    }
}

#[tokio::test]
async fn an_approval_that_is_mined_between_two_questions_does_not_refuse_its_payment() {
    let pair = pair(|_| {}).await;
    let held = pair.approving_before(asks_for_number, || {});
    pair.second.verify(&pair.request).await.unwrap();
    let held = held.await.unwrap();
    assert_eq!(pair.first.entry(&pair.request).await, None, "nothing of it is in the book");
    pair.second_settles_instead_of(held).await;
}

#[tokio::test]
async fn a_copy_is_settled_where_the_approval_is_mined_and_the_settlement_is_not_sent() {
    let pair = pair(|_| {}).await;
    let held = pair.approving().await;
    pair.second.verify(&pair.request).await.unwrap();
    pair.second_settles_instead_of(held).await;
}

#[tokio::test]
async fn a_copy_that_is_settled_between_two_questions_is_used_and_its_approval_not_bad() {
    let pair = pair(|_| {}).await;
    pair.settling_before(asks_for_number, &pair.request);
    pair.second.refused(&pair.request, Reason::Permit2InvalidNonce).await;
    pair.moved_once().await;
}

#[tokio::test]
async fn a_node_that_is_behind_refuses_no_payment_for_its_approval() {
    // By one backend nothing is approved, and by another the number or the coin is gone.
    for (methods, change) in [
        (&["eth_call"][..], (|_| {}) as fn(&mut ChainConfig)),
        (&["eth_call", "eth_getTransactionCount"], |config| config.sponsor.max_funding_gwei = 0),
    ] {
        let pair = pair(change).await;
        pair.has_just_enough();
        let before = pair.first.devnet.block_number();
        let held = pair.approving().await;
        pair.falls_behind(methods, before);
        pair.asks_again().await;
        pair.falls_behind(&[], 0);
        pair.second_settles_instead_of(held).await;
    }
}

#[tokio::test]
async fn a_node_that_is_behind_refuses_no_payment_that_another_copy_has_carried_out() {
    let pair = pair(|_| {}).await;
    let before = pair.first.devnet.block_number();
    pair.first.settle(&pair.request).await.unwrap();
    // As if no more had been approved than was paid.
    pair.first.devnet.set_allowance(TOKEN.address, payer(), PERMIT2, U256::ZERO).unwrap();
    pair.falls_behind(&["eth_call"], before);
    pair.asks_again().await;
    pair.falls_behind(&[], 0);
    pair.second.refused(&pair.request, Reason::Permit2InvalidNonce).await;
}

#[tokio::test]
async fn an_approval_that_is_mined_and_not_shown_yet_is_asked_for_again() {
    let pair = pair(|_| {}).await;
    let (stage, number) = (pair.stage.clone(), pair.first.devnet.block_number());
    pair.stage.before(broadcasts, async move { *stage.behind.lock().unwrap() = (vec!["eth_call"], number) });
    pair.settles_later().await;
    pair.falls_behind(&[], 0);
    pair.second.settle(&pair.request).await.unwrap();
    pair.moved_once().await;
}

#[tokio::test]
async fn a_payment_whose_approval_was_used_up_by_another_one_is_refused_when_it_is_asked_for_again() {
    let pair = pair(|_| {}).await;
    let devnet = pair.first.devnet.clone();
    pair.stage.before(broadcasts, std::future::ready(()));
    // The approval is mined, and before anybody looks again what it allowed is gone.
    let spent = async move { devnet.set_allowance(TOKEN.address, payer(), PERMIT2, U256::ZERO).unwrap() };
    pair.stage.before(reads_state, spent);
    pair.settles_later().await;
    pair.second.refused(&pair.request, Reason::Erc20ApprovalBroadcastFailed).await;
    assert_eq!(pair.first.entry(&pair.request).await, None);
}

#[tokio::test]
async fn a_node_that_does_not_take_an_approval_that_another_one_has_does_not_refuse_its_payment() {
    for (words, settles) in [("transaction underpriced", true), ("nonce too low", false), ("txpool is full", false)] {
        let pair = pair(|_| {}).await;
        let (faults, refused) = (pair.first.devnet.faults(), Fault::Error { code: -32_000, message: words.to_owned() });
        let held = pair.approving_before(broadcasts, move || {
            faults.inject("eth_sendRawTransaction", refused, Times::Exactly(1));
        });
        // It does not know what the other one does: neither the receipt nor the transaction.
        *pair.stage.blind.lock().unwrap() = vec!["eth_getTransactionReceipt", "eth_getTransactionByHash"];
        if settles {
            let stage = pair.stage.clone();
            // From then on it sees what is its own.
            pair.stage.before(broadcasts, async move { stage.blind.lock().unwrap().clear() });
            pair.second.settle(&pair.request).await.unwrap();
        } else {
            pair.settles_later().await;
            pair.stage.blind.lock().unwrap().clear();
            pair.second.settle(&pair.request).await.unwrap();
        }
        held.await.unwrap().go_on().await.unwrap_err();
        pair.moved_once().await;
    }
}

#[tokio::test]
async fn an_approval_that_another_copy_broadcasts_while_a_node_does_not_take_it_does_not_refuse_its_payment() {
    let pair = pair(|_| {}).await;
    let (faults, refused) = (pair.first.devnet.faults(), Fault::Error { code: -32_000, message: "underpriced".to_owned() });
    pair.stage.before(broadcasts, async move {
        faults.inject("eth_sendRawTransaction", refused, Times::Exactly(1));
    });
    let (one, request, faults) = (pair.first.clone(), pair.request.clone(), pair.first.devnet.faults());
    pair.stage.before(asks_for_block, async move {
        faults.inject("eth_sendRawTransaction", Fault::HoldTransaction, Times::Exactly(1));
        let broadcasting = tokio::spawn({
            let one = one.clone();
            async move { one.settle(&request).await }
        });
        one.until_pending(payer()).await;
        broadcasting.abort();
    });
    pair.settles_later().await;
}

#[tokio::test]
async fn a_payer_is_given_nothing_for_an_approval_that_it_has_paid() {
    // Before its coin is asked for, and while a node answers what was asked.
    for in_between in [false, true] {
        let pair = pair(|config| config.sponsor.max_funding_gwei = 1_000_000).await;
        pair.has_just_enough();
        // The first time while it is verified, and then for its coin.
        pair.stage.before(asks_for_coin, std::future::ready(()));
        pair.stage.in_between.store(in_between, Ordering::Relaxed);
        let held = pair.approving_before(asks_for_coin, || {});
        pair.second.settle(&pair.request).await.unwrap();
        held.await.unwrap().go_on().await.unwrap_err();
        assert_eq!(pair.gifts().await, 0);
        pair.moved_once().await;
    }
}

#[tokio::test]
async fn a_payer_who_used_the_number_for_something_else_is_refused() {
    // Before it is verified, between two questions, and when its approval is to be broadcast.
    for (cue, comes_late) in [(None, false), (Some(asks_for_number as Cue), false), (Some(broadcasts), true)] {
        let pair = pair(|_| {}).await;
        let offer = offer_in(DevToken::RETURNS_NOTHING.address);
        let other = pay_by(&pair.first.wallet(golden::PAYER_KEY), &offer, &advertised(approval::EXTENSION)).await;
        match cue {
            None => drop(pair.first.settle(&other).await.unwrap()),
            Some(cue) => pair.settling_before(cue, &other),
        }
        if comes_late {
            pair.settles_later().await;
        }
        let message = pair.second.refused(&pair.request, Reason::Erc20ApprovalBroadcastFailed).await;
        assert!(message.contains("expected 1, the payer's next number, got 0"), "{message}");
        match pair.second.settle(&pair.request).await {
            Err(SettleError::Rejected(refusal)) => assert_eq!(refusal.reason, Reason::Erc20ApprovalBroadcastFailed),
            other => panic!("expected a refusal, got {other:?}"),
        }
        assert!(pair.second.book.sent().is_empty());
    }
}

#[tokio::test]
async fn an_approval_that_waits_for_a_block_is_not_refused_for_want_of_coin() {
    let pair = pair(|config| config.sponsor.max_funding_gwei = 0).await;
    pair.first.devnet.faults().inject("eth_sendRawTransaction", Fault::HoldTransaction, Times::Exactly(1));
    let (one, request) = (pair.first.clone(), pair.request.clone());
    let settling = tokio::spawn(async move { one.settle(&request).await });
    pair.first.until_pending(payer()).await;
    let before = pair.first.devnet.balance(payer());
    pair.first.devnet.set_balance(payer(), U256::from(1));
    assert!(matches!(pair.second.verify(&pair.request).await, Err(VerifyError::Unavailable(_))));
    pair.first.devnet.set_balance(payer(), before);
    settling.abort();
}

#[tokio::test]
async fn a_permit_that_is_used_between_is_told_as_used_and_never_as_missing() {
    let market = market(|_| {}).await;
    market.devnet.set_allowance(usdc(), payer(), PERMIT2, U256::ZERO).unwrap();
    let request = pay_by(&market.wallet(golden::PAYER_KEY), &offer_in(usdc()), &advertised(eip2612::EXTENSION)).await;
    assert!(request["paymentPayload"]["extensions"][eip2612::EXTENSION]["info"]["signature"].is_string());
    let pair = pair_with(&market, request, |_| {});
    pair.second.verify(&pair.request).await.unwrap();
    // Between what was seen and what is to be sent.
    let (one, request, book) = (pair.first.clone(), pair.request.clone(), pair.second.book.clone());
    pair.stage
        .before(|call| call.method == "eth_getTransactionCount", async move { drop(one.settle(&request).await.unwrap()) });
    let answer = pair.second.settle(&pair.request).await;
    assert!(matches!(answer, Err(SettleError::Taken)), "{answer:?}");
    assert!(book.sent().is_empty());
    pair.second.refused(&pair.request, Reason::Permit2InvalidNonce).await;
    assert_eq!(market.received(), CENT);
}
