//! Answers that go out as they are made and are paid for at their end, over a real chain.

use crate::shop::Shop;

const ROUTES: &str = r#"
    [[route]]
    match = "POST /talk"
    price = { each = "$0.002", per = "1000 tokens", of = "response:/usage/total_tokens", at_most = "$0.05", uncounted = "$0.01" }
    settle = "stream"
    debt_limit = "$0.10"
    [[route]]
    match = "/large"
    price = { each = "$0.01", per = "MB", of = "response", at_most = "$0.005" }
    settle = "stream"
    debt_limit = "$0.005"
    [[route]]
    match = "/*"
    price = { each = "$0.000001", per = "1000 bytes", of = "response", at_most = "$0.05" }
    settle = "stream"
    debt_limit = "$0.05"
"#;

async fn pay(shop: &Shop, request: impl Fn() -> reqwest::RequestBuilder) -> reqwest::Response {
    let payment = shop.payment(&shop.ask(request()).await).await;
    let answer = request().header("payment-signature", payment).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

/// Waits until the seller has something, and says how much.
async fn earned(shop: &Shop) -> u64 {
    let paid = async {
        while shop.earned() == 0 {
            tokio::task::yield_now().await;
        }
        shop.earned()
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), paid).await.unwrap()
}

#[tokio::test]
async fn a_model_servers_stream_is_charged_by_the_count_that_it_ends_with() {
    let shop = Shop::open(ROUTES).await;
    let answer = pay(&shop, || shop.http.post(shop.at("/talk")).body("1500")).await;
    assert!(!answer.headers().contains_key("payment-response"), "it went out before it was paid for");
    let text = answer.text().await.unwrap();
    assert!(text.starts_with("data: {\"usage\":null}") && text.ends_with("data: [DONE]\n\n"), "{text}");
    assert_eq!(shop.earned(), 3_000);
    // Without a count it costs what the seller says, and it has gone out by then.
    pay(&shop, || shop.http.post(shop.at("/talk")).body("null")).await.text().await.unwrap();
    assert_eq!(shop.earned(), 13_000);
}

#[tokio::test]
async fn who_leaves_in_the_middle_has_paid_for_what_was_delivered() {
    let shop = Shop::open(ROUTES).await;
    let mut answer = pay(&shop, || shop.http.get(shop.at("/endless"))).await;
    assert!(!answer.chunk().await.unwrap().unwrap().is_empty());
    drop(answer);
    let earned = earned(&shop).await;
    assert!((1..=50_000).contains(&earned), "{earned}");
}

#[tokio::test]
async fn nothing_goes_out_beyond_what_was_signed_for() {
    let shop = Shop::open(ROUTES).await;
    let mut answer = pay(&shop, || shop.http.get(shop.at("/large"))).await;
    let mut bytes = 0;
    let broke_off = loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => bytes += chunk.len(),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    // Half a megabyte is what half a cent buys, and one chunk more.
    assert!(broke_off && bytes <= (1 << 19) + (1 << 16), "{bytes}");
    assert_eq!(earned(&shop).await, 5_000);
}

#[tokio::test]
async fn what_is_small_is_held_and_told_in_the_head() {
    let shop = Shop::open(ROUTES).await;
    let (text, earned) = shop.buy(shop.get("/small")).await;
    assert_eq!((text.as_str(), earned), ("GET /small", 1));
}

#[tokio::test]
async fn what_cannot_stream_is_found_at_start_up() {
    let talk = &ROUTES[..ROUTES.find("[[route]]\n    match = \"/large\"").unwrap()];
    for (from, to, taught) in [
        (", uncounted = \"$0.01\"", "", "uncounted: expected what an answer costs that ends before its count"),
        ("\"$0.10\"", "\"$0.04\"", "expected a debt limit of at least what one answer may come to"),
        ("\"$0.10\"", "\"1 EURC\"", "EURC"),
    ] {
        assert!(talk.contains(from));
        let error = Shop::try_with("", &talk.replace(from, to)).await.err().unwrap().to_string();
        assert!(error.contains(taught), "{error}\nlacks: {taught}");
    }
}
