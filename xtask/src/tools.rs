//! The programs that the tests need and cargo can't bring.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::process::run;

/// How to tell that a tool is here, and the Debian package that brings it.
const TOOLS: &[(&str, &[&str], &str)] = &[
    ("node", &["--version"], "nodejs"),
    ("npm", &["--version"], "npm"),
    ("python3", &["-c", "import ensurepip, venv"], "python3-venv"),
    ("git", &["--version"], "git"),
    // Debian keeps the server's programs out of the path.
    ("sh", &["-c", "command -v initdb || ls /usr/lib/postgresql/*/bin/initdb"], "postgresql"),
    // Some systems name it otherwise, and whoever has another one says in CHROMIUM where it is.
    (
        "sh",
        &["-c", "command -v \"${CHROMIUM:-chromium}\" || command -v chromium-browser || command -v google-chrome"],
        "chromium",
    ),
];

/// Makes sure that the tools are here. Installs what is missing where that is possible without a question: as root, on
/// a system with apt-get.
pub fn require() -> Result<()> {
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    if is_root() && answers("apt-get", &["--version"]) {
        run(Command::new("apt-get").args(["update", "--quiet"]))?;
        let mut install = Command::new("apt-get");
        install.env("DEBIAN_FRONTEND", "noninteractive").args(["install", "--yes", "--quiet", "--no-install-recommends"]);
        run(install.args(&packages))?;
    }
    let packages = missing();
    if !packages.is_empty() {
        bail!(
            "the tests need Node.js 20 with npm, Python 3.11 with venv, git, PostgreSQL 13 or newer, and Chromium. Missing here: {}. \
             On Debian: apt-get install {}",
            packages.join(", "),
            packages.join(" "),
        );
    }
    Ok(())
}

/// Whether `cargo mutants` is here.
pub fn has_mutants() -> bool {
    answers("cargo-mutants", &["mutants", "--version"])
}

/// Whether `cargo nextest` is here; without it the tests run under `cargo test`.
pub fn has_nextest() -> bool {
    answers("cargo-nextest", &["nextest", "--version"])
}

fn missing() -> Vec<&'static str> {
    TOOLS.iter().filter(|(program, arguments, _)| !answers(program, arguments)).map(|(_, _, package)| *package).collect()
}

fn answers(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
