//! `exact` for the facilitator: verify, settle, outcome.

use std::sync::Arc;

use farthing_core::asset::AccountId;
use farthing_core::books::{PaymentRecord, SettlementEntry};
use farthing_core::extension::builder_code::FacilitatorCodes;
use farthing_core::reason::Refusal;
use farthing_core::scheme::{
    FacilitatorScheme, Found, Outcome, Payment, Phase, SendRight, SettleError, Settlement, VerifyError,
};
use farthing_core::time::Clock;
use farthing_core::wire::{SupportedKind, Version, v1};

use super::checks::{check_kind, check_transfer};
use super::{Extra, NAME, Payload, terms};
use crate::asset::AssetTable;
use crate::chain::Chain;
use crate::facilitator::{Desk, Verified};

/// `exact` for the facilitator, on the chains that it was given and no other.
pub struct Facilitator {
    desk: Desk,
}

impl Facilitator {
    /// Serves these chains, in this order; payments on any other chain are refused. A chain that is here twice is listed
    /// twice in [`FacilitatorScheme::kinds`], where the engine finds it at start-up.
    pub fn new(chains: Vec<Arc<Chain>>, assets: Arc<AssetTable>, clock: Arc<dyn Clock>) -> Self {
        Self { desk: Desk::new(chains, assets, clock) }
    }

    /// Writes builder codes behind what it sends, its own among them (the extension `builder-code`).
    #[must_use]
    pub fn with_builder_codes(self, codes: FacilitatorCodes) -> Self {
        Self { desk: self.desk.with_builder_codes(codes) }
    }
}

impl FacilitatorScheme for Facilitator {
    const NAME: &'static str = NAME;
    type Extra = Extra;
    type Payload = Payload;
    type Verified = Verified;

    fn kinds(&self) -> Vec<SupportedKind> {
        let kind = |chain: &Arc<Chain>, x402_version| SupportedKind {
            x402_version,
            scheme: NAME.to_owned(),
            network: chain.network().clone(),
            extra: None,
        };
        let chains = &self.desk.chains;
        let v2 = chains.iter().map(|chain| kind(chain, Version::V2));
        let v1 = chains.iter().filter(|chain| v1::knows(chain.network())).map(|chain| kind(chain, Version::V1));
        v2.chain(v1).collect()
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
        Ok(payment.payload.authorized().record(NAME, requirements, place))
    }

    async fn verify(&self, payment: &Payment<Payload, Extra>, phase: Phase) -> Result<Verified, VerifyError> {
        check_kind(payment)?;
        let chain = self.desk.chain_of(&payment.requirements)?;
        let mut transfer = check_transfer(payment, chain, &self.desk.assets, self.desk.clock.now())?;
        transfer.attribution = self.desk.attribution(payment);
        let verified = self.desk.verify(chain, self.record(payment)?, transfer).await?;
        if phase == Phase::Verify {
            self.desk.check_held(&verified)?;
        }
        Ok(verified)
    }

    async fn settle(&self, verified: Verified, right: Arc<dyn SendRight>) -> Result<Settlement, SettleError> {
        self.desk.settle(verified, right).await
    }

    async fn outcome(&self, entry: &SettlementEntry) -> Result<Outcome, VerifyError> {
        self.desk.outcome(entry).await
    }

    async fn final_outcome(&self, entry: &SettlementEntry) -> Result<Outcome, VerifyError> {
        self.desk.final_outcome(entry).await
    }

    async fn moved_already(&self, record: &PaymentRecord, refusal: &Refusal) -> Result<Option<Found>, VerifyError> {
        self.desk.moved_already(record, refusal).await
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
