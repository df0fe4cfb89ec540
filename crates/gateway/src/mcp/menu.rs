//! What an MCP server offers, ready to be sold: for every name a way.

use std::collections::HashMap;

use farthing_core::extension::bazaar;
use farthing_server::Server;

use super::calling::Calling;
use super::message::Kind;
use crate::file::{self, Catalogued, EVERY_OTHER, Item};
use crate::pattern::fold;
use crate::routes::{Counter, Explanation, Fault, Till};
use crate::service::Answering;

/// What is offered, by kind and name.
pub(super) struct Menu<S> {
    tools: Table<S>,
    resources: Table<S>,
    prompts: Table<S>,
}

/// What is offered of one kind.
struct Table<S> {
    /// By the name in one letter case, with the name as it was written.
    named: HashMap<String, (String, Offer<S>)>,
    others: Offer<S>,
}

/// What becomes of a call.
pub(super) enum Offer<S> {
    Free,
    Denied,
    Sold(Counter<Calling<S>>),
}

/// What a menu is made with.
pub(super) struct Kitchen<'a, S> {
    pub(super) server: &'a Server,
    pub(super) upstream: &'a Calling<S>,
    pub(super) settings: &'a file::Gateway,
}

/// One name of a menu, for whoever wants to know what the file means.
#[derive(Clone, Debug, PartialEq)]
pub struct Dish {
    /// `tool`, `resource` or `prompt`.
    pub kind: &'static str,
    /// The name, or the URI; `*` for every other.
    pub name: String,
    /// What is said about it.
    pub description: Option<String>,
    /// What becomes of calls.
    pub access: Explanation,
}

impl<S: Answering> Menu<S> {
    /// Prices everything that has a price.
    pub(super) fn build(menu: &file::Menu, kitchen: &Kitchen<'_, S>) -> Result<(Self, Vec<Dish>), Fault> {
        let mut dishes = Vec::new();
        let mut table = |kind: Kind, items: &[(String, Item)]| -> Result<Table<S>, Fault> {
            let mut table = Table { named: HashMap::new(), others: Offer::Denied };
            for (name, item) in items {
                let (offer, access) =
                    offer(name, item, kitchen).map_err(|fault| Fault::Named(kind.noun(), name.clone(), Box::new(fault)))?;
                let description = match item {
                    Item::Priced(sale) => sale.description.clone(),
                    Item::Free | Item::Denied => None,
                };
                dishes.push(Dish { kind: kind.noun(), name: name.clone(), description, access });
                if name == EVERY_OTHER {
                    table.others = offer;
                } else {
                    table.named.insert(fold(name), (name.clone(), offer));
                }
            }
            Ok(table)
        };
        let menu = Self {
            tools: table(Kind::Tool, &menu.tools)?,
            resources: table(Kind::Resource, &menu.resources)?,
            prompts: table(Kind::Prompt, &menu.prompts)?,
        };
        Ok((menu, dishes))
    }
}

impl<S> Menu<S> {
    /// What becomes of a call of that name. What costs money or is denied is found in any letter case, what is free letter by
    /// letter; and what is free without being named has a plain name, of which there is no other spelling.
    pub(super) fn find(&self, kind: Kind, name: &str) -> &Offer<S> {
        let table = match kind {
            Kind::Tool => &self.tools,
            Kind::Resource => &self.resources,
            Kind::Prompt => &self.prompts,
        };
        match table.named.get(&fold(name)) {
            Some((exact, Offer::Free)) if exact != name => {}
            Some((_, offer)) => return offer,
            None => {}
        }
        match &table.others {
            Offer::Free if kind != Kind::Resource && !is_plain(name) => &Offer::Denied,
            others => others,
        }
    }
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./:".contains(&byte))
}

fn offer<S: Answering>(name: &str, item: &Item, kitchen: &Kitchen<'_, S>) -> Result<(Offer<S>, Explanation), Fault> {
    let sale = match item {
        Item::Free => return Ok((Offer::Free, Explanation::Free)),
        Item::Denied => return Ok((Offer::Denied, Explanation::Denied)),
        Item::Priced(sale) => sale,
    };
    let mut sale = (**sale).clone();
    sale.mime_type = Some("application/json".to_owned());
    if !sale.price.reads_body() {
        // What is called, and with which arguments, stands in the body.
        sale.bound_body_bytes = Some(kitchen.settings.max_priced_body_bytes);
    }
    let Kitchen { server, upstream, settings } = *kitchen;
    let bazaar = match sale.bazaar.as_deref() {
        Some(Catalogued::Tool(listing)) => Some(bazaar::tool(listing, name, sale.description.as_deref())?),
        Some(Catalogued::Http(_)) | None => None,
    };
    let (counter, explanation) = Till { server, upstream, settings, sale: &sale, name: name.to_owned(), bazaar }.build()?;
    Ok((Offer::Sold(counter), explanation))
}
