//! Crash points without a line of them in the product: whoever looks on at a book or a node ends the process at a chosen
//! call, before it or after it, by `SIGKILL`: no destructor runs, nothing is flushed.
//!
//! 1. A run without a crash writes down every point that it passes; these are all points of the scenario.
//! 2. The scenario runs once for each of them, and dies there.
//! 3. Whoever started it starts it again and holds what is left against the invariants.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, getpid, kill_process};

use crate::watched::{Verdict, Watch};

/// On which side of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Nothing of the call has happened.
    Before,
    /// All of it has happened, and nobody has heard of it yet.
    After,
}

/// A moment in a process's life, named so that another run of the same scenario has it, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Point {
    /// Which call.
    pub call: String,
    /// The how-manieth of its kind, counted from one.
    pub occurrence: u32,
    /// On which side of it.
    pub side: Side,
}

/// Counts the points that a process passes, and ends it at one of them.
#[derive(Debug)]
pub struct Tripwire {
    fatal: Option<Point>,
    passed: Mutex<Passed>,
}

#[derive(Debug)]
struct Passed {
    counts: HashMap<(String, Side), u32>,
    /// Written line by line without a buffer, so that a killed process's last point is in it.
    report: File,
}

impl Tripwire {
    /// Writes each point into a file, which is made or emptied, and ends the process at the fatal one, if any.
    pub fn new(fatal: Option<Point>, report: &Path) -> Result<Self> {
        let report = File::create(report).with_context(|| format!("cannot write {}", report.display()))?;
        Ok(Self { fatal, passed: Mutex::new(Passed { counts: HashMap::new(), report }) })
    }

    /// A point that is no call of a book or a node, such as the moment before an answer is given.
    pub fn pass(&self, call: &str, side: Side) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.counts.entry((call.to_owned(), side)).or_default();
        *count = count.saturating_add(1);
        let point = Point { call: call.to_owned(), occurrence: *count, side };
        if let Err(error) = writeln!(passed.report, "{point}") {
            eprintln!("a crash point could not be reported: {error}");
        }
        if self.fatal.as_ref() == Some(&point) {
            die();
        }
    }
}

impl Watch for Tripwire {
    fn before(&self, call: &str) -> Verdict {
        self.pass(call, Side::Before);
        Verdict::Go
    }

    fn after(&self, call: &str) -> Verdict {
        self.pass(call, Side::After);
        Verdict::Go
    }
}

/// Reads what a run has passed, in order.
pub fn passed(report: &Path) -> Result<Vec<Point>> {
    let text = std::fs::read_to_string(report).with_context(|| format!("cannot read {}", report.display()))?;
    text.lines().map(str::parse).collect()
}

/// Ends this process as `kill -9` does.
fn die() -> ! {
    loop {
        // It can't be refused: the process is our own.
        kill_process(getpid(), Signal::KILL).ok();
    }
}

impl fmt::Display for Point {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Before => "before",
            Side::After => "after",
        };
        write!(formatter, "{side} {} {}", self.call, self.occurrence)
    }
}

impl FromStr for Point {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let (side, call, occurrence) = match words.as_slice() {
            ["before", call, occurrence] => (Side::Before, call, occurrence),
            ["after", call, occurrence] => (Side::After, call, occurrence),
            _ => bail!("expected a crash point such as \"before outbox.sending 1\", got {text:?}"),
        };
        let occurrence = occurrence.parse().with_context(|| format!("expected a count, got {occurrence:?}"))?;
        Ok(Self { call: (*call).to_owned(), occurrence, side })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_reads_what_it_writes() {
        let point = Point { call: "outbox.sending".to_owned(), occurrence: 2, side: Side::After };
        assert_eq!(point.to_string(), "after outbox.sending 2");
        assert_eq!(point.to_string().parse::<Point>().unwrap(), point);
        assert!("outbox.sending".parse::<Point>().is_err());
    }
}
