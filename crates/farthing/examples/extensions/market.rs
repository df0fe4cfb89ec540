//! What every topic needs before its own part begins: a chain, somebody who settles on it, an address to sell at, and a buyer
//! with money.

use std::sync::Arc;

use axum::Router;
use farthing::client::{self, Client, Error, Rejected};
use farthing::core::Source;
use farthing::core::amount::Amount;
use farthing::evm::config::{ChainConfig, RpcUrl};
use farthing::evm::signer::{LocalSigner, Signer};
use farthing::evm::{Address, U256};
use farthing::facilitator::Setup;
use farthing::server::{IntoFacilitator, ServerBuilder};
use farthing_devnet::{DevAccount, Devnet};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

/// Base Sepolia, whose place the chain inside this process takes.
pub const NETWORK: &str = "eip155:84532";
/// Who is paid. Nobody here has its key: being paid needs none.
pub const SELLER: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
/// What each buyer has: 10 USDC, in atomic units.
const BUYER_USDC_ATOMIC: u64 = 10_000_000;
const USDC_DECIMALS: u8 = 6;

/// A chain, and a port to sell at. Both are gone when it is dropped.
pub struct Market {
    /// The chain.
    pub devnet: Devnet,
    /// Where the seller is to be found.
    pub url: String,
    listener: Option<TcpListener>,
}

impl Market {
    /// Starts the chain, and takes a port.
    pub async fn open() -> Result<Self, Source> {
        let devnet = Devnet::builder().start().await?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok(Self { devnet, url, listener: Some(listener) })
    }

    /// A facilitator on the chain, to be added to and started.
    pub fn facilitator(&self) -> Result<Setup, Source> {
        self.facilitator_with(|_defaults| {})
    }

    /// The same, with changes to what it does for payers on the chain. As a rule it is `.network(name, rpc_url, "env:KEY")`.
    pub fn facilitator_with(&self, change: impl FnOnce(&mut ChainConfig)) -> Result<Setup, Source> {
        let mut chain = ChainConfig::new(NETWORK.parse()?, RpcUrl::new(self.devnet.rpc_url()));
        change(&mut chain);
        Ok(farthing::Facilitator::builder().chain(chain, vec![self.signer(0)?]))
    }

    /// A seller who settles through that facilitator, to be added to and built. One behind HTTP is named by its URL.
    pub fn seller(&self, facilitator: impl IntoFacilitator) -> Result<ServerBuilder, Source> {
        let builder = farthing::Server::builder().facilitator(facilitator)?.pay_to(NETWORK, SELLER)?;
        Ok(builder.public_url(&self.url)?)
    }

    /// Opens the shop.
    pub fn serve(&mut self, app: Router) -> Result<(), Source> {
        let listener = self.listener.take().ok_or("the shop is open")?;
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                eprintln!("the shop has closed: {error}");
            }
        });
        Ok(())
    }

    /// A buyer with an ordinary account and 10 USDC, to be added to and built. As a rule it is `.wallet("env:KEY")?`.
    pub fn buyer(&self) -> Result<client::Builder, Source> {
        let signer = self.signer(1)?;
        self.fund(signer.address())?;
        Ok(farthing::Client::builder().signer(signer))
    }

    /// Gives an account 10 USDC.
    pub fn fund(&self, account: Address) -> Result<(), Source> {
        Ok(self.devnet.give_usdc(account, U256::from(BUYER_USDC_ATOMIC))?)
    }

    /// One of the chain's accounts: 0 settles, 1 buys, and the others are for what a topic needs.
    pub fn signer(&self, place: usize) -> Result<Arc<dyn Signer>, Source> {
        let account: &DevAccount = self.devnet.accounts().get(place).ok_or("the chain has no such account")?;
        Ok(Arc::new(LocalSigner::from_bytes(Zeroizing::new(account.secret))?))
    }

    /// What the seller has been paid so far, in dollars, by the chain and nobody else's word.
    pub fn earned(&self) -> Result<String, Source> {
        Ok(dollars(self.devnet.usdc_balance(SELLER.parse()?)))
    }
}

/// Why a seller refuses to be paid by this buyer; an error if it does not.
pub async fn refusal(client: &Client, url: &str) -> Result<Rejected, Source> {
    match client.get(url).send().await {
        Err(Error::Rejected(refused)) => Ok(*refused),
        Err(other) => Err(other.into()),
        Ok(answer) => Err(format!("expected a refusal, got an answer with status {}", answer.status()).into()),
    }
}

/// Atomic units of USDC as people write them, such as `$0.01`.
pub fn dollars(units: U256) -> String {
    format!("${}", Amount::from_units(units).to_decimal_string(USDC_DECIMALS))
}
