//! Which requests are sold, free or turned away, and what buyers get.

use crate::shop::Shop;

const ROUTES: &str = r#"
    [[route]]
    match = "GET /reports/free"
    free = true
    [[route]]
    match = "/reports/secret"
    deny = true
    [[route]]
    match = "GET /reports/*"
    price = "$0.01"
    description = "A report"
    mime_type = "text/plain"
    [[route]]
    match = "/fails"
    price = "$0.01"
"#;

#[tokio::test]
async fn the_first_route_that_fits_decides_and_the_rest_is_denied() {
    let shop = Shop::open(ROUTES).await;
    for (method, target, status) in [
        ("GET", "/reports/free", 200),
        ("GET", "/reports/secret", 403),
        ("POST", "/reports/secret", 403),
        ("GET", "/reports/1", 402),
        ("HEAD", "/reports/1", 402),
        ("POST", "/reports/1", 404),
        ("OPTIONS", "/reports/1", 404),
        ("GET", "/reports/1/2", 404),
        ("GET", "/", 404),
        ("GET", "/other", 404),
        ("PUT", "/fails", 402),
    ] {
        let answer = shop.ask(shop.http.request(method.parse().unwrap(), shop.at(target))).await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        if matches!(status, 403 | 404) {
            let problem = answer.json();
            assert!(problem["error"].is_string() && problem["message"].as_str().unwrap().contains(method), "{problem}");
            assert_eq!(answer.headers["cache-control"], "no-store");
        }
    }
    assert_eq!(shop.upstream.lines(), ["GET /reports/free"]);
}

#[tokio::test]
async fn a_buyer_gets_what_was_paid_for_and_nobody_else_keeps_it() {
    let shop = Shop::open(ROUTES).await;
    let unpaid = shop.ask(shop.http.get(shop.at("/reports/1?year=2026"))).await;
    let terms = unpaid.terms();
    assert_eq!((&terms["resource"]["description"], &terms["resource"]["mimeType"]), (&"A report".into(), &"text/plain".into()));
    assert_eq!(unpaid.headers["cache-control"], "no-store");
    let payment = shop.payment(&unpaid).await;
    let paid = shop.ask(shop.http.get(shop.at("/reports/1?year=2026")).header("payment-signature", payment)).await;
    assert_eq!((paid.status, paid.text.as_str(), shop.earned()), (200, "GET /reports/1?year=2026", 10_000));
    assert_eq!(paid.headers["cache-control"], "private, no-store");
    assert!(paid.headers.contains_key("payment-response"));
    let seen = shop.upstream.seen();
    assert_eq!(seen.len(), 1);
    assert!(!seen[0].headers.contains_key("payment-signature"), "{seen:?}");
}

#[tokio::test]
async fn nobody_pays_for_a_failure_of_the_upstream() {
    let shop = Shop::open(ROUTES).await;
    let answer = shop.get("/fails").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), shop.earned()), (418, 0));
}

#[tokio::test]
async fn a_free_answer_is_the_upstreams_own() {
    let shop = Shop::open(ROUTES).await;
    let answer = shop.ask(shop.http.get(shop.at("/reports/free"))).await;
    assert_eq!((answer.status, answer.headers["cache-control"].to_str().unwrap()), (200, "public, max-age=3600"));
}

#[tokio::test]
async fn what_no_route_is_for_can_be_free() {
    let shop = Shop::with("unmatched = \"free\"", ROUTES).await;
    assert_eq!(shop.ask(shop.http.get(shop.at("/other"))).await.status, 200);
    assert_eq!(shop.ask(shop.http.get(shop.at("/reports/1"))).await.status, 402);
    assert_eq!(shop.ask(shop.http.get(shop.at("/reports/secret"))).await.status, 403);
    assert_eq!(shop.upstream.lines(), ["GET /other"]);
}

#[tokio::test]
async fn routes_are_taken_anew_and_bad_ones_change_nothing() {
    let shop = Shop::open(ROUTES).await;
    let amount = async || shop.ask(shop.http.get(shop.at("/reports/1"))).await.terms()["accepts"][0]["amount"].clone();
    assert_eq!(amount().await, "10000");
    let dearer = ROUTES.replace("\"$0.01\"", "\"$0.02\"");
    shop.reload(&dearer).unwrap();
    assert_eq!(amount().await, "20000");
    let error = shop.reload(&dearer.replacen("\"$0.02\"", "\"$0.0000001\"", 1)).unwrap_err();
    assert_eq!(error.index, 2);
    assert!(error.to_string().contains("GET /reports/*: $0.0000001 is not a whole number of atomic units"), "{error}");
    assert_eq!(amount().await, "20000");
}

#[tokio::test]
async fn routes_that_cannot_be_served_are_found_at_once() {
    let shop = Shop::open(ROUTES).await;
    for (routes, taught) in [
        (
            "[[route]]\nmatch = \"/**\"\nfree = true\n[[route]]\nmatch = \"GET /a\"\nprice = \"$1\"",
            "no request gets here, because /**",
        ),
        (
            "[[route]]\nmatch = \"/a\"\nprice = \"$1\"\naccepts = [\"base\"]",
            "nobody is paid on eip155:8453; expected one of eip155:84532",
        ),
        ("[[route]]\nmatch = \"/a\"\nprice = \"1 EURO\"", "1 EURO cannot be asked in any asset"),
        ("[[route]]\nmatch = \"/a\"\nprice = \"$1\"\nsign_in = true", "public_url"),
        (
            "[[route]]\nmatch = \"/a\"\nprice = { each = \"$1\", per = \"page\", of = \"query:p\", at_most = \"$0.0000001\" }",
            "not a whole number",
        ),
        (
            "[[route]]\nmatch = \"/a\"\nbound_body_bytes = 1\nprice = { each = \"$1\", per = \"page\", of = \"request:/p\" }",
            "bound to the body already",
        ),
    ] {
        let error = shop.reload(routes).unwrap_err().to_string();
        assert!(error.contains(taught), "{error}\nlacks: {taught}");
    }
}

#[tokio::test]
async fn how_a_thing_is_sold_is_in_its_terms() {
    let route = "[[route]]\nmatch = \"/a\"\nprice = \"$0.01\"\nmax_timeout_seconds = 60\nupfront = true\npayment_identifier = \"required\"";
    let shop = Shop::open(&format!("{route}\naccepts = [\"base-sepolia\"]")).await;
    let terms = shop.ask(shop.http.get(shop.at("/a"))).await.terms();
    assert_eq!(terms["accepts"][0]["maxTimeoutSeconds"], 60);
    assert_eq!(terms["accepts"][0]["extra"]["paymentFlow"], "upfront");
    assert!(terms["extensions"]["payment-identifier"].is_object(), "{terms}");
}
