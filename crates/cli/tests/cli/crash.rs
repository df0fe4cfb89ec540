//! The facilitator is killed while a payment is under way, and starts again on the same book.

use std::thread;

use farthing::evm::U256;
use farthing_devnet::Fault;

use crate::chain::{CENT, Chain};
use crate::market::NETWORK;
use crate::operator::{Operator, config};
use crate::run::post;

#[test]
fn a_payment_that_was_under_way_at_a_kill_is_settled_once_by_the_same_transaction() {
    let chain = Chain::open();
    let operator = Operator::new("kill", &config(NETWORK, &chain.rpc_url()));
    let running = operator.start();
    let payment = chain.payment();
    let broadcast = chain.at_the_next_broadcast(Fault::LoseTransaction);
    let asked = thread::spawn({
        let (settle, payment) = (running.at("/settle"), payment.clone());
        move || post(&settle, &[], &payment)
    });
    broadcast();
    running.service.end("KILL");
    assert_eq!(asked.join().unwrap(), None, "it was killed before it answered");
    assert_eq!(chain.earned(), U256::ZERO, "the node lost the transaction");

    let [before] = &operator.ledger(&["list"])[..] else { panic!("one payment") };
    assert_eq!(before["state"], "sending");
    let open = operator.ledger(&["reconcile"]);
    assert_eq!((&open[0]["chainSays"], &open[0]["isWrong"]), (&"nothing moved yet".into(), &false.into()));
    assert_eq!((&open[1]["payments"], &open[1]["open"]), (&1.into(), &1.into()));

    let running = operator.start();
    let (status, answer) = post(&running.at("/settle"), &[], &payment).unwrap();
    assert_eq!((status, answer["success"].as_bool()), (200, Some(true)), "{answer}");
    assert_eq!(answer["transaction"], before["transaction"], "the same bytes were sent again");
    assert_eq!(post(&running.at("/settle"), &[], &payment), Some((200, answer.clone())), "a copy gets the same answer");
    assert_eq!(chain.earned(), CENT, "it was paid once");
    running.service.end("TERM").with_code(0);

    let [after] = &operator.ledger(&["list"])[..] else { panic!("one payment") };
    assert_eq!(
        (&after["state"], &after["transaction"], &after["id"]),
        (&"settled".into(), &answer["transaction"], &before["id"])
    );
    let totals = operator.ledger(&["reconcile"]);
    assert_eq!((totals.len(), &totals[0]["agreeing"]), (1, &1.into()), "{totals:?}");
}
