//! What the book of sales says of an order.

use farthing_core::books::{Bill, ROUTE_NAME_MAX_BYTES, SOLD_RESOURCE_MAX_BYTES, SettledBy};
use farthing_core::time::UnixSeconds;
use farthing_core::wire::SettleResponse;
use serde_json::Value;

use crate::order::Order;
use crate::resource::RequestFacts;
use crate::route::Route;

/// Where a settlement's `extra` says that it is by the word of a hook.
pub(crate) const SETTLED_BY: &str = "settledBy";
/// What it says there.
pub(crate) const HOOK: &str = "hook";

/// What is sold, by the names of the book.
#[derive(Clone, Default)]
pub(crate) struct Sold {
    route: String,
    resource: String,
}

impl Sold {
    /// What a request asks for. A route that has no name of its own goes by its description, or else by its resource.
    pub(crate) fn of(route: &Route, facts: &RequestFacts) -> Self {
        let resource = cut(format!("{} {}", facts.method, without_secrets(&facts.resource_url)), SOLD_RESOURCE_MAX_BYTES);
        let named = [route.name(), route.description()].into_iter().find(|name| !name.is_empty());
        Self { route: cut(named.unwrap_or(&resource).to_owned(), ROUTE_NAME_MAX_BYTES), resource }
    }
}

impl Order {
    /// What the payment is charged for at this moment, by what is known of the settlement.
    pub(crate) fn bill(&self, at: UnixSeconds, settled: Option<&SettleResponse>) -> Bill {
        let Sold { route, resource } = self.sold.clone();
        Bill {
            at,
            route,
            resource,
            payer: settled.and_then(|settled| settled.payer.clone()).or_else(|| self.paid.payer.clone()),
            pay_to: self.paid.pay_to.clone(),
            asset: (*self.asset).clone(),
            amount: self.request.requirements.amount,
            scheme: self.paid.scheme.clone(),
        }
    }
}

/// Who said that this has settled.
pub(crate) fn settled_by(settled: &SettleResponse) -> SettledBy {
    let word = settled.extra.as_ref().and_then(|extra| extra.get(SETTLED_BY)).and_then(Value::as_str);
    if word == Some(HOOK) { SettledBy::Hook } else { SettledBy::Facilitator }
}

/// A URL without its query, its fragment and whoever it logs in: keys are handed over there, and books are shown around.
fn without_secrets(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let url = url.get(..end).unwrap_or(url);
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// The longest beginning that fits.
fn cut(mut text: String, max_bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_named_without_what_may_be_secret() {
        for (url, expected) in [
            ("https://api.example.com/a/b?key=secret#x", "https://api.example.com/a/b"),
            ("https://user:secret@api.example.com/a@b", "https://api.example.com/a@b"),
            ("https://api.example.com#secret", "https://api.example.com"),
            ("mcp://tool/report", "mcp://tool/report"),
            ("?secret", ""),
        ] {
            assert_eq!(without_secrets(url), expected);
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(cut("aéé".to_owned(), 4), "aé");
        assert_eq!(cut("aé".to_owned(), 3), "aé");
    }
}
