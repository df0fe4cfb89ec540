//! The durable side of the relayer: which node may send from which account, and what it sent.
//!
//! 1. A lane is one sending account on one network. One node at a time may send from it: the one with the newest lease.
//!    Every write under a lease is checked against its token in the same transaction of the store, so a node that lost
//!    its lease, without knowing it, can't write, and what is not written is not broadcast.
//! 2. A transaction is written with the payments that it carries, all or none, before it is broadcast.
//! 3. A transaction that takes another's place has the same sequence number, so at most one of the two can land.
//! 4. What is written here is followed until its block is final, by whichever node has the lane.

use super::{BookError, Fingerprint, PaymentRecord, SettlementState};
use crate::BoxFuture;
use crate::asset::AccountId;
use crate::network::Network;
use crate::scheme::{PaymentKey, TransactionId};
use crate::time::UnixSeconds;

/// One sending account on one network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    /// The network.
    pub network: Network,
    /// The account.
    pub account: AccountId,
}

/// The right to send from a lane, until another node takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneLease {
    /// The lane.
    pub lane: LaneId,
    /// Larger than that of every earlier lease of the lane.
    pub token: u64,
}

/// What a node learns when it asks for a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneClaim {
    /// The lane is this node's, with everything that is under way on it.
    Ours(LaneLease),
    /// Another node that is alive has it.
    Theirs,
}

/// A payment that a transaction is to carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingPayment {
    /// The payment.
    pub record: PaymentRecord,
    /// The request that brought it.
    pub request: Fingerprint,
    /// Whose request it was, where callers have names.
    pub caller: Option<String>,
    /// Its share of what the transaction is expected to cost, in the network's coin, in units of 10⁻⁹ (gwei).
    pub fee_gwei: u64,
    /// What its sponsor allows.
    pub budgets: Vec<SponsorBudget>,
}

/// The most that may be spent for somebody within one UTC day of the store's `now`, in gwei.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SponsorBudget {
    /// Whom it is spent for, such as `payer eip155:8453 0x…` or `caller eip155:8453 shop`.
    pub account: String,
    /// The most.
    pub limit_gwei: u64,
}

/// A signed transaction that is about to be broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing<'a> {
    /// The sender's right to send.
    pub lease: &'a LaneLease,
    /// The account's nonce; on chains without nonces a number of the lane's own.
    pub sequence: u64,
    /// The transaction's name.
    pub transaction: &'a TransactionId,
    /// The transaction, ready to be broadcast.
    pub signed: &'a [u8],
    /// The height of the chain now: no earlier block can hold the transaction.
    pub height: u64,
    /// What it carries; nothing, where it only uses up a sequence number.
    pub payments: &'a [OutgoingPayment],
    /// The present moment.
    pub now: UnixSeconds,
}

/// Whether a transaction may be broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is in the book: broadcast it.
    Yes,
    /// The lane belongs to another node now: nothing was written, and nothing may be sent from it.
    LeaseLost,
    /// These payments may not be sent; nothing was written. Try again without them.
    Without(Vec<(PaymentKey, Unsendable)>),
}

/// Why a payment may not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsendable {
    /// It was sent before, and is not dead.
    Taken(SettlementState),
    /// It would pass a budget.
    OverBudget(SponsorBudget),
}

/// Where a transaction was mined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing {
    /// Which of the transactions with its sequence number.
    pub transaction: TransactionId,
    /// The height of its block.
    pub height: u64,
    /// The block's hash.
    pub block: String,
    /// What it cost, in the network's coin, in units of 10⁻⁹ (gwei), rounded up.
    pub fee_gwei: u64,
    /// Whether it was carried out, as opposed to reverted as a whole.
    pub succeeded: bool,
}

/// One sequence number of a lane that is not final yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// The sequence number.
    pub sequence: u64,
    /// Every transaction that was signed for it, oldest first, with its bytes. At most one of them can land.
    pub transactions: Vec<(TransactionId, Vec<u8>)>,
    /// The height of the chain before the first was sent.
    pub height: u64,
    /// What they carry.
    pub payments: Vec<PaymentKey>,
    /// When the last of these payments runs out; none where they carry nothing.
    pub expires_at: Option<UnixSeconds>,
    /// Where one of them was mined, as far as is known.
    pub landing: Option<Landing>,
}

/// What a sender must not forget. Each call is durable when it returns.
pub trait Outbox: Send + Sync {
    /// Takes the lane, unless another node has it that is alive. Whoever takes it again gets a new token.
    fn take<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<LaneClaim, BookError>>;

    /// Gives the lane back; another node may have it at once.
    fn give_back<'a>(&'a self, lease: &'a LaneLease) -> BoxFuture<'a, Result<(), BookError>>;

    /// How many nodes serve the network, this one included: what a fair share of its lanes is. A node serves it from the
    /// first time that it asks this, for as long as it is alive.
    fn nodes<'a>(&'a self, network: &'a Network) -> BoxFuture<'a, Result<usize, BookError>>;

    /// Writes a transaction down before it is broadcast, with all its payments as `Sending`, or nothing. One of many
    /// concurrent writes of a payment wins. The same write again, of the same transaction under the same number, changes
    /// nothing and answers `Yes`; another transaction under a number that is under way is an error.
    fn sending<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Written, BookError>>;

    /// Writes a transaction down that takes the place of the one with the same sequence number and carries the same
    /// payments. `payments` of [`Outgoing`] is ignored. [`Written::Without`] is never answered; where nothing is under way
    /// with that number, the answer is [`Written::LeaseLost`].
    fn replacing<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> BoxFuture<'a, Result<Written, BookError>>;

    /// The transaction was certainly refused, never sent on, and never will be: its sequence number is free again and its
    /// payments are dead, for this reason, and count against no budget any more. Changes nothing once a transaction with
    /// that number was replaced or landed.
    fn refused<'a>(
        &'a self,
        lease: &'a LaneLease,
        sequence: u64,
        refusal: &'a crate::reason::Refusal,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<(), BookError>>;

    /// One of the transactions with that number was mined: what it carries and is still `Sending` names it from now on, also
    /// where another one had taken its place.
    fn landed<'a>(&'a self, lease: &'a LaneLease, sequence: u64, landing: &'a Landing) -> BoxFuture<'a, Result<(), BookError>>;

    /// The block that held it is gone: whatever was concluded from it is open again, so its payments are `Sending`.
    fn reopened<'a>(&'a self, lease: &'a LaneLease, sequence: u64, now: UnixSeconds) -> BoxFuture<'a, Result<(), BookError>>;

    /// Nothing can change any more, whether one of ours landed or somebody else used the number up: it need not be
    /// followed. What the one that landed has settled is final; what is said to be settled by another one is to be checked.
    fn closed<'a>(&'a self, lease: &'a LaneLease, sequence: u64) -> BoxFuture<'a, Result<(), BookError>>;

    /// What is not closed on the lane from that sequence number on, in their order, at most so many: page by page, because
    /// it holds the transactions themselves. `None` once the lease is lost.
    fn under_way<'a>(
        &'a self,
        lease: &'a LaneLease,
        from: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<UnderWay>>, BookError>>;

    /// The highest number of the lane that is closed: it was used for good, and so was every lower one.
    fn last_closed<'a>(&'a self, lane: &'a LaneId) -> BoxFuture<'a, Result<Option<u64>, BookError>>;

    /// Under which number of which lane a payment was sent last, if it was.
    fn carrier(&self, key: PaymentKey) -> BoxFuture<'_, Result<Option<(LaneId, u64)>, BookError>>;

    /// What the transaction that carried a payment came to, if it was mined: for explanations and accounts.
    fn landing(&self, key: PaymentKey) -> BoxFuture<'_, Result<Option<Landing>, BookError>>;
}

impl Outgoing<'_> {
    /// Fails where a payment is listed twice: nobody may write it.
    pub fn check_payments(&self) -> Result<(), BookError> {
        let mut seen = std::collections::BTreeSet::new();
        match self.payments.iter().find(|payment| !seen.insert(payment.record.key)) {
            None => Ok(()),
            Some(twice) => {
                let (key, transaction) = (twice.record.key, self.transaction);
                Err(BookError(format!("transaction {transaction} would carry payment {key} twice").into()))
            }
        }
    }

    /// The error where another transaction is under way with the sequence number: only `replacing` may take its place.
    pub fn sequence_in_use(&self) -> BookError {
        let (sequence, lane, transaction) = (self.sequence, &self.lease.lane, self.transaction);
        let text =
            format!("sequence {sequence} of lane {lane} is under way: {transaction} can only be written as a replacement");
        BookError(text.into())
    }
}

impl std::fmt::Display for LaneId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.network, self.account)
    }
}
