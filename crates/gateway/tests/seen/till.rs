//! A gateway that sells at any time of the past month, and its listener for whoever runs it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use farthing::client::Client;
use farthing::core::BoxFuture;
use farthing::core::books::{
    Bill, Deliveries, DeliveryClaim, Fingerprint, MemoryDeliveries, Presented, SaleQuery, Sales, Standing,
};
use farthing::core::scheme::PaymentKey;
use farthing::core::time::{Clock, UnixSeconds};
use farthing::evm::signer::LocalSigner;
use farthing::system::SystemClock;
use farthing_gateway::Gateway;
use farthing_gateway::file::{self, Route};
use farthing_gateway::seen::{Admin, Sponsor, Surroundings, UpstreamState};
use farthing_testkit::Stack;
use farthing_testkit::golden::{NETWORK, PAY_TO};
use http::StatusCode;
use serde_json::Value;

const ROUTES: &str = r#"
    [[route]]
    match = "GET /reports/*"
    price = "$0.01"
    [[route]]
    match = "POST /v1/chat/completions"
    price = "$0.002"
    [[route]]
    match = "GET /datasets/**"
    price = "$0.25"
    [[route]]
    match = "GET /fails"
    price = "$0.03"
    [[route]]
    match = "/free"
    free = true
"#;

#[derive(serde::Deserialize)]
struct File {
    gateway: file::Gateway,
    route: Vec<Route>,
}

/// The time, put back by so many seconds.
#[derive(Default)]
pub struct Shifted(AtomicU64);

impl Clock for Shifted {
    fn now(&self) -> UnixSeconds {
        SystemClock.now().minus(self.0.load(Ordering::SeqCst))
    }
}

impl Shifted {
    pub fn back(&self, seconds: u64) {
        self.0.store(seconds, Ordering::SeqCst);
    }
}

/// An upstream that is up, and two accounts, one of them low.
struct House;

impl Surroundings for House {
    fn upstream(&self) -> UpstreamState {
        UpstreamState { origin: "http://127.0.0.1:3000".to_owned(), is_up: true }
    }

    fn sponsors(&self) -> BoxFuture<'_, Vec<Sponsor>> {
        let account = |balance: &str, is_low| Sponsor {
            network: NETWORK.to_owned(),
            account: PAY_TO.to_owned(),
            balance: Some(balance.to_owned()),
            low_mark: Some("0.02".to_owned()),
            is_low,
        };
        Box::pin(std::future::ready(vec![account("0.482913", false), account("0.0121", true)]))
    }
}

pub struct Till {
    pub url: String,
    pub admin: String,
    pub clock: Arc<Shifted>,
    pub http: reqwest::Client,
    book: Arc<MemoryDeliveries>,
    buyers: Vec<Client>,
    _stack: Stack,
}

impl Till {
    pub async fn open() -> Self {
        let stack = Stack::start().await.unwrap();
        let (clock, book) = (Arc::new(Shifted::default()), Arc::new(MemoryDeliveries::default()));
        let text = format!("[gateway]\nupstream = \"http://127.0.0.1:1\"\n{ROUTES}");
        let File { gateway: settings, route } = toml::from_str(&text).unwrap();
        let server = farthing::Server::builder().facilitator(stack.facilitator_url()).unwrap();
        let server = server.pay_to(NETWORK, PAY_TO).unwrap().clock(clock.clone()).deliveries(book.clone());
        // What has gone out whole is looked at in the background; the clock is read when the gateway is made.
        clock.back(29 * 86_400);
        let app = Router::new().fallback(answer);
        let gateway = Gateway::new(server.build().await.unwrap(), app, settings, &route).unwrap();
        clock.back(0);
        let admin = Admin { seen: gateway.seen(), sales: book.clone(), surroundings: Arc::new(House), key: None };
        let url = stack.serve(gateway.router()).await.unwrap();
        let admin = stack.serve(admin.router(Router::new())).await.unwrap();
        let mut buyers = Vec::new();
        for account in &stack.devnet().accounts()[1..4] {
            stack.devnet().give_usdc(account.address, farthing::evm::U256::from(100_000_000)).unwrap();
            let signer = Arc::new(LocalSigner::from_bytes(account.secret.into()).unwrap());
            buyers.push(farthing::Client::builder().signer(signer).limit("$50 per day").unwrap().build().unwrap());
        }
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, admin, clock, http, book, buyers, _stack: stack }
    }

    pub fn at(&self, target: &str) -> String {
        format!("{}{target}", self.url)
    }

    /// Something is bought, by this buyer, so many seconds ago.
    pub async fn sell(&self, buyer: usize, method: &str, target: &str, seconds_ago: u64) -> u16 {
        self.clock.back(seconds_ago);
        let client = &self.buyers[buyer];
        let request = if method == "GET" { client.get(self.at(target)) } else { client.post(self.at(target)) };
        let status = request.send().await.unwrap().status().as_u16();
        self.clock.back(0);
        status
    }

    /// Somebody hears the price so many seconds ago, and leaves.
    pub async fn ask(&self, target: &str, seconds_ago: u64) -> u16 {
        self.clock.back(seconds_ago);
        let status = self.http.get(self.at(target)).send().await.unwrap().status().as_u16();
        self.clock.back(0);
        status
    }

    /// A payment like the last one, of which nobody knows what became of it.
    pub async fn leave_open(&self, number: u8, seconds_ago: u64) {
        let last = self.book.list(&SaleQuery { limit: 1, ..SaleQuery::default() }).await.unwrap().remove(0);
        let now = SystemClock.now().minus(seconds_ago);
        let presented =
            Presented { key: PaymentKey([number; 32]), request: Fingerprint("a".to_owned()), expires_at: None, now };
        let DeliveryClaim::New(claim) = self.book.claim(&presented).await.unwrap() else { panic!("somebody has it") };
        let settling = self.book.settling(claim, &Bill { at: now, ..last.bill }).await.unwrap();
        assert_eq!((settling, self.book.unsettled(claim).await.unwrap()), (Standing::Held, Standing::Held));
    }

    pub async fn api(&self, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", self.admin)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }
}

async fn answer(request: Request) -> Response {
    match request.uri().path() {
        "/fails" => StatusCode::NOT_FOUND.into_response(),
        _ => Body::from("14 ships in").into_response(),
    }
}
