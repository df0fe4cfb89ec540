//! `/openapi.json`: an `OpenAPI` 3.1 description of what is sold, with `x-payment-info` on whatever has a price.
//!
//! | on a priced operation | says |
//! |---|---|
//! | `x-payment-info` | the price, fixed or between two ends, and under `protocols` the offers: scheme, network, asset |
//! | `security: []` | that it needs no account; with `siwx` beside it, that who has paid may sign in instead |
//! | `402`, and headers of `200` | how the terms come, how a payment is sent, and how it is acknowledged |
//!
//! It is advice. What is asked for in the end stands in the 402.

use farthing_core::extension::bazaar::{BodyType, Listing as Shape};
use serde_json::{Map, Value, json};

use super::About;
use super::import::Imported;
use super::listing::{Listing, Template, dish};
use super::members::{inside, set};
use crate::file::Catalogued;

/// What our parts of the document are called; the upstream's own has other names.
const PAYMENT: &str = "X402PaymentSignature";
const TERMS: &str = "X402PaymentRequired";
const RECEIPT: &str = "X402PaymentResponse";
const SIGN_IN: &str = "siwx";

/// The whole document.
pub(super) fn document(about: &About<'_>, listings: &[&Listing<'_>]) -> Value {
    let mut document = json!({"openapi": "3.1.0", "info": {}, "paths": {}});
    complete(&mut document, about, listings, Map::new());
    document
}

/// The same, made of the upstream's own description: of its operations those that can be had here, with their prices.
pub(super) fn enriched(about: &About<'_>, listings: &[&Listing<'_>], imported: &Imported, paths: Map<String, Value>) -> Value {
    let mut document = imported.without_paths();
    complete(&mut document, about, listings, paths);
    document
}

fn complete(document: &mut Value, about: &About<'_>, listings: &[&Listing<'_>], mut paths: Map<String, Value>) {
    for listing in listings {
        let path = path_like(&paths, &listing.template.path);
        let operations = paths.entry(path).or_insert_with(|| json!({}));
        for method in listing.methods() {
            let key = method.as_str().to_ascii_lowercase();
            if operations.get(&key).is_none() {
                set(operations, &key, operation(listing));
            }
        }
    }
    set(document, "paths", paths);
    describe(document, about);
    for (kind, name, part) in parts() {
        set(inside(inside(document, "components"), kind), name, part);
    }
}

/// The path under which others with gaps in the same places stand already.
fn path_like(paths: &Map<String, Value>, path: &str) -> String {
    let shape = Template::shape(path);
    paths.keys().find(|other| Template::shape(other) == shape).map_or_else(|| path.to_owned(), Clone::clone)
}

fn describe(document: &mut Value, about: &About<'_>) {
    let info = inside(document, "info");
    let is_empty = |info: &Value, key: &str| info.get(key).and_then(Value::as_str).is_none_or(str::is_empty);
    if about.settings.title.is_some() || is_empty(info, "title") {
        set(info, "title", about.title());
    }
    if about.settings.version.is_some() || is_empty(info, "version") {
        set(info, "version", about.version());
    }
    if let Some(description) = &about.settings.description {
        set(info, "description", description.as_str());
    }
    if let Some(contact) = &about.settings.contact {
        let is_url = contact.contains("://");
        set(info, "contact", json!({if is_url { "url" } else { "email" }: contact}));
    }
    set(info, "x-guidance", about.guidance());
    set(document, "servers", json!([{"url": about.public_url.unwrap_or("/")}]));
    set(document, "x-agentcash-guidance", json!({"llmsTxtUrl": about.url(super::LLMS)}));
}

/// An operation of our own making: all that is known of it stands in the gateway's file.
fn operation(listing: &Listing<'_>) -> Value {
    let summary = listing.description().map_or_else(|| listing.pattern.to_string(), str::to_owned);
    let mut operation = json!({
        "summary": summary,
        "security": [],
        "responses": {"200": {"description": "What was asked for."}},
    });
    let parameters = listing.template.parameters();
    if !parameters.is_empty() {
        set(&mut operation, "parameters", parameters);
    }
    if listing.pattern.methods().is_empty() {
        set(&mut operation, "description", "Every method is answered in the same way, and costs the same.");
    }
    if let Some(media_type) = listing.sale.and_then(|sale| sale.mime_type.as_deref()) {
        let success = inside(inside(&mut operation, "responses"), "200");
        set(success, "content", json!({media_type: {}}));
    }
    if let Some(Catalogued::Http(shape)) = listing.sale.and_then(|sale| sale.bazaar.as_deref()) {
        describe_shape(&mut operation, shape, listing.sale.and_then(|sale| sale.mime_type.as_deref()));
    }
    if listing.dishes().next().is_some() {
        let message = json!({"type": "object", "description": "A message of JSON-RPC, as MCP has it."});
        let content = json!({"application/json": {"schema": message}});
        set(&mut operation, "description", "An MCP server over streamable HTTP; what is called is paid for by its name.");
        set(&mut operation, "requestBody", json!({"required": true, "content": content}));
    }
    price(&mut operation, listing);
    operation
}

/// Says how it is asked for and what comes back, as catalogues are told.
fn describe_shape(operation: &mut Value, shape: &Shape, media_type: Option<&str>) {
    let properties = shape.query_schema.as_ref().and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    let required = shape.query_schema.as_ref().and_then(|schema| schema.get("required")).and_then(Value::as_array);
    let mut names: Vec<&String> = properties.into_iter().chain(&shape.query).flat_map(Map::keys).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let is_required = required.is_some_and(|names| names.iter().any(|other| other.as_str() == Some(name)));
        let schema = properties.and_then(|properties| properties.get(name)).cloned().unwrap_or_else(|| json!({}));
        let mut parameter = json!({"name": name, "in": "query", "required": is_required, "schema": schema});
        if let Some(example) = shape.query.as_ref().and_then(|query| query.get(name)) {
            set(&mut parameter, "example", example.clone());
        }
        append(operation, "parameters", parameter);
    }
    if shape.body.is_some() || shape.body_schema.is_some() {
        let media_type = match shape.body_type {
            None | Some(BodyType::Json) => "application/json",
            Some(BodyType::FormData) => "multipart/form-data",
            Some(BodyType::Text) => "text/plain",
        };
        let content = content(shape.body_schema.as_ref(), shape.body.clone().map(Value::Object));
        set(operation, "requestBody", json!({"required": true, "content": {media_type: content}}));
    }
    if shape.output.is_some() || shape.output_schema.is_some() {
        let success = inside(inside(operation, "responses"), "200");
        let content = content(shape.output_schema.as_ref(), shape.output.clone());
        set(success, "content", json!({media_type.unwrap_or("application/json"): content}));
    }
}

fn content(schema: Option<&Map<String, Value>>, example: Option<Value>) -> Value {
    let mut content = json!({"schema": schema.cloned().map_or_else(|| json!({}), Value::Object)});
    if let Some(example) = example {
        set(&mut content, "example", example);
    }
    content
}

/// Says on an operation what it costs and how it is paid. What is free is left as it is.
pub(super) fn price(operation: &mut Value, listing: &Listing<'_>) {
    let dishes: Vec<Value> = listing.dishes().map(dish).collect();
    if !dishes.is_empty() {
        set(operation, "x-mcp", json!({"transport": "streamable-http", "offers": dishes}));
    }
    let Some(payment_info) = listing.payment_info() else { return };
    set(operation, "x-payment-info", payment_info);
    append(operation, "parameters", reference("parameters", PAYMENT));
    let responses = inside(operation, "responses");
    set(responses, "402", reference("responses", TERMS));
    for (status, response) in responses.as_object_mut().into_iter().flatten() {
        // What is referred to is shared with others, who may not be paid for.
        if status.starts_with('2') && response.get("$ref").is_none() {
            set(inside(response, "headers"), "PAYMENT-RESPONSE", reference("headers", RECEIPT));
        }
    }
    if listing.sale.is_some_and(|sale| sale.sign_in.is_some()) {
        if operation.get("security").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            append(operation, "security", json!({}));
        }
        append(operation, "security", json!({SIGN_IN: []}));
    }
}

fn append(operation: &mut Value, key: &str, entry: Value) {
    let mut list = operation.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    list.push(entry);
    set(operation, key, list);
}

fn reference(kind: &str, name: &str) -> Value {
    json!({"$ref": format!("#/components/{kind}/{name}")})
}

/// What priced operations refer to.
fn parts() -> [(&'static str, &'static str, Value); 4] {
    [
        (
            "parameters",
            PAYMENT,
            json!({
                "name": "PAYMENT-SIGNATURE", "in": "header", "required": false, "schema": {"type": "string"},
                "description": "The payment (x402 version 2): base64 of JSON with x402Version, accepted (one of the offers, as it \
                                came) and payload (what the scheme has signed). Without it the answer is 402 with the offers.",
            }),
        ),
        (
            "responses",
            TERMS,
            json!({
                "description": "To be paid for. Nothing was done and nothing was charged.",
                "headers": {
                    "PAYMENT-REQUIRED": {
                        "required": true, "schema": {"type": "string"},
                        "description": "The terms (x402 version 2): base64 of JSON with resource, accepts (the offers: scheme, \
                                        network, amount in atomic units, asset, payTo, maxTimeoutSeconds, extra) and extensions.",
                    },
                },
                "content": {"application/json": {"schema": {
                    "type": "object",
                    "description": "The terms for buyers of version 1, or what was wrong with a payment.",
                    "properties": {"error": {"type": "string"}, "message": {"type": "string"}},
                }}},
            }),
        ),
        (
            "headers",
            RECEIPT,
            json!({
                "required": false, "schema": {"type": "string"},
                "description": "The settlement: base64 of JSON with success, transaction, network and payer.",
            }),
        ),
        (
            "securitySchemes",
            SIGN_IN,
            json!({
                "type": "apiKey", "in": "header", "name": "SIGN-IN-WITH-X", "x-agentcash-auth-kind": "siwx",
                "description": "Who has paid signs in with the same wallet, and need not pay again for a while; the challenge \
                                comes with the terms.",
            }),
        ),
    ]
}
