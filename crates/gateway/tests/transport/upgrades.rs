//! Connections that go on in another protocol.

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{SHORT, config, gateway, gateway_with, only, origin, raw, read_until, script, serve, soon, until};

const ASK: &str = "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Agrees to any upgrade, and says everything back.
async fn echo() -> std::net::SocketAddr {
    let app = Router::new().fallback(|mut request: Request| async move {
        assert_eq!(request.headers()["connection"], "upgrade");
        assert_eq!(request.headers()["sec-websocket-version"], "13");
        assert!(request.headers().contains_key("host"));
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let stream = TokioIo::new(upgrade.await.unwrap());
            let (mut reader, mut writer) = tokio::io::split(stream);
            let _broken = tokio::io::copy(&mut reader, &mut writer).await.is_err();
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            .body(axum::body::Body::empty())
            .unwrap()
    });
    serve(app).await
}

#[tokio::test]
async fn a_websocket_goes_through() {
    let (address, upstream) = gateway_with(config(echo().await), farthing_gateway::Materials::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A client that is in a hurry sends its first frame, masked, without waiting for the answer.
    let frame = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    stream.write_all(&[ASK.as_bytes(), &frame].concat()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(stream.read_u8()).await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for header in ["connection: upgrade", "upgrade: websocket", "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="] {
        assert!(head.contains(header), "{head}");
    }
    let mut back = [0; 11];
    soon(stream.read_exact(&mut back)).await.unwrap();
    assert_eq!(back, frame);
    let large = vec![7; 3 * 1024 * 1024];
    let (mut reader, mut writer) = stream.into_split();
    let expected = large.clone();
    let write = tokio::spawn(async move {
        writer.write_all(&large).await.unwrap();
        writer
    });
    let mut all = vec![0; expected.len()];
    soon(reader.read_exact(&mut all)).await.unwrap();
    assert!(all == expected);
    assert_eq!(upstream.requests_under_way(), 1);
    drop((write.await.unwrap(), reader));
    until(|| upstream.requests_under_way() == 0).await;
}

#[tokio::test]
async fn an_upstream_of_http_2_is_asked_to_upgrade_in_http_1() {
    let mut config = config(echo().await);
    config.protocol = farthing_gateway::Protocol::H2c;
    let mut stream = TcpStream::connect(gateway(config).await).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 101 "));
    stream.write_all(b"hello").await.unwrap();
    assert_eq!(read_until(&mut stream, "hello").await, "hello");
}

#[tokio::test]
async fn a_silent_connection_ends() {
    let mut config = config(echo().await);
    config.limits.upgrade_timeout = SHORT;
    let mut stream = TcpStream::connect(gateway(config).await).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    assert_eq!(soon(stream.read(&mut [0; 8])).await.unwrap(), 0);
}

#[tokio::test]
async fn an_upstream_that_does_not_agree_answers() {
    let (upstream, asked) = origin().await;
    let mut stream = TcpStream::connect(gateway(config(upstream)).await).await.unwrap();
    stream.write_all(ASK.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "\r\n\r\nok").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("upgrade"), "{answer}");
    assert_eq!(only(&asked).headers["upgrade"], "websocket");
}

#[tokio::test]
async fn no_request_is_carried_past_the_gateway_in_http_2() {
    let (upstream, asked) = origin().await;
    let address = gateway(config(upstream)).await;
    let head = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
        HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let answer = raw(address, head).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let headers = only(&asked).headers;
    assert!(!headers.contains_key("upgrade") && !headers.contains_key("http2-settings"), "{headers:?}");
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_no_answer() {
    for agreed in ["websocket", "h2c"] {
        let upstream = script(move |mut stream, _| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            let answer = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {agreed}\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ended = stream.read(&mut [0; 8]).await.is_err();
        })
        .await;
        let address = gateway(config(upstream)).await;
        let ask = if agreed == "h2c" { ASK } else { "GET / HTTP/1.1\r\nHost: a\r\n\r\n" };
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(ask.as_bytes()).await.unwrap();
        let answer = read_until(&mut stream, "upstream_b").await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{agreed}: {answer}");
    }
}

#[tokio::test]
async fn there_is_a_limit_to_upgraded_connections() {
    let mut config = config(echo().await);
    config.limits.max_upgrades = 1;
    let address = gateway(config).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(ASK.as_bytes()).await.unwrap();
    read_until(&mut first, "101").await;
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(ASK.as_bytes()).await.unwrap();
    let answer = read_until(&mut second, "gateway_busy").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}
