//! A document that is made once and given to whoever asks: its bytes, and the tag by which a cache knows them again.

use axum::body::Body;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Response, StatusCode};
use sha2::{Digest, Sha256};

/// For how long a cache may give it without asking: prices change with a reload, and every 402 has the right ones.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=60");
/// How many bytes of the digest make the tag.
const TAG_BYTES: usize = 16;

/// Bytes with a media type and a tag.
#[derive(Clone, Debug)]
pub(super) struct Document {
    bytes: Bytes,
    media_type: &'static str,
    tag: HeaderValue,
}

impl Document {
    pub(super) fn new(text: impl Into<Bytes>, media_type: &'static str) -> Self {
        let bytes = text.into();
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let (start, _) = digest.split_first_chunk::<TAG_BYTES>().unwrap_or((&[0; TAG_BYTES], &[]));
        // Hexadecimal digits in quotes are a header's value in any case.
        let tag = format!("\"{:032x}\"", u128::from_be_bytes(*start));
        let tag = HeaderValue::try_from(tag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { bytes, media_type, tag }
    }

    /// The answer to GET or HEAD; 304 for who has it already.
    pub(super) fn answer(&self, method: &Method, headers: &HeaderMap) -> Response<Body> {
        let is_known = self.is_known(headers);
        let body = if is_known || method == Method::HEAD { Body::empty() } else { Body::from(self.bytes.clone()) };
        let mut answer = Response::new(body);
        let ours = answer.headers_mut();
        ours.insert(CACHE_CONTROL, CACHED);
        ours.insert(ETAG, self.tag.clone());
        // Nothing in it is anybody's secret, and catalogues read it from pages of their own.
        ours.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        ours.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if is_known {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            ours.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
            ours.insert(CONTENT_LENGTH, HeaderValue::from(self.bytes.len()));
        }
        answer
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
        let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
        // Weak comparison (RFC 9110 §13.1.2).
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.tag.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(document: &Document, method: &Method, tag: Option<&str>) -> u16 {
        let mut headers = HeaderMap::new();
        if let Some(tag) = tag {
            headers.insert(IF_NONE_MATCH, tag.parse().unwrap());
        }
        document.answer(method, &headers).status().as_u16()
    }

    #[test]
    fn who_has_it_already_is_told_so() {
        let document = Document::new("a", "text/plain");
        let tag = document.tag.to_str().unwrap().to_owned();
        assert_eq!(status(&document, &Method::GET, None), 200);
        for same in [&tag, &format!("W/{tag}"), &format!("\"x\", {tag}"), "*"] {
            assert_eq!(status(&document, &Method::GET, Some(same)), 304, "{same}");
        }
        assert_eq!(status(&Document::new("b", "text/plain"), &Method::GET, Some(&tag)), 200);
    }

    #[test]
    fn head_is_told_the_length_and_gets_nothing() {
        let answer = Document::new("abc", "text/plain").answer(&Method::HEAD, &HeaderMap::new());
        assert_eq!(answer.headers()[CONTENT_LENGTH], "3");
        assert!(http_body::Body::is_end_stream(answer.body()));
    }
}
