//! Copies of one sponsored payment at two facilitators that share a book: whatever one of them does for it while the other
//! one looks, both answer alike.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use farthing::core::BoxFuture;
use farthing::core::books::MemorySettlements;
use farthing::core::erased::{AnyClientScheme, AnyFacilitatorScheme};
use farthing::core::facilitator::Facilitator;
use farthing::core::wire::{Extensions, PaymentRequest, SettleResponse};
use farthing::evm::asset::{AssetTable, TransferMethod};
use farthing::evm::chain::Chain;
use farthing::evm::config::{AssetConfig, ChainConfig, RpcUrl};
use farthing::evm::exact;
use farthing::evm::rpc::{Answer, Call, HttpNode, Node, NodeError};
use farthing::evm::signer::LocalSigner;
use farthing::evm::transfer::{approval, eip2612};
use farthing::evm::{Address, U256};
use farthing::facilitator::Local;
use farthing::system::{SystemClock, SystemEntropy};
use farthing_devnet::{DevToken, Devnet, Mining};
use farthing_testkit::golden;
use futures_util::future::join_all;
use serde_json::{Value, json};

type Scene = (&'static str, BoxFuture<'static, ()>);

/// A node that is asked a question of that kind only after something else has happened, once; of accounts, about the payer's.
struct Staged {
    node: HttpNode,
    scene: Mutex<Option<Scene>>,
}

impl Node for Staged {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        Box::pin(async move {
            let about = |call: &Call| call.method != "eth_getTransactionCount" || call.params.contains(&payer());
            let is_due = |(method, _): &mut Scene| calls.iter().any(|call| call.method == *method && about(call));
            let due = self.scene.lock().unwrap().take_if(is_due);
            if let Some((_, act)) = due {
                act.await;
            }
            self.node.ask(calls).await
        })
    }
}

struct Place {
    devnet: Arc<Devnet>,
    assets: Arc<AssetTable>,
    one: Arc<Local>,
    two: Arc<Local>,
    /// The second one's node.
    stage: Arc<Staged>,
}

impl Place {
    async fn open() -> Self {
        let devnet = Arc::new(Devnet::builder().mining(Mining::Instant).start().await.unwrap());
        let mut assets = AssetTable::known();
        for (token, permits) in [(DevToken::PLAIN, false), (DevToken::PERMIT, true)] {
            devnet.give_tokens(token.address, golden::PAYER.parse().unwrap(), U256::from(1_000_000)).unwrap();
            assets = assets.with(&described(token, permits)).unwrap();
        }
        let (assets, book) = (Arc::new(assets), MemorySettlements::default());
        let (one, _) = facilitator(&devnet, &assets, book.clone(), 8);
        let (two, stage) = facilitator(&devnet, &assets, book.join(), 7);
        Self { devnet, assets, one, two, stage }
    }

    /// A sponsored payment of a cent.
    async fn pay(&self, token: DevToken, extension: &str) -> PaymentRequest {
        let offer = json!({
            "scheme": "exact", "network": golden::NETWORK, "amount": "10000", "asset": token.address.to_string(),
            "payTo": golden::PAY_TO, "maxTimeoutSeconds": 300, "extra": {"assetTransferMethod": "permit2"},
        });
        let mut offered = Extensions::default();
        offered.set(extension, &json!({"info": {"description": "gas is on us", "version": "1"}, "schema": {}})).unwrap();
        let signer = Arc::new(LocalSigner::from_hex(golden::PAYER_KEY.to_owned().into()).unwrap());
        let wallet = exact::Client::new(signer, self.assets.clone(), Arc::new(SystemClock), Arc::new(SystemEntropy));
        let wallet = wallet.with_node(golden::NETWORK.parse().unwrap(), Arc::new(node(&self.devnet)));
        let requirements = serde_json::from_value(offer.clone()).unwrap();
        let (payload, extensions) = AnyClientScheme::pay(&wallet, &requirements, &offered).await.unwrap();
        assert!(extensions.get::<Value>(extension, "missing".into()).unwrap().is_some(), "it is sponsored");
        let payload: Value = serde_json::from_str(payload.raw()).unwrap();
        let request = json!({
            "x402Version": 2,
            "paymentPayload": {"x402Version": 2, "accepted": offer, "payload": payload, "extensions": extensions},
            "paymentRequirements": offer,
        });
        PaymentRequest::read(request.to_string().as_bytes()).unwrap()
    }

    /// The first facilitator settles, before the second one's next question of that kind.
    fn settling_before(&self, method: &'static str, request: &PaymentRequest) {
        let (one, request) = (self.one.clone(), request.clone());
        let settle = async move { settled(&one, &request).await.transaction };
        *self.stage.scene.lock().unwrap() = Some((method, Box::pin(async move { drop(settle.await) })));
    }

    fn received(&self, token: Address) -> U256 {
        self.devnet.token_balance(token, golden::PAY_TO.parse().unwrap()).unwrap()
    }
}

/// As calls name it.
fn payer() -> String {
    golden::PAYER.to_lowercase()
}

async fn settled(facilitator: &Local, request: &PaymentRequest) -> SettleResponse {
    let answer = facilitator.settle(request).await.unwrap();
    assert!(answer.success, "{answer:?}");
    answer
}

fn described(token: DevToken, permits: bool) -> AssetConfig {
    AssetConfig {
        network: golden::NETWORK.parse().unwrap(),
        address: token.address.to_string(),
        symbol: token.symbol.to_owned(),
        decimals: token.decimals,
        name: token.name.to_owned(),
        version: DevToken::DOMAIN_VERSION.to_owned(),
        method: TransferMethod::Permit2,
        permits,
        usd: true,
    }
}

fn config(devnet: &Devnet) -> ChainConfig {
    let mut config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(devnet.rpc_url()));
    config.sponsor.approvals = true;
    config.sponsor.max_funding_gwei = 1_000_000;
    config.confirm.poll_milliseconds = 20;
    config
}

fn node(devnet: &Devnet) -> HttpNode {
    let config = config(devnet);
    HttpNode::new(&config.network, &config.nodes[0]).unwrap()
}

fn facilitator(
    devnet: &Devnet,
    assets: &Arc<AssetTable>,
    book: MemorySettlements,
    account: usize,
) -> (Arc<Local>, Arc<Staged>) {
    let signer = LocalSigner::from_bytes(devnet.accounts()[account].secret.into()).unwrap();
    let stage = Arc::new(Staged { node: node(devnet), scene: Mutex::default() });
    let (clock, outbox) = (Arc::new(SystemClock), Arc::new(book.clone()));
    let chain = Chain::new(&config(devnet), stage.clone(), vec![Arc::new(signer)], outbox, clock.clone()).unwrap();
    let scheme: Arc<dyn AnyFacilitatorScheme> = Arc::new(exact::Facilitator::new(vec![chain], assets.clone(), clock.clone()));
    let local = Local::builder().schemes([scheme]).settlements(Arc::new(book)).clock(clock).build().unwrap();
    local.start();
    (Arc::new(local), stage)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_is_settled_while_a_copy_of_it_is_looked_at_is_settled_for_the_copy() {
    let cases = [
        // Between the state and the payer's account, and before either.
        (DevToken::PLAIN, approval::EXTENSION, "eth_getTransactionCount"),
        (DevToken::PLAIN, approval::EXTENSION, "eth_call"),
        (DevToken::PERMIT, eip2612::EXTENSION, "eth_call"),
    ];
    for (token, extension, question) in cases {
        for verifies in [false, true] {
            let place = Place::open().await;
            let request = place.pay(token, extension).await;
            place.settling_before(question, &request);
            if verifies {
                let answer = place.two.verify(&request).await.unwrap();
                assert_eq!(answer.invalid_reason.as_ref().map(ToString::to_string).as_deref(), Some("payment_already_used"));
            }
            let answer = settled(&place.two, &request).await;
            assert_eq!(answer, settled(&place.one, &request).await);
            assert!(place.stage.scene.lock().unwrap().is_none(), "it has happened");
            assert_eq!(place.received(token.address), U256::from(10_000), "once");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_sponsored_payment_at_two_facilitators_at_once_are_never_refused() {
    let (approved, permitted) = ((DevToken::PLAIN, approval::EXTENSION), (DevToken::PERMIT, eip2612::EXTENSION));
    for ((token, extension), is_funded) in [(approved, false), (approved, true), (permitted, false)] {
        let place = Place::open().await;
        let request = place.pay(token, extension).await;
        if is_funded {
            place.devnet.set_balance(golden::PAYER.parse().unwrap(), U256::ZERO);
        }
        let answers = join_all([&place.one, &place.two].map(|local| local.settle(&request))).await;
        // Whoever can't say yet what becomes of it may ask to be asked again.
        for answer in answers.into_iter().flatten() {
            let is_pending = answer.error_reason.as_ref().is_some_and(|reason| reason.to_string() == "settlement_pending");
            assert!(answer.success || is_pending, "{answer:?}");
        }
        let answer = settled(&place.one, &request).await;
        assert_eq!(settled(&place.two, &request).await, answer);
        assert_eq!(place.received(token.address), U256::from(10_000), "once");
    }
}
