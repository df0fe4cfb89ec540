//! Version 1 of the messages (x402 v1 §5), turned into version 2 on the way in and back on the way out.
//!
//! Nothing outside this file knows how version 1 spelt things: network names instead of CAIP-2, `maxAmountRequired`,
//! the resource inside each offer, and payments that name no offer.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::v2::{
    Accepted, Extensions, PaymentRequired, PaymentRequirements, ResourceInfo, SettleResponse, UnreadableOffer, seconds,
};
use super::{Verbatim, Version};
use crate::amount::Amount;
use crate::asset::{AccountId, AssetId};
use crate::json::{self, JsonError};
use crate::network::Network;
use crate::reason::{Reason, Refusal};

/// Version 1's names and the networks that they stand for.
const NAMES: &[(&str, &str)] = &[
    ("ethereum", "eip155:1"),
    ("sepolia", "eip155:11155111"),
    ("abstract", "eip155:2741"),
    ("abstract-testnet", "eip155:11124"),
    ("base-sepolia", "eip155:84532"),
    ("base", "eip155:8453"),
    ("avalanche-fuji", "eip155:43113"),
    ("avalanche", "eip155:43114"),
    ("iotex", "eip155:4689"),
    ("sei", "eip155:1329"),
    ("sei-testnet", "eip155:1328"),
    ("polygon", "eip155:137"),
    ("polygon-amoy", "eip155:80002"),
    ("peaq", "eip155:3338"),
    ("story", "eip155:1514"),
    ("educhain", "eip155:41923"),
    ("skale-base-sepolia", "eip155:324705682"),
    ("megaeth", "eip155:4326"),
    ("monad", "eip155:143"),
    ("stable", "eip155:988"),
    ("stable-testnet", "eip155:2201"),
    ("celo", "eip155:42220"),
    ("flare", "eip155:14"),
    ("solana", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"),
    ("solana-devnet", "solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1"),
    ("solana-testnet", "solana:4uhcVJyU9pJkvQyS88uRDiswHXSCkY3z"),
];

/// The network that version 1 calls so.
pub fn network_named(name: &str) -> Option<Network> {
    let (_, network) = NAMES.iter().find(|(known, _)| *known == name)?;
    network.parse().ok()
}

/// What version 1 calls a network; its CAIP-2 name where version 1 had none.
pub fn name_of(network: &Network) -> &str {
    NAMES.iter().find(|(_, known)| *known == network.as_str()).map_or(network.as_str(), |(name, _)| name)
}

/// Whether version 1 has a name for the network, so that its buyers can pay there.
pub fn knows(network: &Network) -> bool {
    NAMES.iter().any(|(_, known)| *known == network.as_str())
}

/// One offer as version 1 writes it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Requirements {
    scheme: String,
    network: String,
    max_amount_required: Amount,
    #[serde(default)]
    resource: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    mime_type: Option<String>,
    pay_to: AccountId,
    #[serde(deserialize_with = "seconds")]
    max_timeout_seconds: u64,
    asset: AssetId,
    #[serde(default)]
    extra: Option<Map<String, Value>>,
}

/// The JSON body of a version 1 answer with status 402.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PaymentRequiredBody<'a> {
    x402_version: u8,
    error: &'a str,
    accepts: Vec<Requirements>,
}

impl<'a> PaymentRequiredBody<'a> {
    pub(super) fn of(required: &'a PaymentRequired) -> Self {
        let resource = required.resource.as_deref();
        let accepts = required.accepts.iter().filter(|offer| knows(&offer.network));
        Self {
            x402_version: 1,
            error: required.error.as_deref().unwrap_or("Payment required"),
            accepts: accepts.map(|offer| requirements_of(offer, resource)).collect(),
        }
    }
}

/// Version 2's offer, as version 1 writes it.
pub(super) fn requirements_of(offer: &PaymentRequirements, resource: Option<&ResourceInfo>) -> Requirements {
    Requirements {
        scheme: offer.scheme.clone(),
        network: name_of(&offer.network).to_owned(),
        max_amount_required: offer.amount,
        resource: Some(resource.map_or_else(String::new, |resource| resource.url.clone())),
        description: Some(resource.map_or_else(String::new, |resource| resource.description.clone())),
        mime_type: Some(resource.map_or_else(String::new, |resource| resource.mime_type.clone())),
        pay_to: offer.pay_to.clone(),
        max_timeout_seconds: offer.max_timeout_seconds,
        asset: offer.asset.clone(),
        extra: Some(offer.extra.clone()),
    }
}

/// Version 1's terms, read from the body of an answer with status 402.
pub fn payment_required(body: &[u8]) -> Result<PaymentRequired, JsonError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Fields {
        x402_version: Version,
        #[serde(default)]
        error: Option<String>,
        accepts: Vec<Box<RawValue>>,
    }
    let fields: Fields = json::read_bytes(body)?;
    if fields.x402_version != Version::V1 {
        return Err(JsonError::Syntax("x402Version: expected 1 in this place, got 2".to_owned()));
    }
    let mut required = PaymentRequired {
        version: Version::V1,
        error: fields.error,
        resource: None,
        accepts: Vec::new(),
        unreadable: Vec::new(),
        extensions: Extensions::default(),
    };
    for raw in fields.accepts {
        let read = json::parse::<Requirements>(raw.get()).map_err(|error| error.to_string());
        match read.and_then(|offer| Ok((resource_of(&offer)?, upgrade(offer)?))) {
            Ok((resource, offer)) => {
                required.resource = required.resource.or(resource);
                required.accepts.push(offer);
            }
            Err(error) => required.unreadable.push(UnreadableOffer { raw: raw.get().to_owned(), error }),
        }
    }
    Ok(required)
}

/// The answer to a settled (or failed) payment for a version 1 buyer: the network by its old name.
pub fn settle_response(response: &SettleResponse) -> Result<Value, serde_json::Error> {
    let mut json = serde_json::to_value(response)?;
    if let (Some(network), Some(map)) = (&response.network, json.as_object_mut()) {
        map.insert("network".to_owned(), Value::String(name_of(network).to_owned()));
    }
    Ok(json)
}

/// What a version 1 payment says of the offer that it takes.
pub(super) fn accepted(scheme: Option<String>, network: Option<String>) -> Result<Accepted, Refusal> {
    let scheme = scheme.ok_or_else(|| Refusal::new(Reason::InvalidPayload, "scheme: missing; expected such as \"exact\""))?;
    let name = network.ok_or_else(|| Refusal::new(Reason::InvalidPayload, "network: missing; expected such as \"base\""))?;
    match network_named(&name) {
        Some(network) => Ok(Accepted::Named { scheme, network }),
        None => Err(unknown_network(&name)),
    }
}

/// What a version 1 facilitator request asks for, and for which resource.
pub(super) fn requirements(raw: &RawValue) -> Result<(Verbatim<PaymentRequirements>, Option<Verbatim<ResourceInfo>>), Refusal> {
    let unreadable = |error: String| Refusal::new(Reason::InvalidPaymentRequirements, format!("paymentRequirements: {error}"));
    let requirements: Requirements = json::parse(raw.get()).map_err(|error| unreadable(error.to_string()))?;
    if network_named(&requirements.network).is_none() {
        return Err(unknown_network(&requirements.network));
    }
    let resource = resource_of(&requirements).map_err(unreadable)?;
    Ok((upgrade(requirements).map_err(unreadable)?, resource))
}

fn unknown_network(name: &str) -> Refusal {
    let name: String = name.chars().take(100).collect();
    Refusal::mismatch(Reason::InvalidNetwork, "network", "a version 1 name such as \"base-sepolia\"", format!("{name:?}"))
}

fn resource_of(offer: &Requirements) -> Result<Option<Verbatim<ResourceInfo>>, String> {
    let Some(url) = offer.resource.clone().filter(|url| !url.is_empty()) else { return Ok(None) };
    let resource = ResourceInfo {
        url,
        description: offer.description.clone().unwrap_or_default(),
        mime_type: offer.mime_type.clone().unwrap_or_default(),
        ..ResourceInfo::default()
    };
    Verbatim::new(resource).map(Some).map_err(|error| error.to_string())
}

fn upgrade(offer: Requirements) -> Result<Verbatim<PaymentRequirements>, String> {
    let network = network_named(&offer.network).ok_or_else(|| format!("network {:?} is none of version 1's", offer.network))?;
    let requirements = PaymentRequirements {
        scheme: offer.scheme,
        network,
        amount: offer.max_amount_required,
        asset: offer.asset,
        pay_to: offer.pay_to,
        max_timeout_seconds: offer.max_timeout_seconds,
        extra: offer.extra.unwrap_or_default(),
    };
    Verbatim::new(requirements).map_err(|error| error.to_string())
}

impl super::PaymentPayload {
    /// A version 1 payment as version 2 would carry it, taking this offer: the signed part is the same in both.
    #[must_use]
    pub fn upgraded(self, offer: &Verbatim<PaymentRequirements>, resource: Option<&Verbatim<ResourceInfo>>) -> Self {
        match self.version {
            Version::V2 => self,
            Version::V1 => Self {
                version: Version::V2,
                resource: resource.cloned(),
                accepted: Accepted::Offer(offer.clone()),
                payload: self.payload,
                extensions: Extensions::default(),
            },
        }
    }
}
