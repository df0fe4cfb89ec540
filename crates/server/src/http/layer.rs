//! The layer that prices a route.

use std::sync::Arc;

use farthing_core::scheme::PaymentFlow;
use tower_layer::Layer;

use super::last::LastAnswer;
use super::service::PaymentService;
use super::toll::Toll;
use crate::route::{Pricing, Route, RouteError};
use crate::server::Server;

/// Charges for whatever it is laid over: one axum route, a router, or any tower service. See [the rules](super).
///
/// In axum, lay it over a route with `MethodRouter::layer`, or over several with `Router::route_layer`. It then charges
/// for every method of the route, and for the router's own "method not allowed", which is never charged in the end.
#[derive(Clone)]
#[must_use = "a layer that is laid over nothing charges for nothing"]
pub struct PaymentLayer {
    /// Shared with all services, because axum lays a layer anew for every request to a router that was not finished.
    toll: Arc<Toll>,
}

impl PaymentLayer {
    pub(crate) fn new(server: Server, pricing: Pricing) -> Result<Self, RouteError> {
        let route = Route::build(server.accepts(), &pricing)?;
        let unpaid = LastAnswer::default();
        Ok(Self { toll: Arc::new(Toll { server, pricing, route, passes_preflights: false, unpaid }) })
    }

    /// Says what is for sale, for people and for directories. Some facilitators refuse more than 500 characters.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.toll_mut().route.describe(Some(description.into()), None);
        self
    }

    /// Says what media type the answer has.
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.toll_mut().route.describe(None, Some(mime_type.into()));
        self
    }

    /// How long a payment may take from its signature to its settlement, the handler's work included, in seconds.
    /// [`DEFAULT_MAX_TIMEOUT_SECONDS`](crate::route::DEFAULT_MAX_TIMEOUT_SECONDS) unless set.
    pub fn max_timeout_seconds(self, seconds: u64) -> Result<Self, RouteError> {
        self.priced_anew(|pricing| pricing.max_timeout_seconds = seconds)
    }

    /// Takes the money before the handler runs (the payment flow `upfront`), for work that is too costly to be done for
    /// somebody who might not pay in the end. A handler that fails has been paid all the same, and the buyer may present the
    /// same payment for the same request again.
    ///
    /// An error where an accepted scheme cannot be charged so, such as `upto`.
    pub fn upfront(self) -> Result<Self, RouteError> {
        self.priced_anew(|pricing| pricing.flow = PaymentFlow::Upfront)
    }

    /// Lets CORS preflights (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) through unpaid.
    ///
    /// Only for an inner service that answers preflights and does nothing else for them: a handler for any method would
    /// work for nothing. The better place for a CORS layer is outside this one.
    pub fn pass_preflights(mut self) -> Self {
        self.toll_mut().passes_preflights = true;
        self
    }

    /// What the route asks for.
    pub fn route(&self) -> &Route {
        &self.toll.route
    }

    fn priced_anew(mut self, change: impl FnOnce(&mut Pricing)) -> Result<Self, RouteError> {
        let toll = self.toll_mut();
        change(&mut toll.pricing);
        let route = Route::build(toll.server.accepts(), &toll.pricing)?;
        toll.route.take_offers_of(route);
        Ok(self)
    }

    fn toll_mut(&mut self) -> &mut Toll {
        let toll = Arc::make_mut(&mut self.toll);
        // What was answered before is not what is answered from now on.
        toll.unpaid = LastAnswer::default();
        toll
    }
}

impl<S> Layer<S> for PaymentLayer {
    type Service = PaymentService<S>;

    fn layer(&self, inner: S) -> PaymentService<S> {
        PaymentService::new(inner, Arc::clone(&self.toll))
    }
}
