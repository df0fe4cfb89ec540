//! Who gets the page, and with which headers.

use farthing::core::header;
use serde_json::json;

use crate::site::{Answer, FIREFOX, HTML, ROUTES, Site};

fn directive<'a>(answer: &'a Answer, name: &str) -> &'a str {
    let policy = answer.headers["content-security-policy"].to_str().unwrap();
    let found = policy.split(';').map(str::trim).find(|directive| directive.split(' ').next() == Some(name));
    found.unwrap_or_else(|| panic!("no {name} in {policy}"))
}

#[tokio::test]
async fn a_browser_gets_a_page_that_keeps_the_terms_and_lets_nothing_else_in() {
    let site = Site::open().await;
    let page = site.visit("/article").await;
    assert_eq!((page.status, site.works()), (402, 0));
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers["cache-control"], "private, no-store");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    assert_eq!(page.headers["x-frame-options"], "DENY");
    let vary: Vec<&str> = page.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
    for name in ["Accept", "User-Agent", "Cookie", "PAYMENT-SIGNATURE"] {
        assert!(vary.iter().any(|list| list.split(", ").any(|listed| listed == name)), "{name} in {vary:?}");
    }
    assert_eq!(directive(&page, "default-src"), "default-src 'none'");
    assert_eq!(directive(&page, "connect-src"), "connect-src 'self'");
    assert_eq!(directive(&page, "frame-ancestors"), "frame-ancestors 'none'");
    assert!(!page.headers["content-security-policy"].to_str().unwrap().contains("unsafe"));
    let json = site.ask(site.http.get(site.at("/article"))).await;
    assert_eq!(page.headers["payment-required"], json.headers["payment-required"]);
    assert!(page.text.contains("<h1>The sea in winter</h1>") && page.text.contains(">$0.01</strong>"), "{}", page.text);
    assert!(page.text.len() < 60_000, "{}", page.text.len());
}

/// Everything that a program can see is what it was without a page.
#[tokio::test]
async fn everybody_else_is_answered_as_if_there_was_no_page() {
    let (with, without) = (Site::open().await, Site::with("[gateway.paywall]\nenabled = false", ROUTES).await);
    let read = |answer: Answer, site: &Site| {
        let mut headers: Vec<(String, String)> =
            answer.headers.iter().map(|(n, v)| (n.to_string(), format!("{v:?}"))).collect();
        headers.retain(|(name, _)| name != "date" && name != "payment-required");
        (answer.status, headers, answer.text.replace(&site.url, ""))
    };
    for (accept, agent) in [("*/*", FIREFOX), ("application/json", FIREFOX), (HTML, "curl/8.5"), (HTML, "mozilla")] {
        let ask = |site: &Site| site.http.get(site.at("/article")).header("accept", accept).header("user-agent", agent);
        let (theirs, ours) = (without.ask(ask(&without)).await, with.ask(ask(&with)).await);
        assert_eq!(read(ours, &with), read(theirs, &without), "{accept} {agent}");
    }
    let json = without.visit("/article").await;
    assert_eq!((json.status, &json.headers["content-type"]), (402, &"application/json".parse().unwrap()));
}

#[tokio::test]
async fn a_payment_that_is_refused_is_told_in_json() {
    let site = Site::open().await;
    let ask = site.http.get(site.at("/article")).header("accept", HTML).header("user-agent", FIREFOX);
    let answer = site.ask(ask.header("payment-signature", "e30=")).await;
    assert_eq!((answer.status, &answer.headers["content-type"]), (402, &"application/json".parse().unwrap()));
}

#[tokio::test]
async fn what_is_free_or_not_for_sale_has_no_page() {
    let routes = "[[route]]\nmatch = \"/free-402\"\nfree = true\n[[route]]\nmatch = \"/article\"\nprice = \"$0.01\"";
    let site = Site::with("", routes).await;
    let own = site.visit("/free-402").await;
    assert_eq!((own.status, own.text.as_str()), (402, "our own till"));
    assert_eq!(site.visit("/nothing").await.status, 404);
}

#[tokio::test]
async fn what_a_seller_or_an_address_says_stays_text() {
    let name = r"</title><script>alert(1)</script>";
    let routes = format!("[[route]]\nmatch = \"/**\"\nprice = \"$0.01\"\ndescription = '''{name} \" & <!-- {{{{script}}}}'''");
    let paywall = format!(
        "[gateway.paywall]\nname = '''{name}'''\ntext = '''{name}'''\naccent = \"#ffcc00\"\nlogo = \"/logo.svg\"\nsupport = \"/help\""
    );
    let site = Site::with(&paywall, &routes).await;
    let page = site.visit("/a?b='%3Cscript%3E&c=%22onload=").await;
    assert_eq!(page.status, 402);
    assert!(!page.text.contains("<script>alert") && !page.text.contains("<!--"), "{}", page.text);
    assert_eq!(page.text.matches("</script>").count(), 2);
    assert_eq!(page.text.matches("<script").count(), 2);
    assert!(page.text.contains("&lt;/title&gt;&lt;script&gt;alert(1)") && page.text.contains("{{script}}"));
    assert!(page.text.contains("--accent:#ffcc00;--on-accent:#111"));
}

#[tokio::test]
async fn who_may_frame_the_page_is_the_sellers_to_say() {
    let site = Site::with("[gateway.paywall]\nframe_ancestors = [\"https://app.example\"]", ROUTES).await;
    let page = site.visit("/article").await;
    assert_eq!(directive(&page, "frame-ancestors"), "frame-ancestors https://app.example");
    assert!(!page.headers.contains_key("x-frame-options"));
}

#[tokio::test]
async fn what_a_page_leaves_in_cookies_goes_no_further() {
    let site = Site::with("unmatched = \"free\"", "[[route]]\nmatch = \"/article\"\nprice = \"$0.01\"").await;
    let ask = site.http.get(site.at("/open")).header("cookie", "a=b; farthing-paid-0=1.e30=; c=d");
    assert_eq!(site.ask(ask).await.status, 200);
    assert_eq!(site.seen()[0].1["cookie"], "a=b; c=d");
}

/// A browser that comes back with a purchase that opens nothing is sold it again, and not shown an error for programs.
#[tokio::test]
async fn a_purchase_that_opens_nothing_is_answered_with_a_page() {
    let site = Site::open().await;
    let terms = header::decode_required(site.visit("/article").await.headers["payment-required"].as_bytes()).unwrap();
    let (resource, accepted) = (&terms.resource, &terms.accepts[0]);
    let payment =
        header::encode(&json!({"x402Version": 2, "resource": resource, "accepted": accepted, "payload": {}})).unwrap();
    let ask = |target: &str| {
        let request = site.http.get(site.at(target)).header("accept", HTML).header("user-agent", FIREFOX);
        request.header("cookie", format!("farthing-paid-0=1.{payment}"))
    };
    let page = site.ask(ask("/article")).await;
    assert_eq!((page.status, &page.headers["content-type"]), (402, &"text/html; charset=utf-8".parse().unwrap()));
    assert!(page.text.contains("\"cameBack\":true"), "{}", page.text);
    assert!(site.ask(ask("/other")).await.text.contains("\"cameBack\":false"), "it is not for that");
}
