//! Forms that a request or an answer can take: HEAD, OPTIONS, trailers, interim answers, answers without a body.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::AsyncWriteExt;

use crate::harness::{client, config, gateway, http2_client, only, origin, raw, read_until, script, serve, soon, text};

/// A body of one chunk with these trailers.
fn with_trailers(trailers: &[(&'static str, &'static str)]) -> Body {
    let trailers: HeaderMap =
        trailers.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
    let frames = [Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(b"hello"))), Ok(Frame::trailers(trailers))];
    Body::new(StreamBody::new(stream::iter(frames)))
}

#[tokio::test]
async fn head_is_asked_as_head_and_keeps_its_length() {
    let (upstream, asked) = origin().await;
    let answer = raw(gateway(config(upstream)).await, "HEAD /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("content-length: 2\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");
    assert_eq!(only(&asked).method, "HEAD");
}

#[tokio::test]
async fn options_and_unknown_methods_are_passed_on() {
    for method in ["OPTIONS", "PROPFIND", "QUERY"] {
        let (upstream, asked) = origin().await;
        let request = format!("{method} /a HTTP/1.1\r\nHost: a\r\nOrigin: http://b\r\nConnection: close\r\n\r\n");
        assert!(raw(gateway(config(upstream)).await, request).await.starts_with("HTTP/1.1 200 "));
        assert_eq!((only(&asked).method.as_str(), only(&asked).headers["origin"].as_bytes()), (method, &b"http://b"[..]));
    }
}

#[tokio::test]
async fn answers_without_a_body_stay_without_one() {
    for (status, length) in [(204, ""), (304, "Content-Length: 9\r\n")] {
        let upstream = script(move |mut stream, _| async move {
            read_until(&mut stream, "\r\n\r\n").await;
            stream.write_all(format!("HTTP/1.1 {status} Theirs\r\n{length}ETag: \"a\"\r\n\r\n").as_bytes()).await.unwrap();
        })
        .await;
        let answer = raw(gateway(config(upstream)).await, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(answer.contains("etag: \"a\""), "{answer}");
    }
}

#[tokio::test]
async fn interim_answers_are_not_taken_for_the_answer() {
    let upstream = script(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
            HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let answer = raw(gateway(config(upstream)).await, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok"), "{answer}");
}

#[tokio::test]
async fn clients_of_http_1_0_are_served() {
    let app = Router::new().fallback(|request: Request| async move {
        let parts = [Ok::<_, std::io::Error>(Bytes::from(format!("{:?} ", request.version()))), Ok(Bytes::from_static(b"end"))];
        Body::from_stream(stream::iter(parts))
    });
    let address = gateway(config(serve(app).await)).await;
    let answer = raw(address, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("\r\n\r\nHTTP/1.1 end"), "no chunks: {answer}");
}

#[tokio::test]
async fn an_answer_of_http_1_0_ends_where_its_connection_ends() {
    let upstream = script(|mut stream, _| async move {
        read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nold but whole").await.unwrap();
    })
    .await;
    let answer = raw(gateway(config(upstream)).await, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("old but whole\r\n0\r\n"), "{answer}");
}

#[tokio::test]
async fn trailers_of_an_answer_arrive_but_for_forged_ones() {
    let app = Router::new().fallback(|| async {
        let body = with_trailers(&[("x-checksum", "abc"), ("payment-response", "forged"), ("content-length", "1")]);
        Response::builder().header("trailer", "x-checksum, payment-response, content-length").body(body).unwrap()
    });
    let address = gateway(config(serve(app).await)).await;
    let answer = raw(address, "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n").await;
    assert!(answer.contains("5\r\nhello\r\n0\r\nx-checksum: abc\r\n\r\n"), "{answer}");
    assert!(!answer.contains("forged"), "{answer}");
    let request = http::Request::get(format!("http://{address}/")).header("te", "trailers").body(Body::empty()).unwrap();
    let body = soon(http2_client().request(request)).await.unwrap().into_body().collect().await.unwrap();
    let trailers = body.trailers().unwrap();
    assert_eq!((trailers.len(), &trailers["x-checksum"]), (1, &HeaderValue::from_static("abc")));
}

#[tokio::test]
async fn trailers_of_a_request_arrive_but_for_forged_ones() {
    let app = Router::new().fallback(|request: Request| async move {
        let te = format!("{:?}", request.headers().get("te"));
        let body = request.into_body().collect().await.unwrap();
        format!("{te} {:?}", body.trailers())
    });
    let address = gateway(config(serve(app).await)).await;
    let request = http::Request::post(format!("http://{address}/"))
        .header("trailer", "x-checksum, x-payment, host")
        .header("te", "trailers")
        .body(with_trailers(&[("x-checksum", "abc"), ("x-payment", "forged"), ("host", "evil.example")]))
        .unwrap();
    let answer = soon(client().request(request)).await.unwrap();
    assert_eq!(text(answer).await, r#"Some("trailers") Some({"x-checksum": "abc"})"#);
}
