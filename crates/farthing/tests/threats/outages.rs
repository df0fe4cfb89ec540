//! A facilitator that goes away, or lies: nothing is given away, and nothing is lost.

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use farthing_testkit::Stack;
use farthing_testkit::golden::{NETWORK, SECOND};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::market::{Answer, Market, REPORT, Tamper};

/// What becomes of connections to the facilitator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// They are passed on.
    Up,
    /// They break.
    Down,
    /// What is sent arrives, and the connection breaks before an answer to `/settle` is through.
    LosesSettlements,
}

/// The way to a facilitator, which can be cut.
struct Wire {
    url: String,
    line: Arc<watch::Sender<Line>>,
}

impl Wire {
    async fn to(facilitator: &str) -> Self {
        let target = facilitator.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let line = Arc::new(watch::Sender::new(Line::Up));
        let lines = Arc::clone(&line);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (target, mut line) = (target.clone(), lines.subscribe());
                tokio::spawn(async move {
                    let far = TcpStream::connect(target).await.unwrap();
                    let lost = line.clone();
                    tokio::select! {
                        () = pass(near, far, lost) => {}
                        _ = line.wait_for(|line| *line == Line::Down) => {}
                    }
                });
            }
        });
        Self { url, line }
    }

    fn set(&self, line: Line) {
        self.line.send_replace(line);
    }
}

/// Passes bytes both ways; under [`Line::LosesSettlements`] an answer to a settle request ends the connection.
async fn pass(mut near: TcpStream, mut far: TcpStream, line: watch::Receiver<Line>) {
    let (mut request, mut answer) = (vec![0; 65_536], vec![0; 65_536]);
    let mut is_settle = false;
    loop {
        tokio::select! {
            Ok(length) = near.read(&mut request) => {
                is_settle |= request[..length].starts_with(b"POST /settle");
                if length == 0 || far.write_all(&request[..length]).await.is_err() {
                    return;
                }
            }
            Ok(length) = far.read(&mut answer) => {
                let is_lost = is_settle && *line.borrow() == Line::LosesSettlements;
                if length == 0 || is_lost || near.write_all(&answer[..length]).await.is_err() {
                    return;
                }
            }
            else => return,
        }
    }
}

/// A market whose way to the facilitator can be cut.
async fn wired() -> (Market, Wire) {
    let stack = Stack::start().await.unwrap();
    let wire = Wire::to(stack.facilitator_url()).await;
    let market = Market::open_at(stack, &wire.url).await;
    (market, wire)
}

fn assert_withheld(answer: &Answer) {
    assert!([502, 503].contains(&answer.status), "{} {}", answer.status, answer.body);
    assert!(!answer.body.contains(REPORT), "{}", answer.body);
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn without_the_facilitator_nothing_is_free_and_nothing_is_lost() {
    let (market, wire) = wired().await;
    let (before, payment) = (market.worth().await, market.pay("/report").await);
    wire.set(Line::Down);
    for _ in 0..3 {
        let answer = market.buy("/report", &payment).await;
        assert_withheld(&answer);
        assert_eq!((answer.status, answer.header("retry-after")), (503, "5"));
    }
    assert_eq!(market.get("/report", &[]).await.status, 402, "the terms are known all the same");
    assert_eq!(market.worth().await, before);
    wire.set(Line::Up);
    market.buy("/report", &payment).await.assert_delivered("afterwards");
    market.assert_sold(1, &before).await;
}

#[tokio::test]
async fn a_settlement_whose_answer_is_lost_is_taken_up_again_and_paid_once() {
    let (market, wire) = wired().await;
    let (before, payment) = (market.worth().await, market.pay("/report").await);
    wire.set(Line::LosesSettlements);
    let answer = market.buy("/report", &payment).await;
    assert_withheld(&answer);
    assert_eq!(answer.error(), "settlement_pending");
    let answer = market.buy("/report", &payment).await;
    assert_eq!((answer.status, answer.error().as_str()), (503, "settlement_pending"));
    wire.set(Line::Up);
    // Bound to its page, whatever becomes of it.
    let mut elsewhere = payment.clone();
    elsewhere.as_object_mut().unwrap().remove("resource");
    let answer = market.buy("/other", &elsewhere).await;
    assert_eq!((answer.status, answer.error().as_str()), (402, "payment_already_used"));
    market.buy("/report", &payment).await.assert_delivered("at last");
    let answer = market.buy("/report", &payment).await;
    assert_eq!((answer.status, answer.error().as_str()), (402, "payment_already_used"));
    market.assert_sold(1, &before).await;
}

/// While a settlement is unknown, its nonce can be seen on chain: nobody else may use that to do any harm.
#[tokio::test]
async fn a_forgery_cannot_take_up_a_settlement_whose_answer_was_lost() {
    let (market, wire) = wired().await;
    let (before, payment) = (market.worth().await, market.pay("/report").await);
    wire.set(Line::LosesSettlements);
    assert_withheld(&market.buy("/report", &payment).await);
    wire.set(Line::Up);
    let worked = market.worth().await.deliveries;
    let mut forged = payment.clone();
    forged["payload"]["signature"] = json!(format!("0x{}", "11".repeat(65)));
    let answer = market.buy("/report", &forged).await;
    assert_eq!((answer.status, answer.error().as_str()), (402, "payment_already_used"), "{}", answer.body);
    assert_eq!(market.worth().await.deliveries, worked, "nothing is done for a forgery");
    market.buy("/report", &payment).await.assert_delivered("the payer's own");
    market.assert_sold(1, &before).await;
}

#[tokio::test]
async fn a_chain_that_cannot_be_reached_refuses_nobody() {
    let market = Market::open().await;
    let (before, payment) = (market.worth().await, market.pay("/report").await);
    let faults = market.stack.devnet().faults();
    faults.inject("*", farthing_devnet::Fault::HttpStatus(503), farthing_devnet::Times::UntilCleared);
    let request = crate::market::asking(&payment, &payment["accepted"]).to_string();
    for endpoint in ["verify", "settle"] {
        let (status, answer) = market.ask(endpoint, request.clone()).await;
        assert_eq!(status, 503, "{answer}");
    }
    let answer = market.buy("/report", &payment).await;
    assert_withheld(&answer);
    faults.clear_all();
    market.buy("/report", &payment).await.assert_delivered("afterwards");
    market.assert_sold(1, &before).await;
}

/// A facilitator that finds every payment good, and answers so to `/settle`.
async fn liar(stack: &Stack, status: u16, settled: String) -> String {
    let kinds = json!({"kinds": [{"x402Version": 2, "scheme": "exact", "network": NETWORK}], "extensions": [], "signers": {}});
    let payer = stack.devnet().accounts()[1].address;
    let status = axum::http::StatusCode::from_u16(status).unwrap();
    let app = Router::new()
        .route("/supported", get(move || async move { axum::Json(kinds) }))
        .route("/verify", post(move || async move { axum::Json(json!({"isValid": true, "payer": payer})) }))
        .route("/settle", post(move || async move { (status, settled) }));
    stack.serve(app).await.unwrap()
}

#[tokio::test]
async fn a_settle_answer_that_does_not_clearly_say_that_the_money_moved_lets_nothing_out() {
    let good = |payer: &str| json!({"success": true, "transaction": "0x1", "network": NETWORK, "payer": payer});
    let rows: &[(&str, u16, Tamper)] = &[
        ("success as text", 200, |answer| answer["success"] = json!("true")),
        ("success as a number", 200, |answer| answer["success"] = json!(1)),
        ("success null", 200, |answer| answer["success"] = json!(null)),
        ("no success", 200, |answer| drop(answer.as_object_mut().unwrap().remove("success"))),
        ("no", 200, |answer| answer["success"] = json!(false)),
        ("no, with status 500", 500, |answer| answer["success"] = json!(false)),
        ("another network", 200, |answer| answer["network"] = json!("eip155:8453")),
        ("no network", 200, |answer| answer["network"] = json!("")),
        ("another payer", 200, |answer| answer["payer"] = json!(SECOND.replace('7', "8"))),
        ("less", 200, |answer| answer["amount"] = json!("9999")),
        ("an amount that is none", 200, |answer| answer["amount"] = json!(10_000)),
        ("no transaction", 200, |answer| answer["transaction"] = json!("")),
        ("transaction null", 200, |answer| answer["transaction"] = json!(null)),
        ("a redirect", 307, |_| {}),
        ("a list", 200, |answer| *answer = json!([answer.clone()])),
        ("a list of the right things", 200, |answer| *answer = json!([true, null, null, null, "0x1", NETWORK])),
        ("nothing", 204, |answer| *answer = json!(null)),
        ("pending", 200, |answer| {
            *answer = json!({"success": false, "errorReason": "settlement_pending", "transaction": "0x1"});
        }),
    ];
    for (name, status, lie) in rows {
        let stack = Stack::start().await.unwrap();
        let mut answer = good(&stack.devnet().accounts()[1].address.to_string());
        lie(&mut answer);
        let facilitator = liar(&stack, *status, answer.to_string()).await;
        let market = Market::open_at(stack, &facilitator).await;
        let payment = market.pay("/report").await;
        let answer = market.buy("/report", &payment).await;
        assert!([402, 502, 503].contains(&answer.status), "{name}: {}", answer.status);
        assert!(!answer.body.contains(REPORT) && !answer.settlement().success, "{name}");
        assert_eq!(answer.header("cache-control"), "no-store", "{name}");
    }
    // What the lies are lies about.
    let stack = Stack::start().await.unwrap();
    let truth = good(&stack.devnet().accounts()[1].address.to_string());
    let facilitator = liar(&stack, 200, truth.to_string()).await;
    let market = Market::open_at(stack, &facilitator).await;
    market.buy("/report", &market.pay("/report").await).await.assert_delivered("the truth");
}
