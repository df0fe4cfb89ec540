//! Payments for the tests: signed by the client's own schemes, from accounts that a seed makes.

mod kind;

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, B256, U256, keccak256};
use anyhow::{Context, Result, anyhow};
use farthing_core::Source;
use farthing_core::erased::AnyClientScheme;
use farthing_core::time::{Clock, Entropy, UnixSeconds};
use farthing_core::wire::{Accepted, Extensions, PaymentPayload, PaymentRequest, PaymentRequirements, Verbatim, Version};
use farthing_devnet::{Devnet, PERMIT2};
use farthing_evm::asset::AssetTable;
use farthing_evm::rpc::Node;
use farthing_evm::signer::{LocalSigner, Signer};
use farthing_evm::wallet::OwnedWallet;
use farthing_evm::{exact, upto};
use farthing_interop::chain::{Chain, NETWORK, TOKEN};
use zeroize::Zeroizing;

use crate::chance::Chance;

pub use kind::Kind;

/// What each payment allows, in atomic units.
pub const AMOUNT_ATOMIC: u64 = 10_000;

/// The machine's clock.
pub struct MachineClock;

/// Nonces that a seed decides.
struct SeededEntropy(Mutex<Chance>);

/// Where payers pay.
#[derive(Clone)]
pub struct Market {
    /// Their clock.
    pub clock: Arc<dyn Clock>,
    /// Their node, which tells the truth.
    pub node: Arc<dyn Node>,
    /// The facilitator's account that settles what the work decides.
    pub facilitator: Address,
}

/// Who can give payers what they need before they pay.
pub trait Mint {
    /// Gives an account money of the token.
    fn give(&self, account: Address, amount_atomic: u64) -> impl Future<Output = Result<()>> + Send;

    /// Lets Permit2 move an account's money.
    fn approve(&self, account: Address) -> impl Future<Output = Result<()>> + Send;

    /// Creates the smart wallet of a key's account.
    fn wallet(&self, owner: Address) -> impl Future<Output = Result<Address>> + Send;
}

/// A buyer.
pub struct Payer {
    kind: Kind,
    address: Address,
    facilitator: Address,
    scheme: Box<dyn AnyClientScheme>,
}

/// How the chain names what a payer signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Authorization {
    /// Who pays.
    pub payer: Address,
    /// What is used up by it.
    pub by: By,
}

/// What a transfer uses up, so that it happens once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    /// A nonce of the token.
    Eip3009(B256),
    /// A nonce of Permit2.
    Permit2(U256),
    /// Nothing: it is no payment, but coin for the gas of the payer's approval.
    Funding,
}

/// What a payment is to move: what its server said, at last and for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bill {
    /// Which.
    pub authorization: Authorization,
    /// How.
    pub kind: Kind,
    /// How much, in atomic units.
    pub charge_atomic: u64,
}

impl Clock for MachineClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) -> Result<(), Source> {
        let mut chance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in buffer.chunks_mut(8) {
            let drawn = chance.draw().to_be_bytes();
            chunk.copy_from_slice(drawn.get(..chunk.len()).unwrap_or_default());
        }
        Ok(())
    }
}

impl Mint for Chain {
    async fn give(&self, account: Address, amount_atomic: u64) -> Result<()> {
        self.fund(account, amount_atomic).await
    }

    async fn approve(&self, account: Address) -> Result<()> {
        self.allow_permit2(TOKEN, account).await
    }

    async fn wallet(&self, owner: Address) -> Result<Address> {
        self.create_wallet(owner, U256::ZERO).await
    }
}

impl Mint for Devnet {
    async fn give(&self, account: Address, amount_atomic: u64) -> Result<()> {
        Ok(self.give_usdc(account, U256::from(amount_atomic))?)
    }

    async fn approve(&self, account: Address) -> Result<()> {
        Ok(self.set_allowance(TOKEN, account, PERMIT2, U256::MAX)?)
    }

    async fn wallet(&self, owner: Address) -> Result<Address> {
        Ok(self.create_smart_wallet(owner, U256::ZERO)?)
    }
}

/// The key of an account that only this test has: development chains give the well-known ones to everybody.
pub fn key_of(role: &str, seed: u64, number: u64) -> [u8; 32] {
    keccak256(format!("farthing proof {role} {seed} {number}")).0
}

/// The account of a key.
pub fn address_of(key: [u8; 32]) -> Result<Address> {
    Ok(LocalSigner::from_bytes(Zeroizing::new(key))?.address())
}

impl Payer {
    /// The buyer with that number, who has all that so many payments of that kind need.
    pub async fn furnished(
        mint: &impl Mint,
        market: &Market,
        (seed, number): (u64, u64),
        kind: Kind,
        payments: u64,
    ) -> Result<Self> {
        let signer = Arc::new(LocalSigner::from_bytes(Zeroizing::new(key_of("payer", seed, number)))?);
        let address = if kind == Kind::Wallet { mint.wallet(signer.address()).await? } else { signer.address() };
        mint.give(address, payments.saturating_mul(AMOUNT_ATOMIC)).await?;
        if kind.has_approved() {
            mint.approve(address).await?;
        }
        let (assets, clock, node) = (Arc::new(AssetTable::known()), market.clock.clone(), market.node.clone());
        let entropy = Arc::new(SeededEntropy(Mutex::new(Chance::of(seed, number))));
        let network = NETWORK.parse()?;
        let scheme: Box<dyn AnyClientScheme> = match kind {
            Kind::Wallet => {
                let wallet = Arc::new(OwnedWallet::new(address, signer));
                Box::new(exact::Client::with_wallet(wallet, assets, clock, entropy))
            }
            Kind::Metered | Kind::Unused => Box::new(upto::Client::new(signer, assets, clock, entropy)),
            _ => Box::new(exact::Client::new(signer, assets, clock, entropy).with_node(network, node)),
        };
        Ok(Self { kind, address, facilitator: market.facilitator, scheme })
    }

    /// The same buyer, who takes what a shop offers.
    pub async fn at_a_shop(mint: &impl Mint, market: &Market, (seed, number): (u64, u64), kind: Kind) -> Result<Self> {
        let mut payer = Self::furnished(mint, market, (seed, number), kind, 1).await?;
        if !matches!(kind, Kind::Eip3009 | Kind::Wallet) {
            // A shop asks for Permit2 only where its work decides what is charged.
            let signer = Arc::new(LocalSigner::from_bytes(Zeroizing::new(key_of("payer", seed, number)))?);
            let entropy = Arc::new(SeededEntropy(Mutex::new(Chance::of(seed, number))));
            let scheme = upto::Client::new(signer, Arc::new(AssetTable::known()), market.clock.clone(), entropy);
            payer.scheme = Box::new(scheme.with_node(NETWORK.parse()?, market.node.clone()));
        }
        Ok(payer)
    }

    /// Who it is.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// How it pays.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Signs another payment of [`AMOUNT_ATOMIC`] to the payee of all tests, to be settled for what its kind charges.
    pub async fn pay(&self) -> Result<PaymentRequest> {
        let offer = self.kind.offer(&self.facilitator.to_string())?;
        let charged = PaymentRequirements { amount: self.kind.charge_atomic().into(), ..offer.clone() };
        let payment = self.take(&Verbatim::new(offer)?, &self.kind.offered()?).await?;
        Ok(PaymentRequest { version: Version::V2, payment, requirements: Verbatim::new(charged)?, trace: None })
    }

    /// Signs a payment that takes an offer. It does not say what it is for.
    pub async fn take(&self, offer: &Verbatim<PaymentRequirements>, offered: &Extensions) -> Result<PaymentPayload> {
        let mut wanted = Extensions::default();
        if let Some(key) = self.kind.sponsored() {
            let advertised = offered.raw(key).with_context(|| format!("the terms offer {key}"))?;
            wanted.set(key, &serde_json::from_str::<serde_json::Value>(advertised)?)?;
        }
        let paid = self.scheme.pay(offer, &wanted).await;
        let (payload, extensions) = paid.map_err(|error| anyhow!(error))?;
        let accepted = Accepted::Offer(offer.clone());
        Ok(PaymentPayload { version: Version::V2, resource: None, accepted, payload, extensions })
    }
}

impl Bill {
    /// What a request asks for.
    pub fn of(request: &PaymentRequest, kind: Kind) -> Result<Self> {
        let authorization = Authorization::of(&request.payment)?;
        Ok(Self { authorization, kind, charge_atomic: request.requirements.amount.to_string().parse()? })
    }
}

impl Authorization {
    /// What a payment uses up.
    pub fn of(payment: &PaymentPayload) -> Result<Self> {
        let payload: serde_json::Value = serde_json::from_str(payment.payload.raw())?;
        let text = |path: &str| payload.pointer(path).and_then(serde_json::Value::as_str);
        if let Some(nonce) = text("/permit2Authorization/nonce") {
            let payer = text("/permit2Authorization/from").context("the payment has a payer")?.parse()?;
            return Ok(Self { payer, by: By::Permit2(U256::from_str_radix(nonce, 10)?) });
        }
        let payer = text("/authorization/from").context("the payment has a payer")?.parse()?;
        let nonce = text("/authorization/nonce").context("the payment has a nonce")?.parse()?;
        Ok(Self { payer, by: By::Eip3009(nonce) })
    }
}

impl std::fmt::Display for Authorization {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { payer, by } = self;
        match by {
            By::Eip3009(nonce) => write!(formatter, "authorization {nonce} of {payer}"),
            By::Permit2(nonce) => write!(formatter, "permission {nonce:#x} of {payer}"),
            By::Funding => write!(formatter, "coin for {payer}"),
        }
    }
}

/// Writes payments into a file, one a line.
pub fn write(file: &Path, payments: &[PaymentRequest]) -> Result<()> {
    let lines: Vec<String> = payments.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
    std::fs::write(file, lines.join("\n")).with_context(|| format!("cannot write {}", file.display()))
}

/// Reads what [`write()`] wrote.
pub fn read(file: &Path) -> Result<Vec<PaymentRequest>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.lines().map(|line| PaymentRequest::read(line.as_bytes()).map_err(|refusal| anyhow!("{refusal}"))).collect()
}
