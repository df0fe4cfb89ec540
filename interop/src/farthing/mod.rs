//! Farthing in each role, through its public API and over real sockets, as a user would run it.

mod buyer;
mod gateway;
mod seller;
mod statements;

use std::sync::Arc;

use alloy_primitives::hex;
use anyhow::{Context, Result};
use axum::Router;
use farthing::core::extension::builder_code::{Code, FacilitatorCodes};
use farthing::evm::asset::TransferMethod;
use farthing::evm::config::{AssetConfig, ChainConfig, RpcUrl};
use farthing::evm::signer::LocalSigner;
use farthing_devnet::{DevToken, SMART_WALLET_FACTORY};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use self::buyer::Buyer;
pub use self::gateway::gateway;
pub use self::seller::server;
use crate::chain::{FACILITATOR_KEY, NETWORK, PLAIN_TOKEN};
use crate::service::{Service, WALLET_CODE};

/// A facilitator over HTTP on a free port, with [`FACILITATOR_KEY`], on [`NETWORK`]: `exact` for versions 1 and 2, `upto`.
/// It sponsors approvals of Permit2 both ways, creates the smart wallets of development chains, and names [`WALLET_CODE`].
pub async fn facilitator(rpc_url: &str) -> Result<Service> {
    let mut config = ChainConfig::new(NETWORK.parse()?, RpcUrl::new(rpc_url));
    config.wallets.factories = vec![SMART_WALLET_FACTORY.to_string()];
    config.sponsor.approvals = true;
    let codes = FacilitatorCodes { wallet: Some(Code::new(WALLET_CODE)?), service: None };
    let setup = farthing::Facilitator::builder().asset(plain_token()?).builder_codes(codes);
    let setup = setup.chain(config, vec![signer(FACILITATOR_KEY)?]);
    serve(farthing::facilitator::router(setup.start()?)).await
}

fn plain_token() -> Result<AssetConfig> {
    Ok(AssetConfig {
        network: NETWORK.parse()?,
        address: PLAIN_TOKEN.address.to_string(),
        symbol: PLAIN_TOKEN.symbol.to_owned(),
        decimals: PLAIN_TOKEN.decimals,
        name: PLAIN_TOKEN.name.to_owned(),
        version: DevToken::DOMAIN_VERSION.to_owned(),
        method: TransferMethod::Permit2,
        permits: false,
        // Buyers' limits are in dollars.
        usd: true,
    })
}

fn signer(key: &str) -> Result<Arc<LocalSigner>> {
    let bytes: [u8; 32] = hex::decode_to_array(key).context("a development key is 32 bytes")?;
    Ok(Arc::new(LocalSigner::from_bytes(bytes.into())?))
}

/// Serves an app on a free port.
pub(crate) async fn serve(app: Router) -> Result<Service> {
    let (listener, url) = place().await?;
    Ok(open(listener, url, app))
}

/// Takes a free port, for what has to know where it will be.
async fn place() -> Result<(TcpListener, String)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

fn open(listener: TcpListener, url: String, app: Router) -> Service {
    let task = tokio::spawn(async move {
        // A server that stops early shows as a refused connection in the test that needs it.
        drop(axum::serve(listener, app).await);
    });
    Service::new(url, Serving(task))
}

/// Stops serving when dropped.
struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}
