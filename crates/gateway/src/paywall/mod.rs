//! The page that browsers get where something is for sale, in the place of terms that only programs can read.
//!
//! It stands on its own: one answer with its text, its style, its script and the terms, and nothing that has to be asked of
//! another site. Its policy (`Content-Security-Policy`) names the hashes of that very style and script, so that nothing else
//! runs, whatever a description holds; what a seller says is escaped, and reaches the script as data. The answer stays what
//! programs know: 402, with the terms in `PAYMENT-REQUIRED`.
//!
//! The page pays as every client does, with a payment that it keeps until what was bought has arrived; `page/` says how.

mod coins;
mod page;
mod policy;
mod text;
mod visit;

use axum::body::Body;
use farthing_core::header;
use farthing_core::wire::PaymentRequired;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, REFERRER_POLICY, VARY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, Response, StatusCode};

pub(crate) use self::coins::Coins;
pub(crate) use self::visit::{Left, Visit};
use crate::file;

const PAYMENT_REQUIRED: HeaderName = HeaderName::from_static(header::PAYMENT_REQUIRED);
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
/// By what the page differs from what others get, besides what every answer on a priced route differs by.
const VARIES_BY: &str = "Accept, User-Agent, Cookie";

/// Makes pages of terms.
pub(crate) struct Paywall {
    settings: file::Paywall,
    /// All of the style, with the seller's colour.
    style: String,
    policy: HeaderValue,
    /// The largest answer that is given again, in bytes.
    max_kept_bytes: usize,
}

impl Paywall {
    /// The page as a seller wants it, if there is to be one.
    pub(crate) fn new(settings: &file::Paywall, max_kept_bytes: usize) -> Option<Self> {
        let style = page::style(settings);
        let policy = policy::of(&style, page::SCRIPT, &settings.frame_ancestors);
        settings.enabled.then(|| Self { settings: settings.clone(), style, policy, max_kept_bytes })
    }

    /// What a visitor is answered: the page, where terms would be, and otherwise the answer as it is.
    pub(crate) fn answer(&self, visit: &Visit, coins: &Coins, answer: Response<Body>) -> Response<Body> {
        if answer.status() != StatusCode::PAYMENT_REQUIRED {
            return answer;
        }
        let terms = answer.headers().get(PAYMENT_REQUIRED).map(|value| header::decode_required(value.as_bytes()));
        // An upstream's own 402 has no terms of ours.
        let Some(Ok(terms)) = terms else { return answer };
        let Some(html) = self.page(visit, coins, &terms) else { return answer };
        let (mut parts, _) = answer.into_parts();
        self.mark(&mut parts.headers);
        Response::from_parts(parts, Body::from(html))
    }

    fn page(&self, visit: &Visit, coins: &Coins, terms: &PaymentRequired) -> Option<String> {
        let sheet = page::Sheet { settings: &self.settings, style: &self.style, max_kept_bytes: self.max_kept_bytes };
        sheet.written(visit, coins, terms)
    }

    fn mark(&self, headers: &mut HeaderMap) {
        headers.remove(CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HTML);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
        headers.append(VARY, HeaderValue::from_static(VARIES_BY));
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.settings.frame_ancestors.is_empty() {
            headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        }
    }
}
