//! A gateway in front of a stub, with a chain, a facilitator and a buyer.

use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use farthing::client::{Client, PaymentOutcome};
use farthing::core::erased::AnyClientScheme;
use farthing::core::header;
use farthing::core::wire::Extensions;
use farthing::evm::asset::AssetTable;
use farthing::evm::config::AssetConfig;
use farthing::evm::signer::{LocalSigner, Signer};
use farthing::evm::{exact, upto};
use farthing::server::ServerBuilder;
use farthing::system::{SystemClock, SystemEntropy};
use farthing_gateway::file::{self, PayTo, Route};
use farthing_gateway::{AddedHeaders, Desk, DeskMaterials, Gateway, Peer, RoutesError};
use farthing_testkit::Stack;
use farthing_testkit::golden::{NETWORK, PAY_TO};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MAX_BODY_BYTES: usize = 1 << 20;
/// What the stub says of itself.
const DESCRIPTION: &str = include_str!("described.json");
/// How long an answer on a bare socket may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// The shop, and everybody around it.
pub struct Shop {
    pub url: String,
    pub gateway: Gateway<Router>,
    pub upstream: Stub,
    pub http: reqwest::Client,
    client: Client,
    schemes: [Arc<dyn AnyClientScheme>; 2],
    stack: Stack,
}

/// What is behind the gateway: it remembers what it was asked, and answers what the path says.
#[derive(Clone, Default)]
pub struct Stub(Arc<Mutex<Vec<Seen>>>);

#[derive(Clone, Debug)]
pub struct Seen {
    pub line: String,
    pub headers: HeaderMap,
    /// What the gateway would say to a real upstream besides.
    pub added: HeaderMap,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

#[derive(serde::Deserialize)]
struct File {
    gateway: file::Gateway,
    route: Vec<Route>,
}

fn read(keys: &str, routes: &str) -> File {
    let upstream = "upstream = { url = \"http://127.0.0.1:1\", trusted_proxies = [\"127.0.0.1\"] }";
    toml::from_str(&format!("[gateway]\n{upstream}\n{keys}\n{routes}")).unwrap()
}

impl Shop {
    /// With these `[[route]]` tables.
    pub async fn open(routes: &str) -> Self {
        Self::with("", routes).await
    }

    /// And with more in `[gateway]`.
    pub async fn with(keys: &str, routes: &str) -> Self {
        Self::try_with(keys, routes).await.unwrap_or_else(|error| panic!("{error}"))
    }

    pub async fn try_with(keys: &str, routes: &str) -> Result<Self, RoutesError> {
        let materials = DeskMaterials { clock: Some(Arc::new(SystemClock)), ..DeskMaterials::default() };
        Self::stubbed(keys, routes, materials, |server| server).await
    }

    /// And with what the file refers to. Requests come from the address in `x-forwarded-for`, or else from this machine.
    pub async fn at_desk(keys: &str, routes: &str, materials: DeskMaterials) -> Result<Self, RoutesError> {
        Self::stubbed(keys, routes, materials, |server| server).await
    }

    /// With something else about the server, such as its clock.
    pub async fn serving(
        keys: &str,
        routes: &str,
        change: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Result<Self, RoutesError> {
        let materials = DeskMaterials { clock: Some(Arc::new(SystemClock)), ..DeskMaterials::default() };
        Self::stubbed(keys, routes, materials, change).await
    }

    async fn stubbed(
        keys: &str,
        routes: &str,
        materials: DeskMaterials,
        change: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Result<Self, RoutesError> {
        let upstream = Stub::default();
        let app = Router::new().fallback(answer).with_state(upstream.clone());
        let shop = Self::open_with(app, keys, routes, materials, change).await?;
        Ok(Self { upstream, ..shop })
    }

    /// In front of another server.
    pub async fn before(app: Router, keys: &str, routes: &str) -> Result<Self, RoutesError> {
        let materials = DeskMaterials { clock: Some(Arc::new(SystemClock)), ..DeskMaterials::default() };
        Self::open_with(app, keys, routes, materials, |server| server).await
    }

    async fn open_with(
        app: Router,
        keys: &str,
        routes: &str,
        materials: DeskMaterials,
        change: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Result<Self, RoutesError> {
        let stack = Stack::start().await.unwrap();
        let wallet = stack.funded_wallet().unwrap();
        stack.approve_permit2().unwrap();
        let File { gateway: settings, route } = read(keys, routes);
        let PayTo(pay_to) = PayTo(vec![(NETWORK.parse().unwrap(), PAY_TO.parse().unwrap())]);
        let mut server = farthing::Server::taking(&[euro()]).unwrap().facilitator(stack.facilitator_url()).unwrap();
        for (network, account) in &pay_to {
            server = server.pay_to(network.as_str(), account.as_str()).unwrap();
        }
        if let Some(url) = &settings.public_url {
            server = server.public_url(url).unwrap();
        }
        let desk = Desk::new(&settings, &materials).unwrap_or_else(|error| panic!("{error}"));
        let gateway = Gateway::with_desk(change(server).build().await.unwrap(), app, settings, &route, desk)?;
        let here = Extension(Peer::new([127, 0, 0, 1].into(), false));
        let url = stack.serve(gateway.router().layer(here)).await.unwrap();
        let client = farthing::Client::builder().wallet(&wallet).unwrap().limit("$50 per day").unwrap().build().unwrap();
        let signer: Arc<dyn Signer> = Arc::new(LocalSigner::from_bytes(stack.devnet().accounts()[1].secret.into()).unwrap());
        let (table, clock, entropy) = (Arc::new(AssetTable::known()), Arc::new(SystemClock), Arc::new(SystemEntropy));
        let exact = exact::Client::new(signer.clone(), table.clone(), clock.clone(), entropy.clone());
        let schemes: [Arc<dyn AnyClientScheme>; 2] =
            [Arc::new(exact), Arc::new(upto::Client::new(signer, table, clock, entropy))];
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Ok(Self { url, gateway, upstream: Stub::default(), http, client, schemes, stack })
    }

    pub fn at(&self, target: &str) -> String {
        format!("{}{target}", self.url)
    }

    pub fn reload(&self, routes: &str) -> Result<(), RoutesError> {
        self.gateway.reload(&read("", routes).route)
    }

    /// What the seller has, in atomic units.
    pub fn earned(&self) -> u64 {
        self.stack.devnet().usdc_balance(PAY_TO.parse().unwrap()).to()
    }

    /// Who pays here.
    pub fn signer(&self) -> Arc<dyn Signer> {
        Arc::new(LocalSigner::from_bytes(self.stack.devnet().accounts()[1].secret.into()).unwrap())
    }

    /// Buys with our own client: the body of the answer, and what the seller got for it.
    pub async fn buy(&self, request: farthing::client::RequestBuilder) -> (String, u64) {
        let before = self.earned();
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let paid = answer.paid().unwrap_or_else(|| panic!("it was free"));
        assert_eq!((paid.outcome, paid.doubts.as_slice()), (PaymentOutcome::Settled, [].as_slice()));
        (answer.text().await.unwrap(), self.earned() - before)
    }

    pub fn get(&self, target: &str) -> farthing::client::RequestBuilder {
        self.client.get(self.at(target))
    }

    pub fn post(&self, target: &str, body: impl Into<String>) -> farthing::client::RequestBuilder {
        self.client.post(self.at(target)).body(body.into())
    }

    /// Sends a request that pays nothing.
    pub async fn ask(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, text: answer.text().await.unwrap() }
    }

    /// A payment for the terms of an answer, as an honest client sends it.
    pub async fn payment(&self, answer: &Answer) -> String {
        self.payment_by(answer, 0).await
    }

    /// The same, taking the offer of that number.
    pub async fn payment_by(&self, answer: &Answer, number: usize) -> String {
        header::encode(&self.pay_by(&answer.terms(), number).await).unwrap()
    }

    /// A payment for these terms, taking the first offer.
    pub async fn pay(&self, terms: &Value) -> Value {
        self.pay_by(terms, 0).await
    }

    async fn pay_by(&self, terms: &Value, number: usize) -> Value {
        let accepted = &terms["accepts"][number];
        let offer = serde_json::from_value(accepted.clone()).unwrap();
        let scheme = self.schemes.iter().find(|scheme| accepted["scheme"] == scheme.name()).unwrap();
        let (payload, _) = scheme.pay(&offer, &Extensions::default()).await.unwrap();
        let payload: Value = serde_json::from_str(payload.raw()).unwrap();
        json!({"x402Version": 2, "resource": terms["resource"], "accepted": accepted, "payload": payload})
    }

    /// Asks for the terms of a POST, and pays: the answer, whatever it is.
    pub async fn post_and_pay(&self, target: &str, body: &str) -> Answer {
        let post = || self.http.post(self.at(target)).body(body.to_owned());
        let payment = self.payment(&self.ask(post()).await).await;
        self.ask(post().header("payment-signature", payment)).await
    }

    /// Writes to a bare socket, and reads the status of what comes back.
    pub async fn write(&self, text: &str) -> u16 {
        let exchange = async {
            let mut stream = TcpStream::connect(self.url.strip_prefix("http://").unwrap()).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            // Whoever refuses may close in any way.
            drop(stream.read_to_end(&mut answer).await);
            let head = String::from_utf8_lossy(&answer).into_owned();
            head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap())
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap()
    }
}

/// A coin besides the dollar, in which prices can be asked.
fn euro() -> AssetConfig {
    let euro = json!({"network": NETWORK, "address": "0x808456652fdb597867f38412077A9182bf77359F", "symbol": "EURC",
        "decimals": 6, "name": "EURC", "version": "2"});
    serde_json::from_value(euro).unwrap()
}

impl Stub {
    /// What it was asked since the last time, such as `GET /a`.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    pub fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }
}

impl Answer {
    /// The terms of a 402.
    #[track_caller]
    pub fn terms(&self) -> Value {
        assert_eq!(self.status, 402, "{self:?}");
        let required = header::decode_required(self.headers["payment-required"].as_bytes()).unwrap();
        serde_json::to_value(required).unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

/// So many bytes in chunks, of which nobody knows before how many there are; broken off after some, if that is said.
fn large(bytes: usize, until: Option<usize>) -> Response {
    const CHUNK_BYTES: usize = 1 << 16;
    let chunks = (0..bytes / CHUNK_BYTES).map(move |number| match until {
        Some(until) if number * CHUNK_BYTES >= until => Err(std::io::Error::other("lost")),
        _ => Ok(vec![b'a'; CHUNK_BYTES]),
    });
    Body::from_stream(futures_util::stream::iter(chunks)).into_response()
}

async fn answer(State(stub): State<Stub>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().unwrap().to_string();
    let (line, added) = (format!("{} {target}", parts.method), parts.extensions.get::<AddedHeaders>().cloned());
    let added = added.unwrap_or_default().0;
    stub.0.lock().unwrap().push(Seen { line, headers: parts.headers, added });
    let body = to_bytes(body, MAX_BODY_BYTES).await.unwrap();
    let usage = |tokens: &str| format!("{{\"usage\":{{\"total_tokens\":{tokens}}}}}");
    let typed = |media_type: &'static str, text: String| ([("content-type", media_type)], text).into_response();
    match parts.uri.path() {
        "/fails" => (StatusCode::IM_A_TEAPOT, "no").into_response(),
        "/moved" => (StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
        "/chat" => typed("application/json", usage(&String::from_utf8_lossy(&body))),
        "/stream" => {
            let events =
                format!("data: {{\"usage\":null}}\n\ndata: {}\n\ndata: [DONE]\n\n", usage(&String::from_utf8_lossy(&body)));
            typed("text/event-stream", events)
        }
        "/large" => large(1 << 20, None),
        // Breaks off in the middle, the first time that it is asked for.
        "/flaky" => {
            let is_first = stub.0.lock().unwrap().iter().filter(|seen| seen.line == format!("GET {target}")).count() == 1;
            large(1 << 20, is_first.then_some(1 << 19))
        }
        "/broken" => large(1 << 20, Some(1 << 19)),
        "/talk" => {
            let count = format!("data: {}\n\n", usage(&String::from_utf8_lossy(&body)));
            let events = ["data: {\"usage\":null}\n\n".to_owned(), count, "data: [DONE]\n\n".to_owned()];
            let events = futures_util::stream::iter(events.map(Ok::<_, std::convert::Infallible>));
            ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
        }
        "/endless" => large(usize::MAX, None),
        "/zipped" => ([("content-encoding", "gzip")], "????").into_response(),
        "/described" => typed("application/json", DESCRIPTION.to_owned()),
        "/echo" => Body::from(body).into_response(),
        _ => ([("cache-control", "public, max-age=3600")], format!("{} {target}", parts.method)).into_response(),
    }
}
