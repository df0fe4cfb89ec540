//! An upstream that is not there, not in time, or not well: a defined answer, always, and never a hang.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use farthing_gateway::{Materials, UpstreamConfig};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{
    SHORT, client, config, gateway, gateway_with, get, problem, read_until, script, serve, soon, text, until,
};

/// A port where nobody listens.
async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// An upstream that answers every request with these bytes and closes.
async fn saying(answer: &'static [u8]) -> SocketAddr {
    script(move |mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(answer).await.unwrap();
    })
    .await
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_503_and_soon_left_alone() {
    let upstream = nowhere().await;
    let mut config = config(upstream);
    config.limits.down = SHORT;
    let (address, gateway) = gateway_with(config, Materials::default()).await;
    for _ in 0..3 {
        assert_eq!(problem(get(address, "/").await).await, (503, "upstream_unreachable".to_owned()));
    }
    assert_eq!(problem(get(address, "/").await).await, (503, "upstream_down".to_owned()));
    assert!(!gateway.is_up());
    let listener = TcpListener::bind(upstream).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(|| async { "back" })).await.unwrap() });
    until(|| gateway.is_up()).await;
    assert_eq!(text(get(address, "/").await).await, "back");
}

#[tokio::test]
async fn failures_count_only_in_a_row() {
    let upstream = nowhere().await;
    let address = gateway(config(upstream)).await;
    for _ in 0..3 {
        for _ in 0..2 {
            assert_eq!(problem(get(address, "/").await).await, (503, "upstream_unreachable".to_owned()));
        }
        let listener = TcpListener::bind(upstream).await.unwrap();
        let answer = tokio::spawn(get(address, "/"));
        let (mut stream, _) = soon(listener.accept()).await.unwrap();
        drop(listener);
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        assert_eq!(soon(answer).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_504() {
    let upstream = script(|mut stream, _| async move {
        let _ended = stream.read_to_end(&mut Vec::new()).await.is_err();
    })
    .await;
    let mut config = config(upstream);
    config.limits.head_timeout = SHORT;
    let address = gateway(config).await;
    assert_eq!(problem(get(address, "/").await).await, (504, "upstream_timed_out".to_owned()));
    let request = Request::post(format!("http://{address}/")).body(Body::from("hello")).unwrap();
    let answer = soon(client().request(request)).await.unwrap();
    assert_eq!(problem(answer).await, (504, "upstream_timed_out".to_owned()));
}

#[tokio::test]
async fn an_upstream_that_reads_no_body_is_504() {
    let upstream = script(|stream, _| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut config = config(upstream);
    config.limits.head_timeout = SHORT;
    config.limits.body_timeout = SHORT;
    let address = gateway(config).await;
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![0; 65536])));
    let request = Request::post(format!("http://{address}/")).body(Body::from_stream(endless)).unwrap();
    // The client may be cut off while it still sends; what counts is that it ends.
    if let Ok(answer) = soon(client().request(request)).await {
        assert_eq!(problem(answer).await, (504, "upstream_timed_out".to_owned()));
    }
}

#[tokio::test]
async fn an_upstream_that_dies_before_it_answers_is_502() {
    let dies = script(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
    })
    .await;
    assert_eq!(problem(get(gateway(config(dies)).await, "/").await).await, (502, "upstream_broke_off".to_owned()));
    let half = saying(b"HTTP/1.1 200 OK\r\nContent-Le").await;
    assert_eq!(problem(get(gateway(config(half)).await, "/").await).await, (502, "upstream_broke_off".to_owned()));
}

#[tokio::test]
async fn what_is_not_http_is_502() {
    for answer in [
        &b"SSH-2.0-OpenSSH_9.9\r\n\r\n"[..],
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
    ] {
        let address = gateway(config(saying(answer).await)).await;
        assert_eq!(problem(get(address, "/").await).await, (502, "upstream_bad_answer".to_owned()), "{answer:?}");
    }
}

#[tokio::test]
async fn an_endless_head_is_502() {
    let upstream = script(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let mut written = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ").await;
        while written.is_ok() {
            written = stream.write_all(&[b'a'; 8_000]).await;
        }
    })
    .await;
    assert_eq!(problem(get(gateway(config(upstream)).await, "/").await).await, (502, "upstream_bad_answer".to_owned()));
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let answer = get(gateway(config(saying(answer).await)).await, "/").await;
        assert_eq!(answer.status(), 200);
        assert!(soon(answer.into_body().collect()).await.is_err());
    }
}

#[tokio::test]
async fn an_answer_that_stops_does_not_last_for_ever() {
    let upstream = script(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello").await.unwrap();
        let _ended = stream.read(&mut [0; 8]).await.is_err();
    })
    .await;
    let mut config = config(upstream);
    config.limits.body_timeout = SHORT;
    let (address, upstream) = gateway_with(config, Materials::default()).await;
    let answer = get(address, "/").await;
    assert!(soon(answer.into_body().collect()).await.is_err());
    until(|| upstream.requests_under_way() == 0).await;
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_nothing() {
    let (closed, mut was_closed) = tokio::sync::mpsc::channel(1);
    let (close, may_close) = tokio::sync::watch::channel(0);
    let upstream = script(move |mut stream, connection| {
        let (closed, mut may_close) = (closed.clone(), may_close.clone());
        async move {
            read_until(&mut stream, "\r\n\r\nhello").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            may_close.wait_for(|number| *number > connection).await.unwrap();
            drop(stream);
            closed.send(connection).await.unwrap();
        }
    })
    .await;
    let address = gateway(config(upstream)).await;
    for number in 0..10 {
        let request = Request::post(format!("http://{address}/")).body(Body::from("hello")).unwrap();
        assert_eq!(text(soon(client().request(request)).await.unwrap()).await, "ok");
        close.send_replace(number + 1);
        assert_eq!(soon(was_closed.recv()).await, Some(number), "each answer came over a new connection");
    }
}

#[tokio::test]
async fn nothing_is_sent_twice() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    let upstream = script(move |mut stream, _| {
        let count = Arc::clone(&count);
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            read_until(&mut stream, "\r\n\r\n").await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    let address = gateway(config(upstream)).await;
    assert_eq!(text(get(address, "/").await).await, "ok");
    assert_eq!(problem(get(address, "/").await).await, (502, "upstream_broke_off".to_owned()));
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn connections_are_used_again() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    let upstream = script(move |mut stream, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            loop {
                read_until(&mut stream, "\r\n\r\n").await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
        }
    })
    .await;
    let address = gateway(config(upstream)).await;
    for _ in 0..20 {
        assert_eq!(text(get(address, "/").await).await, "ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_503() {
    let silent = script(|mut stream, _| async move {
        let _ended = stream.read_to_end(&mut Vec::new()).await.is_err();
    })
    .await;
    let mut config = UpstreamConfig::new(format!("https://{silent}").parse().unwrap());
    config.limits.connect_timeout = SHORT;
    assert_eq!(problem(get(gateway(config).await, "/").await).await, (503, "upstream_unreachable".to_owned()));
}

#[tokio::test]
async fn the_health_path_decides() {
    let is_well = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&is_well);
    let health =
        move || async move { if says.load(Ordering::SeqCst) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE } };
    let app = Router::new().route("/healthz", axum::routing::get(health)).fallback(|| async { "ok" });
    let mut config = config(serve(app).await);
    config.health = Some("/healthz".to_owned());
    config.limits.health_interval = std::time::Duration::from_millis(20);
    let (address, upstream) = gateway_with(config, Materials::default()).await;
    let watch = tokio::spawn(upstream.watch());
    assert_eq!(text(get(address, "/").await).await, "ok");
    is_well.store(false, Ordering::SeqCst);
    until(|| !upstream.is_up()).await;
    assert_eq!(problem(get(address, "/").await).await, (503, "upstream_down".to_owned()));
    is_well.store(true, Ordering::SeqCst);
    until(|| upstream.is_up()).await;
    assert_eq!(text(get(address, "/").await).await, "ok");
    watch.abort();
}

#[tokio::test]
async fn a_watch_ends_with_its_upstream() {
    let mut config = config(nowhere().await);
    config.health = Some("/healthz".to_owned());
    config.limits.health_interval = std::time::Duration::from_millis(20);
    let upstream = farthing_gateway::Upstream::new(config, Materials::default()).unwrap();
    let watch = tokio::spawn(upstream.watch());
    drop(upstream);
    soon(watch).await.unwrap();
}

#[tokio::test]
async fn a_slow_client_does_not_count_as_a_slow_upstream() {
    let app = Router::new().fallback(|body: axum::body::Bytes| async move { body.len().to_string() });
    let mut config = config(serve(app).await);
    config.limits.head_timeout = SHORT;
    // All of it takes longer than the two together; only pauses count.
    config.limits.body_timeout = 5 * SHORT;
    let mut stream = TcpStream::connect(gateway(config).await).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n").await.unwrap();
    for _ in 0..4 {
        tokio::time::sleep(2 * SHORT).await;
        stream.write_all(b"a").await.unwrap();
    }
    let answer = read_until(&mut stream, "\r\n\r\n4").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_its_body_is_408() {
    let (upstream, _) = crate::harness::origin().await;
    let mut config = config(upstream);
    config.limits.body_timeout = SHORT;
    let mut stream = TcpStream::connect(gateway(config).await).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello").await.unwrap();
    let answer = read_until(&mut stream, "body_timed_out").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}
