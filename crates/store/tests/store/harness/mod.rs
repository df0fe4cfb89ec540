//! The contract's harness for each implementation.

pub mod memory;
pub mod postgres;
pub mod sqlite;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use farthing_store::Store;

use crate::contract::Node;

/// A folder of its own, which goes when it is dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("farthing-store-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A store as a process sees it. The store itself is held by its books only, so that it ends with them.
pub fn node_of(store: &Store, number: u64) -> Node {
    Node {
        settlements: store.settlements(),
        outbox: store.outbox(),
        deliveries: store.deliveries(),
        sales: store.sales(),
        refunds: store.refunds(),
        ledger: store.ledger(),
        sign_ins: store.sign_ins(),
        quotas: store.quotas(),
        passes: store.passes(),
        debts: store.debts(),
        number,
    }
}
