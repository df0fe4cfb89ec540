//! One trace through server, facilitator and chain, as a collector receives it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::routing::{get, post};
use axum::{Json, Router};
use farthing::core::header;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::chain::{CENT, Chain};
use crate::market::{NETWORK, SELLER};
use crate::operator::{Operator, config};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const BUYERS_SPAN: &str = "00f067aa0b9902b7";

type Spans = Arc<Mutex<Vec<Value>>>;

/// A collector that keeps what it is sent, and where it listens.
async fn collector() -> (Spans, String) {
    let spans = Spans::default();
    let kept = Arc::clone(&spans);
    let app = Router::new().route(
        "/v1/traces",
        post(move |Json(request): Json<Value>| async move {
            let resources = request["resourceSpans"].as_array().unwrap();
            let scopes = resources.iter().flat_map(|resource| resource["scopeSpans"].as_array().unwrap());
            kept.lock().unwrap().extend(scopes.flat_map(|scope| scope["spans"].as_array().unwrap().clone()));
            Json(json!({}))
        }),
    );
    (spans, served(app).await)
}

async fn served(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[test]
fn a_buyers_trace_goes_on_through_server_and_facilitator_to_the_chain() {
    let chain = Chain::open();
    let (spans, otlp) = chain.runtime.block_on(collector());
    let traced = format!("{}[traces]\notlp = {otlp:?}\n", config(NETWORK, &chain.rpc_url()));
    let operator = Operator::new("traces", &traced);
    let running = operator.start();
    let status = chain.runtime.block_on(async {
        let toll = farthing::Server::builder().facilitator(&*running.url).unwrap().pay_to(NETWORK, SELLER).unwrap();
        let toll = toll.build().await.unwrap().price("$0.01").unwrap();
        let shop = served(Router::new().route("/report", get(|| async { "14 ships in" }).layer(toll))).await;
        let report = format!("{shop}/report");
        let challenge = reqwest::get(&report).await.unwrap();
        let payment = chain.sign(challenge.headers()[header::PAYMENT_REQUIRED].to_str().unwrap()).await;
        let payment = header::encode(&payment).unwrap();
        let request = reqwest::Client::new().get(report).header(header::PAYMENT_SIGNATURE, payment);
        request.header("traceparent", format!("00-{TRACE_ID}-{BUYERS_SPAN}-01")).send().await.unwrap().status()
    });
    assert_eq!((status.as_u16(), chain.earned()), (200, CENT));
    // The end of the process sends what has not been sent.
    running.service.end("TERM").with_code(0);

    let spans = spans.lock().unwrap();
    let ours: HashMap<&str, &Value> =
        spans.iter().filter(|span| span["traceId"] == TRACE_ID).map(|span| (span["spanId"].as_str().unwrap(), span)).collect();
    let named =
        |name: &str| *ours.values().find(|span| span["name"] == name).unwrap_or_else(|| panic!("no {name} in {ours:?}"));
    let parent = |span: &Value| span["parentSpanId"].as_str().unwrap().to_owned();
    let (verify, settle, send, broadcast) = (named("verify"), named("settle"), named("send"), named("broadcast"));
    for span in [verify, settle] {
        // Their parent is the server's span, which the server's own process would send.
        assert!(!ours.contains_key(&*parent(span)) && parent(span) != BUYERS_SPAN, "{span}");
    }
    assert_eq!(ours[&*parent(named("observe"))]["traceId"], TRACE_ID);
    assert_eq!(ours[&*parent(send)]["name"], "settle");
    assert_eq!(parent(broadcast), send["spanId"].as_str().unwrap());
    for span in ours.values() {
        let times = ["startTimeUnixNano", "endTimeUnixNano"].map(|name| span[name].as_str().unwrap().parse::<u128>().unwrap());
        assert!(times[0] > 0 && times[0] <= times[1], "{span}");
        assert!(!span.to_string().contains("signature"), "{span}");
    }
    let transaction = operator.ledger(&["list"])[0]["transaction"].clone();
    let attributes = send["attributes"].as_array().unwrap();
    let named = attributes.iter().find(|attribute| attribute["key"] == "transaction").unwrap();
    assert_eq!(named["value"]["stringValue"], transaction);
}

#[test]
fn a_collector_that_is_away_costs_no_payment_and_no_time() {
    let chain = Chain::open();
    let traced = format!("{}[traces]\notlp = \"http://127.0.0.1:1/SECRET\"\n", config(NETWORK, &chain.rpc_url()));
    let operator = Operator::new("traces-away", &traced);
    let running = operator.start();
    let (status, answer) = crate::run::post(&running.at("/settle"), &[], &chain.payment()).unwrap();
    assert_eq!((status, &answer["success"]), (200, &json!(true)), "{answer}");
    let ended = running.service.end("TERM").with_code(0);
    assert_eq!(ended.stderr.matches("the collector takes no traces").count(), 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains("SECRET"), "{}", ended.stderr);
}
