//! What a facilitator answers (x402 v2 §5.3, §5.4, §7.3).

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::lenient::{null_as_default, unless_empty};
use crate::amount::Amount;
use crate::asset::AccountId;
use crate::network::Network;
use crate::reason::{Reason, Refusal};
use crate::wire::{Version, v1};

/// The answer of `/verify` (x402 v2 §5.4).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyResponse {
    /// Whether the payment would settle.
    pub is_valid: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub invalid_reason: Option<Reason>,
    /// Why not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid_message: Option<String>,
    /// Who pays, once the signature is known to be theirs.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub payer: Option<AccountId>,
    /// The scheme's own facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
    /// Extensions' answers, by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Value>,
}

/// The answer of `/settle`, and the content of `PAYMENT-RESPONSE` (x402 v2 §5.3).
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SettleResponse {
    /// Whether the money has moved.
    pub success: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub error_reason: Option<Reason>,
    /// Why not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// Who paid.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub payer: Option<AccountId>,
    /// The transaction on chain; empty if there is none.
    #[serde(default, deserialize_with = "null_as_default")]
    pub transaction: String,
    /// Where; empty when a failing peer did not say.
    #[serde(default, serialize_with = "network_or_empty", deserialize_with = "network_if_any")]
    pub network: Option<Network>,
    /// How much was taken, where that may differ from the offer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "unless_empty")]
    pub amount: Option<Amount>,
    /// The scheme's own facts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
    /// Extensions' answers, by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Value>,
}

/// JSON that may hold receipts, signatures and whatever else a peer put into it, which is for its receiver alone.
struct Withheld<'a>(&'a Option<Value>);

impl fmt::Debug for Withheld<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => formatter.write_str("None"),
            Some(json) => write!(formatter, "Some({} bytes)", json.to_string().len()),
        }
    }
}

impl fmt::Debug for VerifyResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_valid, invalid_reason, invalid_message, payer, extra, extensions } = self;
        let mut shown = formatter.debug_struct("VerifyResponse");
        shown.field("is_valid", is_valid).field("invalid_reason", invalid_reason).field("invalid_message", invalid_message);
        shown.field("payer", payer).field("extra", &Withheld(extra)).field("extensions", &Withheld(extensions)).finish()
    }
}

impl fmt::Debug for SettleResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { success, error_reason, error_message, payer, transaction, network, amount, extra, extensions } = self;
        let mut shown = formatter.debug_struct("SettleResponse");
        shown.field("success", success).field("error_reason", error_reason).field("error_message", error_message);
        shown.field("payer", payer).field("transaction", transaction).field("network", network).field("amount", amount);
        shown.field("extra", &Withheld(extra)).field("extensions", &Withheld(extensions)).finish()
    }
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
            signers: BTreeMap<String, Option<Vec<AccountId>>>,
        }
        let fields = Fields::deserialize(deserializer)?;
        let signers = fields.signers.into_iter().map(|(family, accounts)| (family, accounts.unwrap_or_default())).collect();
        let kinds = fields.kinds.into_iter().filter_map(|kind| serde_json::from_value(kind).ok()).collect();
        Ok(Self { kinds, extensions: fields.extensions, signers })
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
