//! A chain, a facilitator on it, and funded wallets: what an end-to-end test needs before its own part begins.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{U256, hex};
use axum::Router;
use farthing_core::Source;
use farthing_core::books::MemorySettlements;
use farthing_core::time::{Clock, UnixSeconds};
use farthing_devnet::Devnet;
use farthing_evm::asset::AssetTable;
use farthing_evm::chain::Chain;
use farthing_evm::config::{ChainConfig, RpcUrl};
use farthing_evm::exact;
use farthing_evm::signer::{LocalSigner, Signer};
use farthing_facilitator::Local;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::golden::NETWORK;

/// What a funded wallet holds: 100 USDC.
pub const WALLET_USDC_ATOMIC: u64 = 100_000_000;

/// The embedded chain with a facilitator on it. Everything stops when it is dropped.
pub struct Stack {
    devnet: Devnet,
    facilitator_url: String,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    wallet_file: PathBuf,
}

struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

impl Stack {
    /// Starts a chain that stands for Base Sepolia, and a facilitator that settles on it.
    pub async fn start() -> Result<Self, Source> {
        let devnet = Devnet::builder().start().await?;
        let operator = devnet.accounts().first().ok_or("the chain has no accounts")?;
        let signer: Arc<dyn Signer> = Arc::new(LocalSigner::from_bytes(Zeroizing::new(operator.secret))?);
        let book = Arc::new(MemorySettlements::default());
        let clock = Arc::new(RealClock);
        let config = ChainConfig::new(NETWORK.parse()?, RpcUrl::new(devnet.rpc_url()));
        let chains = vec![Chain::connect(&config, vec![signer], book.clone(), clock.clone())?];
        let scheme = exact::Facilitator::new(chains, Arc::new(AssetTable::known()), clock.clone());
        let local = Local::builder()
            .schemes([Arc::new(scheme) as Arc<dyn farthing_core::erased::AnyFacilitatorScheme>])
            .settlements(book)
            .clock(clock)
            .build()?;
        local.start();
        // The chain's port is its own for as long as the stack lives, so the file's name is, too.
        let file_name = format!("farthing-test-wallet-{}", devnet.address().port());
        let wallet_file = std::env::temp_dir().join(file_name);
        let mut stack = Self { devnet, facilitator_url: String::new(), tasks: Mutex::default(), wallet_file };
        stack.facilitator_url = stack.serve(farthing_facilitator::router(Arc::new(local))).await?;
        Ok(stack)
    }

    /// Where the facilitator listens.
    pub fn facilitator_url(&self) -> &str {
        &self.facilitator_url
    }

    /// The chain.
    pub fn devnet(&self) -> &Devnet {
        &self.devnet
    }

    /// Serves an app on a free port and says where.
    pub async fn serve(&self, app: Router) -> Result<String, Source> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            // A server that stops early shows as a refused connection in the test that needs it.
            drop(axum::serve(listener, app).await);
        });
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        Ok(url)
    }

    /// Gives the second development account USDC, and its key as a reference that a wallet is opened by.
    pub fn funded_wallet(&self) -> Result<String, Source> {
        let account = self.devnet.accounts().get(1).ok_or("the chain has no second account")?;
        self.devnet.give_usdc(account.address, U256::from(WALLET_USDC_ATOMIC))?;
        std::fs::write(&self.wallet_file, hex::encode_prefixed(account.secret))?;
        Ok(format!("file:{}", self.wallet_file.display()))
    }

    /// The status of a plain GET.
    pub async fn http_status(&self, url: &str) -> Result<u16, Source> {
        Ok(reqwest::get(url).await?.status().as_u16())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            task.abort();
        }
        // The file is there only if a wallet was asked for.
        drop(std::fs::remove_file(&self.wallet_file));
    }
}
