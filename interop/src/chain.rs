//! The chain of a test.
//!
//! Every purchase runs on two chains: on our own, so that nothing but Farthing is needed to develop, and on anvil, so that
//! our own chain can't approve its own mistakes. Both have the same contracts at the same addresses and the same accounts.

use std::fmt;

use alloy_primitives::{Address, Bytes, U256, address, hex};
use alloy_sol_types::{SolCall, sol};
use anyhow::{Context, Result};
use farthing_devnet::Devnet;
use serde_json::{Value, json};
use tokio::process::Child;

use crate::{anvil, rpc::Rpc};

/// Base Sepolia.
pub const CHAIN_ID: u64 = 84532;
/// Its name in version 2 of the protocol.
pub const NETWORK: &str = "eip155:84532";
/// Its name in version 1 of the protocol.
pub const NETWORK_V1: &str = "base-sepolia";
/// USDC on Base Sepolia.
pub const TOKEN: Address = address!("0x036CbD53842c5426634e7929541eC2318f3dCF7e");

/// Who sends the facilitator's transactions: the first of the accounts that development chains have in common.
pub const FACILITATOR_KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// Who pays: the second.
pub const PAYER_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
/// The address of [`PAYER_KEY`].
pub const PAYER: Address = address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
/// Who is paid. Nobody has its key.
pub const PAYEE: Address = address!("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
/// Who may mint: the tenth.
pub(crate) const TOKEN_OWNER: Address = address!("0xa0Ee7A142d267C1f36714E4a8F75612F20a79720");

sol! {
    function balanceOf(address account) external view returns (uint256);
}

/// Which node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// foundry's anvil.
    Anvil,
    /// `farthing-devnet`.
    Devnet,
}

impl ChainKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Anvil, Self::Devnet];
}

impl fmt::Display for ChainKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Anvil => "anvil",
            Self::Devnet => "devnet",
        })
    }
}

/// A running chain, which ends when dropped.
pub struct Chain {
    node: Node,
    rpc: Rpc,
}

enum Node {
    Anvil { _process: Child },
    Devnet(Devnet),
}

impl Chain {
    /// Starts a chain on a free port, with USDC and the other contracts of our own chain in place.
    pub async fn start(kind: ChainKind) -> Result<Self> {
        Ok(match kind {
            ChainKind::Anvil => {
                let (process, rpc) = anvil::start().await?;
                Self { node: Node::Anvil { _process: process }, rpc }
            }
            ChainKind::Devnet => {
                let devnet = Devnet::builder().chain_id(CHAIN_ID).start().await?;
                let rpc = Rpc::new(devnet.rpc_url())?;
                Self { node: Node::Devnet(devnet), rpc }
            }
        })
    }

    /// Where JSON-RPC listens.
    pub fn rpc_url(&self) -> &str {
        self.rpc.url()
    }

    /// Gives an account money of the token, in atomic units.
    pub async fn fund(&self, account: Address, amount_atomic: u64) -> Result<()> {
        self.give(TOKEN, account, U256::from(amount_atomic)).await
    }

    /// Gives an account another token, one of `farthing_devnet::DevToken`, in atomic units.
    pub async fn give(&self, token: Address, account: Address, amount: U256) -> Result<()> {
        match &self.node {
            Node::Anvil { .. } => anvil::give(&self.rpc, token, account, amount).await,
            Node::Devnet(devnet) => Ok(devnet.give_tokens(token, account, amount)?),
        }
    }

    /// What an account has of the token, in atomic units. Asked of the node over JSON-RPC, as anybody would.
    pub async fn balance(&self, account: Address) -> Result<U256> {
        let data = Bytes::from(balanceOfCall { account }.abi_encode());
        number(&self.rpc.call("eth_call", json!([{"to": TOKEN.to_string(), "data": data.to_string()}, "latest"])).await?)
    }

    /// Whether a transaction is in a block and did not revert.
    pub async fn succeeded(&self, transaction: &str) -> Result<bool> {
        let receipt = self.rpc.call("eth_getTransactionReceipt", json!([transaction])).await?;
        Ok(receipt.get("status").is_some_and(|status| status == "0x1"))
    }
}

/// The result of a call that returns one number.
fn number(result: &Value) -> Result<U256> {
    let bytes = hex::decode(result.as_str().context("a call returns bytes")?)?;
    U256::try_from_be_slice(&bytes).context("the call returns one number")
}
