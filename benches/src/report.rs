//! The table: what was measured, what it was measured against, and whether that is good enough.

use serde::Serialize;

/// A bound that a figure has to keep.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// One line. The bounds are for the ratio where there is one, and for the figure otherwise.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    group: &'static str,
    goal: &'static str,
    what: String,
    figure: f64,
    unit: &'static str,
    limit: Option<f64>,
    ratio: Option<f64>,
    must: Option<Bound>,
    aim: Option<Bound>,
    verdict: Option<Verdict>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Verdict {
    Aim,
    Must,
    Missed,
}

/// All lines of one run.
pub struct Report {
    json: bool,
    group: &'static str,
    rows: Vec<Row>,
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::AtMost(bound) => format!("<= {}", number(bound)),
            Self::AtLeast(bound) => format!(">= {}", number(bound)),
        }
    }
}

impl Row {
    /// A figure of its own.
    pub fn new(goal: &'static str, what: impl Into<String>, figure: f64, unit: &'static str) -> Self {
        let (group, what) = ("", what.into());
        Self { group, goal, what, figure, unit, limit: None, ratio: None, must: None, aim: None, verdict: None }
    }

    /// The limit in the figure's unit; the ratio is figure / limit.
    pub fn against(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self.ratio = Some(self.figure / limit);
        self
    }

    /// The least that is asked for.
    pub const fn must(mut self, bound: Bound) -> Self {
        self.must = Some(bound);
        self
    }

    /// What is hoped for.
    pub const fn aim(mut self, bound: Bound) -> Self {
        self.aim = Some(bound);
        self
    }

    fn judge(&self) -> Option<Verdict> {
        let value = self.ratio.unwrap_or(self.figure);
        let (must, aim) = (self.must.map(|bound| bound.holds(value)), self.aim.map(|bound| bound.holds(value)));
        match (must, aim) {
            (None, None) => None,
            (Some(false), _) | (None, Some(false)) => Some(Verdict::Missed),
            (_, Some(true)) => Some(Verdict::Aim),
            (Some(true), _) => Some(Verdict::Must),
        }
    }

    fn cells(&self) -> [String; 8] {
        let bound = |bound: Option<Bound>| bound.map_or_else(String::new, Bound::shown);
        let verdict = match self.verdict {
            None => "",
            Some(Verdict::Must) if self.aim.is_some() => "enough",
            Some(Verdict::Aim | Verdict::Must) => "good",
            Some(Verdict::Missed) => "MISSED",
        };
        [
            self.goal.to_owned(),
            self.what.clone(),
            format!("{} {}", number(self.figure), self.unit),
            self.limit.map_or_else(String::new, number),
            self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            bound(self.must),
            bound(self.aim),
            verdict.to_owned(),
        ]
    }
}

impl Report {
    pub const fn new(json: bool) -> Self {
        Self { json, group: "", rows: Vec::new() }
    }

    /// Says on stderr what is being measured now; the lines that follow belong to it.
    pub fn group(&mut self, group: &'static str) {
        eprintln!("measuring {group} …");
        self.group = group;
    }

    pub fn add(&mut self, row: Row) {
        self.rows.push(Row { group: self.group, verdict: row.judge(), ..row });
    }

    /// Prints everything. A goal that is missed is no error: the machine may be to blame, and the line says so itself.
    pub fn print(&self) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(&self.rows)?);
            return Ok(());
        }
        let mut lines = vec![["goal", "what", "figure", "limit", "ratio", "must", "aim", "verdict"].map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let mut widths = [0_usize; 8];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for line in &lines {
            let cells = line.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
                if matches!(column, 2..=4) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        let missed = self.rows.iter().filter(|row| row.verdict == Some(Verdict::Missed)).count();
        println!("\n{} figures, {missed} missed; limits were measured in this run on this machine", self.rows.len());
        Ok(())
    }
}

/// Three significant digits, and all digits of whole numbers.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
