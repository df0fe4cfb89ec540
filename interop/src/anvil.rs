//! anvil, with our token where USDC is on Base Sepolia.

use std::{env, fs, path::PathBuf, process::Stdio, time::Duration};

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{SolCall, sol};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    chain::{CHAIN_ID, MULTICALL3, TOKEN, TOKEN_OWNER},
    installed,
    rpc::Rpc,
};

const START_LIMIT: Duration = Duration::from_secs(20);
const MINED_LIMIT: Duration = Duration::from_secs(10);

sol! {
    function initialize(string name, string symbol, string currency, uint8 decimals, string version, address owner);
    function configureMinter(address minter, uint256 allowance);
    function mint(address to, uint256 amount);
}

/// Starts anvil and puts the contracts there.
pub async fn start() -> Result<(Child, Rpc)> {
    let chain_id = CHAIN_ID.to_string();
    let mut child = Command::new(program()?)
        .args(["--chain-id", &chain_id, "--port", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start anvil")?;
    let mut lines = BufReader::new(child.stdout.take().context("anvil's output is ours")?).lines();
    let address = timeout(START_LIMIT, async {
        while let Some(line) = lines.next_line().await? {
            if let Some(address) = line.strip_prefix("Listening on ") {
                return Ok(address.to_owned());
            }
        }
        bail!("anvil ended before it listened")
    });
    let address = address.await.context("anvil does not listen")??;
    // It logs every call; a full pipe would stop it.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let rpc = Rpc::new(format!("http://{address}"))?;
    place_contracts(&rpc).await?;
    Ok((child, rpc))
}

/// Mints to an account.
pub async fn give(rpc: &Rpc, to: Address, amount: U256) -> Result<()> {
    send(rpc, mintCall { to, amount }.abi_encode()).await
}

async fn place_contracts(rpc: &Rpc) -> Result<()> {
    for (name, address) in [("FiatToken", TOKEN), ("Multicall3", MULTICALL3)] {
        let file = installed::root()?.join(format!("contracts/artifacts/{name}.json"));
        let text = fs::read_to_string(&file).with_context(|| format!("{} is missing", file.display()))?;
        let artifact: Value = serde_json::from_str(&text)?;
        let runtime = artifact.get("runtime").with_context(|| format!("{} has runtime code", file.display()))?;
        rpc.call("anvil_setCode", json!([address.to_string(), runtime])).await?;
    }
    let domain = initializeCall {
        name: "USDC".to_owned(),
        symbol: "USDC".to_owned(),
        currency: "USD".to_owned(),
        decimals: 6,
        version: "2".to_owned(),
        owner: TOKEN_OWNER,
    };
    send(rpc, domain.abi_encode()).await?;
    send(rpc, configureMinterCall { minter: TOKEN_OWNER, allowance: U256::MAX }.abi_encode()).await
}

/// Sends a transaction to the token from its owner, whose key anvil has, and waits until it is mined.
async fn send(rpc: &Rpc, call: Vec<u8>) -> Result<()> {
    let transaction =
        json!([{"from": TOKEN_OWNER.to_string(), "to": TOKEN.to_string(), "data": Bytes::from(call).to_string()}]);
    let hash = rpc.call("eth_sendTransaction", transaction).await?;
    let receipt = timeout(MINED_LIMIT, async {
        loop {
            let receipt = rpc.call("eth_getTransactionReceipt", json!([hash])).await?;
            if !receipt.is_null() {
                return anyhow::Ok(receipt);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    let receipt = receipt.await.with_context(|| format!("{hash} is not mined"))??;
    if receipt.get("status").and_then(Value::as_str) != Some("0x1") {
        bail!("the token refused {hash}");
    }
    Ok(())
}

/// The pinned binary where there is one for this platform, else whatever `anvil` is on the PATH.
fn program() -> Result<PathBuf> {
    let pinned = installed::set("anvil")?.join("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
    if pinned.exists() {
        return Ok(pinned);
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&folders).map(|folder| folder.join("anvil")).find(|file| file.exists());
    found.context("no anvil is pinned for this platform: install anvil 1.7.1 so that it is on the PATH")
}
