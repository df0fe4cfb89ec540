//! A load generator that costs little: raw keep-alive connections and fixed request bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const READ_BUFFER_BYTES: usize = 16 * 1024;
/// How much of an answer is shown that is not the expected one, in bytes.
const SHOWN_BYTES: usize = 600;

/// Requests and what their answers must have.
#[derive(Clone)]
pub struct Load {
    /// The requests, sent one after another, each once per round.
    requests: Arc<[Vec<u8>]>,
    /// How often all of them are sent.
    rounds: usize,
    /// What every answer must begin with.
    status: &'static str,
    /// What every answer must hold.
    content: Arc<str>,
}

impl Load {
    /// Different requests, each sent once.
    pub fn of(requests: Vec<Vec<u8>>, status: &'static str, content: impl Into<Arc<str>>) -> Self {
        Self { requests: requests.into(), rounds: 1, status, content: content.into() }
    }

    /// One request, sent that often.
    pub fn repeated(request: Vec<u8>, times: usize, status: &'static str, content: impl Into<Arc<str>>) -> Self {
        Self { rounds: times, ..Self::of(vec![request], status, content) }
    }

    /// How many requests there are in all.
    pub fn count(&self) -> usize {
        self.requests.len() * self.rounds
    }

    /// Sends all requests over so many keep-alive connections; an answer that is not as expected ends it.
    pub async fn run(&self, address: SocketAddr, connections: usize) -> anyhow::Result<()> {
        let next = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> =
            (0..connections).map(|_| tokio::spawn(self.clone().connection(address, Arc::clone(&next)))).collect();
        for task in tasks {
            task.await.context("a connection's task ended early")??;
        }
        Ok(())
    }

    async fn connection(self, address: SocketAddr, next: Arc<AtomicUsize>) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut buffer = vec![0_u8; READ_BUFFER_BYTES];
        let mut length = 0;
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= self.count() {
                return Ok(());
            }
            let Some(request) = self.requests.get(place % self.requests.len()) else { return Ok(()) };
            stream.write_all(request).await?;
            length = self.read_answer(&mut stream, &mut buffer, length).await?;
        }
    }

    /// Reads one answer and returns its length. One that begins as it should and is as long as the last one is taken to be
    /// like that: to read each closely would cost more than to serve it, and what waits for the load is not measured.
    async fn read_answer(&self, stream: &mut TcpStream, buffer: &mut [u8], last_length: usize) -> anyhow::Result<usize> {
        let mut filled = 0;
        loop {
            let read = stream.read(buffer.get_mut(filled..).unwrap_or_default()).await?;
            if read == 0 {
                bail!("the server closed the connection, or its answer is longer than {READ_BUFFER_BYTES} bytes");
            }
            filled += read;
            let answer = buffer.get(..filled).unwrap_or_default();
            let as_expected = answer.starts_with(self.status.as_bytes());
            if filled == last_length && as_expected {
                return Ok(filled);
            }
            if is_whole(answer) {
                if as_expected && contains(answer, self.content.as_bytes()) {
                    return Ok(filled);
                }
                let shown = String::from_utf8_lossy(answer.get(..SHOWN_BYTES.min(filled)).unwrap_or_default());
                bail!("expected {} with {:?}, got {shown}", self.status, self.content);
            }
        }
    }
}

/// Whether an answer with a `content-length` is there to its last byte.
pub fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).to_ascii_lowercase();
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    answer.len() >= end + 4 + length.unwrap_or(0)
}

fn contains(answer: &[u8], content: &[u8]) -> bool {
    content.is_empty() || answer.windows(content.len()).any(|window| window == content)
}

/// A GET over HTTP/1.1.
pub fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json\r\n{headers}\r\n").into_bytes()
}

/// A POST of JSON over HTTP/1.1.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
