//! Every dependency must be usable under licences that a binary of ours may carry.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{process::capture, workspace::Workspace};

/// Permissive licences, and MPL-2.0, which binds only its own files.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Checks every package of the dependency graph, and that the lock file is up to date. Returns how many there are.
pub fn check(workspace: &Workspace) -> Result<usize> {
    let metadata = capture(&mut workspace.cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata prints JSON")?;
    let packages = metadata.get("packages").and_then(Value::as_array).context("cargo metadata names packages")?;
    let field = |package: &Value, key: &str| package.get(key).and_then(Value::as_str).unwrap_or("none").to_owned();
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !is_allowed(&field(package, "license")))
        .map(|package| format!("{} {}: {}", field(package, "name"), field(package, "version"), field(package, "license")))
        .collect();
    if !refused.is_empty() {
        bail!("licences that are not on the list in xtask/src/licences.rs:\n  {}", refused.join("\n  "));
    }
    Ok(packages.len())
}

/// Evaluates an SPDX expression: one side of an OR must be allowed, both sides of an AND, and AND binds tighter.
/// What is no expression is not allowed.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut tokens = expression.split_whitespace().peekable();
    either(&mut tokens) == Some(true) && tokens.next().is_none()
}

type Tokens<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(tokens: &mut Tokens) -> Option<bool> {
    let mut allowed = both(tokens)?;
    while tokens.next_if_eq(&"OR").is_some() {
        allowed |= both(tokens)?;
    }
    Some(allowed)
}

fn both(tokens: &mut Tokens) -> Option<bool> {
    let mut allowed = one(tokens)?;
    while tokens.next_if_eq(&"AND").is_some() {
        allowed &= one(tokens)?;
    }
    Some(allowed)
}

fn one(tokens: &mut Tokens) -> Option<bool> {
    let token = tokens.next()?;
    if token == "(" {
        let allowed = either(tokens)?;
        return tokens.next_if_eq(&")").map(|_| allowed);
    }
    if tokens.next_if_eq(&"WITH").is_some() {
        // An exception only ever permits more than its licence.
        tokens.next()?;
    }
    Some(ALLOWED.contains(&token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_side_of_an_or_is_enough() {
        assert!(is_allowed("MIT OR Apache-2.0"));
        assert!(is_allowed("MIT/Apache-2.0"));
        assert!(is_allowed("GPL-3.0-only OR MIT"));
        assert!(is_allowed("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT"));
        assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    }

    #[test]
    fn both_sides_of_an_and_are_needed() {
        assert!(!is_allowed("MIT AND GPL-3.0-only"));
        assert!(!is_allowed("(MIT OR Apache-2.0) AND AGPL-3.0-only"));
        assert!(is_allowed("GPL-3.0-only AND MIT OR ISC"), "AND binds tighter than OR");
    }

    #[test]
    fn an_unknown_or_broken_expression_is_refused() {
        for expression in ["", "none", "LGPL-3.0-only", "(MIT", "MIT OR", "MIT MIT", "Apache-2.0 WITH"] {
            assert!(!is_allowed(expression), "{expression:?}");
        }
    }
}
