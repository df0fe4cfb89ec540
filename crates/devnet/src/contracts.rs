//! The contracts that are on every chain from its start, and where.

use std::sync::LazyLock;

use alloy_primitives::{Address, Bytes, address};

use crate::error::DevnetError;
use crate::token::{self, DevToken};

/// Where Multicall3 is on every network.
pub const MULTICALL3: Address = address!("0xcA11bde05977b3631167028862bE2a173976CA11");
/// Where Permit2 is on every network. Here it has transfers of one token by signature, and `nonceBitmap` in slot 0.
pub const PERMIT2: Address = address!("0x000000000022D473030F116dDEE9F6B43aC78BA3");
/// Where the proxy of x402's scheme `exact` is on every network.
pub const X402_EXACT_PERMIT2_PROXY: Address = address!("0x402085c248EeA27D92E8b30b2C58ed07f9E20001");
/// Where the proxy of x402's scheme `upto` is on every network.
pub const X402_UPTO_PERMIT2_PROXY: Address = address!("0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002");
/// Creates ERC-1271 wallets: `createAccount(address owner, uint256 salt)`, `getAddress(address owner, uint256 salt)`. Only
/// here, as what follows.
pub const SMART_WALLET_FACTORY: Address = address!("0xFA00000000000000000000000000000000000001");
/// What an account can be delegated to (EIP-7702): it agrees with [`DELEGATE_PREFIX`] and 65 bytes of ECDSA by the account.
pub const DELEGATE_7702: Address = address!("0xFa00000000000000000000000000000000000002");
/// The byte before a signature that [`DELEGATE_7702`] agrees with. A bare signature it refuses.
pub const DELEGATE_PREFIX: u8 = 0x77;

pub(crate) const FIAT_TOKEN: (&str, &str) = ("FiatToken", include_str!("../../../contracts/artifacts/FiatToken.json"));
const ERC20: (&str, &str) = ("Erc20", include_str!("../../../contracts/artifacts/Erc20.json"));

/// What needs no call before it works.
const READY: &[(&str, Address, &str)] = &[
    ("Multicall3", MULTICALL3, include_str!("../../../contracts/artifacts/Multicall3.json")),
    ("Permit2", PERMIT2, include_str!("../../../contracts/artifacts/Permit2.json")),
    (
        "X402ExactPermit2Proxy",
        X402_EXACT_PERMIT2_PROXY,
        include_str!("../../../contracts/artifacts/X402ExactPermit2Proxy.json"),
    ),
    ("X402UptoPermit2Proxy", X402_UPTO_PERMIT2_PROXY, include_str!("../../../contracts/artifacts/X402UptoPermit2Proxy.json")),
    ("SmartWalletFactory", SMART_WALLET_FACTORY, include_str!("../../../contracts/artifacts/SmartWalletFactory.json")),
    ("Delegate7702", DELEGATE_7702, include_str!("../../../contracts/artifacts/Delegate7702.json")),
];

/// A contract of a development chain. Another node has the same contract after `anvil_setCode` with its code and, if there
/// is an `initialize`, one transaction with that data from any account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// The name of its source in `contracts/`.
    pub name: &'static str,
    /// Where it is.
    pub address: Address,
    /// Its runtime code.
    pub code: Bytes,
    /// The data of the call that gives it its state.
    pub initialize: Option<Bytes>,
}

/// What a chain has before its first block: USDC of the network first, then what is the same on all.
pub fn contracts(chain_id: u64) -> Result<Vec<Contract>, DevnetError> {
    let usdc = token::find_usdc(chain_id)?;
    let mut all = vec![contract(FIAT_TOKEN, usdc.address, Some(usdc.initialize()))?];
    all.extend_from_slice(common()?);
    Ok(all)
}

/// An artifact of ours that cannot be used.
#[derive(Debug, Clone)]
pub(crate) struct Unusable {
    pub name: &'static str,
    pub detail: String,
}

impl From<Unusable> for DevnetError {
    fn from(Unusable { name, detail }: Unusable) -> Self {
        Self::Contract { name, detail }
    }
}

/// What is the same on all chains. Reading the artifacts takes milliseconds, so that it is done once.
pub(crate) fn common() -> Result<&'static [Contract], Unusable> {
    static COMMON: LazyLock<Result<Vec<Contract>, Unusable>> = LazyLock::new(|| {
        let mut all = Vec::new();
        for (name, address, artifact) in READY {
            all.push(contract((name, artifact), *address, None)?);
        }
        let erc20 = contract(ERC20, Address::ZERO, None)?;
        for token in DevToken::ALL {
            let (address, initialize) = (token.address, Some(token.initialize()));
            all.push(Contract { address, initialize, ..erc20.clone() });
        }
        Ok(all)
    });
    COMMON.as_deref().map_err(Unusable::clone)
}

pub(crate) fn contract(
    (name, artifact): (&'static str, &str),
    address: Address,
    initialize: Option<Bytes>,
) -> Result<Contract, Unusable> {
    let code = runtime(artifact).map_err(|detail| Unusable { name, detail })?;
    Ok(Contract { name, address, code, initialize })
}

fn runtime(artifact: &str) -> Result<Bytes, String> {
    let artifact: serde_json::Value = serde_json::from_str(artifact).map_err(|error| error.to_string())?;
    let runtime = artifact.get("runtime").and_then(serde_json::Value::as_str).ok_or("the artifact has no runtime")?;
    runtime.parse().map_err(|error| format!("runtime is not hexadecimal: {error}"))
}
