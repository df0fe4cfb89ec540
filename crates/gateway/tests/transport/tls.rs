//! An upstream behind TLS: who it is counts, and the two agree on a version.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use farthing_gateway::{Materials, Protocol, UpstreamConfig};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::harness::{gateway_with, get, problem, text};

const AUTHORITY: &[u8] = include_bytes!("certificates/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("certificates/localhost.pem");
const KEY: &[u8] = include_bytes!("certificates/localhost.key");

/// Says over TLS in which version it was asked, and for which host.
async fn upstream(protocols: &[&[u8]]) -> SocketAddr {
    let app = Router::new().fallback(|request: Request| async move {
        let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
        format!("{:?} {host:?}", request.version())
    });
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(CERTIFICATE).unwrap()],
            PrivateKeyDer::from_pem_slice(KEY).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, app) = (acceptor.clone(), app.clone());
            tokio::spawn(async move {
                // A client that trusts another authority breaks off here.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let builder = Builder::new(TokioExecutor::new());
                let _broken = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app)).await.is_err();
            });
        }
    });
    address
}

fn config(upstream: SocketAddr) -> UpstreamConfig {
    UpstreamConfig::new(format!("https://localhost:{}", upstream.port()).parse().unwrap())
}

fn trusting() -> Materials {
    Materials { roots: vec![CertificateDer::from_pem_slice(AUTHORITY).unwrap()], headers: Vec::new() }
}

#[tokio::test]
async fn the_two_agree_on_the_newest_version_that_both_speak() {
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    for (protocols, protocol, version) in [
        (both, Protocol::Auto, "HTTP/2.0"),
        (both, Protocol::Http1, "HTTP/1.1"),
        (&both[1..], Protocol::Auto, "HTTP/1.1"),
        (&[], Protocol::Auto, "HTTP/1.1"),
    ] {
        let mut config = config(upstream(protocols).await);
        config.protocol = protocol;
        let (address, _) = gateway_with(config, trusting()).await;
        assert!(text(get(address, "/").await).await.starts_with(version), "{protocol:?} {version}");
    }
}

#[tokio::test]
async fn a_kept_host_is_told_in_http_1() {
    let mut config = config(upstream(&[b"h2", b"http/1.1"]).await);
    config.preserve_host = true;
    let (address, _) = gateway_with(config, trusting()).await;
    assert_eq!(text(get(address, "/").await).await, format!("HTTP/1.1 Some(\"{address}\")"));
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_no_upstream() {
    let (address, _) = gateway_with(config(upstream(&[]).await), Materials::default()).await;
    assert_eq!(problem(get(address, "/").await).await, (503, "upstream_unreachable".to_owned()));
}

#[tokio::test]
async fn a_certificate_for_another_name_is_no_upstream() {
    let upstream = upstream(&[]).await;
    // The certificate names localhost, not its address.
    let config = UpstreamConfig::new(format!("https://{upstream}").parse().unwrap());
    let (address, _) = gateway_with(config, trusting()).await;
    assert_eq!(problem(get(address, "/").await).await, (503, "upstream_unreachable".to_owned()));
}
