//! Accounts whose signature is not just their key's: ERC-1271 wallets, wallets that do not exist yet (ERC-6492), and
//! delegated accounts (EIP-7702).

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use alloy_consensus::{SignableTransaction, TxEip7702, TxEnvelope};
use alloy_eips::eip2718::Encodable2718;
use alloy_eips::eip7702::{Authorization as Delegation, SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, U256, address, fixed_bytes};
use alloy_sol_types::{SolCall, SolError, sol};
use farthing_devnet::{DELEGATE_7702, DELEGATE_PREFIX, DevAccount, Devnet, MULTICALL3, PERMIT2, SMART_WALLET_FACTORY};
use serde_json::json;
use support::permit2::{Payment, SignatureTransfer};
use support::{Answer, Authorization, Call3, Client, GWEI, Multicall, Token, hex, number, sign};

const PAYEE: Address = address!("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");

sol! {
    interface Factory {
        function createAccount(address owner, uint256 salt) external returns (address account);
        function getAddress(address owner, uint256 salt) external view returns (address account);
    }
    interface Wallet {
        error NotOwner();
        error AlreadyInitialized();
        function owner() external view returns (address);
        function initialize(address newOwner) external;
        function isValidSignature(bytes32 digest, bytes signature) external view returns (bytes4);
        function execute(address target, uint256 value, bytes data) external returns (bytes answer);
    }
    interface Delegate {
        error NotSelf();
    }
}

async fn start() -> (Devnet, Client) {
    let devnet = Devnet::builder().start().await.unwrap();
    let client = Client::new(&devnet);
    (devnet, client)
}

/// An authorization that moves a payer's USDC, signed by a key that need not be the payer's.
fn authorization(devnet: &Devnet, payer: Address, key: &DevAccount, value: u64, nonce: u8) -> Authorization {
    let mut authorization = Authorization::sign(key, devnet, "USDC", PAYEE, value, nonce);
    authorization.from = payer;
    authorization.signature = sign(key, authorization.digest(devnet, "USDC")).as_bytes().into();
    authorization
}

async fn code(client: &Client, address: Address) -> Bytes {
    support::bytes(&client.ok("eth_getCode", json!([address.to_string(), "latest"])).await)
}

#[tokio::test]
async fn factory_creates_a_wallet_where_it_said_it_would() {
    let (devnet, client) = start().await;
    let owner = devnet.accounts()[2].address;
    let foretold = devnet.smart_wallet_address(owner, U256::from(3)).unwrap();
    let asked = Factory::getAddressCall { owner, salt: U256::from(3) };
    assert_eq!(client.view(SMART_WALLET_FACTORY, &asked).await, foretold);
    assert!(code(&client, foretold).await.is_empty());

    let create = Factory::createAccountCall { owner, salt: U256::from(3) }.abi_encode();
    for attempt in 0..2 {
        let nonce = client.number("eth_getTransactionCount", json!([owner.to_string(), "latest"])).await;
        let mut fields = client.fields(nonce, SMART_WALLET_FACTORY, create.clone());
        fields.gas_limit = 500_000;
        let receipt = client.receipt(client.send(&support::sign_1559(&devnet.accounts()[2], fields)).await).await;
        assert_eq!(number(&receipt["status"]), 1);
        assert_eq!(receipt["logs"].as_array().unwrap().len(), 1 - attempt);
    }
    assert_eq!(client.view(foretold, &Wallet::ownerCall {}).await, owner);
    // The method without a transaction makes the same wallet, and leaves one that exists alone.
    assert_eq!(devnet.create_smart_wallet(owner, U256::from(3)).unwrap(), foretold);
    let other = devnet.create_smart_wallet(owner, U256::from(4)).unwrap();
    assert_ne!(other, foretold);
    assert_eq!(code(&client, other).await, code(&client, foretold).await);
    assert_eq!(client.view(other, &Wallet::ownerCall {}).await, owner);
    let seize = Wallet::initializeCall { newOwner: PAYEE }.abi_encode();
    assert_eq!(client.revert(PAYEE, other, &seize).await, Wallet::AlreadyInitialized {}.abi_encode());
}

#[tokio::test]
async fn wallet_signs_by_its_owners_key() {
    let (devnet, client) = start().await;
    let (owner, stranger) = (devnet.accounts()[2], devnet.accounts()[3]);
    let wallet = devnet.create_smart_wallet(owner.address, U256::ZERO).unwrap();
    let digest = B256::repeat_byte(5);
    let ask = async |signature: Bytes| client.view(wallet, &Wallet::isValidSignatureCall { digest, signature }).await;
    assert_eq!(ask(sign(&owner, digest).as_bytes().into()).await, fixed_bytes!("0x1626ba7e"));
    assert_eq!(ask(sign(&stranger, digest).as_bytes().into()).await, fixed_bytes!("0xffffffff"));
    assert_eq!(ask(sign(&owner, B256::ZERO).as_bytes().into()).await, fixed_bytes!("0xffffffff"));
    assert_eq!(ask(Bytes::new()).await, fixed_bytes!("0xffffffff"));

    devnet.give_usdc(wallet, U256::from(100)).unwrap();
    let good = authorization(&devnet, wallet, &owner, 7, 1);
    client.transact(&devnet.accounts()[1], devnet.usdc(), good.packed()).await;
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(7));
    let bad = authorization(&devnet, wallet, &stranger, 7, 2);
    let receipt = client.transact(&devnet.accounts()[1], devnet.usdc(), bad.packed()).await;
    assert_eq!(number(&receipt["status"]), 0);
}

#[tokio::test]
async fn wallet_approves_permit2_and_pays_through_the_proxy() {
    let (devnet, client) = start().await;
    let (owner, stranger) = (devnet.accounts()[2], devnet.accounts()[3]);
    let wallet = devnet.create_smart_wallet(owner.address, U256::ZERO).unwrap();
    devnet.give_usdc(wallet, U256::from(100)).unwrap();
    let approve = Token::approveCall { spender: PERMIT2, value: U256::MAX }.abi_encode();
    let execute = Wallet::executeCall { target: devnet.usdc(), value: U256::ZERO, data: approve.into() }.abi_encode();
    assert_eq!(client.revert(stranger.address, wallet, &execute).await, Wallet::NotOwner {}.abi_encode());
    client.transact(&owner, wallet, execute).await;
    assert_eq!(devnet.allowance(devnet.usdc(), wallet, PERMIT2).unwrap(), U256::MAX);

    let payment = Payment::new(&devnet, wallet, devnet.usdc(), PAYEE, 9);
    let forged = payment.clone().signed(&devnet, &stranger);
    assert_eq!(
        client.revert(PAYEE, forged.proxy(), &forged.settle()).await,
        SignatureTransfer::InvalidContractSignature {}.abi_encode()
    );
    let payment = payment.signed(&devnet, &owner);
    client.transact(&devnet.accounts()[1], payment.proxy(), payment.settle()).await;
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(9));
}

#[tokio::test]
async fn wallet_that_does_not_exist_yet_is_created_and_pays_in_one_call() {
    let (devnet, client) = start().await;
    let owner = devnet.accounts()[2];
    let wallet = devnet.smart_wallet_address(owner.address, U256::from(1)).unwrap();
    devnet.give_usdc(wallet, U256::from(100)).unwrap();
    let payment = authorization(&devnet, wallet, &owner, 7, 1);
    let calls = |creating: bool| {
        let create = Factory::createAccountCall { owner: owner.address, salt: U256::from(1) }.abi_encode();
        let mut calls = vec![Call3 { target: SMART_WALLET_FACTORY, allowFailure: true, callData: create.into() }];
        calls.truncate(usize::from(creating));
        calls.push(Call3 { target: devnet.usdc(), allowFailure: true, callData: payment.packed().into() });
        Multicall::aggregate3Call { calls }
    };
    let answers: Vec<Answer> = client.view(MULTICALL3, &calls(false)).await;
    assert_eq!(answers.iter().map(|answer| answer.success).collect::<Vec<_>>(), [false]);
    let answers: Vec<Answer> = client.view(MULTICALL3, &calls(true)).await;
    assert_eq!(answers.iter().map(|answer| answer.success).collect::<Vec<_>>(), [true, true]);
    assert!(code(&client, wallet).await.is_empty(), "a call leaves nothing behind");

    let nonce = client.number("eth_getTransactionCount", json!([devnet.accounts()[1].address.to_string(), "latest"])).await;
    let mut fields = client.fields(nonce, MULTICALL3, calls(true).abi_encode());
    fields.gas_limit = 1_000_000;
    let hash = client.send(&support::sign_1559(&devnet.accounts()[1], fields)).await;
    assert_eq!(number(&client.receipt(hash).await["status"]), 1);
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(7));
    assert!(!code(&client, wallet).await.is_empty());
}

/// A transaction of type 4 from one account that delegates another.
async fn delegate(client: &Client, sender: &DevAccount, authority: &DevAccount, contract: Address, chain_id: u64) -> B256 {
    let nonce = async |account: Address| client.number("eth_getTransactionCount", json!([account.to_string(), "latest"])).await;
    let wanted = Delegation { chain_id: U256::from(chain_id), address: contract, nonce: nonce(authority.address).await };
    let signature = sign(authority, wanted.signature_hash());
    let authorization: SignedAuthorization = wanted.into_signed(signature);
    let fields = TxEip7702 {
        chain_id: client.chain_id,
        nonce: nonce(sender.address).await,
        gas_limit: 200_000,
        max_fee_per_gas: 100 * GWEI,
        max_priority_fee_per_gas: GWEI,
        to: PAYEE,
        value: U256::ZERO,
        access_list: alloy_eips::eip2930::AccessList::default(),
        authorization_list: vec![authorization],
        input: Bytes::new(),
    };
    let signature = sign(sender, fields.signature_hash());
    client.send(&TxEnvelope::from(fields.into_signed(signature)).encoded_2718()).await
}

#[tokio::test]
async fn delegated_account_is_asked_and_not_its_bare_key() {
    let (devnet, client) = start().await;
    let (payer, sponsor) = (devnet.accounts()[0], devnet.accounts()[1]);
    devnet.give_usdc(payer.address, U256::from(100)).unwrap();
    devnet.set_allowance(devnet.usdc(), payer.address, PERMIT2, U256::MAX).unwrap();

    let hash = delegate(&client, &sponsor, &payer, DELEGATE_7702, devnet.chain_id()).await;

    assert_eq!(number(&client.receipt(hash).await["status"]), 1);
    let transaction = client.ok("eth_getTransactionByHash", json!([hash.to_string()])).await;
    assert_eq!(transaction["type"], "0x4");
    assert_eq!(transaction["authorizationList"].as_array().unwrap().len(), 1);
    let delegation = [&[0xef, 0x01, 0x00], DELEGATE_7702.as_slice()].concat();
    assert_eq!(code(&client, payer.address).await, delegation);
    assert_eq!(client.number("eth_getTransactionCount", json!([payer.address.to_string(), "latest"])).await, 1);

    // USDC asks the account, which wants its byte before the signature.
    let bare = Authorization::sign(&payer, &devnet, "USDC", PAYEE, 7, 1);
    let prefixed = |bare: &Bytes| Bytes::from([&[DELEGATE_PREFIX], bare.as_ref()].concat());
    let receipt = client.transact(&sponsor, devnet.usdc(), bare.split()).await;
    assert_eq!(number(&receipt["status"]), 0);
    let wrapped = Authorization { signature: prefixed(&bare.signature), ..bare };
    client.transact(&sponsor, devnet.usdc(), wrapped.packed()).await;
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(7));
    // And so does Permit2.
    let mut payment = Payment::new(&devnet, payer.address, devnet.usdc(), PAYEE, 9).signed(&devnet, &payer);
    assert_eq!(
        client.revert(PAYEE, payment.proxy(), &payment.settle()).await,
        SignatureTransfer::InvalidContractSignature {}.abi_encode()
    );
    payment.signature = prefixed(&payment.signature);
    client.transact(&sponsor, payment.proxy(), payment.settle()).await;
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(16));

    // The account still sends transactions of its own, to itself for instance; nobody else uses its code.
    let transfer = Token::transferCall { to: PAYEE, value: U256::ONE }.abi_encode();
    let execute = Wallet::executeCall { target: devnet.usdc(), value: U256::ZERO, data: transfer.into() }.abi_encode();
    assert_eq!(client.revert(sponsor.address, payer.address, &execute).await, Delegate::NotSelf {}.abi_encode());
    client.transact(&payer, payer.address, execute).await;
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(17));

    // Delegated to the zero address it is an ordinary account again.
    delegate(&client, &sponsor, &payer, Address::ZERO, 0).await;
    assert!(code(&client, payer.address).await.is_empty());
    let bare = Authorization::sign(&payer, &devnet, "USDC", PAYEE, 1, 2);
    client.transact(&sponsor, devnet.usdc(), bare.packed()).await;
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(18));
}

#[tokio::test]
async fn delegation_for_another_chain_has_no_effect() {
    let (devnet, client) = start().await;
    let hash = delegate(&client, &devnet.accounts()[1], &devnet.accounts()[0], DELEGATE_7702, 1).await;
    assert_eq!(number(&client.receipt(hash).await["status"]), 1);
    assert!(code(&client, devnet.accounts()[0].address).await.is_empty());
}

#[tokio::test]
async fn delegation_without_a_transaction_is_the_same() {
    let (devnet, client) = start().await;
    let payer = devnet.accounts()[0];
    devnet.delegate(payer.address, DELEGATE_7702).unwrap();
    assert_eq!(code(&client, payer.address).await, [&[0xef, 0x01, 0x00], DELEGATE_7702.as_slice()].concat());
    let digest = B256::repeat_byte(8);
    let signature = Bytes::from([&[DELEGATE_PREFIX], &sign(&payer, digest).as_bytes()[..]].concat());
    let asked = Wallet::isValidSignatureCall { digest, signature };
    assert_eq!(client.view(payer.address, &asked).await, fixed_bytes!("0x1626ba7e"));
    // Of another account that delegates to the same code it is no signature.
    devnet.delegate(devnet.accounts()[1].address, DELEGATE_7702).unwrap();
    assert_eq!(client.view(devnet.accounts()[1].address, &asked).await, fixed_bytes!("0xffffffff"));
}

#[tokio::test]
async fn wallets_are_also_created_over_json_rpc() {
    let (devnet, client) = start().await;
    let owner = devnet.accounts()[2].address;
    let wallet = client.ok("dev_createSmartWallet", json!([owner.to_string(), "0x5"])).await;
    let expected = devnet.smart_wallet_address(owner, U256::from(5)).unwrap();
    assert_eq!(wallet, json!(hex(expected.as_slice())));
    assert_eq!(client.view(expected, &Wallet::ownerCall {}).await, owner);
}
