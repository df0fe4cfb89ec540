//! A chain in the test's own process, and a payer who signs payments on it.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use farthing::client::{Client, Purchase};
use farthing::core::header;
use farthing::evm::signer::LocalSigner;
use farthing::evm::{Address, U256};
use farthing_devnet::{Devnet, Fault, Times};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use crate::market::SELLER;
use crate::peer::offer;
use crate::run::KEY;

/// What a payment is worth, in atomic units: one cent.
pub const CENT: U256 = U256::from_limbs([10_000, 0, 0, 0]);
const PAYER_USDC_ATOMIC: u64 = 100_000_000;
const BROADCAST: &str = "eth_sendRawTransaction";
/// After this long something does not happen, and the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Chain {
    pub devnet: Devnet,
    client: Client,
    pub runtime: Runtime,
}

impl Chain {
    /// Base Sepolia, or what stands for it; the payer has 100 USDC.
    pub fn open() -> Self {
        Self::with_id(84_532)
    }

    /// A chain of another id.
    pub fn with_id(id: u64) -> Self {
        let runtime = Runtime::new().unwrap();
        let devnet = runtime.block_on(Devnet::builder().chain_id(id).start()).unwrap();
        let payer = devnet.accounts()[1].address;
        devnet.give_usdc(payer, U256::from(PAYER_USDC_ATOMIC)).unwrap();
        let signer = LocalSigner::from_hex(Zeroizing::new(KEY.to_owned())).unwrap();
        let client = farthing::Client::builder().signer(Arc::new(signer)).build().unwrap();
        Self { devnet, client, runtime }
    }

    pub fn rpc_url(&self) -> String {
        self.devnet.rpc_url()
    }

    /// What a server sends to `/verify` and `/settle` for a new payment of one cent.
    pub fn payment(&self) -> Value {
        let terms = json!({"x402Version": 2, "accepts": [offer()], "resource": {"url": "http://shop.example/report"}});
        let payment = self.runtime.block_on(self.sign(&header::encode(&terms).unwrap()));
        json!({"x402Version": 2, "paymentRequirements": payment["accepted"], "paymentPayload": payment})
    }

    /// A payment on these terms, which came in a header.
    pub async fn sign(&self, terms: &str) -> Value {
        let terms = header::decode_required(terms.as_bytes()).unwrap();
        let purchase = Purchase { resource: "http://shop.example/report".to_owned(), ..Purchase::default() };
        let promised = self.client.payer().pay(&terms, &purchase).await.unwrap();
        serde_json::to_value(&promised.payment).unwrap()
    }

    /// What the seller has, in atomic units.
    pub fn earned(&self) -> U256 {
        self.devnet.usdc_balance(SELLER.parse::<Address>().unwrap())
    }

    /// The next broadcast meets this fault. What is returned waits until it does.
    pub fn at_the_next_broadcast(&self, fault: Fault) -> impl FnOnce() {
        let faults = self.devnet.faults();
        let fired = faults.fired();
        let _only_once = faults.inject(BROADCAST, fault, Times::Exactly(1));
        move || {
            let begun = Instant::now();
            while faults.fired() == fired {
                assert!(begun.elapsed() < PATIENCE, "nothing was broadcast");
                thread::yield_now();
            }
        }
    }
}
