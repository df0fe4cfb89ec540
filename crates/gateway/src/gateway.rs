//! The gateway itself: which route a request is on, and what stands on it.
//!
//! 1. A request that two parties could read in two ways is refused ([`inspect`](crate::inspect())).
//! 2. What machines read about the gateway is answered here, unless a route names its path ([`discovery`](crate::discovery)).
//! 3. The first route that is for its method and path decides; the path is the one that is forwarded, byte for byte. What no
//!    route is for is answered with 404, unless `unmatched = "free"`.
//! 4. On a free route it goes to the upstream. On a priced one it goes through the payment layer first, whose rules are those of
//!    [`farthing_server::http`]; preflights are answered here, and no connection is upgraded. Browsers get a page
//!    in the place of bare terms.

use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use farthing_core::books::MemoryQuotas;
use farthing_server::Server;
use farthing_server::http::{BrokeOff, OverTls};
use http::header::UPGRADE;
use http::{HeaderName, Request, Response, StatusCode};
use tower::ServiceExt;
use tower_service::Service;
use tracing::Instrument;

use crate::config::Limits;
use crate::discovery::{Discovery, ImportError, Imported};
use crate::entry::{self, Desk};
use crate::file::{self, Origins, Unmatched};
use crate::forwarded::Peer;
use crate::inspect::inspect;
use crate::path::CanonicalPath;
use crate::pattern::Spelled;
use crate::paywall::{Coins, Left, Paywall, Visit};
use crate::preflight;
use crate::problem::Problem;
use crate::routes::{Explained, Routes, RoutesError, Way};
use crate::seen::{Kind, Seen, Trip, Watched};
use crate::service::{Answering, BoxAnswer};
use crate::upstream::Upstream;

/// Charges for what is behind it. Cheap to clone; clones have the same routes.
///
/// ```no_run
/// # async fn serve(toll: farthing_server::Server, settings: farthing_gateway::file::Gateway, routes: Vec<farthing_gateway::file::Route>)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// use farthing_gateway::{Gateway, Materials, Upstream};
///
/// let upstream = Upstream::new(settings.upstream.clone(), Materials::default())?;
/// let gateway = Gateway::new(toll, upstream, settings, &routes)?;
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:4020").await?;
/// axum::serve(listener, gateway.router()).await?;
/// # Ok(())
/// # }
/// ```
pub struct Gateway<S = Upstream>(Arc<Shared<S>>);

struct Shared<S> {
    server: Server,
    upstream: Watched<S>,
    settings: file::Gateway,
    paywall: Option<Paywall>,
    seen: Seen,
    routes: RwLock<Arc<Routes<Watched<S>>>>,
    /// Where this process counts what need not be counted with others.
    local: MemoryQuotas,
    discovery: RwLock<Arc<Discovery>>,
    imported: RwLock<Option<Arc<Imported>>>,
}

impl<S: Answering> Gateway<S> {
    /// Puts routes in front of an upstream. The server says who is paid where, and by whom payments are settled.
    pub fn new(server: Server, upstream: S, settings: file::Gateway, routes: &[file::Route]) -> Result<Self, RoutesError> {
        Self::with_desk(server, upstream, settings, routes, Desk::default())
    }

    /// The same, where somebody has to be known, counted or looked up.
    pub fn with_desk(
        server: Server,
        upstream: S,
        settings: file::Gateway,
        routes: &[file::Route],
        desk: Desk,
    ) -> Result<Self, RoutesError> {
        let (upstream, seen) = (Watched(upstream), Seen::new(server.clock(), settings.access_log));
        let local = MemoryQuotas::default();
        let routes = Routes::build(&server, &upstream, &settings, routes, (&Arc::new(desk), &local))?;
        let discovery = RwLock::new(Arc::new(Discovery::build(&settings, &routes, None)));
        let routes = RwLock::new(Arc::new(routes));
        let paywall = Paywall::new(&settings.paywall, server.gate().kept_answers().max_bytes);
        let imported = RwLock::default();
        Ok(Self(Arc::new(Shared { server, upstream, settings, paywall, seen, routes, local, discovery, imported })))
    }

    /// Takes an `OpenAPI` of the upstream's own into what the gateway says of itself, in the place of an earlier one.
    pub fn import(&self, imported: Imported) {
        *self.0.imported.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(imported));
        self.describe();
    }

    /// Asks the upstream at this path for an `OpenAPI` of its own, and [takes it in](Self::import).
    pub async fn import_from(&self, path: &str) -> Result<(), ImportError> {
        self.import(Imported::fetch(self.0.upstream.clone(), path).await?);
        Ok(())
    }

    /// Makes the documents anew, of the routes as they are.
    fn describe(&self) {
        let imported = self.0.imported.read().unwrap_or_else(PoisonError::into_inner).clone();
        let discovery = Discovery::build(&self.0.settings, &self.routes(), imported.as_deref());
        *self.0.discovery.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(discovery);
    }

    /// Takes other routes from the next request on; those under way end on the routes on which they began. An error changes
    /// nothing.
    pub fn reload(&self, routes: &[file::Route]) -> Result<(), RoutesError> {
        self.take(routes, &Arc::clone(self.routes().desk()))
    }

    /// The same, with files read anew that say who is known and who must not pay.
    pub fn reload_with_desk(&self, routes: &[file::Route], desk: Desk) -> Result<(), RoutesError> {
        self.take(routes, &Arc::new(desk))
    }

    fn take(&self, routes: &[file::Route], desk: &Arc<Desk>) -> Result<(), RoutesError> {
        let Shared { server, upstream, settings, local, .. } = &*self.0;
        let routes = Arc::new(Routes::build(server, upstream, settings, routes, (desk, local))?);
        *self.0.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
        self.describe();
        Ok(())
    }

    /// What the routes mean, in the order of the file.
    #[must_use]
    pub fn explain(&self) -> Vec<Explained> {
        self.routes().explain()
    }

    /// What it has seen since it was made.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.0.seen.clone()
    }

    /// The gateway as an app of its own.
    pub fn router(&self) -> Router {
        Router::new().fallback_service(self.clone())
    }

    fn routes(&self) -> Arc<Routes<Watched<S>>> {
        // Every change is one assignment, so a panic leaves nothing half done.
        Arc::clone(&self.0.routes.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn answer(self, mut request: Request<Body>) -> Response<Body> {
        let version = request.version();
        let trusted = &self.0.settings.upstream.trusted_proxies;
        let journey = self.0.seen.begin(&mut request, |request| entry::address(request, trusted));
        let answer = match self.pass(request, &journey.trip).instrument(journey.span.clone()).await {
            Ok(answer) => answer,
            Err(problem) => problem.answer(version),
        };
        journey.end(answer, self.routes().coins()).await
    }

    async fn pass(&self, mut request: Request<Body>, trip: &Trip) -> Result<Response<Body>, Problem> {
        let settings = &self.0.settings;
        inspect(&request, self.limits())?;
        let path = request.uri().path();
        let path = CanonicalPath::parse(path).map_err(|error| Problem::bad_request(error.code(), error.to_string()))?;
        let path = Spelled::new(&path.decoded());
        let left = Left::take(request.headers_mut());
        let routes = self.routes();
        let lists = routes.lists();
        if lists.name_addresses() && !lists.let_in(entry::address(&request, &settings.upstream.trusted_proxies)) {
            return Err(blocked());
        }
        let discovery = Arc::clone(&self.0.discovery.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(document) = discovery.answer(&request) {
            return Ok(document);
        }
        let asked_method = preflight::asked_method(&request);
        let method = asked_method.as_ref().unwrap_or(request.method());
        let Some((way, deciding, rules)) = routes.find(method, &path) else {
            return match routes.unmatched() {
                Unmatched::Deny => Err(not_for_sale(&request)),
                Unmatched::Free => {
                    trip.free();
                    Ok(self.forward(request).await)
                }
            };
        };
        trip.on(rules.route(), kind(way));
        if let (Way::Paid(_) | Way::Metered(_) | Way::Pass(_) | Way::Tools(_), Some(method)) = (way, &asked_method) {
            return Ok(preflight::answer(&settings.origins, method, request.headers()));
        }
        let origin = preflight::allowed(&settings.origins, request.headers());
        let version = request.version();
        let ticket = match rules.arrive(&mut request).await {
            Ok(ticket) => ticket,
            Err(problem) => {
                let mut answer = problem.answer(version);
                preflight::open(origin, &mut answer);
                return Ok(answer);
            }
        };
        trip.pass(ticket.as_ref().and_then(|ticket| ticket.pass));
        let answer = match way {
            Way::Tools(tools) => tools.answer(ready(request, &[]), &settings.origins).await?,
            Way::Denied => return Err(denied(&request)),
            Way::Free => self.forward(request).await,
            Way::Paid(service) => self.sell(service.clone(), ready(request, deciding), left, routes.coins()).await,
            Way::Metered(service) => self.sell(service.clone(), ready(request, deciding), left, routes.coins()).await,
            Way::Pass(service) => self.sell(service.clone(), ready(request, deciding), left, routes.coins()).await,
        };
        Ok(rules.leave(ticket, answer).await)
    }

    /// What stands on a priced route answers, programs and people in their own ways.
    async fn sell<P, B>(&self, service: P, mut request: Request<Body>, left: Option<Left>, coins: &Coins) -> Response<Body>
    where
        P: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
        B: http_body::Body<Data = bytes::Bytes, Error: Into<axum::BoxError>> + Send + 'static,
    {
        let Shared { settings, paywall, .. } = &*self.0;
        let visited = paywall.as_ref().and_then(|paywall| Some((paywall, Visit::of(&mut request, left)?)));
        let answer = sell(service, request, &settings.origins).await;
        match visited {
            Some((paywall, visit)) => paywall.answer(&visit, coins, answer),
            None => answer,
        }
    }

    async fn forward(&self, request: Request<Body>) -> Response<Body> {
        answered(self.0.upstream.clone().oneshot(request).await)
    }

    fn limits(&self) -> &Limits {
        &self.0.settings.upstream.limits
    }
}

const fn kind<S>(way: &Way<S>) -> Kind {
    match way {
        Way::Free => Kind::Free,
        Way::Denied => Kind::Denied,
        Way::Paid(_) | Way::Metered(_) | Way::Pass(_) | Way::Tools(_) => Kind::Priced,
    }
}

/// What stands on a priced route answers.
async fn sell<P, B>(service: P, request: Request<Body>, origins: &Origins) -> Response<Body>
where
    P: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    let origin = preflight::allowed(origins, request.headers());
    let mut answer = answered(service.oneshot(request).await).map(Body::new);
    if answer.extensions().get::<BrokeOff>().is_some() {
        *answer.status_mut() = StatusCode::BAD_GATEWAY;
    }
    preflight::open(origin, &mut answer);
    answer
}

/// A request for what is sold, without what would lead around its price.
fn ready(mut request: Request<Body>, deciding: &[HeaderName]) -> Request<Body> {
    if request.extensions().get::<Peer>().is_some_and(Peer::is_secure) {
        request.extensions_mut().insert(OverTls);
    }
    let headers = request.headers_mut();
    // What a connection is upgraded to could not be held back until it is paid for.
    headers.remove(UPGRADE);
    for deciding in deciding {
        // To a CGI or WSGI server `x_rows` is `x-rows`; it would read what was not priced.
        let is_alike =
            |name: &&HeaderName| *name != deciding && name.as_str().replace('_', "-") == deciding.as_str().replace('_', "-");
        let alike: Vec<HeaderName> = headers.keys().filter(is_alike).cloned().collect();
        for name in alike {
            headers.remove(name);
        }
    }
    request
}

fn answered<T>(answer: Result<T, Infallible>) -> T {
    match answer {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

fn blocked() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "address_blocked", "nothing is to be had here from this address")
}

fn not_for_sale(request: &Request<Body>) -> Problem {
    let message = format!(
        "nothing is offered for {} at this path; if you are the seller: add a [[route]] for it, with a price or with free = true",
        request.method()
    );
    Problem::new(StatusCode::NOT_FOUND, "not_for_sale", message)
}

fn denied(request: &Request<Body>) -> Problem {
    let message = format!("{} is denied at this path, paid or not", request.method());
    Problem::new(StatusCode::FORBIDDEN, "denied", message)
}

impl<S: Answering> Service<Request<Body>> for Gateway<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxAnswer;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // What is behind it is waited for with each request.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> BoxAnswer {
        let gateway = self.clone();
        Box::pin(async move { Ok(gateway.answer(request).await) })
    }
}

impl<S> Clone for Gateway<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
