//! `exact` for the facilitator: verify, settle, outcome.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use farthing_core::amount::Amount;
use farthing_core::asset::AccountId;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{
    FacilitatorScheme, Outcome, Payment, PaymentKey, SendLog, SettleError, Settlement, TransactionId, VerifiedPayment,
    VerifyError,
};
use farthing_core::time::Clock;
use farthing_core::wire::{SupportedKind, Version, v1};
use tokio::time::{Instant, timeout_at};

use super::checks::{Transfer, check_expiry, check_kind, check_transfer};
use super::cover::{Cover, Look, Share};
use super::simulation::{Simulation, simulate};
use super::{Extra, NAME, Payload, payment_key, terms};
use crate::asset::AssetTable;
use crate::chain::{Chain, Probe};
use crate::relayer::Order;
use crate::rpc::{self, Call, NodeError, Receipt};
use crate::text::{account_id, fixed_hex};
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
        transfer: &Transfer,
        mut look: Look,
        mut balance: Option<U256>,
    ) -> Result<Share, SettleError> {
        let deadline = Instant::now() + Duration::from_secs(MAX_COVER_WAIT_SECONDS);
        loop {
            let others = match look.take(transfer.authorization.value, balance) {
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
        for account in self.chains.iter().map(|chain| chain.relayer().address()) {
            if !accounts.contains(&account) {
                accounts.push(account);
            }
        }
        accounts.into_iter().map(|account| (FAMILY.to_owned(), account_id(account))).collect()
    }

    fn key(&self, payment: &Payment<Payload, Extra>) -> Result<PaymentKey, Refusal> {
        payment_key(payment)
    }

    async fn verify(&self, payment: &Payment<Payload, Extra>) -> Result<Verified, VerifyError> {
        check_kind(payment)?;
        let chain = self.chain_of(payment)?;
        let transfer = check_transfer(payment, &self.assets, self.clock.now())?;
        let (look, simulation) = self.look(chain, &transfer).await?;
        if let Some(estimate) = simulation.estimate() {
            chain.learn_estimate(transfer.asset.address, estimate);
        }
        let gas_units = chain.gas_units(transfer.asset.address).map_err(|error| VerifyError::Unavailable(Box::new(error)))?;
        Ok(Verified { chain: chain.clone(), transfer, gas_units, look, balance: simulation.balance() })
    }

    async fn settle(&self, verified: Verified, log: &dyn SendLog) -> Result<Settlement, SettleError> {
        let Verified { chain, transfer, gas_units, look, balance } = verified;
        let _share = self.covered(&chain, &transfer, look, balance).await?;
        check_expiry(&transfer.authorization, self.clock.now(), chain.id()).map_err(SettleError::Rejected)?;
        let data = transfer.authorization.calldata(&transfer.signature);
        let order = Order { to: transfer.asset.address, data: data.into(), gas_units };
        let sent = chain.relayer().send(&order, log).await.map_err(|error| SettleError::NotSent(Box::new(error)))?;
        let id = sent.id();
        let Some(receipt) = sent.receipt(chain.confirm().timeout()).await else {
            tracing::warn!(network = %chain.network(), transaction = %id, "a settlement is not confirmed yet; its outcome is unknown");
            return Err(SettleError::Unknown(id));
        };
        if receipt.succeeded {
            return settled(&chain, transfer.asset.address, &transfer.authorization, &receipt).map_err(SettleError::Rejected);
        }
        if receipt.gas_used >= gas_units {
            chain.forget_estimate(transfer.asset.address);
        }
        Err(SettleError::Rejected(reverted(&receipt, revert_reason(&chain, order).await)))
    }

    async fn outcome(&self, payment: &Payment<Payload, Extra>, transaction: &TransactionId) -> Result<Outcome, VerifyError> {
        let chain = self.chain_of(payment)?;
        let authorization = payment.payload.eip3009()?.authorization;
        let asset = terms::asset_address(&payment.requirements)?;
        let hash = fixed_hex(&transaction.0).map(B256::new).ok_or_else(|| {
            let expected = "a transaction hash (0x and 64 hexadecimal digits)";
            Refusal::mismatch(Reason::InvalidTransactionState, "transaction", expected, crate::text::quoted(&transaction.0))
        })?;
        let receipt = confirmed(chain, hash).await.map_err(|error| unavailable(chain, error))?;
        Ok(match receipt {
            None => Outcome::Unknown,
            Some(receipt) if receipt.succeeded => match settled(chain, asset, &authorization, &receipt) {
                Ok(settlement) => Outcome::Settled(settlement),
                Err(refusal) => Outcome::Failed(refusal),
            },
            Some(receipt) => Outcome::Failed(reverted(&receipt, None)),
        })
    }

    async fn ready(&self) -> Result<(), VerifyError> {
        let asked =
            self.chains.iter().map(|chain| async move { chain.ready().await.map_err(|error| unavailable(chain, error)) });
        futures_util::future::try_join_all(asked).await.map(drop)
    }
}

/// The receipt, once the transaction is in as many blocks as asked for.
async fn confirmed(chain: &Chain, hash: B256) -> Result<Option<Receipt>, NodeError> {
    let answers = chain.node().ask(&[Call::receipt(hash), Call::block_number()]).await?;
    let [receipt, height] = answers.as_slice() else { return Err(NodeError::Malformed("eth_getTransactionReceipt")) };
    let Some(receipt) = rpc::receipt(receipt)?.filter(|receipt| receipt.transaction_hash == hash) else { return Ok(None) };
    let height = rpc::quantity(height, "eth_blockNumber")?;
    let blocks = height.saturating_sub(receipt.block_number).saturating_add(1);
    Ok(Some(receipt).filter(|_| blocks >= chain.confirm().blocks))
}

/// A successful transaction counts only if the token logged exactly this transfer.
fn settled(chain: &Chain, asset: Address, authorization: &Authorization, receipt: &Receipt) -> Result<Settlement, Refusal> {
    if !authorization.moved(asset, &receipt.logs) {
        return Err(Refusal::new(
            Reason::InvalidExactEvmTransferEventMismatch,
            format!(
                "transaction {} succeeded, but the asset {asset} logged no transfer of {} from {} to {}",
                receipt.transaction_hash, authorization.value, authorization.from, authorization.to,
            ),
        ));
    }
    Ok(Settlement {
        transaction: TransactionId(receipt.transaction_hash.to_string()),
        network: chain.network().clone(),
        payer: account_id(authorization.from),
        amount: Amount::from_units(authorization.value),
    })
}

fn reverted(receipt: &Receipt, reason: Option<String>) -> Refusal {
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let message = format!("transaction {} was mined and reverted{reason}", receipt.transaction_hash);
    Refusal::new(Reason::InvalidExactEvmTransactionFailed, message)
}

/// Why a mined transaction reverted, found by trying it again; `None` if that cannot be had.
async fn revert_reason(chain: &Chain, order: Order) -> Option<String> {
    let probe = Probe { to: order.to, data: order.data.into() };
    let answers = chain.node().ask(&[Call::execute(probe.to, &probe.data)]).await.ok()?;
    let revert = rpc::executed(answers.first()?).ok()?.err()?;
    Some(revert.reason)
}

fn unavailable(chain: &Chain, error: NodeError) -> VerifyError {
    tracing::warn!(network = %chain.network(), %error, "the node gave no usable answer");
    VerifyError::Unavailable(Box::new(error))
}
