//! A chain, a facilitator on it, and funded wallets: what an end-to-end test needs before its own part begins.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use alloy_primitives::{Address, U256, hex};
use axum::Router;
use farthing_core::Source;
use farthing_core::books::MemorySettlements;
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::time::{Clock, UnixSeconds};
use farthing_devnet::{Devnet, PERMIT2};
use farthing_evm::asset::AssetTable;
use farthing_evm::chain::Chain;
use farthing_evm::config::{ChainConfig, RpcUrl, SponsorConfig};
use farthing_evm::signer::{LocalSigner, Signer};
use farthing_evm::{exact, upto};
use farthing_facilitator::Local;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::golden::NETWORK;

/// What a funded wallet holds: 100 USDC.
pub const WALLET_USDC_ATOMIC: u64 = 100_000_000;
/// The most that a payer is given for the gas of its approval of Permit2: several times what it costs on this chain.
const MAX_FUNDING_GWEI: u64 = 1_000_000;

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
    /// Starts a chain that stands for Base Sepolia, and a facilitator that settles on it by every scheme: `exact` (EIP-3009
    /// and Permit2) and `upto`, with approvals of Permit2 sponsored.
    pub async fn start() -> Result<Self, Source> {
        let devnet = Devnet::builder().start().await?;
        let operator = devnet.accounts().first().ok_or("the chain has no accounts")?;
        let signer: Arc<dyn Signer> = Arc::new(LocalSigner::from_bytes(Zeroizing::new(operator.secret))?);
        let book = Arc::new(MemorySettlements::default());
        let clock = Arc::new(RealClock);
        let mut config = ChainConfig::new(NETWORK.parse()?, RpcUrl::new(devnet.rpc_url()));
        config.sponsor = SponsorConfig { permits: true, approvals: true, max_funding_gwei: MAX_FUNDING_GWEI };
        let chains = vec![Chain::connect(&config, vec![signer], book.clone(), clock.clone())?];
        let assets = Arc::new(AssetTable::known());
        let exact = exact::Facilitator::new(chains.clone(), Arc::clone(&assets), clock.clone());
        let upto = upto::Facilitator::new(chains, assets, clock.clone());
        let schemes: [Arc<dyn AnyFacilitatorScheme>; 2] = [Arc::new(exact), Arc::new(upto)];
        let local = Local::builder().schemes(schemes).settlements(book).clock(clock).build()?;
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

    /// Lets Permit2 move the USDC of the wallet from [`Self::funded_wallet`], as a payer does once and for all.
    pub fn approve_permit2(&self) -> Result<(), Source> {
        let account = self.devnet.accounts().get(1).ok_or("the chain has no second account")?;
        Ok(self.devnet.set_allowance(self.devnet.usdc(), account.address, PERMIT2, U256::MAX)?)
    }

    /// A smart wallet (ERC-1271) with USDC, whose owner is the second development account: it takes plain signatures by that
    /// account's key.
    pub fn smart_wallet(&self) -> Result<(Address, Arc<dyn Signer>), Source> {
        let owner = self.devnet.accounts().get(1).ok_or("the chain has no second account")?;
        let wallet = self.devnet.create_smart_wallet(owner.address, U256::ZERO)?;
        self.devnet.give_usdc(wallet, U256::from(WALLET_USDC_ATOMIC))?;
        Ok((wallet, Arc::new(LocalSigner::from_bytes(Zeroizing::new(owner.secret))?)))
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
