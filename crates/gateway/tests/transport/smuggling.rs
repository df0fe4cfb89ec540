//! Two readings of where a message ends never get past the gateway: what the upstream reads is written anew.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use http_body_util::BodyExt;

use crate::harness::{config, count, gateway, origin, raw, serve};

/// What an upstream got: method, path, body.
type Got = Arc<Mutex<Vec<(String, String, Bytes)>>>;

async fn recording() -> (std::net::SocketAddr, Got) {
    let got = Got::default();
    let seen = Arc::clone(&got);
    let app = Router::new().fallback(move |request: Request| {
        let seen = Arc::clone(&seen);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            seen.lock().unwrap().push((parts.method.to_string(), parts.uri.to_string(), body));
            "ok"
        }
    });
    (gateway(config(serve(app).await)).await, got)
}

#[tokio::test]
async fn heads_that_no_two_servers_read_alike_are_refused() {
    let (upstream, asked) = origin().await;
    let address = gateway(config(upstream)).await;
    for head in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 4\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 99999999999999999999999\r\n",
        "Content-Length:\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "X-Folded: a\r\n b\r\n",
        "X-Null: a\0b\r\n",
        "X-Return: a\rTransfer-Encoding: chunked\r\n",
        " X-Space: a\r\n",
        ": nameless\r\n",
        "No colon\r\n",
        "Host: other.example\r\n",
        "Content-Type: a/b\r\nContent-Type: c/d\r\n",
        "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
        "PAYMENT-SIGNATURE: a\r\nPAYMENT-SIGNATURE: b\r\n",
    ] {
        let answer = raw(address, format!("POST /a HTTP/1.1\r\nHost: a\r\n{head}\r\nabc")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "nothing follows: {answer}");
    }
    assert_eq!(count(&asked), 0);
}

#[tokio::test]
async fn a_length_beside_chunks_counts_for_nothing_and_ends_the_connection() {
    for head in ["Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"] {
        let (address, got) = recording().await;
        let body = "5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = raw(address, format!("POST /a HTTP/1.1\r\nHost: a\r\n{head}\r\n{body}")).await;
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        let expected = ("POST".to_owned(), "/a".to_owned(), Bytes::from_static(b"hello"));
        assert_eq!(*got.lock().unwrap(), [expected], "{head:?}");
    }
}

#[tokio::test]
async fn a_length_that_is_said_twice_alike_is_said_once() {
    let (address, got) = recording().await;
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n";
    raw(address, format!("{head}abcGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
    assert_eq!(*got.lock().unwrap(), [("POST".to_owned(), "/a".to_owned(), Bytes::from_static(b"abc"))]);
}

#[tokio::test]
async fn bare_line_feeds_hide_no_second_request() {
    let (address, got) = recording().await;
    let first = "POST /a HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc";
    raw(address, format!("{first}GET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
    let got = got.lock().unwrap();
    // Two requests to everybody: the gateway saw them apart, and wrote each of them anew.
    let paths: Vec<&str> = got.iter().map(|(_, path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/a", "/b"]);
    assert_eq!(got[0].2, Bytes::from_static(b"abc"));
}

#[tokio::test]
async fn broken_chunks_end_the_request() {
    for chunks in [
        "5\nhello\n0\n\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "x\r\n\r\n",
    ] {
        let (address, got) = recording().await;
        let head = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = raw(address, format!("{head}{chunks}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert!(!answer.starts_with("HTTP/1.1 2") && !answer.starts_with("HTTP/1.1 5"), "{chunks:?}: {answer}");
        assert!(got.lock().unwrap().iter().all(|(_, path, _)| path != "/smuggled"), "{chunks:?}: {got:?}");
    }
}

#[tokio::test]
async fn requests_in_one_packet_are_answered_one_after_the_other() {
    let (address, got) = recording().await;
    let both =
        "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = raw(address, both).await;
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{answer}");
    let paths: Vec<String> = got.lock().unwrap().iter().map(|(_, path, _)| path.clone()).collect();
    assert_eq!(paths, ["/a", "/b"]);
}

#[tokio::test]
async fn what_follows_a_bad_request_is_not_heard() {
    let (upstream, asked) = origin().await;
    let address = gateway(config(upstream)).await;
    let answer = raw(address, "GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\nGET /c HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(count(&asked), 0);
}
