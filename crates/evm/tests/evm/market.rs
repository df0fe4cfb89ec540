//! Both schemes' facilitators on the embedded chain with Permit2, x402's proxies, smart wallets and awkward tokens, and
//! wallets that pay there.

use std::sync::Arc;
use std::time::Duration;

use alloy_sol_types::SolCall;
use farthing_core::books::{SettlementEntry, Settlements};
use farthing_core::erased::{AnyClientScheme, AnyFacilitatorScheme, TypedPayment};
use farthing_core::extension::builder_code::FacilitatorCodes;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Outcome, SettleError, Settlement, TransactionId, VerifyError};
use farthing_core::time::{Clock, UnixSeconds};
use farthing_core::wire::{Extensions, PaymentRequest};
use farthing_devnet::{DevToken, Devnet, Mining};
use farthing_evm::abi::ExactProxy;
use farthing_evm::asset::{AssetTable, TransferMethod};
use farthing_evm::chain::Chain;
use farthing_evm::config::{AssetConfig, ChainConfig, RpcUrl};
use farthing_evm::rpc::{self, Call, HttpNode, Node, quantity};
use farthing_evm::signature::WireSignature;
use farthing_evm::transfer::permit2::{Authorization, PERMIT2};
use farthing_evm::wallet::ContractSigner;
use farthing_evm::{Address, Bytes, U256, exact, upto};
use farthing_testkit::golden;
use serde_json::{Value, json};

use crate::support::{Book, Counting, RELAYER_KEY, Right, pay_to, payer, signer, usdc};

/// The chain's own clock.
pub struct ChainClock(pub Arc<Devnet>);

impl Clock for ChainClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.now())
    }
}

/// The tokens that know EIP-3009.
pub const BY_AUTHORIZATION: [DevToken; 3] = [DevToken::FEE_ON_TRANSFER, DevToken::SILENT_REPLAY, DevToken::BLACKLIST];

pub struct Market {
    pub devnet: Arc<Devnet>,
    pub book: Book,
    pub exact: exact::Facilitator,
    pub upto: upto::Facilitator,
    assets: Arc<AssetTable>,
    clock: Arc<ChainClock>,
    entropy: Arc<Counting>,
}

/// The payer holds a dollar of each token, and has approved Permit2 for USDC.
pub async fn market(change: impl FnOnce(&mut ChainConfig)) -> Market {
    market_with(Mining::Instant, &[RELAYER_KEY], change).await
}

pub async fn market_with(mining: Mining, keys: &[&str], change: impl FnOnce(&mut ChainConfig)) -> Market {
    let devnet = Arc::new(Devnet::builder().chain_id(golden::CHAIN_ID).mining(mining).start().await.unwrap());
    let dollar = U256::from(1_000_000);
    devnet.give_usdc(payer(), dollar).unwrap();
    devnet.set_allowance(usdc(), payer(), PERMIT2, U256::MAX).unwrap();
    let mut assets = AssetTable::known();
    for token in DevToken::ALL {
        devnet.give_tokens(token.address, payer(), dollar).unwrap();
        let config = AssetConfig {
            network: golden::NETWORK.parse().unwrap(),
            address: token.address.to_string(),
            symbol: token.symbol.to_owned(),
            decimals: token.decimals,
            name: token.name.to_owned(),
            version: DevToken::DOMAIN_VERSION.to_owned(),
            method: if BY_AUTHORIZATION.contains(&token) { TransferMethod::Eip3009 } else { TransferMethod::Permit2 },
            permits: ![DevToken::PLAIN, DevToken::RETURNS_NOTHING].contains(&token),
            usd: true,
        };
        assets = assets.with(&config).unwrap();
    }
    let mut config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(devnet.rpc_url()));
    change(&mut config);
    let (assets, clock, book) = (Arc::new(assets), Arc::new(ChainClock(devnet.clone())), Book::default());
    let signers = keys.iter().map(|key| signer(key)).collect();
    let chain = Chain::connect(&config, signers, Arc::new(book.clone()), clock.clone()).unwrap();
    let exact = exact::Facilitator::new(vec![chain.clone()], assets.clone(), clock.clone());
    let upto = upto::Facilitator::new(vec![chain], assets.clone(), clock.clone());
    Market { devnet, book, exact, upto, assets, clock, entropy: Arc::new(Counting::default()) }
}

/// An offer of a cent by Permit2.
pub fn offer_in(asset: Address) -> Value {
    json!({
        "scheme": "exact", "network": golden::NETWORK, "amount": "10000", "asset": asset.to_string(),
        "payTo": golden::PAY_TO, "maxTimeoutSeconds": 300, "extra": {"assetTransferMethod": "permit2"},
    })
}

/// An offer of at most a cent.
pub fn upto_offer() -> Value {
    let mut offer = offer_in(usdc());
    offer["scheme"] = json!("upto");
    offer["extra"]["facilitatorAddress"] = json!(signer(RELAYER_KEY).address().to_string());
    offer
}

/// What servers say of gas sponsoring.
pub fn advertised(key: &str) -> Extensions {
    let mut extensions = Extensions::default();
    extensions.set(key, &json!({"info": {"description": "gas is on us", "version": "1"}, "schema": {}})).unwrap();
    extensions
}

impl Market {
    /// A wallet with that key.
    pub fn wallet(&self, key: &str) -> exact::Client {
        let (assets, clock, entropy) = (self.assets.clone(), self.clock.clone(), self.entropy.clone());
        exact::Client::new(signer(key), assets, clock, entropy).with_node(golden::NETWORK.parse().unwrap(), self.node())
    }

    pub fn upto_wallet(&self) -> upto::Client {
        let (assets, clock, entropy) = (self.assets.clone(), self.clock.clone(), self.entropy.clone());
        upto::Client::new(signer(golden::PAYER_KEY), assets, clock, entropy)
    }

    /// A wallet that is a contract.
    pub fn smart(&self, wallet: impl ContractSigner + 'static) -> exact::Client {
        let (assets, clock, entropy) = (self.assets.clone(), self.clock.clone(), self.entropy.clone());
        exact::Client::with_wallet(Arc::new(wallet), assets, clock, entropy)
    }

    /// A wallet that is a contract, for what is metered.
    pub fn smart_upto(&self, wallet: impl ContractSigner + 'static) -> upto::Client {
        let (assets, clock, entropy) = (self.assets.clone(), self.clock.clone(), self.entropy.clone());
        upto::Client::with_wallet(Arc::new(wallet), assets, clock, entropy)
    }

    /// Writes builder codes behind what it sends.
    pub fn naming(self, codes: &FacilitatorCodes) -> Self {
        let (exact, upto) = (self.exact.with_builder_codes(codes.clone()), self.upto.with_builder_codes(codes.clone()));
        Self { exact, upto, ..self }
    }

    /// Another node with the same accounts or others, on the same book and chain.
    pub fn joined(&self, keys: &[&str]) -> Self {
        self.joined_over(self.node(), keys, |_| {})
    }

    /// The same, which asks the chain through this.
    pub fn joined_over(&self, node: Arc<dyn Node>, keys: &[&str], change: impl FnOnce(&mut ChainConfig)) -> Self {
        let (devnet, book) = (self.devnet.clone(), self.book.join());
        let mut config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(devnet.rpc_url()));
        change(&mut config);
        let (assets, clock, entropy) = (self.assets.clone(), self.clock.clone(), self.entropy.clone());
        let signers = keys.iter().map(|key| signer(key)).collect();
        let chain = Chain::new(&config, node, signers, Arc::new(book.clone()), clock.clone()).unwrap();
        let exact = exact::Facilitator::new(vec![chain.clone()], assets.clone(), clock.clone());
        let upto = upto::Facilitator::new(vec![chain], assets.clone(), clock.clone());
        Self { devnet, book, exact, upto, assets, clock, entropy }
    }

    /// What a transaction called.
    pub async fn input_of(&self, id: &TransactionId) -> Bytes {
        let answers = self.node().ask(&[Call::transaction(id.0.parse().unwrap())]).await.unwrap();
        rpc::transaction(&answers[0]).unwrap().unwrap().input
    }

    /// The gas that a transaction used.
    pub async fn gas_used(&self, id: &TransactionId) -> u64 {
        let answers = self.node().ask(&[Call::receipt(id.0.parse().unwrap())]).await.unwrap();
        rpc::receipt(&answers[0]).unwrap().unwrap().gas_used
    }

    pub fn node(&self) -> Arc<HttpNode> {
        let config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(self.devnet.rpc_url()));
        Arc::new(HttpNode::new(&config.network, &config.nodes[0]).unwrap())
    }

    /// A payment of a cent in USDC by Permit2.
    pub async fn cent(&self) -> Value {
        pay_by(&self.wallet(golden::PAYER_KEY), &offer_in(usdc()), &Extensions::default()).await
    }

    fn scheme(&self, request: &Value) -> &dyn AnyFacilitatorScheme {
        if request["paymentPayload"]["payload"]["permit2Authorization"]["witness"]["facilitator"].is_null() {
            &self.exact
        } else {
            &self.upto
        }
    }

    pub fn read(&self, request: &Value) -> TypedPayment {
        let read = PaymentRequest::read(request.to_string().as_bytes()).unwrap();
        self.scheme(request).read(&read).unwrap()
    }

    pub async fn verify(&self, request: &Value) -> Result<(), VerifyError> {
        self.scheme(request).verify(&self.read(request)).await.map(drop)
    }

    pub async fn settle(&self, request: &Value) -> Result<Settlement, SettleError> {
        self.scheme(request).settle(&self.read(request), Arc::new(Right::new())).await
    }

    /// Why the payment is refused; it must be, and nothing may be sent.
    pub async fn refusal(&self, request: &Value) -> Refusal {
        let sent = self.book.sent().len();
        let refusal = match self.verify(request).await {
            Err(VerifyError::Invalid(refusal)) => refusal,
            other => panic!("expected a refusal, got {other:?}"),
        };
        assert_eq!(self.book.sent().len(), sent);
        refusal
    }

    pub async fn refused(&self, request: &Value, reason: Reason) -> String {
        let refusal = self.refusal(request).await;
        assert_eq!(refusal.reason, reason, "{}", refusal.message);
        refusal.message
    }

    pub async fn entry(&self, request: &Value) -> Option<SettlementEntry> {
        self.book.memory.find(self.read(request).record.key).await.unwrap()
    }

    pub async fn outcome(&self, request: &Value) -> Outcome {
        let entry = self.entry(request).await.unwrap();
        self.scheme(request).outcome(&entry).await.unwrap()
    }

    /// Returns when a transaction of the account waits for a block.
    pub async fn until_pending(&self, account: Address) {
        let calls = [Call::pending_count(account), Call::mined_count(account)];
        let node = self.node();
        for _ in 0..1_000 {
            let answers = node.ask(&calls).await.unwrap();
            let [pending, mined] = [0, 1].map(|at| quantity(&answers[at], "eth_getTransactionCount").unwrap());
            if pending > mined {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("nothing of {account} waits for a block");
    }

    pub fn received(&self) -> U256 {
        self.devnet.usdc_balance(pay_to())
    }
}

/// Signs for an offer and makes the body of `/verify` of it.
pub async fn pay_by(wallet: &dyn AnyClientScheme, offer: &Value, offered: &Extensions) -> Value {
    let requirements = serde_json::from_value(offer.clone()).unwrap();
    let (payload, extensions) = wallet.pay(&requirements, offered).await.unwrap();
    let payload: Value = serde_json::from_str(payload.raw()).unwrap();
    json!({
        "x402Version": 2,
        "paymentPayload": {"x402Version": 2, "accepted": offer, "payload": payload, "extensions": extensions},
        "paymentRequirements": offer,
    })
}

/// The request with its Permit2 authorization changed and signed anew by this key.
pub async fn changed(request: &Value, key: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut request = request.clone();
    let payload = &mut request["paymentPayload"]["payload"];
    change(&mut payload["permit2Authorization"]);
    let authorization: Authorization = serde_json::from_value(payload["permit2Authorization"].clone()).unwrap();
    let signature = signer(key).sign_hash(authorization.digest(golden::CHAIN_ID)).await.unwrap();
    payload["signature"] = serde_json::to_value(WireSignature::from(signature)).unwrap();
    request
}

/// The code of a proxy that says who Permit2 is, and fails with this error whatever else it is asked.
pub fn failing_proxy(selector: [u8; 4]) -> Bytes {
    let mut code = vec![0x60, 0x00, 0x35, 0x60, 0xe0, 0x1c, 0x63];
    code.extend(ExactProxy::PERMIT2Call::SELECTOR);
    code.extend([0x14, 0x60, 0x1c, 0x57, 0x63]);
    code.extend(selector);
    code.extend([0x60, 0x00, 0x52, 0x60, 0x04, 0x60, 0x1c, 0xfd]);
    code.extend([0x5b, 0x60, 0x20, 0x60, 0x00, 0xf3]);
    code.into()
}
