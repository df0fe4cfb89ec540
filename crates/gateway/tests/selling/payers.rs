//! Who must not pay, and who has paid often enough for now: known once a payment was found good, and before any money moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use farthing::core::books::MemoryQuotas;
use farthing_gateway::DeskMaterials;
use serde_json::{Value, json};

use crate::free_quota::counting_in;
use crate::shop::{Answer, Shop};

/// Who pays in the shop.
const PAYER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
const ROUTES: &str = r#"
    [[route]]
    match = "/reports/*"
    price = "$0.01"
    [[route]]
    match = "/first"
    price = "$0.01"
    upfront = true
"#;

fn materials() -> DeskMaterials {
    counting_in(Arc::new(MemoryQuotas::default()))
}

/// Asks for the terms, and pays.
async fn pay(shop: &Shop, target: &str) -> Answer {
    let payment = shop.payment(&shop.ask(shop.http.get(shop.at(target))).await).await;
    shop.ask(shop.http.get(shop.at(target)).header("payment-signature", payment)).await
}

async fn is_refused(shop: &Shop, status: u16, error: &str) {
    for target in ["/reports/1", "/first"] {
        let refused = pay(shop, target).await;
        assert_eq!((refused.status, refused.json()["error"].as_str()), (status, Some(error)), "{target}: {refused:?}");
        assert!(refused.text.contains("nothing was charged"), "{refused:?}");
        assert!(!refused.headers.contains_key("payment-required") && !refused.headers.contains_key("payment-response"));
    }
    assert_eq!((shop.earned(), shop.upstream.lines().len()), (0, 0));
}

#[tokio::test]
async fn a_blocked_payer_buys_nothing_in_whatever_letters_it_is_listed() {
    for account in [PAYER.to_owned(), PAYER.to_lowercase(), PAYER.to_uppercase()] {
        let shop = Shop::with(&format!("block = {{ payers = [\"{account}\"] }}"), ROUTES).await;
        is_refused(&shop, 403, "payer_blocked").await;
    }
}

#[tokio::test]
async fn where_some_payers_are_allowed_others_buy_nothing() {
    let other = "0x0000000000000000000000000000000000000001";
    let shop = Shop::with(&format!("allow = {{ payers = [\"{other}\"] }}"), ROUTES).await;
    is_refused(&shop, 403, "payer_blocked").await;
    let shop = Shop::with(&format!("allow = {{ payers = [\"{other}\", \"{PAYER}\"] }}"), ROUTES).await;
    assert_eq!((pay(&shop, "/reports/1").await.status, pay(&shop, "/first").await.status, shop.earned()), (200, 200, 20_000));
}

#[tokio::test]
async fn a_payer_s_limit_holds_before_any_money_moves() {
    let keys = "rate_limits = [{ requests = 2, per = \"minute\", by = \"payer\" }]";
    let shop = Shop::at_desk(keys, ROUTES, materials()).await.unwrap();
    assert_eq!((pay(&shop, "/reports/1").await.status, pay(&shop, "/reports/2").await.status), (200, 200));
    let payment = shop.payment(&shop.ask(shop.http.get(shop.at("/reports/3"))).await).await;
    let refused = shop.ask(shop.http.get(shop.at("/reports/3")).header("payment-signature", &payment)).await;
    assert_eq!((refused.status, refused.headers["retry-after"].to_str().unwrap()), (429, "50"));
    assert_eq!(
        (refused.json()["error"].as_str(), shop.earned(), shop.upstream.lines().len()),
        (Some("rate_limited"), 20_000, 2)
    );
    // Each route has its own, and the payment of the refused request is free.
    assert_eq!(pay(&shop, "/first").await.status, 200);
}

/// A screener, and how often it was asked.
async fn screener(answer: fn() -> Response) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let app = Router::new().route(
        "/check",
        post(move |State(asked): State<Arc<AtomicUsize>>, Json(question): Json<Value>| async move {
            asked.fetch_add(1, Ordering::SeqCst);
            assert_eq!(question, json!({"payer": PAYER.to_lowercase(), "network": "eip155:84532"}));
            answer()
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/check", listener.local_addr().unwrap());
    let app = app.with_state(Arc::clone(&asked));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, asked)
}

async fn screened(more: &str, url: &str) -> Shop {
    let keys = format!("screening = {{ url = \"env:URL\", {more} }}");
    let materials = DeskMaterials { screening_url: Some(url.to_owned()), ..materials() };
    Shop::at_desk(&keys, ROUTES, materials).await.unwrap()
}

#[tokio::test]
async fn a_listed_payer_buys_nothing() {
    let list =
        format!("# sanctioned\n0x0000000000000000000000000000000000000001\n{} # since yesterday\n", PAYER.to_lowercase());
    let materials = DeskMaterials { screening_list: Some(list), ..materials() };
    let shop = Shop::at_desk("screening = { list = \"file:list\" }", ROUTES, materials).await.unwrap();
    is_refused(&shop, 403, "payer_blocked").await;
}

#[tokio::test]
async fn a_screener_decides_and_is_not_asked_again_for_a_while() {
    let (url, asked) = screener(|| Json(json!({"decision": "allow"})).into_response()).await;
    let shop = screened("", &url).await;
    assert_eq!((pay(&shop, "/reports/1").await.status, pay(&shop, "/first").await.status), (200, 200));
    assert_eq!((asked.load(Ordering::SeqCst), shop.earned()), (1, 20_000));
    let (url, _) = screener(|| Json(json!({"decision": "deny"})).into_response()).await;
    is_refused(&screened("", &url).await, 403, "payer_blocked").await;
}

#[tokio::test]
async fn of_whom_nothing_can_be_learnt_nothing_is_taken_unless_the_seller_says_so() {
    let (nonsense, _) = screener(|| Json(json!({"decision": "perhaps"})).into_response()).await;
    let (failing, asked) = screener(|| http::StatusCode::INTERNAL_SERVER_ERROR.into_response()).await;
    for url in [nonsense.as_str(), &failing, "http://127.0.0.1:1/check"] {
        is_refused(&screened("", url).await, 503, "screening_unavailable").await;
        let shop = screened("on_error = \"allow\"", url).await;
        assert_eq!((pay(&shop, "/reports/1").await.status, shop.earned()), (200, 10_000), "{url}");
    }
    // What was not learnt is not kept.
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}
