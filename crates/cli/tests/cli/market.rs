//! A chain, a facilitator and a seller with priced routes, in the test's own process.

use axum::Router;
use axum::routing::{get, post};
use farthing::evm::{Address, U256};
use farthing_testkit::Stack;
use tokio::runtime::Runtime;

pub const NETWORK: &str = "eip155:84532";
pub const SELLER: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";

pub struct Market {
    /// Where the seller listens.
    pub url: String,
    stack: Stack,
    _runtime: Runtime,
}

impl Market {
    /// A payer with 100 USDC; `/report` at 1 cent, `POST /order` at 2 cents, `/archive` at $25, `/free`.
    pub fn open() -> Self {
        let runtime = Runtime::new().unwrap();
        let (stack, url) = runtime.block_on(async {
            let stack = Stack::start().await.unwrap();
            stack.funded_wallet().unwrap();
            let toll = farthing::Server::builder().facilitator(stack.facilitator_url()).unwrap();
            let toll = toll.pay_to(NETWORK, SELLER).unwrap().build().await.unwrap();
            let priced = |price: &str| toll.price(price).unwrap();
            let router = Router::new()
                .route("/report", get(|| async { "14 ships in" }).layer(priced("$0.01")))
                .route("/order", post(|body: String| async move { format!("ordered {body}") }).layer(priced("$0.02")))
                .route("/archive", get(|| async { "ten years" }).layer(priced("$25")))
                .route("/free", get(|| async { "no charge" }));
            let url = stack.serve(router).await.unwrap();
            (stack, url)
        });
        Self { url, stack, _runtime: runtime }
    }

    /// The address of a route.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Lets Permit2 move the payer's money, which `upto` is paid by.
    pub fn approve_permit2(&self) {
        self.stack.approve_permit2().unwrap();
    }

    /// What the seller has on chain, in atomic units.
    pub fn earned(&self) -> U256 {
        self.stack.devnet().usdc_balance(SELLER.parse::<Address>().unwrap())
    }

    /// The chain's address, as `--rpc` takes it.
    pub fn node(&self) -> String {
        format!("{NETWORK}={}", self.stack.devnet().rpc_url())
    }

    /// Where the facilitator listens.
    pub fn facilitator_url(&self) -> String {
        self.stack.facilitator_url().to_owned()
    }

    /// The chain's address.
    pub fn rpc_url(&self) -> String {
        self.stack.devnet().rpc_url()
    }
}
