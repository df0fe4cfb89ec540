//! Schemes behind their erased form: how JSON becomes their types, and what they are told when it does not.

use std::sync::Arc;

use farthing_core::asset::AccountId;
use farthing_core::books::{PaymentRecord, SettlementEntry};
use farthing_core::erased::AnyFacilitatorScheme;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{
    FacilitatorScheme, Outcome, Payment, PaymentFlow, PaymentKey, Phase, SendRight, SettleError, Settlement, VerifiedPayment,
    VerifyError,
};
use farthing_core::time::UnixSeconds;
use farthing_core::wire::{PaymentRequest, PaymentRequirements, SupportedKind};
use serde::Deserialize;
use serde_json::json;

use crate::golden::{OFFER, request, request_v1, with};

#[derive(Clone, Deserialize)]
struct Payload {
    signature: String,
    authorization: Authorization,
}

#[derive(Clone, Deserialize)]
struct Authorization {
    value: farthing_core::amount::Amount,
}

#[derive(Clone, Deserialize)]
struct Extra {
    name: String,
}

struct Verified;

impl VerifiedPayment for Verified {
    fn payer(&self) -> AccountId {
        "0xPayer".parse().unwrap()
    }
}

struct Scheme;

impl FacilitatorScheme for Scheme {
    const NAME: &'static str = "exact";
    type Extra = Extra;
    type Payload = Payload;
    type Verified = Verified;

    fn kinds(&self) -> Vec<SupportedKind> {
        Vec::new()
    }

    fn signers(&self) -> Vec<(String, AccountId)> {
        Vec::new()
    }

    fn record(&self, payment: &Payment<Payload, Extra>) -> Result<PaymentRecord, Refusal> {
        assert_eq!((payment.accepted_scheme.as_str(), payment.accepted_network.as_str()), ("exact", "eip155:84532"));
        assert_eq!((payment.extra.name.as_str(), payment.payload.signature.len()), ("USDC", 132));
        assert_eq!(payment.payload.authorization.value, payment.requirements.amount);
        Ok(PaymentRecord {
            key: PaymentKey([7; 32]),
            scheme: Self::NAME.to_owned(),
            network: payment.requirements.network.clone(),
            payer: Verified.payer(),
            pay_to: payment.requirements.pay_to.clone(),
            asset: payment.requirements.asset.clone(),
            amount: payment.requirements.amount,
            expires_at: UnixSeconds(0),
            reference: String::new(),
        })
    }

    async fn verify(&self, _: &Payment<Payload, Extra>, _: Phase) -> Result<Verified, VerifyError> {
        Ok(Verified)
    }

    async fn settle(&self, _: Verified, _: Arc<dyn SendRight>) -> Result<Settlement, SettleError> {
        Err(SettleError::NotSent("no chain".into()))
    }

    async fn outcome(&self, _: &SettlementEntry) -> Result<Outcome, VerifyError> {
        Ok(Outcome::Unknown)
    }

    async fn final_outcome(&self, _: &SettlementEntry) -> Result<Outcome, VerifyError> {
        Ok(Outcome::Unknown)
    }

    fn start(&self) {}

    async fn stop(&self) {}

    async fn ready(&self) -> Result<(), VerifyError> {
        Ok(())
    }
}

fn read(text: &str) -> Result<PaymentKey, Refusal> {
    let scheme: Arc<dyn AnyFacilitatorScheme> = Arc::new(Scheme);
    scheme.read(&PaymentRequest::read(text.as_bytes()).unwrap()).map(|payment| payment.record.key)
}

#[test]
fn a_payment_of_either_version_becomes_the_schemes_types() {
    assert_eq!(read(&request()), Ok(PaymentKey([7; 32])));
    assert_eq!(read(&request_v1()), Ok(PaymentKey([7; 32])));
}

#[test]
fn a_payload_of_another_shape_is_told_which_field_is_wrong_and_no_more() {
    let cases = [
        (
            "\"value\":\"10000\"",
            "\"value\":10000",
            "payload: authorization.value: invalid type: integer `10000`, expected a string",
        ),
        ("\"value\":\"10000\",", "", "payload: authorization: missing field `value`"),
        ("\"signature\":", "\"signatures\":", "payload: missing field `signature`"),
        ("\"signature\":\"", "\"signature\":null,\"was\":\"", "payload: signature: invalid type: null, expected a string"),
    ];
    for (from, to, message) in cases {
        let refusal = read(&with(&request(), from, to)).unwrap_err();
        assert_eq!((refusal.reason, refusal.message.as_str()), (Reason::InvalidPayload, message));
    }
    let start = request().find("{\"from\"").unwrap();
    let end = request()[start..].find('}').unwrap() + start;
    let misplaced = format!("{}\"0xSECRET\"{}", &request()[..start], &request()[end + 1..]);
    let refusal = read(&misplaced).unwrap_err();
    assert_eq!(refusal.message, "payload: authorization: invalid type: string, expected an object");
}

#[test]
fn an_extra_of_another_shape_is_the_requirements_fault() {
    let changed = |extra: &str| {
        let offer = with(OFFER, r#"{"name":"USDC","version":"2"}"#, extra);
        let requirements = format!("\"paymentRequirements\":{OFFER}");
        read(&with(&request(), &requirements, &format!("\"paymentRequirements\":{offer}"))).unwrap_err()
    };
    for (extra, message) in [
        ("{}", "extra: missing field `name`"),
        ("null", "extra: missing field `name`"),
        ("{\"name\":17}", "extra: name: invalid type: integer `17`, expected a string"),
    ] {
        let refusal = changed(extra);
        assert_eq!((refusal.reason, refusal.message.as_str()), (Reason::InvalidPaymentRequirements, message));
    }
}

#[test]
fn a_payment_flow_is_one_of_three() {
    let flow = |extra: serde_json::Value| {
        let mut offer: PaymentRequirements = serde_json::from_str(OFFER).unwrap();
        offer.extra = extra.as_object().unwrap().clone();
        PaymentFlow::of(&offer).map_err(|refusal| refusal.reason)
    };
    assert_eq!(flow(json!({})), Ok(PaymentFlow::Authorization));
    assert_eq!(flow(json!({"paymentFlow": "authorization"})), Ok(PaymentFlow::Authorization));
    assert_eq!(flow(json!({"paymentFlow": "upfront"})), Ok(PaymentFlow::Upfront));
    assert_eq!(flow(json!({"paymentFlow": "escrow"})), Ok(PaymentFlow::Escrow));
    for other in [json!("Upfront"), json!(""), json!(1), json!(null), json!(["upfront"])] {
        let expected = if other.is_null() { Ok(PaymentFlow::Authorization) } else { Err(Reason::UnsupportedPaymentFlow) };
        assert_eq!(flow(json!({"paymentFlow": other.clone()})), expected, "{other}");
    }
}
