//! Every limit is one.

use axum::body::{Body, Bytes};
use farthing_gateway::{Limits, Materials, Upstream};
use http::Request;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::{
    client, config, count, gateway, gateway_with, get, origin, problem, raw, read_until, script, soon, text, until,
};

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_not_asked_for() {
    let (upstream, asked) = origin().await;
    let mut config = config(upstream);
    config.limits.max_body_bytes = 10;
    let address = gateway(config).await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 11\r\n\r\n";
    let answer = raw(address, head).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("at most 10 bytes"), "{answer}");
    assert_eq!(count(&asked), 0);
    let request = Request::post(format!("http://{address}/")).body(Body::from("0123456789")).unwrap();
    assert_eq!(text(soon(client().request(request)).await.unwrap()).await, "ok");
}

#[tokio::test]
async fn a_body_that_turns_out_too_large_is_cut_off() {
    let (upstream, _) = origin().await;
    let mut config = config(upstream);
    config.limits.max_body_bytes = 10;
    let chunks =
        futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"0123456")), Ok(Bytes::from_static(b"7890"))]);
    let request = Request::post(format!("http://{}/", gateway(config).await)).body(Body::from_stream(chunks)).unwrap();
    assert_eq!(problem(soon(client().request(request)).await.unwrap()).await, (413, "body_too_large".to_owned()));
}

#[tokio::test]
async fn there_is_a_limit_to_headers_and_to_the_target() {
    let (upstream, asked) = origin().await;
    let mut config = config(upstream);
    config.limits.max_header_bytes = 1_000;
    let address = gateway(config).await;
    let answer = raw(address, format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "a".repeat(1_000))).await;
    assert!(answer.starts_with("HTTP/1.1 431 ") && answer.contains("at most 1000 bytes"), "{answer}");
    let many = "X-Many: a\r\n".repeat(200);
    let answer = raw(address, format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let answer = raw(address, format!("GET /?{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(9_000))).await;
    assert!(answer.starts_with("HTTP/1.1 414 "), "{answer}");
    assert_eq!(count(&asked), 0);
}

#[tokio::test]
async fn there_is_a_limit_to_requests_under_way() {
    let upstream = script(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await.unwrap();
        let _ended = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 8]).await.is_err();
    })
    .await;
    let mut config = config(upstream);
    config.limits.max_requests = 1;
    let (address, upstream) = gateway_with(config, Materials::default()).await;
    let first = get(address, "/").await;
    assert_eq!(problem(get(address, "/").await).await, (503, "gateway_busy".to_owned()));
    drop(first);
    until(|| upstream.requests_under_way() == 0).await;
    assert_eq!(get(address, "/").await.status(), 200);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_gives_its_place_back() {
    let upstream = script(|mut stream, _| async move {
        let _ended = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new()).await.is_err();
    })
    .await;
    let (address, upstream) = gateway_with(config(upstream), Materials::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    until(|| upstream.requests_under_way() == 1).await;
    drop(stream);
    until(|| upstream.requests_under_way() == 0).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_by_the_gateway() {
    let (ended, mut has_ended) = tokio::sync::mpsc::channel(1);
    let upstream = script(move |mut stream, _| {
        let ended = ended.clone();
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            ended.send(tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 8]).await.unwrap()).await.unwrap();
        }
    })
    .await;
    let mut config = config(upstream);
    config.limits.idle_connection_timeout = crate::harness::SHORT;
    assert_eq!(text(get(gateway(config).await, "/").await).await, "ok");
    // Within less than the 4 s that it would otherwise be kept.
    let ended = tokio::time::timeout(std::time::Duration::from_secs(3), has_ended.recv()).await;
    assert_eq!(ended, Ok(Some(0)));
}

#[test]
fn limits_that_leave_no_room_are_refused_at_the_start() {
    let small = [
        Limits { max_requests: 0, ..Limits::default() },
        Limits { max_answer_head_bytes: 100, ..Limits::default() },
        Limits { max_header_bytes: 0, ..Limits::default() },
    ];
    for limits in small {
        let mut config = config("127.0.0.1:1".parse().unwrap());
        config.limits = limits;
        let error = Upstream::new(config, Materials::default()).unwrap_err().to_string();
        assert!(error.starts_with("limits: max_"), "{error}");
    }
}
