//! The tokens that are known here: where they are, how they count, and the EIP-712 domain under which they are signed.
//!
//! The list is complete as of the official TypeScript SDK 2.27 (protocol reference §9.1), with the three networks that
//! the foundation's main line added since. Every token on it stands for one US dollar. What the table says of a token's
//! domain wins over what an offer says: a signature over another domain would be worthless, or worse.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use alloy_primitives::{Address, B256, address};
use farthing_core::asset::Asset;
use farthing_core::network::Network;
use farthing_core::wire::PaymentRequirements;
use serde::Deserialize;

use crate::config::{AssetConfig, ConfigError};
use crate::network::{chain_id, network};
use crate::text::{asset_id, parse_address};
use crate::transfer::domain_separator;

/// How a token can be moved by signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransferMethod {
    /// The token itself understands signed transfers.
    Eip3009,
    /// Through the Permit2 contract, for tokens that do not.
    Permit2,
}

impl fmt::Display for TransferMethod {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Eip3009 => "eip3009",
            Self::Permit2 => "permit2",
        })
    }
}

/// What is known of one token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAsset {
    /// Where it lives.
    pub network: Network,
    /// The same, as the chain counts chains.
    pub chain_id: u64,
    /// Its contract.
    pub address: Address,
    /// What people call it.
    pub symbol: String,
    /// How many atomic units make one: 10^decimals.
    pub decimals: u8,
    /// The name in its EIP-712 domain; often not its symbol, and different from chain to chain.
    pub name: String,
    /// The version in its EIP-712 domain.
    pub version: String,
    /// How it is moved by signature unless an offer says otherwise.
    pub method: TransferMethod,
    /// Whether it takes approvals by signature (EIP-2612). Where it does not, offers by Permit2 leave its domain out, which is
    /// how clients learn that they need not try.
    pub permits: bool,
    /// Whether one stands for one US dollar.
    pub usd: bool,
    /// Whether it is told of here, by this table, and not by a user: its domain was read from its contract, and of what it
    /// moves, all arrives.
    pub is_built_in: bool,
    /// The hash of its EIP-712 domain, made once.
    pub domain_separator: B256,
}

impl KnownAsset {
    /// The token as roles see it.
    pub fn to_asset(&self) -> Asset {
        Asset {
            network: self.network.clone(),
            id: asset_id(self.address),
            symbol: self.symbol.clone(),
            decimals: self.decimals,
            usd: self.usd,
        }
    }
}

/// The tokens that a role deals in; tokens that are not here are neither priced in, nor paid with, nor settled.
#[derive(Clone, Debug)]
pub struct AssetTable {
    assets: Vec<Arc<KnownAsset>>,
    places: HashMap<(u64, Address), usize>,
}

impl AssetTable {
    /// The tokens that are known without being told.
    pub fn known() -> Self {
        let mut table = Self { assets: Vec::with_capacity(ROWS.len()), places: HashMap::with_capacity(ROWS.len()) };
        for row in ROWS {
            table.insert(row.to_known());
        }
        table
    }

    /// Adds a user's own token. A token that is known already is replaced, so that an operator can correct the table.
    pub fn with(mut self, config: &AssetConfig) -> Result<Self, ConfigError> {
        self.insert(config.to_known()?);
        Ok(self)
    }

    /// Keeps only these tokens of a network, by address; the others of that network are unknown from then on. A token that
    /// is not known is an error: a misspelt address must not silently mean that nothing is taken.
    pub fn only(mut self, network: &Network, addresses: &[String]) -> Result<Self, ConfigError> {
        let mut allowed = Vec::with_capacity(addresses.len());
        for text in addresses {
            let address = parse_address(text).filter(|address| self.on(network).any(|asset| asset.address == *address));
            allowed.push(address.ok_or_else(|| ConfigError::UnknownAsset { network: network.clone(), got: text.clone() })?);
        }
        self.assets.retain(|asset| asset.network != *network || allowed.contains(&asset.address));
        self.places = self.assets.iter().enumerate().map(|(place, asset)| ((asset.chain_id, asset.address), place)).collect();
        Ok(self)
    }

    /// The token with that contract.
    pub fn get(&self, chain_id: u64, address: Address) -> Option<&Arc<KnownAsset>> {
        self.places.get(&(chain_id, address)).and_then(|place| self.assets.get(*place))
    }

    /// The token that an offer is about.
    pub fn of(&self, requirements: &PaymentRequirements) -> Option<&Arc<KnownAsset>> {
        self.get(chain_id(&requirements.network)?, parse_address(requirements.asset.as_str())?)
    }

    /// The tokens of one network, the default one first.
    pub fn on<'a>(&'a self, network: &Network) -> impl Iterator<Item = &'a Arc<KnownAsset>> + use<'a> {
        let network = network.clone();
        self.assets.iter().filter(move |asset| asset.network == network)
    }

    fn insert(&mut self, asset: KnownAsset) {
        let key = (asset.chain_id, asset.address);
        let asset = Arc::new(asset);
        if let Some(known) = self.places.get(&key).and_then(|place| self.assets.get_mut(*place)) {
            *known = asset;
        } else {
            self.places.insert(key, self.assets.len());
            self.assets.push(asset);
        }
    }
}

impl AssetConfig {
    fn to_known(&self) -> Result<KnownAsset, ConfigError> {
        let chain_id = chain_id(&self.network).ok_or_else(|| ConfigError::Network(self.network.clone()))?;
        let address =
            parse_address(&self.address).ok_or_else(|| ConfigError::Address { field: "address", got: self.address.clone() })?;
        Ok(KnownAsset {
            network: self.network.clone(),
            chain_id,
            address,
            symbol: self.symbol.clone(),
            decimals: self.decimals,
            domain_separator: domain_separator(&self.name, &self.version, chain_id, address),
            name: self.name.clone(),
            version: self.version.clone(),
            method: self.method,
            permits: self.permits,
            usd: self.usd,
            is_built_in: false,
        })
    }
}

struct Row {
    chain_id: u64,
    address: Address,
    symbol: &'static str,
    decimals: u8,
    name: &'static str,
    version: &'static str,
    method: TransferMethod,
    permits: bool,
}

impl Row {
    fn to_known(&self) -> KnownAsset {
        KnownAsset {
            network: network(self.chain_id),
            chain_id: self.chain_id,
            address: self.address,
            symbol: self.symbol.to_owned(),
            decimals: self.decimals,
            name: self.name.to_owned(),
            version: self.version.to_owned(),
            method: self.method,
            permits: self.permits,
            usd: true,
            is_built_in: true,
            domain_separator: domain_separator(self.name, self.version, self.chain_id, self.address),
        }
    }
}

/// A row: chain, contract, symbol, decimals, domain name, domain version, method, and `without_permits` where it lacks EIP-2612.
macro_rules! rows {
    ($(
        $chain_id:literal $address:literal $symbol:literal $decimals:literal $name:literal $version:literal $method:ident
        $($lack:ident)?;
    )*) => {
        const ROWS: &[Row] = &[$(Row {
            chain_id: $chain_id,
            address: address!($address),
            symbol: $symbol,
            decimals: $decimals,
            name: $name,
            version: $version,
            method: TransferMethod::$method,
            permits: rows!(@permits $($lack)?),
        }),*];
    };
    (@permits) => { true };
    (@permits without_permits) => { false };
}

rows! {
    // Base, Base Sepolia
    8_453 "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913" "USDC" 6 "USD Coin" "2" Eip3009;
    84_532 "0x036CbD53842c5426634e7929541eC2318f3dCF7e" "USDC" 6 "USDC" "2" Eip3009;
    // Ethereum
    1 "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48" "USDC" 6 "USD Coin" "2" Eip3009;
    // Avalanche
    43_114 "0xB97EF9Ef8734C71904D8002F8b6Bc66Dd9c48a6E" "USDC" 6 "USD Coin" "2" Eip3009;
    // Polygon
    137 "0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359" "USDC" 6 "USD Coin" "2" Eip3009;
    // Arbitrum, Arbitrum Sepolia
    42_161 "0xaf88d065e77c8cC2239327C5EDb3A432268e5831" "USDC" 6 "USD Coin" "2" Eip3009;
    421_614 "0x75faf114eafb1BDbe2F0316DF893fd58CE46AA4d" "USDC" 6 "USD Coin" "2" Eip3009;
    // Monad, Monad testnet
    143 "0x754704Bc059F8C67012fEd69BC8A327a5aafb603" "USDC" 6 "USDC" "2" Eip3009;
    10_143 "0x534b2f3A21130d7a60830c2Df862319e593943A3" "USDC" 6 "USDC" "2" Eip3009;
    // Stable, Stable testnet
    988 "0x779Ded0c9e1022225f8E0630b35a9b54bE713736" "USDT0" 6 "USDT0" "1" Eip3009;
    2_201 "0x78Cf24370174180738C5B8E352B6D14c83a6c9A9" "USDT0" 6 "USDT0" "1" Eip3009;
    // MegaETH
    4_326 "0xFAfDdbb3FC7688494971a79cc65DCa3EF82079E7" "MegaUSD" 18 "MegaUSD" "1" Permit2;
    // Mezo, Mezo testnet
    31_612 "0xdD468A1DDc392dcdbEf6db6e34E89AA338F9F186" "mUSD" 18 "Mezo USD" "1" Permit2;
    31_611 "0x118917a40FAF1CD7a13dB0Ef56C86De7973Ac503" "mUSD" 18 "Mezo USD" "1" Permit2;
    // Radius, Radius testnet
    723_487 "0x33ad9e4BD16B69B5BFdED37D8B5D9fF9aba014Fb" "SBC" 6 "Stable Coin" "1" Permit2;
    72_344 "0x33ad9e4BD16B69B5BFdED37D8B5D9fF9aba014Fb" "SBC" 6 "Stable Coin" "1" Permit2;
    // ADI Chain
    36_900 "0x9cb8142aEBBcdc60AF7c97Af897A67A8f3CA71C2" "USDC.e" 6 "USDC.e" "2" Eip3009;
    // HPP, HPP Sepolia
    190_415 "0x401eCb1D350407f13ba348573E5630B83638E30D" "USDC.e" 6 "Bridged USDC" "2" Eip3009;
    181_228 "0x401eCb1D350407f13ba348573E5630B83638E30D" "USDC.e" 6 "Bridged USDC" "2" Eip3009;
    // XDC, XDC Apothem
    50 "0xfA2958CB79b0491CC627c1557F441eF849Ca8eb1" "USDC" 6 "USDC" "2" Eip3009;
    51 "0xb5AB69F7bBada22B28e79C8FFAECe55eF1c771D4" "USDC" 6 "USDC" "2" Eip3009;
    // Igra
    38_833 "0xA5b8BF902b2844dA17d4506cc827F7F1681735E7" "USDC" 6 "USDC" "1" Permit2 without_permits;
    // Flare
    14 "0xe7cd86e13AC4309349F30B3435a9d337750fC82D" "USDT0" 6 "USD\u{20AE}0" "1" Eip3009;
    // Celo, Celo Sepolia
    42_220 "0xcebA9300f2b948710d2653dD7B07f33A8B32118C" "USDC" 6 "USDC" "2" Eip3009;
    42_220 "0x48065fbBE25f71C9282ddf5e1cD6D6A887483D5e" "USDT" 6 "Tether USD" "1" Eip3009;
    42_220 "0xD2ab3C9A02DBBAB236BfEC45D1d755DF4267F771" "USAT" 6 "Tether America USD" "1" Eip3009;
    11_142_220 "0x01C5C0122039549AD1493B8220cABEdD739BC44E" "USDC" 6 "USDC" "2" Eip3009;
    // Sei, Sei testnet
    1_329 "0xe15fC38F6D8c56aF07bbCBe3BAf5708A2Bf42392" "USDC" 6 "USDC" "2" Eip3009;
    1_328 "0x4fCF1784B31630811181f670Aea7A7bEF803eaED" "USDC" 6 "USDC" "2" Eip3009;
    // Arc, Arc testnet: the token is a view of the native balance, which counts 18 decimals by itself
    5_042 "0x3600000000000000000000000000000000000000" "USDC" 6 "USDC" "2" Eip3009;
    5_042_002 "0x3600000000000000000000000000000000000000" "USDC" 6 "USDC" "2" Eip3009;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_complete_and_every_network_has_a_name() {
        let table = AssetTable::known();
        assert_eq!(table.assets.len(), 31);
        for asset in &table.assets {
            assert!(crate::network::name(&asset.network).is_some(), "{} has no name", asset.network);
            assert_eq!(table.get(asset.chain_id, asset.address), Some(asset));
        }
    }

    #[test]
    fn what_the_official_table_says_of_permits_is_said_here() {
        let table = AssetTable::known();
        let lacking: Vec<u64> = table.assets.iter().filter(|asset| !asset.permits).map(|asset| asset.chain_id).collect();
        assert_eq!(lacking, [38_833]);
    }

    #[test]
    fn domain_separators_are_those_of_the_deployed_tokens() {
        // What DOMAIN_SEPARATOR() of USDC answers on Ethereum.
        let table = AssetTable::known();
        let usdc = table.get(1, address!("0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48")).unwrap();
        let expected = "0x06c37168a7db5138defc7866392bb87a741f9b3d104deb5094588ce041cae335";
        assert_eq!(usdc.domain_separator.to_string(), expected);
    }

    #[test]
    fn the_default_asset_of_a_network_comes_first() {
        let table = AssetTable::known();
        let symbols: Vec<&str> = table.on(&network(42_220)).map(|asset| asset.symbol.as_str()).collect();
        assert_eq!(symbols, ["USDC", "USDT", "USAT"]);
    }

    #[test]
    fn a_users_own_token_is_added_and_a_known_one_corrected() {
        let own = AssetConfig {
            network: network(31_337),
            address: "0x5FbDB2315678afecb367f032d93F642f64180aa3".to_owned(),
            symbol: "TEST".to_owned(),
            decimals: 6,
            name: "Test Dollar".to_owned(),
            version: "1".to_owned(),
            method: TransferMethod::Eip3009,
            permits: true,
            usd: true,
        };
        let corrected = AssetConfig {
            network: network(84_532),
            address: "0x036CbD53842c5426634e7929541eC2318f3dCF7e".to_owned(),
            name: "USD Coin".to_owned(),
            ..own.clone()
        };
        let table = AssetTable::known().with(&own).unwrap().with(&corrected).unwrap();
        assert_eq!(table.assets.len(), 32);
        assert_eq!(table.on(&network(84_532)).map(|asset| asset.name.as_str()).collect::<Vec<_>>(), ["USD Coin"]);
        let bad = AssetConfig { address: "0x12".to_owned(), ..own.clone() };
        assert!(AssetTable::known().with(&bad).unwrap_err().to_string().contains("0x12"));
        let solana = AssetConfig { network: "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp".parse().unwrap(), ..own };
        assert!(AssetTable::known().with(&solana).is_err());
    }
}
