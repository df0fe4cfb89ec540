//! The facilitator's book: Sending(transaction) → Settled | Dead.
//!
//! A payment enters the book in the same write as the signed transaction that carries it, and before that transaction is
//! broadcast ([`Outbox::sending`](super::Outbox::sending)). What comes before, the claim within one process and the
//! verification, has sent nothing, so a crash there leaves nothing to clean up: the unique key decides which of many
//! processes sends.
//!
//! A payment that somebody else carried out before it was sent from here enters the book as `Settled` at once
//! ([`Settlements::found`]); the same unique key decides which request it belongs to.
//!
//! An end is not for good at once: a block may vanish with the settlement that it held, and an authorization whose
//! transaction moved nothing can be carried out by somebody else until it expires. A settlement by a transaction that the
//! outbox follows is watched there until it is final. Every other one, and each dead payment from its expiry on, is to be
//! checked ([`SettlementQuery::check_by`]): the chain is asked once more, until it says for good that it is so
//! ([`Settlements::finished`]), or that it is not ([`Settlements::undone`]).

use super::{BookError, Fingerprint};
use crate::BoxFuture;
use crate::amount::Amount;
use crate::asset::{AccountId, AssetId};
use crate::network::Network;
use crate::reason::Refusal;
use crate::scheme::{PaymentKey, Settlement, TransactionId};
use crate::time::UnixSeconds;

/// What a book keeps of a payment, so that its end can be found out without the request that brought it. It holds no
/// signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentRecord {
    /// What makes the payment unique on its chain.
    pub key: PaymentKey,
    /// The scheme that knows what the rest means.
    pub scheme: String,
    /// Where it is paid.
    pub network: Network,
    /// Who pays.
    pub payer: AccountId,
    /// Who is paid.
    pub pay_to: AccountId,
    /// In what.
    pub asset: AssetId,
    /// How much, in atomic units; the most, where the scheme may take less.
    pub amount: Amount,
    /// From this moment of the chain's own time on it can't be carried out any more.
    pub expires_at: UnixSeconds,
    /// How the chain names the authorization (for EIP-3009 its nonce, `0x` and 64 digits).
    pub reference: String,
}

/// How far a payment has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettlementState {
    /// A signed transaction may be on its way. After a replacement it is the newest one that is named.
    Sending(TransactionId),
    /// The money moved.
    Settled(Settlement),
    /// Its transaction moved nothing and never will. The payment may be sent again, as long as the chain takes it.
    Dead(Refusal),
}

/// One payment in the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementEntry {
    /// The payment.
    pub record: PaymentRecord,
    /// The request that brought it: a copy of it gets the same answer, another request does not.
    pub request: Fingerprint,
    /// Whose request it was, where callers have names.
    pub caller: Option<String>,
    /// How far it has come.
    pub state: SettlementState,
    /// The transaction that carries or carried it, also where it is dead.
    pub transaction: TransactionId,
    /// The height of the chain before it was first sent: no earlier block can hold it.
    pub height: u64,
    /// When it was first sent.
    pub sent_at: UnixSeconds,
    /// When its state was written last.
    pub changed_at: UnixSeconds,
}

/// A payment that somebody else carried out before it was sent from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding<'a> {
    /// The payment.
    pub record: &'a PaymentRecord,
    /// The request that it is to belong to.
    pub request: &'a Fingerprint,
    /// Whose request it is, where callers have names.
    pub caller: Option<&'a str>,
    /// What moved, by whose transaction.
    pub settlement: &'a Settlement,
    /// The height of that transaction's block, or a lower one.
    pub height: u64,
    /// The present moment.
    pub now: UnixSeconds,
}

/// Which entries are wanted. Every filter that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettlementQuery {
    /// On this network.
    pub network: Option<Network>,
    /// From this payer, in the letter case of the book.
    pub payer: Option<AccountId>,
    /// To this payee, in the letter case of the book.
    pub pay_to: Option<AccountId>,
    /// Carried by this transaction, or by one that it replaced.
    pub transaction: Option<TransactionId>,
    /// In this state.
    pub state: Option<SettlementStateName>,
    /// Ended, not for good, followed by no outbox, and to be checked from this moment on at the latest.
    pub check_by: Option<UnixSeconds>,
    /// First sent at this moment or later.
    pub since: Option<UnixSeconds>,
    /// First sent before this moment.
    pub before: Option<UnixSeconds>,
    /// Continue after this entry of the page before.
    pub after: Option<(UnixSeconds, PaymentKey)>,
    /// The most entries wanted.
    pub limit: usize,
}

/// A state without what it carries, for queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SettlementStateName {
    /// [`SettlementState::Sending`].
    Sending,
    /// [`SettlementState::Settled`].
    Settled,
    /// [`SettlementState::Dead`].
    Dead,
}

/// What was sent to the chain, and what became of it. Each call is durable when it returns.
pub trait Settlements: Send + Sync {
    /// The payment, if it was ever sent.
    fn find(&self, key: PaymentKey) -> BoxFuture<'_, Result<Option<SettlementEntry>, BookError>>;

    /// The money moved. Taken over from any state: what the chain shows is true. Unless the outbox follows the
    /// transaction, it is to be checked. Changes nothing where the payment is settled by this transaction already.
    fn settled<'a>(
        &'a self,
        key: PaymentKey,
        settlement: &'a Settlement,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<(), BookError>>;

    /// The payment was carried out by somebody else, and belongs to this request, unless the book has it already: then
    /// nothing is changed, and the answer is what the book has. What is dead there may be taken over, as by
    /// [`Outbox::sending`](super::Outbox::sending). One of many concurrent calls is answered `None`.
    fn found<'a>(&'a self, finding: &'a Finding<'a>) -> BoxFuture<'a, Result<Option<SettlementEntry>, BookError>>;

    /// The transaction that was judged moved nothing and never will. Changes nothing unless that one is being sent: whoever
    /// judged an earlier one knows nothing of the one that carries the payment now. Says whether the payment is dead in
    /// that transaction now.
    fn dead<'a>(
        &'a self,
        key: PaymentKey,
        judged: &'a TransactionId,
        refusal: &'a Refusal,
        now: UnixSeconds,
    ) -> BoxFuture<'a, Result<bool, BookError>>;

    /// The end that was judged is for good, so that nobody need check it again. Changes nothing where the book says
    /// something else by now.
    fn finished<'a>(&'a self, judged: &'a SettlementEntry) -> BoxFuture<'a, Result<(), BookError>>;

    /// The chain does not show any more what settled the payment, so it is `Sending` again, by the same transaction.
    /// Changes nothing where the book says something else by now, or the settlement need not be checked.
    fn undone<'a>(&'a self, judged: &'a SettlementEntry, now: UnixSeconds) -> BoxFuture<'a, Result<(), BookError>>;

    /// The entries that match, the newest first, ties in the order of their keys.
    fn list<'a>(&'a self, query: &'a SettlementQuery) -> BoxFuture<'a, Result<Vec<SettlementEntry>, BookError>>;
}

impl SettlementState {
    /// The state's name.
    pub const fn name(&self) -> SettlementStateName {
        match self {
            Self::Sending(_) => SettlementStateName::Sending,
            Self::Settled(_) => SettlementStateName::Settled,
            Self::Dead(_) => SettlementStateName::Dead,
        }
    }
}

impl SettlementStateName {
    /// Every state, in the order of a payment's life.
    pub const ALL: [Self; 3] = [Self::Sending, Self::Settled, Self::Dead];

    /// The name as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Settled => "settled",
            Self::Dead => "dead",
        }
    }
}

impl std::fmt::Display for SettlementStateName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl std::str::FromStr for SettlementStateName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|name| name.as_str() == text);
        found.ok_or_else(|| format!("expected sending, settled or dead, got {text:?}"))
    }
}
