//! Serves HTTP until told to stop, within limits: how many connections, how long an idle one is kept, and how long the
//! end may take. Requests under way are finished first. Each request knows whom its connection comes from.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::middleware::{AddExtension, Next, from_fn};
use axum::{Extension, Router};
use farthing_gateway::Peer;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::{Builder, UpgradeableConnection};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower_layer::Layer;

use crate::open_files;
use crate::tls::handshake;

/// How many connections may wait to be accepted, as far as the system allows. With the usual 128, a burst of buyers
/// overflows the queue, and each of them that did not fit tries again after a whole second.
const MAX_WAITING_CONNECTIONS: u32 = 4_096;
/// The most connections that are open at once; others wait to be accepted. Where the system allows fewer open files,
/// half of those: the other half is for the connections that this process makes itself.
const MAX_CONNECTIONS: usize = 4_096;
/// How long a connection may bring no whole request head. Longer than clients keep idle connections (90 s in most), so
/// that it is the client who closes them: a request that meets a closing server would have an unknown outcome.
const IDLE_TIMEOUT: Duration = Duration::from_mins(2);
/// The most bytes of a request's headers in HTTP/2: payments with all that comes along are larger than the usual 16 KiB.
const MAX_HEADER_LIST_BYTES: u32 = 98_304;
/// How long requests under way may take after the signal to stop; a settlement waits for its confirmation.
const FINISH_TIMEOUT: Duration = Duration::from_secs(75);
/// How long connections may take to close once no request is under way.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait when the system has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Served = TowerToHyperService<AddExtension<Router, Peer>>;
type Connection<I> = UpgradeableConnection<'static, TokioIo<I>, Served, TokioExecutor>;
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// Listens with room for a burst of connections.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // As tokio's own listener does: a port whose last owner has just ended is free again at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(MAX_WAITING_CONNECTIONS)
}

/// Serves until `stop` resolves.
pub async fn until(stop: impl Future<Output = ()>, listener: TcpListener, app: Router) {
    until_over(stop, listener, None, app).await;
}

/// Serves until `stop` resolves, over TLS if there is somebody to shake hands.
pub async fn until_over(stop: impl Future<Output = ()>, listener: TcpListener, tls: Option<TlsAcceptor>, app: Router) {
    let (under_way, mut watched) = watch::channel(0_usize);
    let app = app.layer(from_fn(move |request: Request, next: Next| {
        let counted = Counted::new(under_way.clone());
        async move { next.run(request).await.map(|body| Body::new(UnderWay { body, _counted: counted })) }
    }));
    let (stopping, told) = watch::channel(false);
    tokio::select! {
        () = accept(&listener, tls.as_ref(), &app, &told) => {}
        () = stop => {}
    }
    drop((listener, told));
    stopping.send_replace(true);
    // Each connection holds a receiver.
    let closed = stopping.closed();
    let finished = async {
        // The count's sender lives in the app, which is alive.
        let _alive = watched.wait_for(|count| *count == 0).await.is_ok();
        tokio::time::sleep(CLOSE_TIMEOUT).await;
    };
    tokio::select! {
        () = closed => {}
        () = finished => {}
        () = tokio::time::sleep(FINISH_TIMEOUT) => tracing::warn!("stopped with requests still under way"),
    }
}

async fn accept(listener: &TcpListener, tls: Option<&TlsAcceptor>, app: &Router, told: &watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS.min(open_files::raise() / 2)));
    // The semaphore is never closed.
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Without this, small answers may wait for the peer's acknowledgement; where it cannot be set, they do.
        let _slower = stream.set_nodelay(true).is_err();
        let app = Extension(Peer::new(address.ip(), tls.is_some())).layer(app.clone());
        let (tls, mut told) = (tls.cloned(), told.clone());
        tokio::spawn(async move {
            let ended = match tls {
                None => run(connection(stream, app), told).await,
                Some(tls) => {
                    let shaken = tokio::select! {
                        shaken = handshake(stream, &tls) => shaken,
                        // No request is under way on it.
                        _stopped = told.wait_for(|is_stopping| *is_stopping) => return,
                    };
                    match shaken {
                        Ok(stream) => run(connection(stream, app), told).await,
                        Err(error) => Err(error.into()),
                    }
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke");
            }
            drop(slot);
        });
    }
}

/// Serves a connection until it ends; once told to stop, until its request under way has ended.
async fn run<I>(connection: Connection<I>, mut told: watch::Receiver<bool>) -> Result<(), Broken>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        // The sender outlives all connections.
        _stopped = told.wait_for(|is_stopping| *is_stopping) => connection.as_mut().graceful_shutdown(),
    }
    connection.await
}

fn connection<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: I, app: AddExtension<Router, Peer>) -> Connection<I> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(IDLE_TIMEOUT).max_header_list_size(MAX_HEADER_LIST_BYTES);
    builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(app)).into_owned()
}

/// The body of an answer, with which its request is under way.
struct UnderWay {
    body: Body,
    _counted: Counted,
}

impl HttpBody for UnderWay {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// A request under way; counts while it is alive.
struct Counted(watch::Sender<usize>);

impl Counted {
    fn new(under_way: watch::Sender<usize>) -> Self {
        under_way.send_modify(|count| *count = count.saturating_add(1));
        Self(under_way)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
