//! Payers that are contracts, strictly: what an account is, its code decides.

use std::sync::Arc;

use alloy_sol_types::{SolCall, sol};
use farthing_core::BoxFuture;
use farthing_core::reason::Reason;
use farthing_core::scheme::{Outcome, VerifyError};
use farthing_core::wire::Extensions;
use farthing_devnet::{DELEGATE_7702, DELEGATE_PREFIX, SMART_WALLET_FACTORY};
use farthing_evm::asset::AssetTable;
use farthing_evm::signer::SignerError;
use farthing_evm::transfer::permit2::PERMIT2;
use farthing_evm::wallet::{ContractSigner, OwnedWallet};
use farthing_evm::{Address, B256, Bytes, U256, exact};
use farthing_testkit::golden;
use serde_json::{Value, json};

use crate::live::live;
use crate::market::*;
use crate::support::{Counting, StillClock, offer, payer, signer, usdc};

sol! {
    function createAccount(address owner, uint256 salt) external returns (address account);
}

/// An account that is delegated to code which wants a byte before the signature.
pub struct Delegated;

impl ContractSigner for Delegated {
    fn address(&self) -> Address {
        payer()
    }

    fn sign_hash(&self, hash: B256) -> BoxFuture<'_, Result<Vec<u8>, SignerError>> {
        Box::pin(async move {
            let signature = signer(golden::PAYER_KEY).sign_hash(hash).await?;
            Ok([&[DELEGATE_PREFIX], &signature.to_bytes()[..]].concat())
        })
    }
}

fn owned(address: Address) -> OwnedWallet {
    OwnedWallet::new(address, signer(golden::PAYER_KEY))
}

/// The owner's wallet, with a dollar in it.
fn deployed(market: &Market) -> Address {
    let wallet = market.devnet.create_smart_wallet(payer(), U256::from(7)).unwrap();
    market.devnet.give_usdc(wallet, U256::from(1_000_000)).unwrap();
    wallet
}

/// A wallet that is not there yet, with a dollar in it.
fn foretold(market: &Market) -> OwnedWallet {
    let address = market.devnet.smart_wallet_address(payer(), U256::from(8)).unwrap();
    market.devnet.give_usdc(address, U256::from(1_000_000)).unwrap();
    let call = createAccountCall { owner: payer(), salt: U256::from(8) }.abi_encode();
    owned(address).created_by(SMART_WALLET_FACTORY, call.into())
}

fn trusting(config: &mut farthing_evm::config::ChainConfig) {
    config.wallets.factories = vec![SMART_WALLET_FACTORY.to_string()];
}

async fn pay(market: &Market, wallet: impl ContractSigner + 'static, offer: &Value) -> Value {
    pay_by(&market.smart(wallet), offer, &Extensions::default()).await
}

#[tokio::test]
async fn a_smart_wallet_pays_by_eip3009_and_by_permit2() {
    let market = market(|_| {}).await;
    let wallet = deployed(&market);
    let by_token = pay(&market, owned(wallet), &offer()).await;
    market.verify(&by_token).await.unwrap();
    let settlement = market.settle(&by_token).await.unwrap();
    assert_eq!(settlement.payer.as_str(), wallet.to_string());
    market.devnet.set_allowance(usdc(), wallet, PERMIT2, U256::MAX).unwrap();
    let by_permit2 = pay(&market, owned(wallet), &offer_in(usdc())).await;
    let settlement = market.settle(&by_permit2).await.unwrap();
    assert_eq!(market.outcome(&by_permit2).await, Outcome::Settled(settlement));
    assert_eq!(market.received(), U256::from(20_000));
    assert_eq!(market.book.batches(), [1, 1], "a contract's payment goes by itself");
}

#[tokio::test]
async fn a_wallet_that_does_not_agree_does_not_pay() {
    let market = market(|_| {}).await;
    let wallet = deployed(&market);
    market.devnet.set_allowance(usdc(), wallet, PERMIT2, U256::MAX).unwrap();
    let stranger = || OwnedWallet::new(wallet, signer(golden::SECOND_KEY));
    let message = market.refused(&pay(&market, stranger(), &offer()).await, Reason::InvalidExactEvmSignature).await;
    assert!(message.contains("ERC-1271"), "{message}");
    market.refused(&pay(&market, stranger(), &offer_in(usdc())).await, Reason::InvalidPermit2Signature).await;
    // A contract that answers everything with nothing agrees to nothing.
    market.devnet.set_code(wallet, Bytes::from_static(&[0x00])).unwrap();
    market.refused(&pay(&market, owned(wallet), &offer()).await, Reason::InvalidExactEvmSignature).await;
}

#[tokio::test]
async fn an_account_with_code_is_asked_and_its_key_does_not_count() {
    let market = market(|_| {}).await;
    let by_key = pay_by(&market.wallet(golden::PAYER_KEY), &offer(), &Extensions::default()).await;
    market.verify(&by_key).await.unwrap();
    market.devnet.delegate(payer(), DELEGATE_7702).unwrap();
    market.refused(&by_key, Reason::InvalidExactEvmSignature).await;
    market.refused(&market.cent().await, Reason::InvalidPermit2Signature).await;
    for offer in [offer(), offer_in(usdc())] {
        let by_code = pay(&market, Delegated, &offer).await;
        market.settle(&by_code).await.unwrap();
    }
    assert_eq!(market.received(), U256::from(20_000));
}

#[tokio::test]
async fn a_wallet_is_created_with_its_first_payment_by_a_factory_that_is_trusted() {
    let market = market(trusting).await;
    let wallet = foretold(&market);
    let address = wallet.address();
    let request = pay(&market, wallet, &offer()).await;
    market.verify(&request).await.unwrap();
    assert!(market.book.sent().is_empty(), "verifying creates nothing");
    let settlement = market.settle(&request).await.unwrap();
    assert_eq!(market.book.sent().len(), 1, "wallet and payment share a transaction, in the book before it was sent");
    assert_eq!((settlement.payer.as_str(), market.received()), (address.to_string().as_str(), U256::from(10_000)));
    // The wrapper is still good for the next payment, without creating anything.
    let again = pay(&market, foretold(&market), &offer()).await;
    market.settle(&again).await.unwrap();
    assert_eq!(market.received(), U256::from(20_000));
}

#[tokio::test]
async fn no_factory_is_trusted_unless_the_operator_says_so() {
    let market = market(|_| {}).await;
    let request = pay(&market, foretold(&market), &offer()).await;
    let message = market.refused(&request, Reason::Eip6492FactoryNotAllowed).await;
    assert!(message.contains(&SMART_WALLET_FACTORY.to_string()), "{message}");
}

#[tokio::test]
async fn the_inner_signature_of_a_wallet_that_is_not_there_is_verified() {
    let market = market(trusting).await;
    let address = market.devnet.smart_wallet_address(payer(), U256::from(9)).unwrap();
    market.devnet.give_usdc(address, U256::from(1_000_000)).unwrap();
    let call = |owner, salt| Bytes::from(createAccountCall { owner, salt }.abi_encode());
    let forged =
        OwnedWallet::new(address, signer(golden::SECOND_KEY)).created_by(SMART_WALLET_FACTORY, call(payer(), U256::from(9)));
    market.refused(&pay(&market, forged, &offer()).await, Reason::InvalidExactEvmSignature).await;
    let elsewhere = owned(address).created_by(SMART_WALLET_FACTORY, call(payer(), U256::from(10)));
    market.refused(&pay(&market, elsewhere, &offer()).await, Reason::SmartWalletDeploymentFailed).await;
    let nothing = owned(address).created_by(SMART_WALLET_FACTORY, Bytes::from_static(&[1, 2, 3, 4]));
    market.refused(&pay(&market, nothing, &offer()).await, Reason::SmartWalletDeploymentFailed).await;
}

#[tokio::test]
async fn a_node_that_assumes_no_code_can_judge_wallets_that_are_there_only() {
    let live = live(trusting).await;
    live.node.assumes_nothing();
    let wallet = live.devnet.create_smart_wallet(payer(), U256::from(7)).unwrap();
    let missing = live.devnet.smart_wallet_address(payer(), U256::from(8)).unwrap();
    let call = createAccountCall { owner: payer(), salt: U256::from(8) }.abi_encode();
    let missing = owned(missing).created_by(SMART_WALLET_FACTORY, call.into());
    for (wallet, is_judged) in [(owned(wallet), true), (missing, false)] {
        live.devnet.give_usdc(wallet.address(), U256::from(1_000_000)).unwrap();
        let clock = StillClock::at(live.devnet.now());
        let (assets, entropy) = (Arc::new(AssetTable::known()), Arc::new(Counting::default()));
        let client = exact::Client::with_wallet(Arc::new(wallet), assets, clock, entropy);
        let verified = live.verify(&pay_by(&client, &offer(), &Extensions::default()).await).await;
        assert_eq!(verified.is_ok(), is_judged, "{verified:?}");
        assert!(!matches!(verified, Err(VerifyError::Invalid(_))), "what can't be checked is not refused");
    }
}

#[tokio::test]
async fn a_wrapper_that_is_none_is_told() {
    let market = market(trusting).await;
    let mut request = pay(&market, foretold(&market), &offer()).await;
    request["paymentPayload"]["payload"]["signature"] = json!(format!("0x{}", "6492".repeat(16)));
    let message = market.refused(&request, Reason::InvalidExactEvmSignature).await;
    assert!(message.contains("ERC-6492"), "{message}");
}

#[tokio::test]
async fn a_wallet_that_is_not_there_can_not_be_charged_by_upto() {
    let market = market(trusting).await;
    let wallet = foretold(&market);
    let exact = pay(&market, wallet, &offer_in(usdc())).await;
    let mut request = pay_by(&market.upto_wallet(), &upto_offer(), &Extensions::default()).await;
    request["paymentPayload"]["payload"]["signature"] = exact["paymentPayload"]["payload"]["signature"].clone();
    let from = exact["paymentPayload"]["payload"]["permit2Authorization"]["from"].clone();
    request["paymentPayload"]["payload"]["permit2Authorization"]["from"] = from;
    market.refused(&request, Reason::InvalidExactEvmPayloadUndeployedSmartWallet).await;
}

#[tokio::test]
async fn code_that_never_ends_is_stopped() {
    let market = market(|_| {}).await;
    let wallet = deployed(&market);
    let request = pay(&market, owned(wallet), &offer()).await;
    market.devnet.set_code(wallet, Bytes::from_static(&[0x5b, 0x60, 0x00, 0x56])).unwrap();
    market.refused(&request, Reason::InvalidExactEvmSignature).await;
}
