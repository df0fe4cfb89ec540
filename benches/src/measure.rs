//! Timing that can be trusted on a noisy machine: many short rounds, the median quoted, ratios within one run.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds per measurement; the median of them is the figure.
const ROUNDS: usize = 15;
/// How long a round lasts, about.
const ROUND_TIME: Duration = Duration::from_millis(40);

/// The median time of one call, in nanoseconds.
pub fn per_call<T>(mut call: impl FnMut() -> T) -> f64 {
    let started = Instant::now();
    let mut calls = 0_u32;
    while started.elapsed() < ROUND_TIME {
        black_box(call());
        calls = calls.saturating_add(1);
    }
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..calls {
                black_box(call());
            }
            started.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
        })
        .collect();
    median(&mut rounds)
}

/// The median time of one asynchronous call that never really waits, in nanoseconds.
pub fn per_future<F: Future<Output = T>, T>(runtime: &tokio::runtime::Runtime, mut call: impl FnMut() -> F) -> f64 {
    runtime.block_on(async {
        let started = Instant::now();
        let mut calls = 0_u32;
        while started.elapsed() < ROUND_TIME {
            black_box(call().await);
            calls = calls.saturating_add(1);
        }
        let mut rounds = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let started = Instant::now();
            for _ in 0..calls {
                black_box(call().await);
            }
            rounds.push(started.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
        }
        median(&mut rounds)
    })
}

/// The middle of some figures.
pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
