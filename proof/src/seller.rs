//! A seller of a test: an HTTP server with a route at a fixed price and one whose work decides what is charged, its own facilitator in the same process, and one store for the
//! books of both, with somebody who looks on at all of it.

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::extract::{Path, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use farthing::core::BoxFuture;
use farthing::server::Paid;
use farthing_interop::chain::{NETWORK, PAYEE};
use farthing_interop::service::PRICE;
use farthing_store::Store;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::gateway;
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

/// How a seller is set up.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    /// Where its books are.
    pub store_url: &'a str,
    /// Where its node is.
    pub rpc_url: &'a str,
    /// The keys of its sending accounts.
    pub keys: &'a [[u8; 32]],
    /// Which of its lives it is, counted from one: its work is not the same in all of them.
    pub life: u64,
    /// Who does the work, where the seller is a gateway in front of it.
    pub origin_url: Option<&'a str>,
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

    /// What one gets there, or the part of it that says so.
    pub fn report(&self) -> String {
        report(self.name())
    }

    /// Under which name.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// What there is under a name.
pub(crate) fn report(name: &str) -> String {
    format!("the report on {name}")
}

/// What the work says that it used, which is never the same in two lives, and rarely for two things.
pub(crate) fn used(how_many: &str, name: &str, life: u64) -> Option<u64> {
    let letters = u64::try_from(name.len()).unwrap_or(u64::MAX);
    match how_many {
        "none" => Some(life.saturating_sub(1).saturating_mul(NEXT_LIFE_ATOMIC)),
        "some" => Some(life.saturating_mul(NEXT_LIFE_ATOMIC).saturating_add(letters)),
        _ => None,
    }
}

impl Seller {
    /// Opens the shop, on a port of its own, with somebody who looks on.
    pub async fn open(plan: Plan<'_>, watch: &Arc<dyn Watch>) -> Result<Self> {
        let store = store::open(plan.store_url).await?;
        let replica = Parts::new(&store, plan.rpc_url, plan.keys)?.watched(watch).start()?;
        let server = farthing::Server::builder()
            .facilitator(Arc::clone(replica.local()))?
            .pay_to(NETWORK, &PAYEE.to_string())?
            .deliveries(Watched::new(store.deliveries(), Arc::clone(watch)))
            .public_url(PUBLIC_URL)?
            .build()
            .await?;
        let app = match plan.origin_url {
            None => shop(&server, plan.life, watch)?,
            Some(origin) => gateway::routes(&server, origin, plan.life, watch)?,
        };
        let app = app.layer(from_fn(door(watch)));
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

/// The moment before an answer leaves that was paid for is looked at, too.
fn door(watch: &Arc<dyn Watch>) -> impl Fn(Request, Next) -> BoxFuture<'static, Response> + Clone + Send + Sync + 'static {
    let watch = Arc::clone(watch);
    move |request: Request, next: Next| {
        let watch = Arc::clone(&watch);
        Box::pin(async move {
            let answer = next.run(request).await;
            if answer.status().is_success() {
                watch.before("answer");
            }
            answer
        })
    }
}

/// The routes. The work is looked at, too.
fn shop(server: &farthing::server::Server, life: u64, watch: &Arc<dyn Watch>) -> Result<Router> {
    let (at_work, at_meter) = (Arc::clone(watch), Arc::clone(watch));
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
    Ok(Router::new()
        .route("/reports/{name}", get(work).layer(server.price(PRICE)?))
        .route("/words/{how_many}/{name}", get(count).layer(server.price_up_to(PRICE)?)))
}
