//! A facilitator on a chain, asked over HTTP as anybody asks it, and a buyer whose payments are good until a case spoils
//! them.

use std::sync::Arc;
use std::time::Duration;

use farthing::core::erased::AnyClientScheme;
use farthing::core::reason::Reason;
use farthing::core::wire::Extensions;
use farthing::evm::asset::{AssetTable, TransferMethod};
use farthing::evm::config::{AssetConfig, ChainConfig, RpcUrl};
use farthing::evm::rpc::HttpNode;
use farthing::evm::signer::{LocalSigner, Signer};
use farthing::evm::transfer::permit2::PERMIT2;
use farthing::evm::wallet::ContractSigner;
use farthing::evm::{Address, U256, exact, upto};
use farthing::facilitator::Setup;
use farthing::system::{SystemClock, SystemEntropy};
use farthing_devnet::{DevToken, Devnet, Mining};
use farthing_testkit::golden;
use serde_json::{Value, json};

/// The tokens that the desk takes beside USDC, and how they move.
const TOKENS: [(DevToken, TransferMethod); 2] =
    [(DevToken::PLAIN, TransferMethod::Permit2), (DevToken::FEE_ON_TRANSFER, TransferMethod::Eip3009)];

/// What makes something bad of a good request.
pub type Spoil = fn(&mut Value);
/// The reason that must be given, and the cause.
pub type Row = (Reason, Spoil);

pub struct Desk {
    pub devnet: Arc<Devnet>,
    /// Where the facilitator listens.
    pub url: String,
    pub http: reqwest::Client,
    assets: Arc<AssetTable>,
}

impl Desk {
    /// Every payment is mined at once.
    pub async fn open() -> Self {
        Self::open_with(Mining::Instant, |_| {}, |setup| setup).await
    }

    pub async fn open_with(mining: Mining, change: impl FnOnce(&mut ChainConfig), setup: impl FnOnce(Setup) -> Setup) -> Self {
        let devnet = Arc::new(Devnet::builder().mining(mining).start().await.unwrap());
        let mut assets = AssetTable::known();
        let payer = golden::PAYER.parse().unwrap();
        devnet.give_usdc(payer, U256::from(1_000_000)).unwrap();
        devnet.set_allowance(usdc(), payer, PERMIT2, U256::MAX).unwrap();
        for (token, method) in TOKENS {
            devnet.give_tokens(token.address, payer, U256::from(1_000_000)).unwrap();
            assets = assets.with(&described(token, method)).unwrap();
        }
        let url = Self::serve(&devnet, change, setup).await;
        Self { devnet, url, http: reqwest::Client::new(), assets: Arc::new(assets) }
    }

    /// Another facilitator on the same chain, with a book of its own.
    pub async fn second(&self) -> Self {
        let url = Self::serve(&self.devnet, |_| {}, |setup| setup).await;
        Self { devnet: self.devnet.clone(), url, http: self.http.clone(), assets: self.assets.clone() }
    }

    async fn serve(devnet: &Devnet, change: impl FnOnce(&mut ChainConfig), setup: impl FnOnce(Setup) -> Setup) -> String {
        let mut config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(devnet.rpc_url()));
        config.confirm.poll_milliseconds = 20;
        change(&mut config);
        let relayer = LocalSigner::from_bytes(devnet.accounts()[8].secret.into()).unwrap();
        let mut built = setup(Setup::default()).chain(config, vec![Arc::new(relayer)]);
        for (token, method) in TOKENS {
            built = built.asset(described(token, method));
        }
        let router = farthing::facilitator::router(built.start().unwrap());
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        url
    }

    /// The account that settles.
    pub fn relayer(&self) -> Address {
        self.devnet.accounts()[8].address
    }

    /// At most a cent.
    pub fn upto_offer(&self) -> Value {
        let mut offer = permit2_offer(usdc());
        offer["scheme"] = json!("upto");
        offer["extra"]["facilitatorAddress"] = json!(self.relayer().to_string());
        offer
    }

    /// A good payment for an offer, by the buyer's own key.
    pub async fn pay(&self, offer: &Value) -> Value {
        self.pay_with(golden::PAYER_KEY, offer, &Extensions::default()).await
    }

    pub async fn pay_with(&self, key: &str, offer: &Value, offered: &Extensions) -> Value {
        let (network, assets) = (golden::NETWORK.parse().unwrap(), self.assets.clone());
        let config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(self.devnet.rpc_url()));
        let node = Arc::new(HttpNode::new(&config.network, &config.nodes[0]).unwrap());
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        if offer["scheme"] == "upto" {
            return pay_by(&upto::Client::new(signer(key), assets, clock, entropy), offer, offered).await;
        }
        let client = exact::Client::new(signer(key), assets, clock, entropy).with_node(network, node);
        pay_by(&client, offer, offered).await
    }

    /// A payment by a wallet that is a contract.
    pub async fn pay_from(&self, wallet: impl ContractSigner + 'static, offer: &Value) -> Value {
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(SystemEntropy));
        let (wallet, assets): (Arc<dyn ContractSigner>, _) = (Arc::new(wallet), self.assets.clone());
        if offer["scheme"] == "upto" {
            return pay_by(&upto::Client::with_wallet(wallet, assets, clock, entropy), offer, &Extensions::default()).await;
        }
        pay_by(&exact::Client::with_wallet(wallet, assets, clock, entropy), offer, &Extensions::default()).await
    }

    /// What `/verify` gives as its reason.
    pub async fn verify(&self, request: &Value) -> Reason {
        self.ask("verify", "invalidReason", request).await
    }

    /// What `/settle` gives as its reason.
    pub async fn settle(&self, request: &Value) -> Reason {
        self.ask("settle", "errorReason", request).await
    }

    async fn ask(&self, endpoint: &str, field: &str, request: &Value) -> Reason {
        let url = format!("{}/{endpoint}", self.url);
        let answer: Value = self.http.post(url).json(request).send().await.unwrap().json().await.unwrap();
        Reason::from(answer[field].as_str().unwrap_or_else(|| panic!("expected a refusal, got {answer}")))
    }

    /// Settles a payment, which must succeed.
    pub async fn settle_well(&self, request: &Value) {
        let url = format!("{}/settle", self.url);
        let answer: Value = self.http.post(url).json(request).send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["success"], true, "{answer}");
    }

    /// Spoils copies of a good request, one for each row, and hands back the reasons for which they were refused.
    pub async fn refusals(&self, good: &Value, rows: &[Row]) -> Vec<Reason> {
        let mut given = Vec::new();
        for (reason, spoil) in rows {
            let mut bad = good.clone();
            spoil(&mut bad);
            assert_ne!(&bad, good, "{reason}: nothing was spoilt");
            given.push(self.refusal(reason, &bad).await);
        }
        given
    }

    /// The reason for which a request is refused, which must be this one, whether it is to be verified or settled.
    pub async fn refusal(&self, reason: &Reason, request: &Value) -> Reason {
        assert_eq!(&self.settle(request).await, reason, "settling {request}");
        let given = self.verify(request).await;
        assert_eq!(&given, reason, "verifying {request}");
        given
    }

    /// What becomes of a payment that is spoilt after that account's transaction was broadcast, and before it is mined.
    pub async fn settle_while(&self, request: &Value, account: Address, spoil: impl FnOnce()) -> Reason {
        let spoilt = async {
            while self.count(account, "pending").await == self.count(account, "latest").await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            spoil();
            self.devnet.mine(1).unwrap();
        };
        let both = async { tokio::join!(self.settle(request), spoilt).0 };
        tokio::time::timeout(Duration::from_mins(1), both).await.unwrap()
    }

    async fn count(&self, account: Address, at: &str) -> Value {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getTransactionCount", "params": [account, at]});
        let answer = self.http.post(self.devnet.rpc_url()).json(&body).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["result"].clone()
    }
}

fn described(token: DevToken, method: TransferMethod) -> AssetConfig {
    AssetConfig {
        network: golden::NETWORK.parse().unwrap(),
        address: token.address.to_string(),
        symbol: token.symbol.to_owned(),
        decimals: token.decimals,
        name: token.name.to_owned(),
        version: DevToken::DOMAIN_VERSION.to_owned(),
        method,
        usd: true,
        permits: false,
    }
}

async fn pay_by(wallet: &dyn AnyClientScheme, offer: &Value, offered: &Extensions) -> Value {
    let requirements = serde_json::from_value(offer.clone()).unwrap();
    let (payload, extensions) = wallet.pay(&requirements, offered).await.unwrap();
    let payload: Value = serde_json::from_str(payload.raw()).unwrap();
    json!({
        "x402Version": 2,
        "paymentPayload": {"x402Version": 2, "accepted": offer, "payload": payload, "extensions": extensions},
        "paymentRequirements": offer,
    })
}

/// A cent in USDC, by EIP-3009.
pub fn offer() -> Value {
    json!({
        "scheme": "exact", "network": golden::NETWORK, "amount": "10000", "asset": golden::ASSET,
        "payTo": golden::PAY_TO, "maxTimeoutSeconds": 300, "extra": {"name": "USDC", "version": "2"},
    })
}

/// The same by Permit2, in that token.
pub fn permit2_offer(asset: Address) -> Value {
    let mut offer = offer();
    offer["asset"] = json!(asset.to_string());
    offer["extra"] = json!({"assetTransferMethod": "permit2"});
    offer
}

/// The offer, as the seller and the buyer have it.
pub fn both(request: &mut Value, field: &str, value: &Value) {
    for offer in ["/paymentRequirements", "/paymentPayload/accepted"] {
        *request.pointer_mut(&format!("{offer}{field}")).unwrap() = value.clone();
    }
}

/// The authorization by EIP-3009.
pub fn authorization(request: &mut Value) -> &mut Value {
    &mut request["paymentPayload"]["payload"]["authorization"]
}

/// The authorization by Permit2.
pub fn permission(request: &mut Value) -> &mut Value {
    &mut request["paymentPayload"]["payload"]["permit2Authorization"]
}

pub fn signer(key: &str) -> Arc<dyn Signer> {
    Arc::new(LocalSigner::from_hex(key.to_owned().into()).unwrap())
}

pub fn usdc() -> Address {
    golden::ASSET.parse().unwrap()
}

/// A moment so many seconds from now, as the wire has it.
pub fn seconds_from_now(seconds: u64) -> Value {
    use farthing::core::time::Clock;
    json!((SystemClock.now().0 + seconds).to_string())
}
