//! A seller of a test: an HTTP server with a route at a fixed price and one whose work decides what is charged, its own facilitator in the same process, and one store for the
//! books of both, with somebody who looks on at all of it.

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::extract::{Path, Request};
use axum::middleware::{Next, from_fn};
use axum::routing::get;
use axum::{Extension, Router};
use farthing::server::Paid;
use farthing_interop::chain::{NETWORK, PAYEE};
use farthing_interop::service::PRICE;
use farthing_store::Store;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::payments::Kind;
use crate::replica::{Parts, Replica};
use crate::store;
use crate::watched::{Watch, Watched};

/// Under which name the world sees every node of the shop: a payment is bound to it, not to a node's own address.
const PUBLIC_URL: &str = "https://shop.example";
/// How much more the same work says that it used in each life of the seller, in atomic units.
const NEXT_LIFE_ATOMIC: u64 = 1_000;

/// A seller at work.
pub struct Seller {
    url: String,
    close: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
    replica: Replica,
    store: Store,
}

/// What is for sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goods {
    path: String,
}

impl Goods {
    /// What is bought with payments of that kind, under that name.
    pub fn of(kind: Kind, name: &str) -> Self {
        let path = match kind {
            Kind::Eip3009 | Kind::Wallet => format!("/reports/{name}"),
            Kind::Metered => format!("/words/some/{name}"),
            Kind::Unused => format!("/words/none/{name}"),
            Kind::Permit2 | Kind::Permit | Kind::Approval => format!("/words/all/{name}"),
        };
        Self { path }
    }

    /// Where it is for sale.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What one gets there.
    pub fn report(&self) -> String {
        report(self.path.rsplit('/').next().unwrap_or_default())
    }
}

fn report(name: &str) -> String {
    format!("the report on {name}")
}

/// What the work says that it used, which is never the same in two lives, and rarely for two things.
fn used(how_many: &str, name: &str, life: u64) -> Option<u64> {
    let letters = u64::try_from(name.len()).unwrap_or(u64::MAX);
    match how_many {
        "none" => Some(life.saturating_sub(1).saturating_mul(NEXT_LIFE_ATOMIC)),
        "some" => Some(life.saturating_mul(NEXT_LIFE_ATOMIC).saturating_add(letters)),
        _ => None,
    }
}

impl Seller {
    /// Opens the shop, on a port of its own, in the so many-th of its lives, with somebody who looks on.
    pub async fn open(store_url: &str, rpc_url: &str, keys: &[[u8; 32]], life: u64, watch: &Arc<dyn Watch>) -> Result<Self> {
        let store = store::open(store_url).await?;
        let replica = Parts::new(&store, rpc_url, keys)?.watched(watch).start()?;
        let server = farthing::Server::builder()
            .facilitator(Arc::clone(replica.local()))?
            .pay_to(NETWORK, &PAYEE.to_string())?
            .deliveries(Watched::new(store.deliveries(), Arc::clone(watch)))
            .public_url(PUBLIC_URL)?
            .build()
            .await?;
        let app = shop(&server, life, watch)?;
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

/// The routes. The work, and the moment before an answer that was paid for leaves, are looked at, too.
fn shop(server: &farthing::server::Server, life: u64, watch: &Arc<dyn Watch>) -> Result<Router> {
    let (at_work, at_meter, at_door) = (Arc::clone(watch), Arc::clone(watch), Arc::clone(watch));
    let work = move |Path(name): Path<String>| async move {
        at_work.before("work");
        let report = report(&name);
        at_work.after("work");
        report
    };
    let count = move |Path((how_many, name)): Path<(String, String)>, Extension(paid): Extension<Paid>| async move {
        at_meter.before("work");
        let report = report(&name);
        if let Some(used) = used(&how_many, &name, life) {
            paid.usage().set(used).map_err(|error| error.to_string())?;
        }
        at_meter.after("work");
        Ok::<_, String>(report)
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
    let routes = Router::new()
        .route("/reports/{name}", get(work).layer(server.price(PRICE)?))
        .route("/words/{how_many}/{name}", get(count).layer(server.price_up_to(PRICE)?));
    Ok(routes.layer(from_fn(leave)))
}
