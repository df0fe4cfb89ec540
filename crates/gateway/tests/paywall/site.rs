//! A site behind a gateway, with a chain, a facilitator, and people who come with browsers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{Html, IntoResponse, Response};
use farthing_gateway::Gateway;
use farthing_gateway::file::{self, Route};
use farthing_testkit::Stack;
use farthing_testkit::browser::{Browser, Person};
use farthing_testkit::golden::{CHAIN_ID, NETWORK, PAY_TO};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

/// What a browser says that it takes, and that it is.
pub const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
pub const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:152.0) Gecko/20100101 Firefox/152.0";

/// A picture of one pixel.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\xdac\xfc\xcf\xc0\xf0\x1f\0\x05\0\x01\xff\xa8\xcb\x9c\x9b\0\0\0\0IEND\xaeB`\x82";

#[derive(serde::Deserialize)]
struct File {
    gateway: file::Gateway,
    route: Vec<Route>,
}

/// The site, and everybody around it.
pub struct Site {
    pub url: String,
    pub http: reqwest::Client,
    pub stack: Stack,
    pub till: Till,
    upstream: Upstream,
}

/// What stands between the gateway and its facilitator.
#[derive(Clone)]
pub struct Till {
    facilitator_url: String,
    http: reqwest::Client,
    /// Whether what it says of settlements gets lost.
    loses: Arc<AtomicBool>,
    /// A network besides its own of which the facilitator says that it settles there.
    claims: Option<&'static str>,
}

/// What is behind the gateway: it remembers the headers that came.
#[derive(Clone, Default)]
struct Upstream(Arc<Mutex<Vec<(String, HeaderMap)>>>);

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

pub const ROUTES: &str = r#"
    [[route]]
    match = "/metered"
    price = { each = "$0.000001", per = "1 byte", of = "response", at_most = "$0.05" }
    description = "By the byte"
    [[route]]
    match = "/counted"
    price = { each = "$0.01", per = "page", of = "query:pages", at_most = "$1" }
    [[route]]
    match = "/first/**"
    price = "$0.10"
    upfront = true
    payment_identifier = "required"
    [[route]]
    match = "/plain/**"
    price = "$0.01"
    [[route]]
    match = "/**"
    price = "$0.01"
    description = "The sea in winter"
"#;

impl Site {
    pub async fn open() -> Self {
        Self::with("", ROUTES).await
    }

    /// With more in `[gateway]`, and these routes.
    pub async fn with(keys: &str, routes: &str) -> Self {
        Self::on(None, keys, routes).await
    }

    /// Sold on another network first.
    pub async fn also_on(network: &'static str) -> Self {
        Self::on(Some(network), "", ROUTES).await
    }

    async fn on(claims: Option<&'static str>, keys: &str, routes: &str) -> Self {
        let stack = Stack::start().await.unwrap();
        stack.funded_wallet().unwrap();
        let text = format!("[gateway]\nupstream = \"http://127.0.0.1:1\"\n{keys}\n{routes}");
        let File { gateway: settings, route } = toml::from_str(&text).unwrap();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let facilitator_url = stack.facilitator_url().to_owned();
        let till = Till { facilitator_url, http: http.clone(), loses: Arc::default(), claims };
        let relay = stack.serve(Router::new().fallback(relay).with_state(till.clone())).await.unwrap();
        let mut server = farthing::Server::builder().facilitator(relay).unwrap();
        for network in claims.into_iter().chain([NETWORK]) {
            server = server.pay_to(network, PAY_TO).unwrap();
        }
        let server = server.build().await.unwrap();
        let upstream = Upstream::default();
        let app = Router::new().fallback(answer).with_state(upstream.clone());
        let gateway = Gateway::new(server, app, settings, &route).unwrap();
        let url = stack.serve(gateway.router()).await.unwrap();
        Self { url, http, stack, till, upstream }
    }

    pub fn at(&self, target: &str) -> String {
        format!("{}{target}", self.url)
    }

    /// What the seller has, in atomic units.
    pub fn earned(&self) -> u64 {
        self.stack.devnet().usdc_balance(PAY_TO.parse().unwrap()).to()
    }

    /// What reached the upstream since the last time, such as `GET /a`, with its headers.
    pub fn seen(&self) -> Vec<(String, HeaderMap)> {
        std::mem::take(&mut self.upstream.0.lock().unwrap())
    }

    pub fn works(&self) -> usize {
        self.seen().len()
    }

    /// Asks as a browser does on loading a page.
    pub async fn visit(&self, target: &str) -> Answer {
        self.ask(self.http.get(self.at(target)).header("accept", HTML).header("user-agent", FIREFOX)).await
    }

    pub async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, text: answer.text().await.unwrap() }
    }

    /// A wallet with money on the chain.
    pub fn wallet(&self) -> Value {
        self.wallet_of(1)
    }

    /// The wallet of a development account, with money or without.
    pub fn wallet_of(&self, account: usize) -> Value {
        let secret = self.stack.devnet().accounts()[account].secret;
        let key = secret.iter().fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"));
        json!({"name": "Test Wallet", "key": key, "chainId": CHAIN_ID})
    }

    /// Somebody with that wallet.
    pub async fn person(&self, browser: &Browser, wallet: Value) -> Person {
        self.person_with(browser, json!({"wallets": [wallet]})).await
    }

    pub async fn person_with(&self, browser: &Browser, mut wishes: Value) -> Person {
        wishes["rpcUrl"] = json!(self.stack.devnet().rpc_url());
        browser.open(wishes).await.unwrap()
    }
}

impl Till {
    pub fn loses_settlements(&self, loses: bool) {
        self.loses.store(loses, Ordering::Relaxed);
    }
}

async fn relay(State(till): State<Till>, request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let ask = till.http.request(method, format!("{}{path}", till.facilitator_url)).header("content-type", "application/json");
    let answer = ask.body(body).send().await.unwrap();
    let (status, mut text) = (answer.status(), answer.text().await.unwrap());
    if path == "/settle" && till.loses.load(Ordering::Relaxed) {
        return (StatusCode::BAD_GATEWAY, "lost").into_response();
    }
    if let Some(network) = till.claims.filter(|_| path == "/supported") {
        let mut supported: Value = serde_json::from_str(&text).unwrap();
        let kinds = supported["kinds"].as_array_mut().unwrap();
        let mut more = kinds.clone();
        more.iter_mut().filter(|kind| kind["network"] == NETWORK).for_each(|kind| kind["network"] = json!(network));
        kinds.extend(more);
        text = supported.to_string();
    }
    (status, [("content-type", "application/json")], text).into_response()
}

async fn answer(State(upstream): State<Upstream>, request: Request) -> Response {
    let target = request.uri().path_and_query().unwrap().to_string();
    let count = {
        let mut seen = upstream.0.lock().unwrap();
        seen.push((format!("{} {target}", request.method()), request.headers().clone()));
        seen.len()
    };
    let typed = |media_type: &'static str, body: Vec<u8>| ([("content-type", media_type)], body).into_response();
    match request.uri().path() {
        "/picture.png" => typed("image/png", PIXEL.to_vec()),
        "/large.html" => typed("text/html", vec![b'x'; 2 << 20]),
        "/data.csv" => {
            let headers = [("content-type", "text/csv"), ("content-disposition", "attachment; filename=\"tides of 2026.csv\"")];
            (headers, "time,height\n").into_response()
        }
        "/moved" => (StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
        "/elsewhere" => Html("<h1>Elsewhere</h1>").into_response(),
        "/missing" => (StatusCode::NOT_FOUND, "no such page").into_response(),
        "/free-402" => (StatusCode::PAYMENT_REQUIRED, "our own till").into_response(),
        _ => Html(format!(
            "<!doctype html><title>Bought</title><style>h1{{color:rgb(1,2,3)}}</style><h1>The sea is grey</h1>\
             <p id=seen>{count}</p><script>document.querySelector('h1').textContent += ', and wide'</script>"
        ))
        .into_response(),
    }
}
