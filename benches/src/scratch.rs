//! Folders for what a measurement writes: beside this program, so that books lie on a real disk and not in memory.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// A folder that is gone when this is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty folder.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let folder = program.parent().context("this program lies in no folder")?;
        let folder = folder.join(format!("bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed is only disk space.
        let _left = std::fs::remove_dir_all(&self.0).is_err();
    }
}
