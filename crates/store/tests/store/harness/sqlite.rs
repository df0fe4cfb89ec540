//! A SQLite file: one process at a time.

use std::time::{Duration, Instant};

use farthing_store::{Access, Store, StoreError, StoreUrl};

use super::{Folder, node_of};
use crate::contract::{Harness, Node};

const OPEN_WITHIN: Duration = Duration::from_secs(10);

pub struct Sqlite {
    pub folder: Folder,
}

impl Sqlite {
    pub fn url(&self) -> StoreUrl {
        StoreUrl::sqlite(self.folder.file("book.db"))
    }
}

/// Opens a store that was dropped a moment ago: its thread may still be ending.
pub async fn open_again(url: &StoreUrl) -> Store {
    let began = Instant::now();
    loop {
        match Store::open(url, Access::Own).await {
            Err(StoreError::InUse { .. }) if began.elapsed() < OPEN_WITHIN => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            opened => return opened.unwrap(),
        }
    }
}

impl Harness for Sqlite {
    const REPLICAS: bool = false;

    async fn new() -> Self {
        Self { folder: Folder::new() }
    }

    async fn node(&self) -> Node {
        node_of(&open_again(&self.url()).await, 0)
    }

    async fn kill(&self, node: Node) {
        drop(node);
    }

    async fn give_up_on(&self, _: &Node) {
        panic!("the file's lock is the node's life");
    }
}
