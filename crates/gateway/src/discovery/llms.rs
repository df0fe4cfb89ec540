//! `/llms.txt`: what is sold here, for how much, and how it is paid, in words.

use super::About;
use super::listing::Listing;

/// The most routes that are told of; the rest stands in the OpenAPI.
const MAX_LINES: usize = 200;

pub(super) fn document(about: &About<'_>, listings: &[&Listing<'_>]) -> String {
    let mut text = format!("# {}\n\n", one_line(about.title()));
    if let Some(description) = &about.settings.description {
        text += &format!("> {}\n\n", one_line(description));
    }
    text += "## How to pay\n\n\
             Requests are paid for one by one with x402 version 2. There is no account and no key.\n\n\
             1. Send the request as usual. The answer is 402; its header PAYMENT-REQUIRED is base64 of JSON with `accepts`, the offers.\n\
             2. Take an offer, sign its payment, and send the same request again with the header PAYMENT-SIGNATURE.\n\
             3. The answer comes with PAYMENT-RESPONSE, the settlement. A request that fails is not charged.\n\
             4. If the settlement is not known (`settlement_pending`), send the same request with the same payment again. Do not sign \
             another.\n\n";
    let (priced, free): (Vec<&Listing<'_>>, Vec<&Listing<'_>>) = listings.iter().partition(|listing| listing.sale.is_some());
    section(&mut text, "For sale", &priced);
    section(&mut text, "Free", &free);
    text += "## More\n\n";
    text += &format!("- OpenAPI, with prices: {}\n", about.url(super::OPENAPI));
    if let Some(contact) = &about.settings.contact {
        text += &format!("- Contact: {}\n", one_line(contact));
    }
    text
}

fn section(text: &mut String, title: &str, listings: &[&Listing<'_>]) {
    if listings.is_empty() {
        return;
    }
    *text += &format!("## {title}\n\n");
    for listing in listings.iter().take(MAX_LINES) {
        *text += &line(listing);
    }
    if let Some(more) = listings.len().checked_sub(MAX_LINES).filter(|more| *more > 0) {
        *text += &format!("- and {more} more, in the OpenAPI\n");
    }
    text.push('\n');
}

fn line(listing: &Listing<'_>) -> String {
    let methods: Vec<&str> = listing.pattern.methods().iter().map(http::Method::as_str).collect();
    let methods = if methods.is_empty() { "any method".to_owned() } else { methods.join(" or ") };
    let mut line = format!("- {methods} `{}`", listing.template.path);
    if let Some(price) = listing.price() {
        line += &format!(": {price}");
    }
    let ways = listing.ways();
    if !ways.is_empty() {
        line += &format!(" ({})", ways.join(", "));
    }
    if let Some(description) = listing.description() {
        line += &format!(". {}", one_line(description));
    }
    line.push('\n');
    line
}

/// A text without line ends, so that it makes no heading and no list of its own.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
