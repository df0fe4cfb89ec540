//! The process that is killed by the crash campaign: does one job, read from the file that is its only argument.

use anyhow::{Context, Result};
use farthing_proof::campaign::Job;

/// One thread, so that a scenario passes its points in much the same order every time.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let file = std::env::args_os().nth(1).context("expected a job's file")?;
    let job: Job = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    job.work().await
}
