//! Starting, steering and stopping a chain.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, Bytes, U256};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::clock::Clock;
use crate::error::DevnetError;
use crate::execute::Rules;
use crate::fault::Faults;
use crate::filter::MAX_LOG_RANGE_BLOCKS;
use crate::genesis::{self, ACCOUNTS, DevAccount, TOKEN_OWNER};
use crate::node::{Mining, Node, Orphans};
use crate::rpc::{self, Site};
use crate::token;
use crate::wallet;

const DEFAULT_CHAIN_ID: u64 = 84532;
const DEFAULT_BLOCK_GAS_LIMIT: u64 = 30_000_000;
/// How many connections may wait to be accepted, as far as the system allows.
const MAX_WAITING_CONNECTIONS: u32 = 4_096;
/// A block interval below this is raised to it.
const MIN_BLOCK_INTERVAL: Duration = Duration::from_millis(1);

/// What stands before the address in the code of a delegated account (EIP-7702).
const DELEGATION_MARK: &[u8] = &[0xef, 0x01, 0x00];

/// How long a stopping chain waits for requests under way: an injected delay may be long.
const MAX_STOP_WAIT: Duration = Duration::from_secs(1);

/// What a chain is started with. Made by [`Devnet::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    chain_id: u64,
    mining: Mining,
    listen: SocketAddr,
    start_seconds: Option<u64>,
    block_gas_limit: u64,
    max_log_range_blocks: u64,
}

impl Builder {
    /// Which network the chain stands for (default 84532, Base Sepolia). It decides the address and the EIP-712 name of
    /// USDC; an id for which none is known is refused at the start.
    pub fn chain_id(mut self, chain_id: u64) -> Self {
        self.chain_id = chain_id;
        self
    }

    /// When blocks are made (default [`Mining::Instant`]).
    pub fn mining(mut self, mining: Mining) -> Self {
        self.mining = mining;
        self
    }

    /// Where JSON-RPC listens (default 127.0.0.1, a free port). Whoever can connect can do everything.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// The chain's time at its start, in seconds since 1970 (default: the system's). It runs on from there.
    pub fn start_time(mut self, unix_seconds: u64) -> Self {
        self.start_seconds = Some(unix_seconds);
        self
    }

    /// Gas per block (default 30,000,000).
    pub fn block_gas_limit(mut self, gas: u64) -> Self {
        self.block_gas_limit = gas;
        self
    }

    /// How many blocks one query of logs may cover (default, and at most, [`MAX_LOG_RANGE_BLOCKS`]; at least 1). Public
    /// nodes allow few.
    pub fn max_log_range_blocks(mut self, blocks: u64) -> Self {
        self.max_log_range_blocks = blocks.clamp(1, MAX_LOG_RANGE_BLOCKS);
        self
    }

    /// Starts the chain on the current tokio runtime, which needs its I/O and time drivers.
    #[expect(clippy::unused_async, reason = "it needs a runtime, and being async it cannot be called without one")]
    pub async fn start(self) -> Result<Devnet, DevnetError> {
        let rules = Rules {
            chain_id: self.chain_id,
            block_gas_limit: self.block_gas_limit,
            max_log_range_blocks: self.max_log_range_blocks,
        };
        let usdc = token::find_usdc(rules.chain_id)?.address;
        let clock = Clock::new(self.start_seconds);
        let chain = genesis::chain(rules, clock.now())?;
        let listen_failed = |source| DevnetError::Listen { address: self.listen, source };
        let listener = listen(self.listen).map_err(listen_failed)?;
        let address = listener.local_addr().map_err(listen_failed)?;
        let node = Arc::new(Node::new(rules, self.mining, clock, chain));
        let faults = Faults::default();
        let (shutdown, ended) = watch::channel(());
        let site = Site { node: Arc::clone(&node), faults: faults.clone() };
        let server = tokio::spawn(rpc::serve(listener, site, ended));
        let miner = match self.mining {
            Mining::Interval(period) => Some(tokio::spawn(mine_on_interval(Arc::clone(&node), period.max(MIN_BLOCK_INTERVAL)))),
            Mining::Instant | Mining::Manual => None,
        };
        tracing::debug!(chain_id = rules.chain_id, %address, "development chain started");
        Ok(Devnet { node, faults, address, usdc, shutdown, server, miner })
    }
}

/// Listens with room for a burst of connections: one that does not fit into the queue tries again after a whole second.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(MAX_WAITING_CONNECTIONS)
}

async fn mine_on_interval(node: Arc<Node>, period: Duration) {
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await; // the first tick is immediate, and the genesis block is there already
    loop {
        ticks.tick().await;
        let node = Arc::clone(&node);
        // A full block is tens of milliseconds of EVM: not on a thread that serves requests.
        let mined = tokio::task::spawn_blocking(move || node.mine(1)).await;
        if !matches!(mined, Ok(Ok(()))) {
            tracing::error!(?mined, "block production stopped");
            return;
        }
    }
}

/// A running development chain. It stops when dropped.
///
/// The methods act at once and without the network; they take microseconds, so that they are not async.
#[derive(Debug)]
pub struct Devnet {
    node: Arc<Node>,
    faults: Faults,
    address: SocketAddr,
    usdc: Address,
    /// A value sent here, or its end, stops the server.
    shutdown: watch::Sender<()>,
    server: JoinHandle<()>,
    miner: Option<JoinHandle<()>>,
}

/// Another JSON-RPC endpoint of a [`Devnet`]. It closes when dropped, and not before.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    faults: Faults,
    /// Its end stops the server.
    _shutdown: watch::Sender<()>,
}

impl Endpoint {
    /// Where it listens, as a URL.
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The handle to make things go wrong here.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }
}

/// Names a snapshot of a [`Devnet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotId(u64);

impl Devnet {
    /// Begins the description of a chain.
    pub fn builder() -> Builder {
        Builder {
            chain_id: DEFAULT_CHAIN_ID,
            mining: Mining::Instant,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            start_seconds: None,
            block_gas_limit: DEFAULT_BLOCK_GAS_LIMIT,
            max_log_range_blocks: MAX_LOG_RANGE_BLOCKS,
        }
    }

    /// Where JSON-RPC listens, as a URL.
    pub fn rpc_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where JSON-RPC listens, as a socket address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The EIP-155 chain id.
    pub fn chain_id(&self) -> u64 {
        self.node.rules.chain_id
    }

    /// Ten accounts with 10,000 ETH each and publicly known keys.
    pub fn accounts(&self) -> &[DevAccount] {
        ACCOUNTS
    }

    /// The network's USDC.
    pub fn usdc(&self) -> Address {
        self.usdc
    }

    /// Who may mint, pause and blacklist in USDC: the last of [`Devnet::accounts`].
    pub fn token_owner(&self) -> Address {
        TOKEN_OWNER
    }

    /// The newest block's number.
    pub fn block_number(&self) -> u64 {
        self.node.chain().number()
    }

    /// The chain's time, in seconds since 1970.
    pub fn now(&self) -> u64 {
        self.node.clock.now()
    }

    /// Adds USDC (atomic units, six decimals) to an account, without a transaction. As all direct edits it belongs to
    /// the newest block, and is undone with it by a reorganisation.
    pub fn give_usdc(&self, holder: Address, amount: U256) -> Result<(), DevnetError> {
        self.give_tokens(self.usdc, holder, amount)
    }

    /// USDC of an account at the newest block, atomic units.
    pub fn usdc_balance(&self, holder: Address) -> U256 {
        self.token_balance(self.usdc, holder).unwrap_or_default()
    }

    /// As [`Devnet::give_usdc`], of USDC or one of [`DevToken::ALL`](crate::DevToken::ALL).
    pub fn give_tokens(&self, token: Address, holder: Address, amount: U256) -> Result<(), DevnetError> {
        let ledger = token::ledger(self.chain_id(), token)?;
        self.node.edit_state(|state| ledger.give(state, holder, amount))
    }

    /// What an account has of USDC or one of [`DevToken::ALL`](crate::DevToken::ALL) at the newest block, atomic units.
    pub fn token_balance(&self, token: Address, holder: Address) -> Result<U256, DevnetError> {
        Ok(token::ledger(self.chain_id(), token)?.balance(self.node.chain().state(), holder))
    }

    /// Sets what `spender` may take of `holder`'s tokens, without a transaction: for instance
    /// [`PERMIT2`](crate::PERMIT2) of USDC or one of [`DevToken::ALL`](crate::DevToken::ALL).
    pub fn set_allowance(&self, token: Address, holder: Address, spender: Address, amount: U256) -> Result<(), DevnetError> {
        let ledger = token::ledger(self.chain_id(), token)?;
        self.node.edit_state(|state| ledger.set_allowance(state, holder, spender, amount));
        Ok(())
    }

    /// What `spender` may take of `holder`'s tokens at the newest block.
    pub fn allowance(&self, token: Address, holder: Address, spender: Address) -> Result<U256, DevnetError> {
        Ok(token::ledger(self.chain_id(), token)?.allowance(self.node.chain().state(), holder, spender))
    }

    /// Creates the ERC-1271 wallet of an owner at [`Devnet::smart_wallet_address`], as a transaction to
    /// [`SMART_WALLET_FACTORY`](crate::SMART_WALLET_FACTORY) would. If it exists, nothing happens.
    pub fn create_smart_wallet(&self, owner: Address, salt: U256) -> Result<Address, DevnetError> {
        wallet::create(&self.node, owner, salt)
    }

    /// Where the wallet of an owner is, or will be once somebody creates it.
    pub fn smart_wallet_address(&self, owner: Address, salt: U256) -> Result<Address, DevnetError> {
        wallet::address(&self.node, owner, salt)
    }

    /// Delegates an account to a contract (EIP-7702), as a transaction with its authorisation would: for instance to
    /// [`DELEGATE_7702`](crate::DELEGATE_7702).
    pub fn delegate(&self, account: Address, contract: Address) -> Result<(), DevnetError> {
        self.set_code(account, [DELEGATION_MARK, contract.as_slice()].concat().into())
    }

    /// Sets an account's ether, in wei.
    pub fn set_balance(&self, address: Address, wei: U256) {
        self.node.edit_state(|state| state.set_balance(address, wei));
    }

    /// An account's ether at the newest block, in wei.
    pub fn balance(&self, address: Address) -> U256 {
        self.node.chain().state().account(address).balance
    }

    /// Puts code at an address, without running a constructor.
    pub fn set_code(&self, address: Address, code: Bytes) -> Result<(), DevnetError> {
        self.node.edit_state(|state| state.set_code(address, code)).map_err(DevnetError::OutOfRange)
    }

    /// Makes `blocks` blocks, at most [`MAX_MINE_BLOCKS`](crate::MAX_MINE_BLOCKS); the first ones carry what waits.
    pub fn mine(&self, blocks: u64) -> Result<(), DevnetError> {
        self.node.mine(blocks).map_err(DevnetError::OutOfRange)
    }

    /// Moves time forward. Calls see it at once, the chain with its next block.
    pub fn increase_time(&self, seconds: u64) {
        self.node.clock.advance(seconds);
    }

    /// Fixes the next block's timestamp, which may not be before the newest block's; time runs on from it.
    pub fn set_next_block_timestamp(&self, unix_seconds: u64) -> Result<(), DevnetError> {
        self.node.set_next_timestamp(unix_seconds).map_err(DevnetError::OutOfRange)
    }

    /// Remembers the chain, its waiting transactions and its time. At most
    /// [`MAX_SNAPSHOTS`](crate::MAX_SNAPSHOTS) are kept.
    pub fn snapshot(&self) -> SnapshotId {
        SnapshotId(self.node.snapshot())
    }

    /// Goes back to a snapshot, which is used up thereby, as are later ones.
    pub fn revert(&self, snapshot: SnapshotId) -> Result<(), DevnetError> {
        if self.node.revert(snapshot.0) {
            return Ok(());
        }
        Err(DevnetError::OutOfRange(format!("snapshot {} does not exist any more", snapshot.0)))
    }

    /// Replaces the newest `depth` blocks (at most [`MAX_HISTORY_BLOCKS`](crate::MAX_HISTORY_BLOCKS)) by as many empty
    /// ones. Their transactions are gone, as if the winning branch's nodes had never heard of them.
    pub fn reorg(&self, depth: u64) -> Result<(), DevnetError> {
        self.node.reorganise(depth, Orphans::Forgotten).map_err(DevnetError::OutOfRange)
    }

    /// As [`Devnet::reorg`], but the transactions wait again and enter later blocks.
    pub fn reorg_and_requeue(&self, depth: u64) -> Result<(), DevnetError> {
        self.node.reorganise(depth, Orphans::Pooled).map_err(DevnetError::OutOfRange)
    }

    /// Opens another JSON-RPC endpoint of the same chain, on loopback and a free port. What goes wrong there goes wrong
    /// only there, as with a second provider of the same network.
    #[expect(clippy::unused_async, reason = "it needs a runtime, and being async it cannot be called without one")]
    pub async fn open_endpoint(&self) -> Result<Endpoint, DevnetError> {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listen_failed = |source| DevnetError::Listen { address: wanted, source };
        let listener = listen(wanted).map_err(listen_failed)?;
        let address = listener.local_addr().map_err(listen_failed)?;
        let faults = Faults::default();
        let (shutdown, ended) = watch::channel(());
        let site = Site { node: Arc::clone(&self.node), faults: faults.clone() };
        tokio::spawn(rpc::serve(listener, site, ended));
        Ok(Endpoint { address, faults, _shutdown: shutdown })
    }

    /// The handle to make things go wrong at [`Devnet::rpc_url`].
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Stops the chain, waits until its port is free and, for a moment, until requests under way are answered.
    pub async fn stop(mut self) {
        self.shutdown.send_replace(());
        if tokio::time::timeout(MAX_STOP_WAIT, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        self.shutdown.send_replace(());
        if let Some(miner) = &self.miner {
            miner.abort();
        }
    }
}
