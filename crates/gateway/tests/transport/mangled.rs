//! Whatever a client sends, it is the client's mistake: never a 5xx, never a panic, never more requests than were sent.

use farthing_gateway::CanonicalPath;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{SHORT, config, count, gateway, get, origin};

const REQUEST: &[u8] =
    b"POST /a/b%20c?d=e HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\nTE: trailers\r\nConnection: close\r\n\r\nhi";
const NASTY: &[u8] = b"\0\r\n\t :;,/.%\\#?@\"0\x7f\xff";
/// How many connections are open at once.
const MAX_CONNECTIONS: usize = 64;

/// What comes back, if anything does.
async fn send(address: std::net::SocketAddr, request: Vec<u8>) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The gateway may hang up before everything is written or read, or wait for more; no answer is an answer, too.
    let _cut_off = stream.write_all(&request).await.is_err();
    let mut answer = Vec::new();
    let _waits = tokio::time::timeout(SHORT, stream.read_to_end(&mut answer)).await.is_err();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn no_mangled_request_is_a_5xx_or_gets_through_as_two() {
    let (upstream, asked) = origin().await;
    let address = gateway(config(upstream)).await;
    let replaced = (0..REQUEST.len()).flat_map(|position| {
        NASTY.iter().map(move |byte| {
            let mut request = REQUEST.to_vec();
            request[position] = *byte;
            request
        })
    });
    let inserted = (0..REQUEST.len()).map(|position| {
        let mut request = REQUEST.to_vec();
        request.insert(position, NASTY[position % NASTY.len()]);
        request
    });
    let cut = (0..REQUEST.len()).map(|length| REQUEST[..length].to_vec());
    let requests: Vec<Vec<u8>> = replaced.chain(inserted).chain(cut).collect();
    let sent = requests.len();
    let mut answered = 0;
    let mut answers = stream::iter(requests)
        .map(|request| async move { (send(address, request.clone()).await, request) })
        .buffer_unordered(MAX_CONNECTIONS);
    while let Some((answer, request)) = answers.next().await {
        answered += usize::from(!answer.is_empty());
        let request = String::from_utf8_lossy(&request);
        assert!(!answer.starts_with("HTTP/1.1 5") && !answer.starts_with("HTTP/1.0 5"), "{request:?}: {answer}");
    }
    assert!(count(&asked) <= sent);
    assert!(count(&asked) > sent / 10 && answered > sent / 2, "most are understood, and told what is wrong");
    for parts in asked.lock().unwrap().iter() {
        assert!(CanonicalPath::parse(parts.uri.path()).is_ok(), "{parts:?}");
        assert_eq!(parts.headers.get_all("host").iter().count(), 1, "{parts:?}");
    }
    assert_eq!(get(address, "/still-there").await.status(), 200);
}
