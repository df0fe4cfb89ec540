//! x402 payments for Rust: charge for any route, pay for any resource.
//!
//! # Charge
//!
//! One line prices a route. The answer is held until the money has moved; failures are never charged.
//!
//! ```
//! use axum::{Router, routing::get};
//!
//! # async fn report() -> &'static str { "14 ships in" }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let stack = farthing_testkit::Stack::start().await?;
//! # let facilitator = stack.facilitator_url();
//! let toll = farthing::Server::builder()
//!     .facilitator(facilitator)? // such as "https://facilitator.example"
//!     .pay_to("eip155:84532", "0x209693Bc6afc0C5328bA36FaF03C514EF312287C")?
//!     .build()
//!     .await?;
//! let app: Router = Router::new().route("/report", get(report).layer(toll.price("$0.01")?));
//! # let url = stack.serve(app).await?;
//! # assert_eq!(stack.http_status(&format!("{url}/report")).await?, 402);
//! # Ok(())
//! # }
//! ```
//!
//! # Pay
//!
//! One call pays, within limits that hold: known stablecoins only, at most $1 a payment unless told otherwise.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let stack = farthing_testkit::Stack::start().await?;
//! # let toll = farthing::Server::builder()
//! #     .facilitator(stack.facilitator_url())?
//! #     .pay_to("eip155:84532", "0x209693Bc6afc0C5328bA36FaF03C514EF312287C")?
//! #     .build()
//! #     .await?;
//! # let layer = toll.price("$0.01")?;
//! # let app = axum::Router::new().route("/report", axum::routing::get(|| async { "14 ships in" }).layer(layer));
//! # let url = format!("{}/report", stack.serve(app).await?);
//! # let wallet = &stack.funded_wallet()?;
//! let client = farthing::Client::builder().wallet(wallet)?.limit("$5 per day")?.build()?; // "env:EVM_PRIVATE_KEY"
//! let report = client.get(&url).send().await?.text().await?;
//! # assert_eq!(report, "14 ships in");
//! # Ok(())
//! # }
//! ```
//!
//! # Settle
//!
//! A facilitator verifies and settles, on the networks it is given. A seller can have its own, without a hop.
//!
//! ```
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! # let stack = farthing_testkit::Stack::start().await?;
//! # let (rpc_url, signer) = (&stack.devnet().rpc_url(), &stack.funded_wallet()?);
//! let facilitator = farthing::Facilitator::builder()
//!     .network("eip155:84532", rpc_url, signer)? // "https://node.example", "env:FACILITATOR_KEY"
//!     .start()?;
//! let toll = farthing::Server::builder()
//!     .facilitator(facilitator)?
//!     .pay_to("eip155:84532", "0x209693Bc6afc0C5328bA36FaF03C514EF312287C")?
//!     .build()
//!     .await?;
//! # toll.price("$0.01")?;
//! # Ok(())
//! # }
//! ```
//!
//! [`facilitator::router`] serves it to others over HTTP, as `farthing facilitator` does.
//!
//! # What is where
//!
//! [`Server`], [`Client`] and [`Facilitator`] are entry points with every chain of this release wired in. The engines
//! below them are [`server`], [`client`] and [`facilitator`]; [`core`] is the protocol, [`evm`] its EVM schemes.

mod chains;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "facilitator")]
pub mod facilitator;
#[cfg(all(feature = "client", feature = "server"))]
pub mod refund;
pub mod secret;
#[cfg(feature = "server")]
pub mod server;
pub mod system;

pub use farthing_core as core;
pub use farthing_evm as evm;
#[cfg(feature = "store")]
pub use farthing_store as store;

/// Where paying begins: [`Client::builder`]. What it builds is a [`client::Client`].
#[cfg(feature = "client")]
pub enum Client {}

#[cfg(feature = "client")]
impl Client {
    /// Starts with no wallet, no nodes, and $1 a payment.
    pub fn builder() -> client::Builder {
        client::Builder::new()
    }
}

/// Where charging begins: [`Server::builder`]. What it builds is a [`server::Server`].
#[cfg(feature = "server")]
pub enum Server {}

#[cfg(feature = "server")]
impl Server {
    /// Starts with every scheme of this release, and with sign-ins of ordinary accounts (for those of smart wallets see
    /// [`server::smart_wallets`]); name a facilitator and who is paid.
    pub fn builder() -> server::ServerBuilder {
        Self::with(chains::server::schemes())
    }

    /// As [`Self::builder`], for a seller who takes these tokens, too: of its own, or on a network of its own. Client and
    /// facilitator must know them as well.
    pub fn taking(
        assets: &[farthing_evm::config::AssetConfig],
    ) -> Result<server::ServerBuilder, farthing_evm::config::ConfigError> {
        chains::server::schemes_with(assets).map(Self::with)
    }

    fn with(schemes: farthing_core::erased::ServerSchemes) -> server::ServerBuilder {
        let (clock, entropy) = (std::sync::Arc::new(system::SystemClock), std::sync::Arc::new(system::SystemEntropy));
        let builder = server::Server::builder().schemes(schemes).clock(clock).entropy(entropy);
        chains::server::verifiers().into_iter().fold(builder, server::ServerBuilder::message_verifier)
    }
}

/// Where settling begins: [`Facilitator::builder`]. What it builds is a [`facilitator::Local`].
#[cfg(feature = "facilitator")]
pub enum Facilitator {}

#[cfg(feature = "facilitator")]
impl Facilitator {
    /// Starts with no network; each one is named, with the account that pays for its gas.
    pub fn builder() -> facilitator::Setup {
        facilitator::Setup::default()
    }
}
