//! Payers that are to become contracts.

use alloy_sol_types::{SolCall, sol};
use farthing::core::reason::Reason;
use farthing::evm::wallet::OwnedWallet;
use farthing::evm::{Bytes, U256};
use farthing_devnet::{Mining, SMART_WALLET_FACTORY};
use farthing_testkit::golden;

use crate::desk::{Desk, offer, signer};

sol! {
    function createAccount(address owner, uint256 salt) external returns (address account);
}

pub async fn given() -> Vec<Reason> {
    let trusting = |config: &mut farthing::evm::config::ChainConfig| {
        config.wallets.factories = vec![SMART_WALLET_FACTORY.to_string()];
    };
    let desk = Desk::open_with(Mining::Instant, trusting, |setup| setup).await;
    let owner = golden::PAYER.parse().unwrap();
    let missing = desk.devnet.smart_wallet_address(owner, U256::from(8)).unwrap();
    desk.devnet.give_usdc(missing, U256::from(1_000_000)).unwrap();
    let create = Bytes::from(createAccountCall { owner, salt: U256::from(8) }.abi_encode());
    let wallet = |factory, call: &Bytes| OwnedWallet::new(missing, signer(golden::PAYER_KEY)).created_by(factory, call.clone());
    let mut given = Vec::new();
    for (reason, factory, call, offer) in [
        (Reason::Eip6492FactoryNotAllowed, desk.relayer(), &create, offer()),
        (Reason::SmartWalletDeploymentFailed, SMART_WALLET_FACTORY, &Bytes::new(), offer()),
        (Reason::InvalidExactEvmPayloadUndeployedSmartWallet, SMART_WALLET_FACTORY, &create, desk.upto_offer()),
    ] {
        let request = desk.pay_from(wallet(factory, call), &offer).await;
        given.push(desk.refusal(&reason, &request).await);
    }
    // Nothing else was wrong with it.
    let good = desk.pay_from(wallet(SMART_WALLET_FACTORY, &create), &offer()).await;
    desk.settle_well(&good).await;
    given
}
