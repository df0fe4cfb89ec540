//! One request, built up and sent.

use bytes::Bytes;
use farthing_core::extension::payment_identifier::PaymentId;
use farthing_core::header;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::Serialize;
use tracing::Instrument;
use url::Url;

use crate::error::Error;
use crate::exchange::{self, Demand, Outgoing};
use crate::http::Client;
use crate::origin::fit_to_show;
use crate::payer::Purchase;
use crate::response::Response;
use crate::terms::Terms;
use crate::trace;
use crate::unpaid;

/// A request that is paid for if the server asks. Mistakes made on the way are told when it is sent.
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder {
    client: Client,
    outgoing: Result<Outgoing, Error>,
    purchase: Purchase,
}

impl RequestBuilder {
    pub(crate) fn new(client: Client, method: Method, url: &str) -> Self {
        let outgoing = parse(url).map(|url| Outgoing { method, url, headers: HeaderMap::new(), body: None });
        Self { client, outgoing, purchase: Purchase::default() }
    }

    /// Adds a header.
    pub fn header(self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        self.then(|outgoing| {
            let unfit =
                |what: &str| Error::BadRequest(format!("the header {:?} has an unfit {what}", crate::offers::shown(name)));
            let name: HeaderName = name.parse().map_err(|_| unfit("name"))?;
            let value = HeaderValue::from_str(value).map_err(|_| unfit("value"))?;
            outgoing.headers.append(name, value);
            Ok(())
        })
    }

    /// Adds headers.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.then(|outgoing| {
            outgoing.headers.extend(headers);
            Ok(())
        })
    }

    /// Adds `Authorization: Bearer …`, which stays with the origin of this request.
    pub fn bearer_auth(self, token: impl AsRef<str>) -> Self {
        self.then(|outgoing| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.as_ref()))
                .map_err(|_| Error::BadRequest("the bearer token is not fit for a header".to_owned()))?;
            value.set_sensitive(true);
            outgoing.headers.insert(AUTHORIZATION, value);
            Ok(())
        })
    }

    /// Adds the fields to the query of the URL.
    pub fn query(self, fields: &[(&str, &str)]) -> Self {
        self.then(|outgoing| {
            outgoing.url.query_pairs_mut().extend_pairs(fields);
            Ok(())
        })
    }

    /// The body. It must be bytes: a stream cannot be sent again with the payment, and is refused before anything is
    /// sent.
    pub fn body(self, body: impl Into<reqwest::Body>) -> Self {
        self.then(|outgoing| {
            let body = body.into();
            let bytes = body.as_bytes().ok_or_else(|| {
                Error::BadRequest(
                    "the body is a stream, and a request that may have to be paid for is sent twice; collect the body into \
                     bytes first"
                        .to_owned(),
                )
            })?;
            outgoing.body = Some(Bytes::copy_from_slice(bytes));
            Ok(())
        })
    }

    /// A JSON body.
    pub fn json(self, body: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        let bytes = serde_json::to_vec(body).map_err(|error| Error::BadRequest(format!("the body is no JSON: {error}")))?;
        Ok(self.body(bytes).then(|outgoing| {
            outgoing.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
            Ok(())
        }))
    }

    /// Pays at most this for this request, such as `"$0.05"`; the limits hold besides.
    pub fn at_most(mut self, price: &str) -> Result<Self, Error> {
        self.purchase.at_most = Some(price.parse().map_err(Error::BadRequest)?);
        Ok(self)
    }

    /// Names the purchase: 16 to 128 letters, digits, hyphens and underscores, new for every purchase.
    ///
    /// Under the same name the same address is paid for with the same payment, however often it is asked for: until that has
    /// expired, and for a day if it settled, as long as this client lives. A server that takes names (`payment-identifier`)
    /// is told, and gives the same answer to the same request; whether it is one,
    /// [`PaymentFacts::payment_id`](crate::PaymentFacts::payment_id) says. Where a server requires a name and none is given,
    /// one is made, and can be given here to ask again; this client remembers it until the payment has expired.
    pub fn payment_id(mut self, id: &str) -> Result<Self, Error> {
        let id = PaymentId::new(id).map_err(|refusal| Error::BadRequest(refusal.message))?;
        self.purchase.payment_id = Some(id);
        Ok(self)
    }

    /// Sends the request, pays if asked, and sends it once more.
    pub async fn send(self) -> Result<Response, Error> {
        let inner = self.client.inner();
        let mut outgoing = checked(self.outgoing?)?;
        let span = trace::open(inner, &mut outgoing);
        let buying = async {
            let (asked, demand) = exchange::ask(inner, outgoing).await?;
            match demand {
                Demand::Nothing(response) => Ok(response),
                Demand::Payment(required) => unpaid::buy(inner, asked, required, self.purchase).await,
            }
        };
        buying.instrument(span).await
    }

    /// Sends the request unpaid, and says what would be paid. No hook is asked, and nobody signs in.
    pub async fn dry_run(self) -> Result<Terms, Error> {
        let inner = self.client.inner();
        let mut outgoing = checked(self.outgoing?)?;
        let span = trace::open(inner, &mut outgoing);
        let asking = async {
            let (asked, demand) = exchange::ask(inner, outgoing).await?;
            match demand {
                Demand::Payment(required) => unpaid::consider(inner, &asked, &required, self.purchase).await,
                Demand::Nothing(response) => {
                    let note = response.note().unwrap_or("the server asks for no payment").to_owned();
                    Ok(Terms::none(fit_to_show(&asked.outgoing.url), response.status().as_u16(), note))
                }
            }
        };
        asking.instrument(span).await
    }

    fn then(mut self, change: impl FnOnce(&mut Outgoing) -> Result<(), Error>) -> Self {
        if let Ok(outgoing) = &mut self.outgoing
            && let Err(error) = change(outgoing)
        {
            self.outgoing = Err(error);
        }
        self
    }
}

fn parse(url: &str) -> Result<Url, Error> {
    let parsed = Url::parse(url).map_err(|error| Error::BadRequest(format!("the URL cannot be read: {error}")))?;
    match parsed.scheme() {
        "http" | "https" => Ok(parsed),
        other => Err(Error::BadRequest(format!("expected a URL of http or https, got one of {other}"))),
    }
}

/// Refuses payment headers of the caller's own: they would go out with the unpaid request, past every limit.
fn checked(outgoing: Outgoing) -> Result<Outgoing, Error> {
    match [header::PAYMENT_SIGNATURE, header::X_PAYMENT].into_iter().find(|name| outgoing.headers.contains_key(*name)) {
        Some(name) => Err(Error::BadRequest(format!("the header {name} is made by this client; leave it out"))),
        None => Ok(outgoing),
    }
}

impl std::fmt::Debug for RequestBuilder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RequestBuilder").finish_non_exhaustive()
    }
}
