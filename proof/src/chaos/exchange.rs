//! One exchange through the proxy: what goes wrong, what reaches the node, and what is answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use alloy_primitives::{hex, keccak256};
use anyhow::{Context, Result};
use axum::body::{Body, Bytes};
use axum::extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};

use super::State;
use super::kind::{Kind, Needs};
use crate::chance::Chance;

/// For how many times of asking a standing lie goes on, at most.
const MAX_LIES: u64 = 5;

/// What is asked: one call or several.
struct Question {
    calls: Vec<Value>,
    is_batch: bool,
}

pub(super) async fn handle(extract::State(state): extract::State<Arc<State>>, body: Bytes) -> Response {
    let number = state.exchanges.fetch_add(1, Ordering::SeqCst);
    let question = match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Array(calls)) => Question { calls, is_batch: true },
        Ok(call) => Question { calls: vec![call], is_batch: false },
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let mut chance = Chance::of(state.seed, number);
    let kind = state.choose(&question, &mut chance);
    if let Some(kind) = kind {
        state.count(kind);
    }
    // What reaches the node is done to its end there, also when the caller leaves.
    let work = tokio::spawn(async move { state.suffer(question, kind, &mut chance).await });
    match work.await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) | Err(_) => cut(),
    }
}

impl State {
    /// What goes wrong in this exchange, if anything.
    fn choose(&self, question: &Question, chance: &mut Chance) -> Option<Kind> {
        let goes_wrong = chance.per_thousand(self.weather.faults_per_thousand);
        if !goes_wrong || self.calm.load(Ordering::SeqCst) {
            return None;
        }
        let makes_sense = |kind: &Kind| question.calls.iter().any(|call| kind.needs().met_by(method(call)));
        let kinds: Vec<_> = self.weather.kinds.iter().filter(|(kind, _)| makes_sense(kind)).copied().collect();
        chance.weighted(&kinds)
    }

    async fn suffer(&self, question: Question, kind: Option<Kind>, chance: &mut Chance) -> Result<Response> {
        let Some(kind) = kind else { return Ok(json_response(&self.answer(&question).await?)) };
        Ok(match kind {
            Kind::Late => {
                let longest = u64::try_from(self.weather.late.as_micros()).unwrap_or(u64::MAX);
                tokio::time::sleep(std::time::Duration::from_micros(chance.below(longest))).await;
                json_response(&self.answer(&question).await?)
            }
            Kind::TimeOutBefore => {
                tokio::time::sleep(self.weather.hold).await;
                cut()
            }
            Kind::TimeOutAfter => {
                self.answer(&question).await?;
                tokio::time::sleep(self.weather.hold).await;
                cut()
            }
            Kind::CutBefore => cut(),
            Kind::CutAfter => {
                self.answer(&question).await?;
                cut()
            }
            Kind::TooManyRequests => StatusCode::TOO_MANY_REQUESTS.into_response(),
            Kind::ServerError => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Kind::BadGateway => StatusCode::BAD_GATEWAY.into_response(),
            Kind::GatewayTimeOut => {
                self.answer(&question).await?;
                StatusCode::GATEWAY_TIMEOUT.into_response()
            }
            Kind::Garbage => "<html><body>Please enable cookies.</body></html>".into_response(),
            Kind::Truncated => {
                let mut answer = self.answer(&question).await?.to_string();
                answer.truncate(answer.len() / 2);
                answer.into_response()
            }
            Kind::Empty => {
                self.answer(&question).await?;
                StatusCode::OK.into_response()
            }
            Kind::DroppedBroadcast | Kind::DoubledBroadcast | Kind::FalselyKnown | Kind::FalselyTooLow => {
                json_response(&self.broadcast(question, kind).await?)
            }
            Kind::NullReceipt | Kind::OtherChain => {
                self.begin_to_lie(&question, kind, chance);
                json_response(&self.answer(&question).await?)
            }
            Kind::Stale => {
                let mut answers = self.forward(&question).await?;
                self.make_stale(&question, &mut answers);
                json_response(&question.shaped(answers))
            }
        })
    }

    /// The node's answer, but for the lies that go on.
    async fn answer(&self, question: &Question) -> Result<Value> {
        let mut answers = self.forward(question).await?;
        let mut memory = self.memory();
        for call in &question.calls {
            if let Some(lie) = memory.standing_lie(method(call), &asked(call)) {
                answers.replace(call, lie);
            }
        }
        drop(memory);
        Ok(question.shaped(answers))
    }

    fn begin_to_lie(&self, question: &Question, kind: Kind, chance: &mut Chance) {
        let times = chance.below(MAX_LIES).saturating_add(1);
        let mut memory = self.memory();
        if kind == Kind::OtherChain {
            memory.seem_other_chain(times);
            return;
        }
        for call in question.calls.iter().filter(|call| Needs::Receipt.met_by(method(call))) {
            memory.withhold(&asked(call), times);
        }
    }

    fn make_stale(&self, question: &Question, answers: &mut Answers) {
        let memory = self.memory();
        for call in &question.calls {
            if let Some(stale) = memory.stale(&asked(call)) {
                answers.replace(call, stale);
            }
        }
    }

    /// Broadcasts that go wrong by themselves; what is asked beside them is answered.
    async fn broadcast(&self, question: Question, kind: Kind) -> Result<Value> {
        let is_broadcast = |call: &Value| Needs::Broadcast.met_by(method(call));
        let reaches = matches!(kind, Kind::DoubledBroadcast | Kind::FalselyTooLow);
        let passed: Vec<Value> = question.calls.iter().filter(|call| reaches || !is_broadcast(call)).cloned().collect();
        let mut answers = self.forward(&Question { calls: passed, is_batch: true }).await?;
        let broadcasts: Vec<Value> = question.calls.iter().filter(|call| is_broadcast(call)).cloned().collect();
        let refusal = |message: &str| json!({"code": -32000, "message": message});
        for call in &broadcasts {
            match kind {
                Kind::DroppedBroadcast => answers.put(call, "result", &hash_of(call)),
                Kind::FalselyKnown => answers.put(call, "error", &refusal("already known")),
                Kind::FalselyTooLow => answers.put(call, "error", &refusal("nonce too low")),
                _ => {
                    let again = self.forward(&Question { calls: vec![call.clone()], is_batch: true }).await?;
                    answers.0.retain(|answer| answer.get("id") != call.get("id"));
                    answers.0.extend(again.0);
                }
            }
        }
        Ok(question.shaped(answers))
    }

    /// Asks the node, and learns from what it says.
    async fn forward(&self, question: &Question) -> Result<Answers> {
        let Some(first) = question.calls.first() else { return Ok(Answers(Vec::new())) };
        let body = if question.is_batch { Value::Array(question.calls.clone()) } else { first.clone() };
        let answer = self.http.post(&self.node_url).json(&body).send().await.context("the node is gone")?;
        let answers = match answer.json::<Value>().await.context("the node answers no JSON")? {
            Value::Array(answers) => Answers(answers),
            answer => Answers(vec![answer]),
        };
        let mut memory = self.memory();
        for call in &question.calls {
            if let Some(result) = answers.of(call).and_then(|answer| answer.get("result")) {
                memory.learn(method(call), &asked(call), result);
            }
        }
        drop(memory);
        Ok(answers)
    }
}

/// What a node answers to several calls, in any order.
struct Answers(Vec<Value>);

impl Answers {
    fn of(&self, call: &Value) -> Option<&Value> {
        self.0.iter().find(|answer| answer.get("id") == call.get("id"))
    }

    fn replace(&mut self, call: &Value, result: Value) {
        let answer = self.0.iter_mut().find(|answer| answer.get("id") == call.get("id"));
        if let Some(old) = answer.and_then(|answer| answer.get_mut("result")) {
            *old = result;
        }
    }

    /// Answers a call so, whatever the node said.
    fn put(&mut self, call: &Value, field: &str, value: &Value) {
        self.0.retain(|answer| answer.get("id") != call.get("id"));
        self.0.push(json!({"jsonrpc": "2.0", "id": call.get("id"), field: value}));
    }
}

impl Question {
    /// The answers in the form in which was asked.
    fn shaped(&self, answers: Answers) -> Value {
        if self.is_batch { Value::Array(answers.0) } else { answers.0.into_iter().next().unwrap_or_default() }
    }
}

fn method(call: &Value) -> &str {
    call.get("method").and_then(Value::as_str).unwrap_or_default()
}

/// The question without its number.
fn asked(call: &Value) -> String {
    format!("{} {}", method(call), call.get("params").unwrap_or(&Value::Null))
}

/// The hash of the transaction that a call broadcasts.
fn hash_of(call: &Value) -> Value {
    let signed = call.get("params").and_then(|params| params.get(0)).and_then(Value::as_str).unwrap_or_default();
    json!(keccak256(hex::decode(signed).unwrap_or_default()).to_string())
}

fn json_response(answer: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

/// Ends the connection in the middle of an answer.
fn cut() -> Response {
    let nothing = stream::once(std::future::ready(Err::<Bytes, _>(std::io::Error::other("cut"))));
    Response::new(Body::from_stream(nothing))
}
