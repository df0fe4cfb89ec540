//! EVM networks: `eip155:<chain id>`, and the names by which people know them.

use farthing_core::network::Network;

/// The chain family of every network here.
pub const NAMESPACE: &str = "eip155";

/// Chain ids and what the chains are called.
const NAMES: &[(u64, &str)] = &[
    (1, "Ethereum"),
    (14, "Flare"),
    (50, "XDC"),
    (51, "XDC Apothem"),
    (137, "Polygon"),
    (143, "Monad"),
    (988, "Stable"),
    (1_328, "Sei testnet"),
    (1_329, "Sei"),
    (1_514, "Story"),
    (2_201, "Stable testnet"),
    (2_741, "Abstract"),
    (3_338, "peaq"),
    (4_326, "MegaETH"),
    (4_689, "IoTeX"),
    (5_042, "Arc"),
    (8_453, "Base"),
    (10_143, "Monad testnet"),
    (11_124, "Abstract testnet"),
    (31_611, "Mezo testnet"),
    (31_612, "Mezo"),
    (36_900, "ADI Chain"),
    (38_833, "Igra"),
    (41_923, "EDU Chain"),
    (42_161, "Arbitrum"),
    (42_220, "Celo"),
    (43_113, "Avalanche Fuji"),
    (43_114, "Avalanche"),
    (72_344, "Radius testnet"),
    (80_002, "Polygon Amoy"),
    (84_532, "Base Sepolia"),
    (181_228, "HPP Sepolia"),
    (190_415, "HPP"),
    (421_614, "Arbitrum Sepolia"),
    (723_487, "Radius"),
    (5_042_002, "Arc testnet"),
    (11_142_220, "Celo Sepolia"),
    (11_155_111, "Sepolia"),
    (324_705_682, "SKALE Base Sepolia"),
];

/// Chain ids, and how long a block takes, of networks where that is longer than a few seconds.
const SLOW: &[(u64, u64)] = &[(1, 12), (11_155_111, 12)];

/// How long a block takes, in seconds, on a network that is known to be slow; 0 for all others.
pub fn slow_block_seconds(chain_id: u64) -> u64 {
    SLOW.iter().find(|(known, _)| *known == chain_id).map_or(0, |(_, seconds)| *seconds)
}

/// The chain id of an EVM network; `None` for networks of other families.
pub fn chain_id(network: &Network) -> Option<u64> {
    let reference = network.reference();
    let plain = !reference.starts_with('0') && reference.bytes().all(|byte| byte.is_ascii_digit());
    if network.namespace() == NAMESPACE && plain { reference.parse().ok() } else { None }
}

/// The network with that chain id.
#[expect(clippy::expect_used, reason = "digits after eip155: are always a network")]
pub fn network(chain_id: u64) -> Network {
    format!("{NAMESPACE}:{chain_id}").parse().expect("eip155 and a number are a network")
}

/// What people call the network, where it is known here.
pub fn name(network: &Network) -> Option<&'static str> {
    let id = chain_id(network)?;
    NAMES.iter().find(|(known, _)| *known == id).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_chain_ids_are_evm_networks() {
        assert_eq!(chain_id(&network(84_532)), Some(84_532));
        assert_eq!(name(&network(84_532)), Some("Base Sepolia"));
        for other in ["solana:8453", "eip155:08453", "eip155:0", "eip155:0x1", "eip155:-1", "eip155:99999999999999999999999"] {
            assert_eq!(chain_id(&other.parse().unwrap()), None, "{other}");
        }
    }

    #[test]
    fn chains_are_listed_once_in_order() {
        assert!(NAMES.is_sorted_by(|(before, _), (after, _)| before < after));
    }
}
