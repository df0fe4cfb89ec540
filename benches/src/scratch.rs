//! Folders for what a measurement writes: beside this program, so that books lie on a real disk and not in memory.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// A folder that is gone when this is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes an empty folder.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        Self::at(program.parent().context("this program lies in no folder")?, name)
    }

    /// Makes one whose files are lost when the machine stops, and where a sync costs nothing; none where there is no such
    /// place.
    pub fn forgetful(name: &str) -> anyhow::Result<Option<Self>> {
        let shared_memory = Path::new("/dev/shm");
        if shared_memory.is_dir() { Self::at(shared_memory, name).map(Some) } else { Ok(None) }
    }

    fn at(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let folder = folder.join(format!("farthing-bench-{}-{name}", std::process::id()));
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
