//! Any sequence of calls has the same answers on SQLite as on core's doubles.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::num::NonZeroU64;

use farthing_core::books::{
    Bill, ClaimId, DeliveryClaim, Finding, Fingerprint, LaneClaim, LaneLease, Presented, Purchase, PurchaseName, Receipt,
    Reservation, SaleQuery, SaleSumQuery, SettlementEntry, SettlementQuery, SettlementStateName, Spend, StoredAnswer,
};
use farthing_core::books::{OutgoingPayment, SpendLimit};
use farthing_core::scheme::TransactionId;
use farthing_core::time::UnixSeconds;
use proptest::prelude::*;

use crate::contract::deliveries::presented;
use crate::contract::sample::*;
use crate::contract::{Harness, Node};
use crate::harness::memory::Memory;
use crate::harness::sqlite::Sqlite;

const CASES: u32 = 40;
const ACTIONS_MAX: usize = 60;
const PAYMENTS: u16 = 5;
const LANES: [&str; 2] = ["0xA", "0xB"];

#[derive(Clone, Debug)]
enum Action {
    Take(usize),
    GiveBack(usize),
    Send { lease: usize, sequence: u64, payments: Vec<u16>, fee: u64, twice: bool },
    Replace { lease: usize, sequence: u64 },
    Refused { lease: usize, sequence: u64 },
    Landed { lease: usize, sequence: u64, which: usize },
    Reopened { lease: usize, sequence: u64 },
    Closed { lease: usize, sequence: u64 },
    Settled { payment: u16, carried: bool },
    Dead { payment: u16, judged: u8 },
    Finished { payment: u16, judged: u8 },
    Undone { payment: u16, judged: u8 },
    Found { payment: u16, request: u8 },
    Claim { payment: u16, request: u8 },
    Name { claim: usize, name: u8, request: u8 },
    Settling { claim: usize, charge: u64 },
    Charged(usize),
    Served { claim: usize, keep_seconds: Option<u64> },
    Unsettled(usize),
    Delivered(usize),
    Cancel(usize),
    Reserve { cents: u64, hours: u64 },
    Commit(u64),
    Release(u64),
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    let (lease, sequence, payment) = (0..4_usize, 0..4_u64, 0..PAYMENTS);
    prop_oneof![
        2 => (0..LANES.len()).prop_map(Action::Take),
        1 => lease.clone().prop_map(Action::GiveBack),
        8 => (lease.clone(), sequence.clone(), prop::collection::vec(payment.clone(), 0..3), 0..9_u64, any::<bool>())
            .prop_map(|(lease, sequence, payments, fee, twice)| Action::Send { lease, sequence, payments, fee, twice }),
        3 => (lease.clone(), sequence.clone()).prop_map(|(lease, sequence)| Action::Replace { lease, sequence }),
        2 => (lease.clone(), sequence.clone()).prop_map(|(lease, sequence)| Action::Refused { lease, sequence }),
        4 => (lease.clone(), sequence.clone(), 0..3_usize)
            .prop_map(|(lease, sequence, which)| Action::Landed { lease, sequence, which }),
        3 => (lease.clone(), sequence.clone()).prop_map(|(lease, sequence)| Action::Reopened { lease, sequence }),
        3 => (lease, sequence).prop_map(|(lease, sequence)| Action::Closed { lease, sequence }),
        3 => (payment.clone(), any::<bool>()).prop_map(|(payment, carried)| Action::Settled { payment, carried }),
        4 => (payment.clone(), 0..3_u8).prop_map(|(payment, judged)| Action::Dead { payment, judged }),
        2 => (payment.clone(), 0..3_u8).prop_map(|(payment, judged)| Action::Finished { payment, judged }),
        2 => (payment.clone(), 0..3_u8).prop_map(|(payment, judged)| Action::Undone { payment, judged }),
        2 => (payment.clone(), 0..2_u8).prop_map(|(payment, request)| Action::Found { payment, request }),
        4 => (payment, 0..2_u8).prop_map(|(payment, request)| Action::Claim { payment, request }),
        4 => (0..4_usize, 0..3_u8, 0..2_u8).prop_map(|(claim, name, request)| Action::Name { claim, name, request }),
        4 => (0..4_usize, 0..9_u64).prop_map(|(claim, charge)| Action::Settling { claim, charge }),
        2 => (0..4_usize).prop_map(Action::Charged),
        3 => (0..4_usize, prop::option::of(0..20_u64)).prop_map(|(claim, keep_seconds)| Action::Served { claim, keep_seconds }),
        3 => (0..4_usize).prop_map(Action::Unsettled),
        2 => (0..4_usize).prop_map(Action::Delivered),
        2 => (0..4_usize).prop_map(Action::Cancel),
        3 => (1..200_u64, 0..40_u64).prop_map(|(cents, hours)| Action::Reserve { cents, hours }),
        2 => (0..6_u64).prop_map(Action::Commit),
        2 => (0..6_u64).prop_map(Action::Release),
        1 => Just(Action::Restart),
    ]
}

/// One implementation under the same calls as the other.
struct Side<H> {
    harness: H,
    node: Option<Node>,
    leases: Vec<LaneLease>,
    claims: Vec<ClaimId>,
    reservations: Vec<Reservation>,
    /// What was read of each payment, oldest first.
    seen: BTreeMap<u16, Vec<SettlementEntry>>,
}

/// What somebody outside can tell of an answer.
fn shown<T: Debug, E>(answer: Result<T, E>) -> String {
    answer.map_or_else(|_| "an error".to_owned(), |answer| format!("{answer:?}"))
}

impl<H: Harness> Side<H> {
    async fn new() -> Self {
        let harness = H::new().await;
        let node = Some(harness.node().await);
        Self { harness, node, leases: Vec::new(), claims: Vec::new(), reservations: Vec::new(), seen: BTreeMap::new() }
    }

    async fn act(&mut self, step: usize, action: &Action) -> String {
        if matches!(action, Action::Restart) {
            if let Some(node) = self.node.take() {
                self.harness.kill(node).await;
            }
            self.node = Some(self.harness.node().await);
            self.leases.clear();
            return String::new();
        }
        let now = NOW.plus(u64::try_from(step).unwrap());
        match action {
            Action::Reserve { .. } | Action::Commit(_) | Action::Release(_) => self.spend(action).await,
            Action::Claim { .. }
            | Action::Name { .. }
            | Action::Settling { .. }
            | Action::Charged(_)
            | Action::Served { .. }
            | Action::Unsettled(_)
            | Action::Delivered(_)
            | Action::Cancel(_) => self.deliver(now, action).await,
            Action::Settled { payment, carried } => {
                let book = &self.node.as_ref().unwrap().settlements;
                let entry = book.find(key(*payment)).await.unwrap();
                let carried = entry.filter(|_| *carried).map(|entry| entry.transaction);
                let by = carried.unwrap_or_else(|| transaction("outside"));
                shown(book.settled(key(*payment), &settlement(*payment, &by), now).await)
            }
            Action::Dead { payment, judged } | Action::Finished { payment, judged } | Action::Undone { payment, judged } => {
                self.judge(step, action, (*payment, *judged)).await
            }
            Action::Found { payment, request } => {
                let (record, request) = (record(*payment), Fingerprint(format!("request {request}")));
                let settlement = settlement(*payment, &transaction("theirs"));
                let finding =
                    Finding { record: &record, request: &request, caller: None, settlement: &settlement, height: 3, now };
                shown(self.node.as_ref().unwrap().settlements.found(&finding).await)
            }
            _ => self.relay(step, action).await,
        }
    }

    /// Writes down what somebody has judged: the entry as it is, or as it was before the last changes.
    async fn judge(&mut self, step: usize, action: &Action, (payment, judged): (u16, u8)) -> String {
        let book = &self.node.as_ref().unwrap().settlements;
        let now = NOW.plus(u64::try_from(step).unwrap());
        let current = book.find(key(payment)).await.unwrap();
        let seen = self.seen.entry(payment).or_default();
        seen.extend(current.filter(|current| seen.last() != Some(current)));
        let Some(entry) = seen.iter().rev().nth(judged.into()) else { return String::new() };
        match action {
            Action::Dead { .. } => {
                let refusal = refusal(&format!("dead at {step}"));
                shown(book.dead(key(payment), &entry.transaction, &refusal, now).await)
            }
            Action::Finished { .. } => shown(book.finished(entry).await),
            Action::Undone { .. } => shown(book.undone(entry, now).await),
            _ => unreachable!("{action:?} judges nothing"),
        }
    }

    async fn relay(&mut self, step: usize, action: &Action) -> String {
        let outbox = &self.node.as_ref().unwrap().outbox;
        let now = NOW.plus(u64::try_from(step).unwrap());
        let name = format!("step-{step}");
        if let Action::Take(lane_number) = action {
            let claim = outbox.take(&lane(LANES[*lane_number])).await;
            if let Ok(LaneClaim::Ours(lease)) = &claim {
                self.leases.push(lease.clone());
            }
            return shown(claim);
        }
        let nth = |index: usize| self.leases.iter().rev().nth(index);
        match action {
            Action::Send { lease, sequence, payments, fee, twice } => {
                let Some(lease) = nth(*lease) else { return String::new() };
                let payments: Vec<OutgoingPayment> =
                    payments.iter().map(|number| sponsored(*number, *fee, &[("payer", 30), ("caller", 60)])).collect();
                let transaction = transaction(&name);
                let outgoing = farthing_core::books::Outgoing {
                    lease,
                    sequence: *sequence,
                    transaction: &transaction,
                    signed: name.as_bytes(),
                    height: 5,
                    payments: &payments,
                    now,
                };
                let first = shown(outbox.sending(&outgoing).await);
                let second = if *twice { shown(outbox.sending(&outgoing).await) } else { String::new() };
                format!("{first} {second}")
            }
            Action::Replace { lease, sequence } => match nth(*lease) {
                Some(lease) => format!("{:?}", replace(&**outbox, lease, *sequence, &name).await),
                None => String::new(),
            },
            Action::Refused { lease, sequence } => match nth(*lease) {
                Some(lease) => shown(outbox.refused(lease, *sequence, &refusal(&name), now).await),
                None => String::new(),
            },
            Action::Landed { lease, sequence, which } => {
                let Some(lease) = nth(*lease) else { return String::new() };
                let open = outbox.under_way(lease, 0, usize::MAX).await.unwrap().unwrap_or_default();
                let transactions = open.iter().filter(|it| it.sequence == *sequence).flat_map(|it| &it.transactions);
                let landed: Option<&TransactionId> = transactions.map(|(id, _)| id).cycle().nth(*which);
                match landed {
                    Some(landed) => shown(outbox.landed(lease, *sequence, &landing(landed, 9)).await),
                    None => String::new(),
                }
            }
            Action::Reopened { lease, sequence } => match nth(*lease) {
                Some(lease) => shown(outbox.reopened(lease, *sequence, now).await),
                None => String::new(),
            },
            Action::Closed { lease, sequence } => match nth(*lease) {
                Some(lease) => shown(outbox.closed(lease, *sequence).await),
                None => String::new(),
            },
            Action::GiveBack(lease) => match nth(*lease) {
                Some(lease) => shown(outbox.give_back(lease).await),
                None => String::new(),
            },
            _ => unreachable!("{action:?} is no call of the outbox"),
        }
    }

    async fn deliver(&mut self, now: UnixSeconds, action: &Action) -> String {
        let book = &self.node.as_ref().unwrap().deliveries;
        // Also one that was claimed anew since, or by a process that has died.
        let nth = |index: usize| self.claims.iter().rev().nth(index).copied();
        if let Action::Claim { payment, request } = action {
            let claim = book.claim(&Presented { now, ..presented(*payment, &format!("request {request}")) }).await.unwrap();
            // Each implementation numbers them in its own way.
            let (what, id) = match claim {
                DeliveryClaim::New(id) => ("new".to_owned(), Some(id)),
                DeliveryClaim::Resumed(id, owed) => (format!("resumed with {owed:?}"), Some(id)),
                DeliveryClaim::Answered(answered) => (format!("{answered:?}"), None),
                DeliveryClaim::Taken(delivery) => (format!("{delivery:?}"), None),
            };
            assert!(id.is_none_or(|id| self.claims.iter().all(|older| older.number < id.number)));
            self.claims.extend(id);
            return what;
        }
        match action {
            Action::Name { claim, name, request } => match nth(*claim) {
                Some(id) => {
                    let request = Fingerprint(format!("request {request}"));
                    shown(book.name(id, &Purchase { name: PurchaseName([*name; 32]), request, now }).await)
                }
                None => String::new(),
            },
            Action::Settling { claim, charge } => match nth(*claim) {
                Some(id) => shown(book.settling(id, &Bill { at: now, ..bill((*charge).into()) }).await),
                None => String::new(),
            },
            Action::Charged(index) => match nth(*index) {
                Some(id) => shown({
                    let receipt = Receipt { transaction: transaction("charged"), settlement: format!("charged at {now}") };
                    book.charged(id, &charged(&receipt, &Bill { at: now, ..bill(8.into()) })).await
                }),
                None => String::new(),
            },
            Action::Served { claim, keep_seconds } => match nth(*claim) {
                Some(id) => {
                    let receipt = Receipt { transaction: transaction("served"), settlement: format!("served at {now}") };
                    let answer = keep_seconds.map(|seconds| StoredAnswer {
                        head: format!("{now}").into_bytes().into(),
                        body: [1, 2].into(),
                        until: now.plus(seconds),
                    });
                    shown(book.served(id, &charged(&receipt, &Bill { at: now, ..bill(9.into()) }), answer.as_ref()).await)
                }
                None => String::new(),
            },
            Action::Unsettled(index) => match nth(*index) {
                Some(id) => shown(book.unsettled(id).await),
                None => String::new(),
            },
            Action::Delivered(index) => match nth(*index) {
                Some(id) => shown(book.delivered(&[id]).await),
                None => String::new(),
            },
            Action::Cancel(index) => match nth(*index) {
                Some(id) => shown(book.cancel(id).await),
                None => String::new(),
            },
            _ => unreachable!("{action:?} is no call of the deliveries"),
        }
    }

    async fn spend(&mut self, action: &Action) -> String {
        let book = &self.node.as_ref().unwrap().ledger;
        let known = |index: u64| self.reservations.get(usize::try_from(index).unwrap()).copied();
        match action {
            Action::Reserve { cents, hours } => {
                let usd = format!("${}.{:02}", cents / 100, cents % 100).parse().unwrap();
                let limits: Vec<SpendLimit> =
                    ["$1.50 per payment", "$3 per day", "$5 in total"].map(|limit| limit.parse().unwrap()).to_vec();
                let spend = Spend { usd, resource: String::new() };
                let now = NOW.plus(hours * 3_600);
                let allowed = book.allows(&spend, &limits, now).await.map_err(|error| error.to_string());
                let reserved = book.reserve(&spend, &limits, now).await.map_err(|error| error.to_string());
                let answer = format!("{allowed:?} {:?}", reserved.as_ref().map(|_| ()));
                // Each implementation numbers them in its own way.
                self.reservations.extend(reserved);
                answer
            }
            Action::Commit(index) => match known(*index) {
                Some(reservation) => shown(book.commit(reservation, Some(transaction("paid"))).await),
                None => String::new(),
            },
            Action::Release(index) => match known(*index) {
                Some(reservation) => shown(book.release(reservation).await),
                None => String::new(),
            },
            _ => unreachable!("{action:?} is no call of the ledger"),
        }
    }

    /// Everything that can be read.
    async fn everything(&self, step: usize) -> Vec<String> {
        let node = self.node.as_ref().unwrap();
        let mut found = vec![shown(node.outbox.nodes(&lane(LANES[0]).network).await)];
        for number in 0..PAYMENTS {
            found.push(shown(node.settlements.find(key(number)).await));
            found.push(shown(node.outbox.landing(key(number)).await));
            found.push(shown(node.outbox.carrier(key(number)).await));
        }
        for lease in &self.leases {
            found.push(shown(node.outbox.under_way(lease, 0, usize::MAX).await));
        }
        let pages = SaleQuery { limit: usize::from(PAYMENTS), ..SaleQuery::default() };
        found.push(shown(node.sales.list(&pages).await));
        found.push(shown(node.sales.open(&pages).await));
        let by_minute = SaleSumQuery { bucket_seconds: NonZeroU64::new(60), limit: 100, ..SaleSumQuery::default() };
        found.push(shown(node.sales.sums(&by_minute).await));
        let all = SettlementQuery { limit: 3, ..SettlementQuery::default() };
        found.push(shown(node.settlements.list(&all).await));
        for state in SettlementStateName::ALL {
            let query = SettlementQuery { state: Some(state), ..all.clone() };
            found.push(shown(node.settlements.list(&query).await));
        }
        for by in [NOW, NOW.plus(600), UnixSeconds(u64::MAX)] {
            let query = SettlementQuery { check_by: Some(by), ..all.clone() };
            found.push(shown(node.settlements.list(&query).await));
        }
        for number in 0..=step {
            let query = SettlementQuery { transaction: Some(transaction(&format!("step-{number}"))), ..all.clone() };
            found.push(shown(node.settlements.list(&query).await));
        }
        found
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sqlite_answers_as_the_doubles_do(actions in prop::collection::vec(action(), 1..ACTIONS_MAX)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut double, mut sqlite) = (Side::<Memory>::new().await, Side::<Sqlite>::new().await);
            for side_lane in 0..LANES.len() {
                let take = Action::Take(side_lane);
                prop_assert_eq!(double.act(0, &take).await, sqlite.act(0, &take).await);
            }
            for (step, action) in actions.iter().enumerate() {
                prop_assert_eq!(double.act(step, action).await, sqlite.act(step, action).await, "step {}: {:?}", step, action);
            }
            prop_assert_eq!(double.everything(actions.len()).await, sqlite.everything(actions.len()).await);
            Ok(())
        })?;
    }
}
