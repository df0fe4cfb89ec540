//! A facilitator is killed, and presented the same payments again: everything settles, and is answered the same.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use farthing_core::wire::{PaymentRequest, SettleResponse};
use futures_util::future::{ready, try_join_all};

use super::super::child::{Answer, Ended, Work};
use super::{Death, PATIENCE, Run, Survived, Survivor};
use crate::crash::Fatal;
use crate::payments::{self, Bill};
use crate::replica::Parts;
use crate::store;

/// Runs the child, which may die, lets the survivor finish, and checks everything.
pub(super) async fn survive(run: &Run<'_>, death: Option<&Death>) -> Result<Survived> {
    let (mut requests, mut bills) = (Vec::new(), Vec::new());
    for payer in &run.payers {
        let request = payer.pay().await?;
        bills.push(Bill::of(&request, payer.kind())?);
        requests.push(request);
    }
    payments::write(&run.folder.join("payments.jsonl"), &requests)?;
    let fatal = death.map(|death| Fatal::At(death.point.clone()));
    let first = live(run, (1, fatal.as_ref()), "report");
    let (ended, again, recovery) = match run.scenario.survivor {
        Survivor::Itself => {
            let ended = first.await?;
            let crashed = Instant::now();
            let mut lives = Vec::new();
            let relapse = death.and_then(|death| death.relapse.as_ref()).filter(|_| ended.was_killed);
            if relapse.is_some() {
                lives.push(live(run, (2, relapse), "report-again").await?);
            }
            if lives.last().is_none_or(|life| life.was_killed) {
                lives.push(live(run, (3, None), "report-at-last").await?);
            }
            (ended, lives, crashed.elapsed())
        }
        Survivor::Replica => {
            let crash = async { anyhow::Ok((first.await?, Instant::now())) };
            // The other node is presented the same payments at the same time, and so often that it must notice.
            let other = settle_elsewhere(run, &requests, death);
            let ((ended, crashed), (answers, answered)) = tokio::try_join!(crash, other)?;
            let other = Ended { was_killed: false, answers, passed: Vec::new() };
            (ended, vec![other], answered.saturating_duration_since(crashed))
        }
    };
    let last = again.last().context("somebody survives")?;
    for life in [&ended].into_iter().chain(&again) {
        same_answers(&life.answers, &last.answers)?;
    }
    check(run, &last.answers, &bills).await?;
    let was_killed_twice = again.iter().any(|life| life.was_killed);
    Ok(Survived { ended, was_killed_twice, recovery, trading: None })
}

/// One life of the child.
async fn live(run: &Run<'_>, life: (u64, Option<&Fatal>), report: &str) -> Result<Ended> {
    let work = Work::Settle(run.folder.join("payments.jsonl"));
    run.job(work, life, report).start(&run.scenario.child)?.end(ready(())).await
}

/// The second node.
async fn settle_elsewhere(run: &Run<'_>, requests: &[PaymentRequest], death: Option<&Death>) -> Result<(Vec<Answer>, Instant)> {
    run.first_node_leads("report", death).await;
    let store = store::open(run.store.url()).await?;
    let replica = Parts::new(&store, run.chain.rpc_url(), &run.keys)?.start()?;
    let settle_one = |(payment, request)| {
        let replica = &replica;
        async move { anyhow::Ok(Answer { payment, response: replica.settle(request, PATIENCE).await? }) }
    };
    let answers = try_join_all(requests.iter().enumerate().map(settle_one)).await?;
    let answered = Instant::now();
    replica.stop().await;
    store.close().await;
    Ok((answers, answered))
}

/// Everything that must hold at the end.
async fn check(run: &Run<'_>, answers: &[Answer], bills: &[Bill]) -> Result<()> {
    ensure!(answers.len() == run.payers.len(), "{} answers to {} payments", answers.len(), run.payers.len());
    for Answer { payment, response } in answers {
        ensure!(response.success, "payment {payment} was not settled: {response:?}");
    }
    run.reconcile(bills).await?;
    Ok(())
}

/// What was answered before the crash is answered after it.
fn same_answers(before: &[Answer], after: &[Answer]) -> Result<()> {
    for answer in before {
        let again = after.iter().find(|again| again.payment == answer.payment);
        let told = |response: &SettleResponse| (response.success, response.transaction.clone(), response.payer.clone());
        if again.map(|again| told(&again.response)) != Some(told(&answer.response)) {
            bail!("payment {} was answered {:?}, and then {:?}", answer.payment, answer.response, again);
        }
    }
    Ok(())
}
