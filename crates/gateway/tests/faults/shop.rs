//! A gateway between an upstream and a facilitator of which either may go wrong, and a buyer who signs what it is asked for.

use std::sync::Arc;
use std::time::Duration;

use farthing::core::erased::AnyClientScheme;
use farthing::core::header;
use farthing::core::wire::Extensions;
use farthing::evm::asset::AssetTable;
use farthing::evm::signer::{LocalSigner, Signer};
use farthing::evm::{exact, upto};
use farthing::server::RemoteFacilitator;
use farthing::system::{SystemClock, SystemEntropy};
use farthing_gateway::file::{self, Route};
use farthing_gateway::{Gateway, Materials, Upstream};
use farthing_testkit::Stack;
use farthing_testkit::golden::{NETWORK, PAY_TO};
use serde_json::{Value, json};

use crate::facilitator::{Between, Fault};
use crate::origin::Origin;

/// How long the gateway waits for its upstream and its facilitator: long enough for what does answer.
const SHORT: Duration = Duration::from_millis(700);
const FACILITATOR_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a buyer comes back who is told to come later, and after how long.
const MAX_VISITS: usize = 200;
const PAUSE: Duration = Duration::from_millis(50);

const ROUTES: &str = r#"
    [[route]]
    match = "GET /exact/*"
    price = "$0.01"

    [[route]]
    match = "GET /metered/*"
    price = { each = "$0.001", per = "page", of = "response:/used", at_most = "$0.01" }
"#;

#[derive(serde::Deserialize)]
struct File {
    gateway: file::Gateway,
    route: Vec<Route>,
}

pub struct Shop {
    pub origin: Origin,
    pub facilitator: Between,
    url: String,
    http: reqwest::Client,
    schemes: [Arc<dyn AnyClientScheme>; 2],
    stack: Stack,
}

impl Shop {
    pub async fn open() -> Self {
        Self::with(None).await
    }

    pub async fn settled_through(fault: Fault) -> Self {
        Self::with(Some(fault)).await
    }

    async fn with(fault: Option<Fault>) -> Self {
        let stack = Stack::start().await.unwrap();
        stack.funded_wallet().unwrap();
        stack.approve_permit2().unwrap();
        let facilitator = Between::new(stack.facilitator_url(), fault);
        let facilitator_url = stack.serve(facilitator.router()).await.unwrap();
        let remote = RemoteFacilitator::new(&facilitator_url).unwrap().timeout(FACILITATOR_TIMEOUT);
        let server = farthing::Server::builder().facilitator(Arc::new(remote)).unwrap();
        let server = server.pay_to(NETWORK, PAY_TO).unwrap().build().await.unwrap();
        let origin = Origin::open().await;
        let text = format!("[gateway]\nupstream = {:?}\n{ROUTES}", origin.url);
        let File { gateway: mut settings, route } = toml::from_str(&text).unwrap();
        settings.upstream.limits.head_timeout = SHORT;
        settings.upstream.limits.body_timeout = SHORT;
        let upstream = Upstream::new(settings.upstream.clone(), Materials::default()).unwrap();
        let gateway = Gateway::new(server, upstream, settings, &route).unwrap();
        let url = stack.serve(gateway.router()).await.unwrap();
        let signer: Arc<dyn Signer> = Arc::new(LocalSigner::from_bytes(stack.devnet().accounts()[1].secret.into()).unwrap());
        let (table, clock, entropy) = (Arc::new(AssetTable::known()), Arc::new(SystemClock), Arc::new(SystemEntropy));
        let exact = exact::Client::new(signer.clone(), table.clone(), clock.clone(), entropy.clone());
        let schemes: [Arc<dyn AnyClientScheme>; 2] =
            [Arc::new(exact), Arc::new(upto::Client::new(signer, table, clock, entropy))];
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { origin, facilitator, url, http, schemes, stack }
    }

    /// What the seller has, in atomic units.
    pub fn earned(&self) -> u64 {
        self.stack.devnet().usdc_balance(PAY_TO.parse().unwrap()).to()
    }

    /// A payment on the terms for this, as a header.
    pub async fn payment(&self, target: &str) -> String {
        let answer = self.http.get(format!("{}{target}", self.url)).send().await.unwrap();
        assert_eq!(answer.status(), 402);
        let required = header::decode_required(answer.headers()["payment-required"].as_bytes()).unwrap();
        let terms = serde_json::to_value(required).unwrap();
        let accepted = &terms["accepts"][0];
        let scheme = self.schemes.iter().find(|scheme| accepted["scheme"] == scheme.name()).unwrap();
        let offer = serde_json::from_value(accepted.clone()).unwrap();
        let (payload, _) = scheme.pay(&offer, &Extensions::default()).await.unwrap();
        let payload: Value = serde_json::from_str(payload.raw()).unwrap();
        let payment = json!({"x402Version": 2, "resource": terms["resource"], "accepted": accepted, "payload": payload});
        header::encode(&payment).unwrap()
    }

    /// Presents it once: status and body.
    pub async fn present(&self, target: &str, payment: &str) -> (u16, String) {
        let request = self.http.get(format!("{}{target}", self.url)).header("payment-signature", payment);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Presents it until it is not told to come later.
    pub async fn present_until_it_is_over(&self, target: &str, payment: &str) -> (u16, String) {
        for _ in 0..MAX_VISITS {
            let answer = self.present(target, payment).await;
            if !matches!(answer.0, 409 | 503) {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{target} is not over after {MAX_VISITS} visits");
    }
}
