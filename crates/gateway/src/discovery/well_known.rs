//! `/.well-known/x402`: a list of what is sold, for whoever looks there.
//!
//! `resources` holds what has one URL, as catalogues expect it: whole where the gateway knows its own address, as a path where it
//! does not. `endpoints` holds everything, with its gaps and its offers; of an MCP server each name, under `mcp`.

use serde_json::{Value, json};

use super::About;
use super::listing::{Listing, accepts, dish, price_in_words};
use super::members::set;

/// The version of this document's form.
const VERSION: u8 = 1;

pub(super) fn document(about: &About<'_>, listings: &[&Listing<'_>]) -> Value {
    let priced = || listings.iter().filter(|listing| listing.has_price());
    let whole = priced().filter(|listing| listing.template.is_whole());
    let mut resources: Vec<String> = whole.map(|listing| about.url(&listing.template.path)).collect();
    resources.dedup();
    let endpoints: Vec<Value> = priced().map(|listing| endpoint(listing)).collect();
    json!({
        "version": VERSION,
        "x402Version": 2,
        "resources": resources,
        "endpoints": endpoints,
        "openapi": about.url(super::OPENAPI),
        "instructions": about.guidance(),
    })
}

fn endpoint(listing: &Listing<'_>) -> Value {
    let methods: Vec<&str> = listing.pattern.methods().iter().map(http::Method::as_str).collect();
    let mut endpoint = json!({"path": listing.template.path});
    // Without methods, every one.
    if !methods.is_empty() {
        set(&mut endpoint, "methods", methods);
    }
    if let Some(price) = price_in_words(listing.explanation) {
        set(&mut endpoint, "price", price);
        set(&mut endpoint, "accepts", accepts(listing.explanation));
    }
    let dishes: Vec<Value> = listing.dishes().map(dish).collect();
    if !dishes.is_empty() {
        set(&mut endpoint, "mcp", dishes);
    }
    if let Some(description) = listing.description() {
        set(&mut endpoint, "description", description);
    }
    endpoint
}
