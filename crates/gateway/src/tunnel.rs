//! Connections that both sides have agreed to speak something else on: bytes are copied both ways until one side is done, or
//! both have been silent for too long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use crate::activity::Activity;
use crate::slots::Slot;

/// Copies between the two, once the client has been told that the upstream agrees. `place` is held until the end.
pub(crate) async fn carry(client: OnUpgrade, upstream: OnUpgrade, timeout: Duration, place: Slot) {
    match tokio::time::timeout(timeout, async { tokio::try_join!(client, upstream) }).await {
        Ok(Ok((client, upstream))) => copy(TokioIo::new(client), TokioIo::new(upstream), timeout).await,
        Ok(Err(error)) => tracing::debug!(%error, "an upgraded connection broke before it was used"),
        Err(_) => tracing::debug!("an upgraded connection was never taken up"),
    }
    drop(place);
}

async fn copy(client: impl AsyncRead + AsyncWrite + Unpin, upstream: impl AsyncRead + AsyncWrite + Unpin, timeout: Duration) {
    let activity = Arc::new(Activity::new());
    let mut client = Watched { inner: client, activity: Arc::clone(&activity) };
    let mut upstream = Watched { inner: upstream, activity: Arc::clone(&activity) };
    tokio::select! {
        copied = copy_bidirectional(&mut client, &mut upstream) => {
            if let Err(error) = copied {
                tracing::debug!(%error, "an upgraded connection broke");
            }
        }
        () = activity.silence(timeout) => tracing::debug!("an upgraded connection was silent for too long"),
    }
}

/// A stream that says when bytes move. Every byte that moves is read once, so reading tells all.
struct Watched<S> {
    inner: S,
    activity: Arc<Activity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if polled.is_ready() {
            self.activity.touch();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        if polled.is_ready() {
            self.activity.touch();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const TIMEOUT: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn bytes_go_both_ways_until_both_are_silent_for_too_long() {
        let (mut client, near) = duplex(8);
        let (far, mut upstream) = duplex(8);
        let copied = tokio::spawn(copy(near, far, TIMEOUT));
        let mut read = [0; 4];
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(59)).await;
            client.write_all(b"ping").await.unwrap();
            upstream.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"ping");
            upstream.write_all(b"pong").await.unwrap();
            client.read_exact(&mut read).await.unwrap();
            assert_eq!(&read, b"pong");
        }
        copied.await.unwrap();
        assert_eq!(client.read(&mut read).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn one_side_may_end_before_the_other() {
        let (mut client, near) = duplex(8);
        let (far, mut upstream) = duplex(8);
        let copied = tokio::spawn(copy(near, far, TIMEOUT));
        client.shutdown().await.unwrap();
        assert_eq!(upstream.read(&mut [0; 4]).await.unwrap(), 0);
        upstream.write_all(b"bye").await.unwrap();
        drop(upstream);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"bye");
        copied.await.unwrap();
    }
}
