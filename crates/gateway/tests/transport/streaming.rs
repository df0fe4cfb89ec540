//! Bodies stream, both ways, and wait for the one who reads them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::harness::{client, config, gateway, get, http2_client, read_until, script, serve, soon, text};

const CHUNK_BYTES: usize = 64 * 1024;
/// More than all sockets and windows between two ends hold together.
const LARGE_BYTES: usize = 128 * 1024 * 1024;
/// What those may hold.
const MAX_ON_THE_WAY_BYTES: usize = 48 * 1024 * 1024;

/// A body of that many bytes, and how many of them have been taken.
fn counted(bytes: usize) -> (Body, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let chunks = stream::iter(0..bytes / CHUNK_BYTES).map(move |number| {
        count.fetch_add(CHUNK_BYTES, Ordering::SeqCst);
        let byte = u8::try_from(number % 251).unwrap();
        Ok::<_, Infallible>(Bytes::from(vec![byte; CHUNK_BYTES]))
    });
    (Body::from_stream(chunks), taken)
}

/// Waits until no more is taken, and says how much was.
async fn settled(taken: &AtomicUsize) -> usize {
    let mut last = taken.load(Ordering::SeqCst);
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let now = taken.load(Ordering::SeqCst);
        if now == last && now > 0 {
            return now;
        }
        last = now;
    }
}

#[tokio::test]
async fn a_download_waits_for_a_slow_reader() {
    let (body, taken) = counted(LARGE_BYTES);
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let app = Router::new().fallback(move || async move { body.lock().unwrap().take().unwrap() });
    let answer = get(gateway(config(serve(app).await)).await, "/").await;
    let on_the_way = soon(settled(&taken)).await;
    assert!(on_the_way < MAX_ON_THE_WAY_BYTES, "{on_the_way} bytes were read ahead");
    let mut bytes = 0;
    let mut body = answer.into_body();
    while let Some(frame) = soon(body.frame()).await {
        bytes += frame.unwrap().into_data().unwrap().len();
    }
    assert_eq!(bytes, LARGE_BYTES);
}

#[tokio::test]
async fn an_upload_waits_for_a_slow_upstream() {
    let (read, may_read) = mpsc::channel::<()>(1);
    let may_read = Arc::new(tokio::sync::Mutex::new(may_read));
    let app = Router::new().fallback(move |request: Request| async move {
        may_read.lock().await.recv().await.unwrap();
        let mut bytes = 0;
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            bytes += frame.unwrap().into_data().unwrap().len();
        }
        bytes.to_string()
    });
    let mut config = config(serve(app).await);
    config.limits.max_body_bytes = u64::MAX;
    let address = gateway(config).await;
    let (body, taken) = counted(LARGE_BYTES);
    let request = http::Request::post(format!("http://{address}/")).body(body).unwrap();
    let answer = tokio::spawn(client().request(request));
    let on_the_way = soon(settled(&taken)).await;
    assert!(on_the_way < MAX_ON_THE_WAY_BYTES, "{on_the_way} bytes were read ahead");
    read.send(()).await.unwrap();
    assert_eq!(text(soon(answer).await.unwrap().unwrap()).await, LARGE_BYTES.to_string());
}

#[tokio::test]
async fn what_goes_through_is_what_comes_out() {
    let app = Router::new().fallback(|request: Request| async move { request.into_body() });
    let address = gateway(config(serve(app).await)).await;
    for client in [client(), http2_client()] {
        let (body, _) = counted(16 * 1024 * 1024);
        let sent = Sha256::digest(counted(16 * 1024 * 1024).0.collect().await.unwrap().to_bytes());
        let request = http::Request::post(format!("http://{address}/echo")).body(body).unwrap();
        let answer = soon(client.request(request)).await.unwrap();
        let got = Sha256::digest(soon(answer.into_body().collect()).await.unwrap().to_bytes());
        assert_eq!(sent, got);
    }
}

#[tokio::test]
async fn events_arrive_one_by_one() {
    let (send, events) = mpsc::channel::<Bytes>(1);
    let events = Arc::new(std::sync::Mutex::new(Some(events)));
    let app = Router::new().fallback(move || async move {
        let events = events.lock().unwrap().take().unwrap();
        let body = stream::unfold(events, |mut events| async move {
            events.recv().await.map(|event| (Ok::<_, Infallible>(event), events))
        });
        ([("content-type", "text/event-stream")], Body::from_stream(body))
    });
    let answer = get(gateway(config(serve(app).await)).await, "/").await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut body = answer.into_body();
    for number in 0..5 {
        // The next event is made only once this one has arrived, so nothing can have waited for more.
        let event = Bytes::from(format!("data: {number}\n\n"));
        send.send(event.clone()).await.unwrap();
        assert_eq!(soon(body.frame()).await.unwrap().unwrap().into_data().unwrap(), event);
    }
    drop(send);
    assert!(soon(body.frame()).await.is_none());
}

#[tokio::test]
async fn both_ways_at_once() {
    let app = Router::new().fallback(|request: Request| async move { request.into_body() });
    let address = gateway(config(serve(app).await)).await;
    let (send, chunks) = mpsc::channel::<Bytes>(1);
    let body = Body::from_stream(stream::unfold(chunks, |mut chunks| async move {
        chunks.recv().await.map(|chunk| (Ok::<_, Infallible>(chunk), chunks))
    }));
    let request = http::Request::post(format!("http://{address}/")).body(body).unwrap();
    let mut answer = soon(http2_client().request(request)).await.unwrap().into_body();
    for number in 0..5_u8 {
        send.send(Bytes::from(vec![number; 10])).await.unwrap();
        assert_eq!(soon(answer.frame()).await.unwrap().unwrap().into_data().unwrap(), vec![number; 10]);
    }
    drop(send);
    assert!(soon(answer.collect()).await.unwrap().to_bytes().is_empty());
}

#[tokio::test]
async fn an_answer_need_not_wait_for_the_end_of_the_body() {
    let upstream = script(|mut stream, _| async move {
        read_until(&mut stream, "first").await;
        stream.write_all(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nwho?").await.unwrap();
        read_until(&mut stream, "nothing more").await;
    })
    .await;
    let address = gateway(config(upstream)).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_until(&mut stream, "who?").await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_by_the_upstream() {
    let (left, mut was_left) = mpsc::channel::<()>(1);
    let upstream = script(move |mut stream, _| {
        let left = left.clone();
        async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await.unwrap();
            let mut rest = Vec::new();
            let _reset = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await.is_err();
            left.send(()).await.unwrap();
        }
    })
    .await;
    let answer = get(gateway(config(upstream)).await, "/").await;
    drop(answer);
    soon(was_left.recv()).await.unwrap();
}
