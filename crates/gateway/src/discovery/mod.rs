//! What the gateway tells machines: what is sold here, for how much, and how it is paid.
//!
//! | path | is |
//! |---|---|
//! | `/openapi.json` | an `OpenAPI` 3.1 with `x-payment-info`, which directories and agents read |
//! | `/.well-known/x402` | a list of what is sold, with its offers |
//! | `/llms.txt` | the same in words |
//!
//! All of it is made when the routes are, once, and given to whoever asks, unpaid. A route of the file that names one of these
//! paths wins over ours. Nothing in them is believed by anybody: what is asked for in the end stands in the 402.

mod document;
mod import;
mod listing;
mod llms;
mod members;
mod openapi;
mod well_known;

use axum::body::Body;
use http::{Method, Request, Response};

use self::document::Document;
use self::import::Verdict;
pub use self::import::{ImportError, Imported, MAX_IMPORT_BYTES, MAX_IMPORTED_OPERATIONS};
use self::listing::Listing;
use crate::file::{self, Access, Unmatched};
use crate::pattern::Spelled;
use crate::routes::Routes;

const OPENAPI: &str = "/openapi.json";
const WELL_KNOWN: &str = "/.well-known/x402";
const LLMS: &str = "/llms.txt";

/// What the documents say of the whole.
struct About<'a> {
    settings: &'a file::Discovery,
    public_url: Option<&'a str>,
}

impl About<'_> {
    fn title(&self) -> &str {
        let host = || self.public_url.and_then(|url| url.split_once("://")).map(|(_, host)| host);
        self.settings.title.as_deref().or_else(host).unwrap_or("An API that is paid for by the request")
    }

    fn version(&self) -> &str {
        self.settings.version.as_deref().unwrap_or("1.0.0")
    }

    /// Where one of our paths is, as far as that is known.
    fn url(&self, path: &str) -> String {
        [self.public_url.unwrap_or_default(), path].concat()
    }

    /// How to buy, in a few sentences.
    fn guidance(&self) -> String {
        format!(
            "Requests are paid for one by one with x402 version 2. Send a request as usual; 402 comes with the terms in the header \
             PAYMENT-REQUIRED. Send it again with PAYMENT-SIGNATURE. A request that fails is not charged. More: {}",
            self.url(LLMS)
        )
    }
}

/// The documents.
pub(crate) struct Discovery(Vec<(&'static str, Document)>);

impl Discovery {
    /// Of these routes, and of what the upstream says of itself.
    pub(crate) fn build<S>(settings: &file::Gateway, routes: &Routes<S>, imported: Option<&Imported>) -> Self {
        let public_url = settings.public_url.as_deref().map(|url| url.trim_end_matches('/'));
        let about = About { settings: &settings.discovery, public_url };
        if !about.settings.enabled {
            return Self(Vec::new());
        }
        let places: Vec<Option<Listing<'_>>> =
            routes.described().map(|(route, explained)| Listing::of(route, explained)).collect();
        let listings: Vec<&Listing<'_>> = places.iter().flatten().collect();
        let openapi = match imported {
            None => openapi::document(&about, &listings),
            Some(imported) => {
                let added: Vec<&str> = settings.headers.iter().map(|(name, _)| name.0.as_str()).collect();
                let verdict = |method: &Method, path: &Spelled| verdict(routes, &places, method, path);
                let (paths, sold) = imported.paths(&settings.upstream.url.prefix, &added, verdict);
                // A route that the description tells of needs no operation of our own.
                let is_other = |(place, _): &(usize, _)| !sold.contains(place);
                let others: Vec<&Listing<'_>> =
                    places.iter().enumerate().filter(is_other).filter_map(|(_, listing)| listing.as_ref()).collect();
                openapi::enriched(&about, &others, imported, paths)
            }
        };
        let all = [
            (OPENAPI, Document::new(openapi.to_string(), "application/json")),
            (WELL_KNOWN, Document::new(well_known::document(&about, &listings).to_string(), "application/json")),
            (LLMS, Document::new(llms::document(&about, &listings), "text/plain; charset=utf-8")),
        ];
        let is_ours = |(path, _): &(&'static str, Document)| !routes.names(&Spelled::new(path));
        Self(all.into_iter().filter(is_ours).collect())
    }

    /// The answer, if one of them is asked for.
    pub(crate) fn answer(&self, request: &Request<Body>) -> Option<Response<Body>> {
        let (method, path) = (request.method(), request.uri().path());
        if *method != Method::GET && *method != Method::HEAD {
            return None;
        }
        self.0.iter().find(|(ours, _)| *ours == path).map(|(_, document)| document.answer(method, request.headers()))
    }
}

/// What becomes of an operation that the upstream describes.
fn verdict<'a, S>(routes: &Routes<S>, places: &'a [Option<Listing<'a>>], method: &Method, path: &Spelled) -> Verdict<'a> {
    let Some((place, route)) = routes.deciding(method, path) else {
        return if routes.unmatched() == Unmatched::Free { Verdict::Free } else { Verdict::Hidden };
    };
    match (&route.access, places.get(place).and_then(Option::as_ref)) {
        (Access::Priced(_) | Access::Tools(_), Some(listing)) => Verdict::Sold(place, listing),
        // What is free is told of here, because the upstream itself does.
        (Access::Free, _) if route.listed != Some(false) => Verdict::Free,
        _ => Verdict::Hidden,
    }
}
