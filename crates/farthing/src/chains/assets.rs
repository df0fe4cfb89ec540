//! The tokens of this release, and those of the user's own.

use std::sync::Arc;

use farthing_core::network::Network;
use farthing_evm::asset::AssetTable;
use farthing_evm::config::{AssetConfig, ConfigError};

/// Every token, but on networks that have a list only the listed ones.
pub(super) fn narrowed(own: &[AssetConfig], allowed: &[(Network, Vec<String>)]) -> Result<Arc<AssetTable>, ConfigError> {
    let table = own.iter().try_fold(AssetTable::known(), AssetTable::with)?;
    allowed.iter().try_fold(table, |table, (network, addresses)| table.only(network, addresses)).map(Arc::new)
}
