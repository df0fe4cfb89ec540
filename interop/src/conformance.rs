//! x402-conformance, a suite by others, graded strictly: a warning fails too.

use std::{env, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::{process::Command, time::timeout};

use crate::installed;

const LIMIT: Duration = Duration::from_mins(1);

/// Which part of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// What a facilitator says that it supports.
    Facilitator,
    /// What a server answers to an unpaid request.
    Resource,
}

/// Runs a part of the suite on a URL, and returns the names of the checks that it passed.
pub async fn passes(suite: Suite, url: &str) -> Result<Vec<String>> {
    let mode = match suite {
        Suite::Facilitator => "live",
        Suite::Resource => "resource",
    };
    let mut command = Command::new(installed::set("conformance")?.join("bin/python"));
    command.args(["-m", "x402conf", mode, url, "--fail-on-error"]).env_clear();
    command.envs(env::var_os("PATH").map(|path| ("PATH", path))).stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = timeout(LIMIT, command.kill_on_drop(true).output()).await.context("x402-conformance does not end")??;
    let report: Value = serde_json::from_slice(&output.stdout).context("x402-conformance prints JSON")?;
    let mut passed = Vec::new();
    for check in report.pointer("/results/0/checks").and_then(Value::as_array).context("the report has checks")? {
        if check.get("pass") != Some(&Value::Bool(true)) {
            bail!("{url} fails {check:#}");
        }
        passed.push(check.get("check").and_then(Value::as_str).context("a check has a name")?.to_owned());
    }
    if !output.status.success() || passed.is_empty() {
        bail!("x402-conformance ended with {}: {report:#}", output.status);
    }
    Ok(passed)
}
