//! The protocol's JSON messages.
//!
//! Inside Farthing there is one set of messages, that of version 2; [`v1`] is the only place that knows how version 1
//! spelt them. Reading is lenient where the field is (null for absent, numbers as strings), writing is strict.

pub mod v1;
pub mod v2;
mod verbatim;

pub use v2::{
    Accepted, Extensions, Payload, PaymentPayload, PaymentRequest, PaymentRequired, PaymentRequirements, ResourceInfo,
    SettleResponse, SupportedKind, SupportedResponse, UnreadableOffer, VerifyResponse,
};
pub use verbatim::Verbatim;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The protocol version that a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `x402Version: 1`: the 402's terms in the body, `X-PAYMENT`, network names such as `base-sepolia`.
    V1,
    /// `x402Version: 2`: the 402's terms in a header, `PAYMENT-SIGNATURE`, CAIP-2 networks.
    V2,
}

impl Version {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self::V1),
            2 => Ok(Self::V2),
            other => Err(serde::de::Error::custom(format!("unsupported x402Version {other}; expected 1 or 2"))),
        }
    }
}
