//! Liveness and readiness, and what is written to the log.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::StatusCode;
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
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_signature_reaches_the_log() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
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
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("settled") && text.contains("eip155:84532"), "{text}");
    assert!(!text.contains("SECRET"), "{text}");
}
