//! How a seller can be paid.

use std::sync::Arc;

use farthing_core::erased::ServerSchemes;
use farthing_evm::asset::AssetTable;
use farthing_evm::exact;

/// Every scheme.
pub(crate) fn schemes() -> ServerSchemes {
    vec![Arc::new(exact::Server::new(Arc::new(AssetTable::known())))]
}
