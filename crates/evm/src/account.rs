//! An account that pays, for all schemes: its key, what it looks up, and how it has its approval of Permit2 sponsored.

use std::collections::HashMap;
use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;
use farthing_core::amount::Amount;
use farthing_core::asset::AccountId;
use farthing_core::network::Network;
use farthing_core::reason::Reason;
use farthing_core::scheme::PayError;
use farthing_core::time::{Clock, Entropy, UnixSeconds};
use farthing_core::wire::{Extensions, PaymentRequirements};
use serde::Serialize;

use crate::abi::Token;
use crate::asset::{AssetTable, KnownAsset};
use crate::rpc::{self, Answer, Call, Node, NodeError};
use crate::signature::WireSignature;
use crate::signer::Signer;
use crate::text::account_id;
use crate::transfer::approval::{self, Approval};
use crate::transfer::eip2612::{self, Permit};
use crate::transfer::permit2::{Authorization, PERMIT2, Permitted, Witness};
use crate::wallet::ContractSigner;

/// The longest time for which anything is signed, however long an offer asks for. What was signed counts as spent until
/// it has expired, so a short window also gives a failed payment's money back to the budget soon.
pub const MAX_WINDOW_SECONDS: u64 = 900;
/// How much more than the present base fee an approval offers for a unit of gas: it is mined a moment later.
const BASE_FEE_ROOM: u128 = 2;
/// The least tip that an approval offers for a unit of gas, in wei: as much as a facilitator offers by default, which sends
/// no approval that offers less than what gas costs by its own reckoning.
const MIN_TIP_WEI: u128 = 1_000_000;

/// An account that pays.
pub(crate) struct Account {
    key: Key,
    assets: Arc<AssetTable>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    nodes: HashMap<Network, Arc<dyn Node>>,
}

/// What signs for it.
enum Key {
    Ordinary(Arc<dyn Signer>),
    Contract(Arc<dyn ContractSigner>),
}

/// What the payer is about to permit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permission {
    pub(crate) proxy: Address,
    pub(crate) pay_to: Address,
    /// Who alone may use it, if not just anybody.
    pub(crate) facilitator: Option<Address>,
    /// The most that moves.
    pub(crate) amount: U256,
    pub(crate) ends_at: UnixSeconds,
}

impl Account {
    pub(crate) fn ordinary(
        signer: Arc<dyn Signer>,
        assets: Arc<AssetTable>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { key: Key::Ordinary(signer), assets, clock, entropy, nodes: HashMap::new() }
    }

    pub(crate) fn contract(
        wallet: Arc<dyn ContractSigner>,
        assets: Arc<AssetTable>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { key: Key::Contract(wallet), assets, clock, entropy, nodes: HashMap::new() }
    }

    pub(crate) fn add_node(&mut self, network: Network, node: Arc<dyn Node>) {
        self.nodes.insert(network, node);
    }

    pub(crate) fn address(&self) -> Address {
        match &self.key {
            Key::Ordinary(signer) => signer.address(),
            Key::Contract(wallet) => wallet.address(),
        }
    }

    pub(crate) fn assets(&self) -> &AssetTable {
        &self.assets
    }

    pub(crate) fn pays_on(&self, network: &Network) -> bool {
        self.assets.on(network).next().is_some()
    }

    pub(crate) fn payer(&self, network: &Network) -> Option<AccountId> {
        self.pays_on(network).then(|| account_id(self.address()))
    }

    /// Until when a payment for the offer is signed.
    pub(crate) fn ends_at(&self, requirements: &PaymentRequirements) -> UnixSeconds {
        self.clock.now().plus(requirements.max_timeout_seconds.min(MAX_WINDOW_SECONDS))
    }

    /// Bytes that nobody can guess, and that never come again.
    pub(crate) fn fill(&self, buffer: &mut [u8]) -> Result<(), PayError> {
        self.entropy.fill(buffer).map_err(PayError::Wallet)
    }

    /// Signs a hash.
    pub(crate) async fn sign(&self, digest: B256) -> Result<WireSignature, PayError> {
        let wallet = |error: crate::signer::SignerError| PayError::Wallet(Box::new(error));
        match &self.key {
            Key::Contract(contract) => Ok(WireSignature::from_bytes(&contract.sign_hash(digest).await.map_err(wallet)?)),
            Key::Ordinary(signer) => {
                let signature = signer.sign_hash(digest).await.map_err(wallet)?;
                // A key kept elsewhere may be another one than its address says: better found here than by the seller.
                match signature.signer(digest) {
                    Ok(account) if account == signer.address() => Ok(WireSignature::from(signature)),
                    _ => Err(PayError::Wallet(format!("the signature is not that of {}", signer.address()).into())),
                }
            }
        }
    }

    /// What is signed for Permit2, with a number of its own.
    pub(crate) fn permit2(&self, asset: &KnownAsset, permission: &Permission) -> Result<Authorization, PayError> {
        let mut nonce = [0_u8; 32];
        self.fill(&mut nonce)?;
        Ok(Authorization {
            from: self.address(),
            permitted: Permitted { token: asset.address, amount: permission.amount },
            spender: permission.proxy,
            nonce: U256::from_be_bytes(nonce),
            deadline: U256::from(permission.ends_at.0),
            witness: Witness { to: permission.pay_to, facilitator: permission.facilitator, valid_after: U256::ZERO },
        })
    }

    /// What the account holds of an asset; `None` where no node is configured to ask.
    pub(crate) async fn balance(&self, asset: &KnownAsset) -> Result<Option<Amount>, PayError> {
        let Some(node) = self.nodes.get(&asset.network) else { return Ok(None) };
        let call = Call::execute(asset.address, &Token::balanceOfCall { account: self.address() }.abi_encode());
        let answers = ask(node.as_ref(), &[call]).await?;
        let balance = answers.first().and_then(number);
        let no_balance = || PayError::Wallet(format!("{} on {} tells no balance", asset.symbol, asset.network).into());
        balance.map(Amount::from_units).map(Some).ok_or_else(no_balance)
    }

    /// What has to go along with a payment by Permit2 so that the facilitator can pay for the approval: nothing, where there
    /// is an allowance, no node to ask, or no such offer in the terms.
    pub(crate) async fn sponsoring(
        &self,
        asset: &KnownAsset,
        payment: &Authorization,
        offered: &Extensions,
    ) -> Result<Extensions, PayError> {
        let offers = |key| offered.raw(key).is_some();
        let (Key::Ordinary(signer), Some(node)) = (&self.key, self.nodes.get(&asset.network)) else {
            return Ok(Extensions::default());
        };
        if !offers(eip2612::EXTENSION) && !offers(approval::EXTENSION) {
            return Ok(Extensions::default());
        }
        let owner = self.address();
        let execute = |data: Vec<u8>| Call::execute(asset.address, &data);
        let calls = [
            execute(Token::allowanceCall { owner, spender: PERMIT2 }.abi_encode()),
            execute(Token::noncesCall { owner }.abi_encode()),
            Call::mined_count(owner),
            Call::fee_history(),
        ];
        let answers = ask(node.as_ref(), &calls).await?;
        let [allowance, permits, count, fees] = answers.as_slice() else {
            return Err(PayError::Wallet("the node gave no answer".into()));
        };
        if number(allowance).is_some_and(|allowance| allowance >= payment.permitted.amount) {
            return Ok(Extensions::default());
        }
        if let (Some(nonce), true) = (number(permits), offers(eip2612::EXTENSION)) {
            let info = self.permit(asset, payment, nonce).await?;
            return extension(offered, eip2612::EXTENSION, &info);
        }
        if !offers(approval::EXTENSION) {
            return Ok(Extensions::default());
        }
        let of_node = |error: NodeError| PayError::Wallet(Box::new(error));
        let nonce = rpc::quantity(count, "eth_getTransactionCount").map_err(of_node)?;
        let fees = rpc::fee_history(fees).map_err(of_node)?;
        let tip_wei = fees.tip_wei.max(MIN_TIP_WEI);
        let max_wei = fees.base_fee_wei.saturating_mul(BASE_FEE_ROOM).saturating_add(tip_wei);
        let place = (asset.chain_id, asset.address);
        let info = Approval::sign(signer.as_ref(), place, nonce, (max_wei, tip_wei)).await;
        extension(offered, approval::EXTENSION, &info.map_err(|error| PayError::Wallet(Box::new(error)))?)
    }

    /// A permit of exactly what the payment permits, and no longer.
    async fn permit(&self, asset: &KnownAsset, payment: &Authorization, nonce: U256) -> Result<eip2612::Info, PayError> {
        let (value, deadline) = (payment.permitted.amount, payment.deadline);
        let permit = Permit { owner: payment.from, spender: PERMIT2, value, nonce, deadline };
        Ok(eip2612::Info {
            from: payment.from,
            asset: asset.address,
            spender: PERMIT2,
            amount: value,
            nonce,
            deadline,
            signature: self.sign(permit.digest(asset.domain_separator)).await?,
            version: eip2612::EXTENSION_VERSION.to_owned(),
        })
    }
}

/// An extension as it was offered, with what the payer has to say in its `info`.
fn extension(offered: &Extensions, key: &str, info: &impl Serialize) -> Result<Extensions, PayError> {
    let wallet = |error: serde_json::Error| PayError::Wallet(Box::new(error));
    let offered = offered.get::<serde_json::Map<String, serde_json::Value>>(key, Reason::InvalidPaymentRequirements);
    let mut extension = offered.map_err(PayError::Offer)?.unwrap_or_default();
    let ours = serde_json::to_value(info).map_err(wallet)?;
    match (extension.get_mut("info").and_then(serde_json::Value::as_object_mut), ours) {
        (Some(info), serde_json::Value::Object(ours)) => info.extend(ours),
        (_, ours) => drop(extension.insert("info".to_owned(), ours)),
    }
    let mut extensions = Extensions::default();
    extensions.set(key, &extension).map_err(wallet)?;
    Ok(extensions)
}

async fn ask(node: &dyn Node, calls: &[Call]) -> Result<Vec<Answer>, PayError> {
    node.ask(calls).await.map_err(|error| PayError::Wallet(Box::new(error)))
}

/// A contract's answer that is one number.
fn number(answer: &Answer) -> Option<U256> {
    let data = rpc::executed(answer).ok()?.ok()?;
    if data.len() == 32 { U256::try_from_be_slice(&data) } else { None }
}
