//! Golden vectors: values that other implementations of x402 produced, to be met byte for byte.
//!
//! Made with viem and the typed data of the official TypeScript SDK 2.27 (protocol reference §13). The keys are the
//! well-known development keys; nothing of value may ever be sent to them.

/// The payer's private key: development key 0.
pub const PAYER_KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
/// The payer.
pub const PAYER: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
/// The second party: development account 1.
pub const SECOND: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
/// The private key of the second party.
pub const SECOND_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";
/// Base Sepolia's chain id.
pub const CHAIN_ID: u64 = 84_532;
/// Base Sepolia.
pub const NETWORK: &str = "eip155:84532";
/// USDC on Base Sepolia.
pub const ASSET: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
/// Who is paid.
pub const PAY_TO: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";
/// How much: one cent.
pub const AMOUNT: u64 = 10_000;
/// When the authorisation ends, in seconds since 1970.
pub const VALID_BEFORE: u64 = 1_800_000_000;

/// A transfer by EIP-3009: domain `USDC` / `2`, `validAfter` 0, nonce 0x11 × 32.
pub mod eip3009 {
    /// The nonce.
    pub const NONCE: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";
    /// The typed-data hash.
    pub const DIGEST: &str = "0x17812f370f14c75f639f248dd234c5b1f5c31db4e1edc5fed455b4a55a504c28";
    /// The payer's signature.
    pub const SIGNATURE: &str = "0xb94ef123cd6d9ddd3d07c0ca613bfdda66fa4dfa9643d26b88b548aadb58f820635c7c9e214548348d6e30f3d920b13dceea7bef05e329c54b6cebb53cc70fd01b";
}

/// Transfers by Permit2: `validAfter` 0, deadline [`VALID_BEFORE`].
pub mod permit2 {
    /// The nonce.
    pub const NONCE: u64 = 7;
    /// The typed-data hash for `exact`.
    pub const EXACT_DIGEST: &str = "0xbf2d9891c1f566fb8ef8543315addb98f76d25416fd555f97e7134e8a0b8e002";
    /// The payer's signature of it.
    pub const EXACT_SIGNATURE: &str = "0x85ab25f285f1f17165ab3c7c8b16ba53c60de4f165df59f6d78074a7da3afa74272e58f092d3228e28ce436925fcfcd8c600afae82a41ae7c8072a35e51c861a1c";
    /// The typed-data hash for `upto`, with [`SECOND`](super::SECOND) as the facilitator.
    pub const UPTO_DIGEST: &str = "0xfb967580684c90286560c23b234af20743e1a191a3676696fe5cf0c606e76fca";
    /// The payer's signature of it.
    pub const UPTO_SIGNATURE: &str = "0xa47cccc2c9e0a0bf9cd341ef8e350ad537fed7a385bd04559bf8c8487e27fd9d37d96def0638ef9589bdd05d495dc5a001bb0bcd193159dd58eba86cc66387b01b";
}

/// A permit by EIP-2612 for Permit2: domain `USDC` / `2`, nonce 0, deadline [`VALID_BEFORE`].
pub mod eip2612 {
    /// The typed-data hash.
    pub const DIGEST: &str = "0x5b33e3c54faa5a075ed8a5c0d70c6b6130df1ba957074730b8ba20f35c684aa6";
    /// The payer's signature.
    pub const SIGNATURE: &str = "0x364a40590f3db2bedf8f6149182ac9a0ee21844b971033748f4acc4c2e37c7265ff1fb52152372483659cd40e0163e79f0d13ecfaf4a8ec899c18309a807e3191c";
}
