//! What a resource asks and what would be paid, as plain data: for `inspect`, dry runs and JSON output.

use farthing_core::wire::{PaymentRequired, ResourceInfo};
use serde::Serialize;

use crate::offers::Considered;
use crate::payer::Consideration;

/// The terms of a resource, and what this client would do about them. Nothing was paid to learn them.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// The address that answered, without its query.
    pub url: String,
    /// The status of the answer.
    pub status: u16,
    /// The protocol version of the terms; absent if nothing is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x402_version: Option<u8>,
    /// Why payment is required, in the server's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is for sale, in the server's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<ResourceInfo>,
    /// The offers, in the server's order.
    pub offers: Vec<TermsOffer>,
    /// The number of the offer that would be paid; absent if none would be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_pay: Option<usize>,
    /// Why nothing would be paid, whatever the offers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// What a person should know besides, such as that nothing is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// One offer and what this client makes of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TermsOffer {
    /// Its number, from 1.
    pub number: usize,
    /// The scheme; absent, as all below, if the offer cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The amount in atomic units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// The asset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    /// The recipient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pay_to: Option<String>,
    /// For how long the payment could be taken, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_timeout_seconds: Option<u64>,
    /// The amount in whole units, such as `0.01 USDC`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// The most that it can cost in dollars, such as `$0.01`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<String>,
    /// What the wallet holds of the asset, in atomic units, if a node was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Whether this client could pay it.
    pub is_payable: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Terms {
    /// The terms of an answer that asks for no payment.
    pub(crate) fn none(url: String, status: u16, note: String) -> Self {
        Self { url, status, note: Some(note), ..Self::default() }
    }

    /// The terms, with what the payer makes of them.
    pub(crate) fn of(url: String, required: &PaymentRequired, consideration: &Consideration, refusal: Option<String>) -> Self {
        let refusal = refusal.or_else(|| consideration.declined.as_ref().map(ToString::to_string));
        let would_pay = consideration.chosen.filter(|_| refusal.is_none()).map(|index| index.saturating_add(1));
        Self {
            url,
            status: 402,
            x402_version: Some(required.version.number()),
            error: required.error.clone(),
            resource: required.resource.as_deref().cloned(),
            offers: (1..).zip(&consideration.offers).map(|(number, offer)| TermsOffer::of(number, offer)).collect(),
            would_pay,
            refusal,
            note: None,
        }
    }
}

impl TermsOffer {
    fn of(number: usize, considered: &Considered) -> Self {
        let offer = considered.requirements();
        Self {
            number,
            scheme: offer.map(|offer| offer.scheme.clone()),
            network: offer.map(|offer| offer.network.to_string()),
            amount: offer.map(|offer| offer.amount.to_string()),
            asset: offer.map(|offer| offer.asset.to_string()),
            pay_to: offer.map(|offer| offer.pay_to.to_string()),
            max_timeout_seconds: offer.map(|offer| offer.max_timeout_seconds),
            price: considered.price(),
            usd: considered.usd.map(|usd| usd.to_string()),
            held: considered.held.map(|held| held.to_string()),
            is_payable: considered.is_payable(),
            why: considered.why(),
        }
    }
}
