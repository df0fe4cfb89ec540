//! What one priced route asks and answers, whatever it is laid over.

use std::sync::Arc;

use bytes::Bytes;
use farthing_core::extension::sign_in_with_x::SignIn;
use farthing_core::price::Price;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::{Accepted, PaymentPayload};
use http::{Extensions, Method, Request, Response, StatusCode};

use super::answer::{challenge, first_challenge, problem, turned_away};
use super::bind::BodyLimit;
use super::headers;
use super::last::LastAnswer;
use super::request::{payment_of, sign_in_of, url_of};
use crate::accepted;
use crate::count::Outcome;
use crate::extensions::{ExtensionError, Fresh, Opened, SignInError, SignInRule, Visitor, Wishes};
use crate::gate::Paid;
use crate::hooks::{Access, ProtectedRequest, SignedIn, Welcome, log_failed};
use crate::offer::{Manner, Pricing, echoed};
use crate::quotes::{Premises, Quoter};
use crate::resource::RequestFacts;
use crate::route::{Route, RouteError};
use crate::server::Server;

/// The rules of [`super`], without the work that is paid for.
#[derive(Clone)]
pub(super) struct Toll {
    pub(super) server: Server,
    pub(super) charge: Charge,
    pub(super) wishes: Wishes,
    /// What the route offers; where prices are asked, a sample of it.
    pub(super) route: Route,
    pub(super) passes_preflights: bool,
    pub(super) passing: Passing,
    pub(super) unpaid: LastAnswer,
}

/// What the route charges.
#[derive(Clone)]
pub(super) enum Charge {
    /// Signing in alone opens it.
    Nothing,
    /// The same for every request.
    Fixed(Pricing),
    /// What each request is said to cost.
    Asked(Arc<Quoter>),
}

/// Which answers go out as they come.
#[derive(Clone)]
pub(super) enum Passing {
    /// None.
    Nothing,
    /// Large ones to GET, once their payment has settled.
    Settled,
    /// Large ones whose use is metered, while their payer owes no more than this.
    Owed(Price),
}

impl Passing {
    /// Whether the answer to a request by that method may, if it was let in by such a payment.
    pub(super) fn is_for(&self, method: &Method, paid: &Paid) -> bool {
        match self {
            Self::Nothing => false,
            Self::Settled => *method == Method::GET,
            Self::Owed(_) => paid.usage().is_metered(),
        }
    }
}

/// A request that cannot be answered at once.
pub(super) struct Arrival {
    pub(super) url: String,
    sign_in: Option<Result<SignIn, Refusal>>,
    pub(super) payment: Result<Option<PaymentPayload>, Refusal>,
    /// What was wrong with the sign-in.
    pub(super) refused: Option<Refusal>,
}

impl Charge {
    pub(super) fn route(&self, server: &Server, wishes: &Wishes) -> Result<Route, RouteError> {
        match self {
            Self::Nothing => Route::unpriced(server.seller(), wishes),
            Self::Fixed(pricing) => Route::build(server.accepts(), pricing, server.seller(), wishes),
            Self::Asked(quoter) if wishes.bound_body_bytes.is_some() && quoter.max_body_bytes().is_some() => {
                Err(ExtensionError::BoundTwice.into())
            }
            Self::Asked(quoter) if wishes.sign_in.is_some() && quoter.max_body_bytes().is_some() => {
                Err(ExtensionError::PricedBody.into())
            }
            Self::Asked(quoter) if wishes.sign_in.is_some() && !quoter.headers().is_empty() => {
                Err(ExtensionError::PricedHeaders.into())
            }
            Self::Asked(quoter) => quoter.sample(server, wishes),
        }
    }

    /// How it charges, if it does.
    pub(super) fn manner(&self) -> Option<Manner> {
        match self {
            Self::Nothing => None,
            Self::Fixed(pricing) => Some(pricing.manner),
            Self::Asked(quoter) => Some(quoter.manner()),
        }
    }

    pub(super) fn set_manner(&mut self, manner: Manner) {
        match self {
            Self::Nothing => {}
            Self::Fixed(pricing) => pricing.manner = manner,
            Self::Asked(quoter) => *quoter = Arc::new(quoter.anew(manner)),
        }
    }
}

impl Toll {
    /// What has to be looked into, or the answer to a request that brings nothing, where that is the same for all.
    #[expect(clippy::result_large_err, reason = "the answer is made once and moved once; a box would cost more")]
    pub(super) fn read<Q>(&self, request: &Request<Q>) -> Result<Arrival, Response<Bytes>> {
        let arrival = self.look(request)?;
        if arrival.sign_in.is_some() || matches!(self.charge, Charge::Asked(_)) {
            return Ok(arrival);
        }
        match &arrival.payment {
            Ok(None) => match self.terms_at_hand(&arrival.url) {
                Some(terms) => {
                    Outcome::Required.count();
                    Err(terms)
                }
                None => Ok(arrival),
            },
            Err(refusal) if self.route.declared().is_constant() => {
                Outcome::Refused.count();
                Err(challenge(&self.route, &arrival.url, &Fresh::default(), refusal))
            }
            _ => Ok(arrival),
        }
    }

    /// What a request brings, or the answer to one that cannot be understood.
    #[expect(clippy::result_large_err, reason = "the answer is made once and moved once; a box would cost more")]
    fn look<Q>(&self, request: &Request<Q>) -> Result<Arrival, Response<Bytes>> {
        let url = self.url(request)?;
        let payment = payment_of(request.headers());
        let sign_in = self.route.sign_in().and_then(|_| sign_in_of(request.headers()));
        match payment {
            Err(refusal) if refusal.reason == Reason::InvalidPayload && sign_in.is_none() => Err(unreadable(&refusal)),
            payment => Ok(Arrival { url, sign_in, payment, refused: None }),
        }
    }

    /// How much of a request's body this payment is bound to, if to any.
    pub(super) fn body_limit(&self, payment: &PaymentPayload) -> Option<BodyLimit> {
        BodyLimit::of(payment, self.wishes.bound_body_bytes)
    }

    /// Where a payment takes an offer that is not made here any more: a route with that offer, and why nothing new is bought
    /// with it. The price may have changed after it was taken, and the payment may have been charged by then: only the book can
    /// tell, which knows this request with this very payment or not.
    pub(super) fn earlier(&self, payment: &PaymentPayload) -> Option<(Route, Refusal)> {
        let Accepted::Offer(echo) = &payment.accepted else { return None };
        let refusal = accepted::find(self.route.offer_list(), payment).err()?;
        let manner = Manner { max_timeout_seconds: echo.max_timeout_seconds, ..self.charge.manner()? };
        let offer = echoed(self.server.accepts(), manner, echo)?;
        let mut route = Route::of(vec![offer], self.server.seller(), &self.wishes).ok()?;
        route.describe_as(&self.route);
        accepted::find(route.offer_list(), payment).is_ok().then_some((route, refusal))
    }

    /// What a price that was asked is made into terms with.
    pub(super) const fn premises(&self) -> Premises<'_> {
        Premises { server: &self.server, wishes: &self.wishes, sample: &self.route }
    }

    /// Whether hooks are to be asked about every request.
    pub(super) fn has_hooks(&self) -> bool {
        !self.server.gate().hooks.is_empty()
    }

    /// A request as hooks see it.
    #[expect(clippy::result_large_err, reason = "the answer is made once and moved once; a box would cost more")]
    fn protected<Q>(&self, request: &Request<Q>) -> Result<ProtectedRequest, Response<Bytes>> {
        let (method, mut headers) = (request.method().clone(), request.headers().clone());
        let resource_url = self.url(request)?;
        let has_payment = headers::have_payment(&headers);
        headers::strip(&mut headers);
        let extensions = request.extensions().clone();
        Ok(ProtectedRequest { method, resource_url, headers, has_payment, extensions })
    }

    /// Whether hooks let a request in without payment, or the answer to one that they turn away.
    pub(super) fn is_granted<Q>(&self, request: &Request<Q>) -> impl Future<Output = Result<bool, Response<Bytes>>> {
        let request = self.protected(request);
        async { self.grants(&request?).await }
    }

    async fn grants(&self, request: &ProtectedRequest) -> Result<bool, Response<Bytes>> {
        match self.server.gate().hooks.access(request).await {
            Ok(Access::Continue) => Ok(false),
            Ok(Access::Grant) => {
                Outcome::Granted.count();
                Ok(true)
            }
            Ok(Access::Abort(reason)) => {
                Outcome::Forbidden.count();
                Err(problem(StatusCode::FORBIDDEN, "access_denied", &reason))
            }
            Err(failed) => {
                log_failed(&failed, "a request was turned away: a hook did not do its part");
                Outcome::Denied.count();
                let message = "this cannot be sold right now; nothing was charged by this request; come again later";
                Err(problem(StatusCode::SERVICE_UNAVAILABLE, "hook_failed", message))
            }
        }
    }

    #[expect(clippy::result_large_err, reason = "the answer is made once and moved once; a box would cost more")]
    fn url<Q>(&self, request: &Request<Q>) -> Result<String, Response<Bytes>> {
        url_of(request, self.server.public_url()).map_err(|bad| bad_request(bad.status, bad.error, bad.message))
    }

    /// The answer to somebody who brings nothing, if it needs no signature that is not there.
    fn terms_at_hand(&self, url: &str) -> Option<Response<Bytes>> {
        let declared = self.route.declared();
        if declared.is_constant() {
            return Some(self.unpaid.of(url, || first_challenge(&self.route, url, &Fresh::default())));
        }
        let fresh = declared.at_hand(url);
        declared.is_whole(&fresh).then(|| first_challenge(&self.route, url, &fresh))
    }

    /// The visitor, if one signed in who may have what is asked for. Nobody pays who need not.
    pub(super) async fn visitor(
        &self,
        arrival: &mut Arrival,
        method: &Method,
        extensions: &Extensions,
    ) -> Result<Option<Visitor>, Response<Bytes>> {
        let Some((rule, sign_in)) = self.route.sign_in().zip(arrival.sign_in.take()) else { return Ok(None) };
        let error = match visit(rule, sign_in, method, &arrival.url).await {
            Ok(opened) => match self.welcome(rule, opened, &arrival.url, (method, extensions)).await? {
                Ok(visitor) => return Ok(visitor),
                Err(error) => error,
            },
            Err(error) => error,
        };
        match error {
            SignInError::Refused(refusal) => {
                arrival.refused = Some(refusal);
                Ok(None)
            }
            // To be asked for money again would be wrong for who has paid; who pays all the same may.
            SignInError::Book(_) | SignInError::Hook(_) if matches!(arrival.payment, Ok(Some(_))) => Ok(None),
            SignInError::Book(_) => Err(unwelcome("book_unavailable", &error)),
            SignInError::Hook(_) => Err(unwelcome("hook_failed", &error)),
        }
    }

    /// Asks hooks about somebody who has signed in: the visitor, who is served; or nobody.
    async fn welcome(
        &self,
        rule: &SignInRule,
        opened: Opened,
        url: &str,
        (method, extensions): (&Method, &Extensions),
    ) -> Result<Result<Option<Visitor>, SignInError>, Response<Bytes>> {
        let hooks = &self.server.gate().hooks;
        let (visitor, signed_in) = match opened {
            Opened::For(visitor) => (visitor, None),
            Opened::Unpaid(visitor, signed_in) => (visitor, Some(signed_in)),
        };
        let has_paid = signed_in.is_none();
        if hooks.ask_visitors() {
            if let Some(signed_in) = signed_in
                && let Err(error) = rule.use_up(&signed_in).await
            {
                return Ok(Err(error));
            }
            let (visitor, resource_url) = (visitor.clone(), url.to_owned());
            let (method, extensions) = (method.clone(), extensions.clone());
            let signed_in = SignedIn { visitor, has_paid, method, resource_url, extensions };
            match hooks.signed_in(&signed_in).await {
                Ok(Welcome::Continue) => {}
                Ok(Welcome::Grant) => {
                    Outcome::Granted.count();
                    return Ok(Ok(Some(signed_in.visitor)));
                }
                Ok(Welcome::TurnAway(away)) => {
                    Outcome::Forbidden.count();
                    return Err(turned_away(&away));
                }
                Err(failed) => {
                    log_failed(&failed, "a visitor was not let in: a hook did not do its part");
                    return Ok(Err(SignInError::Hook(failed)));
                }
            }
        }
        if has_paid {
            Outcome::SignedIn.count();
        }
        Ok(Ok(has_paid.then_some(visitor)))
    }
}

async fn visit(rule: &SignInRule, sign_in: Result<SignIn, Refusal>, method: &Method, url: &str) -> Result<Opened, SignInError> {
    let sign_in = sign_in.map_err(SignInError::Refused)?;
    rule.open(&sign_in, &RequestFacts::http(method.as_str(), url.to_owned())).await
}

/// The answer to a visitor who cannot be let in now, and should not be asked for money instead.
fn unwelcome(code: &str, error: &SignInError) -> Response<Bytes> {
    Outcome::Denied.count();
    problem(StatusCode::SERVICE_UNAVAILABLE, code, &error.to_string())
}

/// The answer to a payment that cannot be read.
pub(super) fn unreadable(refusal: &Refusal) -> Response<Bytes> {
    bad_request(StatusCode::BAD_REQUEST, refusal.reason.as_str(), &refusal.message)
}

pub(super) fn bad_request(status: StatusCode, error: &str, message: &str) -> Response<Bytes> {
    Outcome::Refused.count();
    problem(status, error, message)
}
