//! The handshake with one client, within limits.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take, from the connection on.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client that is turned away may take to hear why.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// How much of what such a client still says is read.
const MAX_FAREWELL_BYTES: u64 = 64 * 1024;
/// With what each record of a handshake begins; no method of HTTP does.
const HANDSHAKE_RECORD: u8 = 0x16;
/// What is said to somebody who speaks HTTP without TLS.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 120\r\nconnection: close\r\n\r\n\
    {\"error\":\"tls_expected\",\"message\":\"this port speaks TLS: expected https in the URL, got http; nothing was charged here\"}";

/// Shakes hands. Who speaks plain HTTP is told so and hung up on in order; nothing that was sent so is read as a request.
pub async fn handshake(stream: TcpStream, tls: &TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    timeout(HANDSHAKE_TIMEOUT, begin(stream, tls)).await.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into()))
}

async fn begin(mut stream: TcpStream, tls: &TlsAcceptor) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ if first == [HANDSHAKE_RECORD] => match tls.accept(stream).into_fallible().await {
            Ok(stream) => Ok(stream),
            // By now the alert has been written.
            Err((error, stream)) => {
                hang_up(stream).await;
                Err(error)
            }
        },
        _ => {
            stream.write_all(PLAIN_HTTP).await?;
            hang_up(stream).await;
            Err(io::Error::new(io::ErrorKind::InvalidData, "no TLS was spoken"))
        }
    }
}

/// Ends a connection so that what was written arrives: one that is closed while something is unread is reset, and its last words
/// may be lost.
async fn hang_up(mut stream: TcpStream) {
    let drained = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MAX_FAREWELL_BYTES), &mut tokio::io::sink()).await
    };
    // Either way it is over.
    let _over = timeout(FAREWELL_TIMEOUT, drained).await.is_err();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_answer_is_as_long_as_it_says() {
        let text = std::str::from_utf8(PLAIN_HTTP).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["error"], "tls_expected");
    }
}
