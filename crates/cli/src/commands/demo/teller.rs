//! How the story looks: short lines that fit a terminal of 80 columns, about 60 of them in all.

use serde::Serialize;

use super::stack::Stack;
use crate::terminal::{ACCENT, BAD, FAINT, GOOD, PLAIN, Progress, STRONG, say, short};

const INDENT: &str = "    ";

/// Who tells the story, or keeps silent where only the facts are wanted.
pub struct Teller {
    is_silent: bool,
}

/// A claim of the story, and whether it came true.
#[derive(Serialize)]
pub struct Check {
    what: String,
    /// Whether it did.
    pub holds: bool,
}

impl Teller {
    /// One that tells, or a silent one.
    pub fn new(is_silent: bool) -> Self {
        Self { is_silent }
    }

    /// A line of the story.
    pub fn say(&self, line: impl AsRef<str>) {
        self.line(&format!("{INDENT}{}", line.as_ref()));
    }

    /// The beginning of an act.
    pub fn act(&self, number: u8, title: &str) {
        self.line("");
        self.line(&format!("  {STRONG}{number} · {title}{PLAIN}"));
    }

    /// A claim, with its mark.
    pub fn judge(&self, checks: &mut Vec<Check>, what: impl Into<String>, holds: bool) {
        let what = what.into();
        let mark = if holds { format!("{GOOD}✓{PLAIN}") } else { format!("{BAD}✗{PLAIN}") };
        self.say(format!("{mark} {what}"));
        checks.push(Check { what, holds });
    }

    /// A line that shows how far something is; none if nobody looks.
    pub fn progress(&self) -> Option<Progress> {
        (!self.is_silent).then(|| Progress::on_stdout(INDENT))
    }

    /// Who plays, and where.
    pub fn introduce(&self, stack: &Stack) {
        self.line("");
        self.line(&format!("  {STRONG}farthing demo{PLAIN}   all on this machine: no network, no keys, no money"));
        self.line("");
        let payer = short(&stack.facilitator_account);
        self.say(format!("chain        {ACCENT}{}{PLAIN}   Base Sepolia's chain id and USDC", stack.rpc_url));
        self.say(format!("facilitator  {ACCENT}{}{PLAIN}   {payer} pays for gas", stack.operator.url));
        self.say(format!("sample API   {ACCENT}{}{PLAIN}   /report /article /summary /archive", stack.api_url));
    }

    /// What to try next.
    pub fn invite(&self, stack: &Stack) {
        let (api, facilitator) = (&stack.api_url, &stack.operator.url);
        self.line("");
        self.line(&format!("  {STRONG}Still running. Try it from another terminal:{PLAIN}"));
        self.say(format!("curl -i {api}/report"));
        self.say(format!("curl {facilitator}/supported"));
        self.say(format!("farthing inspect {api}/report"));
        self.say(format!("export EVM_PRIVATE_KEY={}", stack.agent_key));
        self.say(format!("farthing pay {api}/report"));
        self.say(format!("farthing pay {api}/article"));
        self.line("");
        self.line(&format!("  {FAINT}The key is public, and worth nothing outside. In the repository, `farthing` is{PLAIN}"));
        self.line(&format!("  {FAINT}`cargo run --release --`. Ctrl-C stops everything; nothing is kept.{PLAIN}"));
    }

    fn line(&self, line: &str) {
        if !self.is_silent {
            say(line);
        }
    }
}
