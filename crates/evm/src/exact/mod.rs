//! The scheme `exact` on EVM chains: exactly the amount asked for, once (x402 v2 `exact`, protocol reference §6.1).
//!
//! The asset transfer method is EIP-3009: the payer signs a transfer, the facilitator carries it out. One file for each
//! role; `terms` is what all roles check of an offer, `checks` and `simulation` are the facilitator's two steps, and `cover`
//! is what it has under way for each payer.

mod checks;
mod client;
mod cover;
mod facilitator;
mod outcome;
mod server;
mod simulation;
mod terms;

use alloy_primitives::{Keccak256, U256};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Payment, PaymentKey};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

pub use self::client::{Client, MAX_WINDOW_SECONDS};
pub use self::facilitator::{CLOCK_SKEW_SECONDS, Facilitator, MAX_COVER_WAIT_SECONDS, SETTLE_MARGIN_SECONDS, Verified};
pub use self::server::Server;
use crate::signature::WireSignature;
use crate::transfer::eip3009::Authorization;

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
    /// How the asset is to be moved; EIP-3009 unless it says otherwise.
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

/// A payment's own part, as far as this scheme can tell its kinds apart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Fields")]
pub enum Payload {
    /// By EIP-3009.
    Eip3009(SignedAuthorization),
    /// By Permit2, which is not supported yet.
    Permit2,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    #[serde(default)]
    signature: Option<WireSignature>,
    #[serde(default)]
    authorization: Option<Authorization>,
    #[serde(default)]
    permit2_authorization: Option<IgnoredAny>,
}

impl TryFrom<Fields> for Payload {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        match fields {
            Fields { authorization: Some(authorization), permit2_authorization: None, signature: Some(signature) } => {
                Ok(Self::Eip3009(SignedAuthorization { signature, authorization }))
            }
            Fields { authorization: None, permit2_authorization: Some(_), .. } => Ok(Self::Permit2),
            Fields { authorization: Some(_), permit2_authorization: Some(_), .. } => {
                Err("authorization and permit2Authorization: expected one of them, got both")
            }
            Fields { authorization: None, .. } => Err("authorization: missing; expected the signed EIP-3009 transfer"),
            Fields { signature: None, .. } => Err("signature: missing; expected the payer's signature"),
        }
    }
}

impl Payload {
    fn eip3009(&self) -> Result<&SignedAuthorization, Refusal> {
        match self {
            Self::Eip3009(signed) => Ok(signed),
            Self::Permit2 => Err(Refusal::mismatch(
                Reason::UnsupportedPayloadType,
                "payload",
                "a transfer by EIP-3009 (authorization)",
                "one by Permit2 (permit2Authorization), which is not supported here yet",
            )),
        }
    }
}

/// What makes a payment unique on its chain: the digest of chain, asset, payer and nonce. The same for the server and
/// for the facilitator, and the same however the payment is written.
pub fn payment_key(payment: &Payment<Payload, Extra>) -> Result<PaymentKey, Refusal> {
    let signed = payment.payload.eip3009()?;
    let chain_id = terms::chain_of(&payment.requirements)?;
    let asset = terms::asset_address(&payment.requirements)?;
    let mut hasher = Keccak256::new();
    hasher.update(b"eip3009");
    hasher.update(U256::from(chain_id).to_be_bytes::<32>());
    hasher.update(asset);
    hasher.update(signed.authorization.from);
    hasher.update(signed.authorization.nonce);
    Ok(PaymentKey(hasher.finalize().0))
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
            ("permit2Authorization", Some(serde_json::json!({})), "got both"),
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
        let permit2 = serde_json::json!({"signature": "0x", "permit2Authorization": {"from": "0x"}});
        assert_eq!(serde_json::from_value::<Payload>(permit2).unwrap(), Payload::Permit2);
    }
}
