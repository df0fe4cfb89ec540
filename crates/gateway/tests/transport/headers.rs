//! Headers on their way: what is taken away, what is added, what stays.

use axum::Router;
use axum::body::Body;
use farthing_gateway::{AddedHeaders, Materials, TrustedProxies, Upstream};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tower::ServiceExt;

use crate::harness::{client, config, gateway, gateway_with, get, only, origin, raw, read_until, script, serve, soon, text};

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn the_upstream_hears_nothing_that_is_not_the_clients_to_say() {
    let (upstream, asked) = origin().await;
    let head = "POST /a HTTP/1.1\r\nHost: shop.example\r\nConnection: close, X-Hop\r\nKeep-Alive: 5\r\nX-Hop: 1\r\nTE: gzip\r\n\
        Proxy-Authorization: Basic a\r\nPAYMENT-SIGNATURE: a\r\nX-PAYMENT: a\r\nSIGN-IN-WITH-X: a\r\nPAYMENT-REQUIRED: a\r\n\
        PAYMENT-RESPONSE: a\r\nX-PAYMENT-RESPONSE: a\r\nSettlement-Overrides: {}\r\nX-HTTP-Method-Override: DELETE\r\n\
        X-Method-Override: DELETE\r\nX-HTTP-Method: DELETE\r\nX-Original-URL: /b\r\nX-Rewrite-URL: /b\r\nX_Original_Url: /b\r\n\
        PAYMENT_SIGNATURE: a\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\n\
        Forwarded: for=6.6.6.6\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: gopher\r\nFarthing-Payer: 0x6\r\n\
        Proxy: http://evil.example\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nAccept: text/plain\r\nAPI_Key: mine\r\n\
        Authorization: Bearer mine\r\nContent-Length: 2\r\n\r\nhi";
    let answer = raw(gateway(config(upstream)).await, head).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let headers = only(&asked).headers;
    let expected = [
        "accept",
        "api_key",
        "authorization",
        "content-length",
        "forwarded",
        "host",
        "via",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    assert_eq!(names(&headers), expected);
    assert_eq!(headers["host"], upstream.to_string());
    assert_eq!(headers["via"], "1.1 farthing");
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-host"], "shop.example");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["forwarded"], "for=127.0.0.1;host=\"shop.example\";proto=http");
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_added_to() {
    let (upstream, asked) = origin().await;
    let mut config = config(upstream);
    config.trusted_proxies = TrustedProxies::new(vec!["127.0.0.0/8".parse().unwrap()]);
    let head = "GET /a HTTP/1.1\r\nHost: inside.example\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.7\r\nVia: 1.1 front\r\n\
        Forwarded: for=192.0.2.7\r\nX-Forwarded-Host: shop.example\r\nX-Forwarded-Proto: https\r\nX-Original-URL: /b\r\n\r\n";
    raw(gateway(config).await, head).await;
    let headers = only(&asked).headers;
    assert_eq!(headers["x-forwarded-for"], "192.0.2.7, 127.0.0.1");
    assert_eq!(headers["forwarded"], "for=192.0.2.7, for=127.0.0.1;host=\"inside.example\";proto=http");
    assert_eq!(headers["x-forwarded-host"], "shop.example");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert_eq!(headers["via"], "1.1 front, 1.1 farthing");
    assert!(!headers.contains_key("x-original-url"));
}

#[tokio::test]
async fn the_clients_host_is_kept_where_that_is_wanted() {
    let (upstream, asked) = origin().await;
    let mut config = config(upstream);
    config.preserve_host = true;
    raw(gateway(config).await, "GET /a HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").await;
    assert_eq!(only(&asked).headers["host"], "shop.example");
}

#[tokio::test]
async fn the_sellers_credentials_replace_what_a_client_sends_and_are_never_printed() {
    let (upstream, asked) = origin().await;
    let key = (HeaderName::from_static("x-api-key"), HeaderValue::from_static("the-sellers-own-key"));
    let bearer = (HeaderName::from_static("authorization"), HeaderValue::from_static("Bearer the-sellers-own-key"));
    let materials = Materials { headers: vec![key, bearer], roots: Vec::new() };
    let (address, upstream) = gateway_with(config(upstream), materials).await;
    assert!(!format!("{upstream:?}").contains("the-sellers-own-key"));
    let head =
        "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Api-Key: mine\r\nX_Api_Key: mine\r\nAuthorization: mine\r\n\r\n";
    let answer = raw(address, head).await;
    assert!(!answer.contains("the-sellers-own-key"), "{answer}");
    let headers = only(&asked).headers;
    assert_eq!(headers["x-api-key"], "the-sellers-own-key");
    assert_eq!(headers["authorization"], "Bearer the-sellers-own-key");
    assert!(!headers.contains_key("x_api_key"));
}

#[tokio::test]
async fn headers_of_the_protocol_and_the_connection_cannot_be_added() {
    for name in ["payment-response", "x-payment", "connection", "host", "content-length", "transfer-encoding"] {
        let header = (HeaderName::from_static(name), HeaderValue::from_static("a"));
        let materials = Materials { headers: vec![header], roots: Vec::new() };
        let error = Upstream::new(config("127.0.0.1:1".parse().unwrap()), materials).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[tokio::test]
async fn what_is_in_front_may_tell_the_upstream_who_pays() {
    let (upstream, asked) = origin().await;
    let upstream = Upstream::new(config(upstream), Materials::default()).unwrap();
    let mut request = Request::get("/a").header("host", "a").body(Body::empty()).unwrap();
    for name in ["farthing-payer", "x-tenant", "x_tenant"] {
        request.headers_mut().insert(name, HeaderValue::from_static("forged"));
    }
    let mut added = AddedHeaders::default();
    added.0.insert("farthing-payer", HeaderValue::from_static("0x1"));
    added.0.insert("x-tenant", HeaderValue::from_static("one"));
    request.extensions_mut().insert(added);
    assert_eq!(upstream.oneshot(request).await.unwrap().status(), 200);
    let headers = only(&asked).headers;
    assert_eq!(headers.get_all("farthing-payer").iter().collect::<Vec<_>>(), ["0x1"]);
    assert_eq!(headers.get_all("x-tenant").iter().collect::<Vec<_>>(), ["one"]);
    assert!(!headers.contains_key("x_tenant"));
}

#[tokio::test]
async fn clients_hear_nothing_that_is_not_the_upstreams_to_say() {
    let app = Router::new().fallback(|| async {
        let headers = [
            ("payment-required", "a"),
            ("payment-response", "a"),
            ("x-payment-response", "a"),
            ("alt-svc", "h3=\":443\""),
            ("keep-alive", "timeout=5"),
            ("connection", "x-hop"),
            ("x-hop", "a"),
            ("server", "theirs"),
            ("via", "1.1 inner"),
            ("set-cookie", "a=b"),
            ("x-kept", "a"),
        ];
        (headers, "body")
    });
    let answer = get(gateway(config(serve(app).await)).await, "/").await;
    assert_eq!(answer.headers()["server"], "theirs");
    assert_eq!(answer.headers()["via"], "1.1 inner, 1.1 farthing");
    assert_eq!(names(answer.headers()), ["content-length", "content-type", "date", "server", "set-cookie", "via", "x-kept"]);
    assert_eq!(text(answer).await, "body");
}

#[tokio::test]
async fn redirects_of_the_upstream_lead_back_to_the_gateway() {
    let app = Router::new().fallback(|request: axum::extract::Request| async move {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        (http::StatusCode::FOUND, [("location", format!("http://{host}/next?a=b"))])
    });
    let answer = get(gateway(config(serve(app).await)).await, "/").await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (302, &HeaderValue::from_static("/next?a=b")));
}

#[tokio::test]
async fn a_length_beside_the_upstreams_chunks_is_dropped() {
    let upstream = script(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
    })
    .await;
    let answer = get(gateway(config(upstream)).await, "/").await;
    assert!(!answer.headers().contains_key("content-length"));
    assert_eq!(text(answer).await, "hello");
}

#[tokio::test]
async fn a_body_is_asked_for_only_once_somebody_wants_it() {
    let (upstream, asked) = origin().await;
    let address = gateway(config(upstream)).await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes()).await.unwrap();
    read_until(&mut stream, "HTTP/1.1 100 Continue\r\n\r\n").await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"hello").await.unwrap();
    read_until(&mut stream, "HTTP/1.1 200 OK").await;
    assert!(!only(&asked).headers.contains_key("expect"));
    let refused = raw(address, head.replace("/a", "/a/../b")).await;
    assert!(refused.starts_with("HTTP/1.1 400 "), "no body is asked for: {refused}");
    let unknown = raw(address, head.replace("100-continue", "200-ok")).await;
    assert!(unknown.starts_with("HTTP/1.1 417 "), "{unknown}");
}

#[tokio::test]
async fn a_gateway_that_is_its_own_upstream_ends() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let upstream = Upstream::new(config(address), Materials::default()).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback_service(upstream)).await.unwrap() });
    let request = Request::get(format!("http://{address}/")).body(Body::empty()).unwrap();
    let answer = soon(client().request(request)).await.unwrap();
    assert_eq!(answer.status(), 508);
}
