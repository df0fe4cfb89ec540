//! A facilitator behind real HTTP, well behaved and otherwise.

use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use farthing_core::facilitator::{Facilitator, FacilitatorError};
use farthing_core::reason::Reason;
use farthing_core::wire::{PaymentRequest, Version};
use farthing_server::{RemoteError, RemoteFacilitator};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use crate::support::{PAY_TO, PAYER, Shop, payment};

/// What the facilitator was sent.
pub struct Sent {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Sent {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub struct Peer {
    pub url: String,
    pub seen: Arc<Mutex<Vec<Sent>>>,
}

/// A facilitator on loopback that answers what the function says for the n-th request.
pub async fn peer(answer: impl Fn(usize) -> Response + Clone + Send + Sync + 'static) -> Peer {
    let seen = Arc::<Mutex<Vec<Sent>>>::default();
    let (count, log) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&seen));
    let handler = move |request: Request| async move {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let (method, path) = (parts.method.to_string(), parts.uri.path().to_owned());
        log.lock().unwrap().push(Sent { method, path, headers: parts.headers, body });
        answer(count.fetch_add(1, Ordering::SeqCst))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, Router::new().fallback(handler)).into_future());
    Peer { url, seen }
}

fn key(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.to_owned())
}

fn client(peer: &Peer) -> RemoteFacilitator {
    RemoteFacilitator::new(&peer.url).unwrap().first_pause(Duration::from_millis(1))
}

pub async fn request() -> PaymentRequest {
    let shop = Shop::open().await;
    let route = shop.server.route(&"$0.01".parse().unwrap()).unwrap();
    let terms = route.terms(Version::V2, "https://a.example/", "").unwrap();
    let payment = payment(&serde_json::from_str(&terms).unwrap(), "1");
    let request = json!({"x402Version": 2, "paymentPayload": payment, "paymentRequirements": payment["accepted"]});
    PaymentRequest::read(request.to_string().as_bytes()).unwrap()
}

pub fn kinds() -> Value {
    json!({"kinds": [{"x402Version": 2, "scheme": "exact", "network": "eip155:84532"}], "extensions": [], "signers": {}})
}

pub fn settled() -> Value {
    json!({"success": true, "transaction": "0x1", "network": "eip155:84532", "payer": PAYER})
}

fn body(text: &'static str) -> impl Fn(usize) -> Response + Clone + Send + Sync + 'static {
    move |_| text.into_response()
}

#[tokio::test]
async fn the_three_endpoints_are_asked_below_the_given_path() {
    let answers = |at: usize| {
        let answers = [kinds(), json!({"isValid": true, "payer": PAYER}), settled()];
        axum::Json(answers[at].clone()).into_response()
    };
    let peer = peer(answers).await;
    let remote = RemoteFacilitator::new(&format!("{}/x402/", peer.url)).unwrap().bearer_key(&key("sesame")).unwrap();
    let request = request().await;
    assert_eq!(remote.supported().await.unwrap().kinds.len(), 1);
    assert!(remote.verify(&request).await.unwrap().is_valid);
    assert!(remote.settle(&request).await.unwrap().success);
    let seen = peer.seen.lock().unwrap();
    let calls: Vec<_> = seen.iter().map(|sent| (&*sent.method, &*sent.path, sent.header("authorization"))).collect();
    let token = "Bearer sesame";
    assert_eq!(calls, [("GET", "/x402/supported", token), ("POST", "/x402/verify", token), ("POST", "/x402/settle", token)]);
    assert_eq!(seen[1].json()["x402Version"], 2);
    assert_eq!(seen[1].json()["paymentRequirements"]["payTo"], PAY_TO);
    assert_eq!(seen[1].body, seen[2].body);
    let shown = format!("{remote:?}");
    assert!(!shown.contains("sesame"), "{shown}");
}

#[tokio::test]
async fn an_address_whose_path_holds_a_key_is_in_no_error() {
    // Nobody listens there: the port was given back.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let remote = RemoteFacilitator::new(&format!("http://{address}/v2/sesame")).unwrap();
    let request = request().await;
    let errors = [remote.verify(&request).await.unwrap_err(), remote.settle(&request).await.unwrap_err()];
    for shown in errors.iter().map(|error| format!("{error:?} {:?}", error.source())).chain([format!("{remote:?}")]) {
        assert!(!shown.contains("sesame"), "{shown}");
    }
}

#[tokio::test]
async fn a_busy_facilitator_is_asked_again_what_it_supports() {
    let answers = |at: usize| match at {
        0 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "0")]).into_response(),
        1 => StatusCode::BAD_GATEWAY.into_response(),
        _ => axum::Json(kinds()).into_response(),
    };
    let busy = peer(answers).await;
    assert_eq!(client(&busy).supported().await.unwrap().kinds.len(), 1);
    assert_eq!(busy.seen.lock().unwrap().len(), 3);

    let down = peer(|_| StatusCode::SERVICE_UNAVAILABLE.into_response()).await;
    assert!(matches!(client(&down).supported().await, Err(FacilitatorError::Unavailable(_))));
    assert_eq!(down.seen.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_redirect_is_an_error_that_says_so_and_is_not_followed() {
    for status in [301, 302, 307, 308] {
        let status = StatusCode::from_u16(status).unwrap();
        let redirect = move |_| (status, [("location", "https://www.facilitator.example/supported")], kinds().to_string());
        let peer = peer(move |at| redirect(at).into_response()).await;
        let remote = client(&peer);
        let error = remote.supported().await.unwrap_err().to_string();
        assert!(error.contains("redirect") && error.contains("www.facilitator.example"), "{error}");
        let request = request().await;
        assert!(matches!(remote.verify(&request).await, Err(FacilitatorError::Malformed(_))));
        assert!(matches!(remote.settle(&request).await, Err(FacilitatorError::Indeterminate(_))));
        assert_eq!(peer.seen.lock().unwrap().len(), 3);
    }
}

#[tokio::test]
async fn a_protocol_answer_counts_whatever_its_status() {
    let invalid = json!({"isValid": false, "invalidReason": "insufficient_funds", "payer": null});
    let failed = json!({"success": false, "errorReason": "settlement_pending", "transaction": "0x2", "network": ""});
    for status in [200, 400, 402, 412, 500, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        let (invalid, failed) = (invalid.clone(), failed.clone());
        let peer = peer(move |at| {
            let answer = if at == 0 { &invalid } else { &failed };
            (status, answer.to_string()).into_response()
        });
        let remote = client(&peer.await);
        let request = request().await;
        assert_eq!(remote.verify(&request).await.unwrap().invalid_reason, Some(Reason::InsufficientFunds), "{status}");
        let settlement = remote.settle(&request).await.unwrap();
        assert_eq!((settlement.error_reason, &*settlement.transaction), (Some(Reason::SettlementPending), "0x2"), "{status}");
    }
}

#[tokio::test]
async fn a_facilitator_that_gave_up_has_refused_nothing() {
    let invalid = json!({"isValid": false, "invalidReason": "unexpected_verify_error", "invalidMessage": "the node is away"});
    let failed = json!({"success": false, "errorReason": "unexpected_settle_error", "transaction": "", "network": ""});
    let peer_with = |status: u16, transaction: &'static str| {
        let (invalid, mut failed) = (invalid.clone(), failed.clone());
        failed["transaction"] = json!(transaction);
        peer(move |at| {
            let answer = if at == 0 { &invalid } else { &failed };
            (StatusCode::from_u16(status).unwrap(), answer.to_string()).into_response()
        })
    };
    let request = request().await;
    for (status, nothing_was_sent) in [(503, true), (500, false), (502, false), (429, false)] {
        let remote = client(&peer_with(status, "").await);
        assert!(matches!(remote.verify(&request).await, Err(FacilitatorError::Unavailable(_))), "{status}");
        match remote.settle(&request).await {
            Err(FacilitatorError::Unavailable(_)) => assert!(nothing_was_sent, "{status}"),
            Err(FacilitatorError::Indeterminate(_)) => assert!(!nothing_was_sent, "{status}"),
            other => panic!("{status}: {other:?}"),
        }
    }
    // Where the facilitator is itself and says no, that is a no.
    let remote = client(&peer_with(200, "").await);
    assert_eq!(remote.verify(&request).await.unwrap().invalid_reason, Some(Reason::UnexpectedVerifyError));
    assert_eq!(remote.settle(&request).await.unwrap().error_reason, Some(Reason::UnexpectedSettleError));
    let remote = client(&peer_with(503, "0x2").await);
    drop(remote.verify(&request).await);
    assert_eq!(remote.settle(&request).await.unwrap().transaction, "0x2", "something was sent");
}

#[tokio::test]
async fn a_caller_who_is_turned_away_until_later_has_had_nothing_settled() {
    let request = request().await;
    let gave_up = json!({"success": false, "errorReason": "unexpected_settle_error", "transaction": "", "network": ""});
    for body in ["too many requests".to_owned(), String::new(), gave_up.to_string()] {
        for retry_after in ["1", "Fri, 20 Nov 2026 12:00:00 GMT"] {
            let body = body.clone();
            let answer = move |_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", retry_after)], body.clone()).into_response();
            let remote = client(&peer(answer).await);
            assert!(matches!(remote.verify(&request).await, Err(FacilitatorError::Unavailable(_))), "{retry_after}");
            assert!(matches!(remote.settle(&request).await, Err(FacilitatorError::Unavailable(_))), "{retry_after}");
        }
    }
    // Whoever does not say when to come back may have been at work.
    let remote = client(&peer(|_| (StatusCode::TOO_MANY_REQUESTS, "too many requests").into_response()).await);
    assert!(matches!(remote.settle(&request).await, Err(FacilitatorError::Indeterminate(_))));
    // And a transaction is a transaction.
    let pending = json!({"success": false, "errorReason": "settlement_pending", "transaction": "0x2", "network": ""});
    let answer = move |_| (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], pending.to_string()).into_response();
    assert_eq!(client(&peer(answer).await).settle(&request).await.unwrap().transaction, "0x2");
}

#[tokio::test]
async fn a_long_answer_is_cut_to_what_decides() {
    let long = "é".repeat(100_000);
    let invalid = json!({"isValid": false, "invalidReason": long, "invalidMessage": long, "extra": {"a": long}});
    let settled = json!({
        "success": true, "transaction": "0x1", "network": "eip155:84532", "payer": PAYER, "errorMessage": long, "extra": {"a": long},
        "extensions": {"a": long},
    });
    let answers = [invalid, settled, json!({"success": true, "transaction": long, "network": "eip155:84532", "payer": PAYER})];
    let remote = client(&peer(move |at| answers[at].to_string().into_response()).await);
    let request = request().await;
    let verdict = remote.verify(&request).await.unwrap();
    assert!(!verdict.is_valid && serde_json::to_string(&verdict).unwrap().len() < 1_000);
    let settlement = remote.settle(&request).await.unwrap();
    assert!(settlement.success && settlement.transaction == "0x1");
    assert!(serde_json::to_string(&settlement).unwrap().len() < 1_000);
    assert!(matches!(remote.settle(&request).await, Err(FacilitatorError::Indeterminate(_))), "no chain names one so");
}

#[tokio::test]
async fn what_is_no_protocol_answer_is_never_taken_for_one() {
    let request = request().await;
    let nonsense = [
        "",
        "OK",
        "null",
        "[]",
        "[true]",
        r#"[true,null,null,null,"0x1","eip155:84532"]"#,
        "{}",
        r#"{"isValid":"true","success":"true","transaction":"0x1","network":"eip155:84532"}"#,
        r#"{"isValid":1,"success":1,"transaction":"0x1","network":"eip155:84532"}"#,
        r#"{"isValid":true,"isValid":false,"success":true,"success":false}"#,
        r#"{"isValid":true,"payer":7,"success":true,"transaction":7,"network":"eip155:84532"}"#,
    ];
    for text in nonsense {
        let remote = client(&peer(body(text)).await);
        let error = remote.verify(&request).await.unwrap_err();
        assert!(matches!(error, FacilitatorError::Malformed(_)), "{text}: {error}");
        let error = remote.settle(&request).await.unwrap_err();
        assert!(matches!(error, FacilitatorError::Indeterminate(_)), "{text}: {error}");
        let error = remote.supported().await.unwrap_err();
        assert!(matches!(error, FacilitatorError::Malformed(_)), "{text}: {error}");
    }
    let busy = client(&peer(|_| (StatusCode::BAD_GATEWAY, "<html>").into_response()).await);
    assert!(matches!(busy.verify(&request).await, Err(FacilitatorError::Unavailable(_))));
    assert!(matches!(busy.settle(&request).await, Err(FacilitatorError::Indeterminate(_))));
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let endless = |_| {
        let chunk = || Ok::<_, std::convert::Infallible>(Bytes::from(vec![b' '; 65_536]));
        Body::from_stream(futures_util::stream::repeat_with(chunk)).into_response()
    };
    let remote = client(&peer(endless).await);
    let request = request().await;
    assert!(matches!(remote.supported().await, Err(FacilitatorError::Malformed(_))));
    assert!(matches!(remote.verify(&request).await, Err(FacilitatorError::Malformed(_))));
    assert!(matches!(remote.settle(&request).await, Err(FacilitatorError::Indeterminate(_))));
}

#[tokio::test]
async fn silence_at_settlement_is_unknown_and_silence_before_it_is_not() {
    let silent =
        |_| Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::convert::Infallible>>()).into_response();
    let remote = client(&peer(silent).await).timeout(Duration::from_millis(50));
    let request = request().await;
    assert!(matches!(remote.verify(&request).await, Err(FacilitatorError::Unavailable(_))));
    assert!(matches!(remote.settle(&request).await, Err(FacilitatorError::Indeterminate(_))));
}

#[tokio::test]
async fn nothing_was_sent_to_a_facilitator_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let remote = RemoteFacilitator::new(&url).unwrap().first_pause(Duration::from_millis(1));
    let request = request().await;
    assert!(matches!(remote.supported().await, Err(FacilitatorError::Unavailable(_))));
    assert!(matches!(remote.verify(&request).await, Err(FacilitatorError::Unavailable(_))));
    assert!(matches!(remote.settle(&request).await, Err(FacilitatorError::Unavailable(_))));
}

#[test]
fn an_address_that_leaks_or_misleads_is_refused() {
    for bad in ["", "facilitator.example", "ftp://a.example", "https://user:secret@a.example", "https://a.example/?key=secret"]
    {
        let error = RemoteFacilitator::new(bad).unwrap_err();
        assert!(matches!(error, RemoteError::Url(_)), "{bad}");
        assert!(!error.to_string().contains("secret"));
    }
    let with_key = |url: &str, text: &str| RemoteFacilitator::new(url).unwrap().bearer_key(&key(text));
    for exposed in ["http://a.example", "http://localhost.example.com", "http://10.0.0.1", "http://[::2]"] {
        assert!(matches!(with_key(exposed, "sesame"), Err(RemoteError::KeyInTheClear)), "{exposed}");
    }
    assert!(matches!(with_key("https://a.example", "se\nsame"), Err(RemoteError::Key)));
    assert!(matches!(with_key("https://a.example", " "), Err(RemoteError::NoKey)));
    for sheltered in ["https://a.example", "http://localhost:4021", "http://127.0.0.1:4021", "http://[::1]:4021"] {
        assert!(with_key(sheltered, "sesame").is_ok(), "{sheltered}");
    }
}

#[tokio::test]
async fn a_facilitator_that_turns_the_seller_away_has_said_nothing_of_the_payment() {
    let request = request().await;
    let cases = [
        (401, "unauthorized"),
        (403, "forbidden"),
        (413, "invalid_payload"),
        (429, "quota_exceeded"),
        // By their reason alone.
        (200, "unauthorized"),
        (400, "quota_exceeded"),
    ];
    for (status, reason) in cases {
        let status = StatusCode::from_u16(status).unwrap();
        let answer = move |at: usize| {
            let answer = if at == 0 {
                json!({"isValid": false, "invalidReason": reason, "invalidMessage": "Authorization: expected a key"})
            } else {
                json!({"success": false, "errorReason": reason, "transaction": "", "network": ""})
            };
            (status, answer.to_string()).into_response()
        };
        let remote = client(&peer(answer).await);
        assert!(matches!(remote.verify(&request).await, Err(FacilitatorError::Unavailable(_))), "{status} {reason}");
        assert!(matches!(remote.settle(&request).await, Err(FacilitatorError::Unavailable(_))), "{status} {reason}");
    }
    // Some proxies say 408 when the work took too long.
    let late = json!({"success": false, "errorReason": "invalid_payload", "transaction": "", "network": ""});
    let answer = move |_| (StatusCode::REQUEST_TIMEOUT, late.to_string()).into_response();
    let remote = client(&peer(answer).await);
    assert!(matches!(remote.settle(&request).await, Err(FacilitatorError::Indeterminate(_))));
    let late = json!({"isValid": false, "invalidReason": "invalid_payload"});
    let answer = move |_| (StatusCode::REQUEST_TIMEOUT, late.to_string()).into_response();
    assert!(matches!(client(&peer(answer).await).verify(&request).await, Err(FacilitatorError::Unavailable(_))));
}
