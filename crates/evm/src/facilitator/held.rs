//! What verified payments may still take of what their payer has, from the verification of each until it ends.
//!
//! A scheme that settles after the work, and says only then how much it was, holds the most that it may be. A payment that is
//! verified beside others must be covered beside what they hold, so that nobody works for what can't be charged any more. A
//! settlement is not refused for what others hold: its work is done, and theirs may never be asked for.
//!
//! Nodes that share accounts don't see what the others hold, and what is held does not outlive the process.

use std::sync::Arc;

use alloy_primitives::{B256, Keccak256};
use farthing_core::books::PaymentRecord;
use farthing_core::reason::Refusal;
use farthing_core::scheme::{PaymentKey, SettleError, Settlement, VerifyError};

use super::expected::Expected;
use super::transfer::Transfer;
use super::{Desk, Ready, Verified};
use crate::chain::Chain;
use crate::chain::cover::Purse;
use crate::chain::cover::holds::{Held, Hold, MAX_HOLD_SECONDS, MAX_HOLDS, MAX_HOLDS_PER_PURSE, NotHeld};

/// A payment that may be held for.
pub(crate) struct Holder {
    chain: Arc<Chain>,
    purse: Purse,
    payment: PaymentKey,
    proof: B256,
}

impl Holder {
    pub(crate) fn new(chain: &Arc<Chain>, payment: PaymentKey, transfer: &Transfer) -> Self {
        let purse = (transfer.asset.address, transfer.payer());
        Self { chain: chain.clone(), purse, payment, proof: proof(transfer) }
    }

    pub(crate) fn of(verified: &Verified) -> Self {
        Self::new(&verified.chain, verified.record.key, &verified.transfer)
    }

    /// Holds nothing any more, if the settlement has ended the payment. One that was not sent, or of which nobody knows yet
    /// what became of it, goes on.
    pub(crate) fn settled(&self, settled: &Result<Settlement, SettleError>) {
        match settled {
            Ok(settlement) if !settlement.amount.units().is_zero() => self.chain.cover().release(self.purse, self.payment),
            Ok(_) | Err(SettleError::Rejected(_)) => self.refused(),
            Err(SettleError::NotSent(_) | SettleError::Unknown(_) | SettleError::Taken | SettleError::Spoilt(_)) => {}
        }
    }

    /// Holds nothing any more, because nothing is to move: said by whoever shows the very signature that was verified. Nobody
    /// else can end what others hold, not even where only the chain could tell that a signature is false.
    pub(crate) fn refused(&self) {
        self.chain.cover().release_proven(self.purse, self.payment, self.proof);
    }
}

impl Desk {
    /// Holds the most that a verified payment may take, until it ends, but no longer than it or its offer allows, nor
    /// than [`MAX_HOLD_SECONDS`].
    pub(crate) fn hold(&self, verified: &Verified, max_timeout_seconds: u64) -> Result<(), VerifyError> {
        let Verified { record, transfer, ready: Some(Ready { look, available, .. }), .. } = verified else { return Ok(()) };
        let now = self.clock.now();
        let until = transfer.authorized.expires_at().min(now.plus(max_timeout_seconds.min(MAX_HOLD_SECONDS)));
        let hold = Hold { value: transfer.authorized.most(), until, proof: proof(transfer) };
        look.hold(record.key, hold, *available, now).map_err(|cause| told(cause, verified))
    }

    /// Whether a verified payment is covered beside what others hold. It holds nothing itself.
    pub(crate) fn check_held(&self, verified: &Verified) -> Result<(), VerifyError> {
        let Verified { record, transfer, ready: Some(Ready { look, available, .. }), .. } = verified else { return Ok(()) };
        let checked = look.check_held(record.key, transfer.value, *available, self.clock.now());
        checked.map_err(|cause| told(cause, verified))
    }

    /// Holds nothing any more for a payment of which the chain says that it moved.
    pub(crate) fn release_moved(&self, record: &PaymentRecord) {
        if let (Ok(chain), Ok(Expected { asset, payer, .. })) = (self.chain_of_record(record), Expected::of(record)) {
            chain.cover().release_moved((asset, payer), record.key);
        }
    }
}

/// What tells a payment from everything else that was written under its nonce: what was signed, and the signature.
fn proof(transfer: &Transfer) -> B256 {
    let mut hasher = Keccak256::new();
    hasher.update(transfer.authorized.digest(&transfer.asset));
    hasher.update(transfer.claim.bytes());
    hasher.finalize()
}

/// The answer to a payment that is not covered beside others, with the reason of a balance that is too little.
fn told(cause: NotHeld, verified: &Verified) -> VerifyError {
    let transfer = &verified.transfer;
    let (payer, symbol, needed) = (transfer.payer(), &transfer.asset.symbol, transfer.value);
    let message = match cause {
        NotHeld::Short(Held { value, until }) => {
            let available = verified.ready.as_ref().and_then(|ready| ready.available);
            let available = available.map_or_else(|| "an amount that can't be read".to_owned(), |units| units.to_string());
            let until = until.map_or_else(|| "until they end".to_owned(), |until| format!("until {until} at most"));
            format!(
                "{payer} can pay {available} atomic units of {symbol}, of which {value} are held by payments that are not settled \
                 yet ({until}), and the payment takes {needed}; ask again when they are settled"
            )
        }
        NotHeld::PurseFull => format!(
            "{payer} has {MAX_HOLDS_PER_PURSE} payments in {symbol} that were verified and are not settled yet, and more are not \
             verified; ask again when some of them are settled"
        ),
        NotHeld::Full => {
            let message = format!("{MAX_HOLDS} payments were verified and are not settled yet; more are not verified now");
            return VerifyError::Unavailable(message.into());
        }
    };
    Refusal::new(transfer.reasons().balance.clone(), message).into()
}
