//! anvil, with the contracts of our own chain at the same addresses, or those of the public networks where anvil has them.

use std::{env, path::PathBuf, process::Stdio, time::Duration};

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::{SolCall, sol};
use anyhow::{Context, Result, bail};
use farthing_devnet::{MULTICALL3, PERMIT2, contracts};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    chain::{CHAIN_ID, TOKEN, TOKEN_OWNER},
    installed,
    rpc::Rpc,
};

const START_LIMIT: Duration = Duration::from_secs(20);
const MINED_LIMIT: Duration = Duration::from_secs(10);

sol! {
    function configureMinter(address minter, uint256 allowance);
    function mint(address to, uint256 amount);
    function approve(address spender, uint256 value);
}

/// Starts anvil and puts the contracts there.
pub async fn start() -> Result<(Child, Rpc)> {
    let (child, rpc) = launch(&["--chain-id", &CHAIN_ID.to_string()]).await?;
    place_contracts(&rpc).await?;
    Ok((child, rpc))
}

async fn launch(arguments: &[&str]) -> Result<(Child, Rpc)> {
    let mut child = Command::new(program()?)
        .args(arguments)
        .args(["--port", "0"])
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
    Ok((child, Rpc::new(format!("http://{address}"))?))
}

/// Mints to an account: USDC, or another token of the chain.
pub async fn give(rpc: &Rpc, token: Address, to: Address, amount: U256) -> Result<()> {
    send(rpc, TOKEN_OWNER, token, mintCall { to, amount }.abi_encode().into()).await
}

/// Lets a spender move all of a holder's tokens. The holder pays for the gas; anvil needs nobody's key for it.
pub async fn approve(rpc: &Rpc, token: Address, holder: Address, spender: Address) -> Result<()> {
    rpc.call("anvil_impersonateAccount", json!([holder.to_string()])).await?;
    send(rpc, holder, token, approveCall { spender, value: U256::MAX }.abi_encode().into()).await?;
    rpc.call("anvil_stopImpersonatingAccount", json!([holder.to_string()])).await.map(drop)
}

/// Places what our own chain has, and the calls that give it its state. Where anvil carries the contract of the public
/// networks, that one is taken instead of ours.
async fn place_contracts(rpc: &Rpc) -> Result<()> {
    let genuine = genuine_contracts().await.context("cannot read the contracts that anvil carries")?;
    for contract in contracts(CHAIN_ID)? {
        let code = genuine.iter().find(|(address, _)| *address == contract.address).map(|(_, code)| code.clone());
        let code = code.unwrap_or_else(|| contract.code.to_string());
        rpc.call("anvil_setCode", json!([contract.address.to_string(), code])).await?;
        if let Some(data) = contract.initialize {
            send(rpc, TOKEN_OWNER, contract.address, data)
                .await
                .with_context(|| format!("cannot initialise {}", contract.name))?;
        }
    }
    let allow = configureMinterCall { minter: TOKEN_OWNER, allowance: U256::MAX };
    send(rpc, TOKEN_OWNER, TOKEN, allow.abi_encode().into()).await
}

/// The deployed code of Permit2 and Multicall3: anvil has both where it stands for a network that begins with them.
async fn genuine_contracts() -> Result<Vec<(Address, String)>> {
    let (_process, rpc) = launch(&["--network", "tempo"]).await?;
    let mut found = Vec::new();
    for address in [PERMIT2, MULTICALL3] {
        let code = rpc.call("eth_getCode", json!([address.to_string(), "latest"])).await?;
        let code = code.as_str().filter(|code| code.len() > "0x".len());
        found.push((address, code.with_context(|| format!("anvil has nothing at {address}"))?.to_owned()));
    }
    Ok(found)
}

/// Sends a transaction to a contract from an account that anvil sends for, and waits until it is mined.
pub async fn send(rpc: &Rpc, from: Address, to: Address, data: Bytes) -> Result<()> {
    let transaction = json!([{"from": from.to_string(), "to": to.to_string(), "data": data.to_string()}]);
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
        bail!("{to} refused {hash}");
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
