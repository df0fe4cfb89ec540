//! How a command that serves is told to end: Ctrl-C, or SIGTERM from whoever runs it.

use anyhow::Context;
use tokio::sync::oneshot;

/// Waits for the first signal. Listening begins when this is made, so that no signal is lost between the line that says
/// "ready" and the wait.
pub struct Stop(oneshot::Receiver<()>);

impl Stop {
    /// Begins to listen.
    pub fn listen() -> anyhow::Result<Self> {
        let (told, stop) = oneshot::channel();
        let signal = signal().context("signals cannot be listened for")?;
        tokio::spawn(async move {
            signal.await;
            // Whoever does not wait any more is ending already.
            let _ending = told.send(());
        });
        Ok(Self(stop))
    }

    /// Resolves with the first signal since [`Stop::listen`].
    pub async fn wait(self) {
        // The task that tells never ends without telling.
        let _told = self.0.await;
    }
}

#[cfg(unix)]
fn signal() -> std::io::Result<impl Future<Output = ()> + Send> {
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
fn signal() -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}
