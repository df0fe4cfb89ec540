//! Runs the test suite and counts from its own words, so that the count can't be kinder than the runner.

use anyhow::{Result, bail};

use crate::process::run_watched;

/// How many tests ended how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that did not run.
    pub skipped: u64,
}

impl Tally {
    /// Runs a test command whose output stays visible, and adds what it reports.
    pub fn add_run(&mut self, command: &mut std::process::Command) -> Result<()> {
        let before = *self;
        let succeeded = run_watched(command, |line| self.add_line(line))?;
        if self.failed == before.failed && !succeeded {
            bail!("the tests did not run to their end");
        }
        if self.failed > before.failed {
            bail!("{} failed", count(self.failed - before.failed));
        }
        if self.skipped > before.skipped {
            bail!("{} skipped; a test that does not run checks nothing", count(self.skipped - before.skipped));
        }
        if self.passed == before.passed {
            bail!("no test ran");
        }
        Ok(())
    }

    /// Adds a closing line of nextest (`Summary [ 2s] 3 tests run: 2 passed, 1 failed, 0 skipped`) or of cargo test
    /// (`test result: ok. 3 passed; 0 failed; 0 ignored; …`). Other lines count nothing.
    fn add_line(&mut self, line: &str) {
        let counts = if line.trim_start().starts_with("Summary [") {
            line.split_once(" run: ").map(|(_, counts)| counts)
        } else {
            // What nextest passes on of a failed program is indented, and counted in its own closing line.
            line.strip_prefix("test result: ").and_then(|result| result.split_once(". ")).map(|(_, counts)| counts)
        };
        for entry in counts.unwrap_or_default().split([',', ';', '(']) {
            let mut words = entry.split_whitespace();
            let Some(Ok(number)) = words.next().map(str::parse::<u64>) else { continue };
            match (words.next(), words.next()) {
                (Some("passed"), None) => self.passed += number,
                (Some("failed" | "exec"), _) | (Some("timed"), Some("out")) => self.failed += number,
                (Some("skipped" | "ignored"), None) => self.skipped += number,
                _ => {}
            }
        }
    }
}

fn count(tests: u64) -> String {
    if tests == 1 { "1 test".to_owned() } else { format!("{tests} tests") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, passed: u64, failed: u64, skipped: u64) {
        let mut tally = Tally::default();
        tally.add_line(line);
        assert_eq!(tally, Tally { passed, failed, skipped }, "{line}");
    }

    #[test]
    fn closing_lines_of_both_runners_are_counted() {
        check("     Summary [   0.005s] 3 tests run: 3 passed, 0 skipped\n", 3, 0, 0);
        check("     Summary [  61.005s] 1 test run: 1 passed (1 slow), 2 skipped", 1, 0, 2);
        check("     Summary [   9.005s] 12/14 tests run: 9 passed (2 flaky), 2 failed, 1 timed out, 0 skipped", 9, 3, 0);
        check("     Summary [   9.005s] 2 tests run: 1 passed, 1 exec failed, 0 skipped", 1, 1, 0);
        check("test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.01s", 5, 0, 1);
        check("test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out", 5, 2, 0);
    }

    #[test]
    fn other_lines_count_nothing() {
        check("test a_payment::is_refused ... ok", 0, 0, 0);
        check("12 passed, 1 failed", 0, 0, 0);
        check("    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 51 filtered out", 0, 0, 0);
        check("", 0, 0, 0);
    }
}
