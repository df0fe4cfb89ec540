//! Who has refunds settled: whoever settles for the gateway.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use farthing::core::books::Refund;
use farthing::core::facilitator::Facilitator;
use farthing::evm::config::AssetConfig;
use farthing::facilitator::Local;
use farthing::server::{RefundDesk, RemoteFacilitator};
use farthing::store::{Access, Store, StoreError};
use farthing::system::SystemClock;

use crate::config::gateway::Config;
use crate::settling;

/// Has refunds settled, if it can.
pub struct Carrier {
    settler: Settler,
    assets: Vec<AssetConfig>,
}

enum Settler {
    /// Somebody else's facilitator, which the gateway uses, too.
    Remote(Box<RemoteFacilitator>),
    /// The gateway is not running, and this process settles in its place.
    Local(Arc<Local>),
    /// The gateway has its book open, and settles what is in it.
    Gateway,
}

impl Carrier {
    /// Reads the gateway's file, and opens its book.
    pub async fn open(path: &Path) -> anyhow::Result<(Self, Store)> {
        let config = Config::load(path)?;
        let place = || path.display().to_string();
        let url = config.store(path.parent().unwrap_or(Path::new(""))).with_context(place)?;
        let used = || format!("the book {url} cannot be used");
        let (settler, store) = match config.facilitator().with_context(place)? {
            Some(facilitator) => {
                let settler = Settler::Remote(Box::new(RemoteFacilitator::new(&facilitator)?));
                (settler, Store::open(&url, Access::Shared).await.with_context(used)?)
            }
            None => match Store::open(&url, Access::Own).await {
                Ok(store) => {
                    let setup = settling::setup(&config.network, &config.asset, settling::signers).with_context(place)?;
                    let local = Arc::new(setup.store(&store).build()?);
                    local.start();
                    (Settler::Local(local), store)
                }
                Err(StoreError::InUse { .. }) => {
                    (Settler::Gateway, Store::open(&url, Access::Shared).await.with_context(used)?)
                }
                Err(error) => return Err(error).with_context(used),
            },
        };
        Ok((Self { settler, assets: config.asset }, store))
    }

    /// The tokens besides the known ones.
    pub fn assets(&self) -> &[AssetConfig] {
        &self.assets
    }

    /// Has it settled, if that is not for the gateway to do. What came of it is in the book.
    pub async fn carry(&self, store: &Store, refund: &Refund) -> anyhow::Result<()> {
        let (facilitator, knows_all): (&dyn Facilitator, bool) = match &self.settler {
            Settler::Remote(remote) => (&**remote, false),
            Settler::Local(local) => (&**local, true),
            Settler::Gateway => return Ok(()),
        };
        let book = store.refunds();
        RefundDesk { book: &*book, facilitator, knows_all, clock: &SystemClock }.carry(refund).await?;
        Ok(())
    }

    /// Waits for what is under way, and gives the accounts back.
    pub async fn stop(&self) {
        if let Settler::Local(local) = &self.settler {
            local.stop().await;
        }
    }
}
