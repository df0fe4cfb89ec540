//! A connection to PostgreSQL that breaks during a commit, or falls silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// When the connection breaks.
#[derive(Clone, Copy, Debug)]
pub enum Break {
    /// The server never hears of the commit.
    BeforeTheServer,
    /// The server commits, and its answer is lost.
    AfterTheServer,
    /// The server never hears of the commit, and nobody of anything else, until whoever waits goes away.
    Silently,
    /// The server never hears of the commit, and the connection breaks when the test says so.
    WhenReleased,
}

/// Listens on a port of its own, and passes everything on until it is armed.
pub struct Proxy {
    pub port: u16,
    state: Arc<State>,
}

struct State {
    how: Break,
    armed: AtomicBool,
    released: Semaphore,
    accepted: AtomicUsize,
    /// So many of the first connections pass nothing on any more.
    silent: AtomicUsize,
}

impl Proxy {
    pub async fn start(server: String, how: Break) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            how,
            armed: AtomicBool::new(false),
            released: Semaphore::new(0),
            accepted: AtomicUsize::new(0),
            silent: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                // While the server is away, its clients are sent away.
                if let Ok(server) = TcpStream::connect(&server).await {
                    tokio::spawn(Arc::clone(&shared).pass(client, server, number));
                }
            }
        });
        Self { port, state }
    }

    /// The next commit breaks its connection.
    pub fn arm(&self) {
        self.state.armed.store(true, Ordering::SeqCst);
    }

    /// Whether it happened.
    pub fn has_broken(&self) -> bool {
        !self.state.armed.load(Ordering::SeqCst)
    }

    /// Lets a connection break that waits for it.
    pub fn release(&self) {
        self.state.released.add_permits(1);
    }

    /// How many connections there were.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::SeqCst)
    }

    /// Passes nothing on any more on the connections that there are. New ones work.
    pub fn silence(&self) {
        self.state.silent.store(self.accepted(), Ordering::SeqCst);
    }
}

impl State {
    async fn pass(self: Arc<Self>, mut client: TcpStream, mut server: TcpStream, number: usize) {
        let (mut upwards, mut downwards) = (vec![0; 65_536], vec![0; 65_536]);
        let mut is_silent = false;
        loop {
            tokio::select! {
                read = client.read(&mut upwards) => {
                    let Ok(length @ 1..) = read else { return };
                    // The whole statement: "READ COMMITTED" begins a transaction.
                    let commits = upwards[..length].windows(7).any(|window| window == b"COMMIT\0");
                    if commits && self.armed.swap(false, Ordering::SeqCst) {
                        match self.how {
                            Break::BeforeTheServer => return,
                            Break::AfterTheServer => {
                                server.write_all(&upwards[..length]).await.unwrap();
                                // Its answer says that it has committed.
                                assert_ne!(server.read(&mut downwards).await.unwrap(), 0);
                                return;
                            }
                            Break::Silently => is_silent = true,
                            Break::WhenReleased => {
                                self.released.acquire().await.unwrap().forget();
                                return;
                            }
                        }
                    }
                    if !is_silent && !self.is_silent(number) && server.write_all(&upwards[..length]).await.is_err() {
                        return;
                    }
                }
                read = server.read(&mut downwards) => {
                    let Ok(length @ 1..) = read else { return };
                    if !is_silent && !self.is_silent(number) && client.write_all(&downwards[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn is_silent(&self, number: usize) -> bool {
        number < self.silent.load(Ordering::SeqCst)
    }
}
