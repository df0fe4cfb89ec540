//! An upstream that goes wrong the first time that it is asked for something, as the path says, and is well from then on.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Between the bytes of a head that drips.
const DRIP: Duration = Duration::from_millis(20);

#[derive(Clone)]
pub struct Origin {
    pub url: String,
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

impl Origin {
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self { url: format!("http://{}", listener.local_addr().unwrap()), asked: Arc::default() };
        let serving = origin.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let origin = serving.clone();
                // Whoever asks may leave at any moment.
                tokio::spawn(async move { origin.serve(stream).await.unwrap_or_default() });
            }
        });
        origin
    }

    /// How often it was asked for this.
    pub fn asked(&self, target: &str) -> usize {
        self.asked.lock().unwrap().get(target).copied().unwrap_or_default()
    }

    /// One request on each connection.
    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let target = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap().to_owned();
        let times = {
            let mut asked = self.asked.lock().unwrap();
            let times = asked.entry(target.clone()).or_default();
            *times += 1;
            *times
        };
        let fault = target.rsplit('/').next().unwrap();
        let body = if target.starts_with("/metered") { "{\"used\":3,\"report\":\"worth it\"}" } else { "worth it" };
        let kind = if target.starts_with("/metered") { "application/json" } else { "text/plain" };
        let begin = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nconnection: close\r\n");
        let length = body.len();
        if times > 1 {
            return stream.write_all(format!("{begin}content-length: {length}\r\n\r\n{body}").as_bytes()).await;
        }
        match fault {
            "closes-at-once" => Ok(()),
            "closes-in-the-head" => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await,
            "closes-in-the-body" => {
                stream.write_all(format!("{begin}content-length: {}\r\n\r\n{body}", length + 1).as_bytes()).await
            }
            "closes-in-a-chunk" => {
                let chunk = format!("{begin}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{body}\r\n5\r\nhal");
                stream.write_all(chunk.as_bytes()).await
            }
            "fails-after-the-work" => {
                stream.write_all(b"HTTP/1.1 500 Oh\r\nconnection: close\r\ncontent-length: 2\r\n\r\noh").await
            }
            "never-answers" => pending().await,
            "drips-its-head" => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await?;
                loop {
                    stream.write_all(b"x").await?;
                    tokio::time::sleep(DRIP).await;
                }
            }
            "stalls-in-the-body" => {
                stream.write_all(format!("{begin}content-length: {}\r\n\r\n{body}", length + 1).as_bytes()).await?;
                pending().await
            }
            "is-no-http" => stream.write_all(b"220 mail.example ESMTP\r\n").await,
            _ => stream.write_all(format!("{begin}content-length: {length}\r\n\r\n{body}").as_bytes()).await,
        }
    }
}
