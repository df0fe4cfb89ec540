//! What is bought once, for later: `[[gateway.pass]]`.

use std::num::NonZeroU32;

use super::read::parsed;
use super::{Access, Entry, OrOff, Period, Route, Sale, Settle};
use crate::pattern::Pattern;
use crate::tariff::{Money, Tariff};

/// The longest name of a pass, in bytes.
const MAX_NAME_BYTES: usize = 64;
const LASTS: &str = "lasts: expected such as \"day\", \"12 hours\" or \"30 days\"";

/// One `[[gateway.pass]]`: what is bought once, for later.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "PassKeys")]
pub struct Pass {
    /// What routes call it, and the book for ever.
    pub name: String,
    /// Which requests buy it.
    pub matches: Pattern,
    /// What it costs.
    pub price: Tariff,
    /// What it is.
    pub kind: PassKind,
    /// What is for sale, for people and directories.
    pub description: Option<String>,
}

/// What a pass gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassKind {
    /// Everything that takes it, for so long.
    Lasts(Period),
    /// So many credits, of which each request takes some.
    Credits(NonZeroU32),
}

/// The keys of a pass, as they stand in the file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct PassKeys {
    name: String,
    #[serde(rename = "match", deserialize_with = "parsed")]
    matches: Pattern,
    #[serde(deserialize_with = "parsed")]
    price: Money,
    lasts: Option<String>,
    credits: Option<NonZeroU32>,
    description: Option<String>,
}

impl Pass {
    /// The route on which it is bought: whoever buys pays, before anything else is done.
    pub(crate) fn route(&self) -> Route {
        let mut sale = Sale::new(self.price.clone());
        sale.settle = Settle::Upfront;
        sale.description.clone_from(&self.description);
        let entry = Entry {
            free_quota: Some(OrOff::Off),
            subscribers: Some(Vec::new()),
            fallback: Some(OrOff::Off),
            ..Entry::default()
        };
        Route { matches: self.matches.clone(), access: Access::Priced(Box::new(sale)), entry, listed: None }
    }
}

impl TryFrom<PassKeys> for Pass {
    type Error = String;

    fn try_from(keys: PassKeys) -> Result<Self, String> {
        let PassKeys { name, matches, price, lasts, credits, description } = keys;
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("name: expected 1 to 64 visible characters".to_owned());
        }
        let kind = match (lasts, credits) {
            (Some(period), None) => PassKind::Lasts(period.parse().map_err(|_| LASTS.to_owned())?),
            (None, Some(credits)) => PassKind::Credits(credits),
            _ => return Err(format!("{name}: expected exactly one of lasts and credits")),
        };
        Ok(Self { name, matches, price: Tariff::Fixed(price), kind, description })
    }
}
