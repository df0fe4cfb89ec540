//! A gateway on a port of its own, what may stand behind it, and clients that say exactly what a test wants said.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use farthing_gateway::{Materials, Peer, Upstream, UpstreamConfig};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

/// Within this, everything that a test waits for happens.
pub const SOON: Duration = Duration::from_secs(20);
/// A time-out that a test waits for.
pub const SHORT: Duration = Duration::from_millis(300);

/// What an upstream was asked, as it saw it.
pub type Asked = Arc<Mutex<Vec<http::request::Parts>>>;

/// Serves an app on a free port, HTTP/1.1 and HTTP/2 and upgrades, until the test ends.
pub async fn serve<S>(app: S) -> SocketAddr
where
    S: Service<Request, Response = Response, Error = std::convert::Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let peer = Peer::new(peer.ip(), false);
            let app = app.clone();
            let service = tower::service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(peer.clone());
                app.clone().call(request.map(Body::new))
            });
            tokio::spawn(async move {
                let mut builder = Builder::new(TokioExecutor::new());
                builder.http1().timer(TokioTimer::new());
                let service = TowerToHyperService::new(service);
                // A connection that a test breaks is none of this one's business.
                let _broken = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await.is_err();
            });
        }
    });
    address
}

/// A server behind the gateway that writes down what it is asked, and answers 200 with `ok`.
pub async fn origin() -> (SocketAddr, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let app = Router::new().fallback(move |request: Request| {
        let (parts, body) = request.into_parts();
        seen.lock().unwrap().push(parts);
        async move {
            let _all = body.collect().await;
            "ok"
        }
    });
    (serve(app).await, asked)
}

/// A server behind the gateway that is a script over a bare connection; `connection` counts from 0.
pub async fn script<F>(play: impl Fn(TcpStream, usize) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for connection in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(play(stream, connection));
        }
    });
    address
}

/// A plain configuration for that upstream.
pub fn config(upstream: SocketAddr) -> UpstreamConfig {
    UpstreamConfig::new(format!("http://{upstream}").parse().unwrap())
}

/// A gateway in front of that upstream.
pub async fn gateway(config: UpstreamConfig) -> SocketAddr {
    gateway_with(config, Materials::default()).await.0
}

/// The same, with what its configuration refers to.
pub async fn gateway_with(config: UpstreamConfig, materials: Materials) -> (SocketAddr, Upstream) {
    let upstream = Upstream::new(config, materials).unwrap();
    (serve(upstream.clone()).await, upstream)
}

/// A client that speaks HTTP as it should be.
pub fn client() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// One that speaks HTTP/2 in the clear.
pub fn http2_client() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

/// The answer to a plain GET.
pub async fn get(address: SocketAddr, path: &str) -> http::Response<hyper::body::Incoming> {
    let request = http::Request::get(format!("http://{address}{path}")).body(Body::empty()).unwrap();
    soon(client().request(request)).await.unwrap()
}

/// The whole body as text.
pub async fn text<B>(answer: http::Response<B>) -> String
where
    B: http_body::Body<Data = bytes::Bytes>,
    B::Error: std::fmt::Debug,
{
    String::from_utf8(soon(answer.into_body().collect()).await.unwrap().to_bytes().to_vec()).unwrap()
}

/// What a problem says: status, code, and that it teaches.
pub async fn problem<B>(answer: http::Response<B>) -> (u16, String)
where
    B: http_body::Body<Data = bytes::Bytes>,
    B::Error: std::fmt::Debug,
{
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(
        answer.headers().contains_key("retry-after"),
        status >= 500 && status != 508,
        "{answer:?}",
        answer = answer.headers()
    );
    let said: serde_json::Value = serde_json::from_str(&text(answer).await).unwrap();
    assert!(said["message"].as_str().unwrap().len() > 30, "{said}");
    (status, said["error"].as_str().unwrap().to_owned())
}

/// Everything that comes back for these bytes until the gateway closes the connection.
pub async fn raw(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_ref()).await.unwrap();
    let mut answer = Vec::new();
    // A connection that is reset after an early answer has been answered, too.
    let _reset = soon(stream.read_to_end(&mut answer)).await.is_err();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until the text has come, and returns all of it.
pub async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut all = Vec::new();
    while !String::from_utf8_lossy(&all).contains(text) {
        let mut buffer = [0; 4096];
        let length = soon(stream.read(&mut buffer)).await.unwrap();
        assert_ne!(length, 0, "the connection ended before {text:?}: {}", String::from_utf8_lossy(&all));
        all.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// What must happen soon.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("nothing happened for {SOON:?}"))
}

/// Waits until something is so.
pub async fn until(mut is_so: impl FnMut() -> bool) {
    soon(async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// How many requests an upstream has seen.
pub fn count(asked: &Asked) -> usize {
    asked.lock().unwrap().len()
}

/// The only request that an upstream has seen.
pub fn only(asked: &Asked) -> http::request::Parts {
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 1, "{asked:?}");
    asked[0].clone()
}
