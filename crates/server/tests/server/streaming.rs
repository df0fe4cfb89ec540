//! Answers that go out as they are made and are paid for at their end: what is owed meanwhile, and what becomes of debts.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use farthing_core::BoxFuture;
use farthing_core::amount::Amount;
use farthing_core::books::{BookError, Debt, Debts, MemoryDebts};
use farthing_core::facilitator::FacilitatorError;
use farthing_core::reason::Reason;
use farthing_core::scheme::PaymentKey;
use farthing_server::{Paid, RouteError, Server};
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::mpsc;
use tower::ServiceExt;

use crate::support::{MeteredScheme, NETWORK, PATIENCE, Shop, fetch, payment, refused, replica, send, success, with_payment};

const CEILING: u64 = 10_000;
/// What each chunk of an answer costs.
const CHUNK: u64 = 100;

type Chunk = Result<&'static str, std::io::Error>;

/// A shop whose answers are chunks by hand.
struct Studio {
    shop: Shop,
    debts: MemoryDebts,
    app: Router,
    feeds: mpsc::UnboundedReceiver<mpsc::UnboundedSender<Chunk>>,
}

/// `/talk` for at most a cent, streaming, of which each chunk costs the same. Every request hands out its feed.
fn app(server: &Server, limit: &str, feeds: mpsc::UnboundedSender<mpsc::UnboundedSender<Chunk>>) -> Router {
    let talk = move |Extension(paid): Extension<Paid>| {
        let (feed, chunks) = mpsc::unbounded_channel::<Chunk>();
        feeds.send(feed).unwrap();
        if paid.usage().charge() == CEILING.into() {
            paid.usage().set(0).unwrap();
        }
        let body = Body::from_stream(stream::unfold((chunks, paid), |(mut chunks, paid)| async move {
            let chunk = chunks.recv().await?;
            if chunk.is_ok() {
                paid.usage().add(CHUNK).ok();
            }
            Some((chunk, (chunks, paid)))
        }));
        async { Response::new(body) }
    };
    let layer = server.price_up_to("$0.01").unwrap().streaming(limit.parse().unwrap()).unwrap();
    Router::new().route("/talk", any(talk).layer(layer))
}

impl Studio {
    async fn open(limit: &str) -> Self {
        Self::with(limit, |debts| Arc::new(debts)).await
    }

    async fn with(limit: &str, book: impl FnOnce(MemoryDebts) -> Arc<dyn Debts>) -> Self {
        let debts = MemoryDebts::default();
        let book = book(debts.clone());
        let shop = Shop::with(|server| server.schemes(vec![Arc::new(MeteredScheme)]).debts(book)).await;
        let (feeder, feeds) = mpsc::unbounded_channel();
        let app = app(&shop.server, limit, feeder);
        Self { shop, debts, app, feeds }
    }

    async fn payment(&self, nonce: &str) -> Value {
        payment(&fetch(&self.app, "/talk").await.terms(), nonce)
    }

    /// Begins to stream for a payment, and reads the first chunk.
    async fn begin(&mut self, payment: &Value) -> (Body, mpsc::UnboundedSender<Chunk>) {
        let answer = self.app.clone().oneshot(with_payment("/talk", payment)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(!answer.headers().contains_key("payment-response"), "nobody knows yet what it costs");
        assert_eq!(answer.headers()["cache-control"], "private, no-store");
        let (mut body, feed) = (answer.into_body(), self.feeds.recv().await.unwrap());
        feed.send(Ok("first ")).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first ");
        (body, feed)
    }

    async fn owed(&self) -> Vec<Amount> {
        self.debts.open(10).await.unwrap().into_iter().map(|debt| debt.amount).collect()
    }

    /// What the facilitator was asked to settle, each time.
    fn asked(&self) -> Vec<Amount> {
        self.shop.facilitator.settled.lock().unwrap().iter().map(|request| request.requirements.amount).collect()
    }

    async fn until_written(&mut self, entry: &str) {
        while self.shop.next_written().await != Some(entry) {}
    }
}

async fn rest(body: Body) -> (String, HeaderMap) {
    let collected = tokio::time::timeout(PATIENCE, body.collect()).await.unwrap().unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    (String::from_utf8(collected.to_bytes().to_vec()).unwrap(), trailers)
}

#[tokio::test]
async fn an_answer_leaves_before_it_is_paid_and_what_it_used_is_charged_at_its_end() {
    let mut studio = Studio::open("$0.01").await;
    let payment = studio.payment("1").await;
    let (body, feed) = studio.begin(&payment).await;
    assert_eq!((studio.shop.facilitator.calls(), studio.owed().await), ((1, 0), vec![CEILING.into()]));
    assert_eq!(studio.shop.written(), ["settling"]);
    feed.send(Ok("last")).unwrap();
    drop(feed);
    let (text, trailers) = rest(body).await;
    assert_eq!(text, "last");
    let told = farthing_core::header::decode_settlement(trailers["payment-response"].as_bytes()).unwrap();
    assert_eq!((told.success, told.amount), (true, Some((2 * CHUNK).into())));
    assert_eq!((studio.asked(), studio.owed().await), (vec![(2 * CHUNK).into()], vec![]));
    assert_eq!(studio.shop.written(), ["settling", "served"]);
    let used = send(&studio.app, with_payment("/talk", &payment)).await;
    assert_eq!(used.terms()["error"], "payment_already_used");
}

#[tokio::test]
async fn a_client_that_leaves_is_charged_for_what_was_delivered() {
    let mut studio = Studio::open("$0.01").await;
    let payment = studio.payment("1").await;
    let (body, feed) = studio.begin(&payment).await;
    drop(body);
    studio.until_written("served").await;
    assert_eq!((studio.asked(), studio.owed().await), (vec![CHUNK.into()], vec![]));
    assert!(feed.is_closed(), "nobody works on for it");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_charged_for_what_was_delivered() {
    let mut studio = Studio::open("$0.01").await;
    let payment = studio.payment("1").await;
    let (mut body, feed) = studio.begin(&payment).await;
    feed.send(Err(std::io::Error::other("lost"))).unwrap();
    assert!(body.frame().await.unwrap().is_err());
    studio.until_written("served").await;
    assert_eq!((studio.asked(), studio.owed().await), (vec![CHUNK.into()], vec![]));
}

#[tokio::test]
async fn what_cannot_be_settled_is_owed_until_the_same_payment_pays_it() {
    let network = "eip155:84532".parse().unwrap();
    for settlement in [
        Ok(refused(Reason::InsufficientFunds, "")),
        Err(FacilitatorError::Unavailable("away".into())),
        Ok(farthing_core::wire::SettleResponse::failure(
            farthing_core::reason::Refusal::new(Reason::SettlementPending, ""),
            Some(network),
        )),
    ] {
        let mut studio = Studio::open("$0.01").await;
        let payment = studio.payment("1").await;
        studio.shop.facilitator.will_settle(settlement);
        let (body, feed) = studio.begin(&payment).await;
        drop(feed);
        let (_, trailers) = rest(body).await;
        assert!(!farthing_core::header::decode_settlement(trailers["payment-response"].as_bytes()).unwrap().success);
        studio.until_written("unsettled").await;
        assert_eq!(studio.owed().await, [CHUNK.into()], "never silently forgotten");

        // Nothing more streams; it is held back, and paid before it goes.
        let other = studio.payment("2").await;
        let asking = tokio::spawn({
            let app = studio.app.clone();
            async move { send(&app, with_payment("/talk", &other)).await }
        });
        let feed = studio.feeds.recv().await.unwrap();
        feed.send(Ok("held")).unwrap();
        drop(feed);
        let held = asking.await.unwrap();
        assert_eq!((held.status, held.text(), held.settlement().amount), (StatusCode::OK, "held", Some(CHUNK.into())));
        assert_eq!(studio.owed().await, [CHUNK.into()]);

        // The same payment pays what it owes, to the unit, and has its answer again.
        let (body, feed) = {
            let answer = studio.app.clone().oneshot(with_payment("/talk", &payment)).await.unwrap();
            assert!(answer.headers().contains_key("payment-response"), "it is paid by now");
            (answer.into_body(), studio.feeds.recv().await.unwrap())
        };
        assert_eq!((studio.asked(), studio.owed().await), (vec![CHUNK.into(); 3], vec![]));
        feed.send(Ok("again")).unwrap();
        drop(feed);
        assert_eq!(rest(body).await.0, "again");
        assert_eq!(studio.asked().len(), 3, "nobody is charged twice");
        let third = studio.payment("3").await;
        drop(studio.begin(&third).await);
    }
}

#[tokio::test]
async fn answers_under_way_count_as_all_that_they_may_come_to() {
    let mut studio = Studio::open("$0.025").await;
    let (first, second, third) = (studio.payment("1").await, studio.payment("2").await, studio.payment("3").await);
    let one = studio.begin(&first).await;
    let two = studio.begin(&second).await;
    assert_eq!(studio.owed().await, [CEILING.into(), CEILING.into()]);
    let asking = tokio::spawn({
        let app = studio.app.clone();
        async move { send(&app, with_payment("/talk", &third)).await }
    });
    let feed = studio.feeds.recv().await.unwrap();
    feed.send(Ok("held")).unwrap();
    drop(feed);
    let held = asking.await.unwrap();
    assert!(held.settlement().success, "a third one is paid for before it goes");
    drop((one, two));
    studio.until_written("served").await;
}

#[tokio::test]
async fn nothing_streams_for_somebody_who_is_not_known_or_while_the_book_is_away() {
    /// A book that cannot be written.
    struct Away;
    impl Debts for Away {
        fn owe<'a>(&'a self, _: &'a Debt, _: Amount) -> BoxFuture<'a, Result<bool, BookError>> {
            Box::pin(std::future::ready(Err(BookError("away".into()))))
        }
        fn amend(&self, _: PaymentKey, _: Amount) -> BoxFuture<'_, Result<(), BookError>> {
            Box::pin(std::future::ready(Err(BookError("away".into()))))
        }
        fn paid(&self, _: PaymentKey) -> BoxFuture<'_, Result<(), BookError>> {
            Box::pin(std::future::ready(Err(BookError("away".into()))))
        }
        fn open(&self, _: u32) -> BoxFuture<'_, Result<Vec<Debt>, BookError>> {
            Box::pin(std::future::ready(Err(BookError("away".into()))))
        }
    }
    for is_away in [true, false] {
        let mut studio = Studio::with("$0.01", |debts| if is_away { Arc::new(Away) } else { Arc::new(debts) }).await;
        if !is_away {
            let valid = serde_json::from_value(serde_json::json!({"isValid": true})).unwrap();
            studio.shop.facilitator.will_verify(Ok(valid));
        }
        let payment = studio.payment("1").await;
        let asking = tokio::spawn({
            let app = studio.app.clone();
            async move { send(&app, with_payment("/talk", &payment)).await }
        });
        let feed = studio.feeds.recv().await.unwrap();
        feed.send(Ok("held")).unwrap();
        assert!(studio.shop.written().is_empty());
        drop(feed);
        let held = asking.await.unwrap();
        assert_eq!((held.text(), held.settlement().amount), ("held", Some(CHUNK.into())));
        assert_eq!(studio.shop.written(), ["settling", "served"]);
    }
}

#[tokio::test]
async fn a_server_that_dies_while_it_streams_leaves_a_debt_and_a_payment_that_is_bound() {
    let mut studio = Studio::open("$0.01").await;
    let payment = studio.payment("1").await;
    let (_body, _feed) = studio.begin(&payment).await;
    let (feeder, mut feeds) = mpsc::unbounded_channel();
    let there = app(&replica(&studio.shop).await, "$0.01", feeder);
    assert_eq!(send(&there, with_payment("/talk", &payment)).await.status, StatusCode::CONFLICT);
    studio.shop.deliveries.inner.die();
    assert_eq!(studio.owed().await, [CEILING.into()], "what it may have come to");
    let nothing = farthing_core::wire::SettleResponse {
        transaction: String::new(),
        amount: Some(Amount::ZERO),
        ..success(&NETWORK.parse().unwrap())
    };
    studio.shop.facilitator.will_settle(Ok(nothing));
    // The same request takes it up; it is settled for what was known to be used when it began, and never for more.
    let answer = there.clone().oneshot(with_payment("/talk", &payment)).await.unwrap();
    assert_eq!((answer.status(), studio.asked()), (StatusCode::OK, vec![0_u64.into()]));
    drop(feeds.recv().await.unwrap());
    rest(answer.into_body()).await;
}

#[tokio::test]
async fn what_cannot_stream_is_found_at_start_up() {
    let shop = Shop::with(|server| server.schemes(vec![Arc::new(MeteredScheme)])).await;
    let cent = || "$0.01".parse().unwrap();
    let fixed = shop.server.price("$0.01").unwrap().streaming(cent());
    assert!(matches!(fixed.err(), Some(RouteError::UnmeteredStream)));
    let dear = shop.server.price_up_to("$0.02").unwrap().streaming(cent());
    assert!(matches!(dear.err(), Some(RouteError::DebtLimit { .. })));
    let other_coin = shop.server.price_up_to("$0.01").unwrap().streaming("1 GOLD".parse().unwrap());
    assert!(matches!(other_coin.err(), Some(RouteError::Price(_))));
}
