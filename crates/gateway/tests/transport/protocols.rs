//! HTTP/1.1 and HTTP/2, in the clear, on either side.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use farthing_gateway::{Materials, Protocol, Upstream};
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use crate::harness::{client, config, gateway, get, http2_client, only, origin, problem, serve, soon, text};

/// Says in which version it was asked, for what, and what it was told about the host.
async fn versions() -> std::net::SocketAddr {
    let app = Router::new().fallback(|request: Request| async move {
        let authority = request.uri().authority().map(ToString::to_string);
        let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
        format!("{:?} {} {authority:?} {host:?}", request.version(), request.uri().path())
    });
    serve(app).await
}

#[tokio::test]
async fn every_version_reaches_every_upstream() {
    let upstream = versions().await;
    let http1 = format!("HTTP/1.1 /a None Some(\"{upstream}\")");
    let http2 = format!("HTTP/2.0 /a Some(\"{upstream}\") None");
    for (protocol, said) in [(Protocol::Auto, &http1), (Protocol::Http1, &http1), (Protocol::H2c, &http2)] {
        let mut config = config(upstream);
        config.protocol = protocol;
        let address = gateway(config).await;
        for client in [client(), http2_client()] {
            let request = http::Request::get(format!("http://{address}/a")).body(Body::empty()).unwrap();
            let answer = soon(client.request(request)).await.unwrap();
            assert_eq!(text(answer).await, *said);
        }
    }
}

#[tokio::test]
async fn many_requests_share_one_connection_of_http_2() {
    let mut config = config(versions().await);
    config.protocol = Protocol::H2c;
    let address = gateway(config).await;
    let client = http2_client();
    let asked = (0..200).map(|number| {
        let client = client.clone();
        async move {
            let request = http::Request::get(format!("http://{address}/{number}")).body(Body::empty()).unwrap();
            let said = text(client.request(request).await.unwrap()).await;
            assert!(said.starts_with(&format!("HTTP/2.0 /{number} ")), "{said}");
        }
    });
    soon(join_all(asked)).await;
}

#[tokio::test]
async fn cookies_of_http_2_become_one_header() {
    let (upstream, asked) = origin().await;
    let address = gateway(config(upstream)).await;
    let request = http::Request::get(format!("http://{address}/"))
        .header("cookie", "a=b")
        .header("cookie", "c=d")
        .body(Body::empty())
        .unwrap();
    assert_eq!(soon(http2_client().request(request)).await.unwrap().status(), 200);
    let parts = only(&asked);
    assert_eq!(parts.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=b; c=d"]);
    assert_eq!((parts.version, &parts.headers["via"]), (Version::HTTP_11, &HeaderValue::from_static("2.0 farthing")));
    assert_eq!(parts.headers["x-forwarded-host"], address.to_string());
}

#[tokio::test]
async fn a_host_that_differs_from_the_authority_is_refused() {
    let (upstream, asked) = origin().await;
    let address = gateway(config(upstream)).await;
    let request = http::Request::get(format!("http://{address}/")).header("host", "other.example").body(Body::empty()).unwrap();
    assert_eq!(problem(soon(http2_client().request(request)).await.unwrap()).await, (400, "invalid_host".to_owned()));
    let request = http::Request::get(format!("http://{address}/a/../b")).body(Body::empty()).unwrap();
    assert_eq!(problem(soon(http2_client().request(request)).await.unwrap()).await, (400, "path_dot_segment".to_owned()));
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_length_that_lies_in_http_2_smuggles_nothing() {
    let (upstream, asked) = origin().await;
    let address = gateway(config(upstream)).await;
    let body = "abcGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for length in [3, 1_000] {
        let request = http::Request::post(format!("http://{address}/a"))
            .header("content-length", length)
            .body(Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(body)])))
            .unwrap();
        let answer = soon(http2_client().request(request)).await;
        assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status().is_client_error()), "{length}");
    }
    // The same upstream, asked over the same connections, hears nothing that was left over.
    assert_eq!(get(address, "/after").await.status(), 200);
    let paths: Vec<String> = asked.lock().unwrap().iter().map(|parts| parts.uri.to_string()).collect();
    assert!(paths.iter().all(|path| path == "/a" || path == "/after"), "{paths:?}");
}

#[tokio::test]
async fn a_grpc_call_goes_through_with_its_trailers() {
    let app = Router::new().fallback(|request: Request| async move {
        assert_eq!(request.headers()["te"], "trailers");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let trailers: HeaderMap = [("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))].into_iter().collect();
        let frames = [Ok::<_, std::io::Error>(Frame::data(body)), Ok(Frame::trailers(trailers))];
        let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        Response::builder().header("content-type", "application/grpc").body(body).unwrap()
    });
    let mut config = config(serve(app).await);
    config.protocol = Protocol::H2c;
    let request = http::Request::post(format!("http://{}/package.Service/Method", gateway(config).await))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(Body::from("message"))
        .unwrap();
    let answer = soon(http2_client().request(request)).await.unwrap();
    let body = answer.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(body.to_bytes(), "message");
}

#[tokio::test]
async fn an_upstream_that_speaks_no_http_2_is_a_bad_one() {
    let upstream = crate::harness::script(|mut stream, _| async move {
        let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.unwrap();
    })
    .await;
    let mut config = config(upstream);
    config.protocol = Protocol::H2c;
    let (status, _) = problem(get(gateway(config).await, "/").await).await;
    assert!((502..=503).contains(&status), "{status}");
}

#[test]
fn a_kept_host_and_http_2_in_the_clear_contradict_each_other() {
    let mut config = config("127.0.0.1:1".parse().unwrap());
    (config.protocol, config.preserve_host) = (Protocol::H2c, true);
    assert!(Upstream::new(config, Materials::default()).unwrap_err().to_string().contains("preserve_host"));
}
