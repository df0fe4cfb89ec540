//! A signed payment (x402 v2 §5.2), and the request that asks a facilitator about one (§7.1, §7.2).

use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::extensions::Extensions;
use super::lenient::present;
use super::terms::{PaymentRequirements, ResourceInfo};
use crate::json;
use crate::network::Network;
use crate::reason::{Reason, Refusal};
use crate::trace::TraceParent;
use crate::wire::{Verbatim, Version, v1};

/// Which offer a payment takes.
#[derive(Clone, Debug)]
pub enum Accepted {
    /// Version 2: the whole offer, echoed.
    Offer(Verbatim<PaymentRequirements>),
    /// Version 1: nothing but scheme and network.
    Named {
        /// The scheme.
        scheme: String,
        /// The network, by its CAIP-2 name.
        network: Network,
    },
}

/// The scheme's own part of a payment: a JSON object that only the scheme can read. It holds the signature, so its
/// `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Payload(Arc<RawValue>);

/// A signed payment (x402 v2 §5.2).
#[derive(Clone, Debug)]
pub struct PaymentPayload {
    /// The version in which it was written.
    pub version: Version,
    /// What it is for, if it says so.
    pub resource: Option<Verbatim<ResourceInfo>>,
    /// The offer it takes.
    pub accepted: Accepted,
    /// What the payer signed.
    pub payload: Payload,
    /// Extensions, by key.
    pub extensions: Extensions,
}

/// The body of `/verify` and `/settle` (x402 v2 §7.1, §7.2): a payment and what it has to meet.
#[derive(Clone, Debug)]
pub struct PaymentRequest {
    /// The version in which the request came.
    pub version: Version,
    /// The payment.
    pub payment: PaymentPayload,
    /// What the seller asks for.
    pub requirements: Verbatim<PaymentRequirements>,
    /// The span that asks, if it has a trace. No part of the message: over HTTP it is the header `traceparent`.
    pub trace: Option<TraceParent>,
}

impl Accepted {
    /// The scheme of the offer taken.
    pub fn scheme(&self) -> &str {
        match self {
            Self::Offer(offer) => &offer.scheme,
            Self::Named { scheme, .. } => scheme,
        }
    }

    /// The network of the offer taken.
    pub fn network(&self) -> &Network {
        match self {
            Self::Offer(offer) => &offer.network,
            Self::Named { network, .. } => network,
        }
    }
}

impl Payload {
    /// Wraps a scheme's payload, which must serialise to a JSON object.
    pub fn new(payload: &impl Serialize) -> Result<Self, serde_json::Error> {
        Self::from_raw(serde_json::value::to_raw_value(payload)?)
    }

    /// The JSON text.
    pub fn raw(&self) -> &str {
        self.0.get()
    }

    pub(super) fn from_raw(raw: Box<RawValue>) -> Result<Self, serde_json::Error> {
        if raw.get().trim_start().starts_with('{') {
            Ok(Self(raw.into()))
        } else {
            Err(serde::de::Error::custom("payload: expected a JSON object"))
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Payload(..)")
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// The fields of a payment in either version, before it is known which.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PaymentFields {
    x402_version: Option<Value>,
    #[serde(default)]
    resource: Option<Box<RawValue>>,
    #[serde(default)]
    accepted: Option<Box<RawValue>>,
    #[serde(default)]
    payload: Option<Box<RawValue>>,
    #[serde(default)]
    extensions: Option<Box<RawValue>>,
    #[serde(default)]
    scheme: Option<String>,
    #[serde(default)]
    network: Option<String>,
}

impl PaymentPayload {
    /// Reads a payment of either version. Checks shape and nothing else.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        json::check(text).map_err(invalid_payload)?;
        Self::read_checked(text)
    }

    /// Reads a payment whose text has passed [`json::check`].
    fn read_checked(text: &str) -> Result<Self, Refusal> {
        let fields: PaymentFields = json::parse(text).map_err(invalid_payload)?;
        let version = version_of(fields.x402_version.as_ref())?;
        let payload = present(fields.payload).ok_or_else(|| missing("payload", "the scheme's signed part"))?;
        let payload = Payload::from_raw(payload).map_err(invalid_payload)?;
        let accepted = match version {
            Version::V2 => {
                let raw = present(fields.accepted).ok_or_else(|| missing("accepted", "the offer taken, echoed whole"))?;
                Accepted::Offer(read_offer(raw, "accepted", invalid_payload)?)
            }
            Version::V1 => v1::accepted(fields.scheme, fields.network)?,
        };
        let resource = present(fields.resource)
            .map(Verbatim::from_raw)
            .transpose()
            .map_err(|error| invalid_payload(format!("resource: {error}")))?;
        let extensions =
            Extensions::read(fields.extensions).map_err(|error| invalid_payload(format!("extensions: {error}")))?;
        Ok(Self { version, resource, accepted, payload, extensions })
    }

    /// The payment as JSON text in the version it was made for.
    pub fn write(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl Serialize for PaymentPayload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("x402Version", &self.version)?;
        match (&self.accepted, self.version) {
            (Accepted::Offer(offer), Version::V2) => {
                if let Some(resource) = &self.resource {
                    map.serialize_entry("resource", resource)?;
                }
                map.serialize_entry("accepted", offer)?;
            }
            (accepted, _) => {
                map.serialize_entry("scheme", accepted.scheme())?;
                map.serialize_entry("network", v1::name_of(accepted.network()))?;
            }
        }
        map.serialize_entry("payload", &self.payload)?;
        if self.version == Version::V2 && !self.extensions.is_empty() {
            map.serialize_entry("extensions", &self.extensions)?;
        }
        map.end()
    }
}

impl PaymentRequest {
    /// Reads the body of `/verify` or `/settle` in either version.
    pub fn read(body: &[u8]) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Fields {
            x402_version: Option<Value>,
            payment_payload: Option<Box<RawValue>>,
            payment_requirements: Option<Box<RawValue>>,
        }
        let fields: Fields = json::read_bytes(body).map_err(invalid_payload)?;
        let payment = fields.payment_payload.and_then(|raw| present(Some(raw)));
        let payment = payment.ok_or_else(|| missing("paymentPayload", "the payment to check"))?;
        let payment = PaymentPayload::read_checked(payment.get())?;
        // Some v1 servers leave the outer version out; the payment's own then speaks for both.
        let version = fields.x402_version.as_ref().filter(|version| !version.is_null());
        let version = version.map_or(Ok(payment.version), |version| version_of(Some(version)))?;
        if version != payment.version {
            return Err(Refusal::mismatch(
                Reason::InvalidX402Version,
                "paymentPayload.x402Version",
                format!("{}, as the request says", version.number()),
                payment.version.number(),
            ));
        }
        let requirements = present(fields.payment_requirements);
        let requirements = requirements.ok_or_else(|| {
            Refusal::new(Reason::InvalidPaymentRequirements, "paymentRequirements: missing; expected what the seller asks for")
        })?;
        let unreadable = |error| Refusal::new(Reason::InvalidPaymentRequirements, error);
        let (requirements, resource) = match version {
            Version::V2 => (read_offer(requirements, "paymentRequirements", unreadable)?, None),
            Version::V1 => v1::requirements(&requirements)?,
        };
        // Version 1 names the resource in the requirements, and this is where version 2 has it.
        let payment = PaymentPayload { resource: payment.resource.or(resource), ..payment };
        Ok(Self { version, payment, requirements, trace: None })
    }
}

impl Serialize for PaymentRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("x402Version", &self.version)?;
        map.serialize_entry("paymentPayload", &self.payment)?;
        match self.version {
            Version::V2 => map.serialize_entry("paymentRequirements", &self.requirements)?,
            Version::V1 => {
                let requirements = v1::requirements_of(&self.requirements, self.payment.resource.as_deref());
                map.serialize_entry("paymentRequirements", &requirements)?;
            }
        }
        map.end()
    }
}

/// An offer of version 2. A network that is named in another way than CAIP-2's, perhaps as in version 1, is told apart
/// from what cannot be read: whoever named it so may choose again.
fn read_offer(
    raw: Box<RawValue>,
    field: &str,
    unreadable: fn(String) -> Refusal,
) -> Result<Verbatim<PaymentRequirements>, Refusal> {
    #[derive(Deserialize)]
    struct Place {
        network: String,
    }
    Verbatim::read(raw).map_err(|(raw, error)| {
        let place = json::parse::<Place>(raw.get()).ok();
        match place.and_then(|place| place.network.parse::<Network>().err()) {
            Some(misnamed) => Refusal::new(Reason::InvalidNetwork, format!("{field}.network: {misnamed}")),
            None => unreadable(format!("{field}: {error}")),
        }
    })
}

fn version_of(value: Option<&Value>) -> Result<Version, Refusal> {
    match value.and_then(Value::as_u64) {
        Some(1) => Ok(Version::V1),
        Some(2) => Ok(Version::V2),
        _ => {
            let got = value.map_or_else(|| "nothing".to_owned(), |value| value.to_string().chars().take(40).collect());
            Err(Refusal::mismatch(Reason::InvalidX402Version, "x402Version", "1 or 2", got))
        }
    }
}

fn missing(field: &str, expected: &str) -> Refusal {
    Refusal::new(Reason::InvalidPayload, format!("{field}: missing; expected {expected}"))
}

fn invalid_payload(error: impl fmt::Display) -> Refusal {
    Refusal::new(Reason::InvalidPayload, format!("the payment cannot be read: {error}"))
}
