//! Two gateways on one PostgreSQL, as the example says: copies of one payment at both, and one of them killed in the middle.

use std::sync::Arc;
use std::time::{Duration, Instant};

use farthing::client::Purchase;
use farthing::core::header;
use farthing::evm::U256;
use farthing::evm::signer::LocalSigner;
use farthing_testkit::postgres::{Database, Server};
use futures_util::future::join_all;
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::placed;
use super::upstream::Upstream;
use crate::market::Market;
use crate::run::{Folder, KEY, Service, farthing};

/// Copies of one payment at each of the two.
const COPIES: usize = 8;
/// A node that died is known to be dead after less than this.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a buyer waits who was told to come later.
const PAUSE: Duration = Duration::from_millis(100);

struct Replicas {
    services: [Service; 2],
    urls: [String; 2],
    upstream: Upstream,
    market: Market,
    http: reqwest::Client,
    runtime: Runtime,
    _folders: [Folder; 2],
    _book: Database,
}

impl Replicas {
    fn start(test: &str) -> Self {
        // One that syncs its disk: a gateway takes no other.
        let book = Database::on(&Server::own().unwrap()).unwrap();
        let (market, upstream) = (Market::open(), Upstream::serve());
        let file = placed("replicas", &upstream.url, &market.facilitator_url());
        let folders = ["a", "b"].map(|node| Folder::new(&format!("{test}-{node}")));
        let mut services = [&folders[0], &folders[1]].map(|folder| {
            let path = folder.file("replicas.toml", &file);
            let gateway = farthing(["gateway", "--json", "--config", path.to_str().unwrap()]);
            gateway.env("GATEWAY_BOOK", &book.url()).env("QUOTE_KEY", &"7a".repeat(32)).start()
        });
        let urls = services.each_mut().map(|service| service.facts()["listening"].as_str().unwrap().to_owned());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { services, urls, upstream, market, http, runtime: Runtime::new().unwrap(), _folders: folders, _book: book }
    }

    /// A payment on the terms of the first one, as a header.
    async fn payment(&self, path: &str) -> String {
        let answer = self.http.get(format!("{}{path}", self.urls[0])).send().await.unwrap();
        assert_eq!(answer.status(), 402);
        let terms = header::decode_required(answer.headers()[header::PAYMENT_REQUIRED].as_bytes()).unwrap();
        let signer = LocalSigner::from_hex(Zeroizing::new(KEY.to_owned())).unwrap();
        let client = farthing::Client::builder().signer(Arc::new(signer)).build().unwrap();
        let purchase = Purchase { resource: format!("https://api.example.com{path}"), ..Purchase::default() };
        let promised = client.payer().pay(&terms, &purchase).await.unwrap();
        header::encode(&promised.payment).unwrap()
    }

    /// Status and body; 0 if no answer came.
    async fn present(&self, node: usize, path: &str, payment: &str) -> (u16, String) {
        let request = self.http.get(format!("{}{path}", self.urls[node])).header(header::PAYMENT_SIGNATURE, payment);
        match request.send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    }
}

#[test]
fn copies_of_one_payment_at_two_replicas_buy_one_answer() {
    let shop = Replicas::start("example-copies");
    shop.runtime.block_on(async {
        let payment = shop.payment("/reports/rain").await;
        let copies = (0..2 * COPIES).map(|copy| shop.present(copy % 2, "/reports/rain", &payment));
        let answers = join_all(copies).await;
        let served = answers.iter().filter(|(status, _)| *status == 200);
        assert!(served.clone().count() >= 1, "{answers:?}");
        assert!(served.into_iter().all(|(_, body)| body == "{\"sky\":\"clear\"}"), "{answers:?}");
        assert!(answers.iter().all(|(status, _)| matches!(status, 200 | 402 | 409 | 503)), "{answers:?}");
        // Somebody else's thing is not bought by it, at either of them.
        for node in [0, 1] {
            assert_eq!(shop.present(node, "/reports/snow", &payment).await.0, 402);
        }
    });
    assert_eq!((shop.upstream.worked(), shop.market.earned()), (1, U256::from(10_000)));
    for service in shop.services {
        service.end("TERM").with_code(0);
    }
}

#[test]
fn what_one_replica_was_doing_when_it_was_killed_another_one_sells_once() {
    let shop = Replicas::start("example-kill");
    let payment = shop.runtime.block_on(shop.payment("/reports/slow"));
    shop.upstream.hold();
    let lost = shop.runtime.block_on(async {
        let killed = async {
            shop.upstream.until_it_is_asked().await;
            shop.services[0].signal("KILL");
        };
        let (lost, ()) = tokio::join!(shop.present(0, "/reports/slow", &payment), killed);
        lost
    });
    assert_eq!((lost.0, shop.market.earned()), (0, U256::ZERO), "it was killed while the upstream worked");
    shop.upstream.let_go();
    let begun = Instant::now();
    let (status, body) = shop.runtime.block_on(async {
        loop {
            let answer = shop.present(1, "/reports/slow", &payment).await;
            if !matches!(answer.0, 409 | 503) || begun.elapsed() > PATIENCE {
                break answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    assert_eq!((status, body.as_str()), (200, "{\"sky\":\"clear\"}"));
    assert_eq!((shop.upstream.worked(), shop.market.earned()), (2, U256::from(10_000)));
    let [killed, other] = shop.services;
    assert_eq!(killed.ended().code, None);
    other.end("TERM").with_code(0);
}
