//! The books of the facilitator and the server, watched.

use farthing_core::BoxFuture;
use farthing_core::books::{
    Bill, BookError, Charged, ClaimId, Deliveries, DeliveryClaim, Finding, Landing, LaneClaim, LaneId, LaneLease, Naming,
    Outbox, Outgoing, Presented, Purchase, SettlementEntry, SettlementQuery, Settlements, Standing, StoredAnswer, UnderWay,
    Written,
};
use farthing_core::network::Network;
use farthing_core::reason::Refusal;
use farthing_core::scheme::{PaymentKey, Settlement, TransactionId};
use farthing_core::time::UnixSeconds;

use super::Watched;

type Answer<'a, T> = BoxFuture<'a, Result<T, BookError>>;

fn broken() -> BookError {
    BookError("the store fails, because the test says so".into())
}

impl<T: Settlements + ?Sized> Settlements for Watched<T> {
    fn find(&self, key: PaymentKey) -> Answer<'_, Option<SettlementEntry>> {
        self.call("settlements.find", move || self.inner.find(key), broken)
    }

    fn settled<'a>(&'a self, key: PaymentKey, settlement: &'a Settlement, now: UnixSeconds) -> Answer<'a, ()> {
        self.call("settlements.settled", move || self.inner.settled(key, settlement, now), broken)
    }

    fn found<'a>(&'a self, finding: &'a Finding<'a>) -> Answer<'a, Option<SettlementEntry>> {
        self.call("settlements.found", move || self.inner.found(finding), broken)
    }

    fn dead<'a>(
        &'a self,
        key: PaymentKey,
        judged: &'a TransactionId,
        refusal: &'a Refusal,
        now: UnixSeconds,
    ) -> Answer<'a, bool> {
        self.call("settlements.dead", move || self.inner.dead(key, judged, refusal, now), broken)
    }

    fn finished<'a>(&'a self, judged: &'a SettlementEntry) -> Answer<'a, ()> {
        self.call("settlements.finished", move || self.inner.finished(judged), broken)
    }

    fn undone<'a>(&'a self, judged: &'a SettlementEntry, now: UnixSeconds) -> Answer<'a, ()> {
        self.call("settlements.undone", move || self.inner.undone(judged, now), broken)
    }

    fn list<'a>(&'a self, query: &'a SettlementQuery) -> Answer<'a, Vec<SettlementEntry>> {
        self.call("settlements.list", move || self.inner.list(query), broken)
    }
}

impl<T: Outbox + ?Sized> Outbox for Watched<T> {
    fn take<'a>(&'a self, lane: &'a LaneId) -> Answer<'a, LaneClaim> {
        self.call("outbox.take", move || self.inner.take(lane), broken)
    }

    fn give_back<'a>(&'a self, lease: &'a LaneLease) -> Answer<'a, ()> {
        self.call("outbox.give_back", move || self.inner.give_back(lease), broken)
    }

    fn nodes<'a>(&'a self, network: &'a Network) -> Answer<'a, usize> {
        self.call("outbox.nodes", move || self.inner.nodes(network), broken)
    }

    fn sending<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> Answer<'a, Written> {
        self.call("outbox.sending", move || self.inner.sending(outgoing), broken)
    }

    fn replacing<'a>(&'a self, outgoing: &'a Outgoing<'a>) -> Answer<'a, Written> {
        self.call("outbox.replacing", move || self.inner.replacing(outgoing), broken)
    }

    fn refused<'a>(&'a self, lease: &'a LaneLease, sequence: u64, refusal: &'a Refusal, now: UnixSeconds) -> Answer<'a, ()> {
        self.call("outbox.refused", move || self.inner.refused(lease, sequence, refusal, now), broken)
    }

    fn landed<'a>(&'a self, lease: &'a LaneLease, sequence: u64, landing: &'a Landing) -> Answer<'a, ()> {
        self.call("outbox.landed", move || self.inner.landed(lease, sequence, landing), broken)
    }

    fn reopened<'a>(&'a self, lease: &'a LaneLease, sequence: u64, now: UnixSeconds) -> Answer<'a, ()> {
        self.call("outbox.reopened", move || self.inner.reopened(lease, sequence, now), broken)
    }

    fn closed<'a>(&'a self, lease: &'a LaneLease, sequence: u64) -> Answer<'a, ()> {
        self.call("outbox.closed", move || self.inner.closed(lease, sequence), broken)
    }

    fn under_way<'a>(&'a self, lease: &'a LaneLease, from: u64, limit: usize) -> Answer<'a, Option<Vec<UnderWay>>> {
        self.call("outbox.under_way", move || self.inner.under_way(lease, from, limit), broken)
    }

    fn last_closed<'a>(&'a self, lane: &'a LaneId) -> Answer<'a, Option<u64>> {
        self.call("outbox.last_closed", move || self.inner.last_closed(lane), broken)
    }

    fn carrier(&self, key: PaymentKey) -> Answer<'_, Option<(LaneId, u64)>> {
        self.call("outbox.carrier", move || self.inner.carrier(key), broken)
    }

    fn landing(&self, key: PaymentKey) -> Answer<'_, Option<Landing>> {
        self.call("outbox.landing", move || self.inner.landing(key), broken)
    }
}

impl<T: Deliveries + ?Sized> Deliveries for Watched<T> {
    fn claim<'a>(&'a self, presented: &'a Presented) -> Answer<'a, DeliveryClaim> {
        self.call("deliveries.claim", move || self.inner.claim(presented), broken)
    }

    fn name<'a>(&'a self, claim: ClaimId, purchase: &'a Purchase) -> Answer<'a, Naming> {
        self.call("deliveries.name", move || self.inner.name(claim, purchase), broken)
    }

    fn settling<'a>(&'a self, claim: ClaimId, bill: &'a Bill) -> Answer<'a, Standing> {
        let charge = bill.amount;
        let settling = async move {
            self.watch.charging(claim.key, charge, false);
            let standing = self.inner.settling(claim, bill).await?;
            if standing == Standing::Held {
                self.watch.charging(claim.key, charge, true);
            }
            Ok(standing)
        };
        self.call("deliveries.settling", move || settling, broken)
    }

    fn charged<'a>(&'a self, claim: ClaimId, charged: &'a Charged<'a>) -> Answer<'a, Standing> {
        self.call("deliveries.charged", move || self.inner.charged(claim, charged), broken)
    }

    fn served<'a>(
        &'a self,
        claim: ClaimId,
        charged: &'a Charged<'a>,
        answer: Option<&'a StoredAnswer>,
    ) -> Answer<'a, Standing> {
        self.call("deliveries.served", move || self.inner.served(claim, charged, answer), broken)
    }

    fn unsettled(&self, claim: ClaimId) -> Answer<'_, Standing> {
        self.call("deliveries.unsettled", move || self.inner.unsettled(claim), broken)
    }

    fn delivered<'a>(&'a self, claims: &'a [ClaimId]) -> Answer<'a, ()> {
        self.call("deliveries.delivered", move || self.inner.delivered(claims), broken)
    }

    fn cancel(&self, claim: ClaimId) -> Answer<'_, Standing> {
        self.call("deliveries.cancel", move || self.inner.cancel(claim), broken)
    }
}
