//! Approvals of Permit2 that somebody else pays for.

use alloy_consensus::{SignableTransaction, TxEip1559};
use alloy_primitives::{Address, Bytes, Signature, TxKind, U256, hex, uint};
use alloy_sol_types::{SolCall, sol};
use farthing::core::reason::Reason;
use farthing::core::wire::Extensions;
use farthing::evm::transfer::permit2::PERMIT2;
use farthing::evm::transfer::{approval, eip2612};
use farthing_devnet::{DevToken, Mining};
use farthing_testkit::golden;
use serde_json::{Value, json};

use crate::desk::{Desk, Row, permit2_offer, seconds_from_now, signer, usdc};

sol! {
    function approve(address spender, uint256 value) external returns (bool);
}

/// The order of secp256k1: a signature has two forms, of which only the lower one counts.
const ORDER: U256 = uint!(0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141_U256);

const PERMITS: &[Row] = &[
    (Reason::InvalidEip2612ExtensionFormat, |it| permit(it)["from"] = json!("me")),
    (Reason::Eip2612FromMismatch, |it| permit(it)["from"] = json!(golden::SECOND)),
    (Reason::Eip2612AssetMismatch, |it| permit(it)["asset"] = json!(golden::SECOND)),
    (Reason::Eip2612SpenderNotPermit2, |it| permit(it)["spender"] = json!(golden::SECOND)),
    (Reason::Eip2612DeadlineExpired, |it| permit(it)["deadline"] = seconds_from_now(1)),
    (Reason::Permit22612AmountMismatch, |it| permit(it)["amount"] = json!("10001")),
];

const APPROVALS: &[Row] = &[
    (Reason::InvalidErc20ApprovalExtensionFormat, |it| approval(it)["from"] = json!("me")),
    (Reason::Erc20ApprovalFromMismatch, |it| approval(it)["from"] = json!(golden::SECOND)),
    (Reason::Erc20ApprovalAssetMismatch, |it| approval(it)["asset"] = json!(golden::SECOND)),
    (Reason::Erc20ApprovalSpenderNotPermit2, |it| approval(it)["spender"] = json!(golden::SECOND)),
    (Reason::Erc20ApprovalTxParseFailed, |it| approval(it)["signedTransaction"] = json!("0x02")),
];

/// The reason that must be given, and what is changed of a good transaction before it is signed.
type Change = (Reason, fn(&mut TxEip1559));

const TRANSACTIONS: &[Change] = &[
    (Reason::Erc20ApprovalTxWrongTarget, |it| it.to = TxKind::Call(PERMIT2)),
    (Reason::Erc20ApprovalTxWrongSelector, |it| it.input = Bytes::from_static(&[1, 2, 3, 4])),
    (Reason::Erc20ApprovalTxWrongSpender, |it| it.input = call(usdc(), U256::MAX)),
    (Reason::Erc20ApprovalTxInvalidCalldata, |it| it.input = call(PERMIT2, U256::from(9_999))),
];

pub async fn given() -> Vec<Reason> {
    let desk = Desk::open_with(Mining::Instant, |config| config.sponsor.approvals = true, |setup| setup).await;
    desk.devnet.set_allowance(usdc(), golden::PAYER.parse().unwrap(), PERMIT2, U256::ZERO).unwrap();
    let good = paid(&desk, usdc(), eip2612::EXTENSION).await;
    let mut given = desk.refusals(&good, PERMITS).await;

    let token = DevToken::PLAIN.address;
    let good = paid(&desk, token, approval::EXTENSION).await;
    given.extend(desk.refusals(&good, APPROVALS).await);
    for (reason, change) in TRANSACTIONS {
        let mut transaction = transaction(token);
        change(&mut transaction);
        given.push(desk.refusal(reason, &carrying(&good, transaction, golden::PAYER_KEY, |it| it).await).await);
    }
    let strangers = carrying(&good, transaction(token), golden::SECOND_KEY, |it| it).await;
    given.push(desk.refusal(&Reason::Erc20ApprovalTxSignerMismatch, &strangers).await);
    let mirror = |it: Signature| Signature::new(it.r(), ORDER - it.s(), !it.v());
    let mirrored = carrying(&good, transaction(token), golden::PAYER_KEY, mirror).await;
    given.push(desk.refusal(&Reason::Erc20ApprovalTxInvalidSignature, &mirrored).await);
    // Nobody pays for its gas.
    desk.devnet.set_balance(golden::PAYER.parse().unwrap(), U256::ONE);
    given.push(desk.refusal(&Reason::Erc20ApprovalBroadcastFailed, &good).await);
    given
}

/// What servers say of gas sponsoring.
pub fn advertised(key: &str) -> Extensions {
    let mut extensions = Extensions::default();
    extensions.set(key, &json!({"info": {"description": "gas is on us", "version": "1"}, "schema": {}})).unwrap();
    extensions
}

/// A payment in that token, with what the buyer adds to have its approval sponsored.
pub async fn paid(desk: &Desk, token: Address, extension: &str) -> Value {
    desk.pay_with(golden::PAYER_KEY, &permit2_offer(token), &advertised(extension)).await
}

fn permit(request: &mut Value) -> &mut Value {
    &mut request["paymentPayload"]["extensions"][eip2612::EXTENSION]["info"]
}

fn approval(request: &mut Value) -> &mut Value {
    &mut request["paymentPayload"]["extensions"][approval::EXTENSION]["info"]
}

fn call(spender: Address, value: U256) -> Bytes {
    approveCall { spender, value }.abi_encode().into()
}

/// A good approval.
fn transaction(token: Address) -> TxEip1559 {
    TxEip1559 {
        chain_id: golden::CHAIN_ID,
        gas_limit: approval::MAX_GAS_UNITS,
        max_fee_per_gas: 10_000_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(token),
        input: call(PERMIT2, U256::MAX),
        ..TxEip1559::default()
    }
}

/// The request with this transaction in it, signed by that key and then changed.
async fn carrying(request: &Value, transaction: TxEip1559, key: &str, change: fn(Signature) -> Signature) -> Value {
    let bytes = signer(key).sign_hash(transaction.signature_hash()).await.unwrap().to_bytes();
    let signed = transaction.into_signed(change(Signature::from_raw(&bytes).unwrap()));
    let mut bytes = Vec::new();
    signed.eip2718_encode(&mut bytes);
    let mut request = request.clone();
    approval(&mut request)["signedTransaction"] = json!(hex::encode_prefixed(bytes));
    request
}
