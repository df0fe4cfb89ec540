//! How a facilitator can settle.

use std::sync::Arc;

use farthing_core::books::Outbox;
use farthing_core::erased::FacilitatorSchemes;
use farthing_core::extension::builder_code::FacilitatorCodes;
use farthing_core::network::Network;
use farthing_evm::chain::Chain;
use farthing_evm::config::{AssetConfig, ChainConfig, ConfigError};
use farthing_evm::signer::Signer;
use farthing_evm::{exact, upto};

use super::assets::narrowed;
use crate::system::SystemClock;

/// Every scheme on these chains, and on no others.
pub(crate) fn schemes(
    chains: Vec<(ChainConfig, Vec<Arc<dyn Signer>>)>,
    assets: &[AssetConfig],
    allowed: &[(Network, Vec<String>)],
    outbox: &Arc<dyn Outbox>,
    builder_codes: Option<FacilitatorCodes>,
) -> Result<FacilitatorSchemes, ConfigError> {
    let clock = Arc::new(SystemClock);
    let connect = |(config, signers): (ChainConfig, _)| Chain::connect(&config, signers, outbox.clone(), clock.clone());
    let chains = chains.into_iter().map(connect).collect::<Result<Vec<_>, _>>()?;
    let assets = narrowed(assets, allowed)?;
    let mut exact = exact::Facilitator::new(chains.clone(), Arc::clone(&assets), clock.clone());
    let mut upto = upto::Facilitator::new(chains, assets, clock.clone());
    if let Some(codes) = builder_codes {
        exact = exact.with_builder_codes(codes.clone());
        upto = upto.with_builder_codes(codes);
    }
    Ok(vec![Arc::new(exact), Arc::new(upto)])
}
