//! Transfers by Permit2.

use alloy_sol_types::{SolCall, SolError};
use farthing::core::reason::Reason;
use farthing::core::wire::Extensions;
use farthing::evm::abi::{ExactProxy, Permit2};
use farthing::evm::transfer::permit2::PERMIT2;
use farthing::evm::{Bytes, U256};
use farthing_devnet::{DevToken, X402_EXACT_PERMIT2_PROXY};
use farthing_testkit::golden;
use serde_json::json;

use crate::desk::{Desk, Row, permission, permit2_offer, seconds_from_now, usdc};

const ROWS: &[Row] = &[
    (Reason::UnsupportedPayloadType, |it| it["paymentPayload"]["accepted"]["scheme"] = json!("upto")),
    (Reason::InvalidPermit2Spender, |it| permission(it)["spender"] = json!(golden::SECOND)),
    (Reason::InvalidPermit2RecipientMismatch, |it| permission(it)["witness"]["to"] = json!(golden::SECOND)),
    (Reason::Permit2DeadlineExpired, |it| permission(it)["deadline"] = seconds_from_now(1)),
    (Reason::Permit2NotYetValid, |it| permission(it)["witness"]["validAfter"] = seconds_from_now(60)),
    (Reason::Permit2AmountMismatch, |it| permission(it)["permitted"]["amount"] = json!("9999")),
    (Reason::Permit2TokenMismatch, |it| permission(it)["permitted"]["token"] = json!(golden::SECOND)),
    (Reason::InvalidPermit2Signature, |it| permission(it)["nonce"] = json!("7")),
];

pub async fn given() -> Vec<Reason> {
    let desk = Desk::open().await;
    let good = desk.pay(&permit2_offer(usdc())).await;
    let mut given = desk.refusals(&good, ROWS).await;

    let poor = desk.pay_with(golden::SECOND_KEY, &permit2_offer(usdc()), &Extensions::default()).await;
    given.push(desk.refusal(&Reason::Permit2InsufficientBalance, &poor).await);
    let not_approved = desk.pay(&permit2_offer(DevToken::PLAIN.address)).await;
    given.push(desk.refusal(&Reason::Permit2AllowanceRequired, &not_approved).await);
    let token = DevToken::FEE_ON_TRANSFER.address;
    desk.devnet.set_allowance(token, golden::PAYER.parse().unwrap(), PERMIT2, U256::MAX).unwrap();
    let short = desk.pay(&permit2_offer(token)).await;
    given.push(desk.refusal(&Reason::Permit2SimulationFailed, &short).await);

    desk.settle_well(&good).await;
    given.push(desk.second().await.verify(&good).await);
    assert_eq!(given.last(), Some(&Reason::Permit2InvalidNonce));

    let fresh = desk.pay(&permit2_offer(usdc())).await;
    for (selector, reason) in [
        (ExactProxy::InvalidAmount::SELECTOR, Reason::Permit2InvalidAmount),
        (ExactProxy::InvalidDestination::SELECTOR, Reason::Permit2InvalidDestination),
        (ExactProxy::InvalidOwner::SELECTOR, Reason::Permit2InvalidOwner),
        (ExactProxy::PaymentTooEarly::SELECTOR, Reason::Permit2PaymentTooEarly),
        (ExactProxy::Permit2612AmountMismatch::SELECTOR, Reason::Permit22612AmountMismatch),
        (Permit2::InvalidNonce::SELECTOR, Reason::Permit2InvalidNonce),
    ] {
        desk.devnet.set_code(X402_EXACT_PERMIT2_PROXY, failing_proxy(selector)).unwrap();
        given.push(desk.refusal(&reason, &fresh).await);
    }
    desk.devnet.set_code(X402_EXACT_PERMIT2_PROXY, Bytes::new()).unwrap();
    given.push(desk.refusal(&Reason::Permit2ProxyNotDeployed, &fresh).await);
    given
}

/// The code of a proxy that says who Permit2 is, and fails with this error whatever else it is asked.
pub fn failing_proxy(selector: [u8; 4]) -> Bytes {
    let mut code = vec![0x60, 0x00, 0x35, 0x60, 0xe0, 0x1c, 0x63];
    code.extend(ExactProxy::PERMIT2Call::SELECTOR);
    code.extend([0x14, 0x60, 0x1c, 0x57, 0x63]);
    code.extend(selector);
    code.extend([0x60, 0x00, 0x52, 0x60, 0x04, 0x60, 0x1c, 0xfd]);
    code.extend([0x5b, 0x60, 0x20, 0x60, 0x00, 0xf3]);
    code.into()
}
