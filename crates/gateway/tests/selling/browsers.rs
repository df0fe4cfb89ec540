//! Scripts of other origins.

use crate::shop::{Answer, Shop};

const ROUTES: &str = "[[route]]\nmatch = \"GET /a\"\nprice = \"$0.01\"\n[[route]]\nmatch = \"/free\"\nfree = true\n";

async fn preflight(shop: &Shop, target: &str, method: &str, origin: &str) -> Answer {
    let request = shop.http.request(reqwest::Method::OPTIONS, shop.at(target)).header("origin", origin.to_owned());
    let request = request.header("access-control-request-method", method.to_owned());
    shop.ask(request.header("access-control-request-headers", "payment-signature")).await
}

#[tokio::test]
async fn a_preflight_for_what_is_sold_is_answered_here_and_costs_nothing() {
    let shop = Shop::open(ROUTES).await;
    let answer = preflight(&shop, "/a", "GET", "https://app.example").await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET"),
        ("access-control-allow-headers", "payment-signature"),
    ] {
        assert_eq!(answer.headers[name], value);
    }
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
    assert_eq!(preflight(&shop, "/a", "POST", "https://app.example").await.status, 404, "it is not for sale by POST");
    assert_eq!(shop.upstream.lines(), Vec::<String>::new());
    assert_eq!(preflight(&shop, "/free", "POST", "https://app.example").await.status, 200, "the upstream's own affair");
    assert_eq!(shop.upstream.lines(), ["OPTIONS /free"]);
}

#[tokio::test]
async fn scripts_may_read_the_terms_and_what_was_paid_for() {
    let shop = Shop::open(ROUTES).await;
    let ask = || shop.http.get(shop.at("/a")).header("origin", "https://app.example");
    let unpaid = shop.ask(ask()).await;
    let payment = shop.payment(&unpaid).await;
    let paid = shop.ask(ask().header("payment-signature", payment)).await;
    assert_eq!((unpaid.status, paid.status), (402, 200));
    for answer in [unpaid, paid] {
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        assert!(answer.headers["access-control-expose-headers"].to_str().unwrap().contains("PAYMENT-REQUIRED"));
    }
    let elsewhere = shop.ask(shop.http.get(shop.at("/a"))).await;
    assert!(!elsewhere.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_seller_can_say_whose_scripts() {
    let shop = Shop::with("origins = [\"https://app.example\"]", ROUTES).await;
    let ours = preflight(&shop, "/a", "GET", "https://app.example").await;
    assert_eq!((ours.status, &ours.headers["access-control-allow-origin"]), (204, &"https://app.example".parse().unwrap()));
    let theirs = preflight(&shop, "/a", "GET", "https://evil.example").await;
    assert_eq!(theirs.status, 204);
    assert!(!theirs.headers.contains_key("access-control-allow-origin"));
    let answer = shop.ask(shop.http.get(shop.at("/a")).header("origin", "https://app.example")).await;
    assert_eq!(answer.headers["access-control-allow-origin"], "https://app.example");
    assert!(answer.headers.get_all("vary").iter().any(|vary| vary == "Origin"), "{answer:?}");
}
