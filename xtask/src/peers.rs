//! Installs what the tests need from the registries: the official SDKs, an independent node, a conformance suite, the
//! Solidity compiler, what drives a browser, a spelling checker.
//!
//! Each set is pinned by files of the work tree and lies in the cache, in a folder named for what pins it:
//! `<cache>/peers/<name>-<fingerprint>/`. It is put together in a folder of its own and then renamed, so a folder with
//! that name is always whole. `<root>/target/peers.json` tells the tests where each set is: `{"ts": "/…", …}`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::{
    process::{capture, run},
    workspace::Workspace,
};

/// The file that tells tests where the peers are; they find it by this variable or at its usual place.
pub const INDEX_VARIABLE: &str = "FARTHING_PEERS";

enum Registry {
    /// `package.json` and `package-lock.json` → `node_modules/`.
    Npm,
    /// `requirements.txt` → `bin/python` of a virtual environment.
    PyPi,
}

const SETS: &[(&str, &str, Registry)] = &[
    ("anvil", "interop/peers/anvil", Registry::Npm),
    ("browser", "interop/peers/browser", Registry::Npm),
    ("ts", "interop/peers/ts", Registry::Npm),
    ("ts-v1", "interop/peers/ts-v1", Registry::Npm),
    ("python", "interop/peers/python", Registry::PyPi),
    ("mcp", "interop/peers/mcp", Registry::PyPi),
    ("conformance", "interop/peers/conformance", Registry::PyPi),
    ("accounts", "interop/peers/accounts", Registry::PyPi),
    ("contracts", "contracts", Registry::Npm),
];

/// Installs every set that is not here yet, and returns the file that says where they are.
pub fn install(workspace: &Workspace) -> Result<PathBuf> {
    let mut index = Map::new();
    for (name, source, registry) in SETS {
        let folder = install_set(workspace, name, &workspace.root.join(source), registry)
            .with_context(|| format!("cannot install the peers in {source}"))?;
        index.insert((*name).to_owned(), folder.to_str().context("the cache's path is UTF-8")?.into());
    }
    let file = workspace.root.join("target/peers.json");
    fs::create_dir_all(workspace.root.join("target"))?;
    fs::write(&file, format!("{:#}\n", Value::Object(index)))?;
    Ok(file)
}

/// The command that compiles the contracts, with its compiler installed.
pub fn contracts_compiler(workspace: &Workspace) -> Result<Command> {
    let folder = install_set(workspace, "contracts", &workspace.root.join("contracts"), &Registry::Npm)
        .context("cannot install the Solidity compiler")?;
    let mut command = workspace.command("node");
    command.arg("contracts/build.mjs").env("FARTHING_NODE_MODULES", folder.join("node_modules"));
    Ok(command)
}

/// The spelling checker, installed.
pub fn spelling_checker(workspace: &Workspace) -> Result<Command> {
    let folder = install_set(workspace, "spelling", &workspace.root.join("xtask/spelling"), &Registry::PyPi)
        .context("cannot install the spelling checker")?;
    Ok(workspace.command(folder.join("bin/typos")))
}

fn install_set(workspace: &Workspace, name: &str, source: &Path, registry: &Registry) -> Result<PathBuf> {
    let pins: &[&str] = match registry {
        Registry::Npm => &["package.json", "package-lock.json"],
        Registry::PyPi => &["requirements.txt"],
    };
    let mut pinned = Vec::new();
    for pin in pins {
        pinned.extend(fs::read(source.join(pin)).with_context(|| format!("cannot read {pin}"))?);
    }
    if matches!(registry, Registry::PyPi) {
        // A virtual environment belongs to the interpreter that made it.
        pinned
            .extend(capture(Command::new("python3").args(["-c", "import sys; print(sys.version, sys.base_prefix)"]))?.bytes());
    }
    let folder = workspace.cache.join("peers").join(format!("{name}-{:016x}", fingerprint(&pinned)));
    if folder.exists() {
        return Ok(folder);
    }
    let started = Instant::now();
    let unfinished = folder.with_extension(format!("unfinished-{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    let installed = match registry {
        Registry::Npm => npm(&unfinished, source, pins),
        Registry::PyPi => pip(&unfinished, source),
    };
    if let Err(error) = installed {
        fs::remove_dir_all(&unfinished)?;
        return Err(error);
    }
    if let Err(error) = fs::rename(&unfinished, &folder) {
        // Somebody else may have finished the same set in the meantime; theirs is as good.
        fs::remove_dir_all(&unfinished)?;
        if !folder.exists() {
            return Err(error).with_context(|| format!("cannot create {}", folder.display()));
        }
    }
    println!("installed {name} in {} s", started.elapsed().as_secs());
    Ok(folder)
}

fn npm(folder: &Path, source: &Path, pins: &[&str]) -> Result<()> {
    for pin in pins {
        fs::copy(source.join(pin), folder.join(pin))?;
    }
    // @x402/express names a peer (@x402/paywall) at a version that does not exist, hence the legacy resolution. No
    // package of ours needs its install script; anvil's binary comes in a package of its own.
    let arguments = ["ci", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    run(Command::new("npm").args(arguments).current_dir(folder))
}

fn pip(folder: &Path, source: &Path) -> Result<()> {
    run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let mut install = Command::new(folder.join("bin/python"));
    install.args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check", "--requirement"]);
    run(install.arg(source.join("requirements.txt")))
}

/// FNV-1a. Names folders, protects nothing.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_is_the_published_fnv_1a() {
        assert_eq!(fingerprint(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
