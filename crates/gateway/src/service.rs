//! What is behind a route, in general.

use std::convert::Infallible;
use std::pin::Pin;

use axum::body::Body;
use http::{Request, Response};
use tower_service::Service;

/// An answer that is on its way, and always comes: what goes wrong is an answer, too.
pub(crate) type BoxAnswer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Whatever answers requests: an [`Upstream`](crate::Upstream), an axum router, a test's stub.
pub trait Answering:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Answering for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}
