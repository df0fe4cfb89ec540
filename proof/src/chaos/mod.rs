//! A proxy in front of any JSON-RPC node, through which everything goes wrong that goes wrong on the way to one.
//!
//! 1. One in so many exchanges suffers one fault, of a [`Kind`] that makes sense for what is asked in it.
//! 2. What happens to the n-th exchange is decided by the seed and n alone: as far as the callers repeat themselves, so
//!    does the chaos.
//! 3. [`Chaos::calm`] ends it at once, standing lies included, so that what is left can come to its end.

mod exchange;
mod kind;
mod memory;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use kind::Kind;

use memory::Memory;

/// The largest question that is passed on.
const MAX_BODY_BYTES: usize = 16 * 1024 * 1024;

/// What goes wrong, and how often.
#[derive(Clone, Debug)]
pub struct Weather {
    /// How many exchanges in a thousand suffer a fault.
    pub faults_per_thousand: u64,
    /// Which, by weight; one whose weight is zero, or that is not there, never happens.
    pub kinds: Vec<(Kind, u64)>,
    /// How long no answer comes where a caller is to give up: more than its own patience.
    pub hold: Duration,
    /// The longest that an answer is late.
    pub late: Duration,
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All exchanges.
    pub exchanges: u64,
    /// Those that suffered a fault, by its kind.
    pub faults: BTreeMap<Kind, u64>,
}

/// A running proxy. It ends when dropped.
#[derive(Debug)]
pub struct Chaos {
    url: String,
    state: Arc<State>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    seed: u64,
    weather: Weather,
    node_url: String,
    http: reqwest::Client,
    calm: AtomicBool,
    exchanges: AtomicU64,
    faults: Mutex<BTreeMap<Kind, u64>>,
    memory: Mutex<Memory>,
}

impl Weather {
    /// Every kind of fault as often as every other, so many times in a thousand exchanges. Holds connections for
    /// longer than `patience`.
    pub fn stormy(faults_per_thousand: u64, patience: Duration) -> Self {
        Self {
            faults_per_thousand,
            kinds: Kind::ALL.into_iter().map(|kind| (kind, 1)).collect(),
            hold: patience.saturating_mul(2),
            late: patience / 4,
        }
    }

    /// One kind of fault in every exchange that it makes sense for.
    pub fn only(kind: Kind, patience: Duration) -> Self {
        Self { kinds: vec![(kind, 1)], ..Self::stormy(1_000, patience) }
    }
}

impl Tally {
    /// How many exchanges suffered a fault.
    pub fn all_faults(&self) -> u64 {
        self.faults.values().sum()
    }
}

impl Chaos {
    /// Starts a proxy on a free port of loopback, in front of the node.
    pub async fn start(node_url: &str, seed: u64, weather: Weather) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(State {
            seed,
            weather,
            node_url: node_url.to_owned(),
            http: reqwest::Client::builder().no_proxy().build()?,
            calm: AtomicBool::new(false),
            exchanges: AtomicU64::new(0),
            faults: Mutex::default(),
            memory: Mutex::default(),
        });
        let limit = DefaultBodyLimit::max(MAX_BODY_BYTES);
        let app = Router::new().route("/", post(exchange::handle)).layer(limit).with_state(Arc::clone(&state));
        let server = tokio::spawn(async move {
            // A proxy that ends early shows as a node that cannot be reached.
            drop(axum::serve(listener, app).await);
        });
        Ok(Self { url, state, server })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Nothing goes wrong any more.
    pub fn calm(&self) {
        self.state.calm.store(true, Ordering::SeqCst);
        self.state.memory().come_clean();
    }

    /// It begins again.
    pub fn storm(&self) {
        self.state.calm.store(false, Ordering::SeqCst);
    }

    /// What happened so far.
    pub fn tally(&self) -> Tally {
        let faults = self.state.faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Tally { exchanges: self.state.exchanges.load(Ordering::SeqCst), faults }
    }
}

impl State {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, kind: Kind) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let count = faults.entry(kind).or_default();
        *count = count.saturating_add(1);
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.server.abort();
    }
}
