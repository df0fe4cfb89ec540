//! A seller of a test: an HTTP server with one priced route, its own facilitator in the same process, and one store for the
//! books of both, with somebody who looks on at all of it.

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{Path, Request};
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use farthing_interop::chain::{NETWORK, PAYEE};
use farthing_interop::purchase::PRICE;
use farthing_store::Store;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::replica::{Parts, Replica};
use crate::store;
use crate::watched::{Verdict, Watch, Watched};

/// Under which name the world sees every node of the shop: a payment is bound to it, not to a node's own address.
const PUBLIC_URL: &str = "https://shop.example";

/// A seller at work.
pub struct Seller {
    url: String,
    close: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
    replica: Replica,
    store: Store,
}

/// Somebody who sees nothing and lets everything pass.
struct Nobody;

impl Watch for Nobody {
    fn before(&self, _call: &str) -> Verdict {
        Verdict::Go
    }

    fn after(&self, _call: &str) -> Verdict {
        Verdict::Go
    }
}

/// What is for sale at a path.
pub fn report(name: &str) -> String {
    format!("the report on {name}")
}

/// Where it is for sale.
pub fn path_of(name: &str) -> String {
    format!("/reports/{name}")
}

impl Seller {
    /// Opens the shop, on a port of its own.
    pub async fn open(store_url: &str, rpc_url: &str, keys: &[[u8; 32]]) -> Result<Self> {
        Self::open_watched(store_url, rpc_url, keys, &(Arc::new(Nobody) as Arc<dyn Watch>)).await
    }

    /// The same, with somebody who looks on.
    pub async fn open_watched(store_url: &str, rpc_url: &str, keys: &[[u8; 32]], watch: &Arc<dyn Watch>) -> Result<Self> {
        let store = store::open(store_url).await?;
        let replica = Parts::new(&store, rpc_url, keys)?.watched(watch).start()?;
        let server = farthing::Server::builder()
            .facilitator(Arc::clone(replica.local()))?
            .pay_to(NETWORK, &PAYEE.to_string())?
            .deliveries(Watched::new(store.deliveries(), Arc::clone(watch)))
            .public_url(PUBLIC_URL)?
            .build()
            .await?;
        let app = shop(&server, watch)?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let (close, closing) = oneshot::channel();
        let serving = axum::serve(listener, app).with_graceful_shutdown(async move {
            // Whoever forgets the shop closes it, too.
            closing.await.unwrap_or_default();
        });
        Ok(Self { url, close, serving: tokio::spawn(serving.into_future()), replica, store })
    }

    /// Where this node listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it as SIGTERM does.
    pub async fn stop(self) -> Result<()> {
        self.close.send(()).ok().context("the shop has closed by itself")?;
        self.serving.await??;
        self.replica.stop().await;
        self.store.close().await;
        Ok(())
    }
}

/// One priced route. The work, and the moment before an answer that was paid for leaves, are looked at, too.
fn shop(server: &farthing::server::Server, watch: &Arc<dyn Watch>) -> Result<Router> {
    let (at_work, at_door) = (Arc::clone(watch), Arc::clone(watch));
    let work = move |Path(name): Path<String>| async move {
        at_work.before("work");
        let report = report(&name);
        at_work.after("work");
        report
    };
    let leave = move |request: Request, next: Next| {
        let watch = Arc::clone(&at_door);
        async move {
            let answer = next.run(request).await;
            if answer.status().is_success() {
                watch.before("answer");
            }
            answer
        }
    };
    let route = get(work).layer(server.price(PRICE)?);
    Ok(Router::new().route(&path_of("{name}"), route).layer(from_fn(leave)))
}
