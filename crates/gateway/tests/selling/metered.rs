//! Prices that are counted in the answer, out of what the buyer has signed for.

use crate::shop::Shop;

const METERED: &str = r#"
    [[route]]
    match = "POST /chat"
    price = { each = "$0.002", per = "1000 tokens", of = "response:/usage/total_tokens", at_most = "$0.05" }
    [[route]]
    match = "POST /stream"
    price = { each = "$0.002", per = "1000 tokens", of = "response:/usage/total_tokens", at_least = "$0.001", at_most = "$0.05" }
    [[route]]
    match = "/echo"
    price = { each = "$0.000001", per = "2 bytes", of = "response", at_most = "$0.05" }
    [[route]]
    match = "/uncounted"
    price = { each = "$0.01", per = "page", of = "response:/pages", at_most = "$0.05", uncounted = "$0.03" }
    [[route]]
    match = "/words"
    price = { each = "$0.01", per = "word", of = "response", at_most = "$0.05" }
    [[route]]
    match = "/timed"
    price = { each = "$0.000001", per = "hour", of = "response", at_most = "$0.05" }
    [[route]]
    match = "/*"
    price = { each = "$0.01", per = "page", of = "response:/pages", at_most = "$0.05" }
"#;

#[tokio::test]
async fn what_an_answer_uses_is_charged_to_the_atomic_unit() {
    let shop = Shop::open(METERED).await;
    for (tokens, atomic) in [("1500", 3_000), ("1", 2), ("0.5", 1), ("25001", 50_000), ("1000000000", 50_000), ("0", 0)] {
        let (answer, earned) = shop.buy(shop.post("/chat", tokens)).await;
        assert_eq!((answer, earned), (format!("{{\"usage\":{{\"total_tokens\":{tokens}}}}}"), atomic), "{tokens} tokens");
    }
    let (stream, earned) = shop.buy(shop.post("/stream", "1500")).await;
    assert!(stream.starts_with("data: {\"usage\":null}") && stream.ends_with("data: [DONE]\n\n"), "{stream}");
    assert_eq!(earned, 3_000);
    assert_eq!(shop.buy(shop.post("/stream", "7")).await.1, 1_000, "at least");
    assert_eq!(shop.buy(shop.post("/echo", "x".repeat(2_469))).await.1, 1_235);
    assert_eq!(shop.buy(shop.get("/words")).await.1, 20_000, "`GET /words` is two words");
    assert_eq!(shop.buy(shop.get("/uncounted")).await.1, 30_000, "what the seller says that no count costs");
    assert_eq!(shop.buy(shop.get("/timed")).await.1, 1, "a part of an hour is rounded up");
}

#[tokio::test]
async fn an_answer_without_a_count_is_nobodys_to_pay() {
    let shop = Shop::open(METERED).await;
    for (target, body) in
        [("/chat", "null"), ("/chat", "\"many\""), ("/chat", "-5"), ("/stream", "null"), ("/zipped", ""), ("/page", "")]
    {
        let answer = shop.post_and_pay(target, body).await;
        assert_eq!(answer.status, 502, "{target} {body}: {answer:?}");
        let problem = answer.json();
        assert_eq!(problem["error"], "usage_unknown");
        let message = problem["message"].as_str().unwrap();
        assert!(message.contains("to count, but") && message.contains("nothing was charged"), "{message}");
    }
    assert_eq!(shop.earned(), 0);
}

#[tokio::test]
async fn answers_that_fail_lead_elsewhere_or_have_no_body_cost_nothing() {
    let shop = Shop::open(METERED).await;
    assert_eq!(shop.post("/fails", "").send().await.unwrap().status(), 418);
    assert_eq!(shop.get("/moved").send().await.unwrap().status(), 302);
    assert_eq!(shop.upstream.lines(), ["POST /fails", "GET /moved"]);
    assert_eq!(shop.earned(), 0);
}

#[tokio::test]
async fn what_has_to_be_read_is_asked_for_whole_and_plain() {
    let shop = Shop::open(METERED).await;
    shop.buy(shop.post("/chat", "5").header("accept-encoding", "gzip, br").header("range", "bytes=0-1")).await;
    let seen = shop.upstream.seen();
    assert_eq!(seen[0].headers["accept-encoding"], "identity");
    assert!(!seen[0].headers.contains_key("range"));
}

#[tokio::test]
async fn an_answer_that_is_too_large_to_hold_is_not_charged() {
    let shop = Shop::with("max_held_body_bytes = 100", METERED).await;
    let answer = shop.post_and_pay("/echo", &"x".repeat(101)).await;
    assert_eq!((answer.status, shop.earned()), (502, 0));
    assert!(answer.text.contains("larger than the 100 bytes"), "{answer:?}");
}
