//! How a seller can be paid.

use std::sync::Arc;

use farthing_core::erased::ServerSchemes;
use farthing_evm::asset::AssetTable;
use farthing_evm::{exact, upto};

/// Every scheme.
pub(crate) fn schemes() -> ServerSchemes {
    let assets = Arc::new(AssetTable::known());
    vec![Arc::new(exact::Server::new(Arc::clone(&assets))), Arc::new(upto::Server::new(assets))]
}
