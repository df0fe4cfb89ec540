//! Smart wallets that mean no good: whatever their code does, nothing settles that they did not agree to, nobody else pays
//! for it, and what they make the facilitator spend has an end.

use alloy_sol_types::{SolCall, SolValue, sol};
use farthing_core::BoxFuture;
use farthing_core::reason::Reason;
use farthing_core::scheme::{SettleError, VerifyError};
use farthing_core::wire::Extensions;
use farthing_devnet::{DELEGATE_7702, DevToken, Mining, SMART_WALLET_FACTORY};
use farthing_evm::config::ChainConfig;
use farthing_evm::signer::SignerError;
use farthing_evm::transfer::permit2::PERMIT2;
use farthing_evm::wallet::{ContractSigner, OwnedWallet};
use farthing_evm::{Address, B256, Bytes, U256};
use farthing_testkit::golden;
use serde_json::Value;

use crate::market::*;
use crate::support::{RELAYER_KEY, offer, payer, signer, usdc};
use crate::wallets::Delegated;

sol! {
    function createAccount(address owner, uint256 salt) external returns (address account);
    function transfer(address to, uint256 value) external returns (bool);
    function approve(address spender, uint256 value) external returns (bool);
}

/// The selector of `isValidSignature`, which is what an account answers that agrees.
const AGREED: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];
/// More than any wallet's payment may use.
const ENDLESS: Bytes = Bytes::from_static(&[0x5b, 0x60, 0x00, 0x56]);

/// A contract's payer whose signature is these bytes.
struct Signs(Address, Vec<u8>);

impl ContractSigner for Signs {
    fn address(&self) -> Address {
        self.0
    }

    fn sign_hash(&self, _: B256) -> BoxFuture<'_, Result<Vec<u8>, SignerError>> {
        Box::pin(std::future::ready(Ok(self.1.clone())))
    }
}

/// Code that answers everything with so many bytes, the first four of which agree.
fn agreeing_at_length(bytes: u32) -> Bytes {
    let mut code = vec![0x63];
    code.extend(AGREED);
    // SHL by 224 bits, to the front of the word.
    code.extend([0x60, 0xe0, 0x1b, 0x60, 0x00, 0x52, 0x63]);
    code.extend(bytes.to_be_bytes());
    code.extend([0x60, 0x00, 0xf3]);
    code.into()
}

/// Code that agrees to everything.
fn agreeing() -> Bytes {
    agreeing_at_length(32)
}

/// Code that approves Permit2 for USDC, if it may, and agrees to everything.
fn approving() -> Bytes {
    let mut code = vec![0x63];
    code.extend(approveCall::SELECTOR);
    code.extend([0x60, 0xe0, 0x1b, 0x60, 0x00, 0x52, 0x73]);
    code.extend(PERMIT2);
    code.extend([0x60, 0x04, 0x52, 0x60, 0x00, 0x19, 0x60, 0x24, 0x52]);
    // CALL with these 68 bytes, whatever comes of it.
    code.extend([0x60, 0x00, 0x60, 0x00, 0x60, 0x44, 0x60, 0x00, 0x60, 0x00, 0x73]);
    code.extend(usdc());
    // What it may not do costs it all that it gives away: 60,000.
    code.extend([0x62, 0x00, 0xea, 0x60, 0xf1, 0x50]);
    code.extend(agreeing().iter());
    code.into()
}

/// Code that agrees after it counted down from there, at 26 units of gas each.
fn agreeing_after(rounds: u16) -> Bytes {
    let mut code = vec![0x61];
    code.extend(rounds.to_be_bytes());
    code.extend([0x5b, 0x60, 0x01, 0x90, 0x03, 0x80, 0x60, 0x03, 0x57]);
    code.extend(agreeing().iter());
    code.into()
}

/// Code that agrees in calls that nobody pays for, and to nothing in a transaction.
fn two_faced() -> Bytes {
    // GASPRICE, and on to the INVALID at the end if it is more than nothing.
    let mut code = vec![0x3a, 0x60, 0x18, 0x57];
    code.extend(agreeing().iter());
    assert!(code.len() <= 0x18);
    code.resize(0x18, 0x00);
    code.extend([0x5b, 0xfe]);
    code.into()
}

/// The payer's wallet, with a dollar in it that Permit2 may move.
fn wallet(market: &Market) -> Address {
    let wallet = market.devnet.create_smart_wallet(payer(), U256::from(7)).unwrap();
    market.devnet.give_usdc(wallet, U256::from(1_000_000)).unwrap();
    market.devnet.set_allowance(usdc(), wallet, PERMIT2, U256::MAX).unwrap();
    wallet
}

fn owned(address: Address) -> OwnedWallet {
    OwnedWallet::new(address, signer(golden::PAYER_KEY))
}

async fn pay(market: &Market, wallet: impl ContractSigner + 'static, offer: &Value) -> Value {
    pay_by(&market.smart(wallet), offer, &Extensions::default()).await
}

/// Both ways to pay a cent, with the reasons for which a signature is refused and a transaction has failed.
fn ways() -> [(Value, Reason); 2] {
    [(offer(), Reason::InvalidExactEvmSignature), (offer_in(usdc()), Reason::InvalidPermit2Signature)]
}

async fn rejected(market: &Market, request: &Value) -> Reason {
    match market.settle(request).await {
        Err(SettleError::Rejected(refusal)) => refusal.reason,
        other => panic!("expected a rejection, got {other:?}"),
    }
}

#[tokio::test]
async fn only_the_one_right_answer_is_agreement() {
    let market = market(|_| {}).await;
    let wallet = wallet(&market);
    let reverts_with_agreement = {
        let mut code = agreeing().to_vec();
        *code.last_mut().unwrap() = 0xfd;
        Bytes::from(code)
    };
    let dirty = Bytes::from_static(&[0x63, 0x16, 0x26, 0xba, 0x7e, 0x60, 0x00, 0x52, 0x60, 0x20, 0x60, 0x00, 0xf3]);
    let codes = [
        ("reverts", Bytes::from_static(&[0x60, 0x00, 0x60, 0x00, 0xfd])),
        ("breaks", Bytes::from_static(&[0xfe])),
        ("reverts with what would agree", reverts_with_agreement),
        ("answers nothing", Bytes::from_static(&[0x00])),
        ("answers true", Bytes::from_static(&[0x60, 0x01, 0x60, 0x00, 0x52, 0x60, 0x20, 0x60, 0x00, 0xf3])),
        ("has its word at the wrong end", dirty),
        ("says four bytes only", agreeing_at_length(4)),
        ("says too much", agreeing_at_length(64)),
        ("says a megabyte", agreeing_at_length(1 << 20)),
        ("never ends", ENDLESS),
    ];
    for (offer, reason) in ways() {
        let request = pay(&market, owned(wallet), &offer).await;
        for (name, code) in &codes {
            market.devnet.set_code(wallet, code.clone()).unwrap();
            let refusal = market.refusal(&request).await;
            assert_eq!(refusal.reason, reason, "{name}: {}", refusal.message);
            assert_eq!(rejected(&market, &request).await, reason, "{name}");
        }
        market.devnet.set_code(wallet, agreeing()).unwrap();
        market.settle(&request).await.unwrap();
    }
    assert_eq!(market.book.sent().len(), 2);
}

#[tokio::test]
async fn a_wallet_that_agrees_at_a_price_is_paid_for_up_to_the_limit_only() {
    let market = market(|config| config.gas.max_units = 200_000).await;
    let wallet = wallet(&market);
    let request = pay(&market, owned(wallet), &offer()).await;
    // More than a look at it may use, and less than that, but more than its payment may.
    for (rounds, is_refused) in [(40_000, true), (10_000, false)] {
        market.devnet.set_code(wallet, agreeing_after(rounds)).unwrap();
        match market.verify(&request).await {
            Err(VerifyError::Invalid(refusal)) if is_refused => assert_eq!(refusal.reason, Reason::InvalidExactEvmSignature),
            Err(VerifyError::Unavailable(cause)) if !is_refused => {
                assert!(cause.to_string().contains("gas.max_units"), "{cause}");
            }
            other => panic!("{rounds} rounds: {other:?}"),
        }
        assert!(market.settle(&request).await.is_err());
    }
    assert!(market.book.sent().is_empty() && market.received().is_zero());
    // Nobody else's payment looks more expensive for it.
    market.settle(&market.cent().await).await.unwrap();
}

#[tokio::test]
async fn a_wallet_that_changes_its_mind_after_it_was_verified_is_asked_again() {
    let market = market(|_| {}).await;
    let wallet = wallet(&market);
    for (offer, reason) in ways() {
        market.devnet.set_code(wallet, agreeing()).unwrap();
        let request = pay(&market, owned(wallet), &offer).await;
        market.verify(&request).await.unwrap();
        market.devnet.set_code(wallet, Bytes::from_static(&[0xfe])).unwrap();
        assert_eq!(rejected(&market, &request).await, reason);
    }
    assert!(market.book.sent().is_empty() && market.received().is_zero());
}

#[tokio::test]
async fn a_wallet_that_changes_its_mind_on_the_way_settles_nothing_and_costs_one_transaction() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |_| {}).await;
    let wallet = wallet(&market);
    for (offer, _) in ways() {
        market.devnet.set_code(wallet, agreeing()).unwrap();
        let request = pay(&market, owned(wallet), &offer).await;
        let spoil = async {
            market.until_pending(signer(RELAYER_KEY).address()).await;
            market.devnet.set_code(wallet, Bytes::from_static(&[0xfe])).unwrap();
            market.devnet.mine(1).unwrap();
        };
        let (told, ()) = tokio::join!(rejected(&market, &request), spoil);
        assert_eq!(told, Reason::InvalidExactEvmTransactionFailed);
    }
    assert_eq!((market.book.sent().len(), market.received()), (2, U256::ZERO));
}

/// No simulation finds out a wallet that tells simulations apart: what it can make the operator spend is limited.
#[tokio::test]
async fn a_two_faced_wallet_spends_no_more_than_its_days_budget() {
    let market = market(|config| config.gas.daily_budget_per_payer_gwei = Some(1_000_000)).await;
    let wallet = wallet(&market);
    market.devnet.set_code(wallet, two_faced()).unwrap();
    let mut failed = 0;
    let told = loop {
        let request = pay(&market, owned(wallet), &offer()).await;
        market.verify(&request).await.unwrap();
        match market.settle(&request).await {
            Err(SettleError::Rejected(refusal)) => {
                assert_eq!(refusal.reason, Reason::InvalidExactEvmTransactionFailed, "{}", refusal.message);
                failed += 1;
                assert!(failed < 1_000, "it may go on for ever");
            }
            Err(SettleError::NotSent(cause)) => break cause.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(told.contains("budget") && failed > 0, "{failed}: {told}");
    assert_eq!(market.received(), U256::ZERO);
    // Others have budgets of their own.
    market.settle(&market.cent().await).await.unwrap();
}

/// While it is asked by itself, it may do as it likes; when money moves, the contracts let it answer and nothing else.
#[tokio::test]
async fn a_wallet_that_helps_itself_while_it_is_asked_is_not_taken_at_its_word() {
    let market = market(|_| {}).await;
    let wallet = wallet(&market);
    market.devnet.set_allowance(usdc(), wallet, PERMIT2, U256::ZERO).unwrap();
    market.devnet.set_code(wallet, approving()).unwrap();
    let request = pay(&market, owned(wallet), &offer_in(usdc())).await;
    match market.verify(&request).await {
        Err(VerifyError::Unavailable(cause)) => assert!(cause.to_string().contains("payer's code"), "{cause}"),
        other => panic!("{other:?}"),
    }
    assert!(market.settle(&request).await.is_err());
    assert!(market.book.sent().is_empty(), "no gas was burnt");
}

/// EIP-3009 came without ERC-1271 first, and some tokens have it still so.
#[tokio::test]
async fn a_token_for_ordinary_accounts_only_takes_no_wallets_payment() {
    let market = market(|_| {}).await;
    let (wallet, token) = (wallet(&market), DevToken::SILENT_REPLAY);
    market.devnet.give_tokens(token.address, wallet, U256::from(1_000_000)).unwrap();
    let mut offer = offer_in(token.address);
    offer["extra"] = serde_json::json!({"name": token.name, "version": DevToken::DOMAIN_VERSION});
    let request = pay(&market, owned(wallet), &offer).await;
    market.refused(&request, Reason::InvalidExactEvmTransactionSimulationFailed).await;
    // Permit2 asks the wallet whatever the token knows.
    market.devnet.set_allowance(token.address, wallet, PERMIT2, U256::MAX).unwrap();
    market.settle(&pay(&market, owned(wallet), &offer_in(token.address)).await).await.unwrap();
}

/// Made for a wallet that is not there, by a contract that nobody named: not even looked at.
#[tokio::test]
async fn no_call_of_the_payers_choice_is_made_in_the_name_of_a_wallet() {
    let trusting = |config: &mut ChainConfig| config.wallets.factories = vec![SMART_WALLET_FACTORY.to_string()];
    let market = market(trusting).await;
    let missing = market.devnet.smart_wallet_address(payer(), U256::from(8)).unwrap();
    market.devnet.give_usdc(missing, U256::from(1_000_000)).unwrap();
    let create = Bytes::from(createAccountCall { owner: payer(), salt: U256::from(8) }.abi_encode());
    let steal = Bytes::from(transferCall { to: payer(), value: U256::ONE }.abi_encode());
    let own: Address = market.devnet.accounts()[5].address;
    for (factory, call) in
        [(own, create.clone()), (usdc(), steal.clone()), (PERMIT2, Bytes::new()), (Address::ZERO, create.clone())]
    {
        for (offer, _) in ways() {
            let request = pay(&market, owned(missing).created_by(factory, call.clone()), &offer).await;
            market.refused(&request, Reason::Eip6492FactoryNotAllowed).await;
            assert_eq!(rejected(&market, &request).await, Reason::Eip6492FactoryNotAllowed);
        }
    }
    // An ordinary account in the clothes of a wallet, with a signature by its own key inside.
    for (factory, call, reason) in [
        (own, create.clone(), Reason::Eip6492FactoryNotAllowed),
        (SMART_WALLET_FACTORY, create, Reason::SmartWalletDeploymentFailed),
        (SMART_WALLET_FACTORY, steal, Reason::SmartWalletDeploymentFailed),
    ] {
        let request = pay(&market, owned(payer()).created_by(factory, call), &offer()).await;
        market.refused(&request, reason).await;
    }
    assert!(market.book.sent().is_empty());
}

/// A wrapper says how a wallet comes to be; of one that is there it is worth nothing.
#[tokio::test]
async fn a_wrapper_around_a_strangers_signature_opens_no_wallet_that_is_there() {
    let market = market(|_| {}).await;
    let wallet = wallet(&market);
    let stranger = || OwnedWallet::new(wallet, signer(golden::SECOND_KEY));
    for (offer, reason) in ways() {
        let forged = stranger().created_by(SMART_WALLET_FACTORY, Bytes::new());
        market.refused(&pay(&market, forged, &offer).await, reason).await;
        let good = owned(wallet).created_by(SMART_WALLET_FACTORY, Bytes::new());
        market.settle(&pay(&market, good, &offer).await).await.unwrap();
    }
}

#[tokio::test]
async fn a_signature_of_any_length_is_judged_by_the_wallet_alone() {
    let market = market(|_| {}).await;
    let wallet = wallet(&market);
    for signature in [Vec::new(), vec![0], vec![0xff; 64], vec![0xff; 65], vec![7; 8 * 1024]] {
        for (offer, reason) in ways() {
            let request = pay(&market, Signs(wallet, signature.clone()), &offer).await;
            market.refused(&request, reason).await;
        }
    }
    let words = (B256::repeat_byte(1), B256::repeat_byte(2)).abi_encode();
    for (offer, reason) in ways() {
        let too_long = pay(&market, Signs(wallet, vec![7; 8 * 1024 + 1]), &offer).await;
        market.refused(&too_long, reason.clone()).await;
        market.refused(&pay(&market, Signs(payer(), words.clone()), &offer).await, reason).await;
    }
}

#[tokio::test]
async fn an_account_pays_by_its_delegation_while_it_has_one_and_by_its_key_otherwise() {
    let market = market(|_| {}).await;
    for (offer, reason) in ways() {
        let by_key = pay_by(&market.wallet(golden::PAYER_KEY), &offer, &Extensions::default()).await;
        let by_code = pay(&market, Delegated, &offer).await;
        market.refused(&by_code, reason.clone()).await;
        market.verify(&by_key).await.unwrap();
        market.devnet.delegate(payer(), DELEGATE_7702).unwrap();
        assert_eq!(rejected(&market, &by_key).await, reason, "it was good before");
        market.verify(&by_code).await.unwrap();
        // Delegated to an account without code, which answers nothing, and to itself, which calls nothing.
        for target in [market.devnet.accounts()[4].address, payer()] {
            market.devnet.delegate(payer(), target).unwrap();
            market.refused(&by_code, reason.clone()).await;
            market.refused(&by_key, reason.clone()).await;
        }
        market.devnet.set_code(payer(), Bytes::new()).unwrap();
        assert_eq!(rejected(&market, &by_code).await, reason);
        market.settle(&by_key).await.unwrap();
    }
    assert_eq!(market.book.sent().len(), 2);
}

#[tokio::test]
async fn a_delegation_that_begins_on_the_way_settles_nothing() {
    let market = market_with(Mining::Manual, &[RELAYER_KEY], |_| {}).await;
    for (offer, _) in ways() {
        let by_key = pay_by(&market.wallet(golden::PAYER_KEY), &offer, &Extensions::default()).await;
        let spoil = async {
            market.until_pending(signer(RELAYER_KEY).address()).await;
            market.devnet.delegate(payer(), DELEGATE_7702).unwrap();
            market.devnet.mine(1).unwrap();
        };
        let (told, ()) = tokio::join!(rejected(&market, &by_key), spoil);
        assert_eq!(told, Reason::InvalidExactEvmTransactionFailed);
        market.devnet.set_code(payer(), Bytes::new()).unwrap();
        // What failed may be paid anew, and was not paid.
        assert_eq!(market.received(), U256::ZERO);
    }
}

#[tokio::test]
async fn a_smart_wallet_is_charged_by_upto_what_was_used() {
    let market = market(|_| {}).await;
    let wallet = wallet(&market);
    let mut request = pay_by(&market.smart_upto(owned(wallet)), &upto_offer(), &Extensions::default()).await;
    market.verify(&request).await.unwrap();
    request["paymentRequirements"]["amount"] = serde_json::json!("2500");
    market.devnet.set_code(wallet, Bytes::from_static(&[0xfe])).unwrap();
    assert_eq!(rejected(&market, &request).await, Reason::InvalidPermit2Signature);
    market.devnet.set_code(wallet, agreeing()).unwrap();
    assert_eq!(market.settle(&request).await.unwrap().amount.to_string(), "2500");
    assert_eq!(market.received(), U256::from(2_500));
}
