//! The double: a server's book in memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::{
    Bill, Booked, OpenSale, Refund, RefundQuery, RefundState, RefundStateName, Refunds, Sale, SaleQuery, SaleSum, SaleSumQuery,
    Sales, SalesBook, locked,
};
use super::{
    Answered, Charged, ClaimId, Deliveries, Delivery, DeliveryClaim, Fingerprint, KEEP_EXPIRED_SECONDS, Naming, Owed,
    Presented, Purchase, PurchaseName, Receipt, Standing, StoredAnswer,
};
use crate::BoxFuture;
use crate::books::BookError;
use crate::scheme::{PaymentKey, TransactionId};
use crate::time::UnixSeconds;

/// How many expired payments, and how many answers, one claim forgets at most.
const FORGOTTEN_PER_CLAIM_MAX: usize = 2;
/// How much of answers is kept in memory at most; beyond that those are forgotten whose time is past first.
const ANSWERS_MAX_BYTES: usize = 64 * 1024 * 1024;

/// A server's book that dies with the process. Every clone is the same node; [`Self::join`] makes another one on the same
/// book, as a replica would be.
#[derive(Clone, Debug, Default)]
pub struct MemoryDeliveries {
    node: u64,
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    deliveries: HashMap<PaymentKey, Row>,
    /// Which payment has which name, and for what.
    purchases: HashMap<PurchaseName, (PaymentKey, Fingerprint)>,
    /// The payments that expire, the first of them first.
    expiring: BTreeSet<(UnixSeconds, PaymentKey)>,
    /// The payments whose answers are kept, the first to be forgotten first.
    answered: BTreeSet<(UnixSeconds, PaymentKey)>,
    answers_bytes: usize,
    sales: SalesBook,
    last_claim: u64,
    nodes: u64,
    dead_nodes: BTreeSet<u64>,
}

#[derive(Debug)]
struct Row {
    claim: u64,
    node: u64,
    request: Fingerprint,
    expires_at: Option<UnixSeconds>,
    delivery: Delivery,
    name: Option<PurchaseName>,
    /// What is known of it; of a payment that was served, all of it.
    owed: Owed,
}

impl MemoryDeliveries {
    /// Another node on the same book.
    #[must_use]
    pub fn join(&self) -> Self {
        let mut book = self.book();
        book.nodes = book.nodes.saturating_add(1);
        Self { node: book.nodes, book: Arc::clone(&self.book) }
    }

    /// This node is dead for the others.
    pub fn die(&self) {
        self.book().dead_nodes.insert(self.node);
    }

    /// How far a delivery has come.
    pub fn delivery(&self, key: PaymentKey) -> Option<Delivery> {
        self.book().deliveries.get(&key).map(|row| row.delivery.clone())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        locked(&self.book)
    }
}

/// What may be done with a payment that is presented.
enum Kind {
    New,
    Resumed,
    Answered(Box<Answered>),
}

type Answer<'a, T> = BoxFuture<'a, Result<T, BookError>>;

/// A book in memory never waits.
fn ready<'a, T: Send + 'a>(value: T) -> Answer<'a, T> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Row {
    /// The answer, if it is still kept.
    fn answer(&self, now: UnixSeconds) -> Option<&StoredAnswer> {
        self.owed.answer.as_ref().filter(|answer| now < answer.until)
    }

    /// All of a payment that was served, if its answer is still kept.
    fn answered(&self, now: UnixSeconds, is_left_behind: bool) -> Option<Box<Answered>> {
        let Delivery::Served(transaction) = self.delivery.clone() else { return None };
        let receipt = Receipt { transaction, settlement: self.owed.settlement.clone()? };
        Some(Box::new(Answered { receipt, answer: self.answer(now)?.clone(), is_left_behind }))
    }
}

const fn is_settling(delivery: &Delivery) -> bool {
    matches!(delivery, Delivery::Settling)
}

impl Book {
    /// The row of a claim that may still write.
    fn held(&mut self, claim: ClaimId, from: fn(&Delivery) -> bool) -> Option<&mut Row> {
        self.deliveries.get_mut(&claim.key).filter(|row| row.claim == claim.number && from(&row.delivery))
    }

    fn is_left_behind(&self, row: &Row) -> bool {
        self.dead_nodes.contains(&row.node)
    }

    /// What may be done with a presented payment, if anything.
    fn judge(&self, presented: &Presented) -> Result<Kind, Delivery> {
        let Some(row) = self.deliveries.get(&presented.key) else { return Ok(Kind::New) };
        let left_behind = self.is_left_behind(row);
        let is_same = row.request == presented.request;
        match &row.delivery {
            Delivery::Claimed if left_behind => Ok(Kind::New),
            Delivery::Unsettled if is_same => Ok(Kind::Resumed),
            Delivery::Settling if left_behind && is_same => Ok(Kind::Resumed),
            Delivery::Settling if left_behind => Err(Delivery::Unsettled),
            Delivery::Served(_) if is_same => {
                row.answered(presented.now, left_behind).map(Kind::Answered).ok_or_else(|| row.delivery.clone())
            }
            other => Err(other.clone()),
        }
    }

    /// What becomes of a name that another payment has.
    fn judge_name(&self, row: &Row, is_same: bool, now: UnixSeconds) -> Naming {
        let left_behind = self.is_left_behind(row);
        match &row.delivery {
            _ if !is_same => Naming::OtherRequest,
            Delivery::Settling if left_behind => Naming::Taken(Delivery::Unsettled),
            other => row.answered(now, left_behind).map_or_else(|| Naming::Taken(other.clone()), Naming::Answered),
        }
    }

    fn put(&mut self, key: PaymentKey, row: Row) {
        self.remove(key);
        self.expiring.extend(row.expires_at.map(|at| (at, key)));
        self.deliveries.insert(key, row);
    }

    /// Keeps an answer in the place of the one before.
    fn keep(&mut self, key: PaymentKey, answer: Option<&StoredAnswer>) {
        self.forget_answer(key);
        let Some((row, answer)) = self.deliveries.get_mut(&key).zip(answer) else { return };
        row.owed.answer = Some(answer.clone());
        self.answered.insert((answer.until, key));
        self.answers_bytes = self.answers_bytes.saturating_add(answer.bytes());
        while self.answers_bytes > ANSWERS_MAX_BYTES
            && let Some((_, first)) = self.answered.first().copied()
        {
            self.forget_answer(first);
        }
    }

    fn forget_answer(&mut self, key: PaymentKey) {
        let Some(answer) = self.deliveries.get_mut(&key).and_then(|row| row.owed.answer.take()) else { return };
        self.answered.remove(&(answer.until, key));
        self.answers_bytes = self.answers_bytes.saturating_sub(answer.bytes());
    }

    fn remove(&mut self, key: PaymentKey) {
        self.forget_answer(key);
        let Some(row) = self.deliveries.remove(&key) else { return };
        if let Some(expires_at) = row.expires_at {
            self.expiring.remove(&(expires_at, key));
        }
        if let Some(name) = row.name {
            self.purchases.remove(&name);
        }
    }

    /// Forgets what is past its time, but for the payment that is being claimed.
    fn forget(&mut self, now: UnixSeconds, but: PaymentKey) {
        for _ in 0..FORGOTTEN_PER_CLAIM_MAX {
            let first = self.answered.first().copied().filter(|(until, _)| *until <= now);
            if let Some((_, key)) = first {
                self.forget_answer(key);
            }
            let first = self.expiring.iter().copied().find(|(_, key)| *key != but);
            if let Some((_, key)) = first.filter(|(at, _)| at.plus(KEEP_EXPIRED_SECONDS) < now) {
                self.remove(key);
            }
        }
    }
}

impl Deliveries for MemoryDeliveries {
    fn claim<'a>(&'a self, presented: &'a Presented) -> Answer<'a, DeliveryClaim> {
        let mut book = self.book();
        let kind = match book.judge(presented) {
            Ok(Kind::Answered(answered)) => return ready(DeliveryClaim::Answered(answered)),
            Ok(kind) => kind,
            Err(delivery) => return ready(DeliveryClaim::Taken(delivery)),
        };
        book.last_claim = book.last_claim.saturating_add(1);
        let id = ClaimId { key: presented.key, number: book.last_claim };
        let resumed = match kind {
            Kind::Resumed => book.deliveries.get_mut(&id.key),
            Kind::New | Kind::Answered(_) => None,
        };
        let claim = if let Some(row) = resumed {
            // Nothing is known to be free: whoever takes it up settles at once.
            (row.claim, row.node, row.delivery) = (id.number, self.node, Delivery::Settling);
            let answer = row.answer(presented.now).cloned();
            DeliveryClaim::Resumed(id, Box::new(Owed { answer, ..row.owed.clone() }))
        } else {
            let Presented { request, expires_at, .. } = presented.clone();
            let (delivery, owed) = (Delivery::Claimed, Owed::default());
            book.put(id.key, Row { claim: id.number, node: self.node, request, expires_at, delivery, name: None, owed });
            DeliveryClaim::New(id)
        };
        book.forget(presented.now, id.key);
        ready(claim)
    }

    fn name<'a>(&'a self, claim: ClaimId, purchase: &'a Purchase) -> Answer<'a, Naming> {
        let mut book = self.book();
        let ours = book.deliveries.get(&claim.key).filter(|row| row.claim == claim.number);
        if !ours.is_some_and(|row| row.delivery == Delivery::Claimed && row.name.is_none_or(|name| name == purchase.name)) {
            return ready(Naming::Lost);
        }
        if let Some((key, request)) = book.purchases.get(&purchase.name).filter(|(key, _)| *key != claim.key)
            && let Some(row) = book.deliveries.get(key)
        {
            if row.delivery != Delivery::Claimed || !book.is_left_behind(row) {
                return ready(book.judge_name(row, *request == purchase.request, purchase.now));
            }
            let nobodys = *key;
            book.remove(nobodys);
        }
        book.purchases.insert(purchase.name, (claim.key, purchase.request.clone()));
        if let Some(row) = book.deliveries.get_mut(&claim.key) {
            row.name = Some(purchase.name);
        }
        ready(Naming::Ours)
    }

    fn settling<'a>(&'a self, claim: ClaimId, bill: &'a Bill) -> Answer<'a, Standing> {
        let mut book = self.book();
        let may = |from: &Delivery| matches!(from, Delivery::Claimed | Delivery::Settling);
        let Some(row) = book.held(claim, may) else { return ready(Standing::Lost) };
        // What is settled now lives as long as whoever settles it.
        (row.node, row.delivery, row.owed.charge) = (self.node, Delivery::Settling, Some(bill.amount));
        book.sales.open_bill(claim.key, bill);
        ready(Standing::Held)
    }

    fn charged<'a>(&'a self, claim: ClaimId, charged: &'a Charged<'a>) -> Answer<'a, Standing> {
        let mut book = self.book();
        let Some(row) = book.held(claim, is_settling) else { return ready(Standing::Lost) };
        row.owed.settlement = Some(charged.receipt.settlement.clone());
        book.sales.settle(&charged.sale(claim.key));
        ready(Standing::Held)
    }

    fn served<'a>(
        &'a self,
        claim: ClaimId,
        charged: &'a Charged<'a>,
        answer: Option<&'a StoredAnswer>,
    ) -> Answer<'a, Standing> {
        let mut book = self.book();
        let Some(row) = book.held(claim, is_settling) else { return ready(Standing::Lost) };
        row.delivery = Delivery::Served(charged.receipt.transaction.clone());
        row.owed.settlement = Some(charged.receipt.settlement.clone());
        book.keep(claim.key, answer);
        book.sales.settle(&charged.sale(claim.key));
        ready(Standing::Held)
    }

    fn unsettled(&self, claim: ClaimId) -> Answer<'_, Standing> {
        let may = |from: &Delivery| matches!(from, Delivery::Settling | Delivery::Served(_));
        let mut book = self.book();
        let Some(row) = book.held(claim, may) else { return ready(Standing::Lost) };
        row.delivery = Delivery::Unsettled;
        ready(Standing::Held)
    }

    fn delivered<'a>(&'a self, claims: &'a [ClaimId]) -> Answer<'a, ()> {
        let mut book = self.book();
        for claim in claims {
            let row = book.deliveries.get(&claim.key).filter(|row| row.claim == claim.number);
            if row.is_some_and(|row| matches!(row.delivery, Delivery::Served(_))) {
                book.forget_answer(claim.key);
            }
        }
        ready(())
    }

    fn cancel(&self, claim: ClaimId) -> Answer<'_, Standing> {
        let mut book = self.book();
        let row = book.deliveries.get(&claim.key).filter(|row| row.claim == claim.number);
        let is_free = row.is_some_and(|row| matches!(row.delivery, Delivery::Claimed | Delivery::Settling));
        if is_free {
            book.remove(claim.key);
            book.sales.strike_out(claim.key);
        }
        ready(if is_free { Standing::Held } else { Standing::Lost })
    }
}

impl Sales for MemoryDeliveries {
    fn find(&self, payment: PaymentKey) -> Answer<'_, Option<Sale>> {
        ready(self.book().sales.find(payment))
    }

    fn list<'a>(&'a self, query: &'a SaleQuery) -> Answer<'a, Vec<Sale>> {
        ready(self.book().sales.list(query))
    }

    fn open<'a>(&'a self, query: &'a SaleQuery) -> Answer<'a, Vec<OpenSale>> {
        ready(self.book().sales.open(query))
    }

    fn sums<'a>(&'a self, query: &'a SaleSumQuery) -> Answer<'a, Vec<SaleSum>> {
        Box::pin(std::future::ready(self.book().sales.sums(query)))
    }
}

impl Refunds for MemoryDeliveries {
    fn book<'a>(&'a self, refund: &'a Refund) -> Answer<'a, Booked> {
        ready(self.book().sales.book_refund(refund))
    }

    fn asking(&self, id: PaymentKey, now: UnixSeconds) -> Answer<'_, bool> {
        ready(self.book().sales.change_refund(id, &[RefundStateName::Open], now, |refund| {
            refund.unanswered = refund.unanswered.saturating_add(1);
        }))
    }

    fn refused<'a>(&'a self, id: PaymentKey, why: &'a str, now: UnixSeconds) -> Answer<'a, ()> {
        self.book().sales.change_refund(id, &[RefundStateName::Open], now, |refund| {
            refund.unanswered = refund.unanswered.saturating_sub(1);
            refund.state = RefundState::Open(Some(why.to_owned()));
        });
        ready(())
    }

    fn settled<'a>(&'a self, id: PaymentKey, transaction: &'a TransactionId, now: UnixSeconds) -> Answer<'a, ()> {
        self.book().sales.change_refund(id, &[RefundStateName::Open, RefundStateName::Failed], now, |refund| {
            refund.state = RefundState::Settled(transaction.clone());
        });
        ready(())
    }

    fn failed<'a>(&'a self, id: PaymentKey, why: &'a str, knows_all: bool, now: UnixSeconds) -> Answer<'a, bool> {
        let mut book = self.book();
        if knows_all || book.sales.find_refund(id).is_some_and(|refund| refund.unanswered == 0) {
            book.sales.change_refund(id, &[RefundStateName::Open], now, |refund| {
                refund.state = RefundState::Failed(why.to_owned());
            });
        }
        ready(book.sales.find_refund(id).is_some_and(|refund| refund.state.name() == RefundStateName::Failed))
    }

    fn find(&self, id: PaymentKey) -> Answer<'_, Option<Refund>> {
        ready(self.book().sales.find_refund(id).cloned())
    }

    fn list<'a>(&'a self, query: &'a RefundQuery) -> Answer<'a, Vec<Refund>> {
        ready(self.book().sales.list_refunds(query))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::now;
    use super::*;
    use crate::amount::Amount;
    use crate::asset::Asset;
    use crate::books::SettledBy;

    const KEY: PaymentKey = PaymentKey([1; 32]);
    const NOW: UnixSeconds = UnixSeconds(1_000_000);
    const CHARGE: Amount = Amount::ZERO;

    fn receipt() -> Receipt {
        Receipt { transaction: TransactionId("0x1".to_owned()), settlement: "settled".to_owned() }
    }

    fn bill() -> Bill {
        Bill {
            at: NOW,
            route: "GET /report".to_owned(),
            resource: "GET https://example.com/report".to_owned(),
            payer: None,
            pay_to: "0xpayee".parse().unwrap(),
            asset: Asset {
                network: "eip155:8453".parse().unwrap(),
                id: "0xtoken".parse().unwrap(),
                symbol: "USDC".to_owned(),
                decimals: 6,
                usd: true,
            },
            amount: CHARGE,
            scheme: "exact".to_owned(),
        }
    }

    /// What every payment here is charged for.
    fn charged() -> Charged<'static> {
        let (receipt, bill) = (Box::leak(Box::new(receipt())), Box::leak(Box::new(bill())));
        Charged { receipt, bill, settled_by: SettledBy::Facilitator }
    }

    fn presented(key: PaymentKey, request: &str) -> Presented {
        Presented { key, request: Fingerprint(request.to_owned()), expires_at: Some(NOW), now: NOW }
    }

    fn claim(book: &MemoryDeliveries, key: PaymentKey, request: &str) -> DeliveryClaim {
        now(book.claim(&presented(key, request)))
    }

    fn won(claim: &DeliveryClaim) -> ClaimId {
        match claim {
            DeliveryClaim::New(id) | DeliveryClaim::Resumed(id, _) => *id,
            other => panic!("it is {other:?}"),
        }
    }

    #[test]
    fn one_claim_wins_until_it_is_cancelled() {
        let book = MemoryDeliveries::default();
        let first = won(&claim(&book, KEY, "one"));
        assert_eq!(claim(&book, KEY, "one"), DeliveryClaim::Taken(Delivery::Claimed));
        assert_eq!(claim(&book, KEY, "other"), DeliveryClaim::Taken(Delivery::Claimed));
        assert_eq!(now(book.cancel(first)), Standing::Held);
        let second = won(&claim(&book, KEY, "other"));
        assert!(second.number > first.number);
        assert_eq!(now(book.settling(first, &bill())), Standing::Lost);
        assert_eq!(now(book.cancel(first)), Standing::Lost);
        assert_eq!(now(book.settling(second, &bill())), Standing::Held);
    }

    #[test]
    fn only_the_same_request_takes_up_an_unsettled_delivery() {
        let book = MemoryDeliveries::default();
        let first = won(&claim(&book, KEY, "one"));
        assert_eq!((now(book.settling(first, &bill())), now(book.unsettled(first))), (Standing::Held, Standing::Held));
        assert_eq!(claim(&book, KEY, "other"), DeliveryClaim::Taken(Delivery::Unsettled));
        let resumed = claim(&book, KEY, "one");
        assert_eq!(resumed, DeliveryClaim::Resumed(won(&resumed), Box::new(Owed { charge: Some(CHARGE), ..Owed::default() })));
        assert_eq!(claim(&book, KEY, "one"), DeliveryClaim::Taken(Delivery::Settling));
        assert_eq!(now(book.served(first, &charged(), None)), Standing::Lost);
    }

    #[test]
    fn a_served_payment_is_used_up_unless_its_answer_did_not_get_out() {
        let book = MemoryDeliveries::default();
        let id = won(&claim(&book, KEY, "one"));
        assert_eq!(now(book.served(id, &charged(), None)), Standing::Lost, "nothing was to be settled");
        assert_eq!((now(book.settling(id, &bill())), now(book.served(id, &charged(), None))), (Standing::Held, Standing::Held));
        assert_eq!(claim(&book, KEY, "one"), DeliveryClaim::Taken(Delivery::Served(receipt().transaction)));
        assert_eq!((now(book.settling(id, &bill())), now(book.cancel(id))), (Standing::Lost, Standing::Lost));
        assert_eq!(now(book.unsettled(id)), Standing::Held);
        assert!(matches!(claim(&book, KEY, "one"), DeliveryClaim::Resumed(..)));
    }

    #[test]
    fn what_a_dead_node_had_claimed_is_free_and_what_it_was_settling_is_the_same_requests() {
        let first = MemoryDeliveries::default();
        let second = first.join();
        let settling = PaymentKey([2; 32]);
        won(&claim(&first, KEY, "one"));
        assert_eq!(now(first.settling(won(&claim(&first, settling, "one")), &bill())), Standing::Held);
        assert_eq!(claim(&second, KEY, "one"), DeliveryClaim::Taken(Delivery::Claimed));
        first.die();
        assert!(matches!(claim(&second, KEY, "other"), DeliveryClaim::New(_)));
        assert_eq!(claim(&second, settling, "other"), DeliveryClaim::Taken(Delivery::Unsettled));
        assert!(matches!(claim(&second, settling, "one"), DeliveryClaim::Resumed(..)));
    }

    #[test]
    fn the_book_does_not_grow_with_payments_that_expired_long_ago() {
        let book = MemoryDeliveries::default();
        for number in 0..100 {
            let at = NOW.plus(u64::from(number) * KEEP_EXPIRED_SECONDS / 10);
            let presented = Presented { expires_at: Some(at), now: at, ..presented(PaymentKey([number; 32]), "one") };
            let id = won(&now(book.claim(&presented)));
            assert_eq!(now(book.settling(id, &bill())), Standing::Held);
        }
        let book = book.book();
        assert_eq!((book.deliveries.len(), book.expiring.len()), (11, 11));
    }

    #[test]
    fn the_book_does_not_grow_with_answers_whose_time_is_past() {
        let book = MemoryDeliveries::default();
        for number in 0..100 {
            let at = NOW.plus(u64::from(number));
            let presented = Presented { expires_at: None, now: at, ..presented(PaymentKey([number; 32]), "one") };
            let id = won(&now(book.claim(&presented)));
            let answer = StoredAnswer { head: Arc::from([1]), body: Arc::from([2]), until: at.plus(10) };
            assert_eq!(now(book.settling(id, &bill())), Standing::Held);
            assert_eq!(now(book.served(id, &charged(), Some(&answer))), Standing::Held);
        }
        let book = book.book();
        let kept = book.deliveries.values().filter(|row| row.owed.answer.is_some()).count();
        assert_eq!((book.deliveries.len(), kept, book.answered.len(), book.answers_bytes), (100, 10, 10, 20));
    }

    #[test]
    fn the_oldest_answer_makes_room() {
        let book = MemoryDeliveries::default();
        let body: Arc<[u8]> = vec![0; ANSWERS_MAX_BYTES / 4].into();
        for number in 0..8 {
            let id = won(&claim(&book, PaymentKey([number; 32]), "one"));
            let answer = StoredAnswer { head: Arc::from([]), body: Arc::clone(&body), until: NOW.plus(u64::from(number) + 1) };
            assert_eq!(now(book.settling(id, &bill())), Standing::Held);
            assert_eq!(now(book.served(id, &charged(), Some(&answer))), Standing::Held);
        }
        let kept = (0..8).filter(|number| matches!(claim(&book, PaymentKey([*number; 32]), "one"), DeliveryClaim::Answered(_)));
        assert_eq!(kept.collect::<Vec<_>>(), [4, 5, 6, 7]);
        assert_eq!(book.book().answers_bytes, ANSWERS_MAX_BYTES);
    }
}
