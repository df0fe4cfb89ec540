//! When the money moves: at the head of a download, and what becomes of one that breaks off.

use crate::shop::{Answer, Shop};

const PRICE: u64 = 10_000;
const LARGE_BYTES: usize = 1 << 20;
const ROUTES: &str = r#"
    [[route]]
    match = "GET /held"
    price = "$0.01"
    settle = "after"
    [[route]]
    match = "/**"
    price = "$0.01"
    settle = "head"
"#;

/// Reads an answer as far as it goes.
async fn read(request: reqwest::RequestBuilder) -> (u16, usize, bool) {
    let mut answer = request.send().await.unwrap();
    let (status, mut bytes) = (answer.status().as_u16(), 0);
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes += chunk.len(),
            Ok(None) => return (status, bytes, true),
            Err(_) => return (status, bytes, false),
        }
    }
}

async fn terms(shop: &Shop, target: &str) -> Answer {
    shop.ask(shop.http.get(shop.at(target))).await
}

#[tokio::test]
async fn a_large_download_goes_through_that_could_not_be_held() {
    let shop = Shop::with("max_held_body_bytes = 1000", ROUTES).await;
    let payment = shop.payment(&terms(&shop, "/large").await).await;
    let paid = read(shop.http.get(shop.at("/large")).header("payment-signature", &payment)).await;
    assert_eq!((paid, shop.earned()), ((200, LARGE_BYTES, true), PRICE));
    assert_eq!(shop.buy(shop.get("/small")).await, ("GET /small".to_owned(), PRICE), "by our own client, and held");
    assert_eq!(shop.buy(shop.get("/large")).await.1, PRICE, "by our own client");
}

#[tokio::test]
async fn a_download_that_breaks_off_is_fetched_again_with_the_same_payment() {
    let shop = Shop::open(ROUTES).await;
    let payment = shop.payment(&terms(&shop, "/flaky").await).await;
    let fetch = || shop.http.get(shop.at("/flaky")).header("payment-signature", &payment);
    let (status, bytes, is_whole) = read(fetch()).await;
    assert!(status == 200 && bytes < LARGE_BYTES && !is_whole, "{status} {bytes}");
    assert_eq!(shop.earned(), PRICE, "it was paid for before it broke off");
    // The book says so a moment later.
    let again = loop {
        match read(fetch().header("range", "bytes=524288-")).await {
            (409, _, _) => tokio::task::yield_now().await,
            again => break again,
        }
    };
    assert_eq!((again, shop.earned()), ((200, LARGE_BYTES, true), PRICE));
    let seen = shop.upstream.seen();
    assert_eq!(seen.last().unwrap().headers["range"], "bytes=524288-", "the upstream may send the rest alone");
    assert!(seen.iter().all(|seen| !seen.headers.contains_key("payment-signature")));
    let used = loop {
        let used = shop.ask(fetch()).await;
        if used.status != 409 {
            break used;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(used.terms()["error"], "payment_already_used");
}

#[tokio::test]
async fn what_is_held_and_breaks_off_is_nobodys_to_pay() {
    let shop = Shop::open(&ROUTES.replace("GET /held", "GET /broken")).await;
    let payment = shop.payment(&terms(&shop, "/broken").await).await;
    let answer = shop.ask(shop.http.get(shop.at("/broken")).header("payment-signature", payment)).await;
    assert!(answer.status >= 500, "{answer:?}");
    assert_eq!(shop.earned(), 0);
}
