//! Reads what the interop tests recorded, and refuses a run in which a combination of peers is missing.
//!
//! Every interop test appends a line to the file that `FARTHING_INTEROP_RESULTS` names, once all that it asserts holds:
//! `{"chain": "anvil", "combination": "permit2_client_ts_server_farthing_facilitator_python"}`. One more test records what to
//! expect: `{"chains": ["anvil", …], "combinations": ["permit2_client_…", …]}`.

use std::{collections::BTreeMap, fmt::Write, fs, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The file that the interop tests record into.
pub const RESULTS_VARIABLE: &str = "FARTHING_INTEROP_RESULTS";

/// Checks the recorded results and returns a summary of one line.
pub fn summary(results: &Path) -> Result<String> {
    let recorded = fs::read_to_string(results).context("no interop test recorded a result")?;
    summarize(&recorded)
}

fn summarize(recorded: &str) -> Result<String> {
    let mut ran: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut expected: Option<(Vec<String>, Vec<String>)> = None;
    for line in recorded.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| format!("not a recorded result: {line}"))?;
        if let (Some(chain), Some(combination)) = (text(&line, "chain"), text(&line, "combination")) {
            *ran.entry((chain, combination)).or_default() += 1;
        } else if let (Some(chains), Some(combinations)) = (texts(&line, "chains"), texts(&line, "combinations")) {
            expected = Some((chains, combinations));
        } else {
            bail!("not a recorded result: {line}");
        }
    }
    let (chains, combinations) = expected.context("the test that says which combinations to expect did not run")?;
    let mut summary = "interop:".to_owned();
    for chain in &chains {
        for combination in &combinations {
            if !ran.contains_key(&(chain.clone(), combination.clone())) {
                bail!("{combination} did not run on {chain}");
            }
        }
        write!(summary, " {} combinations on {chain},", combinations.len())?;
    }
    if ran.len() != chains.len() * combinations.len() || ran.values().any(|times| *times != 1) {
        bail!("{} results for {} combinations on {} chains", ran.len(), combinations.len(), chains.len());
    }
    summary.pop();
    Ok(summary)
}

fn text(line: &Value, key: &str) -> Option<String> {
    Some(line.get(key)?.as_str()?.to_owned())
}

fn texts(line: &Value, key: &str) -> Option<Vec<String>> {
    line.get(key)?.as_array()?.iter().map(|it| it.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPECTED: &str = r#"{"chains":["anvil","devnet"],"combinations":["a"]}"#;
    const ON_ANVIL: &str = r#"{"chain":"anvil","combination":"a"}"#;
    const ON_DEVNET: &str = r#"{"chain":"devnet","combination":"a"}"#;

    #[test]
    fn a_complete_matrix_is_summed_up() {
        let summary = summarize(&format!("{ON_DEVNET}\n{EXPECTED}\n{ON_ANVIL}\n")).unwrap();
        assert_eq!(summary, "interop: 1 combinations on anvil, 1 combinations on devnet");
    }

    #[test]
    fn a_missing_combination_is_named() {
        let error = summarize(&format!("{EXPECTED}\n{ON_ANVIL}\n")).unwrap_err();
        assert_eq!(error.to_string(), "a did not run on devnet");
    }

    #[test]
    fn a_result_that_nobody_expects_is_refused() {
        let stranger = r#"{"chain":"anvil","combination":"b"}"#;
        summarize(&format!("{EXPECTED}\n{ON_ANVIL}\n{ON_DEVNET}\n{stranger}\n")).unwrap_err();
        summarize(&format!("{ON_ANVIL}\n{ON_DEVNET}\n")).unwrap_err();
        summarize("nonsense\n").unwrap_err();
    }
}
