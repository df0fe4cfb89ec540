//! The chain of a test.
//!
//! Every purchase runs on two chains: on our own, so that nothing but Farthing is needed to develop, and on anvil, so that
//! our own chain can't approve its own mistakes. Both have the same contracts at the same addresses and the same accounts.

use std::fmt;

use alloy_primitives::{Address, Bytes, U256, address, hex};
use alloy_sol_types::{SolCall, SolEvent, sol};
use anyhow::{Context, Result};
use farthing_devnet::{DevToken, Devnet, PERMIT2, SMART_WALLET_FACTORY};
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
/// A token that has nothing but ERC-20, and whose approvals answer nothing, as Tether's on Ethereum: what it costs to sell
/// in it needs an approval on the chain. It has six decimals, too.
pub const PLAIN_TOKEN: DevToken = DevToken::RETURNS_NOTHING;

/// Who sends the facilitator's transactions: the first of the accounts that development chains have in common.
pub const FACILITATOR_KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// Who is paid. Nobody has its key.
pub const PAYEE: Address = address!("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
/// Who may mint: the tenth.
pub(crate) const TOKEN_OWNER: Address = address!("0xa0Ee7A142d267C1f36714E4a8F75612F20a79720");
/// More than an approval's gas costs.
const GAS_WEI: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

sol! {
    event Transfer(address indexed from, address indexed to, uint256 value);
    function balanceOf(address account) external view returns (uint256);
    function createAccount(address owner, uint256 salt) external returns (address account);
    function getAddress(address owner, uint256 salt) external view returns (address account);
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

    /// Sets what an account has of the network's own coin.
    pub async fn set_ether(&self, account: Address, wei: U256) -> Result<()> {
        self.rpc.call("anvil_setBalance", json!([account.to_string(), format!("{wei:#x}")])).await.map(drop)
    }

    /// Lets Permit2 move an account's tokens.
    pub async fn allow_permit2(&self, token: Address, holder: Address) -> Result<()> {
        match &self.node {
            Node::Anvil { .. } => {
                self.set_ether(holder, GAS_WEI).await?;
                anvil::approve(&self.rpc, token, holder, PERMIT2).await
            }
            Node::Devnet(devnet) => Ok(devnet.set_allowance(token, holder, PERMIT2, U256::MAX)?),
        }
    }

    /// Creates an owner's smart wallet.
    pub async fn create_wallet(&self, owner: Address, salt: U256) -> Result<Address> {
        match &self.node {
            Node::Anvil { .. } => {
                let call = createAccountCall { owner, salt }.abi_encode();
                anvil::send(&self.rpc, TOKEN_OWNER, SMART_WALLET_FACTORY, call.into()).await?;
                self.wallet_address(owner, salt).await
            }
            Node::Devnet(devnet) => Ok(devnet.create_smart_wallet(owner, salt)?),
        }
    }

    /// Where an owner's smart wallet is, or will be.
    pub async fn wallet_address(&self, owner: Address, salt: U256) -> Result<Address> {
        self.view(SMART_WALLET_FACTORY, &getAddressCall { owner, salt }).await
    }

    /// Delegates an account to a contract (EIP-7702).
    pub async fn delegate(&self, account: Address, contract: Address) -> Result<()> {
        let code = hex::encode_prefixed([&[0xef, 0x01, 0x00], contract.as_slice()].concat());
        self.rpc.call("anvil_setCode", json!([account.to_string(), code])).await.map(drop)
    }

    /// What an account has of USDC, in atomic units. Asked of the node over JSON-RPC, as anybody would.
    pub async fn balance(&self, account: Address) -> Result<U256> {
        self.balance_of(TOKEN, account).await
    }

    /// What an account has of a token, in atomic units.
    pub async fn balance_of(&self, token: Address, account: Address) -> Result<U256> {
        self.view(token, &balanceOfCall { account }).await
    }

    /// How many transactions an account has sent; a contract counts what it has created, itself included.
    pub async fn transactions_of(&self, account: Address) -> Result<u64> {
        let count = self.rpc.call("eth_getTransactionCount", json!([account.to_string(), "latest"])).await?;
        Ok(count.as_str().context("a count is a text")?.parse::<U256>()?.try_into()?)
    }

    /// Whether there is a contract, or an account that delegates to one.
    pub async fn has_code(&self, account: Address) -> Result<bool> {
        let code = self.rpc.call("eth_getCode", json!([account.to_string(), "latest"])).await?;
        Ok(code.as_str().context("code is a text")?.len() > "0x".len())
    }

    /// Whatever has left an account since the chain began: of which token, to whom, how much.
    pub async fn transfers_from(&self, account: Address) -> Result<Vec<(Address, Address, U256)>> {
        let topics = [Transfer::SIGNATURE_HASH.to_string(), account.into_word().to_string()];
        let filter = json!([{"fromBlock": "0x0", "toBlock": "latest", "topics": topics}]);
        let logs = self.rpc.call("eth_getLogs", filter).await?;
        let transfer = |log: &Value| -> Result<_> {
            let text = |path: &str| log.pointer(path).and_then(Value::as_str).context("a log is whole");
            let to = Address::from_word(text("/topics/2")?.parse()?);
            Ok((text("/address")?.parse()?, to, text("/data")?.parse()?))
        };
        logs.as_array().context("logs are a list")?.iter().map(transfer).collect()
    }

    async fn view<C: SolCall>(&self, contract: Address, call: &C) -> Result<C::Return> {
        let data = Bytes::from(call.abi_encode()).to_string();
        let answer = self.rpc.call("eth_call", json!([{"to": contract.to_string(), "data": data}, "latest"])).await?;
        Ok(C::abi_decode_returns(&hex::decode(answer.as_str().context("a call returns bytes")?)?)?)
    }

    /// The data of a transaction.
    pub async fn data_of(&self, transaction: &str) -> Result<Vec<u8>> {
        let found = self.rpc.call("eth_getTransactionByHash", json!([transaction])).await?;
        Ok(hex::decode(found.get("input").and_then(Value::as_str).context("a transaction has data")?)?)
    }

    /// Whether a transaction is in a block and did not revert.
    pub async fn succeeded(&self, transaction: &str) -> Result<bool> {
        let receipt = self.rpc.call("eth_getTransactionReceipt", json!([transaction])).await?;
        Ok(receipt.get("status").is_some_and(|status| status == "0x1"))
    }
}
