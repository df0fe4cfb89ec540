//! Prices that are counted in the request, or looked up there.

use serde_json::json;

use crate::shop::Shop;

const WORDS: &str = r#"
    [[route]]
    match = "POST /translate"
    price = { each = "$0.002", per = "1000 words", of = "request:/text", at_least = "$0.000004", at_most = "$0.00001" }
    [[route]]
    match = "POST /bytes"
    price = { each = "$0.0001", per = "KB", of = "request" }
    [[route]]
    match = "POST /items"
    price = { each = "$0.01", per = "file", of = "request:/files" }
    [[route]]
    match = "GET /pages"
    price = { each = "$0.01", per = "page", of = "query:pages", at_most = "$1" }
    [[route]]
    match = "GET /rows"
    price = { each = "$0.005", per = "1000 rows", of = "header:x-rows" }
    [[route]]
    match = "POST /picture"
    price = { by = "request:/size", small = "$0.02", large = "$0.08" }
    [[route]]
    match = "GET /tier"
    price = { by = "header:x-tier", gold = "$0.05", otherwise = "$0.2" }
"#;

#[tokio::test]
async fn what_a_request_brings_is_paid_to_the_atomic_unit() {
    let shop = Shop::open(WORDS).await;
    let words = |count: usize| json!({"text": vec!["sea"; count].join(" ")}).to_string();
    for (count, atomic) in [(1, 4), (2, 4), (3, 6), (5, 10), (100, 10)] {
        let (_, earned) = shop.buy(shop.post("/translate", words(count))).await;
        assert_eq!(earned, atomic, "{count} words");
    }
    // 1,234 bytes at a tenth of an atomic unit a byte: rounded up.
    assert_eq!(shop.buy(shop.post("/bytes", "x".repeat(1_234))).await.1, 124);
    assert_eq!(shop.buy(shop.post("/items", json!({"files": ["a", "b", "c"]}).to_string())).await.1, 30_000);
    assert_eq!(shop.buy(shop.get("/pages?pages=2.5&x=1")).await.1, 25_000);
    assert_eq!(shop.buy(shop.get("/pages?pages=1000")).await.1, 1_000_000, "at most");
    assert_eq!(shop.buy(shop.get("/rows").header("x-rows", "1234")).await.1, 6_170);
    assert_eq!(shop.buy(shop.post("/picture", json!({"size": "large"}).to_string())).await.1, 80_000);
    assert_eq!(shop.buy(shop.get("/tier").header("x-tier", "gold")).await.1, 50_000);
    assert_eq!(shop.buy(shop.get("/tier")).await.1, 200_000);
}

#[tokio::test]
async fn the_upstream_gets_the_body_that_was_counted_as_it_came() {
    let shop =
        Shop::open("[[route]]\nmatch = \"POST /echo\"\nprice = { each = \"$0.01\", per = \"word\", of = \"request\" }").await;
    let (answer, earned) = shop.buy(shop.post("/echo", " the  sea\n")).await;
    assert_eq!((answer.as_str(), earned), (" the  sea\n", 20_000));
}

#[tokio::test]
async fn what_cannot_be_counted_is_refused_with_what_was_expected() {
    let shop = Shop::open(WORDS).await;
    let post = |target: &str, body: &str| shop.http.post(shop.at(target)).body(body.to_owned());
    let get = |target: &str| shop.http.get(shop.at(target));
    for (request, status, taught) in [
        (post("/translate", "{\"text\":"), 400, "the body: expected JSON"),
        (post("/translate", "{\"text\":\"a\",\"text\":\"b\"}"), 400, "the key \"text\" twice"),
        (post("/translate", "{\"test\":\"a\"}"), 422, "the body's /text: expected a value, got nothing there"),
        (post("/translate", "{\"text\":7}"), 422, "expected a text, or a list of texts, got a number"),
        (post("/translate", "{\"text\":\"a\"}").header("content-encoding", "gzip"), 415, "Content-Encoding: expected none"),
        (post("/bytes", ""), 422, "expected bytes to count, got none"),
        (post("/items", "{\"files\":{}}"), 422, "expected a number of 0 or above, or a list, got an object"),
        (get("/pages"), 422, "the query's pages: expected one value, got none"),
        (get("/pages?pages=1&pages=100"), 422, "expected one value, got several"),
        (get("/pages?p%61ges=1&pages=100"), 422, "expected one value, got several"),
        (get("/pages?pages=1&Pages=100"), 422, "expected one value, got several"),
        (get("/pages?pages=1&pages%5B%5D=100"), 422, "expected one value, got several"),
        (post("/translate", "{\"text\":\"a\",\"Text\":\"b b\"}"), 422, "several that differ in their letter case only"),
        (get("/pages?pages=-1"), 422, "expected a number of 0 or above"),
        (get("/pages?pages=1e3"), 422, "expected a number of 0 or above"),
        (get("/pages?pages=0"), 422, "expected pages to count, got none"),
        (get("/rows").header("x-rows", "1").header("x-rows", "2"), 422, "the header x-rows: expected one value, got several"),
        (post("/picture", "{\"size\":\"huge\"}"), 422, "expected a value that has a price here, got another"),
        (post("/picture", "{}"), 422, "expected a value that has a price here, got none"),
    ] {
        let answer = shop.ask(request).await;
        assert_eq!(answer.status, status, "{answer:?}");
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(message.contains(taught) && message.contains("nothing was charged"), "{message}\nlacks: {taught}");
    }
    let large = shop.ask(post("/bytes", &"x".repeat(2 << 20))).await;
    assert_eq!((large.status, shop.upstream.lines(), shop.earned()), (413, Vec::new(), 0));
}

#[tokio::test]
async fn nothing_counted_is_paid_for_where_there_is_a_least_price() {
    let shop = Shop::open(WORDS).await;
    assert_eq!(shop.buy(shop.post("/translate", json!({"text": ""}).to_string())).await.1, 4);
}

#[tokio::test]
async fn no_other_spelling_of_the_header_that_was_priced_reaches_the_upstream() {
    let shop = Shop::open(WORDS).await;
    let (_, earned) =
        shop.buy(shop.get("/rows").header("x-rows", "1000").header("x_rows", "9999").header("x_other", "a")).await;
    let headers = &shop.upstream.seen()[0].headers;
    assert_eq!(
        (earned, &headers["x-rows"], headers.get("x_rows"), headers.contains_key("x_other")),
        (5_000, &"1000".parse().unwrap(), None, true)
    );
}

/// A price for one word buys one word, and a price for gold is gold's.
#[tokio::test]
async fn a_quote_is_bound_to_what_was_counted() {
    let shop = Shop::open(WORDS).await;
    let post = |text: &str| shop.http.post(shop.at("/translate")).body(json!({"text": text}).to_string());
    let get = |tier: &str| shop.http.get(shop.at("/tier")).header("x-tier", tier.to_owned());
    let short = shop.payment(&shop.ask(post("sea")).await).await;
    let gold = shop.payment(&shop.ask(get("gold")).await).await;
    for (request, payment) in [
        (post("the sea is wide and deep"), &short),
        (post("sea").header("content-encoding", "gzip"), &short),
        (get("silver"), &gold),
        (shop.http.get(shop.at("/tier")), &gold),
    ] {
        let answer = shop.ask(request.header("payment-signature", payment)).await;
        assert!(matches!(answer.status, 402 | 415), "{answer:?}");
    }
    assert_eq!((shop.upstream.lines(), shop.earned()), (Vec::new(), 0));
    let answer = shop.ask(post("sea").header("payment-signature", &short)).await;
    assert_eq!((answer.status, shop.earned()), (200, 4), "{answer:?}");
}
