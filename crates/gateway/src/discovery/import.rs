//! The upstream's own `OpenAPI`, put into ours: of its operations those that can be had through the gateway, with their prices.
//!
//! What no route sells is left out, unless it is free here; so is what the upstream says of other addresses of its own, which
//! would lead around the gateway, and of credentials that the gateway sends by itself.

use axum::body::Body;
use http::header::ACCEPT;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use super::listing::Listing;
use super::members::set;
use super::openapi::price;
use crate::pattern::Spelled;
use crate::service::Answering;

/// The largest description that is read, in bytes.
pub const MAX_IMPORT_BYTES: usize = 4 * 1024 * 1024;
/// The most operations that it may have.
pub const MAX_IMPORTED_OPERATIONS: usize = 5_000;

/// The methods that an `OpenAPI` has operations for. TRACE is not passed on.
const METHODS: [(&str, Method); 7] = [
    ("get", Method::GET),
    ("put", Method::PUT),
    ("post", Method::POST),
    ("delete", Method::DELETE),
    ("options", Method::OPTIONS),
    ("head", Method::HEAD),
    ("patch", Method::PATCH),
];
/// What stands in a gap when a route is looked for: a segment that no route names.
const ANY_SEGMENT: &str = "~";

/// A description that was read and can be used.
#[derive(Clone, Debug)]
pub struct Imported {
    document: Value,
    /// The path under which its own paths stand.
    base: String,
}

/// Why the upstream's own `OpenAPI` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Too much.
    #[error("expected at most {MAX_IMPORT_BYTES} bytes, got more")]
    TooLarge,
    /// No JSON.
    #[error("expected JSON (YAML is not read): {0}")]
    Json(#[from] serde_json::Error),
    /// Not the version that we can put into ours.
    #[error("expected an OpenAPI of version 3, with openapi = \"3.…\", got {0}")]
    Version(String),
    /// A description of nothing.
    #[error("expected paths, an object, got none")]
    NoPaths,
    /// Too many.
    #[error("expected at most {MAX_IMPORTED_OPERATIONS} operations, got {0}")]
    TooManyOperations(usize),
    /// The upstream did not give it.
    #[error("the upstream answered {0} for it")]
    Status(StatusCode),
    /// The upstream broke off.
    #[error("the upstream broke off: {0}")]
    Broken(String),
    /// The path of it.
    #[error("expected a path such as /openapi.json: {0}")]
    Path(#[from] http::Error),
}

/// What becomes of one of its operations here.
pub(super) enum Verdict<'a> {
    /// It is sold, by the route in that place.
    Sold(usize, &'a Listing<'a>),
    /// It is free.
    Free,
    /// It cannot be had, or is not told of.
    Hidden,
}

impl Imported {
    /// Reads it.
    pub fn parse(text: &[u8]) -> Result<Self, ImportError> {
        if text.len() > MAX_IMPORT_BYTES {
            return Err(ImportError::TooLarge);
        }
        let document: Value = serde_json::from_slice(text)?;
        let version = document.get("openapi").and_then(Value::as_str);
        if !version.is_some_and(|version| version.starts_with("3.")) {
            let got = version.map_or_else(
                || if document.get("swagger").is_some() { "Swagger 2".to_owned() } else { "none".to_owned() },
                |version| version.chars().take(20).collect(),
            );
            return Err(ImportError::Version(got));
        }
        let paths = document.get("paths").and_then(Value::as_object).ok_or(ImportError::NoPaths)?;
        let operations = paths.values().map(|item| METHODS.iter().filter(|(key, _)| item.get(*key).is_some()).count()).sum();
        if operations > MAX_IMPORTED_OPERATIONS {
            return Err(ImportError::TooManyOperations(operations));
        }
        let base = base_of(&document);
        Ok(Self { document, base })
    }

    /// Asks the upstream for it.
    pub(crate) async fn fetch<S: Answering>(upstream: S, path: &str) -> Result<Self, ImportError> {
        let request = Request::get(path).header(ACCEPT, "application/json").body(Body::empty())?;
        let answer = match upstream.oneshot(request).await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        if answer.status() != StatusCode::OK {
            return Err(ImportError::Status(answer.status()));
        }
        match Limited::new(answer.into_body(), MAX_IMPORT_BYTES).collect().await {
            Ok(read) => Self::parse(&read.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(ImportError::TooLarge),
            Err(error) => Err(ImportError::Broken(error.to_string())),
        }
    }

    /// All but its paths and addresses.
    pub(super) fn without_paths(&self) -> Value {
        let mut document = self.document.clone();
        if let Some(members) = document.as_object_mut() {
            members.remove("paths");
            members.remove("servers");
            if !members.get("components").is_some_and(Value::is_object) {
                members.insert("components".to_owned(), json!({}));
            }
            if !members.get("info").is_some_and(Value::is_object) {
                members.insert("info".to_owned(), json!({}));
            }
        }
        document
    }

    /// Its paths as they are here, with prices; and the places of the routes that they are sold by. The upstream's own paths
    /// begin with `prefix`, which the gateway adds; `added` are headers that it sends by itself.
    pub(super) fn paths<'a>(
        &self,
        prefix: &str,
        added: &[&str],
        verdict: impl Fn(&Method, &Spelled) -> Verdict<'a>,
    ) -> (Map<String, Value>, Vec<usize>) {
        let (mut paths, mut sold) = (Map::new(), Vec::new());
        let ours = self.document.get("paths").and_then(Value::as_object);
        let credentials = Credentials { document: &self.document, added };
        for (path, item) in ours.into_iter().flatten() {
            let Some(path) = self.path_here(path, prefix) else { continue };
            let spelled = Spelled::new(&sample(&path));
            let mut kept = item.clone();
            let Some(members) = kept.as_object_mut() else { continue };
            members.remove("servers");
            members.remove("trace");
            // What stands elsewhere cannot be looked into.
            members.remove("$ref");
            for (key, method) in &METHODS {
                let Some(operation) = members.get_mut(*key).filter(|operation| operation.is_object()) else { continue };
                remove(operation, &["servers", "x-payment-info"]);
                match verdict(method, &spelled) {
                    Verdict::Sold(place, listing) => {
                        credentials.leave_out_ours(operation);
                        price(operation, listing);
                        sold.push(place);
                    }
                    Verdict::Free => credentials.leave_out_ours(operation),
                    Verdict::Hidden => {
                        members.remove(*key);
                    }
                }
            }
            if METHODS.iter().any(|(key, _)| members.contains_key(*key)) {
                paths.insert(path, kept);
            }
        }
        (paths, sold)
    }

    /// A path of its own as it is asked for here; `None` if it cannot be.
    fn path_here(&self, path: &str, prefix: &str) -> Option<String> {
        let whole = [self.base.as_str(), path].concat();
        let here = whole.strip_prefix(prefix).unwrap_or(&whole);
        here.starts_with('/').then(|| here.to_owned())
    }
}

fn remove(operation: &mut Value, keys: &[&str]) {
    if let Some(members) = operation.as_object_mut() {
        for key in keys {
            members.remove(*key);
        }
    }
}

/// The path of the first server that it names.
fn base_of(document: &Value) -> String {
    let url = document.pointer("/servers/0/url").and_then(Value::as_str).unwrap_or_default();
    let path = url.split_once("://").map_or(url, |(_, rest)| rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default());
    let path = path.trim_end_matches('/');
    // A variable has no one value.
    if path.contains('{') || !path.starts_with('/') { String::new() } else { path.to_owned() }
}

/// A path with something in its gaps.
fn sample(path: &str) -> String {
    let mut sample = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        sample.push_str(before);
        sample.push_str(ANY_SEGMENT);
        rest = after.split_once('}').map_or("", |(_, after)| after);
    }
    sample.push_str(rest);
    sample
}

/// Which credentials a description asks for, and which of them the gateway has.
struct Credentials<'a> {
    document: &'a Value,
    added: &'a [&'a str],
}

impl Credentials<'_> {
    /// Leaves out what a client need not bring: the gateway sends it.
    fn leave_out_ours(&self, operation: &mut Value) {
        let asked = operation.get("security").or_else(|| self.document.get("security")).and_then(Value::as_array);
        let mut left: Vec<Value> = Vec::new();
        for requirement in asked.into_iter().flatten().filter_map(Value::as_object) {
            let others: Map<String, Value> = requirement
                .iter()
                .filter(|(name, _)| !self.is_ours(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            if others.is_empty() {
                left.clear();
                break;
            }
            left.push(Value::Object(others));
        }
        set(operation, "security", left);
    }

    fn is_ours(&self, name: &str) -> bool {
        let Some(scheme) = self.document.pointer("/components/securitySchemes").and_then(|schemes| schemes.get(name)) else {
            return false;
        };
        let kind = scheme.get("type").and_then(Value::as_str).unwrap_or_default();
        let header = match kind {
            "apiKey" if scheme.get("in").and_then(Value::as_str) == Some("header") => {
                scheme.get("name").and_then(Value::as_str).unwrap_or_default()
            }
            "http" | "oauth2" | "openIdConnect" => "authorization",
            _ => return false,
        };
        self.added.iter().any(|added| added.eq_ignore_ascii_case(header))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_openapi_3_is_refused_with_what_it_is() {
        let refused = |text: &str| Imported::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(refused("openapi: 3.1.0").contains("YAML is not read"));
        assert!(refused(r#"{"swagger":"2.0"}"#).contains("got Swagger 2"));
        assert!(refused(r#"{"openapi":"4.0"}"#).contains("got 4.0"));
        assert!(refused("[]").contains("got none"));
        assert!(refused(r#"{"openapi":"3.0.0"}"#).contains("expected paths"));
        let many: Map<String, Value> = (0..5_001).map(|number| (format!("/{number}"), json!({"get": {}}))).collect();
        assert!(refused(&json!({"openapi": "3.1.0", "paths": many}).to_string()).contains("got 5001"));
        assert!(refused(&" ".repeat(MAX_IMPORT_BYTES + 1)).contains("at most 4194304 bytes"));
    }

    #[test]
    fn its_paths_stand_under_its_servers_and_not_under_the_prefix_that_the_gateway_adds() {
        for (server, prefix, path) in [
            ("", "", "/a"),
            ("/", "", "/a"),
            ("/v1", "", "/v1/a"),
            ("https://upstream.internal/api/v1/", "/api", "/v1/a"),
            ("https://upstream.internal", "/api", "/a"),
            ("https://{region}.internal/{version}", "", "/a"),
        ] {
            let document = json!({"openapi": "3.1.0", "paths": {}, "servers": [{"url": server}]});
            let imported = Imported::parse(document.to_string().as_bytes()).unwrap();
            assert_eq!(imported.path_here("/a", prefix).as_deref(), Some(path), "{server}");
        }
        assert_eq!(sample("/a/{id}/{name}.csv"), "/a/~/~.csv");
    }
}
