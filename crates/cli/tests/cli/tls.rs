//! `farthing gateway` over TLS: who it is, what it says of it, a new certificate while it runs, and what comes without TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use reqwest::{Certificate, Client, Response, Version};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::market::{Market, NETWORK, SELLER};
use crate::run::{Ended, Folder, Service, farthing};

const FIRST: [&str; 2] = [include_str!("certificates/first.pem"), include_str!("certificates/first.key")];
const SECOND: [&str; 2] = [include_str!("certificates/second.pem"), include_str!("certificates/second.key")];
const EXPIRED: &str = include_str!("certificates/expired.pem");
/// After this long something does not happen, and the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway behind TLS, with what is behind it and before it.
struct Shop {
    runtime: Runtime,
    folder: Folder,
    config: String,
    /// The chain and the facilitator.
    _market: Market,
}

impl Shop {
    fn new(test: &str) -> Self {
        let (market, runtime, folder) = (Market::open(), Runtime::new().unwrap(), Folder::new(test));
        let upstream = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let upstream = format!("http://{}", listener.local_addr().unwrap());
            let app = Router::new().fallback(any(|request: Request| async move {
                let said =
                    |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned();
                format!("{} {}", said("x-forwarded-proto"), said("x-forwarded-for"))
            }));
            tokio::spawn(async move { axum::serve(listener, app).await });
            upstream
        });
        let (certificate, key) = (folder.at("certificate.pem"), folder.at("key.pem"));
        let config = format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\nupstream = {upstream:?}\nfacilitator = {:?}\n\
             [gateway.tls]\ncertificate = \"file:{}\"\nkey = \"file:{}\"\n[pay_to]\n{NETWORK:?} = {SELLER:?}\n\
             [[route]]\nmatch = \"/report\"\nprice = \"$0.01\"\n[[route]]\nmatch = \"/free\"\nfree = true\n",
            market.facilitator_url(),
            certificate.display(),
            key.display(),
        );
        let config = folder.file("farthing.toml", &config).to_str().unwrap().to_owned();
        let shop = Self { runtime, folder, config, _market: market };
        shop.put(FIRST);
        shop
    }

    /// Puts another pair where the gateway looks for its own.
    fn put(&self, [certificate, key]: [&str; 2]) {
        self.folder.file("certificate.pem", certificate);
        self.folder.file("key.pem", key);
    }

    fn start(&self) -> (Service, String) {
        let mut service = farthing(["gateway", "--json", "--config", &self.config]).start();
        let url = service.facts()["listening"].as_str().unwrap().to_owned();
        (service, url)
    }

    fn check(&self, more: &[&str]) -> Ended {
        farthing(["gateway", "check", "--config", &self.config]).arguments(more.iter().copied()).run()
    }

    /// Asks as somebody who believes this certificate and no other; `None` if the two do not get as far as HTTP.
    fn ask(&self, client: &Client, url: &str) -> Option<Response> {
        self.runtime.block_on(client.get(url).send()).ok()
    }

    fn text(&self, response: Response) -> String {
        self.runtime.block_on(response.text()).unwrap()
    }

    /// Asks over a new connection until that certificate is what it finds.
    fn wait_for(&self, certificate: &str, url: &str) {
        let begun = Instant::now();
        while self.ask(&believing(certificate).build().unwrap(), url).is_none() {
            assert!(begun.elapsed() < PATIENCE, "the certificate does not come");
        }
    }
}

fn believing(certificate: &str) -> reqwest::ClientBuilder {
    let root = Certificate::from_pem(certificate.as_bytes()).unwrap();
    Client::builder().tls_built_in_root_certs(false).add_root_certificate(root)
}

#[test]
fn clients_speak_either_version_and_everybody_hears_that_it_is_https() {
    let shop = Shop::new("tls-versions");
    let (service, url) = shop.start();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    for (client, version) in [(believing(FIRST[0]), Version::HTTP_2), (believing(FIRST[0]).http1_only(), Version::HTTP_11)] {
        let client = client.build().unwrap();
        let free = shop.ask(&client, &format!("{url}/free")).unwrap();
        assert_eq!(free.version(), version);
        assert_eq!(shop.text(free), "https 127.0.0.1");
        let unpaid = shop.ask(&client, &format!("{url}/report")).unwrap();
        assert_eq!(unpaid.status(), 402);
        let terms: Value = serde_json::from_str(&shop.text(unpaid)).unwrap();
        assert_eq!(terms["accepts"][0]["resource"], json!(format!("{url}/report")), "{terms}");
    }
    assert!(shop.ask(&believing(SECOND[0]).build().unwrap(), &format!("{url}/free")).is_none(), "it is somebody else");
    service.end("TERM").with_code(0);
}

#[test]
fn a_new_certificate_is_taken_on_sighup_and_open_connections_stay() {
    let shop = Shop::new("tls-renewal");
    let (service, url) = shop.start();
    let free = format!("{url}/free");
    let earlier = believing(FIRST[0]).build().unwrap();
    assert!(shop.ask(&earlier, &free).is_some());
    shop.put(SECOND);
    service.signal("HUP");
    shop.wait_for(SECOND[0], &free);
    assert!(shop.ask(&earlier, &free).is_some(), "it has its connection still");
    assert!(shop.ask(&believing(FIRST[0]).build().unwrap(), &free).is_none(), "a new one is shown the new certificate");
    let ended = service.end("TERM").with_code(0);
    assert!(ended.stderr.contains("the certificate was read anew"), "{ended:?}");
}

#[test]
fn a_bad_pair_leaves_the_old_one_in_use_and_is_said_loudly() {
    let shop = Shop::new("tls-bad-pair");
    let (service, url) = shop.start();
    let free = format!("{url}/free");
    for (pair, taught) in [
        ([SECOND[0], FIRST[1]], "the certificate and the key cannot be used together"),
        (["nonsense", FIRST[1]], "gateway.tls.certificate: expected PEM with a certificate"),
        ([FIRST[0], "nonsense"], "gateway.tls.key: expected PEM with a private key"),
        ([EXPIRED, FIRST[1]], "got one that expired on 2020-02-01"),
    ] {
        shop.put(pair);
        service.signal("HUP");
        service.until_said(taught);
        assert!(shop.ask(&believing(FIRST[0]).build().unwrap(), &free).is_some(), "{taught}");
    }
    let ended = service.end("TERM").with_code(0);
    assert!(ended.stderr.contains("the old one stays in use") && !ended.stderr.contains("PRIVATE KEY-----M"), "{ended:?}");
    // At the start there is no other one.
    shop.put([SECOND[0], FIRST[1]]);
    let refused = farthing(["gateway", "--config", &shop.config]).run().with_code(1);
    assert!(refused.stderr.contains("cannot be used together"), "{refused:?}");
}

#[test]
fn plain_http_is_told_so_and_hung_up_on_in_order() {
    let shop = Shop::new("tls-plain");
    let (service, url) = shop.start();
    let mut stream = TcpStream::connect(url.strip_prefix("https://").unwrap()).unwrap();
    // More than what is looked at, so that something is left unread.
    write!(stream, "GET /free HTTP/1.1\r\nhost: a\r\nx-long: {}\r\n\r\n", "a".repeat(4_000)).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is closed, and not reset");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("tls_expected"), "{answer}");
    // Neither does who says nothing keep it from ending.
    let silent = TcpStream::connect(url.strip_prefix("https://").unwrap()).unwrap();
    service.end("TERM").with_code(0);
    drop(silent);
}

#[test]
fn check_explains_the_certificate() {
    let shop = Shop::new("tls-check");
    let report = shop.check(&["--json"]).with_code(0).stdout_json();
    assert_eq!(report["tls"], json!({"names": ["localhost", "127.0.0.1"], "expires": "2120-01-01"}));
    assert_eq!(report["notes"], json!([]));
    let told = shop.check(&[]).with_code(0).stdout;
    assert!(told.contains("TLS as localhost, 127.0.0.1, until 2120-01-01"), "{told}");
    shop.put([EXPIRED, FIRST[1]]);
    let told = shop.check(&[]).with_code(0).stdout;
    assert!(told.contains("note  the certificate expired on 2020-02-01"), "{told}");
    shop.put([SECOND[0], FIRST[1]]);
    let refused = shop.check(&[]).with_code(1);
    assert!(refused.stderr.contains("gateway.tls: the certificate and the key cannot be used together"), "{refused:?}");
}
