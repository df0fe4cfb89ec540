//! A facilitator is killed, and presented the same payments again: everything settles, and is answered the same.

use std::time::Instant;

use anyhow::{Result, bail, ensure};
use farthing_core::wire::{PaymentRequest, SettleResponse};
use futures_util::future::{ready, try_join_all};

use super::super::child::{Answer, Ended, Work};
use super::{PATIENCE, Run, Survived, Survivor};
use crate::crash::Point;
use crate::payments;
use crate::replica::Parts;
use crate::store;

/// Runs the child, which may die, lets the survivor finish, and checks everything.
pub(super) async fn survive(run: &Run<'_>, fatal: Option<&Point>) -> Result<Survived> {
    let mut requests = Vec::new();
    for payer in &run.payers {
        requests.push(payer.pay().await?);
    }
    payments::write(&run.folder.join("payments.jsonl"), &requests)?;
    let (ended, answers, recovery) = match run.scenario.survivor {
        Survivor::Itself => {
            let ended = live(run, fatal, "report").await?;
            let crashed = Instant::now();
            let again = live(run, None, "report-again").await?;
            (ended, again.answers, crashed.elapsed())
        }
        Survivor::Replica => {
            let crash = async { anyhow::Ok((live(run, fatal, "report").await?, Instant::now())) };
            // The other node is presented the same payments at the same time, and so often that it must notice.
            let other = settle_elsewhere(run, &requests, fatal);
            let ((ended, crashed), (answers, answered)) = tokio::try_join!(crash, other)?;
            (ended, answers, answered.saturating_duration_since(crashed))
        }
    };
    same_answers(&ended.answers, &answers)?;
    check(run, &answers).await?;
    Ok(Survived { ended, recovery, trading: None })
}

/// One life of the child.
async fn live(run: &Run<'_>, fatal: Option<&Point>, report: &str) -> Result<Ended> {
    let work = Work::Settle(run.folder.join("payments.jsonl"));
    run.job(work, fatal, report).start(&run.scenario.child)?.end(ready(())).await
}

/// The second node.
async fn settle_elsewhere(run: &Run<'_>, requests: &[PaymentRequest], fatal: Option<&Point>) -> Result<(Vec<Answer>, Instant)> {
    run.first_node_leads("report", fatal).await;
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
async fn check(run: &Run<'_>, answers: &[Answer]) -> Result<()> {
    ensure!(answers.len() == run.payers.len(), "{} answers to {} payments", answers.len(), run.payers.len());
    for Answer { payment, response } in answers {
        ensure!(response.success, "payment {payment} was not settled: {response:?}");
    }
    run.reconcile().await?;
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
