//! Liveness and readiness, and what is written to the log.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;

use crate::support::{Chain, Facilitator, Fault, request};

#[tokio::test(start_paused = true)]
async fn readiness_follows_the_chain_and_liveness_does_not() {
    let facilitator = Facilitator::new();
    assert_eq!(facilitator.get("/readyz").await.status, StatusCode::OK);
    facilitator.chain.fault(Fault::NodeDown);
    tokio::time::advance(Duration::from_secs(2)).await;
    let answer = facilitator.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers["retry-after"], "1");
    assert!(!answer.json.to_string().contains("refused"), "the node's error is for the log: {}", answer.json);
    assert_eq!(
        answer.json["causes"],
        json!([{
            "cause": "unreachable", "networks": ["eip155:8453", "eip155:84532"],
            "message": "cannot be reached: eip155:8453, eip155:84532",
        }])
    );
    facilitator.chain.fault(Fault::LowBalance);
    tokio::time::advance(Duration::from_secs(2)).await;
    let answer = facilitator.get("/readyz").await;
    assert_eq!((answer.status, &answer.json["causes"][0]["cause"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("low_balance")));
    assert_eq!(facilitator.get("/healthz").await.status, StatusCode::OK);
    facilitator.chain.fault(Fault::None);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(facilitator.get("/readyz").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn many_probes_ask_the_chain_once() {
    let facilitator = Facilitator::new();
    for _ in 0..100 {
        facilitator.get("/readyz").await;
    }
    assert_eq!(Chain::count(&facilitator.chain.node_calls), 1);
}

#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
        (log, tracing::subscriber::set_default(subscriber.with_ansi(false).finish()))
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[tokio::test]
async fn a_request_is_logged_with_the_trace_that_it_belongs_to() {
    let (log, _guard) = Log::capture();
    let facilitator = Facilitator::new();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0b9902b7-01";
    for path in ["/verify", "/settle"] {
        let body = Body::from(request(1).to_string());
        facilitator.send(Request::post(path).header("traceparent", traceparent).body(body).unwrap()).await;
    }
    let text = log.text();
    let line = text.lines().find(|line| line.contains(": settled")).unwrap();
    let payment = "01".repeat(32);
    let trace = ["trace_id=4bf92f3577b34da6a3ce929d0e0e4736", "parent_id=00f067aa0b9902b7"];
    for part in [trace[0], trace[1], "span_id=", "settle{", "scheme=\"exact\"", "network=eip155:84532", &payment] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_logged_once_however_many_copies_wait() {
    let (log, _guard) = Log::capture();
    let facilitator = Facilitator::with_fault(Fault::NodeDown);
    let request = request(1);
    let copies = (0..10).map(|_| facilitator.settle(&request));
    futures_util::future::join_all(copies).await;
    assert_eq!(log.text().matches("could not settle").count(), 1, "{}", log.text());
    assert!(log.text().contains("connection refused"));
}

#[tokio::test(start_paused = true)]
async fn no_signature_reaches_the_log() {
    let (log, _guard) = Log::capture();
    let facilitator = Facilitator::new();
    for (nonce, fault) in (1_u8..).zip([Fault::None, Fault::NodeDown, Fault::Reverts, Fault::Unknown, Fault::PanicsAfter]) {
        facilitator.chain.fault(fault);
        facilitator.verify(&request(nonce)).await;
        facilitator.settle(&request(nonce)).await;
    }
    let mut misplaced = request(9);
    misplaced["paymentPayload"]["payload"]["nonce"] = misplaced["paymentPayload"]["payload"]["signature"].clone();
    let answer = facilitator.settle(&misplaced).await;
    assert_eq!(answer.json["success"], json!(false));
    assert!(!answer.json.to_string().contains("SECRET"), "{}", answer.json);
    let text = log.text();
    assert!(text.contains("settled") && text.contains("eip155:84532"), "{text}");
    assert!(!text.contains("SECRET"), "{text}");
}
