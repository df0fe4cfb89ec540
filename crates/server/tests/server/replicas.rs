//! Several servers on one book, and servers that die: one payment, one delivery.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::routing::get;
use farthing_core::books::{Delivery, MemoryDeliveries};
use farthing_core::facilitator::FacilitatorError;
use farthing_core::reason::Reason;
use farthing_core::scheme::{PaymentKey, TransactionId};
use farthing_core::wire::{PaymentPayload, Version};
use farthing_server::{Admission, Admitted, Denied, RequestFacts, Server, Settled};
use http::StatusCode;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{
    FakeFacilitator, Fault, NETWORK, PATIENCE, PAY_TO, PAYER, Shop, TRANSACTION, buy, clock, fetch, payment, refused, schemes,
    send, with_payment,
};

const COPIES: usize = 1_000;

/// The key of the payment with the nonce "1".
fn key() -> PaymentKey {
    let mut key = [0; 32];
    key[0] = b'1';
    PaymentKey(key)
}

fn facts() -> RequestFacts {
    RequestFacts::http("GET", "https://tools.example/search".to_owned())
}

/// Servers of one shop, each a node of its own on one book.
struct Replicas {
    facilitator: Arc<FakeFacilitator>,
    books: Vec<MemoryDeliveries>,
    servers: Vec<Server>,
    runs: Arc<AtomicUsize>,
}

impl Replicas {
    async fn open(count: usize) -> Self {
        let facilitator = Arc::new(FakeFacilitator::new());
        let first = MemoryDeliveries::default();
        let (mut books, mut servers) = (Vec::new(), Vec::new());
        for number in 0..count {
            let book = if number == 0 { first.clone() } else { first.join() };
            let builder = Server::builder().schemes(schemes()).clock(clock()).facilitator(Arc::clone(&facilitator)).unwrap();
            let builder = builder.pay_to(NETWORK, PAY_TO).unwrap().deliveries(Arc::new(book.clone()));
            servers.push(builder.build().await.unwrap());
            books.push(book);
        }
        Self { facilitator, books, servers, runs: Arc::default() }
    }

    fn app(&self, number: usize) -> Router {
        let runs = Arc::clone(&self.runs);
        let report = move || async move {
            runs.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            "the report"
        };
        Router::new().route("/report", get(report).layer(self.servers[number].price("$0.01").unwrap()))
    }

    async fn admit(&self, number: usize, facts: &RequestFacts) -> Admission {
        let route = self.servers[number].route(&"$0.01".parse().unwrap()).unwrap();
        let terms = route.terms(Version::V2, &facts.resource_url, "").unwrap();
        let payment = payment(&serde_json::from_str(&terms).unwrap(), "1");
        let payment = PaymentPayload::read(&payment.to_string()).unwrap();
        self.servers[number].gate().admit(&route, Some(payment), facts).await
    }

    async fn admitted(&self, number: usize) -> Admitted {
        match self.admit(number, &facts()).await {
            Admission::Paid(admitted) => admitted,
            Admission::Required(refusal) => panic!("expected admission, got {refusal:?}"),
            Admission::Unsettled(settled) => panic!("expected admission, got {settled:?}"),
            Admission::Denied(denied) => panic!("expected admission, got {denied}"),
            Admission::Repeated(_) => panic!("expected admission, got an answer"),
        }
    }

    /// The payment in the hands of another server, while the first one still waits for its facilitator. From then on the
    /// facilitator answers so many questions.
    async fn taken_over(&self, number: usize, answers: usize) -> Admitted {
        let has_asked = async {
            self.facilitator.settling.notified().await;
            self.facilitator.may_settle.add_permits(answers);
        };
        tokio::join!(self.admitted(number), has_asked).0
    }

    /// Settles in the background, as far as the facilitator's question, which is left unanswered.
    async fn settle_half(&self, number: usize, admitted: Admitted) -> tokio::task::JoinHandle<Settled> {
        self.facilitator.may_settle.forget_permits(COPIES);
        let gate = self.servers[number].gate().clone();
        let settling = tokio::spawn(async move { gate.settle(admitted).await });
        self.facilitator.settling.notified().await;
        settling
    }
}

#[tokio::test]
async fn that_a_payment_may_be_charged_is_written_before_anybody_is_asked_to_charge_it() {
    let mut shop = Shop::open().await;
    shop.facilitator.may_settle.forget_permits(COPIES);
    let app = shop.app();
    let terms = fetch(&app, "/report").await.terms();
    let request = tokio::spawn(app.oneshot(with_payment("/report", &payment(&terms, "1"))));
    shop.facilitator.settling.notified().await;
    assert_eq!(shop.written(), ["settling"]);
    shop.facilitator.may_settle.add_permits(1);
    assert_eq!(request.await.unwrap().unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn nothing_is_settled_that_could_not_be_written_down_and_the_payment_stays_good() {
    let mut shop = Shop::open().await;
    shop.deliveries.will_fail("settling", Fault::Unwritten);
    let answer = buy(&shop.app(), "/report", "1").await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "5"));
    assert!(!answer.text().contains("the report") && answer.text().contains("nothing was charged"), "{}", answer.text());
    assert!(!answer.settlement().success && answer.settlement().transaction.is_empty());
    assert_eq!((shop.facilitator.calls(), shop.written()), ((1, 0), vec!["cancelled"]));
    assert_eq!(shop.deliveries.inner.delivery(key()), None);
}

#[tokio::test]
async fn a_server_that_was_taken_for_dead_charges_nothing() {
    let shop = Replicas::open(2).await;
    let slow = shop.admitted(0).await;
    shop.books[0].die();
    let quick = shop.admitted(1).await;
    assert!(matches!(shop.servers[0].gate().settle(slow).await, Settled::NotSent(_)));
    assert_eq!(shop.facilitator.calls(), (2, 0));
    assert!(matches!(shop.servers[1].gate().settle(quick).await, Settled::Charged(_)));
    assert_eq!(shop.books[1].delivery(key()), Some(Delivery::Served(TransactionId(TRANSACTION.to_owned()))));
}

#[tokio::test]
async fn a_payment_that_a_live_server_is_settling_is_in_flight_for_all() {
    let shop = Replicas::open(2).await;
    let admitted = shop.admitted(0).await;
    let settling = shop.settle_half(0, admitted).await;
    assert_eq!(shop.books[1].delivery(key()), Some(Delivery::Settling));
    for number in [0, 1] {
        assert!(matches!(shop.admit(number, &facts()).await, Admission::Denied(Denied::InFlight)));
    }
    shop.facilitator.may_settle.add_permits(1);
    assert!(matches!(settling.await.unwrap(), Settled::Charged(_)));
}

#[tokio::test]
async fn what_a_dead_server_was_settling_is_settled_again_for_the_same_request_alone() {
    let shop = Replicas::open(2).await;
    let admitted = shop.admitted(0).await;
    let settling = shop.settle_half(0, admitted).await;
    shop.books[0].die();

    let elsewhere = RequestFacts::http("POST", "https://tools.example/search".to_owned());
    assert!(matches!(shop.admit(1, &elsewhere).await, Admission::Required(Some(_))));
    let resumed = shop.taken_over(1, 2).await;
    assert_eq!(shop.facilitator.calls(), (1, 2), "a resumed payment is settled first, and not verified again");
    assert_eq!(resumed.paid().payer.as_ref().unwrap().as_str(), PAYER);
    assert!(matches!(settling.await.unwrap(), Settled::Pending(_)), "the money moved, and the answer is another's to give");
    assert!(matches!(shop.servers[1].gate().settle(resumed).await, Settled::Charged(_)));
    assert_eq!(shop.books[1].delivery(key()), Some(Delivery::Served(TransactionId(TRANSACTION.to_owned()))));
    assert!(matches!(shop.admit(1, &facts()).await, Admission::Required(Some(_))), "it is used up");
    let asked = shop.facilitator.settled.lock().unwrap();
    let asked: Vec<Value> = asked.iter().map(|request| serde_json::to_value(request).unwrap()).collect();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0], asked[1]);
}

#[tokio::test]
async fn a_resumed_payment_stays_resumable_until_its_outcome_is_known() {
    let shop = Replicas::open(3).await;
    let admitted = shop.admitted(0).await;
    let settling = shop.settle_half(0, admitted).await;
    shop.books[0].die();
    // Unreachable and refused: none of it says that the first settlement did not happen.
    shop.facilitator.will_settle(Err(FacilitatorError::Unavailable("down".into())));
    shop.facilitator.will_settle(Ok(refused(Reason::InvalidExactEvmNonceAlreadyUsed, "")));
    let has_asked = async {
        shop.facilitator.settling.notified().await;
        shop.facilitator.may_settle.add_permits(4);
    };
    let (first, ()) = tokio::join!(async { shop.admit(1, &facts()).await }, has_asked);
    for unsettled in [first, shop.admit(1, &facts()).await] {
        assert!(matches!(unsettled, Admission::Unsettled(Settled::Pending(_))));
        assert_eq!(shop.books[1].delivery(key()), Some(Delivery::Unsettled));
    }
    assert!(matches!(settling.await.unwrap(), Settled::Pending(_)), "it was taken over");
    // Neither does a request that is dropped, or fails. But by then it is known that the money moved.
    drop(shop.admitted(1).await);
    let written = async {
        while shop.books[1].delivery(key()) != Some(Delivery::Unsettled) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, written).await.unwrap();
    let resumed = shop.admitted(1).await;
    shop.servers[1].gate().cancel(resumed).await;
    assert_eq!(shop.books[1].delivery(key()), Some(Delivery::Unsettled));
    let resumed = shop.admitted(2).await;
    assert!(matches!(shop.servers[2].gate().settle(resumed).await, Settled::Charged(_)));
    assert_eq!(shop.facilitator.calls(), (1, 4), "nobody is asked for what the book knows");
}

#[tokio::test]
async fn what_a_dead_server_had_only_claimed_is_free_for_any_request() {
    let shop = Replicas::open(2).await;
    let lost = shop.admitted(0).await;
    shop.books[0].die();
    let elsewhere = RequestFacts::http("POST", "https://tools.example/search".to_owned());
    let Admission::Paid(admitted) = shop.admit(1, &elsewhere).await else {
        panic!("a payment that nobody can have charged is free");
    };
    // The dead one's last words change nothing.
    shop.servers[0].gate().cancel(lost).await;
    assert_eq!(shop.books[1].delivery(key()), Some(Delivery::Claimed));
    assert!(matches!(shop.servers[1].gate().settle(admitted).await, Settled::Charged(_)));
    assert_eq!(shop.facilitator.calls(), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_copies_over_two_servers_one_is_served() {
    let shop = Replicas::open(2).await;
    let apps = [shop.app(0), shop.app(1)];
    let paid = payment(&fetch(&apps[0], "/report").await.terms(), "1");
    let copies: Vec<_> = (0..COPIES)
        .map(|number| {
            let (app, paid) = (apps[number % 2].clone(), paid.clone());
            tokio::spawn(async move { send(&app, with_payment("/report", &paid)).await })
        })
        .collect();
    let mut served = 0;
    for copy in copies {
        let answer = copy.await.unwrap();
        match answer.status {
            StatusCode::OK => served += 1,
            StatusCode::CONFLICT => assert_eq!(answer.json()["error"], json!("payment_in_flight")),
            status => {
                assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
                assert_eq!(answer.terms()["error"], json!("payment_already_used"));
            }
        }
    }
    assert_eq!((served, shop.runs.load(Ordering::SeqCst), shop.facilitator.calls()), (1, 1, (1, 1)));
}
