//! A seller is killed while it has buyers. Each presents its payment until it is served or refused for good; somebody
//! else presents a copy of it for another thing, half of them as soon as the seller has died.
//!
//! A payment that moved has bought one thing. The buyer has it, but for one moment in which nobody can know: the book says
//! that it was served, and the process dies before the answer is out. Then the payment is used up, both books name the
//! transaction, and the buyer is refused: served at most once, rather than again and again. These answers are counted,
//! and there may be no more of them than payments that the dead process had in that moment.

use std::fmt;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use farthing_core::books::{SettlementEntry, SettlementState};
use farthing_core::reason::Reason;
use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::super::child::{Ended, Work};
use super::{PATIENCE, Run, Survived, Survivor};
use crate::buyer::{Bought, Buyer, Doors, Visit};
use crate::crash::{Point, Side};
use crate::invariants;
use crate::payments::Payer;
use crate::seller::Seller;
use crate::store;

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
    /// The buyer's own visit, one with a copy for something else, and the buyer's next one.
    visits: [Visit; 3],
}

/// The first node's first life.
struct Life {
    url: Option<String>,
    ended: Ended,
    until: Instant,
}

impl Life {
    /// How many points of that kind it passed.
    fn passed(&self, call: &str, side: Side) -> u64 {
        let alike = self.ended.passed.iter().filter(|point| point.side == side && point.call == call);
        alike.map(|_| 1_u64).sum()
    }
}

/// Runs the child, which may die, lets every buyer come to an end, and checks everything.
pub(super) async fn survive(run: &Run<'_>, fatal: Option<&Point>) -> Result<Survived> {
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
    let sell = sell(run, fatal, &doors, &is_closing);
    let sell_elsewhere = sell_elsewhere(run, fatal, &doors, &is_closing);
    let (life, (), (trades, answered)) = tokio::try_join!(sell, sell_elsewhere, trade)?;
    let trading = check(run, &life, &trades).await?;
    let recovery = answered.saturating_duration_since(life.until);
    Ok(Survived { ended: life.ended, recovery, trading: Some(trading) })
}

/// The child, and its next life where nobody else goes on.
async fn sell(
    run: &Run<'_>,
    fatal: Option<&Point>,
    doors: &watch::Sender<Doors>,
    is_closing: &watch::Receiver<bool>,
) -> Result<Life> {
    let live = |fatal, report| async move {
        let mut process = run.job(Work::Sell, fatal, report).start(&run.scenario.child)?;
        let url = process.first_line().await?;
        doors.send_modify(|doors| doors.urls.splice(0..0, url.clone()).for_each(drop));
        let ended = process.end(closed(is_closing)).await?;
        doors.send_modify(|doors| doors.urls.retain(|other| Some(other) != url.as_ref()));
        anyhow::Ok((url, ended))
    };
    let (url, ended) = live(fatal, "report").await?;
    let until = Instant::now();
    doors.send_modify(|doors| doors.has_crashed = true);
    if run.scenario.survivor == Survivor::Itself && ended.was_killed {
        live(None, "report-again").await?;
    }
    Ok(Life { url, ended, until })
}

/// The other node, if there is one.
async fn sell_elsewhere(
    run: &Run<'_>,
    fatal: Option<&Point>,
    doors: &watch::Sender<Doors>,
    is_closing: &watch::Receiver<bool>,
) -> Result<()> {
    if run.scenario.survivor == Survivor::Itself {
        return Ok(());
    }
    run.first_node_leads("report", fatal).await;
    let seller = Seller::open(run.store.url(), run.chain.rpc_url(), &run.keys).await?;
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
    let (own, other) = (format!("own-{number}"), format!("other-{number}"));
    let payment = payer.take(&buyer.offer(&own).await?).await?;
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
    Ok(Trade { visits: [visit, copy, buyer.present(&own, &payment).await?] })
}

/// Everything that must hold at the end.
async fn check(run: &Run<'_>, life: &Life, trades: &[Trade]) -> Result<Trading> {
    let entries = run.reconcile().await?;
    let mut trading = Trading::default();
    let mut heard = 0_u64;
    for (number, (trade, payer)) in trades.iter().zip(&run.payers).enumerate() {
        let entry = entries.iter().find(|entry| entry.record.payer.as_str() == payer.address().to_string());
        let entry = entry.with_context(|| format!("payment {number} is not in the book"))?;
        let served_by = trade.check(entry, &mut trading).with_context(|| format!("payment {number}"))?;
        heard = heard.saturating_add(u64::from(served_by.is_some() && served_by == life.url.as_deref()));
    }
    let Trading { payments, taken_by_copies, answers_lost, .. } = trading;
    // What the process that died was settling is bound to its request.
    let free = payments.saturating_sub(life.passed("deliveries.settling", Side::After));
    ensure!(taken_by_copies <= free, "{taken_by_copies} payments bought what a copy was for; at most {free} were free");
    // Only the process that died had answers to lose.
    let unheard = if life.ended.was_killed { life.passed("deliveries.served", Side::Before).saturating_sub(heard) } else { 0 };
    ensure!(answers_lost <= unheard, "{answers_lost} payments moved and bought nothing; {unheard} answers can be lost");
    let store = store::open(run.store.url()).await?;
    invariants::check_deliveries(store.deliveries().as_ref(), &entries).await?;
    store.close().await;
    Ok(trading)
}

impl Trade {
    /// Holds what the buyers saw of one payment against the book; returns which node has served it.
    fn check(&self, entry: &SettlementEntry, trading: &mut Trading) -> Result<Option<&str>> {
        let SettlementState::Settled(settlement) = &entry.state else { bail!("{:?}", entry.state) };
        let mut served = Vec::new();
        for (number, visit) in self.visits.iter().enumerate() {
            trading.presented = trading.presented.saturating_add(visit.presented);
            match &visit.bought {
                Bought::Served { by, transaction } => {
                    ensure!(*transaction == settlement.transaction.0, "{settlement:?}, and the buyer was told {transaction}");
                    served.push((number, by.as_str()));
                }
                Bought::Refused(Reason::PaymentAlreadyUsed) => {}
                Bought::Refused(reason) => bail!("a good payment was refused: {reason:?}"),
            }
        }
        trading.payments = trading.payments.saturating_add(1);
        match served.as_slice() {
            [] => {
                trading.answers_lost = trading.answers_lost.saturating_add(1);
                Ok(None)
            }
            [(visit, by)] => {
                ensure!(*visit < 2, "a payment was refused and then served");
                trading.taken_by_copies = trading.taken_by_copies.saturating_add(u64::from(*visit == 1));
                Ok(Some(*by))
            }
            _ => bail!("one payment bought several things: {:?}", self.visits),
        }
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
