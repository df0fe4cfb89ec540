//! A JSON-RPC proxy that stands between a facilitator and its node, and counts what goes through.
//!
//! It tells round trips (HTTP exchanges) from calls (a batch holds many), answers after a fixed delay if told so, and can
//! answer repeated reads itself (see [`crate::memo`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::measure::{count, median};
use crate::memo::{Memo, shape};

/// How often a node was asked.
#[derive(Debug, Default)]
pub struct Counter {
    round_trips: AtomicUsize,
    calls: AtomicUsize,
    methods: Mutex<BTreeMap<String, usize>>,
}

/// How a proxy answers.
#[derive(Clone, Copy, Default)]
pub struct Options {
    /// How long every exchange takes at least.
    pub delay: Duration,
    /// Whether repeated reads are answered from memory.
    pub remembers: bool,
}

/// A proxy on loopback. It ends when dropped.
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    /// What it has counted.
    pub counter: Arc<Counter>,
    server: JoinHandle<()>,
}

/// What was counted within some time.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// HTTP exchanges.
    pub round_trips: usize,
    /// Calls in them.
    pub calls: usize,
    /// The same by method.
    pub methods: BTreeMap<String, usize>,
}

struct Behind {
    node_url: String,
    http: reqwest::Client,
    options: Options,
    memo: Memo,
    counter: Arc<Counter>,
}

#[derive(Deserialize)]
struct Question<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

impl Counter {
    /// Counts one round trip with so many calls.
    pub fn add(&self, calls: usize) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        self.calls.fetch_add(calls, Ordering::Relaxed);
    }

    fn add_method(&self, method: &str) {
        let mut methods = self.methods.lock().unwrap_or_else(PoisonError::into_inner);
        *methods.entry(method.to_owned()).or_default() += 1;
    }

    /// What was counted since it was last asked.
    pub fn take(&self) -> Counts {
        Counts {
            round_trips: self.round_trips.swap(0, Ordering::Relaxed),
            calls: self.calls.swap(0, Ordering::Relaxed),
            methods: std::mem::take(&mut *self.methods.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

impl Counts {
    /// The methods, the most frequent first, with how often each was called for one of so many payments.
    pub fn by_method(&self, payments: usize) -> String {
        let mut methods: Vec<_> = self.methods.iter().collect();
        methods.sort_by_key(|(method, times)| (std::cmp::Reverse(**times), (*method).clone()));
        let each = |times: usize| count(times) / count(payments);
        let shown =
            methods.into_iter().map(|(method, times)| format!("{} {:.2}", method.trim_start_matches("eth_"), each(*times)));
        shown.collect::<Vec<_>>().join(", ")
    }
}

impl Proxy {
    /// Starts a proxy in front of a node.
    pub async fn start(node_url: &str, options: Options) -> anyhow::Result<Self> {
        let counter = Arc::new(Counter::default());
        let behind = Behind {
            node_url: node_url.to_owned(),
            http: reqwest::Client::builder().no_proxy().build()?,
            options,
            memo: Memo::default(),
            counter: Arc::clone(&counter),
        };
        let app = Router::new().route("/", post(exchange)).with_state(Arc::new(behind));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = tokio::spawn(async move {
            // It never returns by itself.
            let _ended = axum::serve(listener, app).await.is_ok();
        });
        Ok(Self { url, counter, server })
    }
}

impl Proxy {
    /// How long it takes to answer a question that it knows, in milliseconds.
    pub async fn milliseconds(&self) -> anyhow::Result<f64> {
        const QUESTIONS: usize = 20;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let mut taken = Vec::with_capacity(QUESTIONS);
        for _ in 0..QUESTIONS {
            let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}"#;
            let started = Instant::now();
            http.post(&self.url).body(body).send().await?.bytes().await?;
            taken.push(started.elapsed().as_secs_f64() * 1e3);
        }
        Ok(median(taken))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn exchange(
    State(behind): State<Arc<Behind>>,
    body: Bytes,
) -> Result<([(&'static str, &'static str); 1], Bytes), StatusCode> {
    let delay = tokio::time::sleep(behind.options.delay);
    let answer = behind.answer(body).await.map_err(|error| {
        eprintln!("the proxy could not ask the node: {error:#}");
        StatusCode::BAD_GATEWAY
    })?;
    delay.await;
    Ok(([("content-type", "application/json")], answer))
}

impl Behind {
    async fn answer(&self, body: Bytes) -> anyhow::Result<Bytes> {
        let is_batch = body.first() == Some(&b'[');
        let questions: Vec<Question<'_>> =
            if is_batch { serde_json::from_slice(&body)? } else { vec![serde_json::from_slice(&body)?] };
        self.counter.add(questions.len());
        for question in &questions {
            self.counter.add_method(&question.method);
        }
        if !self.options.remembers {
            drop(questions);
            return self.pass_on(body).await;
        }
        let mut answers = Vec::with_capacity(questions.len());
        for question in &questions {
            answers.push(self.remembered(question).await?);
        }
        Ok(Bytes::from(if is_batch { format!("[{}]", answers.join(",")) } else { answers.concat() }))
    }

    async fn remembered(&self, question: &Question<'_>) -> anyhow::Result<String> {
        let (id, params) = (question.id, question.params.map_or("[]", RawValue::get));
        let shape = shape(&question.method, params);
        if let Some(result) = shape.as_ref().and_then(|shape| self.memo.answer(shape)) {
            return Ok(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
        }
        let single = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{}","params":{params}}}"#, question.method);
        let answer = String::from_utf8(self.pass_on(Bytes::from(single)).await?.into())?;
        let result = serde_json::from_str::<Answered<'_>>(&answer).context("the node's answer is no JSON-RPC")?.result;
        if let Some((shape, result)) = shape.zip(result) {
            self.memo.learn(shape, result);
        }
        Ok(answer)
    }

    async fn pass_on(&self, body: Bytes) -> anyhow::Result<Bytes> {
        let request = self.http.post(&self.node_url).header("content-type", "application/json").body(body);
        Ok(request.send().await?.bytes().await?)
    }
}
