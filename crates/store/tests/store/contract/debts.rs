//! No payer ever owes more than the limit, whichever node asks, and nothing that is owed is forgotten.

use std::sync::Arc;

use farthing_core::amount::Amount;
use farthing_core::books::Debt;
use farthing_core::scheme::PaymentKey;

use super::sample::*;
use super::{Harness, Node};

const COPIES: u16 = 300;
const LIMIT: u64 = 100;

fn debt(number: u8, amount: u64) -> Debt {
    let (payer, asset) = ("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0x036CbD53842c5426634e7929541eC2318f3dCF7e");
    let (payer, asset, network) = (payer.parse().unwrap(), asset.parse().unwrap(), "eip155:84532".parse().unwrap());
    Debt { key: PaymentKey([number; 32]), payer, network, asset, amount: amount.into(), since: NOW.plus(u64::from(number)) }
}

async fn owe(node: &Node, debt: &Debt) -> bool {
    node.debts.owe(debt, LIMIT.into()).await.unwrap()
}

async fn open(node: &Node) -> Vec<(u8, Amount)> {
    node.debts.open(10).await.unwrap().into_iter().map(|debt| (debt.key.0[0], debt.amount)).collect()
}

pub async fn debts_stay_within_the_limit<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    assert!(!owe(&node, &debt(1, 101)).await);
    assert!(owe(&node, &debt(1, 60)).await && owe(&node, &debt(2, 40)).await);
    assert!(!owe(&node, &debt(3, 1)).await);
    assert_eq!(open(&node).await, [(1, 60.into()), (2, 40.into())]);
    // The same payment is counted once, and addresses are the same in whatever letter case.
    assert!(owe(&node, &debt(1, 50)).await);
    let shouting = |debt: Debt| Debt { payer: debt.payer.as_str().to_ascii_uppercase().parse().unwrap(), ..debt };
    assert!(owe(&node, &shouting(debt(3, 10))).await && !owe(&node, &debt(4, 1)).await);
    // In another coin, or by somebody else, it is another debt.
    let other = Debt { asset: "0x01".parse().unwrap(), ..debt(5, 100) };
    let else_where = Debt { network: "eip155:8453".parse().unwrap(), ..debt(6, 100) };
    let somebody = Debt { payer: "0x02".parse().unwrap(), ..debt(7, 100) };
    assert!(owe(&node, &other).await && owe(&node, &else_where).await && owe(&node, &somebody).await);
    assert_eq!(node.debts.open(10).await.unwrap()[3], other, "all of it is known");
    assert_eq!(node.debts.open(2).await.unwrap().len(), 2);
    assert!(!owe(&node, &debt(8, u64::MAX)).await);
}

pub async fn what_is_paid_is_owed_no_more<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    assert!(owe(&node, &debt(1, 100)).await);
    node.debts.amend(debt(1, 0).key, 30.into()).await.unwrap();
    assert!(!owe(&node, &debt(2, 71)).await && owe(&node, &debt(2, 70)).await);
    node.debts.paid(debt(1, 0).key).await.unwrap();
    assert_eq!(open(&node).await, [(2, 70.into())]);
    // Nobody owes by being amended or paid.
    node.debts.amend(debt(1, 0).key, 30.into()).await.unwrap();
    node.debts.paid(debt(9, 0).key).await.unwrap();
    assert_eq!(open(&node).await, [(2, 70.into())]);
}

pub async fn concurrent_debts_do_not_pass_the_limit_together<H: Harness>() {
    let harness = H::new().await;
    let mut nodes = vec![harness.node().await];
    if H::REPLICAS {
        nodes.push(harness.node().await);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for copy in 0..COPIES {
        let debts = Arc::clone(&nodes[usize::from(copy) % nodes.len()].debts);
        let [high, low] = copy.to_be_bytes();
        let mut key = [0; 32];
        (key[0], key[1]) = (high, low);
        let debt = Debt { key: PaymentKey(key), ..debt(0, 10) };
        tasks.spawn(async move { debts.owe(&debt, LIMIT.into()).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.into_iter().filter(|owed| *owed).count(), 10);
}

pub async fn debts_survive_a_kill<H: Harness>() {
    let harness = H::new().await;
    let node = harness.node().await;
    assert!(owe(&node, &debt(1, 100)).await);
    harness.kill(node).await;
    let node = harness.node().await;
    assert_eq!(node.debts.open(10).await.unwrap(), [debt(1, 100)]);
    assert!(!owe(&node, &debt(2, 1)).await);
}
