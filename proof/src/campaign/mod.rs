//! Campaigns: each proves one thing, in a small form as a test and in a large one as `cargo xtask soak`.
//!
//! - [`crash`]: a facilitator, or a seller, dies at every point.
//! - [`chaos`]: the way to the node goes wrong all the time.
//! - [`races`]: replicas on one book are presented the same payment.

pub mod chaos;
pub mod crash;
pub mod races;

mod child;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

pub use child::{Answer, Ended, Job, Process, Work};

/// How long a payment may take until it has its answer, with nothing in its way any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// What each sending account has: ten of the chain's coins.
const SENDER_WEI: &str = "0x8ac7230489e80000";

static FOLDERS: AtomicU64 = AtomicU64::new(0);

/// A folder that nobody else has. It is left behind where something fails, so that one can look.
fn folder() -> Result<PathBuf> {
    let number = FOLDERS.fetch_add(1, Ordering::SeqCst);
    let folder = std::env::temp_dir().join(format!("farthing-proof-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(folder)
}
