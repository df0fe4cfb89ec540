//! Payers that are contracts: ERC-1271 (there), EIP-7702 (an account that was given code), ERC-6492 (not there yet).
//!
//! Strictly by code: whoever has code is asked for its own judgement, and whoever has none must have signed with its key.

use std::sync::Arc;

use alloy_sol_types::{SolCall as _, sol};
use axum::Router;
use axum::routing::get;
use farthing::core::reason::Reason;
use farthing::core::{BoxFuture, Source};
use farthing::evm::signer::{Signer, SignerError};
use farthing::evm::wallet::{ContractSigner, OwnedWallet};
use farthing::evm::{Address, B256, U256};
use farthing_devnet::{DELEGATE_7702, DELEGATE_PREFIX, SMART_WALLET_FACTORY};

use crate::market::{Market, refusal};

sol! {
    function createAccount(address owner, uint256 salt) external returns (address account);
}

/// An account with code of the chain's own kind, which wants a byte before the signature of its key.
struct Delegated(Arc<dyn Signer>);

impl ContractSigner for Delegated {
    fn address(&self) -> Address {
        self.0.address()
    }

    fn sign_hash(&self, hash: B256) -> BoxFuture<'_, Result<Vec<u8>, SignerError>> {
        Box::pin(async move {
            let signature = self.0.sign_hash(hash).await?.to_bytes();
            Ok([&[DELEGATE_PREFIX], signature.as_slice()].concat())
        })
    }
}

pub async fn run() -> Result<(), Source> {
    let mut market = Market::open().await?;
    // Wallets that are there need no configuration. Contracts that create wallets, at the operator's expense, must be named.
    let wallets = vec![SMART_WALLET_FACTORY.to_string()];
    let facilitator = market.facilitator_with(|chain| chain.wallets.factories = wallets)?.start()?;
    let toll = market.seller(facilitator)?.build().await?;
    let layer = toll.price("$0.10")?;
    market.serve(Router::new().route("/report", get(|| async { "14 ships in" }).layer(layer)))?;
    let report = format!("{}/report", market.url);

    there(&market, &report).await?;
    given_code(&market, &report).await?;
    not_there_yet(&market, &report).await
}

/// ERC-1271: the wallet has dollars, its owner has a key, and nobody but the facilitator needs coin for gas.
async fn there(market: &Market, report: &str) -> Result<(), Source> {
    let owner = market.signer(2)?;
    let address = market.devnet.create_smart_wallet(owner.address(), U256::ZERO)?;
    market.fund(address)?;
    let client = farthing::Client::builder().smart_wallet(Arc::new(OwnedWallet::new(address, owner))).build()?;
    client.get(report).send().await?;
    assert_eq!(market.earned()?, "$0.1");
    println!("  a wallet by ERC-1271 has paid");
    Ok(())
}

/// EIP-7702: from the moment on in which an account has code, its key alone is not its signature any more.
async fn given_code(market: &Market, report: &str) -> Result<(), Source> {
    let account = market.signer(3)?;
    market.fund(account.address())?;
    market.devnet.delegate(account.address(), DELEGATE_7702)?;

    let by_key = farthing::Client::builder().signer(Arc::clone(&account)).build()?;
    assert_eq!(refusal(&by_key, report).await?.reason, Some(Reason::InvalidExactEvmSignature));
    println!("  by the key of an account with code: {}", Reason::InvalidExactEvmSignature);

    let by_code = farthing::Client::builder().smart_wallet(Arc::new(Delegated(account))).build()?;
    by_code.get(report).send().await?;
    assert_eq!(market.earned()?, "$0.2");
    println!("  the same account has paid, its code agreeing");
    Ok(())
}

/// ERC-6492: the first payment creates the wallet, if the facilitator knows the contract that does it.
async fn not_there_yet(market: &Market, report: &str) -> Result<(), Source> {
    let owner = market.signer(4)?;
    let address = market.devnet.smart_wallet_address(owner.address(), U256::ZERO)?;
    market.fund(address)?;
    let creation = createAccountCall { owner: owner.address(), salt: U256::ZERO }.abi_encode();
    let wallet_by = |factory: Address| {
        let wallet = OwnedWallet::new(address, Arc::clone(&owner)).created_by(factory, creation.clone().into());
        farthing::Client::builder().smart_wallet(Arc::new(wallet)).build()
    };

    let by_stranger = wallet_by(Address::repeat_byte(0x66))?;
    assert_eq!(refusal(&by_stranger, report).await?.reason, Some(Reason::Eip6492FactoryNotAllowed));
    println!("  created by a contract that nobody knows: {}", Reason::Eip6492FactoryNotAllowed);

    wallet_by(SMART_WALLET_FACTORY)?.get(report).send().await?;
    assert_eq!(market.earned()?, "$0.3");
    println!("  a wallet was created by ERC-6492, and has paid");
    Ok(())
}
