//! Permit2 and the x402 proxies behave on the development chain as they do on public ones.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use alloy_primitives::{Address, B256, Bytes, U256, address, b256, bytes, keccak256};
use alloy_sol_types::{Revert, SolCall, SolError};
use farthing_devnet::{DevAccount, DevToken, Devnet, PERMIT2, X402_EXACT_PERMIT2_PROXY, X402_UPTO_PERMIT2_PROXY};
use support::permit2::{EIP2612Permit, Exact, Payment, Proxy, SignatureTransfer, permit2_domain, permit2612, token_domain};
use support::{Client, Token, events, number, sign};

const PAYEE: Address = address!("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
const GOLDEN_NOW: u64 = 1_799_999_000;
const GOLDEN_DEADLINE: u64 = 1_800_000_000;

/// A payer with a dollar and the allowance that Permit2 needs.
async fn start() -> (Devnet, Client, DevAccount) {
    let devnet = Devnet::builder().start_time(GOLDEN_NOW).start().await.unwrap();
    let payer = devnet.accounts()[0];
    devnet.give_usdc(payer.address, U256::from(1_000_000)).unwrap();
    devnet.set_allowance(devnet.usdc(), payer.address, PERMIT2, U256::MAX).unwrap();
    let client = Client::new(&devnet);
    (devnet, client, payer)
}

/// Protocol reference, section 13.
fn golden_exact(devnet: &Devnet) -> Payment {
    let mut payment = Payment::new(devnet, devnet.accounts()[0].address, devnet.usdc(), PAYEE, 10_000);
    payment.deadline = U256::from(GOLDEN_DEADLINE);
    payment.signature = bytes!(
        "0x85ab25f285f1f17165ab3c7c8b16ba53c60de4f165df59f6d78074a7da3afa74272e58f092d3228e28ce436925fcfcd8c600afae82a41ae7c8072a35e51c861a1c"
    );
    payment
}

/// Protocol reference, section 13; the facilitator is the second account.
fn golden_upto(devnet: &Devnet) -> Payment {
    let mut payment = golden_exact(devnet);
    payment.facilitator = Some(address!("0x70997970C51812dc3A010C7d01b50e0d17dc79C8"));
    payment.signature = bytes!(
        "0xa47cccc2c9e0a0bf9cd341ef8e350ad537fed7a385bd04559bf8c8487e27fd9d37d96def0638ef9589bdd05d495dc5a001bb0bcd193159dd58eba86cc66387b01b"
    );
    payment
}

/// Protocol reference, section 13.
fn golden_permit() -> EIP2612Permit {
    EIP2612Permit {
        value: U256::from(10_000),
        deadline: U256::from(GOLDEN_DEADLINE),
        r: b256!("0x364a40590f3db2bedf8f6149182ac9a0ee21844b971033748f4acc4c2e37c726"),
        s: b256!("0x5ff1fb52152372483659cd40e0163e79f0d13ecfaf4a8ec899c18309a807e319"),
        v: 0x1c,
    }
}

#[tokio::test]
async fn golden_exact_payment_is_settled_by_anybody() {
    let (devnet, client, payer) = start().await;
    let payment = golden_exact(&devnet);
    assert_eq!(payment.digest(&devnet), b256!("0xbf2d9891c1f566fb8ef8543315addb98f76d25416fd555f97e7134e8a0b8e002"));
    assert_eq!(sign(&payer, payment.digest(&devnet)).as_bytes(), payment.signature.as_ref());

    let receipt = client.transact(&devnet.accounts()[5], X402_EXACT_PERMIT2_PROXY, payment.settle()).await;

    assert_eq!(number(&receipt["status"]), 1);
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(10_000));
    assert_eq!(events::<Proxy::Settled>(&receipt, X402_EXACT_PERMIT2_PROXY).len(), 1);
    let transfers = events::<Token::Transfer>(&receipt, devnet.usdc());
    assert_eq!(transfers.len(), 1);
    assert_eq!((transfers[0].from, transfers[0].to, transfers[0].value), (payer.address, PAYEE, U256::from(10_000)));
    let used = SignatureTransfer::nonceBitmapCall { owner: payer.address, word: U256::ZERO };
    assert_eq!(client.view(PERMIT2, &used).await, U256::from(1 << 7));
    assert!(number(&receipt["gasUsed"]) < 150_000, "{receipt}");
}

#[tokio::test]
async fn golden_upto_payment_is_settled_below_its_maximum() {
    let (devnet, client, payer) = start().await;
    let payment = golden_upto(&devnet);
    assert_eq!(payment.digest(&devnet), b256!("0xfb967580684c90286560c23b234af20743e1a191a3676696fe5cf0c606e76fca"));
    assert_eq!(sign(&payer, payment.digest(&devnet)).as_bytes(), payment.signature.as_ref());

    let settle = payment.settle_part(U256::from(1_234));
    let receipt = client.transact(&devnet.accounts()[1], X402_UPTO_PERMIT2_PROXY, settle).await;

    assert_eq!(number(&receipt["status"]), 1);
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(1_234));
    assert_eq!(events::<Proxy::Settled>(&receipt, X402_UPTO_PERMIT2_PROXY).len(), 1);
    // The rest of the maximum cannot be taken afterwards.
    let again = client.revert(devnet.accounts()[1].address, X402_UPTO_PERMIT2_PROXY, &payment.settle_part(U256::from(1))).await;
    assert_eq!(again, SignatureTransfer::InvalidNonce {}.abi_encode());
}

#[tokio::test]
async fn golden_permit_makes_an_allowance_unnecessary() {
    for upto in [false, true] {
        let (devnet, client, payer) = start().await;
        devnet.set_allowance(devnet.usdc(), payer.address, PERMIT2, U256::ZERO).unwrap();
        let payment = if upto { golden_upto(&devnet) } else { golden_exact(&devnet) };

        let receipt = client.transact(&devnet.accounts()[1], payment.proxy(), payment.settle_with(golden_permit())).await;

        assert_eq!(number(&receipt["status"]), 1);
        assert_eq!(devnet.usdc_balance(PAYEE), U256::from(10_000));
        assert_eq!(events::<Proxy::SettledWithPermit>(&receipt, payment.proxy()).len(), 1);
        assert_eq!(events::<Proxy::Settled>(&receipt, payment.proxy()).len(), 0);
        assert_eq!(devnet.allowance(devnet.usdc(), payer.address, PERMIT2).unwrap(), U256::ZERO);
    }
}

#[tokio::test]
async fn constants_say_what_is_signed() {
    let (devnet, client, _) = start().await;
    assert_eq!(
        client.view(PERMIT2, &SignatureTransfer::DOMAIN_SEPARATORCall {}).await,
        permit2_domain(devnet.chain_id()).separator()
    );
    let witnesses = [
        (X402_EXACT_PERMIT2_PROXY, "Witness(address to,uint256 validAfter)"),
        (X402_UPTO_PERMIT2_PROXY, "Witness(address to,address facilitator,uint256 validAfter)"),
    ];
    for (proxy, witness) in witnesses {
        assert_eq!(client.view(proxy, &Proxy::PERMIT2Call {}).await, PERMIT2);
        assert_eq!(client.view(proxy, &Proxy::WITNESS_TYPEHASHCall {}).await, keccak256(witness));
        assert_eq!(
            client.view(proxy, &Proxy::WITNESS_TYPE_STRINGCall {}).await,
            format!("Witness witness)TokenPermissions(address token,uint256 amount){witness}")
        );
    }
}

#[tokio::test]
async fn each_broken_rule_of_the_proxies_has_its_error() {
    let (devnet, client, _) = start().await;
    let facilitator = devnet.accounts()[1].address;
    for good in [golden_exact(&devnet), golden_upto(&devnet)] {
        let refused = async |change: &dyn Fn(&mut Payment)| {
            let mut changed = good.clone();
            change(&mut changed);
            let settle = client.revert(facilitator, good.proxy(), &changed.settle()).await;
            let permit = EIP2612Permit { value: changed.amount, ..golden_permit() };
            assert_eq!(client.revert(facilitator, good.proxy(), &changed.settle_with(permit)).await, settle);
            settle
        };
        let amount = refused(&|payment| payment.amount = U256::ZERO).await;
        assert_eq!(amount, Proxy::InvalidAmount {}.abi_encode());
        let owner = refused(&|payment| payment.owner = Address::ZERO).await;
        assert_eq!(owner, Proxy::InvalidOwner {}.abi_encode());
        let destination = refused(&|payment| payment.to = Address::ZERO).await;
        assert_eq!(destination, Proxy::InvalidDestination {}.abi_encode());
        let early = refused(&|payment| payment.valid_after = U256::from(devnet.now() + 60)).await;
        assert_eq!(early, Proxy::PaymentTooEarly {}.abi_encode());
        let other_permit = EIP2612Permit { value: U256::MAX, ..golden_permit() };
        let mismatch = client.revert(facilitator, good.proxy(), &good.settle_with(other_permit)).await;
        assert_eq!(mismatch, Proxy::Permit2612AmountMismatch {}.abi_encode());
    }
}

#[tokio::test]
async fn upto_is_for_the_named_facilitator_and_not_above_the_maximum() {
    let (devnet, client, _) = start().await;
    let (payment, stranger) = (golden_upto(&devnet), devnet.accounts()[2].address);
    let unauthorized = Proxy::UnauthorizedFacilitator {}.abi_encode();
    assert_eq!(client.revert(stranger, X402_UPTO_PERMIT2_PROXY, &payment.settle()).await, unauthorized);
    let with_permit = payment.settle_with(golden_permit());
    assert_eq!(client.revert(stranger, X402_UPTO_PERMIT2_PROXY, &with_permit).await, unauthorized);
    // A stranger who names himself has not got the payer's signature for it.
    let renamed = Payment { facilitator: Some(stranger), ..payment.clone() };
    assert_eq!(
        client.revert(stranger, X402_UPTO_PERMIT2_PROXY, &renamed.settle()).await,
        SignatureTransfer::InvalidSigner {}.abi_encode()
    );
    let too_much = payment.settle_part(U256::from(10_001));
    assert_eq!(
        client.revert(devnet.accounts()[1].address, X402_UPTO_PERMIT2_PROXY, &too_much).await,
        Proxy::AmountExceedsPermitted {}.abi_encode()
    );
}

#[tokio::test]
async fn each_broken_rule_of_permit2_has_its_error() {
    let (devnet, client, payer) = start().await;
    let good = golden_exact(&devnet);
    let refused = async |change: &dyn Fn(&mut Payment)| {
        let mut changed = good.clone();
        change(&mut changed);
        client.revert(devnet.accounts()[1].address, changed.proxy(), &changed.settle()).await
    };
    let deadline = U256::from(devnet.now() - 1);
    assert_eq!(
        refused(&|payment| payment.deadline = deadline).await,
        SignatureTransfer::SignatureExpired { signatureDeadline: deadline }.abi_encode()
    );
    assert_eq!(
        refused(&|payment| payment.signature = payment.signature.slice(..63)).await,
        SignatureTransfer::InvalidSignatureLength {}.abi_encode()
    );
    assert_eq!(
        refused(&|payment| payment.signature = [&payment.signature[..64], &[0]].concat().into()).await,
        SignatureTransfer::InvalidSignature {}.abi_encode()
    );
    let changes: [&dyn Fn(&mut Payment); 6] = [
        &|payment| payment.amount += U256::ONE,
        &|payment| payment.token = DevToken::PLAIN.address,
        &|payment| payment.to = Address::repeat_byte(1),
        &|payment| payment.valid_after = U256::ONE,
        &|payment| payment.nonce += U256::ONE,
        &|payment| payment.owner = devnet.accounts()[3].address,
    ];
    for change in changes {
        assert_eq!(refused(change).await, SignatureTransfer::InvalidSigner {}.abi_encode());
    }
    let failed = Revert::from("TRANSFER_FROM_FAILED").abi_encode();
    devnet.set_allowance(devnet.usdc(), payer.address, PERMIT2, U256::from(9_999)).unwrap();
    assert_eq!(refused(&|_| ()).await, failed);
    let poor = devnet.accounts()[4];
    devnet.set_allowance(devnet.usdc(), poor.address, PERMIT2, U256::MAX).unwrap();
    let unfunded = Payment::new(&devnet, poor.address, devnet.usdc(), PAYEE, 1).signed(&devnet, &poor);
    assert_eq!(refused(&|payment| *payment = unfunded.clone()).await, failed);
}

#[tokio::test]
async fn requesting_more_than_permitted_is_refused_by_permit2_itself() {
    let (devnet, client, _) = start().await;
    let payment = golden_exact(&devnet);
    let request = SignatureTransfer::permitTransferFromCall {
        permit: payment.permit(),
        transferDetails: support::permit2::SignatureTransferDetails { to: PAYEE, requestedAmount: U256::from(10_001) },
        owner: payment.owner,
        signature: payment.signature.clone(),
    };
    assert_eq!(
        client.revert(PAYEE, PERMIT2, &request.abi_encode()).await,
        SignatureTransfer::InvalidAmount { maxAmount: U256::from(10_000) }.abi_encode()
    );
    // And a witness's signature is none for a transfer without one.
    let mut request = request;
    request.transferDetails.requestedAmount = U256::from(10_000);
    assert_eq!(client.revert(PAYEE, PERMIT2, &request.abi_encode()).await, SignatureTransfer::InvalidSigner {}.abi_encode());
}

#[tokio::test]
async fn compact_signature_is_as_good() {
    let (devnet, client, payer) = start().await;
    let mut payment = golden_exact(&devnet).signed(&devnet, &payer);
    let parity = payment.signature[64] - 27;
    assert_eq!(parity, 1, "a parity of zero would not show that it is read");
    let mut compact = payment.signature[..64].to_vec();
    compact[32] |= parity << 7;
    payment.signature = compact.into();
    let receipt = client.transact(&devnet.accounts()[1], payment.proxy(), payment.settle()).await;
    assert_eq!(number(&receipt["status"]), 1);
    assert_eq!(devnet.usdc_balance(PAYEE), U256::from(10_000));
}

#[tokio::test]
async fn invalidated_nonce_voids_what_was_signed_with_it() {
    let (devnet, client, payer) = start().await;
    let mut payment = golden_exact(&devnet);
    payment.nonce = U256::from(0x1_02);
    payment = payment.signed(&devnet, &payer);
    let invalidate =
        SignatureTransfer::invalidateUnorderedNoncesCall { wordPos: U256::from(1), mask: U256::from(1 << 2) }.abi_encode();
    // Somebody else's nonces are not the payer's.
    client.transact(&devnet.accounts()[1], PERMIT2, invalidate.clone()).await;
    client
        .ok("eth_call", serde_json::json!([{ "to": payment.proxy().to_string(), "data": support::hex(&payment.settle()) }]))
        .await;
    let receipt = client.transact(&payer, PERMIT2, invalidate).await;
    let logged = events::<SignatureTransfer::UnorderedNonceInvalidation>(&receipt, PERMIT2);
    assert_eq!((logged[0].owner, logged[0].word, logged[0].mask), (payer.address, U256::from(1), U256::from(4)));
    assert_eq!(client.revert(PAYEE, payment.proxy(), &payment.settle()).await, SignatureTransfer::InvalidNonce {}.abi_encode());
}

#[tokio::test]
async fn permit_that_fails_is_logged_and_the_allowance_decides() {
    let (devnet, client, payer) = start().await;
    let usdc = devnet.usdc();
    let payment = golden_exact(&devnet);
    let expired = permit2612(&payer, &token_domain(&devnet, usdc, "USDC", "2"), 10_000, 0, U256::ONE);
    let receipt = client.transact(&devnet.accounts()[1], payment.proxy(), payment.settle_with(expired)).await;
    assert_eq!(number(&receipt["status"]), 1);
    let logged = events::<Proxy::EIP2612PermitFailedWithReason>(&receipt, payment.proxy());
    assert_eq!((logged[0].token, logged[0].owner), (usdc, payer.address));
    assert_eq!(logged[0].reason, "FiatTokenV2: permit is expired");

    // A token without `permit`.
    let plain = DevToken::PLAIN.address;
    devnet.give_tokens(plain, payer.address, U256::from(5)).unwrap();
    devnet.set_allowance(plain, payer.address, PERMIT2, U256::from(5)).unwrap();
    let mut payment = Payment::new(&devnet, payer.address, plain, PAYEE, 5);
    payment.nonce = U256::from(8);
    let payment = payment.signed(&devnet, &payer);
    let none = EIP2612Permit { value: U256::from(5), ..golden_permit() };
    let receipt = client.transact(&devnet.accounts()[1], payment.proxy(), payment.settle_with(none)).await;
    assert_eq!(number(&receipt["status"]), 1);
    let logged = events::<Proxy::EIP2612PermitFailedWithData>(&receipt, payment.proxy());
    assert_eq!(logged[0].data, Bytes::new());

    // A token that panics: Panic(0x11), an overflow.
    let panics = Address::repeat_byte(0x99);
    // PUSH4 selector PUSH1 224 SHL PUSH0 MSTORE PUSH1 17 PUSH1 4 MSTORE PUSH1 36 PUSH0 REVERT
    let revert = [0x63, 0x4e, 0x48, 0x7b, 0x71, 0x60, 224, 0x1b, 0x5f, 0x52, 0x60, 0x11, 0x60, 4, 0x52, 0x60, 36, 0x5f, 0xfd];
    devnet.set_code(panics, token(&revert)).unwrap();
    let mut payment = Payment::new(&devnet, payer.address, panics, PAYEE, 5);
    payment.nonce = U256::from(9);
    let payment = payment.signed(&devnet, &payer);
    let none = EIP2612Permit { value: U256::from(5), ..golden_permit() };
    let receipt = client.transact(&devnet.accounts()[1], payment.proxy(), payment.settle_with(none)).await;
    let logged = events::<Proxy::EIP2612PermitFailedWithPanic>(&receipt, payment.proxy());
    assert_eq!(logged[0].errorCode, U256::from(0x11));
}

/// A token whose `transferFrom` agrees to everything, and whose other functions do `otherwise`.
fn token(otherwise: &[u8]) -> Bytes {
    // CALLDATASIZE PUSH1 100 EQ PUSH1 agree JUMPI: only the call of `transferFrom` has 100 bytes.
    let agree = u8::try_from(7 + otherwise.len()).unwrap();
    let head = [0x36, 0x60, 100, 0x14, 0x60, agree, 0x57];
    // agree: JUMPDEST PUSH1 1 PUSH0 MSTORE PUSH1 32 PUSH0 RETURN
    let tail = [0x5b, 0x60, 1, 0x5f, 0x52, 0x60, 32, 0x5f, 0xf3];
    [&head, otherwise, &tail].concat().into()
}

#[tokio::test]
async fn token_cannot_call_back_into_the_proxy() {
    let (devnet, client, payer) = start().await;
    let evil = Address::repeat_byte(0x66);
    let call_settle = [
        // PUSH4 selector PUSH1 224 SHL PUSH0 MSTORE: `settle` of zeros, which decode.
        &[0x63][..],
        &Exact::settleCall::SELECTOR,
        &[0x60, 224, 0x1b, 0x5f, 0x52],
        // PUSH0 PUSH0 PUSH2 512 PUSH0 PUSH0 PUSH20 proxy GAS CALL POP
        &[0x5f, 0x5f, 0x61, 2, 0, 0x5f, 0x5f, 0x73],
        X402_EXACT_PERMIT2_PROXY.as_slice(),
        &[0x5a, 0xf1, 0x50],
        // RETURNDATASIZE PUSH0 PUSH0 RETURNDATACOPY RETURNDATASIZE PUSH0 REVERT
        &[0x3d, 0x5f, 0x5f, 0x3e, 0x3d, 0x5f, 0xfd],
    ]
    .concat();
    devnet.set_code(evil, token(&call_settle)).unwrap();
    let payment = Payment::new(&devnet, payer.address, evil, PAYEE, 5).signed(&devnet, &payer);
    let permit = EIP2612Permit { value: U256::from(5), ..golden_permit() };
    let receipt = client.transact(&devnet.accounts()[1], payment.proxy(), payment.settle_with(permit)).await;
    let logged = events::<Proxy::EIP2612PermitFailedWithData>(&receipt, payment.proxy());
    assert_eq!(logged[0].data, Proxy::ReentrancyGuardReentrantCall {}.abi_encode());
}

#[tokio::test]
async fn token_without_code_settles_and_moves_nothing() {
    let (devnet, client, payer) = start().await;
    let nobody = Address::repeat_byte(0x55);
    let payment = Payment::new(&devnet, payer.address, nobody, PAYEE, 5).signed(&devnet, &payer);
    let receipt = client.transact(&devnet.accounts()[1], payment.proxy(), payment.settle()).await;
    assert_eq!(number(&receipt["status"]), 1);
    assert_eq!(receipt["logs"].as_array().unwrap().len(), 1);
    assert_eq!(B256::from_slice(&support::bytes(&receipt["logs"][0]["topics"][0])), keccak256("Settled()"));
}
