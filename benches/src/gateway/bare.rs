//! The reverse proxy that a gateway is measured against: the same hyper and hyper-util on both sides, a pool of connections to
//! the origin, and nothing that a proxy could leave out.

use std::net::SocketAddr;

use http::header::{CONNECTION, HOST};
use http::uri::{Authority, Parts, Scheme};
use http::{HeaderValue, Request, Uri};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;

/// Passes everything on that comes in there.
pub async fn serve(listener: TcpListener, origin: SocketAddr) -> anyhow::Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<HttpConnector, Incoming> = Client::builder(TokioExecutor::new()).build(connector);
    let host = HeaderValue::from_str(&origin.to_string())?;
    let authority: Authority = origin.to_string().parse()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (client, host, authority) = (client.clone(), host.clone(), authority.clone());
        let pass = service_fn(move |request| {
            let request = directed(request, &host, &authority);
            let client = client.clone();
            async move { anyhow::Ok(client.request(request?).await?) }
        });
        tokio::spawn(async move {
            let connection = Builder::new(TokioExecutor::new());
            // A connection that breaks shows where its answers are missing.
            let _broke = connection.serve_connection(TokioIo::new(stream), pass).await.is_err();
        });
    }
}

/// The request as the origin gets it.
fn directed(mut request: Request<Incoming>, host: &HeaderValue, authority: &Authority) -> anyhow::Result<Request<Incoming>> {
    let mut parts = Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    parts.path_and_query = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from_parts(parts)?;
    let headers = request.headers_mut();
    headers.remove(CONNECTION);
    headers.insert(HOST, host.clone());
    Ok(request)
}
