//! The scheme `exact` on EVM chains: exactly the amount asked for, once (x402 v2 `exact`, protocol reference §6.1).
//!
//! The payer signs a transfer, by EIP-3009 where the token knows it and by Permit2 where not or where the offer asks for it,
//! and the facilitator carries it out. One file for each role; `terms` is what all roles check of an offer, `checks` the
//! facilitator's first step. The others it shares with all schemes.

mod checks;
mod client;
mod facilitator;
mod server;
pub(crate) mod terms;

use farthing_core::reason::Refusal;
use farthing_core::scheme::{Payment, PaymentKey};
use serde::{Deserialize, Serialize};

pub use self::client::Client;
pub use self::facilitator::Facilitator;
pub use self::server::Server;
pub use crate::account::MAX_WINDOW_SECONDS;
use crate::facilitator::transfer::Authorized;
pub use crate::facilitator::{CLOCK_SKEW_SECONDS, MAX_COVER_WAIT_SECONDS, SETTLE_MARGIN_SECONDS, Verified};
use crate::signature::WireSignature;
use crate::transfer::eip3009::Authorization;
use crate::transfer::permit2;

/// The scheme's name on the wire.
pub const NAME: &str = "exact";

/// What the scheme reads of an offer's `extra`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extra {
    /// The name in the token's EIP-712 domain.
    #[serde(default)]
    pub name: Option<String>,
    /// The version in the token's EIP-712 domain.
    #[serde(default)]
    pub version: Option<String>,
    /// How the asset is to be moved; as the asset is best moved unless it says otherwise.
    #[serde(default)]
    pub asset_transfer_method: Option<String>,
}

/// A transfer that the payer signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignedAuthorization {
    /// The payer's signature.
    pub signature: WireSignature,
    /// What it says.
    pub authorization: Authorization,
}

/// A transfer through Permit2 that the payer signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedPermit2 {
    /// The payer's signature.
    pub signature: WireSignature,
    /// What it says.
    pub permit2_authorization: permit2::Authorization,
}

/// A payment's own part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, try_from = "Fields")]
pub enum Payload {
    /// By EIP-3009.
    Eip3009(SignedAuthorization),
    /// By Permit2.
    Permit2(SignedPermit2),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(default)]
    signature: Option<WireSignature>,
    #[serde(default)]
    authorization: Option<Authorization>,
    #[serde(default)]
    permit2_authorization: Option<permit2::Authorization>,
}

impl TryFrom<Fields> for Payload {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let Some(signature) = fields.signature else {
            return Err("signature: missing; expected the payer's signature");
        };
        match (fields.authorization, fields.permit2_authorization) {
            (Some(authorization), None) => Ok(Self::Eip3009(SignedAuthorization { signature, authorization })),
            (None, Some(mut permit2_authorization)) => {
                // The proxy of this scheme knows no facilitator: whatever is written there is not part of what was signed.
                permit2_authorization.witness.facilitator = None;
                Ok(Self::Permit2(SignedPermit2 { signature, permit2_authorization }))
            }
            (Some(_), Some(_)) => Err("authorization and permit2Authorization: expected one of them, got both"),
            (None, None) => {
                Err("authorization: missing; expected the signed EIP-3009 transfer, or permit2Authorization, one by Permit2")
            }
        }
    }
}

impl Payload {
    /// What the payer signed.
    pub(crate) const fn authorized(&self) -> Authorized {
        match self {
            Self::Eip3009(signed) => Authorized::Eip3009(signed.authorization),
            Self::Permit2(signed) => Authorized::Permit2(signed.permit2_authorization),
        }
    }
}

/// What makes a payment unique on its chain: the digest of chain, payer and nonce, and by EIP-3009 of the asset. The same
/// for the server and for the facilitator, and the same however the payment is written.
pub fn payment_key(payment: &Payment<Payload, Extra>) -> Result<PaymentKey, Refusal> {
    let place = (terms::chain_of(&payment.requirements)?, terms::asset_address(&payment.requirements)?);
    Ok(payment.payload.authorized().key(place.0, place.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use farthing_testkit::golden;

    fn json() -> serde_json::Value {
        serde_json::json!({
            "signature": golden::eip3009::SIGNATURE,
            "authorization": {
                "from": golden::PAYER, "to": golden::PAY_TO, "value": "10000", "validAfter": "0",
                "validBefore": "1800000000", "nonce": golden::eip3009::NONCE,
            },
        })
    }

    #[test]
    fn a_payload_is_read_and_written_as_the_official_sdk_writes_it() {
        let Payload::Eip3009(signed) = serde_json::from_value(json()).unwrap() else { panic!("not EIP-3009") };
        assert_eq!(serde_json::to_value(&signed).unwrap(), json());
        assert!(!format!("{signed:?}").contains("b94ef"));
    }

    #[test]
    fn what_is_missing_or_double_is_said() {
        let cases = [
            ("signature", None, "signature: missing"),
            ("authorization", None, "authorization: missing"),
            ("signature", Some(serde_json::Value::Null), "signature: missing"),
            ("permit2Authorization", Some(permit2()["permit2Authorization"].clone()), "got both"),
            ("permit2Authorization", Some(serde_json::json!({})), "missing field"),
        ];
        for (field, value, expected) in cases {
            let mut json = json();
            match value {
                Some(value) => json[field] = value,
                None => drop(json.as_object_mut().unwrap().remove(field)),
            }
            let error = serde_json::from_value::<Payload>(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    fn permit2() -> serde_json::Value {
        serde_json::json!({
            "signature": golden::permit2::EXACT_SIGNATURE,
            "permit2Authorization": {
                "from": golden::PAYER, "permitted": {"token": golden::ASSET, "amount": "10000"},
                "spender": "0x402085c248EeA27D92E8b30b2C58ed07f9E20001", "nonce": "7", "deadline": "1800000000",
                "witness": {"to": golden::PAY_TO, "validAfter": "0"},
            },
        })
    }

    #[test]
    fn a_payload_by_permit2_is_read_and_written_as_the_official_sdk_writes_it() {
        let payload: Payload = serde_json::from_value(permit2()).unwrap();
        assert_eq!(serde_json::to_value(&payload).unwrap(), permit2());
        let mut with_facilitator = permit2();
        with_facilitator["permit2Authorization"]["witness"]["facilitator"] = golden::SECOND.into();
        assert_eq!(serde_json::from_value::<Payload>(with_facilitator).unwrap(), payload);
    }
}
