//! Embedded chains for demo, development and tests.
//!
//! [`Devnet`] is an EVM inside the process with JSON-RPC on loopback: what a payment needs of a chain, with no network, no
//! keys of value and no other software. USDC, Permit2 and the x402 proxies are there at their canonical addresses with their
//! typed data, a factory of smart wallets and tokens with awkward ways ([`DevToken`]) beside them; what goes wrong on real
//! chains (slow nodes, lost answers, dropped transactions, reorganisations) can be made to happen.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), farthing_devnet::DevnetError> {
//! use alloy_primitives::U256;
//! use farthing_devnet::{Devnet, Mining};
//!
//! let devnet = Devnet::builder().chain_id(84532).mining(Mining::Instant).start().await?;
//! let payer = devnet.accounts()[0].address;
//! devnet.give_usdc(payer, U256::from(5_000_000))?; // five dollars
//! assert_eq!(devnet.usdc_balance(payer), U256::from(5_000_000));
//! println!("JSON-RPC at {}", devnet.rpc_url());
//! devnet.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What is modelled, and what is not
//!
//! 1. The EVM of Prague, by revm; legacy, EIP-2930, EIP-1559 and EIP-7702 transactions; EIP-1559 base fees. No blobs, no
//!    L1 data fee of rollups, no EIP-2935 and EIP-4788 system contracts.
//! 2. Blocks have real hashes, parent links, transaction and receipt roots and blooms. The state root is zero: there are
//!    no proofs.
//! 3. Time is the system's plus an offset. Blocks made within one second share its timestamp. A call at `latest` or
//!    `pending` sees the timestamp that a block made now would have, so that an idle chain does not judge deadlines by its
//!    last block. `safe` and `finalized` are the newest block: nothing here is ever final.
//! 4. State can be read, and the chain reorganised, up to [`MAX_HISTORY_BLOCKS`] blocks back. Blocks, receipts and logs are
//!    kept for ever: memory grows with the number of transactions.
//! 5. Direct edits (balances, code, storage) belong to the newest block.
//! 6. Accounts cannot be impersonated and nothing is signed here; `pending` state is the newest state.

mod chain;
mod clock;
mod contracts;
mod devnet;
mod error;
mod execute;
mod fault;
mod filter;
mod genesis;
mod map;
mod node;
mod pool;
mod rpc;
mod state;
mod token;
mod transaction;
mod wallet;

pub use chain::MAX_HISTORY_BLOCKS;
pub use contracts::{
    Contract, DELEGATE_7702, DELEGATE_PREFIX, MULTICALL3, PERMIT2, SMART_WALLET_FACTORY, X402_EXACT_PERMIT2_PROXY,
    X402_UPTO_PERMIT2_PROXY, contracts,
};
pub use devnet::{Builder, Devnet, Endpoint, SnapshotId};
pub use error::DevnetError;
pub use fault::{ANY_METHOD, Fault, FaultId, Faults, MAX_FAULTS, Times};
pub use filter::{MAX_FILTERS, MAX_LOG_ALTERNATIVES, MAX_LOG_RANGE_BLOCKS, MAX_LOG_RESULTS};
pub use genesis::DevAccount;
pub use node::{MAX_MINE_BLOCKS, MAX_SNAPSHOTS, Mining};
pub use pool::MAX_POOL_TRANSACTIONS;
pub use rpc::{MAX_BATCH_REQUESTS, MAX_BODY_BYTES, MAX_CALL_GAS};
pub use token::DevToken;
pub use transaction::MAX_TRANSACTION_BYTES;
