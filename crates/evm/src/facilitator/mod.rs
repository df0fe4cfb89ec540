//! What the facilitators of all schemes have in common: from a transfer that a payer signed to money that moved.
//!
//! 1. A scheme reads its own payload and checks everything that needs no node; what is left is a [`Transfer`] ([`transfer`]).
//! 2. `simulation`: one question to the chain, shared with others.
//! 3. `worth`: the operator's limits. `sponsor`, `funding`: what goes along with a payment.
//! 4. `held`: what verified payments may still take of what the payer has.
//! 5. `settle`: what the payer has under way ([`crate::chain::cover`]), the order, what a mined transaction did.
//! 6. `outcome`: what became of a payment, from the chain alone, by `expected` and `search`.

pub(crate) mod expected;
mod funding;
pub(crate) mod held;
mod outcome;
pub(crate) mod permit2;
mod search;
mod settle;
mod simulation;
pub(crate) mod sponsor;
pub(crate) mod transfer;
mod worth;

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use farthing_core::asset::AccountId;
use farthing_core::books::{PaymentRecord, SettlementEntry};
use farthing_core::extension::builder_code::{self, Attribution, FacilitatorCodes};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Found, Outcome, Payment, VerifiedPayment, VerifyError};
use farthing_core::time::Clock;
use farthing_core::wire::PaymentRequirements;

pub use self::funding::funded_approval;
use self::outcome::Depth;
pub use self::settle::MAX_COVER_WAIT_SECONDS;
use self::simulation::{Simulation, simulate};
use self::transfer::Transfer;
pub use self::transfer::{CLOCK_SKEW_SECONDS, SETTLE_MARGIN_SECONDS};
use self::worth::{check_minimum, check_worth};
use crate::asset::AssetTable;
use crate::chain::cover::Look;
use crate::chain::{Chain, NoGas, Question};
use crate::config::SponsorConfig;
use crate::exact::terms;
use crate::rpc::NodeError;
use crate::text::account_id;
use crate::transfer::{approval, eip2612};
use crate::wallet::Claim;

/// The pattern under which sending accounts are listed.
const FAMILY: &str = "eip155:*";
/// How often a payer is looked at whose code comes or goes while it is looked at.
const MAX_LOOKS: usize = 3;

/// What a scheme's facilitator works with.
pub(crate) struct Desk {
    pub(crate) chains: Vec<Arc<Chain>>,
    pub(crate) assets: Arc<AssetTable>,
    pub(crate) clock: Arc<dyn Clock>,
    /// What this facilitator writes of itself; none where no builder codes are written at all.
    codes: Option<FacilitatorCodes>,
}

/// A payment that would settle. Only a facilitator's `verify` makes one.
#[derive(Debug)]
pub struct Verified {
    chain: Arc<Chain>,
    record: PaymentRecord,
    transfer: Transfer,
    /// None where nothing is to move.
    ready: Option<Ready>,
}

/// What was learnt of a payment that moves money.
#[derive(Debug)]
struct Ready {
    gas_units: u64,
    look: Look,
    available: Option<U256>,
}

impl VerifiedPayment for Verified {
    fn payer(&self) -> AccountId {
        account_id(self.transfer.payer())
    }
}

impl Desk {
    pub(crate) const fn new(chains: Vec<Arc<Chain>>, assets: Arc<AssetTable>, clock: Arc<dyn Clock>) -> Self {
        Self { chains, assets, clock, codes: None }
    }

    pub(crate) fn with_builder_codes(self, codes: FacilitatorCodes) -> Self {
        Self { codes: Some(codes), ..self }
    }

    /// The extensions that are honoured on any of the chains.
    pub(crate) fn extensions(&self) -> Vec<&'static str> {
        let on_any = |is_on: fn(SponsorConfig) -> bool| self.chains.iter().any(|chain| is_on(chain.sponsor()));
        let all = [
            (eip2612::EXTENSION, on_any(|sponsor| sponsor.permits)),
            (approval::EXTENSION, on_any(|sponsor| sponsor.approvals)),
            (builder_code::KEY, self.codes.is_some()),
        ];
        all.into_iter().filter_map(|(key, is_on)| is_on.then_some(key)).collect()
    }

    /// Whom the transaction is to name that settles this payment.
    pub(crate) fn attribution<P, E>(&self, payment: &Payment<P, E>) -> Attribution {
        let of = |codes| Attribution::of(&payment.extensions, payment.version, codes);
        self.codes.as_ref().map(of).unwrap_or_default()
    }

    /// The chain of an offer, if it is served here.
    pub(crate) fn chain_of(&self, requirements: &PaymentRequirements) -> Result<&Arc<Chain>, Refusal> {
        let id = terms::chain_of(requirements)?;
        self.chains.iter().find(|chain| chain.id() == id).ok_or_else(|| {
            let served: Vec<&str> = self.chains.iter().map(|chain| chain.network().as_str()).collect();
            let expected = format!("a network that this facilitator serves ({})", served.join(", "));
            Refusal::mismatch(Reason::InvalidNetwork, "network", expected, &requirements.network)
        })
    }

    fn chain_of_record(&self, record: &PaymentRecord) -> Result<&Arc<Chain>, VerifyError> {
        let network = &record.network;
        self.chains.iter().find(|chain| chain.network() == network).ok_or_else(|| {
            let message = format!("{network}: no node is configured for the network of this payment");
            VerifyError::Unavailable(message.into())
        })
    }

    /// Checks what the chain says, and the operator's limits.
    pub(crate) async fn verify(
        &self,
        chain: &Arc<Chain>,
        record: PaymentRecord,
        mut transfer: Transfer,
    ) -> Result<Verified, VerifyError> {
        let caps = chain.relayer().caps();
        check_minimum(&transfer, caps)?;
        let (mut looked, mut simulation) = look(chain, &mut transfer).await?;
        if let Err(suspicion) = sponsor::check_payer(chain, &transfer).await {
            // The approval may have been mined between the two questions, for another copy of this very payment: then its
            // number is used, and it is not needed any more.
            (looked, simulation) = look(chain, &mut transfer).await?;
            sponsor::check_suspicion(chain, &transfer, suspicion).await?;
        }
        let gas_units = gas_units(chain, &transfer, &simulation).await?;
        if caps.max_share_percent.is_some() {
            let cost = chain.relayer().expected_cost_wei(gas_units).await;
            check_worth(&transfer, caps, cost.map_err(|error| VerifyError::Unavailable(Box::new(error)))?)?;
        }
        let available = simulation.available(&transfer);
        let ready = Some(Ready { gas_units, look: looked, available });
        Ok(Verified { chain: chain.clone(), record, transfer, ready })
    }

    /// A payment of which nothing is taken: nothing is asked, and nothing will be sent.
    pub(crate) fn nothing(chain: &Arc<Chain>, record: PaymentRecord, transfer: Transfer) -> Verified {
        Verified { chain: chain.clone(), record, transfer, ready: None }
    }

    pub(crate) fn signers(&self) -> Vec<(String, AccountId)> {
        let mut accounts: Vec<Address> = Vec::new();
        for account in self.chains.iter().flat_map(|chain| chain.relayer().addresses()) {
            if !accounts.contains(&account) {
                accounts.push(account);
            }
        }
        accounts.into_iter().map(|account| (FAMILY.to_owned(), account_id(account))).collect()
    }

    pub(crate) async fn outcome(&self, entry: &SettlementEntry) -> Result<Outcome, VerifyError> {
        outcome::of(self.chain_of_record(&entry.record)?, entry, Depth::Confirmed).await
    }

    pub(crate) async fn final_outcome(&self, entry: &SettlementEntry) -> Result<Outcome, VerifyError> {
        outcome::of(self.chain_of_record(&entry.record)?, entry, Depth::Final).await
    }

    pub(crate) async fn moved_already(&self, record: &PaymentRecord, refusal: &Refusal) -> Result<Option<Found>, VerifyError> {
        outcome::moved_already(self.chain_of_record(record)?, record, refusal).await
    }

    pub(crate) fn start(&self) {
        for chain in &self.chains {
            chain.relayer().start();
        }
    }

    pub(crate) async fn stop(&self) {
        futures_util::future::join_all(self.chains.iter().map(|chain| chain.relayer().stop())).await;
    }

    pub(crate) async fn ready(&self) -> Result<(), VerifyError> {
        let asked = self.chains.iter().map(|chain| async move {
            chain.ready().await.map_err(|error| unavailable(chain, error))?;
            chain.relayer().ready().map_err(|error| VerifyError::Unavailable(Box::new(error)))
        });
        futures_util::future::try_join_all(asked).await.map(drop)
    }
}

/// What the chain says of a transfer, and of its payer's purse before that. What the payer is, its code decides: the
/// transfer's claim is changed to what it turns out to be.
async fn look(chain: &Chain, transfer: &mut Transfer) -> Result<(Look, Simulation), VerifyError> {
    for _ in 0..MAX_LOOKS {
        check_creation(chain, transfer).await?;
        let look = chain.cover().look((transfer.asset.address, transfer.payer()));
        let simulation = simulate(chain, transfer).await.map_err(|error| unavailable(chain, error))?;
        if simulation.payer_has_code && !matches!(transfer.claim, Claim::Contract(..)) {
            transfer.claim = transfer.claim.of_contract();
            continue;
        }
        if matches!(transfer.claim, Claim::Undeployed(_)) && !simulation.in_sequence {
            let message = "the node can't carry out calls one after another, which a wallet that does not exist yet needs";
            return Err(VerifyError::Unavailable(message.into()));
        }
        simulation.judge(transfer)?;
        if simulation.short_allowance(transfer).is_none() {
            // It was approved meanwhile, or long ago.
            transfer.approval = None;
        }
        return Ok((look, simulation));
    }
    Err(VerifyError::Unavailable("the payer's code comes and goes; ask again in a moment".into()))
}

/// Whether a wallet that does not exist yet may be created here. One that does needs no permission.
async fn check_creation(chain: &Chain, transfer: &mut Transfer) -> Result<(), VerifyError> {
    let Claim::Undeployed(creation) = &transfer.claim else { return Ok(()) };
    let factory = creation.factory;
    if !chain.trusts_factory(factory) {
        let account = transfer.payer();
        let question = Question { account, ordinary_only: false, probes: Vec::new(), payment: None, sender: None };
        let observed = chain.observe(question).await.map_err(|error| unavailable(chain, error))?;
        if observed.code_size > 0 {
            transfer.claim = transfer.claim.of_contract();
            return Ok(());
        }
        let message = format!(
            "signature: the payer's wallet does not exist yet, and this facilitator creates none by {factory}; create it first, \
             by any transaction of its own"
        );
        return Err(Refusal::new(Reason::Eip6492FactoryNotAllowed, message).into());
    }
    let is_bound = transfer.sender().is_some();
    let has_multicall = chain.has_multicall().await.map_err(|error| unavailable(chain, error))?;
    if is_bound || !has_multicall {
        let message = "the payer's wallet does not exist yet, and can't be created together with this payment; create it first";
        return Err(Refusal::new(Reason::InvalidExactEvmPayloadUndeployedSmartWallet, message).into());
    }
    Ok(())
}

/// The gas that the transfer may use.
async fn gas_units(chain: &Chain, transfer: &Transfer, simulation: &Simulation) -> Result<u64, VerifyError> {
    let units = match transfer.gas_kind() {
        Some(kind) => {
            let more = transfer.attribution_gas_units();
            if let Some(estimate) = simulation.estimate() {
                chain.learn_estimate(kind, estimate, more);
            }
            chain.gas_units(kind, more).map_err(NoGas::from)
        }
        // Until the approval is mined, there is nothing to estimate.
        None if transfer.approval.is_some() => Ok(chain.relayer().caps().max_units),
        // Only now, because an estimate runs the payer's code many times over.
        None => chain.gas_units_of(&transfer.whole_call(), transfer.sender()).await,
    };
    units.map_err(|error| VerifyError::Unavailable(Box::new(error)))
}

fn unavailable(chain: &Chain, error: NodeError) -> VerifyError {
    tracing::warn!(network = %chain.network(), %error, "the node gave no usable answer");
    VerifyError::Unavailable(Box::new(error))
}
