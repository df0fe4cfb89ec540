//! Payments for the tests: signed by the client's own scheme, from accounts that a seed makes.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, B256, keccak256};
use anyhow::{Context, Result, anyhow};
use farthing_core::Source;
use farthing_core::erased::AnyClientScheme;
use farthing_core::time::{Clock, Entropy, UnixSeconds};
use farthing_core::wire::{Accepted, Extensions, PaymentPayload, PaymentRequest, PaymentRequirements, Verbatim, Version};
use farthing_evm::asset::AssetTable;
use farthing_evm::exact;
use farthing_evm::signer::{LocalSigner, Signer};
use farthing_interop::chain::{NETWORK, PAYEE, TOKEN};
use serde_json::json;
use zeroize::Zeroizing;

use crate::chance::Chance;

/// What each payment takes, in atomic units.
pub const AMOUNT_ATOMIC: u64 = 10_000;
/// How long a payment may be settled.
const WINDOW_SECONDS: u64 = 900;

/// The machine's clock.
pub struct MachineClock;

/// Nonces that a seed decides.
struct SeededEntropy(Mutex<Chance>);

/// A buyer.
pub struct Payer {
    address: Address,
    scheme: exact::Client,
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

/// The key of an account that only this test has: development chains give the well-known ones to everybody.
pub fn key_of(role: &str, seed: u64, number: u64) -> [u8; 32] {
    keccak256(format!("farthing proof {role} {seed} {number}")).0
}

/// The account of a key.
pub fn address_of(key: [u8; 32]) -> Result<Address> {
    Ok(LocalSigner::from_bytes(Zeroizing::new(key))?.address())
}

impl Payer {
    /// The buyer with that number.
    pub fn new(seed: u64, number: u64, clock: Arc<dyn Clock>) -> Result<Self> {
        let signer = LocalSigner::from_bytes(Zeroizing::new(key_of("payer", seed, number)))?;
        let address = signer.address();
        let entropy = SeededEntropy(Mutex::new(Chance::of(seed, number)));
        let scheme = exact::Client::new(Arc::new(signer), Arc::new(AssetTable::known()), clock, Arc::new(entropy));
        Ok(Self { address, scheme })
    }

    /// Who it is.
    pub const fn address(&self) -> Address {
        self.address
    }

    /// Signs another payment of [`AMOUNT_ATOMIC`] to the payee of all tests.
    pub async fn pay(&self) -> Result<PaymentRequest> {
        let offer: PaymentRequirements = serde_json::from_value(json!({
            "scheme": "exact", "network": NETWORK, "asset": TOKEN.to_string(), "payTo": PAYEE.to_string(),
            "amount": AMOUNT_ATOMIC.to_string(), "maxTimeoutSeconds": WINDOW_SECONDS,
            "extra": {"name": "USDC", "version": "2"},
        }))?;
        let offer = Verbatim::new(offer)?;
        let payment = self.take(&offer).await?;
        Ok(PaymentRequest { version: Version::V2, payment, requirements: offer, trace: None })
    }

    /// Signs a payment that takes an offer. It does not say what it is for.
    pub async fn take(&self, offer: &Verbatim<PaymentRequirements>) -> Result<PaymentPayload> {
        let paid = AnyClientScheme::pay(&self.scheme, offer, &Extensions::default()).await;
        let (payload, extensions) = paid.map_err(|error| anyhow!(error))?;
        let accepted = Accepted::Offer(offer.clone());
        Ok(PaymentPayload { version: Version::V2, resource: None, accepted, payload, extensions })
    }
}

/// The nonce that a payment uses up, as the chain names it.
pub fn nonce_of(request: &PaymentRequest) -> Result<B256> {
    let payload: serde_json::Value = serde_json::from_str(request.payment.payload.raw())?;
    let nonce = payload.pointer("/authorization/nonce").and_then(serde_json::Value::as_str);
    Ok(nonce.context("the payment has a nonce")?.parse()?)
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
