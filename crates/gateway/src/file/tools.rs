//! `[route.tools]`, `[route.resources]` and `[route.prompts]`: what an MCP server behind a route offers, and what of it costs.

use std::fmt;

use farthing_core::extension::bazaar::ToolListing;
use farthing_core::network::Network;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::read::pairs;
use super::route::{Catalogued, Identifier, Sale, Settle, networks};
use crate::pattern::fold;
use crate::tariff::Tariff;

/// What stands for every name that is not listed.
pub const EVERY_OTHER: &str = "*";
/// The most names that one table lists.
const MAX_NAMES: usize = 2_000;
/// The longest name, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 2_048;

/// What an MCP server offers. What is not named is denied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Menu {
    /// Tools (`tools/call`), by name.
    pub tools: Vec<(String, Item)>,
    /// Resources (`resources/read`), by URI.
    pub resources: Vec<(String, Item)>,
    /// Prompts (`prompts/get`), by name.
    pub prompts: Vec<(String, Item)>,
    /// Methods that are let through besides those of the protocol that sell nothing.
    pub free_methods: Vec<String>,
}

/// What becomes of one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// It is had unpaid.
    Free,
    /// It is refused.
    Denied,
    /// It is paid for.
    Priced(Box<Sale>),
}

/// The names of one table.
pub(super) type Items = Vec<(String, Item)>;

/// What is wrong with a menu.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MenuError {
    #[error("expected at most {MAX_NAMES} names, got {0}")]
    TooMany(usize),
    #[error("expected names of 1 to {MAX_NAME_BYTES} bytes")]
    Name,
    #[error("{0:?} and {1:?} differ in letter case alone, which a server may not tell apart; rename one of them there")]
    Alike(String, String),
    #[error(
        "resources.\"*\" = \"free\" would make every spelling of a URI free beside those that have a price or are denied; name \
         those that are free"
    )]
    FreeSpellings,
}

impl Menu {
    /// Everything that has a price.
    pub fn sales(&self) -> impl Iterator<Item = &Sale> {
        let items = self.tools.iter().chain(&self.resources).chain(&self.prompts);
        items.filter_map(|(_, item)| match item {
            Item::Priced(sale) => Some(&**sale),
            Item::Free | Item::Denied => None,
        })
    }

    pub(super) fn check(&self) -> Result<(), MenuError> {
        for items in [&self.tools, &self.resources, &self.prompts] {
            check(items)?;
        }
        let is_free = |(name, item): &(String, Item)| name == EVERY_OTHER && *item == Item::Free;
        let is_guarded = |(_, item): &(String, Item)| *item != Item::Free;
        if self.resources.iter().any(is_free) && self.resources.iter().any(is_guarded) {
            return Err(MenuError::FreeSpellings);
        }
        Ok(())
    }
}

fn check(items: &Items) -> Result<(), MenuError> {
    if items.len() > MAX_NAMES {
        return Err(MenuError::TooMany(items.len()));
    }
    let mut folded: Vec<(String, &str)> = Vec::with_capacity(items.len());
    for (name, _) in items {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(MenuError::Name);
        }
        folded.push((fold(name), name));
    }
    folded.sort_unstable();
    for pair in folded.windows(2) {
        if let [(one, name), (other, alike)] = pair
            && one == other
        {
            return Err(MenuError::Alike((*name).to_owned(), (*alike).to_owned()));
        }
    }
    Ok(())
}

/// One of the tables.
pub(super) fn items<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Items>, D::Error> {
    pairs(deserializer).map(Some)
}

/// What is said of one name besides its price.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    price: Tariff,
    description: Option<String>,
    max_timeout_seconds: Option<u64>,
    #[serde(default)]
    upfront: bool,
    payment_identifier: Option<Identifier>,
    #[serde(default, deserialize_with = "networks")]
    accepts: Vec<Network>,
    bazaar: Option<ToolListing>,
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Item;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a price such as \"$0.01\", \"free\", \"deny\", or a table with price")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Item, E> {
        match text {
            "free" => Ok(Item::Free),
            "deny" => Ok(Item::Denied),
            price => {
                let told = |error| E::custom(format!("expected \"free\", \"deny\" or a price: {error}"));
                price.parse().map(|price| Item::Priced(Box::new(Sale::new(Tariff::Fixed(price))))).map_err(told)
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
        let Keys { price, description, max_timeout_seconds, upfront, payment_identifier, accepts, bazaar } =
            Keys::deserialize(MapAccessDeserializer::new(map))?;
        if upfront && price.is_metered() {
            return Err(A::Error::custom("upfront cannot be had where the price is counted in the answer"));
        }
        let bazaar = bazaar.map(|listing| Box::new(Catalogued::Tool(listing)));
        let settle = if upfront { Settle::Upfront } else { Settle::After };
        let sale = Sale { description, max_timeout_seconds, settle, payment_identifier, accepts, bazaar, ..Sale::new(price) };
        Ok(Item::Priced(Box::new(sale)))
    }
}
