//! P7: a thousand settlements at once over blocks of two seconds; the same when the facilitator is killed in the middle
//! and started again on its book.

use std::time::Duration;

use anyhow::bail;
use farthing::evm::signer::Signer;
use tokio::sync::watch;

use super::{settle, tell_failures};
use crate::binary::Farthing;
use crate::chain::{Blocks, Chain, Kind};
use crate::measure::count;
use crate::report::Bound::AtMost;
use crate::report::{Report, Row};
use crate::sample::{self, OPERATOR, Sample};
use crate::volley::Outcome;

const CROWD: usize = 1_000;
const BLOCK_SECONDS: u64 = 2;
/// How long buyers go on to ask for the same payment.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether a transaction is under way.
const LOOK: Duration = Duration::from_millis(2);
const MAX_LOOKS: usize = 5_000;

pub async fn run(report: &mut Report) -> anyhow::Result<()> {
    let sample = &Sample::new()?;
    for kills in [false, true] {
        let chain = Chain::start(Kind::Devnet, Blocks::EverySeconds(BLOCK_SECONDS)).await?;
        let files = Farthing::new("crowd", chain.rpc_url())?;
        let mut child = files.start()?;
        let volley = settle(sample, (0..).take(CROWD))?.patient(PATIENCE);
        let (moved, address) = watch::channel(child.address());
        let height = chain.next_block().await?;
        let firing = tokio::spawn(async move { volley.fire_at(&address, CROWD).await });
        if kills {
            sending(&chain).await?;
            child.kill()?;
            child = files.start()?;
            moved.send(child.address())?;
        }
        let outcome = firing.await??;
        drop(child);
        tell(&chain, height, &outcome, kills, report).await?;
    }
    Ok(())
}

/// Returns when a transaction is under way.
async fn sending(chain: &Chain) -> anyhow::Result<()> {
    let account = sample::payer(OPERATOR)?.address().to_string();
    for _ in 0..MAX_LOOKS {
        if chain.waiting(&account).await? > 0 {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("no transaction was sent")
}

async fn tell(chain: &Chain, height: u64, outcome: &Outcome, kills: bool, report: &mut Report) -> anyhow::Result<()> {
    tell_failures(outcome);
    let payments = chain.payments_above(height).await?;
    let last = payments.iter().max().copied().unwrap_or(height);
    let of_nonces = outcome.failures.iter().filter(|(what, _)| what.to_ascii_lowercase().contains("nonce"));
    let of_nonces: usize = of_nonces.map(|(_, times)| times).sum();
    let how = if kills { "1,000 at once, killed in the middle" } else { "1,000 at once" };
    let what = |what: &str| format!("{how}: {what}");
    report.add(Row::new("P7", what("nonce errors"), count(of_nonces), "").must(AtMost(0.0)));
    report.add(Row::new("P7", what("failures"), count(outcome.failed()), "").must(AtMost(0.0)));
    let astray = count(payments.len().abs_diff(CROWD));
    report.add(Row::new("P7", what("payments on chain too many or too few"), astray, "").must(AtMost(0.0)));
    let blocks = count(usize::try_from(last.saturating_sub(height))?);
    report.add(Row::new("P7", what("blocks until all are in"), blocks, "").aim(AtMost(3.0)));
    report.add(Row::new("-", what("the last buyer's answer after"), outcome.seconds * 1e3, "ms"));
    Ok(())
}
