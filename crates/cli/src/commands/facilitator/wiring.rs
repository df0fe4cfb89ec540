//! From the file's plain data to a facilitator.

use farthing::core::extension::builder_code::FacilitatorCodes;
use farthing::facilitator::{Caller, CallerLimits, Callers, Setup};

use crate::config::{self, BuilderCode, Config};
use crate::settling;

/// What a configuration describes, with its secrets fetched, and without a book. Nothing is asked or sent.
pub fn setup(config: &Config) -> anyhow::Result<Setup> {
    let mut setup = settling::setup(&config.network, &config.asset, settling::signers)?;
    if !config.caller.is_empty() {
        setup = setup.callers(Callers::new(config.caller.iter().map(caller))?);
    }
    if let Some(BuilderCode { wallet, service }) = &config.facilitator.builder_code {
        setup = setup.builder_codes(FacilitatorCodes { wallet: wallet.clone(), service: service.clone() });
    }
    Ok(setup)
}

fn caller(caller: &config::Caller) -> Caller {
    let limits = CallerLimits {
        verifies_per_minute: caller.verifies_per_minute,
        settles_per_minute: caller.settles_per_minute,
        settlements_per_day: caller.settlements_per_day,
    };
    Caller { name: caller.name.clone(), key: caller.key_sha256, limits }
}
