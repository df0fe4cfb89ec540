//! To whom a payment may go.

use axum::body::Body;
use axum::response::Response;
use farthing_client::{Error, Rule};
use serde_json::json;

use crate::support::*;

fn redirect(status: u16, to: &str) -> Response {
    response(status).header("location", to).body(Body::empty()).unwrap()
}

fn rule(error: &Error) -> Option<Rule> {
    match error {
        Error::RefusedByPolicy(declined) => Some(declined.rule),
        _ => None,
    }
}

/// A name that is not this machine's, though it leads here.
fn stranger(seller: &Seller, path: &str) -> (String, reqwest::ClientBuilder) {
    let address = seller.base.trim_start_matches("http://").parse().unwrap();
    let url = format!("{}{path}", seller.base.replace("127.0.0.1", "api.example.com"));
    (url, http().resolve("api.example.com", address))
}

#[tokio::test]
async fn a_redirect_within_the_origin_is_followed_and_paid_where_it_leads() {
    let seller = Seller::start(|seen, base| {
        Some(match (seen.path.as_str(), seen.payment()) {
            ("/old", None) => redirect(302, "/report"),
            ("/report", Some(_)) => paid(&settled()),
            ("/report", None) => asks(&cent(base)),
            _ => response(404).body(Body::empty()).unwrap(),
        })
    })
    .await;
    let answer = Buyer::new().client.get(seller.url("/old")).send().await.unwrap();
    assert!(answer.paid().is_some());
    let paths: Vec<_> = seller.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/old", "/report", "/report"]);
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_followed_but_never_paid() {
    let other = Seller::honest().await;
    let target = other.url("/report");
    let seller = Seller::start(move |_, _| Some(redirect(307, &target))).await;
    let buyer = Buyer::new();
    let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert_eq!(rule(&error), Some(Rule::CrossOriginRedirect), "{error}");
    let text = error.to_string();
    assert!(text.contains(&seller.base) && text.contains(&other.base), "{text}");
    assert_eq!((buyer.wallet.signed(), other.payments().len(), other.seen().len()), (0, 0, 1));
    let terms = buyer.client.inspect(seller.url("/report")).await.unwrap();
    assert_eq!(terms.would_pay, None);
    assert!(terms.refusal.unwrap().contains(&other.base));
}

#[tokio::test]
async fn a_detour_over_another_origin_is_not_paid_either() {
    let seller = Seller::start(|seen, base| {
        Some(match seen.path.split_once("to=") {
            Some((_, to)) => redirect(302, to),
            None => asks(&cent(base)),
        })
    })
    .await;
    let home = seller.url("/report");
    let detour = Seller::start(move |_, _| Some(redirect(302, &home))).await;
    let error = Buyer::new().client.get(seller.url(&format!("/?to={}", detour.url("/")))).send().await.unwrap_err();
    assert_eq!(rule(&error), Some(Rule::CrossOriginRedirect), "{error}");
    assert!(error.to_string().contains(&detour.base), "{error}");
}

#[tokio::test]
async fn free_answers_of_another_origin_are_returned_and_credentials_stay_at_home() {
    let other = Seller::start(|_, _| Some(response(200).body(Body::from("free")).unwrap())).await;
    let target = other.url("/free");
    let seller = Seller::start(move |_, _| Some(redirect(303, &target))).await;
    let client = Buyer::new().client;
    let request = client.post(seller.url("/")).bearer_auth("sesame").header("cookie", "a=b").header("x-mine", "1").body("data");
    assert_eq!(request.send().await.unwrap().text().await.unwrap(), "free");
    let seen = other.seen().remove(0);
    assert!(seen.headers.get("authorization").is_none() && seen.headers.get("cookie").is_none());
    assert_eq!((seen.method.as_str(), seen.body.len(), seen.headers["x-mine"].to_str().unwrap()), ("GET", 0, "1"));
}

#[tokio::test]
async fn redirects_without_end_are_given_up() {
    let seller = Seller::start(|_, _| Some(redirect(302, "/again"))).await;
    let error = Buyer::new().client.get(seller.url("/")).send().await.unwrap_err();
    assert!(matches!(error, Error::Transport { .. }) && error.to_string().contains("more than 5 times"), "{error}");
    assert_eq!(seller.seen().len(), 6);
}

#[tokio::test]
async fn a_redirect_to_no_web_address_is_returned_as_it_is() {
    for target in ["file:///etc/passwd", "javascript:alert(1)", "http://["] {
        let seller = Seller::start(move |_, _| Some(redirect(302, target))).await;
        assert_eq!(Buyer::new().client.get(seller.url("/")).send().await.unwrap().status(), 302);
    }
}

#[tokio::test]
async fn a_paid_request_follows_no_redirect_at_all() {
    let other = Seller::honest().await;
    let target = other.url("/report");
    let seller = Seller::answering(move || redirect(307, &target)).await;
    let buyer = Buyer::new();
    let answer = buyer.client.get(seller.url("/report")).send().await.unwrap();
    assert_eq!(answer.status(), 307);
    assert!(answer.paid().is_some(), "the payment was sent, and is reported");
    assert!(other.seen().is_empty());
    assert_eq!(buyer.reservation(0), Some(farthing_core::books::ReservationState::Open));
}

#[tokio::test]
async fn terms_for_another_hosts_resource_are_refused() {
    for url in ["https://evil.example/report", "//evil.example/", "http://127.0.0.1.evil.example/"] {
        let seller = Seller::start(move |_, base| {
            let mut terms = cent(base);
            terms["resource"]["url"] = json!(url);
            Some(asks(&terms))
        })
        .await;
        let buyer = Buyer::new();
        let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
        assert_eq!(rule(&error), Some(Rule::ResourceHost), "{error}");
        assert!(error.to_string().contains("127.0.0.1 was asked") && error.to_string().contains("evil.example"), "{error}");
        assert_eq!(buyer.wallet.signed(), 0);
    }
}

#[tokio::test]
async fn relative_resources_are_the_hosts_own() {
    let seller = Seller::start(|seen, base| {
        let mut terms = cent(base);
        terms["resource"]["url"] = json!("/report");
        Some(if seen.payment().is_some() { paid(&settled()) } else { asks(&terms) })
    })
    .await;
    assert!(Buyer::new().client.get(seller.url("/report")).send().await.unwrap().paid().is_some());
}

#[tokio::test]
async fn plain_http_to_another_machine_is_not_paid_unless_allowed() {
    let seller = Seller::start(|seen, base| {
        let base = base.replace("127.0.0.1", "api.example.com");
        Some(if seen.payment().is_some() { paid(&settled()) } else { asks(&cent(&base)) })
    })
    .await;
    let (url, http) = stranger(&seller, "/report");
    let buyer = Buyer::with(Wallet::default(), |builder| builder.http(http));
    let error = buyer.client.get(&url).send().await.unwrap_err();
    assert_eq!(rule(&error), Some(Rule::PlainHttp), "{error}");
    assert!(error.to_string().contains("unencrypted"), "{error}");
    let (_, http) = stranger(&seller, "");
    let trusting = Buyer::with(Wallet::default(), |builder| builder.http(http).allow_plain_http(true));
    assert!(trusting.client.get(&url).send().await.unwrap().paid().is_some());
    assert_eq!(seller.payments().len(), 1);
}
