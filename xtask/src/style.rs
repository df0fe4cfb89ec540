//! What must not stand in a file of the work tree, whoever wrote it.

use std::fs;

use anyhow::{Result, bail};

use crate::{process::capture, workspace::Workspace};

/// A text, the files where it must not stand (by their ending), and why. Written in pieces, for this file is checked too.
const REFUSED: &[(&str, &str, &str)] = &[
    (concat!("/wo", "rk/"), "", "a path of one machine"),
    (concat!("/ro", "ot/"), "", "a path of one machine"),
    (concat!("/ho", "me/"), "", "a path of one machine"),
    (concat!("registry.", "npmjs"), "", "where packages come from is each machine's own matter"),
    (concat!("index.", "crates.io"), "", "where packages come from is each machine's own matter"),
    (concat!("static.", "crates.io"), "", "where packages come from is each machine's own matter"),
    (concat!("files.", "pythonhosted"), "", "where packages come from is each machine's own matter"),
    (concat!("pypi.", "org"), "", "where packages come from is each machine's own matter"),
    (concat!("deb.", "debian.org"), "", "where packages come from is each machine's own matter"),
    (concat!("#[", "ignore"), ".rs", "a test that does not run checks nothing"),
    (concat!("#[", "allow("), ".rs", "write #[expect(lint, reason = \"…\")]"),
    (concat!("#![", "allow("), ".rs", "write #![expect(lint, reason = \"…\")]"),
];

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
            findings.extend(refusals(file, line).map(|(what, why)| format!("{file}:{number}: {what}: {why}")));
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

fn refusals<'a>(file: &'a str, line: &'a str) -> impl Iterator<Item = (&'static str, &'static str)> + 'a {
    let refused = |(what, ending, _): &&(&str, &str, &str)| file.ends_with(ending) && line.contains(what);
    REFUSED.iter().filter(refused).map(|(what, _, why)| (*what, *why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_text_is_found_where_its_rule_holds() {
        let ignored = concat!("    #[", "ignore = \"slow\"]");
        assert_eq!(refusals("src/a.rs", ignored).count(), 1);
        assert_eq!(refusals("README.md", ignored).count(), 0);
        assert_eq!(refusals("README.md", concat!("cd /wo", "rk/main")).count(), 1);
        assert_eq!(refusals("README.md", "https://example.com/network/").count(), 0);
    }
}
