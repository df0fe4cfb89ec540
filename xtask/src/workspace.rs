//! Where things are: the work tree, the cache outside of it, and cargo's target folder.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

/// The folders that every task works in.
pub struct Workspace {
    /// The work tree.
    pub root: PathBuf,
    /// What is installed once for all work trees of this machine.
    pub cache: PathBuf,
    /// Where cargo builds. Outside of the work tree, so that a fresh clone reuses what an earlier one built.
    pub target: PathBuf,
}

impl Workspace {
    /// Finds the folders from the environment that cargo and the user set.
    pub fn find() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
        let root = Path::new(&manifest).parent().context("xtask lies in a workspace")?.to_path_buf();
        let cache = match env::var_os("FARTHING_CACHE") {
            Some(folder) => PathBuf::from(folder),
            None => Path::new(&env::var_os("HOME").context("HOME is not set; set FARTHING_CACHE to a folder to install into")?)
                .join(".cache/farthing"),
        };
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| cache.join("target"), PathBuf::from);
        // Cargo takes a relative folder as relative to where it is run; our children run in the root.
        let target = root.join(target);
        Ok(Self { root, cache, target })
    }

    /// A cargo command in the work tree. Incremental state is left out: it fills the disk and speeds up no clean run.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // Set by `cargo run` for this process; a nested cargo would pass them on to build scripts as if they were theirs.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("CARGO_PKG_") {
                command.env_remove(name);
            }
        }
        command.env_remove("CARGO_MANIFEST_DIR").env_remove("CARGO_MANIFEST_PATH");
        command.env("CARGO_TARGET_DIR", &self.target).env("CARGO_INCREMENTAL", "0").args(arguments);
        command
    }

    /// Any other command in the work tree.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }
}
