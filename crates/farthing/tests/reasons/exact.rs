//! `exact` by EIP-3009, and what is wrong with an offer whatever its scheme.

use farthing::core::reason::Reason;
use farthing::core::wire::Extensions;
use farthing_devnet::DevToken;
use farthing_testkit::golden;
use serde_json::json;

use crate::desk::{Desk, Row, authorization, both, offer, seconds_from_now, usdc};

const ROWS: &[Row] = &[
    (Reason::InvalidPayload, |it| it["paymentPayload"]["payload"] = json!(7)),
    (Reason::InvalidX402Version, |it| it["x402Version"] = json!(3)),
    (Reason::UnsupportedScheme, |it| both(it, "/scheme", &json!("barter"))),
    (Reason::InvalidNetwork, |it| both(it, "/network", &json!("eip155:8453"))),
    (Reason::InvalidPaymentRequirements, |it| both(it, "/asset", &json!(golden::SECOND))),
    (Reason::UnsupportedPaymentFlow, |it| it["paymentRequirements"]["extra"]["paymentFlow"] = json!("escrow")),
    (Reason::UnsupportedAssetTransferMethod, |it| {
        it["paymentRequirements"]["extra"]["assetTransferMethod"] = json!("carrier pigeon");
    }),
    (Reason::UnsupportedPayloadType, |it| it["paymentRequirements"]["extra"]["assetTransferMethod"] = json!("permit2")),
    (Reason::InvalidExactEvmScheme, |it| it["paymentPayload"]["accepted"]["scheme"] = json!("upto")),
    (Reason::InvalidExactEvmNetworkMismatch, |it| it["paymentPayload"]["accepted"]["network"] = json!("eip155:8453")),
    (Reason::InvalidExactEvmMissingEip712Domain, |it| it["paymentRequirements"]["extra"] = json!({})),
    (Reason::InvalidExactEvmTokenNameMismatch, |it| both(it, "/extra/name", &json!("USD Coin"))),
    (Reason::InvalidExactEvmTokenVersionMismatch, |it| both(it, "/extra/version", &json!("1"))),
    (Reason::InvalidExactEvmRecipientMismatch, |it| authorization(it)["to"] = json!(golden::SECOND)),
    (Reason::InvalidExactEvmPayloadAuthorizationValidBefore, |it| authorization(it)["validBefore"] = seconds_from_now(1)),
    (Reason::InvalidExactEvmPayloadAuthorizationValidAfter, |it| authorization(it)["validAfter"] = seconds_from_now(60)),
    (Reason::InvalidExactEvmPayloadAuthorizationValueMismatch, |it| authorization(it)["value"] = json!("9999")),
    (Reason::InvalidExactEvmFailedToParseSignature, |it| it["paymentPayload"]["payload"]["signature"] = json!("zz")),
    (Reason::InvalidExactEvmSignature, |it| authorization(it)["nonce"] = json!(golden::eip3009::NONCE)),
];

pub async fn given() -> Vec<Reason> {
    let desk = Desk::open().await;
    let good = desk.pay(&offer()).await;
    let mut given = desk.refusals(&good, ROWS).await;

    let poor = desk.pay_with(golden::SECOND_KEY, &offer(), &Extensions::default()).await;
    given.push(desk.refusal(&Reason::InvalidExactEvmInsufficientBalance, &poor).await);

    let mut with_fee = offer();
    let token = DevToken::FEE_ON_TRANSFER;
    with_fee["asset"] = json!(token.address.to_string());
    with_fee["extra"] = json!({"name": token.name, "version": DevToken::DOMAIN_VERSION});
    let short = desk.pay(&with_fee).await;
    given.push(desk.refusal(&Reason::InvalidExactEvmTransactionSimulationFailed, &short).await);

    desk.settle_well(&good).await;
    // Somebody else's book does not know it, and the chain does.
    let elsewhere = desk.second().await;
    given.push(elsewhere.verify(&good).await);
    assert_eq!(given.last(), Some(&Reason::InvalidExactEvmNonceAlreadyUsed));

    let code = [(Reason::InvalidExactEvmEip3009NotSupported, "0x60006000fd"), (Reason::AssetNotDeployedContract, "0x")];
    let fresh = desk.pay(&offer()).await;
    for (reason, code) in code {
        desk.devnet.set_code(usdc(), code.parse().unwrap()).unwrap();
        given.push(desk.refusal(&reason, &fresh).await);
    }
    given
}
