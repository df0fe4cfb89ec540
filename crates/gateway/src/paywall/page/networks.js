// Networks by chain id: what people call them, and for those that a wallet may have to be told of, the coin that fees are paid
// in, a public node, and where transactions can be looked up. Nothing of this is asked by the page itself.
const NETWORKS = {
  1: ["Ethereum", "ETH", "", "https://etherscan.io"],
  14: ["Flare"],
  50: ["XDC"],
  51: ["XDC Apothem"],
  137: ["Polygon", "POL", "https://polygon-rpc.com", "https://polygonscan.com"],
  143: ["Monad", "MON", "https://rpc.monad.xyz"],
  988: ["Stable"],
  1328: ["Sei testnet"],
  1329: ["Sei", "SEI", "https://evm-rpc.sei-apis.com"],
  2201: ["Stable testnet"],
  4326: ["MegaETH"],
  5042: ["Arc"],
  8453: ["Base", "ETH", "https://mainnet.base.org", "https://basescan.org"],
  10143: ["Monad testnet"],
  31611: ["Mezo testnet"],
  31612: ["Mezo"],
  36900: ["ADI Chain"],
  38833: ["Igra"],
  42161: ["Arbitrum", "ETH", "https://arb1.arbitrum.io/rpc", "https://arbiscan.io"],
  42220: ["Celo", "CELO", "https://forno.celo.org", "https://celoscan.io"],
  43113: ["Avalanche Fuji", "AVAX", "https://api.avax-test.network/ext/bc/C/rpc"],
  43114: ["Avalanche", "AVAX", "https://api.avax.network/ext/bc/C/rpc", "https://snowtrace.io"],
  72344: ["Radius testnet"],
  84532: ["Base Sepolia", "ETH", "https://sepolia.base.org", "https://sepolia.basescan.org"],
  181228: ["HPP Sepolia"],
  190415: ["HPP"],
  421614: ["Arbitrum Sepolia", "ETH", "https://sepolia-rollup.arbitrum.io/rpc", "https://sepolia.arbiscan.io"],
  723487: ["Radius"],
  5042002: ["Arc testnet"],
  11142220: ["Celo Sepolia"],
  11155111: ["Sepolia", "ETH", "", "https://sepolia.etherscan.io"],
};

/** The chain id of a network such as `eip155:8453`; null for networks of other families. */
function chainIdOf(network) {
  return /^eip155:[1-9][0-9]{0,14}$/.test(network) ? Number(network.slice(7)) : null;
}

function networkName(network) {
  return NETWORKS[chainIdOf(network)]?.[0] ?? network;
}

/** What a wallet is told of a network that it does not know; null if nobody told us. */
function introduction(chainId) {
  const [name, symbol, node, explorer] = NETWORKS[chainId] ?? [];
  if (!node) return null;
  return {
    chainId: "0x" + chainId.toString(16),
    chainName: name,
    nativeCurrency: { name: symbol, symbol, decimals: 18 },
    rpcUrls: [node],
    ...(explorer && { blockExplorerUrls: [explorer] }),
  };
}

/** Where a transaction can be looked up, if we know. */
function transactionUrl(network, hash) {
  const explorer = NETWORKS[chainIdOf(network)]?.[3];
  return explorer && /^0x[0-9a-fA-F]{64}$/.test(hash) ? `${explorer}/tx/${hash}` : null;
}

// What people call tokens that are signed for under other names.
const TOKENS = { "USD Coin": "USDC", "Bridged USDC": "USDC.e", "Tether USD": "USDT", "USD\u20ae0": "USDT0" };

/** What people call the token of an offer; nothing, if it has no name. */
function tokenName({ extra }) {
  return TOKENS[extra?.name] ?? extra?.name ?? "";
}
