//! `farthing facilitator key`: a key for a caller. The facilitator keeps only its digest.

use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;
use farthing::core::time::Entropy;
use farthing::facilitator::{Caller, CallerLimits, Callers, KeyDigest};
use farthing::system::SystemEntropy;
use serde_json::json;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::exit::{Exit, Usage};
use crate::terminal::{FAINT, PLAIN, say, say_json};

const KEY_BYTES: usize = 32;
const PREFIX: &str = "farthing_";

/// What `farthing facilitator key` takes.
#[derive(Args)]
pub struct Arguments {
    /// Whose key it is: a name of your own choice
    #[arg(default_value = "shop")]
    name: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Makes a key. It is shown once, here, and kept nowhere.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
    SystemEntropy.fill(bytes.as_mut_slice()).map_err(|error| anyhow!(error))?;
    let key = Zeroizing::new(format!("{PREFIX}{}", alloy_primitives::hex::encode(bytes.as_slice())));
    let digest = alloy_primitives::hex::encode(Sha256::digest(key.as_bytes()));
    // What start-up would say of the name later is said now.
    let caller = Caller { name: arguments.name.clone(), key: KeyDigest::of(&key), limits: CallerLimits::default() };
    Callers::new([caller]).map_err(|error| Usage::new("NAME", error.to_string()))?;
    if arguments.json {
        say_json(&json!({"name": arguments.name, "key": key.as_str(), "keySha256": digest}))?;
    } else {
        say(format!("{FAINT}# for the caller, as \"Authorization: Bearer …\"; it is not shown again{PLAIN}"));
        say(key.as_str());
        say(format!("{FAINT}# for the facilitator's TOML file{PLAIN}"));
        say(format!("[[caller]]\nname = {:?}\nkey_sha256 = \"{digest}\"", arguments.name));
    }
    Ok(Exit::Ok.into())
}
