//! Transactions that were sent and whose outcome was not known.

use farthing_core::amount::Amount;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Outcome, Settlement, TransactionId};
use http::StatusCode;
use serde_json::json;

use crate::support::{Chain, Facilitator, Fault, PAYER, request, transaction};

const UNKNOWN: [Fault; 3] = [Fault::Unknown, Fault::UnknownAndNotInTheBook, Fault::PanicsAfter];

async fn sent_and_unknown(fault: Fault) -> Facilitator {
    let facilitator = Facilitator::with_fault(fault);
    let answer = facilitator.settle(&request(1)).await;
    assert_eq!((answer.status, answer.reason()), (StatusCode::OK, "settlement_pending"), "{fault:?}");
    assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(false), &json!(transaction(1))));
    facilitator.chain.fault(Fault::None);
    facilitator
}

fn settled() -> Outcome {
    Outcome::Settled(Settlement {
        transaction: TransactionId(transaction(1)),
        network: "eip155:84532".parse().unwrap(),
        payer: PAYER.parse().unwrap(),
        amount: Amount::from(10_000),
    })
}

#[tokio::test]
async fn asking_again_finds_the_settlement_and_sends_nothing() {
    for fault in UNKNOWN {
        let facilitator = sent_and_unknown(fault).await;
        facilitator.chain.outcome(settled());
        for _ in 0..3 {
            let answer = facilitator.settle(&request(1)).await;
            assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(true), &json!(transaction(1))));
        }
        assert_eq!(Chain::count(&facilitator.chain.outcomes), 1, "once found, it is in the book");
        assert_eq!(Chain::count(&facilitator.chain.settles), 1);
    }
}

#[tokio::test]
async fn asking_again_finds_the_failure_and_the_payment_is_free_again() {
    for fault in UNKNOWN {
        let facilitator = sent_and_unknown(fault).await;
        let refusal = Refusal::new(Reason::InvalidExactEvmTransactionFailed, "it reverted");
        facilitator.chain.outcome(Outcome::Failed(refusal));
        let answer = facilitator.settle(&request(1)).await;
        assert_eq!(answer.reason(), "invalid_exact_evm_transaction_failed");
        assert_eq!((&answer.json["success"], &answer.json["transaction"]), (&json!(false), &json!(transaction(1))));
        assert_eq!(Chain::count(&facilitator.chain.settles), 1);
        assert_eq!(facilitator.settle(&request(1)).await.json["success"], json!(true));
        assert_eq!(Chain::count(&facilitator.chain.settles), 2);
    }
}

#[tokio::test]
async fn what_stays_unknown_stays_pending() {
    for fault in UNKNOWN {
        let facilitator = sent_and_unknown(fault).await;
        for down in [false, true] {
            facilitator.chain.fault(if down { Fault::NodeDown } else { Fault::None });
            let answer = facilitator.settle(&request(1)).await;
            assert_eq!((answer.status, answer.reason()), (StatusCode::OK, "settlement_pending"));
            assert_eq!(answer.json["transaction"], json!(transaction(1)));
        }
        assert_eq!(Chain::count(&facilitator.chain.settles), 1);
    }
}

#[tokio::test]
async fn many_who_ask_again_at_once_send_nothing() {
    let facilitator = sent_and_unknown(Fault::Unknown).await;
    facilitator.chain.outcome(settled());
    let copies: Vec<_> = (0..100)
        .map(|_| {
            let facilitator = facilitator.clone();
            tokio::spawn(async move { facilitator.settle(&request(1)).await })
        })
        .collect();
    for copy in copies {
        assert_eq!(copy.await.unwrap().json["success"], json!(true));
    }
    assert_eq!(Chain::count(&facilitator.chain.outcomes), 1);
    assert_eq!(Chain::count(&facilitator.chain.settles), 1);
}
