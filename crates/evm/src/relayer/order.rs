//! What is asked of a relayer, and what becomes of it.

use std::any::Any;
use std::sync::Arc;

use alloy_primitives::{Address, B256, Bytes, U256};
use farthing_core::books::{BookError, PaymentRecord, SettlementState, SponsorBudget};
use farthing_core::extension::builder_code::Attribution;
use farthing_core::scheme::{SendRight, TransactionId};
use farthing_core::time::UnixSeconds;

use super::fees::FeesAboveCap;
use crate::rpc::{CallError, NodeError, Receipt};
use crate::signer::SignerError;

/// What to send: a call of a contract that carries one payment. The call may carry a signature, so it is not shown.
pub struct Order {
    /// The contract.
    pub to: Address,
    /// The call, with whom it names behind it.
    pub data: Bytes,
    /// Whom it names.
    pub attribution: Attribution,
    /// How much of the network's coin goes along, in wei; only with what is carried by itself.
    pub value_wei: U256,
    /// The most gas that it may use.
    pub gas_units: u64,
    /// The payment that it carries.
    pub payment: PaymentRecord,
    /// The right to send it.
    pub right: Arc<dyn SendRight>,
    /// What its sponsor allows.
    pub budgets: Vec<SponsorBudget>,
    /// Who has to make the call, if not just any of the accounts.
    pub sender: Option<Address>,
    /// What it may be carried beside.
    pub company: Company,
    /// From this moment on it is too late to send it.
    pub send_before: UnixSeconds,
    /// Kept until the order's end is known, also where nobody waits for it any more.
    pub hold: Box<dyn Any + Send + Sync>,
}

/// What an order may be carried beside, by another contract in one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Nothing: who calls matters, or its payer's code could use up the gas of others.
    None,
    /// Whatever says so, too: each logs by itself which payment it was.
    Any,
    /// What is not like it: those with the same mark could not be told apart by what they log.
    Unlike(B256),
}

/// A transaction that was mined and confirmed.
#[derive(Clone, Debug)]
pub struct Mined {
    /// Which.
    pub transaction: B256,
    /// What it did.
    pub receipt: Arc<Receipt>,
    /// Whether it carried this order and nothing else.
    pub alone: bool,
}

/// Why an order was not carried out, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Nothing was sent, and nothing can land: it is safe to try again.
    #[error("nothing was sent: {0}")]
    NotSent(#[source] NotSent),
    /// The book has the payment already.
    #[error("the payment was sent before")]
    Taken(SettlementState),
    /// Its sponsor has spent what may be spent today. Nothing was sent.
    #[error("the gas for this payment would pass the daily budget of {} gwei for {}", .0.limit_gwei, .0.account)]
    OverBudget(SponsorBudget),
    /// It is not known yet what becomes of the transaction, which is followed further.
    #[error("transaction {0} is not confirmed yet")]
    Unknown(TransactionId),
}

/// Why nothing was sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotSent {
    /// The node could not say what sending needs.
    #[error("the node could not be asked for fees")]
    Node(#[from] NodeError),
    /// The network is too expensive right now.
    #[error(transparent)]
    Fees(#[from] FeesAboveCap),
    /// The sending account did not sign.
    #[error("the sending account {account} did not sign")]
    Signer {
        /// The sending account.
        account: Address,
        /// Why.
        #[source]
        error: Arc<SignerError>,
    },
    /// The transaction could not be written down before sending it.
    #[error("the transaction could not be written down before sending it")]
    Book(#[source] Arc<BookError>),
    /// The node refused it.
    #[error("the node refused the transaction of {account}: {error}")]
    Refused {
        /// The sending account.
        account: Address,
        /// What the node said.
        #[source]
        error: CallError,
    },
    /// Too many orders wait.
    #[error("{0} payments wait to be sent already; try again in a moment")]
    Full(usize),
    /// It waited too long for its turn.
    #[error("the payment waited too long for its turn; try again in a moment")]
    Late,
    /// The payment ran out while it waited for its turn.
    #[error("the authorization ran out while the payment waited for its turn; sign a new payment")]
    Expired,
    /// Whoever asked for it has given it up.
    #[error("the payment was given up before it was sent")]
    GivenUp,
    /// No account of this node can send.
    #[error("no sending account is this node's at the moment: other nodes send on this network")]
    Standby,
    /// Only one account may send it, which is not this node's.
    #[error("only {0} may send the payment, and that account is another node's at the moment; ask again, also another node")]
    Elsewhere(Address),
    /// The relayer is being stopped.
    #[error("the relayer is stopping")]
    Stopping,
}

impl From<NotSent> for RelayError {
    fn from(cause: NotSent) -> Self {
        Self::NotSent(cause)
    }
}
