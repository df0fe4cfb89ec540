//! A load generator that costs little: raw keep-alive connections and fixed request bytes.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 32;
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// Sends `requests` copies of a request over keep-alive connections; every answer must start with `expected`.
pub async fn run(address: SocketAddr, request: &'static [u8], expected: &'static str, requests: usize) -> anyhow::Result<()> {
    let each = requests / CONNECTIONS;
    let tasks: Vec<_> = (0..CONNECTIONS).map(|_| tokio::spawn(connection(address, request, expected, each))).collect();
    for task in tasks {
        task.await.context("a connection's task ended early")??;
    }
    Ok(())
}

async fn connection(address: SocketAddr, request: &[u8], expected: &str, requests: usize) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0_u8; READ_BUFFER_BYTES];
    for _ in 0..requests {
        stream.write_all(request).await?;
        let mut filled = 0;
        loop {
            let free = buffer.get_mut(filled..).unwrap_or_default();
            let read = stream.read(free).await?;
            if read == 0 {
                bail!("the server closed the connection, or its answer is longer than {READ_BUFFER_BYTES} bytes");
            }
            filled += read;
            let answer = buffer.get(..filled).unwrap_or_default();
            if is_whole(answer) {
                if !answer.starts_with(expected.as_bytes()) {
                    bail!("expected {expected}, got {}", String::from_utf8_lossy(answer.get(..60.min(filled)).unwrap_or_default()));
                }
                break;
            }
        }
    }
    Ok(())
}

/// Whether an answer with a `content-length` is there to its last byte.
fn is_whole(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).to_ascii_lowercase();
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    answer.len() >= end + 4 + length.unwrap_or(0)
}
