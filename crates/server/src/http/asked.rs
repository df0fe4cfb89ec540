//! What a route whose price is asked for each request looks at: the body, where the price depends on it, and headers.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response};
use sha2::{Digest, Sha256};

use super::bind::{self, BodyLimit, RequestBody};
use super::headers;
use super::sale::Asking;
use crate::quotes::{Binding, PriceRequest, Quoter};
use crate::resource::RequestFacts;

/// All that the price of a request is asked with, the request as it came, and the facts of it that its price depends on.
pub(super) async fn look<Q: RequestBody>(
    quoter: &Quoter,
    request: Request<Q>,
    facts: RequestFacts,
) -> Result<(Asking<'_>, Request<Q>, RequestFacts), Response<Bytes>> {
    let (request, read) = match quoter.max_body_bytes() {
        None => (request, None),
        Some(max_bytes) => {
            let (parts, body) = request.into_parts();
            let read = bind::read(body, BodyLimit::Priced(max_bytes)).await?;
            (Request::from_parts(parts, Q::from(read.clone())), Some(read))
        }
    };
    let body = read.as_ref().map(bind::digest_of);
    let facts = body.map_or(facts.clone(), |digest| facts.with_body(digest));
    let mut headers = request.headers().clone();
    headers::strip(&mut headers);
    let names = quoter.headers();
    let by_headers = (!names.is_empty()).then(|| digest_of(&headers, names));
    let facts = by_headers.as_ref().map_or(facts.clone(), |digest| facts.with_headers(digest));
    let method = request.method().clone();
    let binding = Binding::new(method.as_str(), &facts.resource_url, body).with_headers(by_headers);
    let priced = PriceRequest { method, resource_url: facts.resource_url.clone(), headers, body: read };
    Ok((Asking { quoter, request: priced, binding }, request, facts))
}

/// The digest of the headers of these names: how many values each has, and then every value after its length.
fn digest_of(headers: &HeaderMap, names: &[HeaderName]) -> [u8; 32] {
    let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX).to_be_bytes();
    let mut digest = Sha256::new();
    for name in names {
        digest.update(number(headers.get_all(name).iter().count()));
        for value in headers.get_all(name) {
            digest.update(number(value.len()));
            digest.update(value.as_bytes());
        }
    }
    digest.finalize().into()
}
