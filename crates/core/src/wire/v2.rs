//! Version 2 of the messages (x402 v2 §5), which is also how the rest of Farthing sees version 1.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Verbatim, Version, v1};
use crate::amount::Amount;
use crate::asset::{AccountId, AssetId};
use crate::json::{self, JsonError};
use crate::network::Network;
use crate::reason::{Reason, Refusal};

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// Up to five labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub tags: Vec<String>,
    /// A picture of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    pub extensions: Option<Arc<RawValue>>,
}

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

/// The scheme's own part of a payment: a JSON object that only the scheme can read.
#[derive(Clone, Debug)]
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
    pub extensions: Option<Arc<RawValue>>,
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
}

/// The answer of `/verify` (x402 v2 §5.4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyResponse {
    /// Whether the payment would settle.
    pub is_valid: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_reason: Option<Reason>,
    /// Why not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_message: Option<String>,
    /// Who pays, once the signature is known to be theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<AccountId>,
    /// The scheme's own facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
    /// Extensions' answers, by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Value>,
}

/// The answer of `/settle`, and the content of `PAYMENT-RESPONSE` (x402 v2 §5.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettleResponse {
    /// Whether the money has moved.
    pub success: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<Reason>,
    /// Why not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Who paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<AccountId>,
    /// The transaction on chain; empty if there is none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub transaction: String,
    /// Where; empty when a failing peer did not say.
    #[serde(default, serialize_with = "network_or_empty", deserialize_with = "network_if_any")]
    pub network: Option<Network>,
    /// How much was taken, where that may differ from the offer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "amount_if_any")]
    pub amount: Option<Amount>,
    /// The scheme's own facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
    /// Extensions' answers, by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Value>,
}

/// One thing a facilitator can do: a scheme on a network, in a version (x402 v2 §7.3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SupportedKind {
    /// The version of the messages.
    pub x402_version: Version,
    /// The scheme.
    pub scheme: String,
    /// The network.
    #[serde(deserialize_with = "network_of_any_version")]
    pub network: Network,
    /// What a server has to put into its offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
}

/// The answer of `/supported` (x402 v2 §7.3).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SupportedResponse {
    /// What the facilitator can do. Kinds that cannot be read here are left out: what they say cannot be used.
    pub kinds: Vec<SupportedKind>,
    /// The extensions that it knows.
    pub extensions: Vec<String>,
    /// Its sending accounts, by chain family (`eip155:*`).
    pub signers: BTreeMap<String, Vec<AccountId>>,
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

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl VerifyResponse {
    /// The payment would settle.
    pub fn valid(payer: AccountId) -> Self {
        Self { is_valid: true, invalid_reason: None, invalid_message: None, payer: Some(payer), extra: None, extensions: None }
    }

    /// The payment would not settle.
    pub fn invalid(refusal: Refusal, payer: Option<AccountId>) -> Self {
        Self {
            is_valid: false,
            invalid_reason: Some(refusal.reason),
            invalid_message: Some(refusal.message),
            payer,
            extra: None,
            extensions: None,
        }
    }
}

impl SettleResponse {
    /// Nothing has moved, as far as is known; a `transaction` says that something was sent.
    pub fn failure(refusal: Refusal, network: Option<Network>) -> Self {
        Self {
            success: false,
            error_reason: Some(refusal.reason),
            error_message: Some(refusal.message),
            payer: None,
            transaction: String::new(),
            network,
            amount: None,
            extra: None,
            extensions: None,
        }
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
        let fields: PaymentFields = serde_json::from_str(text).map_err(invalid_payload)?;
        let version = version_of(fields.x402_version.as_ref())?;
        let payload = present(fields.payload).ok_or_else(|| missing("payload", "the scheme's signed part"))?;
        let payload = Payload::from_raw(payload).map_err(invalid_payload)?;
        let accepted = match version {
            Version::V2 => {
                let raw = present(fields.accepted).ok_or_else(|| missing("accepted", "the offer taken, echoed whole"))?;
                Accepted::Offer(Verbatim::from_raw(raw).map_err(|error| invalid_payload(format!("accepted: {error}")))?)
            }
            Version::V1 => v1::accepted(fields.scheme, fields.network)?,
        };
        let resource = present(fields.resource)
            .map(Verbatim::from_raw)
            .transpose()
            .map_err(|error| invalid_payload(format!("resource: {error}")))?;
        Ok(Self { version, resource, accepted, payload, extensions: present(fields.extensions).map(Into::into) })
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
        if let (Some(extensions), Version::V2) = (&self.extensions, self.version) {
            map.serialize_entry("extensions", extensions.as_ref())?;
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
        let unreadable = |error: serde_json::Error| {
            Refusal::new(Reason::InvalidPaymentRequirements, format!("paymentRequirements: {error}"))
        };
        let requirements = match version {
            Version::V2 => Verbatim::from_raw(requirements).map_err(unreadable)?,
            Version::V1 => v1::requirements(&requirements)?,
        };
        Ok(Self { version, payment, requirements })
    }
}

impl Serialize for PaymentRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("x402Version", &self.version)?;
        map.serialize_entry("paymentPayload", &self.payment)?;
        match self.version {
            Version::V2 => map.serialize_entry("paymentRequirements", &self.requirements)?,
            Version::V1 => map.serialize_entry("paymentRequirements", &v1::requirements_of(&self.requirements, None))?,
        }
        map.end()
    }
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
            extensions: present(fields.extensions).map(Into::into),
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
        if let Some(extensions) = &self.extensions {
            map.serialize_entry("extensions", extensions.as_ref())?;
        }
        map.end()
    }
}

impl Serialize for SupportedResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kinds: Vec<Value> = self.kinds.iter().map(kind_as_json).collect();
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("kinds", &kinds)?;
        map.serialize_entry("extensions", &self.extensions)?;
        map.serialize_entry("signers", &self.signers)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for SupportedResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields {
            kinds: Vec<Value>,
            #[serde(default, deserialize_with = "null_as_default")]
            extensions: Vec<String>,
            #[serde(default, deserialize_with = "null_as_default")]
            signers: BTreeMap<String, Vec<AccountId>>,
        }
        let fields = Fields::deserialize(deserializer)?;
        let kinds = fields.kinds.into_iter().filter_map(|kind| serde_json::from_value(kind).ok()).collect();
        Ok(Self { kinds, extensions: fields.extensions, signers: fields.signers })
    }
}

fn kind_as_json(kind: &SupportedKind) -> Value {
    let network = match kind.x402_version {
        Version::V1 => v1::name_of(&kind.network),
        Version::V2 => kind.network.as_str(),
    };
    let mut json = serde_json::json!({"x402Version": kind.x402_version.number(), "scheme": kind.scheme, "network": network});
    if let (Some(extra), Some(map)) = (&kind.extra, json.as_object_mut()) {
        map.insert("extra".to_owned(), Value::Object(extra.clone()));
    }
    json
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

fn present(raw: Option<Box<RawValue>>) -> Option<Box<RawValue>> {
    raw.filter(|raw| raw.get() != "null")
}

fn missing(field: &str, expected: &str) -> Refusal {
    Refusal::new(Reason::InvalidPayload, format!("{field}: missing; expected {expected}"))
}

fn invalid_payload(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Reason::InvalidPayload, format!("the payment cannot be read: {error}"))
}

fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn network_of_any_version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
    let text = String::deserialize(deserializer)?;
    v1::network_named(&text).map_or_else(|| text.parse().map_err(serde::de::Error::custom), Ok)
}

fn network_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Network>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    Ok(v1::network_named(&text).or_else(|| text.parse().ok()))
}

#[expect(clippy::ref_option, reason = "serde hands the field in by reference")]
fn network_or_empty<S: Serializer>(network: &Option<Network>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(network.as_ref().map_or("", Network::as_str))
}

fn amount_if_any<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Amount>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}

/// Whole seconds, more than 0: a number, or leniently a decimal string or an integral fraction such as `60.0`.
pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let text = match &value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => String::new(),
    };
    let whole = text.strip_suffix(".0").unwrap_or(&text);
    match whole.parse() {
        Ok(seconds) if seconds > 0 => Ok(seconds),
        _ => Err(serde::de::Error::custom(format!("expected seconds as a whole number more than 0, got {value}"))),
    }
}
