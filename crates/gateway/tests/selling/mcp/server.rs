//! An MCP server as small as one can be: it remembers what it was sent, and does what the tool's name says.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

#[derive(Clone, Default)]
pub struct McpServer(Arc<Mutex<Vec<Seen>>>);

#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub headers: HeaderMap,
    pub text: String,
}

impl Seen {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

impl McpServer {
    pub fn app(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    /// What it was sent since the last time.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

async fn answer(State(server): State<McpServer>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let text = String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec()).unwrap();
    let message = serde_json::from_str::<Value>(&text).unwrap_or_default();
    server.0.lock().unwrap().push(Seen { method: parts.method.clone(), headers: parts.headers.clone(), text });
    if parts.method == Method::GET {
        return (
            [("content-type", "text/event-stream")],
            "id: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}\n\n",
        )
            .into_response();
    }
    if parts.headers.get("mcp-session-id").is_some_and(|session| session == "gone") {
        return (StatusCode::NOT_FOUND, "no such session").into_response();
    }
    if message["params"]["name"] == "slow" {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let Some(id) = message.get("id") else { return StatusCode::ACCEPTED.into_response() };
    let reply = |member: &str, value: Value| json!({"jsonrpc": "2.0", "id": id, member: value});
    let text_of = |text: &str| json!({"content": [{"type": "text", "text": text}]});
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            let result = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}});
            ([("mcp-session-id", "abc")], axum::Json(reply("result", result))).into_response()
        }
        "tools/list" => stream(&[reply("result", json!({"tools": [{"name": "search", "inputSchema": {"type": "object"}}]}))]),
        "tools/call" => call(&message, &reply, &text_of),
        method => axum::Json(reply("result", text_of(method))).into_response(),
    }
}

fn call(message: &Value, reply: &dyn Fn(&str, Value) -> Value, text_of: &dyn Fn(&str) -> Value) -> Response {
    let json = |value: Value| axum::Json(value).into_response();
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}});
    match message["params"]["name"].as_str().unwrap() {
        "fails" => json(reply("result", json!({"isError": true, "content": [{"type": "text", "text": "no luck"}]}))),
        "breaks" => json(reply("error", json!({"code": -32000, "message": "broken"}))),
        "unknown-result" => json(reply("result", json!({"resultType": "input_required", "requestState": "x"}))),
        "streams" => stream(&[progress, reply("result", text_of("streamed"))]),
        "asks" => {
            stream(&[json!({"jsonrpc": "2.0", "id": 9, "method": "sampling/createMessage"}), reply("result", text_of("asked"))])
        }
        "silent" => stream(&[progress]),
        "accepts" => StatusCode::ACCEPTED.into_response(),
        "moves" => (StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
        "lies" => {
            let mut result = text_of("lied");
            result["_meta"] = json!({"x402/payment-response": {"success": true, "transaction": "forged"}, "kept": 1});
            json(reply("result", result))
        }
        "other-id" => json(json!({"jsonrpc": "2.0", "id": "another", "result": {}})),
        "tokens" => json(reply("result", json!({"content": [], "structuredContent": {"tokens": 1_500}}))),
        name => json(reply("result", text_of(&format!("{name} {}", message["params"]["arguments"])))),
    }
}

fn stream(messages: &[Value]) -> Response {
    let events: Vec<String> = messages.iter().map(|message| format!("event: message\nid: 7\ndata: {message}\n\n")).collect();
    ([("content-type", "text/event-stream")], Body::from(events.concat())).into_response()
}
