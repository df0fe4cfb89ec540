//! The terms on which a resource is to be had (x402 v2 §5.1).

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::extensions::Extensions;
use super::lenient::{null_as_default, seconds, soft};
use crate::amount::Amount;
use crate::asset::{AccountId, AssetId};
use crate::json::{self, JsonError};
use crate::network::Network;
use crate::wire::{Verbatim, Version, v1};

/// What is for sale: the URL and what a person should know of it (x402 v2 §5.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceInfo {
    /// The resource's own address.
    pub url: String,
    /// What it is, for people.
    #[serde(default, deserialize_with = "null_as_default")]
    pub description: String,
    /// The media type of the answer.
    #[serde(default, deserialize_with = "null_as_default")]
    pub mime_type: String,
    /// The service's name, at most 32 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "soft")]
    pub service_name: Option<String>,
    /// Up to five labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "soft")]
    pub tags: Vec<String>,
    /// A picture of the service.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "soft")]
    pub icon_url: Option<String>,
}

/// One offer: pay this much of that asset to them, in this way (x402 v2 §5.1.2, an entry of `accepts`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirements {
    /// The payment scheme, such as `exact`.
    pub scheme: String,
    /// Where to pay.
    pub network: Network,
    /// How much, in atomic units of the asset.
    pub amount: Amount,
    /// In what.
    pub asset: AssetId,
    /// To whom.
    pub pay_to: AccountId,
    /// How long the payment may take, in seconds, more than 0.
    #[serde(deserialize_with = "seconds")]
    pub max_timeout_seconds: u64,
    /// What the scheme needs besides; for EVM assets their EIP-712 `name` and `version`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub extra: Map<String, Value>,
}

/// An entry of `accepts` that cannot be read here, and why: a client skips it, with an explanation.
#[derive(Clone, Debug)]
pub struct UnreadableOffer {
    /// The entry as it came.
    pub raw: String,
    /// What is wrong with it.
    pub error: String,
}

/// The terms on which a resource is to be had (x402 v2 §5.1).
#[derive(Clone, Debug)]
pub struct PaymentRequired {
    /// The version in which the server wrote the terms, and expects the payment.
    pub version: Version,
    /// Why payment is (still) required.
    pub error: Option<String>,
    /// What is for sale.
    pub resource: Option<Verbatim<ResourceInfo>>,
    /// The ways to pay, in the server's order.
    pub accepts: Vec<Verbatim<PaymentRequirements>>,
    /// Entries of `accepts` that make no sense here. Never written.
    pub unreadable: Vec<UnreadableOffer>,
    /// Extensions, by key.
    pub extensions: Extensions,
}

impl PaymentRequired {
    /// Reads version 2's terms.
    pub fn read(text: &str) -> Result<Self, JsonError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            x402_version: Version,
            #[serde(default)]
            error: Option<String>,
            #[serde(default)]
            resource: Option<Verbatim<ResourceInfo>>,
            #[serde(default, deserialize_with = "null_as_default")]
            accepts: Vec<Box<RawValue>>,
            #[serde(default)]
            extensions: Option<Box<RawValue>>,
        }
        let fields: Fields = json::read(text)?;
        if fields.x402_version != Version::V2 {
            return Err(JsonError::Syntax("x402Version: expected 2 in this place, got 1".to_owned()));
        }
        let mut required = Self {
            version: Version::V2,
            error: fields.error,
            resource: fields.resource,
            accepts: Vec::new(),
            unreadable: Vec::new(),
            extensions: Extensions::read(fields.extensions)
                .map_err(|error| JsonError::Syntax(format!("extensions: {error}")))?,
        };
        for raw in fields.accepts {
            let text = raw.get().to_owned();
            match Verbatim::from_raw(raw) {
                Ok(offer) => required.accepts.push(offer),
                Err(error) => required.unreadable.push(UnreadableOffer { raw: text, error: error.to_string() }),
            }
        }
        Ok(required)
    }
}

impl Serialize for PaymentRequired {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.version == Version::V1 {
            return v1::PaymentRequiredBody::of(self).serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("x402Version", &self.version)?;
        if let Some(error) = &self.error {
            map.serialize_entry("error", error)?;
        }
        if let Some(resource) = &self.resource {
            map.serialize_entry("resource", resource)?;
        }
        map.serialize_entry("accepts", &self.accepts)?;
        if !self.extensions.is_empty() {
            map.serialize_entry("extensions", &self.extensions)?;
        }
        map.end()
    }
}
