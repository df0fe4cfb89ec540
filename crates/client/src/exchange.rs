//! The unpaid half of an exchange: the request, its redirects, and the terms it meets.
//!
//! Redirects are followed here and not by the HTTP client, because who asked for payment must be known: a request that
//! left its origin is never paid for.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use farthing_core::header;
use farthing_core::json;
use farthing_core::trace::TRACEPARENT;
use farthing_core::wire::{PaymentRequired, v1};
use futures_util::StreamExt;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION,
};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use reqwest::ResponseBuilderExt;
use serde_json::Value;
use url::Url;

use crate::error::Error;
use crate::http::Inner;
use crate::origin;
use crate::response::Response;

/// The most redirects that an unpaid request follows.
pub const MAX_REDIRECTS: usize = 5;
/// The longest body that is searched for terms, in bytes.
pub const MAX_TERMS_BODY_BYTES: usize = header::MAX_ANSWER_BYTES;
/// How long a body may take to be searched for terms.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// What is said of a 402 that cannot be paid.
const NO_TERMS: &str =
    "the server asks for payment without saying how: no PAYMENT-REQUIRED header, and no terms of version 1 in the body";
/// What belongs to one origin alone.
const OF_ONE_ORIGIN: [HeaderName; 6] = [
    AUTHORIZATION,
    COOKIE,
    PROXY_AUTHORIZATION,
    HOST,
    HeaderName::from_static(TRACEPARENT),
    HeaderName::from_static(header::SIGN_IN_WITH_X),
];

/// A request that can be sent any number of times.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

/// The way that an unpaid request went.
pub(crate) struct Asked {
    /// The request that got the answer, after redirects.
    pub(crate) outgoing: Outgoing,
    /// The first redirect that left an origin: from where to where.
    pub(crate) crossing: Option<(Url, Url)>,
}

/// What the server wants for an answer.
pub(crate) enum Demand {
    /// Nothing, or nothing that could be paid: here it is.
    Nothing(Response),
    /// To be paid on these terms.
    Payment(PaymentRequired),
}

/// Sends a request unpaid, and reads the terms if it is to be paid for.
pub(crate) async fn ask(inner: &Inner, mut outgoing: Outgoing) -> Result<(Asked, Demand), Error> {
    let mut crossing = None;
    for _ in 0..=MAX_REDIRECTS {
        let response = send(inner, &outgoing).await?;
        let Some(target) = redirect_of(&response, &outgoing.url) else {
            let demand = demand_of(response, &origin::origin_of(&outgoing.url)).await?;
            return Ok((Asked { outgoing, crossing }, demand));
        };
        if !origin::is_same_origin(&outgoing.url, &target) && crossing.is_none() {
            crossing = Some((outgoing.url.clone(), target.clone()));
        }
        outgoing.follow(response.status(), target);
    }
    let what = format!("{} redirected more than {MAX_REDIRECTS} times", origin::origin_of(&outgoing.url));
    Err(Error::Transport { what, source: None })
}

/// Sends a request unpaid, to its own address and nowhere else, and reads the terms if it is to be paid for.
pub(crate) async fn ask_once(inner: &Inner, outgoing: &Outgoing) -> Result<Demand, Error> {
    demand_of(send(inner, outgoing).await?, &origin::origin_of(&outgoing.url)).await
}

async fn send(inner: &Inner, outgoing: &Outgoing) -> Result<reqwest::Response, Error> {
    let origin = origin::origin_of(&outgoing.url);
    let Ok(sent) = tokio::time::timeout(inner.probe_timeout, inner.http.execute(outgoing.request())).await else {
        let what = format!("{origin} did not answer within {} seconds", inner.probe_timeout.as_secs());
        return Err(Error::Transport { what, source: None });
    };
    sent.map_err(|error| Error::transport(format!("{origin} could not be asked"), error))
}

impl Outgoing {
    pub(crate) fn request(&self) -> reqwest::Request {
        let mut request = reqwest::Request::new(self.method.clone(), self.url.clone());
        request.headers_mut().clone_from(&self.headers);
        *request.body_mut() = self.body.clone().map(Into::into);
        request
    }

    /// Goes on to the target of a redirect, as RFC 9110 §15.4 has it.
    fn follow(&mut self, status: StatusCode, target: Url) {
        let is_post = self.method == Method::POST;
        let becomes_get = match status {
            StatusCode::SEE_OTHER => self.method != Method::HEAD,
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => is_post,
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
            self.body = None;
            for name in [CONTENT_TYPE, CONTENT_LENGTH, CONTENT_ENCODING] {
                self.headers.remove(name);
            }
        }
        if !origin::is_same_origin(&self.url, &target) {
            for name in OF_ONE_ORIGIN {
                self.headers.remove(name);
            }
        }
        self.url = target;
    }
}

/// Where a redirect leads, if it is one that can be followed.
fn redirect_of(response: &reqwest::Response, from: &Url) -> Option<Url> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let target = from.join(location).ok()?;
    matches!(target.scheme(), "http" | "https").then_some(target)
}

/// The terms of an answer with status 402, or the answer itself if it makes none.
async fn demand_of(response: reqwest::Response, origin: &str) -> Result<Demand, Error> {
    if response.status() != StatusCode::PAYMENT_REQUIRED {
        return Ok(Demand::Nothing(Response::free(response, None)));
    }
    let bad_terms = |why: String| Error::BadTerms { origin: origin.to_owned(), why: crate::offers::shown(&why) };
    if let Some(terms) = terms_in(response.headers()) {
        let terms = terms.map_err(|why| bad_terms(format!("PAYMENT-REQUIRED: {why}")))?;
        // The rest of the body is read so that the connection can carry the payment.
        drop(peek(response).await);
        return Ok(Demand::Payment(terms));
    }
    let peeked = peek(response).await.map_err(|error| Error::transport(format!("{origin} broke off its answer"), error))?;
    match v1::payment_required(&peeked.body) {
        Ok(terms) => Ok(Demand::Payment(terms)),
        Err(error) if claims_version_1(&peeked.body) => Err(bad_terms(format!("body of version 1: {error}"))),
        Err(_) => Ok(Demand::Nothing(Response::free(peeked.response, Some(NO_TERMS.to_owned())))),
    }
}

/// The terms in a header of version 2, if there is one.
pub(crate) fn terms_in(headers: &HeaderMap) -> Option<Result<PaymentRequired, String>> {
    let mut values = headers.get_all(header::PAYMENT_REQUIRED).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return Some(Err("the header comes more than once, and nobody can say which one counts".to_owned()));
    }
    Some(header::decode_required(value.as_bytes()).map_err(|error| error.to_string()))
}

fn claims_version_1(body: &[u8]) -> bool {
    json::read_bytes::<Value>(body).is_ok_and(|body| body.get("x402Version").and_then(Value::as_u64) == Some(1))
}

/// An answer whose body was looked into, and which reads as if it had not been.
pub(crate) struct Peeked {
    pub(crate) response: reqwest::Response,
    /// The body; empty if it is longer or slower than any message of the protocol.
    pub(crate) body: Bytes,
}

/// Looks into the body, up to [`MAX_TERMS_BODY_BYTES`] and for a limited time.
pub(crate) async fn peek(mut response: reqwest::Response) -> Result<Peeked, reqwest::Error> {
    let mut seen = BytesMut::new();
    let reading = async {
        while seen.len() <= MAX_TERMS_BODY_BYTES {
            match response.chunk().await? {
                Some(chunk) => seen.extend_from_slice(&chunk),
                None => return Ok(true),
            }
        }
        Ok(false)
    };
    let is_whole = tokio::time::timeout(BODY_TIMEOUT, reading).await.unwrap_or(Ok(false))?;
    let seen = seen.freeze();
    let body = if is_whole { seen.clone() } else { Bytes::new() };
    Ok(Peeked { response: with_body_again(response, seen, is_whole), body })
}

fn with_body_again(response: reqwest::Response, seen: Bytes, is_whole: bool) -> reqwest::Response {
    let (status, version, url, headers) =
        (response.status(), response.version(), response.url().clone(), response.headers().clone());
    let body = if is_whole {
        reqwest::Body::from(seen)
    } else {
        let seen = futures_util::stream::iter([Ok(seen)]);
        reqwest::Body::wrap_stream(seen.chain(response.bytes_stream()))
    };
    let mut whole = http::Response::new(body);
    *whole.status_mut() = status;
    *whole.version_mut() = version;
    *whole.headers_mut() = headers;
    // Only a builder can name the URL; it has nothing else to get wrong.
    if let Ok(named) = http::Response::builder().url(url).body(()) {
        whole.extensions_mut().extend(named.into_parts().0.extensions);
    }
    whole.into()
}
