//! The service that stands before one whose price is asked for each request.
//!
//! It is another implementation beside that for fixed prices, because it may have to read the body of a request before the
//! handler does, and so must be able to make one.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use farthing_core::Source;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use sha2::{Digest, Sha256};
use tower_service::Service;

use super::body::PaymentBody;
use super::future::PaymentFuture;
use super::headers;
use super::layer::AskedPrice;
use super::request::trace_of;
use super::sale::{Asking, Sale};
use super::service::{PaymentService, granted, preflight, serve, visit, whole};
use super::toll::{Charge, Toll, bad_request};
use crate::quotes::{Binding, PRICED_BODY_TIMEOUT_SECONDS, PriceRequest, Quoter};
use crate::resource::RequestFacts;

impl<S, Q, B> Service<Request<Q>> for PaymentService<S, AskedPrice>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Q: Body + From<Bytes> + Send + 'static,
    Q::Data: Send,
    Q::Error: Into<Source>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Source>,
{
    type Response = Response<PaymentBody<B>>;
    type Error = S::Error;
    type Future = PaymentFuture<B, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        if self.passes(&request) {
            return preflight(&mut self.inner, request);
        }
        let (toll, inner) = (Arc::clone(&self.toll), self.take_ready());
        PaymentFuture::working(async move {
            let Charge::Asked(quoter) = &toll.charge else {
                // No such layer can be made.
                return Ok(whole(bad_request(StatusCode::INTERNAL_SERVER_ERROR, "not_priced", "this route has no pricer")));
            };
            ask_and_serve(&toll, quoter, inner, request).await
        })
    }
}

async fn ask_and_serve<S, Q, B>(
    toll: &Toll,
    quoter: &Quoter,
    inner: S,
    request: Request<Q>,
) -> Result<Response<PaymentBody<B>>, S::Error>
where
    S: Service<Request<Q>, Response = Response<B>>,
    Q: Body + From<Bytes>,
    Q::Error: Into<Source>,
    B: Body<Data = Bytes>,
    B::Error: Into<Source>,
{
    if toll.has_hooks() {
        match granted(toll, toll.protected(&request)).await {
            Ok(true) => return visit(inner, request, None).await,
            Ok(false) => {}
            Err(answer) => return Ok(whole(answer)),
        }
    }
    let mut arrival = match toll.look(&request) {
        Ok(arrival) => arrival,
        Err(answer) => return Ok(whole(answer)),
    };
    match toll.visitor(&mut arrival, request.method()).await {
        Ok(Some(visitor)) => return visit(inner, request, Some(visitor)).await,
        Ok(None) => {}
        Err(answer) => return Ok(whole(answer)),
    }
    let (parts, body) = request.into_parts();
    let (body, read) = match quoter.max_body_bytes() {
        None => (body, None),
        Some(limit) => match read(body, limit).await {
            Ok(read) => (Q::from(read.clone()), Some(read)),
            Err(answer) => return Ok(whole(answer)),
        },
    };
    let request = Request::from_parts(parts, body);
    let digest: Option<[u8; 32]> = read.as_ref().map(|read| Sha256::digest(read).into());
    let method = request.method().clone();
    let facts = RequestFacts::http(method.as_str(), arrival.url.clone()).in_trace(trace_of(request.headers()));
    let facts = digest.as_ref().map_or(facts.clone(), |digest| facts.with_body(digest));
    let mut headers = request.headers().clone();
    headers::strip(&mut headers);
    let names = quoter.headers();
    let by_headers = (!names.is_empty()).then(|| digest_of(&headers, names));
    let facts = by_headers.as_ref().map_or(facts.clone(), |digest| facts.with_headers(digest));
    let binding = Binding::new(method.as_str(), &arrival.url, digest).with_headers(by_headers);
    let priced = PriceRequest { method, resource_url: arrival.url.clone(), headers, body: read };
    let sale = Sale { toll, asking: Some(Asking { quoter, request: priced, binding }) };
    match sale.payment(arrival).await {
        Ok(payment) => serve(&sale, inner, request, payment, facts).await,
        Err(answer) => Ok(whole(answer)),
    }
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

/// The whole body of a request, of at most so many bytes.
async fn read<Q>(body: Q, max_bytes: usize) -> Result<Bytes, Response<Bytes>>
where
    Q: Body,
    Q::Error: Into<Source>,
{
    let too_large = || {
        let message = format!(
            "body: expected at most {max_bytes} bytes, which is what can be priced here, got more; nothing was charged"
        );
        bad_request(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", &message)
    };
    if usize::try_from(body.size_hint().lower()).map_or(true, |least| least > max_bytes) {
        return Err(too_large());
    }
    let patience = Duration::from_secs(PRICED_BODY_TIMEOUT_SECONDS);
    let Ok(read) = tokio::time::timeout(patience, Limited::new(body, max_bytes).collect()).await else {
        let message = format!("body: expected all of it within {PRICED_BODY_TIMEOUT_SECONDS} seconds; nothing was charged");
        return Err(bad_request(StatusCode::REQUEST_TIMEOUT, "body_too_slow", &message));
    };
    match read {
        Ok(read) if read.trailers().is_some() => {
            // A body that is made of bytes has none, and what was paid for is to come to the handler whole.
            let message = "body: expected one without trailers, which cannot be priced, got some; nothing was charged";
            Err(bad_request(StatusCode::BAD_REQUEST, "body_with_trailers", message))
        }
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => {
            let message = "body: it broke off before it was whole; nothing was charged";
            Err(bad_request(StatusCode::BAD_REQUEST, "body_aborted", message))
        }
    }
}
