//! `exact` for the facilitator: verify, settle, outcome.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use farthing_core::amount::Amount;
use farthing_core::asset::AccountId;
use farthing_core::books::{PaymentRecord, SettlementEntry, SettlementState, SponsorBudget};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{
    FacilitatorScheme, Found, Outcome, Payment, PaymentKey, Phase, SendRight, SettleError, Settlement, TransactionId,
    VerifiedPayment, VerifyError,
};
use farthing_core::time::{Clock, UnixSeconds};
use farthing_core::wire::{SupportedKind, Version, v1};
use tokio::time::{Instant, timeout_at};

use super::checks::{Transfer, check_expiry, check_kind, check_minimum, check_transfer, check_worth, margin_seconds};
use super::cover::{Cover, Look, Share};
use super::outcome::{self, Expected, Moved};
use super::simulation::{Simulation, simulate};
use super::{Extra, NAME, Payload, payment_key, terms};
use crate::asset::AssetTable;
use crate::chain::{Chain, Probe};
use crate::relayer::{Mined, NotSent, Order, RelayError};
use crate::rpc::{self, Call, NodeError, Receipt};
use crate::text::{account_id, asset_id};
use crate::transfer::eip3009::Authorization;

/// How long an authorization must still be valid: sending and mining take a moment. The official facilitators' value,
/// to which two blocks are added where blocks are slow ([`crate::network::slow_block_seconds`]).
pub const SETTLE_MARGIN_SECONDS: u64 = 6;
/// How far a payer's clock may be ahead of this one.
pub const CLOCK_SKEW_SECONDS: u64 = 60;
/// How long a transfer waits for others of its payer, when the balance does not cover all of them, in seconds.
pub const MAX_COVER_WAIT_SECONDS: u64 = 30;
/// The pattern under which sending accounts are listed.
const FAMILY: &str = "eip155:*";

/// `exact` for the facilitator, on the chains that it was given and no other.
pub struct Facilitator {
    chains: Vec<Arc<Chain>>,
    assets: Arc<AssetTable>,
    clock: Arc<dyn Clock>,
    cover: Cover,
}

/// A payment that would settle. Only [`Facilitator`]'s `verify` makes one.
#[derive(Debug)]
pub struct Verified {
    chain: Arc<Chain>,
    record: PaymentRecord,
    transfer: Transfer,
    gas_units: u64,
    look: Look,
    balance: Option<U256>,
}

impl VerifiedPayment for Verified {
    fn payer(&self) -> AccountId {
        account_id(self.transfer.authorization.from)
    }
}

impl Facilitator {
    /// Serves these chains, in this order; payments on any other chain are refused. A chain that is here twice is listed
    /// twice in [`FacilitatorScheme::kinds`], where the engine finds it at start-up.
    pub fn new(chains: Vec<Arc<Chain>>, assets: Arc<AssetTable>, clock: Arc<dyn Clock>) -> Self {
        Self { chains, assets, clock, cover: Cover::default() }
    }

    fn chain_of(&self, payment: &Payment<Payload, Extra>) -> Result<&Arc<Chain>, Refusal> {
        let requirements = &payment.requirements;
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

    /// What the chain says of a transfer, and of its payer's purse before that.
    async fn look(&self, chain: &Chain, transfer: &Transfer) -> Result<(Look, Simulation), VerifyError> {
        let look = self.cover.look((chain.id(), transfer.asset.address, transfer.authorization.from));
        let simulation = simulate(chain, transfer).await.map_err(|error| unavailable(chain, error))?;
        simulation.judge(transfer)?;
        Ok((look, simulation))
    }

    /// Counts the transfer as under way. One that the payer's balance does not cover beside its others waits until those
    /// have ended, and is simulated again.
    async fn covered(
        &self,
        chain: &Chain,
        payment: PaymentKey,
        transfer: &Transfer,
        mut look: Look,
        mut balance: Option<U256>,
    ) -> Result<Share, SettleError> {
        let deadline = Instant::now() + Duration::from_secs(MAX_COVER_WAIT_SECONDS);
        loop {
            let others = match look.take(payment, transfer.authorization.value, balance) {
                Ok(share) => return Ok(share),
                Err(others) => others,
            };
            if timeout_at(deadline, others.end()).await.is_err() || Instant::now() >= deadline {
                let message = "the payer's balance does not cover this payment beside its others, which are still under way";
                return Err(SettleError::NotSent(message.into()));
            }
            let (again, simulation) = self.look(chain, transfer).await?;
            (look, balance) = (again, simulation.balance());
        }
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
        let v2 = self.chains.iter().map(|chain| kind(chain, Version::V2));
        let v1 = self.chains.iter().filter(|chain| v1::knows(chain.network())).map(|chain| kind(chain, Version::V1));
        v2.chain(v1).collect()
    }

    fn signers(&self) -> Vec<(String, AccountId)> {
        let mut accounts: Vec<Address> = Vec::new();
        for account in self.chains.iter().flat_map(|chain| chain.relayer().addresses()) {
            if !accounts.contains(&account) {
                accounts.push(account);
            }
        }
        accounts.into_iter().map(|account| (FAMILY.to_owned(), account_id(account))).collect()
    }

    fn record(&self, payment: &Payment<Payload, Extra>) -> Result<PaymentRecord, Refusal> {
        let authorization = payment.payload.eip3009()?.authorization;
        let asset = terms::asset_address(&payment.requirements)?;
        Ok(PaymentRecord {
            key: payment_key(payment)?,
            scheme: NAME.to_owned(),
            network: payment.requirements.network.clone(),
            payer: account_id(authorization.from),
            pay_to: account_id(authorization.to),
            asset: asset_id(asset),
            amount: Amount::from_units(authorization.value),
            expires_at: expires_at(&authorization),
            reference: authorization.nonce.to_string(),
        })
    }

    async fn verify(&self, payment: &Payment<Payload, Extra>, _phase: Phase) -> Result<Verified, VerifyError> {
        check_kind(payment)?;
        let chain = self.chain_of(payment)?;
        let transfer = check_transfer(payment, &self.assets, self.clock.now())?;
        let caps = chain.relayer().caps();
        check_minimum(&transfer, caps)?;
        let (look, simulation) = self.look(chain, &transfer).await?;
        if let Some(estimate) = simulation.estimate() {
            chain.learn_estimate(transfer.asset.address, estimate);
        }
        let gas_units = chain.gas_units(transfer.asset.address).map_err(|error| VerifyError::Unavailable(Box::new(error)))?;
        if caps.max_share_percent.is_some() {
            let cost = chain.relayer().expected_cost_wei(gas_units).await;
            check_worth(&transfer, caps, cost.map_err(|error| VerifyError::Unavailable(Box::new(error)))?)?;
        }
        let record = self.record(payment)?;
        Ok(Verified { chain: chain.clone(), record, transfer, gas_units, look, balance: simulation.balance() })
    }

    async fn settle(&self, verified: Verified, right: Arc<dyn SendRight>) -> Result<Settlement, SettleError> {
        let Verified { chain, record, transfer, gas_units, look, balance } = verified;
        let share = self.covered(&chain, record.key, &transfer, look, balance).await?;
        let Transfer { authorization, signature, .. } = &transfer;
        check_expiry(authorization, self.clock.now(), chain.id()).map_err(SettleError::Rejected)?;
        let order = Order {
            to: transfer.asset.address,
            data: authorization.calldata(signature).into(),
            gas_units,
            budgets: budgets(&chain, &record, right.caller()),
            payment: record.clone(),
            batchable: true,
            send_before: record.expires_at.minus(margin_seconds(chain.id())),
            hold: Box::new(share),
            right: right.clone(),
        };
        let mined = match chain.relayer().send(order).await {
            Ok(mined) => mined,
            Err(RelayError::NotSent(NotSent::Expired)) => {
                check_expiry(authorization, self.clock.now(), chain.id()).map_err(SettleError::Rejected)?;
                return Err(SettleError::NotSent(Box::new(NotSent::Expired)));
            }
            Err(RelayError::Taken(_)) => return Err(SettleError::Taken),
            Err(RelayError::Unknown(id)) => {
                tracing::warn!(network = %chain.network(), transaction = %id, "a settlement is not confirmed yet; its outcome is unknown");
                return Err(SettleError::Unknown(id));
            }
            Err(error) => return Err(SettleError::NotSent(Box::new(error))),
        };
        if mined.alone && !mined.receipt.succeeded && mined.receipt.gas_used >= gas_units {
            chain.forget_estimate(transfer.asset.address);
        }
        settled(&chain, &transfer, record, right.as_ref(), &mined, self.clock.now()).await
    }

    async fn outcome(&self, entry: &SettlementEntry) -> Result<Outcome, VerifyError> {
        outcome::of(self.chain_of_record(&entry.record)?, entry, Depth::Confirmed).await
    }

    async fn final_outcome(&self, entry: &SettlementEntry) -> Result<Outcome, VerifyError> {
        outcome::of(self.chain_of_record(&entry.record)?, entry, Depth::Final).await
    }

    async fn moved_already(&self, record: &PaymentRecord, refusal: &Refusal) -> Result<Option<Found>, VerifyError> {
        outcome::moved_already(self.chain_of_record(record)?, record, refusal).await
    }

    fn start(&self) {
        for chain in &self.chains {
            chain.relayer().start();
        }
    }

    async fn stop(&self) {
        futures_util::future::join_all(self.chains.iter().map(|chain| chain.relayer().stop())).await;
    }

    async fn ready(&self) -> Result<(), VerifyError> {
        let asked = self.chains.iter().map(|chain| async move {
            chain.ready().await.map_err(|error| unavailable(chain, error))?;
            chain.relayer().ready().map_err(|error| VerifyError::Unavailable(Box::new(error)))
        });
        futures_util::future::try_join_all(asked).await.map(drop)
    }
}

/// When an authorization ends; never, as far as books can count, where that is beyond them.
fn expires_at(authorization: &Authorization) -> UnixSeconds {
    UnixSeconds(authorization.valid_before.try_into().unwrap_or(u64::MAX))
}

/// What a mined transaction did for this payment, from its logs; from the chain's state where they do not tell.
async fn settled(
    chain: &Chain,
    transfer: &Transfer,
    record: PaymentRecord,
    right: &dyn SendRight,
    mined: &Mined,
    now: UnixSeconds,
) -> Result<Settlement, SettleError> {
    let Mined { transaction, receipt, alone } = mined;
    let expected = Expected::by(transfer.asset.address, &transfer.authorization);
    match expected.moved_by(receipt) {
        Moved::Exactly => return Ok(expected.settlement(chain, *transaction)),
        Moved::Perhaps if *alone => return Ok(expected.settlement(chain, *transaction)),
        Moved::Nothing if !alone => return Err(SettleError::Spoilt(moved_nothing_beside_others(receipt))),
        Moved::Perhaps | Moved::Otherwise | Moved::Nothing => {}
    }
    // Whoever holds the payer's authorization can carry it out, and then ours reverts though the seller was paid.
    let id = TransactionId(transaction.to_string());
    let entry = SettlementEntry {
        record,
        request: right.request().clone(),
        caller: None,
        state: SettlementState::Sending(id.clone()),
        transaction: id.clone(),
        height: receipt.block_number,
        sent_at: now,
        changed_at: now,
    };
    match outcome::of(chain, &entry, Depth::Confirmed).await {
        Ok(Outcome::Settled(settlement)) => Ok(settlement),
        Ok(Outcome::Failed(refusal)) if refusal.reason == Reason::InvalidExactEvmTransactionFailed && !receipt.succeeded => {
            Err(SettleError::Rejected(reverted(receipt, revert_reason(chain, transfer).await)))
        }
        Ok(Outcome::Failed(refusal)) => Err(SettleError::Rejected(refusal)),
        Ok(Outcome::Unknown) | Err(_) => Err(SettleError::Unknown(id)),
    }
}

/// What a payer's and a caller's payments may cost in a day.
fn budgets(chain: &Chain, record: &PaymentRecord, caller: Option<&str>) -> Vec<SponsorBudget> {
    let gas = chain.relayer().caps();
    let payer = gas
        .daily_budget_per_payer_gwei
        .map(|limit_gwei| SponsorBudget { account: format!("payer {} {}", record.network, record.payer), limit_gwei });
    let caller = caller.zip(gas.daily_budget_per_caller_gwei);
    let caller =
        caller.map(|(caller, limit_gwei)| SponsorBudget { account: format!("caller {} {caller}", record.network), limit_gwei });
    payer.into_iter().chain(caller).collect()
}

fn moved_nothing_beside_others(receipt: &Receipt) -> Refusal {
    let message =
        format!("transaction {} carried this payment beside others and moved nothing for it", receipt.transaction_hash);
    Refusal::new(Reason::InvalidExactEvmTransactionFailed, message)
}

fn reverted(receipt: &Receipt, reason: Option<String>) -> Refusal {
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let message = format!("transaction {} was mined and reverted{reason}", receipt.transaction_hash);
    Refusal::new(Reason::InvalidExactEvmTransactionFailed, message)
}

/// Why a mined transfer reverted, found by trying it again; `None` if that cannot be had.
async fn revert_reason(chain: &Chain, transfer: &Transfer) -> Option<String> {
    let probe = Probe { to: transfer.asset.address, data: transfer.authorization.calldata(&transfer.signature).into() };
    let answers = chain.node().ask(&[Call::execute(probe.to, &probe.data)]).await.ok()?;
    let revert = rpc::executed(answers.first()?).ok()?.err()?;
    Some(revert.reason)
}

fn unavailable(chain: &Chain, error: NodeError) -> VerifyError {
    tracing::warn!(network = %chain.network(), %error, "the node gave no usable answer");
    VerifyError::Unavailable(Box::new(error))
}
