//! The tokens of this release, and those of the user's own.

use std::sync::Arc;

use farthing_evm::asset::AssetTable;
use farthing_evm::config::{AssetConfig, ConfigError};

pub(super) fn table(own: &[AssetConfig]) -> Result<Arc<AssetTable>, ConfigError> {
    own.iter().try_fold(AssetTable::known(), AssetTable::with).map(Arc::new)
}
