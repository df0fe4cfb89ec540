//! Who gets the page, and the purchase that a browser comes back with.
//!
//! As the official SDKs decide: a request whose `Accept` has `text/html` and whose `User-Agent` has `Mozilla`. One that brings a
//! payment is a program's, be it the page's own script, and is told in JSON what became of it.
//!
//! A script cannot put what it has bought in the place of its own page without keeping that page's rules for scripts and
//! pictures. So it leaves the payment in a cookie of that path, and loads the page anew: a navigation brings cookies, and no
//! headers of ours. The payment has a name (`payment-identifier`), so that what is answered is the answer that was kept. The
//! cookie buys nothing that its payment did not buy: it counts for the resource that the payment names, on a navigation, and goes
//! no further than here.

use axum::body::Body;
use bytes::Bytes;
use farthing_core::header;
use http::header::{ACCEPT, COOKIE, HeaderMap, HeaderValue, USER_AGENT};
use http::{HeaderName, Method, Request};

/// The cookies in which a page leaves a payment: this, and the number of the piece.
pub(super) const COOKIE_PREFIX: &str = "farthing-paid-";
/// In how many pieces a payment is left at most.
pub(super) const MAX_PIECES: usize = 4;

const PAYMENT_SIGNATURE: HeaderName = HeaderName::from_static(header::PAYMENT_SIGNATURE);
const X_PAYMENT: HeaderName = HeaderName::from_static(header::X_PAYMENT);

/// A request that a person may be behind.
pub(crate) struct Visit {
    pub(super) method: Method,
    /// Whether its payment was one that a page had left.
    pub(super) brings_purchase: bool,
}

impl Visit {
    /// Looks whether a request is a person's, and gives it the purchase that an earlier page left for it.
    pub(crate) fn of(request: &mut Request<Body>, left: Option<Left>) -> Option<Self> {
        let headers = request.headers();
        if !is_browser(headers) || headers.contains_key(PAYMENT_SIGNATURE) || headers.contains_key(X_PAYMENT) {
            return None;
        }
        let method = request.method().clone();
        let is_page = method == Method::GET || method == Method::HEAD;
        let payment = left.filter(|_| is_page).and_then(|left| left.payment_for(request));
        let brings_purchase = payment.is_some();
        if let Some(payment) = payment {
            request.headers_mut().insert(PAYMENT_SIGNATURE, payment);
        }
        Some(Self { method, brings_purchase })
    }
}

/// What a page has left in its cookies.
pub(crate) struct Left(String);

impl Left {
    /// Takes it out of a request, whatever the request is for.
    pub(crate) fn take(headers: &mut HeaderMap) -> Option<Self> {
        let is_ours = |value: &HeaderValue| value.to_str().is_ok_and(|line| line.contains(COOKIE_PREFIX));
        if !headers.contains_key(COOKIE) || !headers.get_all(COOKIE).iter().any(is_ours) {
            return None;
        }
        let mut pieces: [Option<String>; MAX_PIECES] = Default::default();
        let mut others: Vec<HeaderValue> = Vec::new();
        for line in headers.get_all(COOKIE) {
            match line.to_str() {
                Ok(line) => {
                    let rest: Vec<&str> =
                        line.split(';').map(str::trim).filter(|pair| !take_piece(pair, &mut pieces)).collect();
                    others.extend(HeaderValue::try_from(rest.join("; ")).ok().filter(|rest| !rest.is_empty()));
                }
                Err(_) => others.push(line.clone()),
            }
        }
        headers.remove(COOKIE);
        for line in others {
            headers.append(COOKIE, line);
        }
        let mut pieces = pieces.into_iter();
        // The first says how many there are: of a longer one, for a path above this one, some may have come along.
        let (count, first) = pieces.next()??.split_once('.').map(|(count, first)| (count.to_owned(), first.to_owned()))?;
        let more = count.parse::<usize>().ok().and_then(|count| count.checked_sub(1)).filter(|more| *more < MAX_PIECES)?;
        pieces.take(more).try_fold(first, |payment, piece| Some(payment + &piece?)).map(Self)
    }

    /// The payment, if it is for what is asked for.
    fn payment_for(self, request: &Request<Body>) -> Option<HeaderValue> {
        let payment = header::decode_payment(self.0.as_bytes()).ok()?;
        let url = &payment.resource.as_ref()?.url;
        let (_, rest) = url.split_once("://")?;
        let target = rest.find('/').and_then(|start| rest.get(start..))?;
        let asked = request.uri().path_and_query()?.as_str();
        if target == asked { HeaderValue::from_maybe_shared(Bytes::from(self.0)).ok() } else { None }
    }
}

/// Takes one piece out of a cookie, if it is one. Of two with one name the first is for the longer path.
fn take_piece(pair: &str, pieces: &mut [Option<String>]) -> bool {
    let Some((number, value)) = pair.strip_prefix(COOKIE_PREFIX).and_then(|rest| rest.split_once('=')) else { return false };
    if let Some(piece) = number.parse::<usize>().ok().and_then(|number| pieces.get_mut(number)) {
        piece.get_or_insert_with(|| value.to_owned());
    }
    true
}

fn is_browser(headers: &HeaderMap) -> bool {
    let says = |name: HeaderName, what: &str| headers.get_all(name).iter().any(|value| has(value.as_bytes(), what.as_bytes()));
    says(ACCEPT, "text/html") && says(USER_AGENT, "Mozilla")
}

fn has(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|part| part == what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:152.0) Gecko/20100101 Firefox/152.0";

    fn request(headers: &[(&'static str, &str)]) -> Request<Body> {
        let mut request = Request::builder().uri("/a?b=c").body(Body::empty()).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    fn payment(url: &str) -> String {
        let payment = json!({"x402Version": 2, "resource": {"url": url}, "payload": {},
            "accepted": {"scheme": "exact", "network": "eip155:1", "asset": "a", "amount": "1", "payTo": "b",
                "maxTimeoutSeconds": 60, "extra": {}}});
        header::encode(&payment).unwrap()
    }

    #[test]
    fn a_page_is_for_browsers_that_bring_no_payment() {
        let html = ("accept", "text/html,*/*;q=0.8");
        for (headers, is_visit) in [
            (vec![html, ("user-agent", FIREFOX)], true),
            (vec![("accept", "*/*"), ("accept", "text/html"), ("user-agent", FIREFOX)], true),
            (vec![html, ("user-agent", "curl/8.5")], false),
            (vec![html, ("user-agent", "mozilla/5.0")], false),
            (vec![html], false),
            (vec![("accept", "*/*"), ("user-agent", FIREFOX)], false),
            (vec![("accept", "application/json"), ("user-agent", FIREFOX)], false),
            (vec![html, ("user-agent", FIREFOX), ("payment-signature", "e30=")], false),
            (vec![html, ("user-agent", FIREFOX), ("x-payment", "e30=")], false),
        ] {
            assert_eq!(Visit::of(&mut request(&headers), None).is_some(), is_visit, "{headers:?}");
        }
    }

    #[test]
    fn what_a_page_left_is_taken_out_and_given_to_what_it_was_paid_for() {
        let text = payment("https://shop.example/a?b=c");
        let (first, second) = text.split_at(20);
        let cookies = format!("x=1; farthing-paid-0=2.{first}; y=2; farthing-paid-1={second}; farthing-paid-2=zz");
        let headers = [("accept", "text/html"), ("user-agent", FIREFOX), ("cookie", cookies.as_str()), ("cookie", "z=3")];
        let mut request = request(&headers);
        let left = Left::take(request.headers_mut());
        let cookies: Vec<&HeaderValue> = request.headers().get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["x=1; y=2", "z=3"]);
        assert!(Visit::of(&mut request, left).unwrap().brings_purchase);
        assert_eq!(request.headers()["payment-signature"], text);
    }

    #[test]
    fn what_was_paid_for_something_else_is_not_presented() {
        let other = payment("https://shop.example/a?b=d");
        for cookie in [
            format!("farthing-paid-0=1.{other}"),
            format!("farthing-paid-0=2.{other}"),
            format!("farthing-paid-0=9.{other}"),
            format!("farthing-paid-0=0.{other}"),
            "farthing-paid-0=1.rubbish".to_owned(),
            "farthing-paid-0=".to_owned(),
            "farthing-paid-1=1.e30=".to_owned(),
            "farthing-paid-99999999999999999999=1.e30=".to_owned(),
        ] {
            let mut request = request(&[("accept", "text/html"), ("user-agent", FIREFOX), ("cookie", &cookie)]);
            let left = Left::take(request.headers_mut());
            assert!(!request.headers().contains_key(COOKIE), "{cookie}");
            assert!(!Visit::of(&mut request, left).unwrap().brings_purchase, "{cookie}");
            assert!(!request.headers().contains_key("payment-signature"), "{cookie}");
        }
    }

    #[test]
    fn a_form_that_is_sent_brings_no_purchase() {
        let cookie = format!("farthing-paid-0=1.{}", payment("https://shop.example/a?b=c"));
        let mut request = request(&[("accept", "text/html"), ("user-agent", FIREFOX), ("cookie", &cookie)]);
        *request.method_mut() = Method::POST;
        let left = Left::take(request.headers_mut());
        assert!(!Visit::of(&mut request, left).unwrap().brings_purchase);
    }
}
