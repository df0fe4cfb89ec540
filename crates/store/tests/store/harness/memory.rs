//! Core's doubles. Their book outlives the nodes on it, as a database would.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use farthing_core::books::{
    MemoryDebts, MemoryDeliveries, MemoryLedger, MemoryPasses, MemoryQuotas, MemorySettlements, MemorySignIns,
};

use crate::contract::{Harness, Node};

#[derive(Default)]
pub struct Memory {
    nodes: Mutex<Vec<(MemorySettlements, MemoryDeliveries)>>,
    ledger: Arc<MemoryLedger>,
    sign_ins: Arc<MemorySignIns>,
    quotas: Arc<MemoryQuotas>,
    passes: Arc<MemoryPasses>,
    debts: Arc<MemoryDebts>,
    next: AtomicU64,
}

impl Memory {
    fn die(&self, node: &Node) {
        let nodes = self.nodes.lock().unwrap();
        let (settlements, deliveries) = &nodes[usize::try_from(node.number).unwrap()];
        settlements.die();
        deliveries.die();
    }
}

impl Harness for Memory {
    const REPLICAS: bool = true;

    async fn new() -> Self {
        Self::default()
    }

    async fn node(&self) -> Node {
        let mut nodes = self.nodes.lock().unwrap();
        let (settlements, deliveries) = match nodes.first() {
            None => Default::default(),
            Some((settlements, deliveries)) => (settlements.join(), deliveries.join()),
        };
        nodes.push((settlements.clone(), deliveries.clone()));
        let settlements = Arc::new(settlements);
        Node {
            settlements: settlements.clone(),
            outbox: settlements,
            sales: Arc::new(deliveries.clone()),
            refunds: Arc::new(deliveries.clone()),
            deliveries: Arc::new(deliveries),
            ledger: self.ledger.clone(),
            sign_ins: self.sign_ins.clone(),
            quotas: self.quotas.clone(),
            passes: self.passes.clone(),
            debts: self.debts.clone(),
            number: self.next.fetch_add(1, Ordering::Relaxed),
        }
    }

    async fn kill(&self, node: Node) {
        self.die(&node);
    }

    async fn give_up_on(&self, node: &Node) {
        self.die(node);
    }
}
