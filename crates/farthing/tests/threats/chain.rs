//! Faults that only the chain knows of: each costs one look at it, and no gas.

use alloy_primitives::{Address, Bytes, keccak256};
use alloy_sol_types::{SolCall, SolValue, sol};
use farthing::core::amount::Amount;
use farthing::core::books::{Fingerprint, MemorySettlements, PaymentRecord};
use farthing::core::extension::builder_code::Attribution;
use farthing::core::scheme::{PaymentKey, SendRight, TransactionId};
use farthing::core::time::UnixSeconds;
use farthing::evm::U256;
use farthing::evm::chain::Chain;
use farthing::evm::config::{ChainConfig, RpcUrl};
use farthing::evm::relayer::{Company, Order};
use farthing::evm::signature::WireSignature;
use farthing::evm::transfer::eip3009::Authorization;
use farthing::system::SystemClock;
use farthing_devnet::DevAccount;
use farthing_testkit::golden::{NETWORK, PAY_TO};
use serde_json::{Value, json};
use std::sync::Arc;

use crate::market::{Market, PURSE_ATOMIC, asking, domain, sign, sign_again, signer, usdc};

sol! {
    interface Token {
        function blacklist(address account) external;
        function pause() external;
        function transfer(address to, uint256 value) external returns (bool);
        function cancelAuthorization(address authorizer, bytes32 nonce, bytes signature) external;
    }
}

/// The right to send a call that is no payment, once.
struct Anything(Fingerprint);

impl SendRight for Anything {
    fn request(&self) -> &Fingerprint {
        &self.0
    }

    fn caller(&self) -> Option<&str> {
        None
    }

    fn alone(&self) -> bool {
        true
    }

    fn enter(&self) -> bool {
        true
    }

    fn written(&self, _: &TransactionId) {}

    fn left(&self) {}
}

/// Calls the token from an account of its own.
async fn call(market: &Market, from: &DevAccount, data: Vec<u8>) {
    let config = ChainConfig::new(NETWORK.parse().unwrap(), RpcUrl::new(market.stack.devnet().rpc_url()));
    let book = Arc::new(MemorySettlements::default());
    let chain = Chain::connect(&config, vec![Arc::new(signer(from))], book, Arc::new(SystemClock)).unwrap();
    let expires_at = UnixSeconds(u64::MAX);
    let payment = PaymentRecord {
        key: PaymentKey([0; 32]),
        scheme: "exact".to_owned(),
        network: NETWORK.parse().unwrap(),
        payer: PAY_TO.parse().unwrap(),
        pay_to: PAY_TO.parse().unwrap(),
        asset: usdc().to_string().parse().unwrap(),
        amount: Amount::ZERO,
        expires_at,
        reference: String::new(),
    };
    let order = Order {
        to: usdc(),
        data: data.into(),
        attribution: Attribution::default(),
        value_wei: U256::ZERO,
        gas_units: 300_000,
        payment,
        right: Arc::new(Anything(Fingerprint(String::new()))),
        budgets: Vec::new(),
        sender: None,
        company: Company::None,
        send_before: expires_at,
        hold: Box::new(()),
    };
    assert!(chain.relayer().send(order).await.unwrap().receipt.succeeded);
}

async fn by_owner(market: &Market, data: Vec<u8>) {
    let owner = market.stack.devnet().accounts()[9];
    call(market, &owner, data).await;
}

fn authorization(payment: &Value) -> Authorization {
    serde_json::from_value(payment["payload"]["authorization"].clone()).unwrap()
}

/// Checks that a payment which is good in itself is refused everywhere.
async fn check(market: &Market, payment: &Value, reason: &str, words: &str) {
    let request = asking(payment, &payment["accepted"]);
    assert_eq!(market.refusal(reason, &request).await, (200, reason.to_owned()));
    let (_, verified) = market.ask("verify", request.to_string()).await;
    assert!(verified["invalidMessage"].as_str().unwrap().contains(words), "{verified}");
    market.turns_away(reason, payment, 402, reason).await;
}

/// A stranger carries a payment out.
async fn carry_out(market: &Market, payment: &Value) {
    let signature: WireSignature = serde_json::from_value(payment["payload"]["signature"].clone()).unwrap();
    let data = authorization(payment).calldata(&signature.strict().unwrap());
    let stranger = market.stack.devnet().accounts()[5];
    call(market, &stranger, data).await;
}

#[tokio::test]
async fn a_payment_that_a_stranger_carries_out_after_it_was_verified_is_settled_for_one_request() {
    let market = Market::open().await;
    let (before, payment) = (market.worth().await, market.pay("/report").await);
    let request = asking(&payment, &payment["accepted"]);
    let mut other = request.clone();
    other["paymentPayload"]["resource"]["description"] = json!("something else");
    for request in [&request, &other] {
        assert_eq!(market.ask("verify", request.to_string()).await.1["isValid"], json!(true));
    }
    carry_out(&market, &payment).await;
    let settled = market.ask("settle", request.to_string()).await;
    assert_eq!((settled.0, &settled.1["success"]), (200, &json!(true)), "{settled:?}");
    assert_eq!(market.ask("settle", request.to_string()).await, settled, "a copy gets the same answer");
    assert_eq!(market.ask("settle", other.to_string()).await.1["errorReason"], json!("payment_already_used"));
    let after = market.worth().await;
    assert_eq!(after.payer_atomic, U256::from(PURSE_ATOMIC - 10_000));
    assert_eq!(after.operator_transactions, before.operator_transactions, "nothing was sent from here");
}

#[tokio::test]
async fn a_nonce_that_was_used_on_chain_is_refused() {
    let market = Market::open().await;
    let payment = market.pay("/report").await;
    carry_out(&market, &payment).await;
    assert_eq!(market.worth().await.payer_atomic, U256::from(PURSE_ATOMIC - 10_000));
    check(&market, &payment, "invalid_exact_evm_nonce_already_used", "another nonce").await;
}

#[tokio::test]
async fn a_nonce_that_was_cancelled_on_chain_is_refused() {
    let market = Market::open().await;
    let payment = market.pay("/report").await;
    let Authorization { from, nonce, .. } = authorization(&payment);
    let kind = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
    let message = keccak256((kind, from, nonce).abi_encode());
    let digest = keccak256([&[0x19, 0x01], domain().as_slice(), message.as_slice()].concat());
    let signature: Bytes = sign(&market.payer, digest).parse().unwrap();
    let stranger = market.stack.devnet().accounts()[5];
    call(&market, &stranger, Token::cancelAuthorizationCall { authorizer: from, nonce, signature }.abi_encode()).await;
    check(&market, &payment, "invalid_exact_evm_nonce_already_used", "cancelled").await;
}

#[tokio::test]
async fn a_blacklisted_payer_is_refused() {
    let market = Market::open().await;
    let payment = market.pay("/report").await;
    by_owner(&market, Token::blacklistCall { account: market.payer.address }.abi_encode()).await;
    check(&market, &payment, "invalid_exact_evm_transaction_simulation_failed", "blacklisted").await;
}

#[tokio::test]
async fn a_blacklisted_payee_is_refused() {
    let market = Market::open().await;
    let payment = market.pay("/report").await;
    let account: Address = PAY_TO.parse().unwrap();
    by_owner(&market, Token::blacklistCall { account }.abi_encode()).await;
    check(&market, &payment, "invalid_exact_evm_transaction_simulation_failed", "blacklisted").await;
}

#[tokio::test]
async fn a_paused_token_moves_nothing() {
    let market = Market::open().await;
    let payment = market.pay("/report").await;
    by_owner(&market, Token::pauseCall {}.abi_encode()).await;
    check(&market, &payment, "invalid_exact_evm_transaction_simulation_failed", "paused").await;
}

#[tokio::test]
async fn an_empty_purse_is_refused() {
    let market = Market::open().await;
    let mut payment = market.pay("/report").await;
    let beggar = market.stack.devnet().accounts()[3];
    payment["payload"]["authorization"]["from"] = json!(beggar.address);
    sign_again(&mut payment, &beggar, domain());
    check(&market, &payment, "invalid_exact_evm_insufficient_balance", "holds 0").await;
    market.stack.devnet().give_usdc(beggar.address, U256::from(9_999)).unwrap();
    check(&market, &payment, "invalid_exact_evm_insufficient_balance", "holds 9999").await;
    market.stack.devnet().give_usdc(beggar.address, U256::from(1)).unwrap();
    market.buy("/report", &payment).await.assert_delivered("the last cent");
}

#[tokio::test]
async fn money_that_left_after_the_signature_is_missed() {
    let market = Market::open().await;
    let payment = market.pay("/report").await;
    let request = asking(&payment, &payment["accepted"]);
    assert_eq!(market.ask("verify", request.to_string()).await.1["isValid"], true);
    let to: Address = PAY_TO.parse().unwrap();
    call(&market, &market.payer, Token::transferCall { to, value: U256::from(PURSE_ATOMIC - 9_999) }.abi_encode()).await;
    check(&market, &payment, "invalid_exact_evm_insufficient_balance", "holds 9999").await;
}

#[tokio::test]
async fn a_payer_with_code_is_refused() {
    let market = Market::open().await;
    let payment = market.pay("/report").await;
    // The delegation of EIP-7702, and any other code.
    let delegation: Bytes = format!("0xef0100{}", "11".repeat(20)).parse().unwrap();
    for code in [delegation, Bytes::from_static(&[0x60, 0x00])] {
        market.stack.devnet().set_code(market.payer.address, code).unwrap();
        check(&market, &payment, "invalid_exact_evm_signature", "smart wallet").await;
    }
}

#[tokio::test]
async fn an_asset_without_code_moves_nothing() {
    let market = Market::open().await;
    let payment = market.pay("/report").await;
    market.stack.devnet().set_code(usdc(), Bytes::new()).unwrap();
    // Balances are in the token's storage, so that there is nothing to compare but gas.
    check(&market, &payment, "asset_not_deployed_contract", "no contract").await;
}

#[tokio::test]
async fn a_token_of_another_kind_at_the_address_is_refused() {
    let market = Market::open().await;
    let payment = market.pay("/report").await;
    // Every call returns 32 zero bytes: a token without EIP-3009 that swallows what it does not know.
    market.stack.devnet().set_code(usdc(), Bytes::from_static(&[0x60, 0x20, 0x60, 0x00, 0xf3])).unwrap();
    check(&market, &payment, "invalid_exact_evm_insufficient_balance", "holds 0").await;
    // Every call reverts.
    market.stack.devnet().set_code(usdc(), Bytes::from_static(&[0x60, 0x00, 0x60, 0x00, 0xfd])).unwrap();
    check(&market, &payment, "invalid_exact_evm_eip3009_not_supported", "EIP-3009").await;
}

/// A wallet whose own code burns gas must not make the next payer's payment look expensive.
#[tokio::test]
async fn a_costly_wallet_does_not_raise_the_price_of_gas_for_others() {
    let market = Market::open().await;
    let mut costly = market.pay("/report").await;
    let burner = market.stack.devnet().accounts()[4];
    market.stack.devnet().give_usdc(burner.address, U256::from(PURSE_ATOMIC)).unwrap();
    costly["payload"]["authorization"]["from"] = json!(burner.address);
    sign_again(&mut costly, &burner, domain());
    // Counts down from 65,535, then answers isValidSignature's magic value: 1.7 million units of gas.
    let code = "61ffff5b600190038060035750631626ba7e60e01b60005260206000f3";
    market.stack.devnet().set_code(burner.address, format!("0x{code}").parse().unwrap()).unwrap();
    check(&market, &costly, "invalid_exact_evm_signature", "smart wallet").await;
    let payment = market.pay("/report").await;
    market.buy("/report", &payment).await.assert_delivered("an ordinary payment");
}
