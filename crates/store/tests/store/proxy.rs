//! A connection to PostgreSQL that breaks during a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// When the connection breaks.
#[derive(Clone, Copy, Debug)]
pub enum Break {
    /// The server never hears of the commit.
    BeforeTheServer,
    /// The server commits, and its answer is lost.
    AfterTheServer,
}

/// Listens on a port of its own, and passes everything on until it is armed.
pub struct Proxy {
    pub port: u16,
    armed: Arc<AtomicBool>,
}

impl Proxy {
    pub async fn start(server: String, how: Break) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let armed = Arc::new(AtomicBool::new(false));
        let is_armed = Arc::clone(&armed);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&is_armed), how));
            }
        });
        Self { port, armed }
    }

    /// The next commit breaks its connection.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Whether it happened.
    pub fn has_broken(&self) -> bool {
        !self.armed.load(Ordering::SeqCst)
    }
}

async fn pass(mut client: TcpStream, mut server: TcpStream, armed: Arc<AtomicBool>, how: Break) {
    let (mut upwards, mut downwards) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut upwards) => {
                let Ok(length @ 1..) = read else { return };
                let commits = upwards[..length].windows(6).any(|window| window == b"COMMIT");
                if commits && armed.swap(false, Ordering::SeqCst) {
                    if matches!(how, Break::AfterTheServer) {
                        server.write_all(&upwards[..length]).await.unwrap();
                        // Its answer says that it has committed.
                        assert_ne!(server.read(&mut downwards).await.unwrap(), 0);
                    }
                    return;
                }
                if server.write_all(&upwards[..length]).await.is_err() {
                    return;
                }
            }
            read = server.read(&mut downwards) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&downwards[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
