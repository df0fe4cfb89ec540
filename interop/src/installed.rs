//! Where the peers are installed.

use std::{env, fs, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

/// The work tree: where this folder is, seen from the crate whose tests run.
pub fn root() -> Result<PathBuf> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    let root = manifest.ancestors().find(|folder| folder.join("interop/peers").is_dir());
    Ok(root.context("the tests run in the workspace")?.to_path_buf())
}

/// The folder of an installed set: `anvil`, `ts`, `ts-v1`, `python`, `mcp` or `conformance`.
pub fn set(name: &str) -> Result<PathBuf> {
    let index = match env::var_os("FARTHING_PEERS") {
        Some(file) => PathBuf::from(file),
        None => root()?.join("target/peers.json"),
    };
    let text = fs::read_to_string(&index)
        .with_context(|| format!("the peers are not installed ({} is missing): run `cargo xtask peers`", index.display()))?;
    let sets: Value = serde_json::from_str(&text).with_context(|| format!("{} is JSON", index.display()))?;
    let folder = sets.get(name).and_then(Value::as_str);
    let folder = folder.with_context(|| format!("{} does not name {name}: run `cargo xtask peers`", index.display()))?;
    Ok(PathBuf::from(folder))
}
