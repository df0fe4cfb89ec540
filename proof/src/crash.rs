//! Crash points without a line of them in the product: whoever looks on at a book or a node ends the process at a chosen
//! call, before it or after it, by `SIGKILL`: no destructor runs, nothing is flushed.
//!
//! 1. A run without a crash writes down every point that it passes; these are all points of the scenario.
//! 2. The scenario runs once for each of them, and dies there.
//! 3. Whoever started it starts it again, may let it die once more on its way back, and holds what is left against the
//!    invariants.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use farthing_core::amount::Amount;
use farthing_core::scheme::PaymentKey;
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

/// Where a process dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// At this point.
    At(Point),
    /// At the so many-th of all points that it passes, whichever that is.
    Passing(u64),
}

/// Counts the points that a process passes, and ends it at one of them.
#[derive(Debug)]
pub struct Tripwire {
    fatal: Option<Fatal>,
    passed: Mutex<Passed>,
}

#[derive(Debug)]
struct Passed {
    counts: HashMap<(String, Side), u32>,
    all: u64,
    /// Written line by line without a buffer, so that a killed process's last point is in it.
    report: File,
    /// What a seller was about to charge, of all lives and nodes in one file, in the order in which its book had it.
    charges: File,
}

/// The file of what sellers charge.
const CHARGES: &str = "charges";
/// What its lines end with: before a charge is in the book, and once it is.
const ASKED: &str = "asked";
const WRITTEN: &str = "written";

impl Tripwire {
    /// Writes each point into a file, which is made or emptied, and ends the process at the fatal one, if any. Charges go
    /// into a file beside it.
    pub fn new(fatal: Option<Fatal>, report: &Path) -> Result<Self> {
        let charges = report.with_file_name(CHARGES);
        let charges = File::options()
            .create(true)
            .append(true)
            .open(&charges)
            .with_context(|| format!("cannot write {}", charges.display()))?;
        let report = File::create(report).with_context(|| format!("cannot write {}", report.display()))?;
        Ok(Self { fatal, passed: Mutex::new(Passed { counts: HashMap::new(), all: 0, report, charges }) })
    }

    /// A point that is no call of a book or a node, such as the moment before an answer is given.
    pub fn pass(&self, call: &str, side: Side) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.counts.entry((call.to_owned(), side)).or_default();
        *count = count.saturating_add(1);
        let point = Point { call: call.to_owned(), occurrence: *count, side };
        passed.all = passed.all.saturating_add(1);
        if let Err(error) = writeln!(passed.report, "{point}") {
            eprintln!("a crash point could not be reported: {error}");
        }
        let dies = match &self.fatal {
            Some(Fatal::At(fatal)) => *fatal == point,
            Some(Fatal::Passing(number)) => *number == passed.all,
            None => false,
        };
        if dies {
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

    fn charging(&self, payment: PaymentKey, charge: Amount, is_written: bool) {
        let mut passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let how = if is_written { WRITTEN } else { ASKED };
        // One write, so that lines of several processes do not mix.
        let line = format!("{payment} {charge} {how}\n");
        if let Err(error) = passed.charges.write_all(line.as_bytes()) {
            eprintln!("a charge could not be reported: {error}");
        }
    }
}

/// Reads from the folder of the reports what a seller's book can have had first for each payment, in atomic units: the charge
/// that it is known to have had first, and those before it of which a crash took the news.
pub fn first_charges(folder: &Path) -> Result<BTreeMap<String, Vec<u64>>> {
    let file = folder.join(CHARGES);
    let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let (mut first, mut known) = (BTreeMap::<String, Vec<u64>>::new(), BTreeSet::new());
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [payment, atomic, how] = words.as_slice() else { bail!("expected a charge, got {line:?}") };
        if !known.contains(payment) {
            first.entry((*payment).to_owned()).or_default().push(atomic.parse()?);
        }
        if *how == WRITTEN {
            known.insert(*payment);
        }
    }
    Ok(first)
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

impl fmt::Display for Fatal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(point) => point.fmt(formatter),
            Self::Passing(number) => write!(formatter, "passing {number}"),
        }
    }
}

impl FromStr for Fatal {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.strip_prefix("passing ") {
            Some(number) => Ok(Self::Passing(number.parse().with_context(|| format!("expected a count, got {number:?}"))?)),
            None => text.parse().map(Self::At),
        }
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
        for fatal in [Fatal::At(point), Fatal::Passing(7)] {
            assert_eq!(fatal.to_string().parse::<Fatal>().unwrap(), fatal);
        }
    }
}
