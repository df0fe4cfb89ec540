//! What becomes of payments that were good until they were sent.

use farthing::core::reason::Reason;
use farthing::evm::transfer::approval;
use farthing::evm::transfer::permit2::PERMIT2;
use farthing::evm::{Bytes, U256};
use farthing_devnet::{DevToken, Mining};
use farthing_testkit::golden;
use serde_json::json;

use crate::desk::{Desk, offer, permit2_offer, usdc};
use crate::sponsoring::paid;

/// Code that answers true to every call and does nothing.
const AGREES_TO_ALL: &[u8] = &[0x60, 0x01, 0x60, 0x00, 0x52, 0x60, 0x20, 0x60, 0x00, 0xf3];

pub async fn given() -> Vec<Reason> {
    let mut given = failed().await;
    given.extend(copied().await);
    given
}

async fn failed() -> Vec<Reason> {
    let desk = Desk::open_with(Mining::Manual, |config| config.sponsor.approvals = true, |setup| setup).await;
    let payer = golden::PAYER.parse().unwrap();
    let allow = |amount| desk.devnet.set_allowance(usdc(), payer, PERMIT2, amount).unwrap();
    let mut given = Vec::new();
    for (reason, offer) in [
        (Reason::InvalidExactEvmTransactionFailed, permit2_offer(usdc())),
        (Reason::InvalidUptoEvmTransactionFailed, desk.upto_offer()),
    ] {
        allow(U256::MAX);
        let request = desk.pay(&offer).await;
        given.push(desk.settle_while(&request, desk.relayer(), || allow(U256::ZERO)).await);
        assert_eq!(given.last(), Some(&reason));
    }
    let token = DevToken::PLAIN.address;
    let request = paid(&desk, token, approval::EXTENSION).await;
    let break_token = || desk.devnet.set_code(token, Bytes::from_static(&[0xfe])).unwrap();
    given.push(desk.settle_while(&request, payer, break_token).await);
    assert_eq!(given.last(), Some(&Reason::Erc20ApprovalTxFailed));

    allow(U256::MAX);
    let request = desk.pay(&permit2_offer(usdc())).await;
    let replace_token = || desk.devnet.set_code(usdc(), Bytes::from_static(AGREES_TO_ALL)).unwrap();
    given.push(desk.settle_while(&request, desk.relayer(), replace_token).await);
    assert_eq!(given.last(), Some(&Reason::InvalidExactEvmTransferEventMismatch));
    given
}

/// The same payment for two requests.
async fn copied() -> Vec<Reason> {
    let impatient = |config: &mut farthing::evm::config::ChainConfig| config.confirm.timeout_milliseconds = 100;
    let desk = Desk::open_with(Mining::Manual, impatient, |setup| setup).await;
    let request = desk.pay(&offer()).await;
    let mut other = request.clone();
    other["paymentPayload"]["resource"] = json!({"url": "https://api.example.com/other"});
    let mut given = vec![desk.settle(&request).await, desk.settle(&other).await];
    desk.devnet.mine(1).unwrap();
    desk.settle_well(&request).await;
    given.push(desk.refusal(&Reason::PaymentAlreadyUsed, &other).await);
    assert_eq!(given[..2], [Reason::SettlementPending, Reason::PaymentInFlight]);
    given
}
