//! Who comes in without paying, who is told to come later, and what else is offered.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use farthing::core::books::MemoryQuotas;
use farthing_gateway::DeskMaterials;
use ring::hmac;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::free_quota::counting_in;
use crate::shop::{Answer, Shop};

const ROUTES: &str = "[[route]]\nmatch = \"GET /reports/*\"\nprice = \"$0.01\"\nsubscribers = [\"key\", \"token\"]";
const SECRET: &str = "a secret of at least thirty-two bytes";
/// After the moment at which the tests' clock stands.
const LATER: u64 = 86_400 * 20_000 + 3_600;

fn keys(more: &str) -> String {
    let digest = Sha256::digest("alice's key");
    format!("keys = {{ subscribers = {{ alice = \"sha256:{digest:x}\" }}, {more} }}\n{TOKENS}")
}

const TOKENS: &str = "tokens = { algorithm = \"HS256\", secret = \"env:S\", audience = \"shop\", claims = { plan = \"pro\" } }";

fn materials() -> DeskMaterials {
    DeskMaterials { token_secret: Some(SECRET.to_owned().into()), ..counting_in(Arc::new(MemoryQuotas::default())) }
}

async fn shop(more: &str) -> Shop {
    Shop::at_desk(&keys(more), ROUTES, materials()).await.unwrap()
}

fn token(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&json!({"alg": "HS256", "typ": "JWT"})), part(claims));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

async fn ask_with(shop: &Shop, name: &str, value: &str) -> Answer {
    shop.ask(shop.http.get(shop.at("/reports/1")).header(name, value)).await
}

#[tokio::test]
async fn a_subscriber_s_key_opens_and_goes_no_further() {
    let shop = shop("").await;
    let answer = ask_with(&shop, "x-api-key", "alice's key").await;
    assert_eq!((answer.status, answer.headers["cache-control"].to_str().unwrap()), (200, "private, no-store"));
    let seen = shop.upstream.seen();
    assert_eq!(
        (&seen[0].added["farthing-subscriber"], &seen[0].added["farthing-access"]),
        (&"alice".parse().unwrap(), &"subscriber".parse().unwrap())
    );
    assert!(!seen[0].headers.contains_key("x-api-key"), "{seen:?}");
    assert_eq!(shop.ask(shop.http.get(shop.at("/reports/1"))).await.status, 402);
    assert!(shop.upstream.lines().is_empty());
}

#[tokio::test]
async fn a_key_can_stand_elsewhere_and_go_on_to_the_upstream() {
    let shop = Shop::at_desk(
        &keys("header = \"authorization\", forward = true").replace("secret =", "header = \"x-token\", secret ="),
        ROUTES,
        materials(),
    )
    .await
    .unwrap();
    assert_eq!(ask_with(&shop, "authorization", "Bearer alice's key").await.status, 200);
    assert_eq!(shop.upstream.seen()[0].headers["authorization"], "Bearer alice's key");
    // What is no bearer's is none of the gateway's.
    assert_eq!(ask_with(&shop, "authorization", "Basic YTpi").await.status, 402);
}

#[tokio::test]
async fn who_believes_to_have_subscribed_is_not_asked_for_money() {
    let shop = shop("").await;
    let refused = ask_with(&shop, "x-api-key", "bob's key").await;
    assert_eq!((refused.status, refused.headers["www-authenticate"].to_str().unwrap()), (401, "Bearer"));
    let problem = refused.json();
    assert_eq!(problem["error"], "unknown_key");
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains("x-api-key") && message.contains("leave the header out") && !message.contains("bob"), "{message}");
    assert!(!refused.headers.contains_key("payment-required"));
    // Who pays is served for that.
    let payment = shop.payment(&shop.ask(shop.http.get(shop.at("/reports/1"))).await).await;
    let paying = shop.http.get(shop.at("/reports/1")).header("x-api-key", "bob's key").header("payment-signature", payment);
    assert_eq!((shop.ask(paying).await.status, shop.earned()), (200, 10_000));
}

#[tokio::test]
async fn a_wrong_key_can_be_as_good_as_none() {
    let shop = shop("unknown = \"pay\"").await;
    ask_with(&shop, "x-api-key", "bob's key").await.terms();
    assert_eq!(ask_with(&shop, "x-api-key", "alice's key").await.status, 200);
}

#[tokio::test]
async fn a_token_opens_that_says_all_that_is_asked() {
    let shop = shop("").await;
    let good = json!({"sub": "carol", "exp": LATER, "aud": ["shop", "other"], "plan": "pro"});
    let answer = ask_with(&shop, "authorization", &format!("Bearer {}", token(&good))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = shop.upstream.seen();
    assert_eq!(seen[0].added["farthing-subscriber"], "carol");
    assert!(!seen[0].headers.contains_key("authorization"), "{seen:?}");
    for (name, value, taught) in [
        ("exp", json!(LATER - 7_200), "exp: it has expired"),
        ("exp", json!("never"), "exp: it has expired, or does not say"),
        ("nbf", json!(LATER), "nbf: it is not valid yet"),
        ("nbf", json!("now"), "nbf: it is not valid yet"),
        ("aud", json!("other"), "aud: it is for somebody else"),
        ("plan", json!("free"), "lacks a claim"),
        ("plan", json!("pro free"), "lacks a claim"),
        ("sub", json!("two words"), "sub: it names nobody"),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        let refused = ask_with(&shop, "authorization", &format!("Bearer {}", token(&bad))).await;
        assert_eq!((refused.status, refused.json()["error"].as_str()), (401, Some("bad_token")), "{bad}");
        assert!(refused.text.contains(taught), "{refused:?}\nlacks: {taught}");
    }
    let (message, other) = (token(&good), token(&json!({"sub": "dave"})));
    let forged = format!("{}.{}", message.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
    assert!(ask_with(&shop, "authorization", &format!("Bearer {forged}")).await.text.contains("not the issuer's"));
    assert!(shop.upstream.lines().is_empty());
}

#[tokio::test]
async fn more_requests_than_a_limit_are_told_when_to_come_again() {
    let routes = r#"
        [[route]]
        match = "GET /free"
        free = true
        rate_limits = [{ requests = 2, per = "minute", by = "ip" }]
        [[route]]
        match = "/reports/*"
        price = "$0.01"
        subscribers = ["key"]
        rate_limits = [{ requests = 1, per = "hour", by = "key" }]
    "#;
    let shop = Shop::at_desk(&keys(""), routes, materials()).await.unwrap();
    let get = |address: &str| shop.ask(shop.http.get(shop.at("/free")).header("x-forwarded-for", address));
    assert_eq!((get("192.0.2.1").await.status, get("192.0.2.1").await.status), (200, 200));
    let refused = get("192.0.2.1").await;
    // The clock stands ten seconds after a minute has begun.
    assert_eq!((refused.status, refused.headers["retry-after"].to_str().unwrap()), (429, "50"));
    assert_eq!(refused.json()["error"], "rate_limited");
    assert!(refused.text.contains("at most 2 per minute for each ip"), "{refused:?}");
    assert_eq!(get("192.0.2.2").await.status, 200);
    assert_eq!(shop.upstream.lines().len(), 3);
    assert_eq!(ask_with(&shop, "x-api-key", "alice's key").await.status, 200);
    assert_eq!(ask_with(&shop, "x-api-key", "alice's key").await.status, 429);
    // Who has no key is not counted by it, and pays.
    assert_eq!(shop.ask(shop.http.get(shop.at("/reports/1"))).await.status, 402);
}

#[tokio::test]
async fn shared_limits_hold_across_gateways_and_others_do_not() {
    for (shared, status) in [("true", 429), ("false", 200)] {
        let route = format!(
            "[[route]]\nmatch = \"/free\"\nfree = true\n\
             rate_limits = [{{ requests = 1, per = \"day\", by = \"ip\", shared = {shared} }}]"
        );
        let book = Arc::new(MemoryQuotas::default());
        let one = Shop::at_desk("", &route, counting_in(book.clone())).await.unwrap();
        let two = Shop::at_desk("", &route, counting_in(book)).await.unwrap();
        assert_eq!(one.ask(one.http.get(one.at("/free"))).await.status, 200);
        assert_eq!(two.ask(two.http.get(two.at("/free"))).await.status, status, "shared = {shared}");
        // New routes begin nothing anew.
        one.reload(&route).unwrap();
        assert_eq!(one.ask(one.http.get(one.at("/free"))).await.status, 429);
    }
}

#[tokio::test]
async fn blocked_addresses_get_nothing_whatever_they_pay() {
    let routes = "[[route]]\nmatch = \"/free\"\nfree = true\n[[route]]\nmatch = \"/reports/*\"\nprice = \"$0.01\"";
    let keys = "block = { addresses = [\"203.0.113.0/24\"] }\nunmatched = \"free\"";
    let shop = Shop::with(keys, routes).await;
    let payment = shop.payment(&shop.ask(shop.http.get(shop.at("/reports/1"))).await).await;
    for target in ["/free", "/reports/1", "/unmatched"] {
        let request = shop.http.get(shop.at(target)).header("x-forwarded-for", "203.0.113.7");
        let answer = shop.ask(request.header("payment-signature", &payment)).await;
        assert_eq!((answer.status, answer.json()["error"].as_str()), (403, Some("address_blocked")), "{target}");
    }
    assert_eq!((shop.upstream.lines().len(), shop.earned()), (0, 0));
    assert_eq!(shop.ask(shop.http.get(shop.at("/free")).header("x-forwarded-for", "203.0.114.7")).await.status, 200);
}

#[tokio::test]
async fn what_else_is_offered_disturbs_nobody_who_pays() {
    let keys = "fallback = { subscribe = \"https://shop.example/join\", checkout = \"https://shop.example/card\", text = \"or join\" }";
    let routes = "[[route]]\nmatch = \"/a\"\nprice = \"$0.01\"\n[[route]]\nmatch = \"/b\"\nprice = \"$0.01\"\nfallback = false";
    let shop = Shop::with(keys, routes).await;
    let unpaid = shop.ask(shop.http.get(shop.at("/a"))).await;
    let body = unpaid.json();
    let expected =
        json!({"subscribe": "https://shop.example/join", "checkout": "https://shop.example/card", "text": "or join"});
    assert_eq!((&body["fallback"], &body["x402Version"]), (&expected, &json!(1)));
    assert_eq!(body["accepts"].as_array().unwrap().len(), 1);
    let links: Vec<_> = unpaid.headers.get_all("link").iter().collect();
    assert_eq!(
        links,
        [
            "<https://shop.example/join>; rel=\"payment\"; title=\"subscribe\"",
            "<https://shop.example/card>; rel=\"payment\"; title=\"checkout\""
        ]
    );
    assert!(unpaid.terms()["fallback"].is_null());
    let (_, paid) = shop.buy(shop.get("/a")).await;
    assert_eq!(paid, 10_000);
    let other = shop.ask(shop.http.get(shop.at("/b"))).await;
    assert!(other.json()["fallback"].is_null() && !other.headers.contains_key("link"));
}

#[tokio::test]
async fn in_shadow_mode_nobody_pays_and_who_pays_all_the_same_is_not_charged() {
    let routes = r#"
        [[route]]
        match = "/a"
        price = "$0.01"
        [[route]]
        match = "/b"
        price = "$0.01"
        shadow = false
        [[route]]
        match = "/chat"
        price = { each = "$0.002", per = "1000 tokens", of = "response:/usage/total_tokens", at_most = "$0.05" }
    "#;
    let shadow = Shop::with("shadow = true", routes).await;
    let answer = shadow.ask(shadow.http.get(shadow.at("/a"))).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "GET /a"));
    assert_eq!(shadow.upstream.seen()[0].added["farthing-access"], "shadow");
    let payment = shadow.payment(&shadow.ask(shadow.http.get(shadow.at("/b"))).await).await;
    let paying = shadow.ask(shadow.http.get(shadow.at("/a")).header("payment-signature", payment)).await;
    assert_eq!((paying.status, paying.headers.contains_key("payment-response"), shadow.earned()), (200, false, 0));
    assert!(shadow.upstream.seen().iter().all(|seen| !seen.headers.contains_key("payment-signature")));
    assert_eq!(shadow.ask(shadow.http.post(shadow.at("/chat")).body("5")).await.status, 200);
}

#[tokio::test]
async fn what_contradicts_itself_is_found_at_once() {
    for (settings, route, taught) in [
        ("", "subscribers = [\"key\"]", "\"key\" needs a [gateway.keys] table"),
        ("", "subscribers = [\"token\"]", "\"token\" needs a [gateway.tokens] table"),
        ("", "free_quota = { requests = 1, per = \"day\", by = \"key\" }", "free_quota: by = \"key\" needs"),
        ("", "rate_limits = [{ requests = 1, per = \"day\", by = \"key\" }]", "rate_limits: by = \"key\" needs"),
    ] {
        let route = format!("[[route]]\nmatch = \"/a\"\nprice = \"$1\"\n{route}");
        let error = Shop::at_desk(settings, &route, materials()).await.err().unwrap().to_string();
        assert!(error.contains(taught), "{error}\nlacks: {taught}");
    }
    let free = "[[route]]\nmatch = \"/a\"\nfree = true\nrate_limits = [{ requests = 1, per = \"day\", by = \"payer\" }]";
    let error = Shop::at_desk("", free, materials()).await.err().unwrap().to_string();
    assert!(error.contains("for routes that have a price"), "{error}");
}
