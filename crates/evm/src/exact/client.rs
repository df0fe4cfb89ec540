//! `exact` for the payer: signs a transfer by EIP-3009, for known assets only.

use std::collections::HashMap;
use std::sync::Arc;

use alloy_primitives::{B256, U256};
use alloy_sol_types::SolCall;
use farthing_core::amount::Amount;
use farthing_core::asset::{AccountId, Asset};
use farthing_core::network::Network;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{ClientScheme, Offer, PayError, PaymentFlow};
use farthing_core::time::{Clock, Entropy};
use farthing_core::wire::PaymentRequirements;

use super::{Extra, NAME, SignedAuthorization, terms};
use crate::abi::Token;
use crate::asset::{AssetTable, KnownAsset, TransferMethod};
use crate::rpc::{self, Call, Node};
use crate::signature::WireSignature;
use crate::signer::Signer;
use crate::text::account_id;
use crate::transfer::eip3009::Authorization;

/// The longest time for which anything is signed, however long an offer asks for. What was signed counts as spent until
/// it has expired, so a short window also gives a failed payment's money back to the budget soon.
pub const MAX_WINDOW_SECONDS: u64 = 900;

/// `exact` for the payer.
pub struct Client {
    signer: Arc<dyn Signer>,
    assets: Arc<AssetTable>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    nodes: HashMap<Network, Arc<dyn Node>>,
}

impl Client {
    /// Pays from this account, in these assets.
    pub fn new(signer: Arc<dyn Signer>, assets: Arc<AssetTable>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { signer, assets, clock, entropy, nodes: HashMap::new() }
    }

    /// Lets the wallet look up its balance on that network. Paying needs no node.
    #[must_use]
    pub fn with_node(mut self, network: Network, node: Arc<dyn Node>) -> Self {
        self.nodes.insert(network, node);
        self
    }

    /// Whether the offer can be signed for; what is signed is the token's domain as it is known here, never as the offer
    /// says.
    fn accept(&self, offer: &Offer<Extra>) -> Result<(&Arc<KnownAsset>, Authorization), Refusal> {
        let Offer { requirements, extra, .. } = offer;
        if requirements.scheme != NAME {
            let got = crate::text::quoted(&requirements.scheme);
            return Err(Refusal::mismatch(Reason::UnsupportedScheme, "scheme", format!("{NAME:?}"), got));
        }
        let asset = terms::asset_of(requirements, extra, &self.assets)?;
        terms::same_domain(extra, asset)?;
        terms::flow_of(requirements, &[PaymentFlow::Authorization, PaymentFlow::Upfront])?;
        let window_seconds = requirements.max_timeout_seconds.min(MAX_WINDOW_SECONDS);
        let authorization = Authorization {
            from: self.signer.address(),
            to: terms::recipient_of(requirements)?,
            value: terms::amount_of(requirements)?,
            valid_after: U256::ZERO,
            valid_before: U256::from(self.clock.now().plus(window_seconds).0),
            nonce: B256::ZERO,
        };
        Ok((asset, authorization))
    }
}

impl ClientScheme for Client {
    const NAME: &'static str = NAME;
    type Extra = Extra;
    type Payload = SignedAuthorization;

    fn supports(&self, network: &Network) -> bool {
        self.assets.on(network).any(|asset| asset.method == TransferMethod::Eip3009)
    }

    fn payer(&self, network: &Network) -> Option<AccountId> {
        ClientScheme::supports(self, network).then(|| account_id(self.signer.address()))
    }

    fn asset(&self, requirements: &PaymentRequirements) -> Option<Asset> {
        self.assets.of(requirements).map(|asset| asset.to_asset())
    }

    fn max_spend(&self, offer: &Offer<Extra>) -> Result<Amount, PayError> {
        let (_, authorization) = self.accept(offer).map_err(PayError::Offer)?;
        Ok(Amount::from_units(authorization.value))
    }

    async fn balance(&self, offer: &Offer<Extra>) -> Result<Option<Amount>, PayError> {
        let (asset, authorization) = self.accept(offer).map_err(PayError::Offer)?;
        let Some(node) = self.nodes.get(&asset.network) else { return Ok(None) };
        let call = Call::execute(asset.address, &Token::balanceOfCall { account: authorization.from }.abi_encode());
        let answers = node.ask(&[call]).await.map_err(|error| PayError::Wallet(Box::new(error)))?;
        let answer = answers.first().ok_or_else(|| PayError::Wallet("the node gave no answer".into()))?;
        let executed = rpc::executed(answer).map_err(|error| PayError::Wallet(Box::new(error)))?;
        let balance = executed.ok().and_then(|data| Token::balanceOfCall::abi_decode_returns(&data).ok());
        let no_balance = || PayError::Wallet(format!("{} on {} tells no balance", asset.symbol, asset.network).into());
        balance.map(Amount::from_units).map(Some).ok_or_else(no_balance)
    }

    async fn pay(&self, offer: &Offer<Extra>) -> Result<SignedAuthorization, PayError> {
        let (asset, mut authorization) = self.accept(offer).map_err(PayError::Offer)?;
        self.entropy.fill(authorization.nonce.as_mut_slice()).map_err(PayError::Wallet)?;
        let digest = authorization.digest(asset.domain_separator);
        let signature = self.signer.sign_hash(digest).await.map_err(|error| PayError::Wallet(Box::new(error)))?;
        // A key kept elsewhere may be another one than its address says: better found here than by the seller.
        match signature.signer(digest) {
            Ok(signer) if signer == authorization.from => {
                Ok(SignedAuthorization { signature: WireSignature::from(signature), authorization })
            }
            _ => Err(PayError::Wallet(format!("the signature is not that of {}", authorization.from).into())),
        }
    }
}
