//! The facilitator's book: Claimed → Sending(transaction) → Settled | Dead.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Mutex;

use super::{BookError, Fingerprint, locked};
use crate::BoxFuture;
use crate::reason::Refusal;
use crate::scheme::{PaymentKey, Settlement, TransactionId};

/// How far a payment has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettlementState {
    /// Somebody is settling it; nothing has been sent.
    Claimed,
    /// A signed transaction may be on its way.
    Sending(TransactionId),
    /// The money moved.
    Settled(Settlement),
    /// A transaction was mined and moved nothing. The payment may be tried again.
    Dead(Refusal),
}

/// What a claim found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettlementClaim {
    /// Nobody else has it: go on, and end with `sending`, `settled`, `dead` or `release`.
    New,
    /// This very request has it, or had it: its answer may be given again.
    Resumed(SettlementState),
    /// Another request has it, or had it. That one's answer is not this one's: a payer can sign two payments with one
    /// nonce, and anybody can copy a nonce from the chain.
    Taken(SettlementState),
}

/// What was sent to the chain, and what became of it. Each call is durable when it returns.
pub trait Settlements: Send + Sync {
    /// Takes the payment for one request, if nobody has it and it was not settled; one of many concurrent claims wins.
    fn claim<'a>(&'a self, key: PaymentKey, request: &'a Fingerprint) -> BoxFuture<'a, Result<SettlementClaim, BookError>>;

    /// The payment's state, if the book knows it.
    fn state(&self, key: PaymentKey) -> BoxFuture<'_, Result<Option<SettlementState>, BookError>>;

    /// Records the signed transaction that is about to be sent.
    fn sending<'a>(
        &'a self,
        key: PaymentKey,
        transaction: &'a TransactionId,
        signed: &'a [u8],
    ) -> BoxFuture<'a, Result<(), BookError>>;

    /// The money moved.
    fn settled<'a>(&'a self, key: PaymentKey, settlement: &'a Settlement) -> BoxFuture<'a, Result<(), BookError>>;

    /// A transaction was mined and moved nothing.
    fn dead<'a>(&'a self, key: PaymentKey, refusal: &'a Refusal) -> BoxFuture<'a, Result<(), BookError>>;

    /// Gives a claim back after which nothing was sent.
    fn release(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>>;
}

/// A book that dies with the process.
#[derive(Debug, Default)]
pub struct MemorySettlements(Mutex<HashMap<PaymentKey, (Fingerprint, SettlementState)>>);

impl MemorySettlements {
    fn set(&self, key: PaymentKey, state: SettlementState) {
        if let Some((_, current)) = locked(&self.0).get_mut(&key) {
            *current = state;
        }
    }
}

impl Settlements for MemorySettlements {
    fn claim<'a>(&'a self, key: PaymentKey, request: &'a Fingerprint) -> BoxFuture<'a, Result<SettlementClaim, BookError>> {
        let claim = match locked(&self.0).entry(key) {
            Entry::Vacant(entry) => {
                entry.insert((request.clone(), SettlementState::Claimed));
                SettlementClaim::New
            }
            Entry::Occupied(mut entry) => match entry.get() {
                (_, SettlementState::Dead(_)) => {
                    entry.insert((request.clone(), SettlementState::Claimed));
                    SettlementClaim::New
                }
                (claimed_by, state) if claimed_by == request => SettlementClaim::Resumed(state.clone()),
                (_, state) => SettlementClaim::Taken(state.clone()),
            },
        };
        Box::pin(std::future::ready(Ok(claim)))
    }

    fn state(&self, key: PaymentKey) -> BoxFuture<'_, Result<Option<SettlementState>, BookError>> {
        let state = locked(&self.0).get(&key).map(|(_, state)| state.clone());
        Box::pin(std::future::ready(Ok(state)))
    }

    fn sending<'a>(
        &'a self,
        key: PaymentKey,
        transaction: &'a TransactionId,
        _signed: &'a [u8],
    ) -> BoxFuture<'a, Result<(), BookError>> {
        self.set(key, SettlementState::Sending(transaction.clone()));
        Box::pin(std::future::ready(Ok(())))
    }

    fn settled<'a>(&'a self, key: PaymentKey, settlement: &'a Settlement) -> BoxFuture<'a, Result<(), BookError>> {
        self.set(key, SettlementState::Settled(settlement.clone()));
        Box::pin(std::future::ready(Ok(())))
    }

    fn dead<'a>(&'a self, key: PaymentKey, refusal: &'a Refusal) -> BoxFuture<'a, Result<(), BookError>> {
        self.set(key, SettlementState::Dead(refusal.clone()));
        Box::pin(std::future::ready(Ok(())))
    }

    fn release(&self, key: PaymentKey) -> BoxFuture<'_, Result<(), BookError>> {
        let mut states = locked(&self.0);
        if matches!(states.get(&key), Some((_, SettlementState::Claimed))) {
            states.remove(&key);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::now;
    use super::*;
    use crate::reason::Reason;

    const KEY: PaymentKey = PaymentKey([1; 32]);

    fn request(text: &str) -> Fingerprint {
        Fingerprint(text.to_owned())
    }

    fn settlement() -> Settlement {
        Settlement {
            transaction: TransactionId("0x1".to_owned()),
            network: "eip155:84532".parse().unwrap(),
            payer: "0xPayer".parse().unwrap(),
            amount: crate::amount::Amount::from(1),
        }
    }

    #[test]
    fn one_claim_wins_and_the_others_learn_whose_it_is() {
        let book = MemorySettlements::default();
        assert_eq!(now(book.state(KEY)), None);
        assert_eq!(now(book.claim(KEY, &request("one"))), SettlementClaim::New);
        assert_eq!(now(book.claim(KEY, &request("one"))), SettlementClaim::Resumed(SettlementState::Claimed));
        assert_eq!(now(book.claim(KEY, &request("other"))), SettlementClaim::Taken(SettlementState::Claimed));
        assert_eq!(now(book.claim(PaymentKey([2; 32]), &request("one"))), SettlementClaim::New);
        let settlement = settlement();
        now(book.sending(KEY, &settlement.transaction, b"signed"));
        assert_eq!(now(book.state(KEY)), Some(SettlementState::Sending(settlement.transaction.clone())));
        now(book.settled(KEY, &settlement));
        assert_eq!(
            now(book.claim(KEY, &request("one"))),
            SettlementClaim::Resumed(SettlementState::Settled(settlement.clone()))
        );
        assert_eq!(now(book.claim(KEY, &request("other"))), SettlementClaim::Taken(SettlementState::Settled(settlement)));
    }

    #[test]
    fn only_a_claim_without_a_transaction_can_be_given_back() {
        let book = MemorySettlements::default();
        now(book.claim(KEY, &request("one")));
        now(book.release(KEY));
        assert_eq!(now(book.state(KEY)), None);
        now(book.claim(KEY, &request("one")));
        let transaction = settlement().transaction;
        now(book.sending(KEY, &transaction, b"signed"));
        now(book.release(KEY));
        assert_eq!(now(book.state(KEY)), Some(SettlementState::Sending(transaction)));
    }

    #[test]
    fn after_a_transaction_that_moved_nothing_the_payment_may_be_tried_again() {
        let book = MemorySettlements::default();
        now(book.claim(KEY, &request("one")));
        now(book.sending(KEY, &settlement().transaction, b"signed"));
        let refusal = Refusal::new(Reason::InvalidTransactionState, "it reverted");
        now(book.dead(KEY, &refusal));
        assert_eq!(now(book.state(KEY)), Some(SettlementState::Dead(refusal)));
        assert_eq!(now(book.claim(KEY, &request("other"))), SettlementClaim::New);
        assert_eq!(now(book.claim(KEY, &request("one"))), SettlementClaim::Taken(SettlementState::Claimed));
    }
}
