//! Builds what the benches measure beside Farthing: x402-rs, from crates.io, with a main of ours around it. The others
//! come with the peers of the tests.
//!
//! It is built as Farthing is, outside of the work tree, in `<cache>/peers/x402-rs/`; cargo knows there what is up to
//! date. `benches/peers/x402-rs/Cargo.lock` pins it.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{peers, process::run, workspace::Workspace};

/// Tells the benches where the x402-rs facilitator is.
const X402_RS_VARIABLE: &str = "FARTHING_BENCH_X402_RS";
/// The groups that have a peer or anvil in them.
const GROUPS_WITH_PEERS: [&str; 2] = ["settle", "peers"];

/// Builds and installs what these groups need (all groups, if none is named), and returns what the benches' environment
/// must say of it.
pub fn prepare(workspace: &Workspace, arguments: &[String]) -> Result<Vec<(&'static str, PathBuf)>> {
    let groups: Vec<&str> = arguments.iter().map(String::as_str).filter(|argument| !argument.starts_with("--")).collect();
    let mut environment = Vec::new();
    if groups.is_empty() || groups.iter().any(|group| GROUPS_WITH_PEERS.contains(group)) {
        environment.push((peers::INDEX_VARIABLE, peers::install(workspace)?));
    }
    if groups.is_empty() || groups.contains(&"peers") {
        match x402_rs(workspace) {
            Ok(program) => environment.push((X402_RS_VARIABLE, program)),
            // The others can be measured all the same; the bench says who is missing.
            Err(error) => eprintln!("warning: {error:#}"),
        }
    }
    Ok(environment)
}

fn x402_rs(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.cache.join("peers/x402-rs");
    let mut build = workspace.cargo(&["build", "--release", "--locked", "--manifest-path", "benches/peers/x402-rs/Cargo.toml"]);
    run(build.env("CARGO_TARGET_DIR", &target)).context("cannot build the x402-rs facilitator from crates.io")?;
    Ok(target.join("release/farthing-bench-x402-rs"))
}
