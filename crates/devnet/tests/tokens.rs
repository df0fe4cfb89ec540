//! The chain's own tokens, and how each is unlike USDC.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use alloy_primitives::{Address, B256, Bytes, U256, address, keccak256};
use alloy_sol_types::{Revert, SolCall, SolError, SolStruct, SolValue, sol};
use farthing_devnet::{DevAccount, DevToken, Devnet, DevnetError, PERMIT2};
use serde_json::{Value, json};
use support::permit2::{Payment, permit2612, token_domain};
use support::{Client, Split, Token, events, number, sign};

const PAYEE: Address = address!("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");

sol! {
    struct TransferWithAuthorization {
        address from; address to; uint256 value; uint256 validAfter; uint256 validBefore; bytes32 nonce;
    }
    interface Errors {
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        event AuthorizationAlreadyUsed(address indexed authorizer, bytes32 indexed nonce);
        error AuthorizationUsedAlready(address authorizer, bytes32 nonce);
        error AccountBlacklisted(address account);
        error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
        error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);
        error ERC2612InvalidSigner(address signer, address owner);
    }
}

async fn start() -> (Devnet, Client, DevAccount) {
    let devnet = Devnet::builder().start().await.unwrap();
    let payer = devnet.accounts()[0];
    for token in DevToken::ALL {
        devnet.give_tokens(token.address, payer.address, U256::from(10_000)).unwrap();
        devnet.set_allowance(token.address, payer.address, PERMIT2, U256::MAX).unwrap();
    }
    let client = Client::new(&devnet);
    (devnet, client, payer)
}

/// Settles through the proxy of `exact` and returns the receipt.
async fn settle(devnet: &Devnet, client: &Client, payer: &DevAccount, token: DevToken, amount: u64) -> Value {
    let payment = Payment::new(devnet, payer.address, token.address, PAYEE, amount).signed(devnet, payer);
    client.transact(&devnet.accounts()[1], payment.proxy(), payment.settle()).await
}

/// Pays by EIP-3009 and returns the receipt.
async fn authorize(devnet: &Devnet, client: &Client, payer: &DevAccount, token: DevToken, value: u64) -> Value {
    client.transact(&devnet.accounts()[1], token.address, authorization(devnet, payer, token, value)).await
}

fn authorization(devnet: &Devnet, payer: &DevAccount, token: DevToken, value: u64) -> Vec<u8> {
    let message = TransferWithAuthorization {
        from: payer.address,
        to: PAYEE,
        value: U256::from(value),
        validAfter: U256::ZERO,
        validBefore: U256::from(devnet.now() + 600),
        nonce: B256::repeat_byte(1),
    };
    let domain = token_domain(devnet, token.address, token.name, DevToken::DOMAIN_VERSION);
    let signature = sign(payer, message.eip712_signing_hash(&domain));
    Split::transferWithAuthorizationCall {
        from: message.from,
        to: message.to,
        value: message.value,
        validAfter: message.validAfter,
        validBefore: message.validBefore,
        nonce: message.nonce,
        v: 27 + u8::from(signature.v()),
        r: signature.r().into(),
        s: signature.s().into(),
    }
    .abi_encode()
}

#[tokio::test]
async fn every_token_is_what_its_constant_says() {
    let (devnet, client, payer) = start().await;
    for token in DevToken::ALL {
        assert_eq!(client.view(token.address, &Token::nameCall {}).await, token.name);
        assert_eq!(client.view(token.address, &Token::symbolCall {}).await, token.symbol);
        assert_eq!(client.view(token.address, &Token::decimalsCall {}).await, token.decimals);
        assert_eq!(client.view(token.address, &Token::totalSupplyCall {}).await, U256::from(10_000));
        let balance = client.view(token.address, &Token::balanceOfCall { account: payer.address }).await;
        assert_eq!(balance, U256::from(10_000));
        assert_eq!(devnet.token_balance(token.address, payer.address).unwrap(), balance);
        let allowance = Token::allowanceCall { owner: payer.address, spender: PERMIT2 };
        assert_eq!(client.view(token.address, &allowance).await, U256::MAX);
        assert_eq!(devnet.allowance(token.address, payer.address, PERMIT2).unwrap(), U256::MAX);
        let mint = Token::mintCall { to: PAYEE, amount: U256::from(3) }.abi_encode();
        let owner = *devnet.accounts().iter().find(|account| account.address == devnet.token_owner()).unwrap();
        client.transact(&owner, token.address, mint).await;
        assert_eq!(devnet.token_balance(token.address, PAYEE).unwrap(), U256::from(3));
    }
}

#[tokio::test]
async fn only_known_tokens_can_be_given() {
    let (devnet, client, _) = start().await;
    let unknown = devnet.give_tokens(PERMIT2, PAYEE, U256::ONE).unwrap_err();
    assert!(matches!(unknown, DevnetError::UnknownToken { token: PERMIT2 }), "{unknown}");
    let huge = devnet.give_tokens(DevToken::PLAIN.address, PAYEE, U256::MAX).unwrap_err();
    assert!(matches!(huge, DevnetError::Overflow), "{huge}");
    let plain = DevToken::PLAIN.address.to_string();
    client.ok("dev_giveTokens", json!([plain, PAYEE.to_string(), "0x9"])).await;
    assert_eq!(devnet.token_balance(DevToken::PLAIN.address, PAYEE).unwrap(), U256::from(9));
    client.ok("dev_setAllowance", json!([plain, PAYEE.to_string(), PERMIT2.to_string(), "0x8"])).await;
    assert_eq!(devnet.allowance(DevToken::PLAIN.address, PAYEE, PERMIT2).unwrap(), U256::from(8));
    let (code, _) = client.error("dev_giveTokens", json!([PERMIT2.to_string(), PAYEE.to_string(), "0x9"])).await;
    assert_eq!(code, -32602);
}

#[tokio::test]
async fn plain_token_has_neither_permit_nor_authorizations() {
    let (devnet, client, payer) = start().await;
    let plain = DevToken::PLAIN.address;
    let state = Token::authorizationStateCall { authorizer: payer.address, nonce: B256::ZERO }.abi_encode();
    let nonces = Token::noncesCall { owner: payer.address }.abi_encode();
    let absent = [state, nonces, Token::versionCall {}.abi_encode(), Token::DOMAIN_SEPARATORCall {}.abi_encode()];
    for data in absent {
        assert_eq!(client.revert(PAYEE, plain, &data).await, Bytes::new());
    }
    let receipt = authorize(&devnet, &client, &payer, DevToken::PLAIN, 5).await;
    assert_eq!(number(&receipt["status"]), 0);
    // Its refusals are OpenZeppelin's.
    let transfer = Token::transferCall { to: PAYEE, value: U256::from(10_001) }.abi_encode();
    let refusal =
        Errors::ERC20InsufficientBalance { sender: payer.address, balance: U256::from(10_000), needed: U256::from(10_001) };
    assert_eq!(client.revert(payer.address, plain, &transfer).await, refusal.abi_encode());
    let take = Token::transferFromCall { from: payer.address, to: PAYEE, value: U256::ONE }.abi_encode();
    let refusal = Errors::ERC20InsufficientAllowance { spender: PAYEE, allowance: U256::ZERO, needed: U256::ONE };
    assert_eq!(client.revert(PAYEE, plain, &take).await, refusal.abi_encode());
    // Permit2 is how it pays.
    settle(&devnet, &client, &payer, DevToken::PLAIN, 5).await;
    assert_eq!(devnet.token_balance(plain, PAYEE).unwrap(), U256::from(5));
}

#[tokio::test]
async fn permit_token_pays_without_an_allowance() {
    let (devnet, client, payer) = start().await;
    let token = DevToken::PERMIT;
    devnet.set_allowance(token.address, payer.address, PERMIT2, U256::ZERO).unwrap();
    let domain = token_domain(&devnet, token.address, token.name, DevToken::DOMAIN_VERSION);
    assert_eq!(client.view(token.address, &Token::DOMAIN_SEPARATORCall {}).await, domain.separator());
    let payment = Payment::new(&devnet, payer.address, token.address, PAYEE, 5).signed(&devnet, &payer);
    let permit = permit2612(&payer, &domain, 5, 0, payment.deadline);
    let receipt = client.transact(&devnet.accounts()[1], payment.proxy(), payment.settle_with(permit.clone())).await;
    assert_eq!(number(&receipt["status"]), 1);
    assert_eq!(devnet.token_balance(token.address, PAYEE).unwrap(), U256::from(5));
    assert_eq!(client.view(token.address, &Token::noncesCall { owner: payer.address }).await, U256::ONE);
    let again = Split::permitCall {
        owner: payer.address,
        spender: PERMIT2,
        value: permit.value,
        deadline: permit.deadline,
        v: permit.v,
        r: permit.r,
        s: permit.s,
    };
    let refusal = client.revert(PAYEE, token.address, &again.abi_encode()).await;
    assert!(refusal.starts_with(&Errors::ERC2612InvalidSigner::SELECTOR), "{refusal}");
}

#[tokio::test]
async fn fee_token_delivers_less_than_was_sent() {
    let (devnet, client, payer) = start().await;
    let token = DevToken::FEE_ON_TRANSFER;
    for receipt in
        [settle(&devnet, &client, &payer, token, 1_000).await, authorize(&devnet, &client, &payer, token, 1_000).await]
    {
        assert_eq!(number(&receipt["status"]), 1);
        let transfers = events::<Token::Transfer>(&receipt, token.address);
        let values: Vec<_> = transfers.iter().map(|transfer| (transfer.to, transfer.value)).collect();
        assert_eq!(values, [(PAYEE, U256::from(990)), (devnet.token_owner(), U256::from(10))]);
    }
    assert_eq!(devnet.token_balance(token.address, PAYEE).unwrap(), U256::from(1_980));
    assert_eq!(devnet.token_balance(token.address, payer.address).unwrap(), U256::from(8_000));
}

#[tokio::test]
async fn token_that_returns_false_moves_nothing_and_does_not_revert() {
    let (devnet, client, payer) = start().await;
    let token = DevToken::RETURNS_FALSE.address;
    let transfer = Token::transferCall { to: PAYEE, value: U256::from(10_001) };
    let call =
        json!({ "from": payer.address.to_string(), "to": token.to_string(), "data": support::hex(&transfer.abi_encode()) });
    assert_eq!(support::bytes(&client.ok("eth_call", json!([call, "latest"])).await), false.abi_encode());
    let receipt = client.transact(&payer, token, transfer.abi_encode()).await;
    assert_eq!((number(&receipt["status"]), receipt["logs"].as_array().unwrap().len()), (1, 0));
    // Permit2 looks at the answer.
    let payment = Payment::new(&devnet, payer.address, token, PAYEE, 10_001).signed(&devnet, &payer);
    assert_eq!(
        client.revert(PAYEE, payment.proxy(), &payment.settle()).await,
        Revert::from("TRANSFER_FROM_FAILED").abi_encode()
    );
    settle(&devnet, &client, &payer, DevToken::RETURNS_FALSE, 10_000).await;
    assert_eq!(devnet.token_balance(token, PAYEE).unwrap(), U256::from(10_000));
}

#[tokio::test]
async fn token_that_returns_nothing_pays_through_permit2() {
    let (devnet, client, payer) = start().await;
    let token = DevToken::RETURNS_NOTHING;
    let transfer = Token::transferCall { to: PAYEE, value: U256::ONE }.abi_encode();
    let call = json!({ "from": payer.address.to_string(), "to": token.address.to_string(), "data": support::hex(&transfer) });
    assert_eq!(client.ok("eth_call", json!([call, "latest"])).await, json!("0x"));
    let receipt = settle(&devnet, &client, &payer, token, 5).await;
    assert_eq!(number(&receipt["status"]), 1);
    assert_eq!(devnet.token_balance(token.address, PAYEE).unwrap(), U256::from(5));
}

#[tokio::test]
async fn used_nonce_of_the_replay_token_is_no_error_and_no_transfer() {
    let (devnet, client, payer) = start().await;
    let token = DevToken::SILENT_REPLAY;
    let pay = authorization(&devnet, &payer, token, 5);
    let receipt = client.transact(&devnet.accounts()[1], token.address, pay.clone()).await;
    assert_eq!(events::<Errors::AuthorizationUsed>(&receipt, token.address).len(), 1);
    let receipt = client.transact(&devnet.accounts()[1], token.address, pay).await;
    assert_eq!(number(&receipt["status"]), 1);
    assert_eq!(events::<Errors::AuthorizationAlreadyUsed>(&receipt, token.address).len(), 1);
    assert_eq!(events::<Token::Transfer>(&receipt, token.address).len(), 0);
    assert_eq!(devnet.token_balance(token.address, PAYEE).unwrap(), U256::from(5));
    // With every other token it is one.
    let pay = authorization(&devnet, &payer, DevToken::BLACKLIST, 5);
    client.transact(&devnet.accounts()[1], DevToken::BLACKLIST.address, pay.clone()).await;
    let refusal = Errors::AuthorizationUsedAlready { authorizer: payer.address, nonce: B256::repeat_byte(1) };
    assert_eq!(client.revert(PAYEE, DevToken::BLACKLIST.address, &pay).await, refusal.abi_encode());
}

#[tokio::test]
async fn blacklisted_account_neither_pays_nor_is_paid() {
    let (devnet, client, payer) = start().await;
    let token = DevToken::BLACKLIST.address;
    let owner = *devnet.accounts().iter().find(|account| account.address == devnet.token_owner()).unwrap();
    let pay = authorization(&devnet, &payer, DevToken::BLACKLIST, 5);
    for account in [PAYEE, payer.address] {
        let receipt = client.transact(&owner, token, Token::blacklistCall { account }.abi_encode()).await;
        assert_eq!(number(&receipt["status"]), 1);
        let refusal = Errors::AccountBlacklisted { account };
        assert_eq!(client.revert(devnet.accounts()[1].address, token, &pay).await, refusal.abi_encode());
        let receipt = client.transact(&owner, token, Token::unBlacklistCall { account }.abi_encode()).await;
        assert_eq!(number(&receipt["status"]), 1);
    }
    let receipt = client.transact(&devnet.accounts()[1], token, pay).await;
    assert_eq!(number(&receipt["status"]), 1);
    let stranger = client.transact(&payer, token, Token::blacklistCall { account: PAYEE }.abi_encode()).await;
    assert_eq!(number(&stranger["status"]), 0);
}

#[tokio::test]
async fn balances_and_allowances_are_where_the_readme_says() {
    let (devnet, client, payer) = start().await;
    let word = async |token: Address, slot: B256| {
        client.ok("eth_getStorageAt", json!([token.to_string(), slot.to_string(), "latest"])).await
    };
    devnet.give_usdc(payer.address, U256::from(77)).unwrap();
    devnet.set_allowance(devnet.usdc(), payer.address, PERMIT2, U256::from(78)).unwrap();
    devnet.set_allowance(DevToken::PLAIN.address, payer.address, PERMIT2, U256::from(79)).unwrap();
    for (token, balances, allowances, expected) in
        [(devnet.usdc(), 9, 10, [77, 78]), (DevToken::PLAIN.address, 0, 1, [10_000, 79])]
    {
        let balance = keccak256((payer.address, U256::from(balances)).abi_encode());
        let allowance = keccak256((PERMIT2, keccak256((payer.address, U256::from(allowances)).abi_encode())).abi_encode());
        for (slot, expected) in [balance, allowance].into_iter().zip(expected) {
            assert_eq!(word(token, slot).await, json!(B256::from(U256::from(expected)).to_string()));
        }
    }
}
