//! `upto`, where it has reasons of its own.

use alloy_sol_types::SolError;
use farthing::core::reason::Reason;
use farthing::evm::abi::UptoProxy;
use farthing_devnet::X402_UPTO_PERMIT2_PROXY;
use farthing_testkit::golden;
use serde_json::json;

use crate::desk::{Desk, Row, permission};
use crate::permit2::failing_proxy;

const ROWS: &[Row] = &[
    (Reason::InvalidUptoEvmScheme, |it| it["paymentPayload"]["accepted"]["scheme"] = json!("exact")),
    (Reason::InvalidUptoEvmNetworkMismatch, |it| it["paymentPayload"]["accepted"]["network"] = json!("eip155:8453")),
    (Reason::UptoFacilitatorMismatch, |it| permission(it)["witness"]["facilitator"] = json!(golden::SECOND)),
];

pub async fn given() -> Vec<Reason> {
    let desk = Desk::open().await;
    let good = desk.pay(&desk.upto_offer()).await;
    let mut given = desk.refusals(&good, ROWS).await;

    // What is charged is only said when it is settled.
    let mut too_much = good.clone();
    too_much["paymentRequirements"]["amount"] = json!("10001");
    given.push(desk.settle(&too_much).await);
    assert_eq!(given.last(), Some(&Reason::InvalidUptoEvmPayloadSettlementExceedsAmount));

    for (selector, reason) in [
        (UptoProxy::AmountExceedsPermitted::SELECTOR, Reason::UptoAmountExceedsPermitted),
        (UptoProxy::UnauthorizedFacilitator::SELECTOR, Reason::UptoUnauthorizedFacilitator),
    ] {
        desk.devnet.set_code(X402_UPTO_PERMIT2_PROXY, failing_proxy(selector)).unwrap();
        given.push(desk.refusal(&reason, &good).await);
    }
    given
}
