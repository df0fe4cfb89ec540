//! A chain to settle on, with funded buyers and senders: the embedded one in a process of its own, or anvil, so that our
//! own chain can't flatter us.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use farthing::evm::signer::Signer;
use farthing_interop::chain::{Chain as InteropChain, ChainKind};
use serde_json::{Value, json};

use crate::child::Child;
use crate::sample::{self, ASSET, OPERATOR, PAY_TO, PAYERS, RIVAL};

/// What every buyer has: 1,000 USDC.
const PAYER_USDC_ATOMIC: u64 = 1_000_000_000;
/// What each sending account has: 10 ETH.
const OPERATOR_WEI: &str = "0x8ac7230489e80000";
/// What peers demand to be there though no measured payment calls it: the ERC-6492 validator, Permit2 and x402's proxy for
/// it. One byte of code, STOP, will do.
const DEMANDED: [&str; 3] = [
    "0xdAcD51A54883eb67D95FAEb2BBfdC4a9a6BD2a3B",
    "0x000000000022D473030F116dDEE9F6B43aC78BA3",
    "0x402085c248EeA27D92E8b30b2C58ed07f9E20001",
];
/// `Transfer(address,address,uint256)`.
const TRANSFER_TOPIC: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

/// Which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `farthing-devnet`.
    Devnet,
    /// foundry's anvil.
    Anvil,
}

/// When it makes blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// One for every transaction.
    Instant,
    /// At this interval, in whole seconds.
    EverySeconds(u64),
}

/// A running chain. It ends when dropped.
pub struct Chain {
    rpc_url: String,
    http: reqwest::Client,
    process: Process,
}

enum Process {
    Devnet(Child),
    Anvil { _chain: InteropChain },
}

impl Chain {
    /// Starts one.
    pub async fn start(kind: Kind, blocks: Blocks) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let payers = (0..PAYERS).map(|number| Ok(sample::payer(number)?.address())).collect::<anyhow::Result<Vec<_>>>()?;
        let chain = match kind {
            Kind::Devnet => {
                let seconds = if let Blocks::EverySeconds(seconds) = blocks { seconds } else { 0 };
                let child = Child::serve(&["devnet", &seconds.to_string()])?;
                let chain = Self { rpc_url: format!("http://{}", child.address()), http, process: Process::Devnet(child) };
                for payer in payers {
                    chain.ask("dev_giveUsdc", json!([payer.to_string(), format!("{PAYER_USDC_ATOMIC:#x}")])).await?;
                }
                chain
            }
            Kind::Anvil => {
                let anvil = InteropChain::start(ChainKind::Anvil).await?;
                for payer in payers {
                    anvil.fund(payer, PAYER_USDC_ATOMIC).await?;
                }
                let chain = Self { rpc_url: anvil.rpc_url().to_owned(), http, process: Process::Anvil { _chain: anvil } };
                if let Blocks::EverySeconds(seconds) = blocks {
                    chain.ask("evm_setAutomine", json!([false])).await?;
                    chain.ask("evm_setIntervalMining", json!([seconds])).await?;
                }
                chain
            }
        };
        for operator in [OPERATOR, RIVAL] {
            let address = sample::payer(operator)?.address().to_string();
            chain.ask("anvil_setBalance", json!([address, OPERATOR_WEI])).await?;
        }
        for address in DEMANDED {
            chain.ask("anvil_setCode", json!([address, "0x00"])).await?;
        }
        Ok(chain)
    }

    /// Where it listens.
    pub fn rpc_url(&self) -> &str {
        &self.rpc_url
    }

    /// The CPU time that it has used, in microseconds, where that can be told.
    pub fn cpu_microseconds(&self) -> anyhow::Result<Option<f64>> {
        match &self.process {
            Process::Devnet(child) => child.cpu_microseconds().map(Some),
            Process::Anvil { .. } => Ok(None),
        }
    }

    /// Asks it, as anybody would.
    pub async fn ask(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        let question = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.http.post(&self.rpc_url).header("content-type", "application/json").body(question.to_string());
        let mut answer: Value = serde_json::from_slice(&answer.send().await?.bytes().await?)?;
        if let Some(error) = answer.get("error") {
            bail!("{method}: {error}");
        }
        Ok(answer.get_mut("result").map(Value::take).unwrap_or_default())
    }

    /// Its height.
    pub async fn height(&self) -> anyhow::Result<u64> {
        quantity(&self.ask("eth_blockNumber", json!([])).await?)
    }

    /// Returns when it makes its next block, and says which.
    pub async fn next_block(&self) -> anyhow::Result<u64> {
        let height = self.height().await?;
        loop {
            let now = self.height().await?;
            if now > height {
                return Ok(now);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// How many transactions of an account wait to be mined.
    pub async fn waiting(&self, account: &str) -> anyhow::Result<u64> {
        let mined = quantity(&self.ask("eth_getTransactionCount", json!([account, "latest"])).await?)?;
        let all = quantity(&self.ask("eth_getTransactionCount", json!([account, "pending"])).await?)?;
        Ok(all.saturating_sub(mined))
    }

    /// How much gas these transactions used together, all of which must be mined and not reverted.
    pub async fn gas_of(&self, transactions: &[String]) -> anyhow::Result<u64> {
        let mut sum = 0_u64;
        for transaction in transactions {
            let receipt = self.ask("eth_getTransactionReceipt", json!([transaction])).await?;
            ensure!(receipt.get("status") == Some(&json!("0x1")), "{transaction} is not mined, or reverted");
            sum = sum.saturating_add(quantity(receipt.get("gasUsed").context("a receipt tells its gas")?)?);
        }
        Ok(sum)
    }

    /// The blocks above a height in which the seller was paid, one entry for each payment.
    pub async fn payments_above(&self, height: u64) -> anyhow::Result<Vec<u64>> {
        let seller = format!("0x{:0>64}", PAY_TO.trim_start_matches("0x").to_ascii_lowercase());
        let filter = json!([{
            "address": ASSET, "fromBlock": format!("{:#x}", height.saturating_add(1)), "toBlock": "latest",
            "topics": [TRANSFER_TOPIC, null, seller],
        }]);
        let logs = self.ask("eth_getLogs", filter).await?;
        let logs = logs.as_array().context("logs are a list")?;
        logs.iter().map(|log| quantity(log.get("blockNumber").context("a log has a block")?)).collect()
    }
}

/// A number as JSON-RPC writes it.
fn quantity(value: &Value) -> anyhow::Result<u64> {
    let text = value.as_str().and_then(|text| text.strip_prefix("0x")).context("expected a number of JSON-RPC")?;
    Ok(u64::from_str_radix(text, 16)?)
}
