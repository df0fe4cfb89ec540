//! USDC and Multicall3 behave on the development chain as they do on public ones.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use alloy_primitives::{Address, B256, Bytes, U256, address, b256, bytes, keccak256};
use alloy_sol_types::{SolCall, SolValue};
use farthing_devnet::{Devnet, MULTICALL3};
use serde_json::json;
use support::{Answer, Authorization, Call3, Client, Multicall, Packed, Split, Token, hex, number, sign, typed_digest};

const PAYEE: Address = address!("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");

async fn start() -> (Devnet, Client) {
    let devnet = Devnet::builder().start().await.unwrap();
    devnet.give_usdc(devnet.accounts()[0].address, U256::from(1_000_000)).unwrap();
    let client = Client::new(&devnet);
    (devnet, client)
}

/// Protocol reference, section 13.
fn golden() -> Authorization {
    Authorization {
        from: address!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        to: PAYEE,
        value: U256::from(10_000),
        valid_after: U256::ZERO,
        valid_before: U256::from(1_800_000_000_u64),
        nonce: B256::repeat_byte(0x11),
        signature: bytes!(
            "0xb94ef123cd6d9ddd3d07c0ca613bfdda66fa4dfa9643d26b88b548aadb58f820635c7c9e214548348d6e30f3d920b13dceea7bef05e329c54b6cebb53cc70fd01b"
        ),
    }
}

async fn revert_of(client: &Client, to: Address, data: &[u8]) -> String {
    let (code, message) = client.error("eth_call", json!([{ "to": to.to_string(), "data": hex(data) }, "latest"])).await;
    assert_eq!(code, 3, "{message}");
    message.strip_prefix("execution reverted: ").unwrap().to_owned()
}

#[tokio::test]
async fn golden_authorization_moves_usdc_and_logs_the_transfer() {
    let devnet = Devnet::builder().start_time(1_799_999_000).start().await.unwrap();
    let client = Client::new(&devnet);
    let payer = devnet.accounts()[0];
    devnet.give_usdc(payer.address, U256::from(25_000)).unwrap();
    assert_eq!(golden().digest(&devnet, "USDC"), b256!("0x17812f370f14c75f639f248dd234c5b1f5c31db4e1edc5fed455b4a55a504c28"));
    assert_eq!(sign(&payer, golden().digest(&devnet, "USDC")).as_bytes(), golden().signature.as_ref());

    let receipt = client.transact(&devnet.accounts()[1], devnet.usdc(), golden().split()).await;

    assert_eq!(number(&receipt["status"]), 1);
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(10_000));
    assert_eq!(client.view(devnet.usdc(), &Token::balanceOfCall { account: payer.address }).await, U256::from(15_000));
    assert!(
        client.view(devnet.usdc(), &Token::authorizationStateCall { authorizer: payer.address, nonce: golden().nonce }).await
    );
    let logs = receipt["logs"].as_array().unwrap();
    assert_eq!(logs.len(), 2);
    let transfer =
        logs.iter().find(|log| log["topics"][0] == json!(keccak256("Transfer(address,address,uint256)").to_string())).unwrap();
    assert_eq!(support::bytes(&transfer["data"]), U256::from(10_000).abi_encode());
    assert_eq!(transfer["topics"][2], json!(PAYEE.into_word().to_string()));
    assert_eq!(number(&transfer["logIndex"]), 1);
}

#[tokio::test]
async fn replayed_authorization_reverts_with_data() {
    let (devnet, client) = start().await;
    let authorization = Authorization::sign(&devnet.accounts()[0], &devnet, "USDC", PAYEE, 10, 1);
    client.transact(&devnet.accounts()[1], devnet.usdc(), authorization.packed()).await;
    let answer = client
        .request("eth_call", json!([{ "to": devnet.usdc().to_string(), "data": hex(&authorization.packed()) }, "latest"]))
        .await;
    assert_eq!(answer["error"]["code"], 3);
    assert_eq!(answer["error"]["message"], "execution reverted: FiatTokenV2: authorization is used or canceled");
    assert!(answer["error"]["data"].as_str().unwrap().starts_with("0x08c379a0"));
    let receipt = client.transact(&devnet.accounts()[1], devnet.usdc(), authorization.packed()).await;
    assert_eq!(number(&receipt["status"]), 0);
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(10));
}

#[tokio::test]
async fn both_overloads_accept_the_same_signature() {
    let (devnet, client) = start().await;
    let first = Authorization::sign(&devnet.accounts()[0], &devnet, "USDC", PAYEE, 1, 1);
    let second = Authorization::sign(&devnet.accounts()[0], &devnet, "USDC", PAYEE, 2, 2);
    client.transact(&devnet.accounts()[1], devnet.usdc(), first.split()).await;
    client.transact(&devnet.accounts()[1], devnet.usdc(), second.packed()).await;
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(3));
}

#[tokio::test]
async fn each_wrong_signature_is_refused_with_its_reason() {
    let (devnet, client) = start().await;
    let good = Authorization::sign(&devnet.accounts()[0], &devnet, "USDC", PAYEE, 1, 1);
    let refused = async |change: &dyn Fn(&mut Authorization)| {
        let mut changed = good.clone();
        change(&mut changed);
        revert_of(&client, devnet.usdc(), &changed.packed()).await
    };
    assert_eq!(refused(&|changed| changed.value = U256::from(2)).await, "FiatTokenV2: invalid signature");
    assert_eq!(
        refused(&|changed| {
            let order = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
            let high = order - U256::from_be_slice(&changed.signature[32..64]);
            let v = 27 + 28 - changed.signature[64];
            changed.signature = [&changed.signature[..32], &high.to_be_bytes::<32>(), &[v]].concat().into();
        })
        .await,
        "ECRecover: invalid signature 's' value"
    );
    assert_eq!(
        refused(&|changed| changed.signature = [&changed.signature[..64], &[0]].concat().into()).await,
        "ECRecover: invalid signature 'v' value"
    );
    assert_eq!(
        refused(&|changed| changed.signature = changed.signature.slice(..64)).await,
        "ECRecover: invalid signature length"
    );
    assert_eq!(
        refused(&|changed| changed.valid_before = U256::from(devnet.now() - 1)).await,
        "FiatTokenV2: authorization is expired"
    );
    assert_eq!(
        refused(&|changed| changed.valid_after = U256::from(devnet.now() + 100)).await,
        "FiatTokenV2: authorization is not yet valid"
    );
}

#[tokio::test]
async fn time_travel_expires_an_authorization() {
    let (devnet, client) = start().await;
    let authorization = Authorization::sign(&devnet.accounts()[0], &devnet, "USDC", PAYEE, 1, 1);
    devnet.increase_time(601);
    assert_eq!(revert_of(&client, devnet.usdc(), &authorization.packed()).await, "FiatTokenV2: authorization is expired");
    let receipt = client.transact(&devnet.accounts()[1], devnet.usdc(), authorization.packed()).await;
    assert_eq!(number(&receipt["status"]), 0);
}

#[tokio::test]
async fn cancelled_authorization_is_refused() {
    let (devnet, client) = start().await;
    let payer = devnet.accounts()[0];
    let authorization = Authorization::sign(&payer, &devnet, "USDC", PAYEE, 1, 1);
    let kind = keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");
    let digest = typed_digest(&devnet, "USDC", keccak256((kind, payer.address, authorization.nonce).abi_encode()));
    let signature = sign(&payer, digest);
    let cancel = Token::cancelAuthorizationCall {
        authorizer: payer.address,
        nonce: authorization.nonce,
        v: 27 + u8::from(signature.v()),
        r: signature.r().into(),
        s: signature.s().into(),
    };
    client.transact(&devnet.accounts()[1], devnet.usdc(), cancel.abi_encode()).await;
    assert_eq!(
        revert_of(&client, devnet.usdc(), &authorization.packed()).await,
        "FiatTokenV2: authorization is used or canceled"
    );
}

#[tokio::test]
async fn empty_purse_blacklist_and_pause_are_refused() {
    let (devnet, client) = start().await;
    let owner = *devnet.accounts().iter().find(|account| account.address == devnet.token_owner()).unwrap();
    let poor = Authorization::sign(&devnet.accounts()[2], &devnet, "USDC", PAYEE, 1, 1);
    assert_eq!(revert_of(&client, devnet.usdc(), &poor.packed()).await, "ERC20: transfer amount exceeds balance");
    let rich = Authorization::sign(&devnet.accounts()[0], &devnet, "USDC", PAYEE, 1, 1);
    client.transact(&owner, devnet.usdc(), Token::blacklistCall { account: PAYEE }.abi_encode()).await;
    assert_eq!(revert_of(&client, devnet.usdc(), &rich.packed()).await, "Blacklistable: account is blacklisted");
    client.transact(&owner, devnet.usdc(), Token::unBlacklistCall { account: PAYEE }.abi_encode()).await;
    client.transact(&owner, devnet.usdc(), Token::pauseCall {}.abi_encode()).await;
    assert_eq!(revert_of(&client, devnet.usdc(), &rich.packed()).await, "Pausable: paused");
    let stranger = client.transact(&devnet.accounts()[1], devnet.usdc(), Token::pauseCall {}.abi_encode()).await;
    assert_eq!(number(&stranger["status"]), 0);
}

#[tokio::test]
async fn receive_with_authorization_is_for_the_payee_only() {
    let (devnet, client) = start().await;
    let (payer, receiver) = (devnet.accounts()[0], devnet.accounts()[3]);
    let transfer = Authorization::sign(&payer, &devnet, "USDC", receiver.address, 5, 1);
    let kind = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)",
    );
    let message =
        (kind, transfer.from, transfer.to, transfer.value, transfer.valid_after, transfer.valid_before, transfer.nonce)
            .abi_encode();
    let receive = Packed::receiveWithAuthorizationCall {
        from: transfer.from,
        to: transfer.to,
        value: transfer.value,
        validAfter: transfer.valid_after,
        validBefore: transfer.valid_before,
        nonce: transfer.nonce,
        signature: sign(&payer, typed_digest(&devnet, "USDC", keccak256(message))).as_bytes().into(),
    }
    .abi_encode();
    assert_eq!(revert_of(&client, devnet.usdc(), &receive).await, "FiatTokenV2: caller must be the payee");
    client.transact(&receiver, devnet.usdc(), receive).await;
    assert_eq!(devnet.usdc_balance(receiver.address), U256::from(5));
}

#[tokio::test]
async fn golden_permit_sets_the_allowance_once() {
    let devnet = Devnet::builder().start_time(1_799_999_000).start().await.unwrap();
    let client = Client::new(&devnet);
    let owner = devnet.accounts()[0].address;
    let spender = address!("0x000000000022D473030F116dDEE9F6B43aC78BA3");
    let signature: Bytes = bytes!(
        "0x364a40590f3db2bedf8f6149182ac9a0ee21844b971033748f4acc4c2e37c7265ff1fb52152372483659cd40e0163e79f0d13ecfaf4a8ec899c18309a807e3191c"
    );
    let (value, deadline) = (U256::from(10_000), U256::from(1_800_000_000_u64));
    let packed = Packed::permitCall { owner, spender, value, deadline, signature: signature.clone() }.abi_encode();
    let split = Split::permitCall {
        owner,
        spender,
        value,
        deadline,
        v: signature[64],
        r: B256::from_slice(&signature[..32]),
        s: B256::from_slice(&signature[32..64]),
    }
    .abi_encode();
    client.ok("eth_call", json!([{ "to": devnet.usdc().to_string(), "data": hex(&packed) }, "latest"])).await;
    client.transact(&devnet.accounts()[1], devnet.usdc(), split).await;
    assert_eq!(client.view(devnet.usdc(), &Token::allowanceCall { owner, spender }).await, value);
    assert_eq!(revert_of(&client, devnet.usdc(), &packed).await, "EIP2612: invalid signature");
    devnet.increase_time(2000);
    assert_eq!(revert_of(&client, devnet.usdc(), &packed).await, "FiatTokenV2: permit is expired");
}

#[tokio::test]
async fn payer_with_code_is_asked_by_erc1271() {
    let (devnet, client) = start().await;
    let wallet = Address::repeat_byte(0x77);
    devnet.give_usdc(wallet, U256::from(100)).unwrap();
    // Answers every call with the ERC-1271 magic value, as its first bytes.
    devnet.set_code(wallet, bytes!("0x631626ba7e60e01b5f5260205ff3")).unwrap();
    let mut authorization = Authorization::sign(&devnet.accounts()[0], &devnet, "USDC", PAYEE, 7, 1);
    authorization.from = wallet;
    authorization.signature = bytes!("0x1234");
    client.transact(&devnet.accounts()[1], devnet.usdc(), authorization.packed()).await;
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(7));
    // Answers with zero.
    devnet.set_code(wallet, bytes!("0x5f5f5260205ff3")).unwrap();
    authorization.nonce = B256::repeat_byte(2);
    assert_eq!(revert_of(&client, devnet.usdc(), &authorization.packed()).await, "FiatTokenV2: invalid signature");
}

#[tokio::test]
async fn aggregate3_settles_the_rest_when_one_fails() {
    let (devnet, client) = start().await;
    let payer = devnet.accounts()[0];
    let good = Authorization::sign(&payer, &devnet, "USDC", PAYEE, 3, 1);
    let mut bad = Authorization::sign(&payer, &devnet, "USDC", PAYEE, 4, 2);
    bad.value = U256::from(5);
    let item = |authorization: &Authorization, may_fail| Call3 {
        target: devnet.usdc(),
        allowFailure: may_fail,
        callData: authorization.packed().into(),
    };
    let calls = Multicall::aggregate3Call { calls: vec![item(&bad, true), item(&good, true)] };
    let answers: Vec<Answer> = client.view(MULTICALL3, &calls).await;
    assert_eq!(answers.iter().map(|answer| answer.success).collect::<Vec<_>>(), [false, true]);
    assert!(answers[0].returnData.starts_with(&[0x08, 0xc3, 0x79, 0xa0]));
    client.transact(&payer, MULTICALL3, calls.abi_encode()).await;
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(3));
    let strict = Multicall::aggregate3Call { calls: vec![item(&bad, false)] };
    assert_eq!(revert_of(&client, MULTICALL3, &strict.abi_encode()).await, "Multicall3: call failed");
    assert_eq!(client.view(MULTICALL3, &Multicall::getChainIdCall {}).await, U256::from(84532));
}

#[tokio::test]
async fn every_network_has_its_own_domain() {
    for (chain_id, name) in [(84532, "USDC"), (8453, "USD Coin"), (1, "USD Coin"), (42220, "USDC"), (11_142_220, "USDC")] {
        let devnet = Devnet::builder().chain_id(chain_id).start().await.unwrap();
        let client = Client::new(&devnet);
        assert_eq!(client.view(devnet.usdc(), &Token::nameCall {}).await, name);
        assert_eq!(client.view(devnet.usdc(), &Token::versionCall {}).await, "2");
        assert_eq!(client.view(devnet.usdc(), &Token::decimalsCall {}).await, 6);
        devnet.give_usdc(devnet.accounts()[0].address, U256::from(9)).unwrap();
        assert_eq!(client.view(devnet.usdc(), &Token::totalSupplyCall {}).await, U256::from(9));
        let authorization = Authorization::sign(&devnet.accounts()[0], &devnet, name, PAYEE, 9, 1);
        client.transact(&devnet.accounts()[1], devnet.usdc(), authorization.split()).await;
        assert_eq!(devnet.usdc_balance(PAYEE), U256::from(9));
    }
}

#[tokio::test]
async fn unknown_chain_is_refused_with_the_list_of_known_ones() {
    let error = Devnet::builder().chain_id(5).start().await.unwrap_err().to_string();
    assert!(error.contains("chain id 5") && error.contains("84532") && error.contains("11142220"), "{error}");
}
