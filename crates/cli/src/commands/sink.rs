//! Where an answer's body goes: stdout or a file.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;

/// A place for a body that has not come yet.
pub enum Sink {
    /// To whoever reads stdout.
    Stdout,
    /// Into a file.
    File {
        /// Which one.
        path: PathBuf,
        /// Whether it was not there before.
        is_new: bool,
    },
}

/// A body on its way.
pub struct Body {
    to: Box<dyn Write>,
    is_terminal: bool,
    ends_line: bool,
    is_read: bool,
}

impl Sink {
    /// Makes sure that a body can be written there. A file that is there keeps its content until the body comes.
    pub fn prepare(path: Option<PathBuf>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        let is_new = !path.exists();
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        opened.with_context(|| format!("-o: {} cannot be written", path.display()))?;
        Ok(Self::File { path, is_new })
    }

    /// No body comes: the place is left as it was found.
    pub fn leave(self) {
        if let Self::File { path, is_new: true } = self {
            // An empty file that stays behind does no harm.
            let _stays = std::fs::remove_file(path).is_err();
        }
    }

    /// The body comes.
    pub fn start(self) -> io::Result<Body> {
        let (to, is_terminal): (Box<dyn Write>, bool) = match self {
            Self::Stdout => (Box::new(io::stdout()), io::stdout().is_terminal()),
            Self::File { path, .. } => (Box::new(File::create(&path)?), false),
        };
        Ok(Body { to, is_terminal, ends_line: true, is_read: true })
    }
}

impl Body {
    /// A part of it.
    pub fn write(&mut self, part: &[u8]) -> io::Result<()> {
        self.ends_line = part.last().map_or(self.ends_line, |last| *last == b'\n');
        self.put(part)
    }

    /// The end of it. On a terminal the prompt gets a line of its own.
    pub fn finish(mut self) -> io::Result<()> {
        if self.is_terminal && !self.ends_line { self.put(b"\n") } else { self.put(b"") }
    }

    fn put(&mut self, part: &[u8]) -> io::Result<()> {
        if !self.is_read {
            return Ok(());
        }
        match self.to.write_all(part).and_then(|()| self.to.flush()) {
            // Whoever closed the pipe has read enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_read = false;
                Ok(())
            }
            written => written,
        }
    }
}
