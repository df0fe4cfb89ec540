//! How a facilitator can settle.

use std::sync::Arc;

use farthing_core::erased::FacilitatorSchemes;
use farthing_evm::chain::Chain;
use farthing_evm::config::{AssetConfig, ChainConfig, ConfigError};
use farthing_evm::exact;
use farthing_evm::signer::Signer;

use super::assets::table;
use crate::system::SystemClock;

/// Every scheme on these chains, and on no others.
pub(crate) fn schemes(
    chains: Vec<(ChainConfig, Arc<dyn Signer>)>,
    assets: &[AssetConfig],
) -> Result<FacilitatorSchemes, ConfigError> {
    let chains = chains.into_iter().map(|(config, signer)| Chain::connect(&config, signer)).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![Arc::new(exact::Facilitator::new(chains, table(assets)?, Arc::new(SystemClock)))])
}
