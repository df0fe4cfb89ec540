//! A seller is killed while it has buyers. Each presents its payment until it is served or refused for good; somebody
//! else presents a copy of it for another thing, half of them as soon as the seller has died.
//!
//! A payment that moved has bought one thing, and its buyer may get that twice: where the process has died that wrote that it
//! was served, nobody knows whether the answer got out, and it is given again as it was written down. Until the others know
//! that it has died, the buyer is refused. Answers that no visit brought are counted, and there may be no more of them than
//! payments that the dead process had in that moment.
//!
//! Where the work decides what is charged, it says something else in each of the seller's lives, and for each thing. What a
//! payment moved is what a book had first, whoever finished it.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use farthing_core::books::{SettlementEntry, SettlementState};
use farthing_core::reason::Reason;
use farthing_interop::chain::TOKEN;
use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::super::child::{Ended, Work};
use super::{Death, PATIENCE, Run, Survived, Survivor};
use crate::buyer::{Bought, Buyer, Doors, Visit};
use crate::crash::{self, Fatal, Side, Tripwire};
use crate::gateway::Origin;
use crate::invariants;
use crate::payments::{Authorization, Bill, Payer};
use crate::seller::{Goods, Plan, Seller};
use crate::store;
use crate::watched::Watch;

/// Which life that of the other node counts as: its work says something else, too.
const OTHER_LIFE: u64 = 4;

/// What buyers saw.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Trading {
    /// Payments.
    pub payments: u64,
    /// How often they were presented, copies for other things included.
    pub presented: u64,
    /// Payments that were freed by the crash and bought what somebody with a copy wanted.
    pub taken_by_copies: u64,
    /// Payments that moved, whose answer was lost between the book and the wire.
    pub answers_lost: u64,
}

/// What became of one payment.
struct Trade {
    authorization: Authorization,
    /// The buyer's own visit, one with a copy for something else, and the buyer's next one.
    visits: [Visit; 3],
    /// What the buyer wants, and what the copy is for.
    goods: [Goods; 2],
}

/// The first node's first life.
struct Life {
    url: Option<String>,
    ended: Ended,
    until: Instant,
    /// Whether the next one was killed, too.
    was_killed_twice: bool,
}

impl Life {
    /// How many points of that kind it passed.
    fn passed(&self, call: &str, side: Side) -> u64 {
        let alike = self.ended.passed.iter().filter(|point| point.side == side && point.call == call);
        alike.map(|_| 1_u64).sum()
    }
}

/// Runs the child, which may die, lets every buyer come to an end, and checks everything.
pub(super) async fn survive(run: &Run<'_>, death: Option<&Death>) -> Result<Survived> {
    let (doors, known) = watch::channel(Doors::default());
    let (closing, is_closing) = watch::channel(false);
    let trade = async {
        let buyer = Buyer::new(known, PATIENCE)?;
        let trades = run.payers.iter().enumerate().map(|(number, payer)| trade(&buyer, number, payer));
        let trades = try_join_all(trades).await?;
        let answered = Instant::now();
        closing.send(true).context("somebody sells")?;
        anyhow::Ok((trades, answered))
    };
    let sell = sell(run, death, &doors, &is_closing);
    let sell_elsewhere = sell_elsewhere(run, death, &doors, &is_closing);
    let (life, (), (trades, answered)) = tokio::try_join!(sell, sell_elsewhere, trade)?;
    let trading = check(run, &life, &trades).await?;
    let recovery = answered.saturating_duration_since(life.until);
    Ok(Survived { ended: life.ended, was_killed_twice: life.was_killed_twice, recovery, trading: Some(trading) })
}

/// The child, and its next lives where nobody else goes on.
async fn sell(
    run: &Run<'_>,
    death: Option<&Death>,
    doors: &watch::Sender<Doors>,
    is_closing: &watch::Receiver<bool>,
) -> Result<Life> {
    let live = |life, fatal: Option<Fatal>, report| async move {
        let work = Work::Sell(run.origin.as_ref().map(|origin| origin.url().to_owned()));
        let mut process = run.job(work, (life, fatal.as_ref()), report).start(&run.scenario.child)?;
        let url = process.first_line().await?;
        doors.send_modify(|doors| doors.urls.splice(0..0, url.clone()).for_each(drop));
        let ended = process.end(closed(is_closing)).await?;
        doors.send_modify(|doors| doors.urls.retain(|other| Some(other) != url.as_ref()));
        anyhow::Ok((url, ended))
    };
    let (url, ended) = live(1, death.map(|death| Fatal::At(death.point.clone())), "report").await?;
    let until = Instant::now();
    doors.send_modify(|doors| doors.has_crashed = true);
    let mut was_killed_twice = false;
    if run.scenario.survivor == Survivor::Itself && ended.was_killed {
        let relapse = death.and_then(|death| death.relapse.clone());
        let has_relapse = relapse.is_some();
        if has_relapse {
            was_killed_twice = live(2, relapse, "report-again").await?.1.was_killed;
        }
        if was_killed_twice || !has_relapse {
            live(3, None, "report-at-last").await?;
        }
    }
    Ok(Life { url, ended, until, was_killed_twice })
}

/// The other node, if there is one.
async fn sell_elsewhere(
    run: &Run<'_>,
    death: Option<&Death>,
    doors: &watch::Sender<Doors>,
    is_closing: &watch::Receiver<bool>,
) -> Result<()> {
    if run.scenario.survivor == Survivor::Itself {
        return Ok(());
    }
    run.first_node_leads("report", death).await;
    let watch: Arc<dyn Watch> = Arc::new(Tripwire::new(None, &run.folder.join("report-elsewhere"))?);
    let (store_url, rpc_url, origin_url) = (run.store.url(), run.chain.rpc_url(), run.origin.as_ref().map(Origin::url));
    let seller = Seller::open(Plan { store_url, rpc_url, keys: &run.keys, life: OTHER_LIFE, origin_url }, &watch).await?;
    doors.send_modify(|doors| doors.urls.push(seller.url().to_owned()));
    closed(is_closing).await;
    seller.stop().await
}

async fn closed(is_closing: &watch::Receiver<bool>) {
    // Whoever would have said so is gone: then it is time, too.
    is_closing.clone().wait_for(|is_closing| *is_closing).await.map(drop).unwrap_or_default();
}

/// One payment, until nobody can hope for anything more from it.
async fn trade(buyer: &Buyer, number: usize, payer: &Payer) -> Result<Trade> {
    let [own, other] = ["own", "other"].map(|whose| Goods::of(payer.kind(), &format!("{whose}-{number}")));
    let (offer, extensions) = buyer.offer(&own).await?;
    let payment = payer.take(&offer, &extensions).await?;
    let is_over = Notify::new();
    let visit = async {
        let visit = buyer.present(&own, &payment).await;
        is_over.notify_one();
        visit
    };
    let copy = async {
        if number.is_multiple_of(2) {
            is_over.notified().await;
        } else {
            tokio::select! {
                () = is_over.notified() => {}
                heard = buyer.hears_of_the_crash() => heard?,
            }
        }
        buyer.present(&other, &payment).await
    };
    let (visit, copy) = tokio::try_join!(visit, copy)?;
    let visits = [visit, copy, buyer.present(&own, &payment).await?];
    Ok(Trade { authorization: Authorization::of(&payment)?, visits, goods: [own, other] })
}

/// Everything that must hold at the end.
async fn check(run: &Run<'_>, life: &Life, trades: &[Trade]) -> Result<Trading> {
    let bills = bills(run, trades).await?;
    let entries = run.reconcile(&bills).await?;
    let mut trading = Trading::default();
    let mut heard = 0_u64;
    for (number, (trade, bill)) in trades.iter().zip(&bills).enumerate() {
        let entry = find(&entries, trade.authorization);
        ensure!(entry.is_some() == (bill.charge_atomic > 0), "payment {number}: {bill:?}, and in the book {entry:?}");
        let served_by = trade.check(entry, &mut trading).with_context(|| format!("payment {number}, {bill:?}"))?;
        heard = heard.saturating_add(u64::from(served_by.is_some() && served_by == life.url.as_deref()));
    }
    let Trading { payments, taken_by_copies, answers_lost, .. } = trading;
    if !life.was_killed_twice {
        // What the process that died was settling is bound to its request.
        let free = payments.saturating_sub(life.passed("deliveries.settling", Side::After));
        ensure!(taken_by_copies <= free, "{taken_by_copies} payments bought what a copy was for; at most {free} were free");
        // Only the process that died had answers to lose.
        let unheard =
            if life.ended.was_killed { life.passed("deliveries.served", Side::Before).saturating_sub(heard) } else { 0 };
        ensure!(answers_lost <= unheard, "{answers_lost} payments moved and bought nothing; {unheard} answers can be lost");
    }
    if let Some(origin) = &run.origin {
        let deaths = u64::from(life.ended.was_killed).saturating_add(u64::from(life.was_killed_twice));
        for (number, trade) in trades.iter().enumerate() {
            trade.check_work(origin, deaths).with_context(|| format!("payment {number}"))?;
        }
    }
    let store = store::open_to_check(run.store.url()).await?;
    invariants::check_sales(store.sales().as_ref(), &entries).await?;
    invariants::check_deliveries(store.deliveries().as_ref(), &entries).await?;
    store.close().await;
    Ok(trading)
}

/// What each payment was to move: what a seller's book had first.
async fn bills(run: &Run<'_>, trades: &[Trade]) -> Result<Vec<Bill>> {
    let entries = run.entries().await?;
    let first = crash::first_charges(&run.folder)?;
    let mut bills = Vec::new();
    for (trade, payer) in trades.iter().zip(&run.payers) {
        let charge_atomic = match find(&entries, trade.authorization) {
            Some(entry) => {
                let charges = first.get(&entry.record.key.to_string());
                let charges = charges.context("what moved was in the seller's book before")?;
                let moved = match &entry.state {
                    SettlementState::Settled(settlement) => settlement.amount.to_string().parse().ok(),
                    SettlementState::Sending(_) | SettlementState::Dead(_) => None,
                };
                // Any other than these is a violation, whichever of them it is held against.
                moved.filter(|moved| charges.contains(moved)).or(charges.first().copied()).context("a charge was read")?
            }
            // A book of settlements does not name what was charged nothing.
            None => 0,
        };
        bills.push(Bill { authorization: trade.authorization, kind: payer.kind(), charge_atomic });
    }
    let nothing = bills.iter().filter(|bill| bill.charge_atomic == 0).count();
    let said = first.values().filter(|charges| charges.contains(&0)).count();
    ensure!(said >= nothing, "{nothing} payments moved nothing, and sellers said so of {said}");
    Ok(bills)
}

fn find(entries: &[SettlementEntry], authorization: Authorization) -> Option<&SettlementEntry> {
    entries.iter().find(|entry| invariants::authorization(entry, TOKEN).is_ok_and(|other| other == authorization))
}

impl Trade {
    /// Holds how often was worked for one payment against what it bought: at least once, and again only for a process that has
    /// died since.
    fn check_work(&self, origin: &Origin, deaths: u64) -> Result<()> {
        let [own, other] = self.goods.each_ref().map(|goods| origin.worked_for(goods.name()));
        let [first, copy, again] = self.visits.each_ref().map(|visit| matches!(visit.bought, Bought::Served { .. }));
        ensure!(own > 0 || !(first || again), "it bought something that nobody worked for");
        ensure!(other > 0 || !copy, "a copy bought something that nobody worked for");
        let (worked, allowed) = (own.saturating_add(other), deaths.saturating_add(1));
        ensure!((1..=allowed).contains(&worked), "worked {worked} times for one payment, and {deaths} died: {:?}", self.visits);
        Ok(())
    }

    /// Holds what the buyers saw of one payment against the book, which does not have it if nothing was charged; returns
    /// which node has served it.
    fn check(&self, entry: Option<&SettlementEntry>, trading: &mut Trading) -> Result<Option<&str>> {
        let settled_by = match entry.map(|entry| &entry.state) {
            Some(SettlementState::Settled(settlement)) => settlement.transaction.0.as_str(),
            Some(state) => bail!("{state:?}"),
            None => "",
        };
        let mut served = [None; 3];
        for (visit, served) in self.visits.iter().zip(&mut served) {
            trading.presented = trading.presented.saturating_add(visit.presented);
            match &visit.bought {
                Bought::Served { by, transaction } => {
                    ensure!(*transaction == settled_by, "settled by {settled_by:?}, and the buyer was told {transaction:?}");
                    *served = Some(by.as_str());
                }
                Bought::Refused(Reason::PaymentAlreadyUsed) => {}
                Bought::Refused(reason) => bail!("a good payment was refused: {reason:?}"),
            }
        }
        trading.payments = trading.payments.saturating_add(1);
        let [first, copy, again] = served;
        match (first.or(again), copy) {
            (None, None) => trading.answers_lost = trading.answers_lost.saturating_add(1),
            (None, Some(_)) => trading.taken_by_copies = trading.taken_by_copies.saturating_add(1),
            (Some(_), None) => {}
            (Some(_), Some(_)) => bail!("one payment bought several things: {:?}", self.visits),
        }
        Ok(first.or(copy).or(again))
    }
}

impl Trading {
    /// Adds those of another run.
    pub(super) const fn add(&mut self, other: &Self) {
        self.payments = self.payments.saturating_add(other.payments);
        self.presented = self.presented.saturating_add(other.presented);
        self.taken_by_copies = self.taken_by_copies.saturating_add(other.taken_by_copies);
        self.answers_lost = self.answers_lost.saturating_add(other.answers_lost);
    }
}

impl fmt::Display for Trading {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { payments, presented, taken_by_copies, answers_lost } = self;
        write!(
            formatter,
            "{payments} payments were presented {presented} times and moved once each; {taken_by_copies} bought what a copy was \
             presented for; the answers to {answers_lost} were lost between the book and the wire"
        )
    }
}
