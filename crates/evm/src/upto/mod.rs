//! The scheme `upto` on EVM chains: as much as was used, at most what was signed, once (x402 v2 `upto`, protocol reference
//! §6.4).
//!
//! The payer permits a ceiling through Permit2 and names the facilitator that may take it; the seller says after the work how
//! much it was. Nothing taken means that nothing is sent. One file for each role; what the facilitator does with a transfer
//! it shares with all schemes.

mod client;
mod facilitator;
mod server;

use alloy_primitives::Address;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Payment, PaymentKey};
use serde::{Deserialize, Serialize};

pub use self::client::Client;
pub use self::facilitator::Facilitator;
pub use self::server::Server;
use crate::exact::{self, terms};
use crate::facilitator::transfer::Authorized;
use crate::signature::WireSignature;
use crate::text::{parse_address, quoted};
use crate::transfer::permit2::Authorization;

/// The scheme's name on the wire.
pub const NAME: &str = "upto";
/// The only method by which less than what was signed can move.
const METHOD: &str = "permit2";
/// The field that names the facilitator.
const FACILITATOR_FIELD: &str = "facilitatorAddress";

/// What the scheme reads of an offer's `extra`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Extra {
    /// The account that alone may take the money.
    #[serde(default)]
    pub facilitator_address: Option<String>,
    /// What the scheme shares with `exact`.
    #[serde(flatten)]
    pub token: exact::Extra,
}

/// A permission that the payer signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// The payer's signature.
    pub signature: WireSignature,
    /// What it says.
    pub permit2_authorization: Authorization,
}

impl Extra {
    /// The method, which can only be Permit2.
    fn check_method(&self) -> Result<(), Refusal> {
        match self.token.asset_transfer_method.as_deref() {
            None | Some(METHOD) => Ok(()),
            Some(other) => {
                let (reason, field) = (Reason::UnsupportedAssetTransferMethod, "extra.assetTransferMethod");
                Err(Refusal::mismatch(reason, field, format!("{METHOD:?}"), quoted(other)))
            }
        }
    }

    /// The facilitator, if the offer names one.
    fn facilitator(&self) -> Result<Option<Address>, Refusal> {
        let Some(text) = &self.facilitator_address else { return Ok(None) };
        let address = parse_address(text).filter(|address| !address.is_zero());
        address.map(Some).ok_or_else(|| {
            let expected = "the address of the account that settles";
            Refusal::mismatch(Reason::InvalidPaymentRequirements, "extra.facilitatorAddress", expected, quoted(text))
        })
    }
}

/// What makes a payment unique on its chain: the digest of chain, payer and nonce, the same as for `exact` by Permit2.
pub fn payment_key(payment: &Payment<Payload, Extra>) -> Result<PaymentKey, Refusal> {
    let place = (terms::chain_of(&payment.requirements)?, terms::asset_address(&payment.requirements)?);
    Ok(Authorized::Permit2(payment.payload.permit2_authorization).key(place.0, place.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use farthing_testkit::golden;

    #[test]
    fn a_payload_is_read_and_written_as_the_official_sdk_writes_it() {
        let json = serde_json::json!({
            "signature": golden::permit2::UPTO_SIGNATURE,
            "permit2Authorization": {
                "from": golden::PAYER, "permitted": {"token": golden::ASSET, "amount": "10000"},
                "spender": "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002", "nonce": "7", "deadline": "1800000000",
                "witness": {"to": golden::PAY_TO, "facilitator": golden::SECOND, "validAfter": "0"},
            },
        });
        let payload: Payload = serde_json::from_value(json.clone()).unwrap();
        let digest = payload.permit2_authorization.digest(golden::CHAIN_ID);
        assert_eq!(payload.signature.strict().unwrap().signer(digest).unwrap().to_string(), golden::PAYER);
        assert_eq!(serde_json::to_value(&payload).unwrap(), json);
    }
}
