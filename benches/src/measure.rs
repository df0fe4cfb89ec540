//! Timing that can be trusted on a noisy machine: CPU time, many short rounds, and of these a quiet one quoted.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Runtime;

/// Rounds per measurement.
const ROUNDS: usize = 16;
/// How long a round lasts, about, in CPU time.
const ROUND_TIME_MICROSECONDS: f64 = 20_000.0;
/// Calls between two looks at the clock while a round's length is found.
const CALLS_PER_LOOK: u32 = 16;

/// Work that is done so often as it is told.
pub fn repeat<T>(mut call: impl FnMut() -> T) -> impl FnMut(u32) {
    move |calls| {
        for _ in 0..calls {
            black_box(call());
        }
    }
}

/// The same for an asynchronous call that never really waits.
pub fn repeat_async<F: Future<Output = T>, T>(runtime: &Runtime, mut call: impl FnMut() -> F) -> impl FnMut(u32) {
    move |calls| {
        runtime.block_on(async {
            for _ in 0..calls {
                black_box(call().await);
            }
        });
    }
}

/// The CPU time of one call of the work, and of one of its limit, in microseconds. Their rounds take turns, so that what
/// disturbs one disturbs the other.
pub fn beside(mut work: impl FnMut(u32), mut limit: impl FnMut(u32)) -> (f64, f64) {
    let (calls, limit_calls) = (calls_per_round(&mut work), calls_per_round(&mut limit));
    let (mut costs, mut limits) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        costs.push(round(&mut work, calls));
        limits.push(round(&mut limit, limit_calls));
    }
    (quiet(costs), quiet(limits))
}

/// One round of such work on every core at once: the CPU time of one call.
pub fn one_round_on_all_cores<W: FnMut(u32)>(work: impl Fn() -> W + Sync) -> anyhow::Result<f64> {
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let measure = || {
        let mut work = work();
        let calls = calls_per_round(&mut work);
        round(&mut work, calls)
    };
    let costs = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(measure)).collect();
        threads.into_iter().map(|thread| thread.join().ok()).collect::<Option<Vec<f64>>>()
    });
    costs.map(quiet).context("a measuring thread panicked")
}

fn calls_per_round(run: &mut impl FnMut(u32)) -> u32 {
    let started = thread_cpu_microseconds();
    let mut calls = 0_u32;
    while thread_cpu_microseconds() - started < ROUND_TIME_MICROSECONDS {
        run(CALLS_PER_LOOK);
        calls = calls.saturating_add(CALLS_PER_LOOK);
    }
    calls
}

fn round(run: &mut impl FnMut(u32), calls: u32) -> f64 {
    let started = thread_cpu_microseconds();
    run(calls);
    (thread_cpu_microseconds() - started) / f64::from(calls)
}

/// The lower quartile of some costs: whatever else the machine does only ever adds to them.
pub fn quiet(mut costs: Vec<f64>) -> f64 {
    costs.sort_by(f64::total_cmp);
    costs.get(costs.len() / 4).copied().unwrap_or(f64::NAN)
}

/// The middle of some figures.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A count as a figure.
pub fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

/// The CPU time that this thread has used, in microseconds.
pub fn thread_cpu_microseconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanoseconds).as_secs_f64() * 1e6
}

/// The CPU time that another process has used, in microseconds, user's and kernel's. The kernel brings it up to date when
/// a thread goes to sleep, so it is exact while that process waits for work.
pub fn cpu_microseconds_of(process: u32) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task")).context("the measured process is gone")? {
        let line = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        let nanoseconds: f64 = line.split_whitespace().next().context("schedstat is empty")?.parse()?;
        sum += nanoseconds / 1e3;
    }
    Ok(sum)
}

/// The same of a process and its children.
pub fn cpu_microseconds_of_all(process: u32) -> anyhow::Result<f64> {
    let mut sum = cpu_microseconds_of(process)?;
    for child in children_of(process)? {
        // A child may end while it is looked for.
        sum += cpu_microseconds_of(child).unwrap_or(0.0);
    }
    Ok(sum)
}

/// The children of a process.
pub fn children_of(process: u32) -> anyhow::Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may have ended by now.
        let Ok(line) = std::fs::read_to_string(format!("/proc/{number}/stat")) else { continue };
        // The name, in brackets, may hold anything; state and parent follow it.
        let parent = line.rsplit(") ").next().and_then(|rest| rest.split_whitespace().nth(1));
        if parent.and_then(|parent| parent.parse().ok()) == Some(process) {
            children.push(number);
        }
    }
    Ok(children)
}

/// The memory of a process in KiB, of a kind that `/proc/PID/status` knows.
pub fn memory_kib_of(process: u32, kind: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'));
    let line = line.with_context(|| format!("there is no {kind} in /proc"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
