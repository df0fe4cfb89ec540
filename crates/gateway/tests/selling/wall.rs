//! There is one way to what is sold, and it is paid for.

use crate::shop::Shop;

/// Everything but the reports is free: the wall that is easiest to go around.
const ROUTES: &str = r#"
    [[route]]
    match = "/reports/**"
    price = "$0.01"
    [[route]]
    match = "/admin/**"
    deny = true
"#;

async fn shop() -> Shop {
    Shop::with("unmatched = \"free\"", ROUTES).await
}

fn request(line: &str, headers: &str) -> String {
    format!("{line} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn no_other_spelling_of_a_path_leads_past_the_price() {
    let shop = shop().await;
    for target in [
        "/reports/1",
        "/reports/1/",
        "/reports",
        "/reports/",
        "/Reports/1",
        "/REPORTS/1",
        "/reports/1?a=b",
        "/reports/1%20",
        "/reports%20/../reports/1",
        "/%72eports/1",
        "/reports%2f1",
        "/reports%5c1",
        "/reports\\1",
        "//reports/1",
        "/./reports/1",
        "/free/../reports/1",
        "/free/%2e%2e/reports/1",
        "/free/..%2freports/1",
        "/free;/../reports/1",
        "/reports;a=b/1",
        "/reports/1;a",
        "/reports//1",
        "/reports/%00",
        "/repo%c5%bfts/1/%ff",
        "/%e2%84%aa/%252e%252e/reports/1",
        "http://shop.example/reports/1",
        "http://shop.example/free/../reports/1",
        "/admin/../reports/1",
        "/ADMIN/users",
        "/admin",
    ] {
        for method in ["GET", "HEAD", "POST", "PROPFIND", "OPTIONS"] {
            let status = shop.write(&request(&format!("{method} {target}"), "content-length: 0\r\n")).await;
            assert!(matches!(status, 400 | 402 | 403), "{method} {target} was answered with {status}");
        }
    }
    assert_eq!(shop.upstream.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn the_path_that_was_matched_is_the_path_that_is_asked_for() {
    let shop = shop().await;
    for target in ["/free/caf%C3%A9?a=%2e%2e/reports/1", "/FREE/a", "/reports1", "/free/reports/1"] {
        assert_eq!(shop.write(&request(&format!("GET {target}"), "")).await, 200, "{target}");
        assert_eq!(shop.upstream.lines(), [format!("GET {target}")]);
    }
}

#[tokio::test]
async fn no_header_makes_another_request_of_a_priced_one() {
    let shop = shop().await;
    for headers in [
        "x-http-method-override: OPTIONS\r\n",
        "x-original-url: /free\r\n",
        "x-rewrite-url: /free\r\n",
        "x-forwarded-prefix: /free\r\n",
        "payment-response: e30=\r\n",
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n",
        "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        "origin: https://a.example\r\n",
        "access-control-request-method: GET\r\n",
    ] {
        let status = shop.write(&request("GET /reports/1", headers)).await;
        assert_eq!(status, 402, "{headers}");
    }
    assert_eq!(shop.upstream.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn requests_with_two_readings_reach_nobody() {
    let shop = shop().await;
    for (line, headers) in [
        ("GET /free", "host: other.example\r\n"),
        ("POST /free", "content-length: 5\r\ncontent-length: 6\r\n"),
        ("GET /reports/1", "payment-signature: a\r\npayment-signature: b\r\n"),
        ("GET /reports/1", "payment-signature: a, b\r\n"),
        ("GET /reports/1", "payment-signature: a\r\nx-payment: b\r\n"),
        ("GET http://user@shop.example/free", ""),
    ] {
        assert_eq!(shop.write(&request(line, headers)).await, 400, "{line} {headers}");
    }
    assert_eq!(shop.upstream.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_priced_route_is_never_upgraded() {
    let shop = shop().await;
    let payment = shop.payment(&shop.ask(shop.http.get(shop.at("/reports/1"))).await).await;
    let request = shop.http.get(shop.at("/reports/1")).header("payment-signature", payment);
    let answer = shop.ask(request.header("connection", "upgrade").header("upgrade", "websocket")).await;
    assert_eq!((answer.status, shop.earned()), (200, 10_000));
    assert!(!shop.upstream.seen()[0].headers.contains_key("upgrade"));
}
