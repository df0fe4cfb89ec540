//! What must not stand in a file of the work tree, whoever wrote it.

use std::fs;

use anyhow::{Result, bail};

use crate::{process::capture, workspace::Workspace};

/// A text that must not stand in a line, and why.
struct Refused {
    text: &'static str,
    /// Only in files whose name ends so.
    ending: &'static str,
    /// Unless this stands in the same line.
    unless: Option<&'static str>,
    why: &'static str,
}

const ONE_MACHINE: &str = "a path of one machine";
const REGISTRY: &str = "where packages come from is each machine's own matter";
const NO_REASON: &str = "write #[expect(lint, reason = \"…\")], or say why it can't be expected";

/// The texts are written in pieces, for this file is checked too.
const REFUSED: &[Refused] = &[
    anywhere(concat!("/wo", "rk/"), ONE_MACHINE),
    anywhere(concat!("/ro", "ot/"), ONE_MACHINE),
    anywhere(concat!("/ho", "me/"), ONE_MACHINE),
    anywhere(concat!("registry.", "npmjs"), REGISTRY),
    anywhere(concat!("index.", "crates.io"), REGISTRY),
    anywhere(concat!("static.", "crates.io"), REGISTRY),
    anywhere(concat!("files.", "pythonhosted"), REGISTRY),
    anywhere(concat!("pypi.", "org"), REGISTRY),
    anywhere(concat!("deb.", "debian.org"), REGISTRY),
    in_rust(concat!("#[", "ignore"), None, "a test that does not run checks nothing"),
    in_rust(concat!("#[", "allow("), Some("reason = "), NO_REASON),
    in_rust(concat!("#![", "allow("), Some("reason = "), NO_REASON),
];

const fn anywhere(text: &'static str, why: &'static str) -> Refused {
    Refused { text, ending: "", unless: None, why }
}

const fn in_rust(text: &'static str, unless: Option<&'static str>, why: &'static str) -> Refused {
    Refused { text, ending: ".rs", unless, why }
}

/// Checks every file that git knows or would add, and returns how many there are.
pub fn check(workspace: &Workspace) -> Result<usize> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let files = capture(workspace.command("git").args(arguments))?;
    let root = workspace.root.to_string_lossy();
    let mut checked = 0;
    let mut findings = Vec::new();
    for file in files.split_terminator('\0') {
        // A file that was deleted but not committed is listed too; a picture is not text.
        let Ok(text) = fs::read_to_string(workspace.root.join(file)) else { continue };
        checked += 1;
        for (number, line) in text.lines().enumerate() {
            let number = number + 1;
            findings.extend(refusals(file, line).map(|rule| format!("{file}:{number}: {}: {}", rule.text, rule.why)));
            if line.contains(&*root) {
                findings.push(format!("{file}:{number}: the path of this work tree"));
            }
        }
    }
    if !findings.is_empty() {
        bail!("house style:\n  {}", findings.join("\n  "));
    }
    Ok(checked)
}

fn refusals(file: &str, line: &str) -> impl Iterator<Item = &'static Refused> {
    REFUSED.iter().filter(move |rule| {
        file.ends_with(rule.ending) && line.contains(rule.text) && !rule.unless.is_some_and(|unless| line.contains(unless))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_text_is_found_where_its_rule_holds() {
        let ignored = concat!("    #[", "ignore = \"slow\"]");
        assert_eq!(refusals("src/a.rs", ignored).count(), 1);
        assert_eq!(refusals("README.md", ignored).count(), 0);
        assert_eq!(refusals("src/a.rs", concat!("#[", "allow(dead_code)]")).count(), 1);
        assert_eq!(refusals("src/a.rs", concat!("#[", "allow(dead_code, reason = \"shared\")]")).count(), 0);
        assert_eq!(refusals("README.md", concat!("cd /wo", "rk/main")).count(), 1);
        assert_eq!(refusals("README.md", "https://example.com/network/").count(), 0);
    }
}
