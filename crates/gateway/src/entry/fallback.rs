//! What is offered beside payment: a member `fallback` in the body of the 402, and its links.
//!
//! The terms stand in the header of version 2, and in the body for version 1, whose readers all skip members that they do not
//! know. So nothing changes for whoever pays.

use axum::body::Body;
use farthing_core::header;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LINK};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde_json::json;

use crate::file::Fallback;

/// The longest terms to which something is added, in bytes.
const MAX_TERMS_BYTES: usize = 256 * 1024;

/// Adds it to an answer that asks for payment; others stay as they are.
pub(super) async fn offer(fallback: &Fallback, answer: Response<Body>) -> Response<Body> {
    let is_json =
        answer.headers().get(CONTENT_TYPE).is_some_and(|media_type| media_type.as_bytes().starts_with(b"application/json"));
    if answer.status() != StatusCode::PAYMENT_REQUIRED || !answer.headers().contains_key(header::PAYMENT_REQUIRED) {
        return answer;
    }
    let (mut parts, mut body) = answer.into_parts();
    for (address, title) in [(&fallback.subscribe, "subscribe"), (&fallback.checkout, "checkout")] {
        let link = address.as_ref().map(|address| format!("<{address}>; rel=\"payment\"; title=\"{title}\""));
        if let Some(value) = link.and_then(|link| HeaderValue::from_str(&link).ok()) {
            parts.headers.append(LINK, value);
        }
    }
    if is_json {
        // It is the gateway's own, and there already.
        match Limited::new(body, MAX_TERMS_BYTES).collect().await {
            Ok(terms) => {
                parts.headers.remove(CONTENT_LENGTH);
                body = Body::from(with(fallback, &terms.to_bytes()));
            }
            Err(error) => {
                tracing::error!(%error, "an answer that asks for payment could not be read, and goes out without a body");
                parts.headers.remove(CONTENT_LENGTH);
                body = Body::empty();
            }
        }
    }
    Response::from_parts(parts, body)
}

/// The same object with one member more; what is no object stays as it is.
fn with(fallback: &Fallback, terms: &[u8]) -> Vec<u8> {
    let Some(members) = terms.trim_ascii_end().strip_suffix(b"}") else { return terms.to_vec() };
    let Fallback { subscribe, checkout, text } = fallback;
    let members_of = [("subscribe", subscribe), ("checkout", checkout), ("text", text)];
    let object: serde_json::Map<String, serde_json::Value> =
        members_of.into_iter().filter_map(|(name, text)| Some((name.to_owned(), json!(text.as_ref()?)))).collect();
    let comma = if members.trim_ascii_end().ends_with(b"{") { "" } else { "," };
    let member = format!("{comma}\"fallback\":{}}}", serde_json::Value::Object(object));
    [members, member.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_get_one_member_more() {
        let fallback: Fallback = toml::from_str("subscribe = 'https://shop.example/s'\ntext = 'or \"subscribe\"'").unwrap();
        let of = |terms: &str| String::from_utf8(with(&fallback, terms.as_bytes())).unwrap();
        let member = r#""fallback":{"subscribe":"https://shop.example/s","text":"or \"subscribe\""}"#;
        assert_eq!(of(r#"{"x402Version":1}"#), format!(r#"{{"x402Version":1,{member}}}"#));
        assert_eq!(of("{}"), format!("{{{member}}}"));
        assert_eq!(of("none"), "none");
    }
}
