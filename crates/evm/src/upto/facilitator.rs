//! `upto` for the facilitator: verify the ceiling and hold it, settle what was used.

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use farthing_core::asset::AccountId;
use farthing_core::books::{PaymentRecord, SettlementEntry};
use farthing_core::extension::builder_code::FacilitatorCodes;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{
    FacilitatorScheme, Found, Outcome, Payment, PaymentFlow, Phase, SendRight, SettleError, Settlement, VerifyError,
};
use farthing_core::time::Clock;
use farthing_core::wire::{SupportedKind, Version};

use super::{Extra, FACILITATOR_FIELD, NAME, Payload};
use crate::asset::AssetTable;
use crate::chain::Chain;
use crate::exact::terms;
use crate::facilitator::held::Holder;
use crate::facilitator::permit2::{self, Wanted};
use crate::facilitator::transfer::{Authorized, Transfer, read_claim};
use crate::facilitator::{Desk, Verified, sponsor};
use crate::text::quoted;
use crate::transfer::permit2::UPTO_PROXY;

/// `upto` for the facilitator, on the chains that it was given and no other.
///
/// Offers name the first of a chain's sending accounts; payments may name any of them, and only the one that is named can
/// settle. Of nodes that share accounts, the one that holds the named account's lane settles: another one answers that nothing
/// was sent after a moment, and whoever takes the lane over settles what is asked again.
pub struct Facilitator {
    desk: Desk,
}

impl Facilitator {
    /// Serves these chains, in this order; payments on any other chain are refused.
    pub fn new(chains: Vec<Arc<Chain>>, assets: Arc<AssetTable>, clock: Arc<dyn Clock>) -> Self {
        Self { desk: Desk::new(chains, assets, clock) }
    }

    /// Writes builder codes behind what it sends, its own among them (the extension `builder-code`).
    #[must_use]
    pub fn with_builder_codes(self, codes: FacilitatorCodes) -> Self {
        Self { desk: self.desk.with_builder_codes(codes) }
    }

    /// Everything that needs no node, in the order of the official facilitator.
    fn check(&self, payment: &Payment<Payload, Extra>, chain: &Chain, phase: Phase) -> Result<Transfer, Refusal> {
        let Payment { requirements, extra, payload, .. } = payment;
        let asset = terms::known_asset(requirements, &self.desk.assets)?;
        extra.check_method()?;
        terms::same_domain(&extra.token, asset)?;
        terms::flow_of(requirements, &[PaymentFlow::Authorization])?;
        let (authorization, now) = (payload.permit2_authorization, self.desk.clock.now());
        permit2::check_places(&authorization, &Wanted { proxy: UPTO_PROXY, pay_to: terms::recipient_of(requirements)? })?;
        check_facilitator(authorization.witness.facilitator, chain)?;
        permit2::check_times(&authorization, now, chain.id(), requirements.max_timeout_seconds)?;
        let value = requirements.amount.units();
        match phase {
            Phase::Verify => {
                permit2::check_amount(&authorization, value)?;
                terms::amount_of(requirements)?;
            }
            Phase::Settle => check_charge(value, authorization.permitted.amount)?,
        }
        permit2::check_token(&authorization, asset.address)?;
        let authorized = Authorized::Permit2(authorization);
        let claim = read_claim(&payload.signature, &authorized, asset)?;
        let (permit, approval) = sponsor::read(chain, &payment.extensions, &authorization, now)?;
        let attribution = self.desk.attribution(payment);
        Ok(Transfer { asset: asset.clone(), authorized, value, claim, permit, approval, attribution })
    }
}

impl FacilitatorScheme for Facilitator {
    const NAME: &'static str = NAME;
    type Extra = Extra;
    type Payload = Payload;
    type Verified = Verified;

    fn kinds(&self) -> Vec<SupportedKind> {
        let kind = |chain: &Arc<Chain>| {
            let account = chain.relayer().address().to_string();
            SupportedKind {
                x402_version: Version::V2,
                scheme: NAME.to_owned(),
                network: chain.network().clone(),
                extra: Some(serde_json::Map::from_iter([(FACILITATOR_FIELD.to_owned(), account.into())])),
            }
        };
        self.desk.chains.iter().map(kind).collect()
    }

    fn signers(&self) -> Vec<(String, AccountId)> {
        self.desk.signers()
    }

    fn extensions(&self) -> Vec<&'static str> {
        self.desk.extensions()
    }

    fn record(&self, payment: &Payment<Payload, Extra>) -> Result<PaymentRecord, Refusal> {
        let requirements = &payment.requirements;
        let place = (terms::chain_of(requirements)?, terms::asset_address(requirements)?);
        Ok(Authorized::Permit2(payment.payload.permit2_authorization).record(NAME, requirements, place))
    }

    async fn verify(&self, payment: &Payment<Payload, Extra>, phase: Phase) -> Result<Verified, VerifyError> {
        check_kind(payment)?;
        let chain = self.desk.chain_of(&payment.requirements)?;
        let transfer = self.check(payment, chain, phase)?;
        let record = self.record(payment)?;
        if transfer.value.is_zero() {
            return Ok(Desk::nothing(chain, record, transfer));
        }
        let holder = Holder::new(chain, record.key, &transfer);
        let verified = self.desk.verify(chain, record, transfer).await;
        match (phase, &verified) {
            (Phase::Verify, Ok(verified)) => self.desk.hold(verified, payment.requirements.max_timeout_seconds)?,
            (Phase::Settle, Err(VerifyError::Invalid(_))) => holder.refused(),
            _ => {}
        }
        verified
    }

    async fn settle(&self, verified: Verified, right: Arc<dyn SendRight>) -> Result<Settlement, SettleError> {
        let holder = Holder::of(&verified);
        let settled = self.desk.settle(verified, right).await;
        holder.settled(&settled);
        settled
    }

    async fn outcome(&self, entry: &SettlementEntry) -> Result<Outcome, VerifyError> {
        let outcome = self.desk.outcome(entry).await?;
        if matches!(outcome, Outcome::Settled(_)) {
            self.desk.release_moved(&entry.record);
        }
        Ok(outcome)
    }

    async fn final_outcome(&self, entry: &SettlementEntry) -> Result<Outcome, VerifyError> {
        self.desk.final_outcome(entry).await
    }

    async fn moved_already(&self, record: &PaymentRecord, refusal: &Refusal) -> Result<Option<Found>, VerifyError> {
        let found = self.desk.moved_already(record, refusal).await?;
        if found.is_some() {
            self.desk.release_moved(record);
        }
        Ok(found)
    }

    fn start(&self) {
        self.desk.start();
    }

    async fn stop(&self) {
        self.desk.stop().await;
    }

    async fn ready(&self) -> Result<(), VerifyError> {
        self.desk.ready().await
    }
}

/// Scheme and network.
fn check_kind(payment: &Payment<Payload, Extra>) -> Result<(), Refusal> {
    let Payment { accepted_scheme, accepted_network, requirements, .. } = payment;
    for (field, scheme) in [("paymentPayload.accepted.scheme", accepted_scheme), ("scheme", &requirements.scheme)] {
        if scheme != NAME {
            let got = quoted(scheme);
            return Err(Refusal::mismatch(Reason::InvalidUptoEvmScheme, field, format!("{NAME:?}"), got));
        }
    }
    if accepted_network != &requirements.network {
        let field = "paymentPayload.accepted.network";
        return Err(Refusal::mismatch(Reason::InvalidUptoEvmNetworkMismatch, field, &requirements.network, accepted_network));
    }
    Ok(())
}

/// Whether the payer named an account of this facilitator's.
fn check_facilitator(named: Option<Address>, chain: &Chain) -> Result<(), Refusal> {
    if named.is_some_and(|named| chain.relayer().addresses().any(|account| account == named)) {
        return Ok(());
    }
    let accounts: Vec<String> = chain.relayer().addresses().map(|account| account.to_string()).collect();
    let expected = format!("an account of this facilitator on {} ({})", chain.network(), accounts.join(", "));
    let got = named.map_or_else(|| "none".to_owned(), |named| named.to_string());
    let field = "permit2Authorization.witness.facilitator";
    Err(Refusal::mismatch(Reason::UptoFacilitatorMismatch, field, expected, got))
}

/// Whether the payer permitted as much as is charged.
fn check_charge(charge: U256, ceiling: U256) -> Result<(), Refusal> {
    if charge <= ceiling {
        return Ok(());
    }
    let reason = Reason::InvalidUptoEvmPayloadSettlementExceedsAmount;
    Err(Refusal::mismatch(reason, "amount", format!("at most {ceiling}, which the payer permitted"), charge))
}
