//! Payments sent at once, as many buyers would: how long each took, and what became of those that failed.
//!
//! Unlike [`crate::load`] it expects failures and counts them, because peers fail under load and a kill is meant to hurt.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::load::is_whole;
use crate::measure::count;

/// The longest that one answer is waited for.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);
/// How long a buyer waits before it asks again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// How much of an unknown failure is shown, in characters.
const SHOWN_CHARS: usize = 120;

/// Different requests, and what a good answer holds.
#[derive(Clone)]
pub struct Volley {
    requests: Arc<[Vec<u8>]>,
    good: &'static str,
    /// How long a buyer whose request failed without a verdict asks again.
    patience: Duration,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How long each good answer took, sorted.
    milliseconds: Vec<f64>,
    /// The bodies of the good answers.
    pub answers: Vec<String>,
    /// What the others said, and how many said it.
    pub failures: BTreeMap<String, usize>,
    /// How long all of it took.
    pub seconds: f64,
}

/// One answer, good or not.
struct Told {
    is_good: bool,
    body: String,
}

impl Volley {
    /// `POST /verify` of each payment.
    pub fn verify(requests: Vec<Vec<u8>>) -> Self {
        Self { requests: requests.into(), good: r#""isValid":true"#, patience: Duration::ZERO }
    }

    /// `POST /settle` of each payment.
    pub fn settle(requests: Vec<Vec<u8>>) -> Self {
        Self { requests: requests.into(), good: r#""success":true"#, patience: Duration::ZERO }
    }

    /// The same by buyers that ask again, with the same payment, while the facilitator is gone or has no verdict yet.
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// How many requests there are.
    pub fn count(&self) -> usize {
        self.requests.len()
    }

    /// Sends all of them over so many connections, each its next one when it has its answer.
    pub async fn fire(&self, address: SocketAddr, at_once: usize) -> anyhow::Result<Outcome> {
        // The sender may be gone: the address stays what it is.
        let (_, address) = watch::channel(address);
        self.fire_at(&address, at_once).await
    }

    /// The same at a facilitator that may come back elsewhere.
    pub async fn fire_at(&self, address: &watch::Receiver<SocketAddr>, at_once: usize) -> anyhow::Result<Outcome> {
        let next = Arc::new(AtomicUsize::new(0));
        let collected = Arc::new(Mutex::new(Outcome::default()));
        let started = Instant::now();
        let buyer = || {
            let (volley, next, collected, address) = (self.clone(), Arc::clone(&next), Arc::clone(&collected), address.clone());
            async move {
                let mut connection = None;
                while let Some(request) = volley.requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    volley.buy(request, &address, &mut connection, &collected).await;
                }
            }
        };
        let buyers: Vec<_> = (0..at_once).map(|_| tokio::spawn(buyer())).collect();
        finish(buyers, &collected, started).await
    }

    /// Sends one after the other at this interval, whether or not there are answers: buyers that know nothing of each
    /// other.
    pub async fn spread(&self, address: SocketAddr, interval: Duration) -> anyhow::Result<Outcome> {
        let (_, address) = watch::channel(address);
        let collected = Arc::new(Mutex::new(Outcome::default()));
        let started = Instant::now();
        let mut ticks = tokio::time::interval(interval);
        let mut buyers = Vec::with_capacity(self.count());
        for place in 0..self.count() {
            ticks.tick().await;
            let (volley, collected, address) = (self.clone(), Arc::clone(&collected), address.clone());
            buyers.push(tokio::spawn(async move {
                if let Some(request) = volley.requests.get(place) {
                    volley.buy(request, &address, &mut None, &collected).await;
                }
            }));
        }
        finish(buyers, &collected, started).await
    }

    async fn buy(
        &self,
        request: &[u8],
        address: &watch::Receiver<SocketAddr>,
        connection: &mut Option<TcpStream>,
        collected: &Mutex<Outcome>,
    ) {
        let started = Instant::now();
        let told = loop {
            let current = *address.borrow();
            let told = timeout(ANSWER_LIMIT, self.ask(request, current, connection)).await;
            let told = told.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", ANSWER_LIMIT.as_secs())));
            if told.is_err() {
                *connection = None;
            }
            let has_verdict = told.as_ref().is_ok_and(|told| told.is_good || !is_open(&told.body));
            if has_verdict || started.elapsed() >= self.patience {
                break told;
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        };
        let milliseconds = started.elapsed().as_secs_f64() * 1e3;
        let mut outcome = collected.lock().unwrap_or_else(PoisonError::into_inner);
        match told {
            Ok(told) if told.is_good => {
                outcome.milliseconds.push(milliseconds);
                outcome.answers.push(told.body);
            }
            Ok(told) => *outcome.failures.entry(reason(&told.body)).or_default() += 1,
            Err(error) => *outcome.failures.entry(format!("{error:#}")).or_default() += 1,
        }
    }

    async fn ask(&self, request: &[u8], address: SocketAddr, connection: &mut Option<TcpStream>) -> anyhow::Result<Told> {
        let stream = if let Some(stream) = connection {
            stream
        } else {
            let stream = TcpStream::connect(address).await.context("no connection")?;
            stream.set_nodelay(true)?;
            connection.insert(stream)
        };
        stream.write_all(request).await.context("the connection broke")?;
        let mut answer = Vec::new();
        let mut buffer = vec![0_u8; READ_BUFFER_BYTES];
        while !is_whole(&answer) {
            let read = stream.read(&mut buffer).await.context("the connection broke")?;
            if read == 0 {
                bail!("the connection broke");
            }
            answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
        }
        let text = String::from_utf8_lossy(&answer);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        Ok(Told { is_good: body.contains(self.good), body })
    }
}

impl Outcome {
    /// How many failed.
    pub fn failed(&self) -> usize {
        self.failures.values().sum()
    }

    /// Good answers in each second.
    pub fn rate(&self) -> f64 {
        count(self.milliseconds.len()) / self.seconds
    }

    /// The time within which so many of a hundred good answers came, in milliseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        percentile(&self.milliseconds, percent)
    }

    /// The transactions that the good answers name, each once.
    pub fn transactions(&self) -> Vec<String> {
        let named = self.answers.iter().filter_map(|body| {
            let body: Value = serde_json::from_str(body).ok()?;
            Some(body.get("transaction")?.as_str()?.to_owned())
        });
        let mut transactions: Vec<String> = named.collect();
        transactions.sort();
        transactions.dedup();
        transactions
    }

    /// The failures in one line, the most frequent first.
    pub fn told(&self) -> String {
        let mut failures: Vec<_> = self.failures.iter().collect();
        failures.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        failures.iter().map(|(what, times)| format!("{times} × {what}")).collect::<Vec<_>>().join("; ")
    }
}

/// The figure that so many of a hundred sorted figures don't pass.
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

async fn finish(
    buyers: Vec<tokio::task::JoinHandle<()>>,
    collected: &Mutex<Outcome>,
    started: Instant,
) -> anyhow::Result<Outcome> {
    for buyer in buyers {
        buyer.await.context("a buyer's task ended early")?;
    }
    let mut outcome = std::mem::take(&mut *collected.lock().unwrap_or_else(PoisonError::into_inner));
    outcome.seconds = started.elapsed().as_secs_f64();
    outcome.milliseconds.sort_by(f64::total_cmp);
    Ok(outcome)
}

/// Whether an answer that is no success leaves open what becomes of the payment.
fn is_open(body: &str) -> bool {
    body.contains("settlement_pending") || !(body.contains(r#""success":false"#) || body.contains(r#""isValid":false"#))
}

/// Why a facilitator refused, in its own words.
fn reason(body: &str) -> String {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let texts = ["errorReason", "invalidReason", "errorMessage", "invalidMessage", "error"];
    let told: Vec<&str> = texts.iter().filter_map(|name| parsed.get(name)?.as_str()).collect();
    let told = if told.is_empty() { body.to_owned() } else { told.join(": ") };
    // Numbers and addresses would make every failure a kind of its own.
    let words: Vec<&str> = told.split_whitespace().filter(|word| !word.contains("0x")).collect();
    words.join(" ").chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_figure_that_was_measured() {
        let figures: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!((percentile(&figures, 50) - 100.0).abs() < f64::EPSILON);
        assert!((percentile(&figures, 99) - 198.0).abs() < f64::EPSILON);
        assert!((percentile(&[7.0], 99) - 7.0).abs() < f64::EPSILON);
        assert!(percentile(&[], 50).is_nan());
    }

    #[test]
    fn failures_of_one_kind_are_counted_together() {
        let told =
            |hash: &str| reason(&format!(r#"{{"success":false,"errorReason":"nonce too low","errorMessage":"tx {hash}"}}"#));
        assert_eq!(told("0xaa"), told("0xbb"));
        assert!(is_open(r#"{"success":false,"errorReason":"settlement_pending"}"#) && is_open("gateway"));
        assert!(!is_open(r#"{"success":false,"errorReason":"invalid_exact_evm_signature"}"#));
    }
}
