//! `/llms.txt`: what is sold here, for how much, and how it is paid, in words.

use super::About;
use super::listing::{Listing, price_in_words, ways};
use crate::file::EVERY_OTHER;
use crate::mcp::Dish;
use crate::routes::Explanation;

/// The most lines of a section; the rest stands in the `OpenAPI`.
const MAX_LINES: usize = 200;

/// How anything here is bought.
const HOW_TO_PAY: &str = r#"## How to pay

Requests are paid for one by one with x402 version 2. There is no account and no key.

1. Send the request as usual. The answer is 402; its header PAYMENT-REQUIRED is base64 of JSON with `accepts`, the offers.
2. Take an offer, sign its payment, and send the same request again with the header PAYMENT-SIGNATURE.
3. The answer comes with PAYMENT-RESPONSE, the settlement. A request that fails is not charged.
4. Tools of an MCP server are paid for in the call: an unpaid one results in the terms, and the payment goes into
   `params._meta["x402/payment"]`.
5. If the settlement is not known (`settlement_pending`), send the same request with the same payment again; do not sign another.
"#;

pub(super) fn document(about: &About<'_>, listings: &[&Listing<'_>]) -> String {
    let mut parts = vec![format!("# {}\n", one_line(about.title()))];
    if let Some(description) = &about.settings.description {
        parts.push(format!("> {}\n", one_line(description)));
    }
    parts.push(HOW_TO_PAY.to_owned());
    let (priced, free): (Vec<&Listing<'_>>, Vec<&Listing<'_>>) = listings.iter().partition(|listing| listing.has_price());
    parts.extend(section("For sale", &priced));
    parts.extend(section("Free", &free));
    let contact = about.settings.contact.as_ref().map(|contact| format!("- Contact: {}\n", one_line(contact)));
    let openapi = about.url(super::OPENAPI);
    parts.push(format!("## More\n\n- OpenAPI, with prices: {openapi}\n{}", contact.unwrap_or_default()));
    parts.join("\n")
}

fn section(title: &str, listings: &[&Listing<'_>]) -> Option<String> {
    let lines: Vec<String> = listings.iter().flat_map(|listing| lines(listing)).collect();
    let more = lines.len().checked_sub(MAX_LINES).filter(|more| *more > 0);
    let rest = more.map(|more| format!("- and {more} more, in the OpenAPI\n")).unwrap_or_default();
    let shown: String = lines.into_iter().take(MAX_LINES).collect();
    (!shown.is_empty()).then(|| format!("## {title}\n\n{shown}{rest}"))
}

fn lines(listing: &Listing<'_>) -> Vec<String> {
    let methods: Vec<&str> = listing.pattern.methods().iter().map(http::Method::as_str).collect();
    let methods = if methods.is_empty() { "any method".to_owned() } else { methods.join(" or ") };
    let what = format!("{methods} `{}`", listing.template.path);
    let mut lines: Vec<String> = listing.dishes().map(|dish| dish_line(&listing.template.path, dish)).collect();
    if lines.is_empty() {
        lines.push(line(&what, listing.explanation, listing.description()));
    }
    lines
}

fn dish_line(path: &str, dish: &Dish) -> String {
    let name = if dish.name == EVERY_OTHER { "every other".to_owned() } else { format!("`{}`", one_line(&dish.name)) };
    let free = if dish.access == Explanation::Free { ", free" } else { "" };
    line(&format!("MCP {} {name} at `{path}`{free}", dish.kind), &dish.access, dish.description.as_deref())
}

/// One thing, its price and the ways to pay it.
fn line(what: &str, explanation: &Explanation, description: Option<&str>) -> String {
    let ways = ways(explanation);
    let price = price_in_words(explanation).map(|price| format!(": {price}")).unwrap_or_default();
    let ways = if ways.is_empty() { String::new() } else { format!(" ({})", ways.join(", ")) };
    let description = description.map(|text| format!(". {}", one_line(text))).unwrap_or_default();
    format!("- {what}{price}{ways}{description}\n")
}

/// A text without line ends, so that it makes no heading and no list of its own.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
