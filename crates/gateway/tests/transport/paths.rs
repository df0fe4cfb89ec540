//! The path that is matched is the path that is forwarded.

use crate::harness::{config, count, gateway, only, origin, raw};

#[tokio::test]
async fn paths_with_two_readings_never_reach_the_upstream() {
    let (upstream, asked) = origin().await;
    let address = gateway(config(upstream)).await;
    for path in [
        "//",
        "//free/../paid",
        "/free//paid",
        "/free/../paid",
        "/free/./paid",
        "/free/..",
        "/free/%2e%2e/paid",
        "/free/.%2E/paid",
        "/free/..;/paid",
        "/paid;jsessionid=1",
        "/free%2f..%2fpaid",
        "/free%5c..%5cpaid",
        "/free\\..\\paid",
        "/p%61id",
        "/paid%00.png",
        "/paid%0d%0aX-A:%20b",
        "/paid%",
        "/paid%2",
        "/paid%gg",
        "/paid%u002f",
        "/paid%252f",
        "/%c0%ae%c0%ae/paid",
        "/%ff",
        "/a\"b",
        "/a<b>",
        "*",
    ] {
        let answer = raw(address, format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        assert!(answer.contains("connection: close"), "{path}: {answer}");
    }
    assert_eq!(count(&asked), 0);
}

#[tokio::test]
async fn a_refusal_teaches_what_to_send() {
    let (upstream, _) = origin().await;
    let answer = raw(gateway(config(upstream)).await, "GET /a/%2e%2e/b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.contains("path_needless_encoding") && answer.contains("send the character itself"), "{answer}");
}

#[tokio::test]
async fn good_paths_and_queries_arrive_byte_for_byte() {
    for target in [
        "/",
        "/?",
        "/reports/1?b=2&a=1&a=%2F..%2f;//",
        "/na%c3%AFve/a%20b/",
        "/users/a%40b.example:c@d",
        "/100%25/what%3F",
        "/[id]/a|b^c",
        "/a?http://other.example/../x",
    ] {
        let (upstream, asked) = origin().await;
        let address = gateway(config(upstream)).await;
        let answer = raw(address, format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{target}: {answer}");
        assert_eq!(only(&asked).uri.to_string(), target);
    }
}

#[tokio::test]
async fn the_upstreams_own_prefix_comes_first() {
    let (upstream, asked) = origin().await;
    let mut config = config(upstream);
    config.url = format!("http://{upstream}/api/v1/").parse().unwrap();
    let answer = raw(gateway(config).await, "GET /a?b=/c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(only(&asked).uri.to_string(), "/api/v1/a?b=/c");
}

#[tokio::test]
async fn a_fragment_is_no_part_of_what_is_forwarded() {
    let (upstream, asked) = origin().await;
    let address = gateway(config(upstream)).await;
    raw(address, "GET /free#/../paid HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(only(&asked).uri.to_string(), "/free");
}

#[tokio::test]
async fn an_absolute_target_names_the_host_that_the_header_names() {
    let (upstream, asked) = origin().await;
    let address = gateway(config(upstream)).await;
    let ask =
        |target: &str, host: &str| raw(address, format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"));
    for (target, host) in [
        ("http://other.example/a", "shop.example"),
        ("http://user:word@shop.example/a", "shop.example"),
        ("http://shop.example:81/a", "shop.example"),
        ("ftp://shop.example/a", "shop.example"),
        ("/a", "user@shop.example"),
        ("/a", ""),
    ] {
        let answer = ask(target, host).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target} {host}: {answer}");
    }
    assert_eq!(count(&asked), 0);
    assert!(ask("http://shop.example/a?b", "shop.example").await.starts_with("HTTP/1.1 200 "));
    assert_eq!(only(&asked).uri.to_string(), "/a?b");
    let answer = raw(address, "GET /a HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("invalid_host"), "{answer}");
}

#[tokio::test]
async fn connect_and_trace_are_not_served() {
    let (upstream, asked) = origin().await;
    let address = gateway(config(upstream)).await;
    for line in ["TRACE /a HTTP/1.1", "CONNECT shop.example:80 HTTP/1.1", "CONNECT / HTTP/1.1"] {
        let answer = raw(address, format!("{line}\r\nHost: shop.example:80\r\n\r\n")).await;
        let is_refused = answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD");
        assert!(is_refused || answer.starts_with("HTTP/1.1 400 "), "{line}: {answer}");
    }
    assert!(raw(address, "TRACE /a HTTP/1.1\r\nHost: a\r\n\r\n").await.starts_with("HTTP/1.1 405 "));
    assert_eq!(count(&asked), 0);
}
