//! What the examples stand in front of: Python's own web server, and a stub that speaks as an API, a model server and a source
//! of events do.

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response, Sse, sse};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::run::Folder;

/// After this long something does not happen, and the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// `python3 -m http.server` over a small site.
pub struct Folders {
    pub url: String,
    process: Child,
    _site: Folder,
}

impl Folders {
    pub fn serve(name: &str) -> Self {
        let site = Folder::new(name);
        for folder in ["datasets/rain", "articles", "assets"] {
            std::fs::create_dir_all(site.at(folder)).unwrap();
        }
        site.file("index.html", "<h1>The front page</h1>");
        site.file("assets/style.css", "h1 { color: green }");
        site.file("articles/rain.html", "<p>It rained.");
        site.file("datasets/rain/sample.csv", "day,mm\n");
        site.file("datasets/rain/2026.csv", "day,mm\n1,42\n");
        let mut command = Command::new("python3");
        command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]).arg(site.at(""));
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        // Serving HTTP on 127.0.0.1 port 41234 (http://127.0.0.1:41234/) ...
        let port = line.split_whitespace().skip_while(|word| *word != "port").nth(1);
        let port = port.unwrap_or_else(|| panic!("it began with {line:?}"));
        Self { url: format!("http://127.0.0.1:{port}"), process, _site: site }
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        let _ended_already = self.process.kill().is_err();
        let _status = self.process.wait();
    }
}

/// The stub. It counts how often it worked for money.
pub struct Upstream {
    pub url: String,
    worked: Arc<AtomicUsize>,
    is_held: watch::Sender<bool>,
    _runtime: Runtime,
}

impl Upstream {
    pub fn serve() -> Self {
        let (runtime, worked) = (Runtime::new().unwrap(), Arc::new(AtomicUsize::new(0)));
        let (is_held, held) = watch::channel(false);
        let report = move |State(worked): Worked| {
            let mut held = held.clone();
            async move {
                let answer = weather(State(worked)).await;
                held.wait_for(|is_held| !is_held).await.unwrap();
                answer
            }
        };
        let app = Router::new()
            .route("/healthz", get(|| async { "up" }))
            .route("/live", get(live))
            .route("/v1/models", get(|| async { Json(json!({"object": "list", "data": [{"id": "small"}]})) }))
            .route("/v1/weather", get(weather))
            .route("/v1/chat/completions", post(chat))
            .route("/recordings/{day}", get(recorded))
            .route("/reports/{name}", get(report))
            .with_state(Arc::clone(&worked));
        let url = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, app).await });
            url
        });
        Self { url, worked, is_held, _runtime: runtime }
    }

    /// How often it has worked.
    pub fn worked(&self) -> usize {
        self.worked.load(Ordering::SeqCst)
    }

    /// Keeps reports back, once they are worked for.
    pub fn hold(&self) {
        self.is_held.send(true).unwrap();
    }

    /// And lets them go.
    pub fn let_go(&self) {
        self.is_held.send(false).unwrap();
    }

    /// Returns when it works for the first time.
    pub async fn until_it_is_asked(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.worked() == 0 {
            assert!(Instant::now() < deadline, "nobody asks");
            tokio::task::yield_now().await;
        }
    }
}

type Worked = State<Arc<AtomicUsize>>;

async fn weather(State(worked): Worked) -> Json<Value> {
    worked.fetch_add(1, Ordering::SeqCst);
    Json(json!({"sky": "clear"}))
}

async fn live() -> impl IntoResponse {
    Sse::new(stream::iter((0..3).map(|number| Ok::<_, Infallible>(sse::Event::default().data(number.to_string())))))
}

async fn recorded(State(worked): Worked) -> Response {
    worked.fetch_add(1, Ordering::SeqCst);
    ([("content-type", "text/event-stream")], recording()).into_response()
}

/// A day of events.
pub fn recording() -> String {
    let event = |hour: u32| format!("event: tide\ndata: {{\"hour\":{hour},\"height\":{}}}\n\n", hour % 7);
    (0..100).map(event).collect::<Vec<_>>().concat()
}

/// As a model server answers, whole and as a stream whose last event has the usage.
async fn chat(State(worked): Worked, Json(question): Json<Value>) -> Response {
    worked.fetch_add(1, Ordering::SeqCst);
    let text = "A quarter of a penny.";
    let usage = json!({"prompt_tokens": 234, "completion_tokens": 1000, "total_tokens": 1234});
    if question["stream"] != true {
        let choices = json!([{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]);
        return Json(json!({"id": "chat-1", "object": "chat.completion", "choices": choices, "usage": usage})).into_response();
    }
    let delta = json!({"choices": [{"index": 0, "delta": {"content": text}}], "usage": null});
    let last = json!({"choices": [], "usage": usage});
    ([("content-type", "text/event-stream")], format!("data: {delta}\n\ndata: {last}\n\ndata: [DONE]\n\n")).into_response()
}
