//! A server that says that the settlement is pending, and when to come back: the same payment again, once.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::response::Response;
use farthing_client::{Error, PaymentOutcome, Unknown};
use farthing_core::books::ReservationState;
use serde_json::{Value, json};

use crate::support::base64_of::encoded;
use crate::support::*;

fn pending() -> Value {
    json!({"success": false, "errorReason": "settlement_pending", "transaction": "0xfeed", "network": BASE})
}

fn come_back(seconds: &str) -> Response {
    response(503).header("PAYMENT-RESPONSE", encoded(&pending())).header("retry-after", seconds).body(Body::from("{}")).unwrap()
}

/// Asks a cent, and answers the n-th payment with the n-th of these.
async fn seller(answers: Vec<fn(&str) -> Response>) -> Seller {
    let count = AtomicUsize::new(0);
    Seller::start(move |seen, base| {
        Some(match seen.payment() {
            Some(_) => answers[count.fetch_add(1, Ordering::SeqCst)](base),
            None => asks(&cent(base)),
        })
    })
    .await
}

async fn unknown(buyer: &Buyer, seller: &Seller) -> Box<Unknown> {
    match buyer.client.get(seller.url("/report")).send().await {
        Err(Error::Unknown(unknown)) => {
            assert_eq!((buyer.reservation(0), buyer.wallet.signed()), (Some(ReservationState::Open), 1));
            unknown
        }
        other => panic!("expected an unknown outcome, got {other:?}"),
    }
}

#[tokio::test]
async fn the_same_request_with_the_same_payment_is_sent_once_more_and_answered() {
    let seller = seller(vec![|_| come_back("0"), |_| paid(&settled())]).await;
    let buyer = Buyer::new();
    let request = buyer.client.post(seller.url("/report?year=2026")).header("x-caller", "me").body("the question");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.paid().unwrap().outcome, PaymentOutcome::Settled);
    assert_eq!(answer.text().await.unwrap(), "the report");
    assert!(matches!(buyer.reservation(0), Some(ReservationState::Committed(_))));
    assert_eq!((buyer.wallet.signed(), buyer.reservation(1)), (1, None), "nothing else was signed or promised");
    let seen = seller.seen();
    assert_eq!(seen.len(), 3);
    let (first, second) = (&seen[1], &seen[2]);
    assert_eq!((&first.method, &first.path, &first.body), (&second.method, &second.path, &second.body));
    assert_eq!(first.headers, second.headers);
}

#[tokio::test]
async fn a_settlement_that_stays_pending_is_unknown_after_the_second_time() {
    let seller = seller(vec![|_| come_back("0"), |_| come_back("0")]).await;
    let unknown = unknown(&Buyer::new(), &seller).await;
    assert_eq!((unknown.status, &*unknown.settlement.unwrap().transaction), (Some(503), "0xfeed"));
    assert_eq!(seller.payments().len(), 2);
}

#[tokio::test]
async fn no_refusal_of_the_second_copy_makes_the_first_one_a_failure() {
    let refusals: [fn(&str) -> Response; 4] = [
        |base| {
            let mut terms = cent(base);
            terms["error"] = json!("invalid_exact_evm_nonce_already_used");
            asks(&terms)
        },
        |_| {
            with_settlement(
                402,
                &json!({"success": false, "errorReason": "invalid_transaction_state", "transaction": "", "network": BASE}),
            )
        },
        |_| response(409).body(Body::from("{}")).unwrap(),
        |_| response(500).body(Body::from("oops")).unwrap(),
    ];
    for refusal in refusals {
        let seller = seller(vec![|_| come_back("0"), refusal]).await;
        let unknown = unknown(&Buyer::new(), &seller).await;
        assert_eq!(unknown.payment.outcome, PaymentOutcome::Unconfirmed);
        assert_eq!(unknown.payment.transaction.unwrap().0, "0xfeed");
        assert!(unknown.why.contains("pending, and then"), "{}", unknown.why);
    }
}

#[tokio::test]
async fn nobody_waits_without_being_asked_to_nor_for_long() {
    let answers: [fn(&str) -> Response; 4] = [
        |_| with_settlement(503, &pending()),
        |_| come_back("31"),
        |_| come_back("Fri, 20 Nov 2026 12:00:00 GMT"),
        |_| come_back("-1"),
    ];
    for answer in answers {
        let seller = seller(vec![answer]).await;
        unknown(&Buyer::new(), &seller).await;
        assert_eq!(seller.payments().len(), 1);
    }
}

#[tokio::test]
async fn only_a_pending_settlement_is_sent_again() {
    let answers: [fn(&str) -> Response; 2] = [
        |_| response(503).header("retry-after", "0").body(Body::from("busy")).unwrap(),
        |_| {
            response(402)
                .header("PAYMENT-RESPONSE", encoded(&pending()))
                .header("retry-after", "0")
                .body(Body::empty())
                .unwrap()
        },
    ];
    for answer in answers {
        let seller = seller(vec![answer]).await;
        unknown(&Buyer::new(), &seller).await;
        assert_eq!(seller.payments().len(), 1);
    }
}
