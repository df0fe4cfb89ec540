//! How a command that serves is told to end: Ctrl-C, or SIGTERM from whoever runs it.

use std::io;

use anyhow::Context;
use tokio::sync::mpsc;

/// Waits for the first signal. Listening begins when this is made, so that no signal is lost between the line that says
/// "ready" and the wait.
pub struct Stop {
    told: mpsc::Receiver<()>,
    tell: mpsc::Sender<()>,
}

impl Stop {
    /// Begins to listen.
    pub fn listen() -> anyhow::Result<Self> {
        let (tell, told) = mpsc::channel(1);
        let signal = signal().context("signals cannot be listened for")?;
        let teller = tell.clone();
        tokio::spawn(async move {
            signal.await;
            // Full or closed: it is ending already.
            let _ending = teller.try_send(()).is_err();
        });
        Ok(Self { told, tell })
    }

    /// Ends with stdin, too: when the process that holds the other end of it is gone, however it went.
    pub fn or_with_stdin(self) -> anyhow::Result<Self> {
        let tell = self.tell.clone();
        // Not a task: the runtime would wait for the read when it ends.
        let watch = move || {
            let _ended = io::copy(&mut io::stdin().lock(), &mut io::sink()).is_err();
            let _ending = tell.try_send(()).is_err();
        };
        std::thread::Builder::new().spawn(watch).context("stdin cannot be watched")?;
        Ok(self)
    }

    /// Resolves with the first signal since [`Stop::listen`].
    pub async fn wait(mut self) {
        // A sender lives as long as this, so it ends only by being told.
        let _told = self.told.recv().await;
    }
}

#[cfg(unix)]
fn signal() -> io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(windows)]
fn signal() -> io::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}

/// SIGHUP, by which a command that serves is told to read its file anew. On systems without it, it never comes.
pub struct Hangup {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Hangup {
    /// Begins to listen.
    pub fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
                .context("signals cannot be listened for")?,
        })
    }

    /// Resolves with the next signal.
    pub async fn next(&mut self) {
        #[cfg(unix)]
        if self.signal.recv().await.is_some() {
            return;
        }
        std::future::pending::<()>().await;
    }
}
