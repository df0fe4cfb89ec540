//! What whoever runs a gateway sees of it: metrics, the access log, traces, the page's figures, and who may look.

use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::chain::Chain;
use crate::market::{NETWORK, SELLER};
use crate::run::{Folder, OPERATOR_KEY, Service, farthing, get};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const ADMIN_KEY: &str = "a key of sixteen bytes or more";
/// After this long something does not happen, and the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);
const ROUTES: &str = "[[route]]\nmatch = \"GET /reports/*\"\nprice = \"$0.01\"\n[[route]]\nmatch = \"/free\"\nfree = true\n[[route]]\nmatch = \"/no\"\ndeny = true\n";

/// A gateway in front of an upstream that says which trace it was asked in.
struct Watched {
    chain: Chain,
    service: Service,
    url: String,
    admin: String,
    _folder: Folder,
}

impl Watched {
    fn open(name: &str, keys: &str, admin: &str) -> Self {
        let chain = Chain::open();
        let upstream = chain.runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let app = Router::new().fallback(|request: Request| async move {
                let trace = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).unwrap_or("none");
                format!("{} in {trace}", request.uri())
            });
            tokio::spawn(async move { axum::serve(listener, app).await });
            url
        });
        let folder = Folder::new(name);
        let written = format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\nupstream = {upstream:?}\n{keys}\n[gateway.admin]\nlisten = \"127.0.0.1:0\"\n{admin}\n\
             [log]\nformat = \"json\"\n[pay_to]\n{NETWORK:?} = {SELLER:?}\n[network.{NETWORK:?}]\nrpc = {:?}\n\
             signer = \"env:FACILITATOR_KEY\"\n[network.{NETWORK:?}.gas]\nlow_balance_gwei = 20_000_000\n{ROUTES}",
            chain.rpc_url()
        );
        let config = folder.file("farthing.toml", &written);
        let gateway = farthing(["gateway", "--json", "--config", config.to_str().unwrap()]);
        let mut service = gateway.env("FACILITATOR_KEY", OPERATOR_KEY).env("ADMIN_KEY", ADMIN_KEY).start();
        let facts = service.facts();
        let fact = |name: &str| facts[name].as_str().unwrap().to_owned();
        Self { chain, url: fact("listening"), admin: fact("admin"), service, _folder: folder }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn admin(&self, path: &str) -> (u16, String) {
        get(&format!("{}{path}", self.admin))
    }

    fn api(&self, path: &str) -> Value {
        let (status, text) = self.admin(path);
        assert_eq!(status, 200, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn buy(&self, path: &str) -> String {
        farthing(["pay", &self.at(path)]).with_wallet().run().with_code(0).stdout
    }
}

/// The metrics that the operator's page names.
fn promised() -> Vec<&'static str> {
    let page = include_str!("../../../../docs/operations.md");
    let section = page.split_once("## Watching a gateway").unwrap().1.split_once("\n## ").unwrap().0;
    let names = section.split('`').skip(1).step_by(2);
    names.filter(|name| name.starts_with("x402_") || name.starts_with("farthing_")).collect()
}

/// The lines of the access log.
fn lines(stderr: &str) -> Vec<Value> {
    let lines = stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "farthing::access").collect()
}

#[test]
fn what_a_gateway_sells_is_counted_logged_and_shown() {
    let watched = Watched::open("watched", "", "");
    for report in ["/reports/1", "/reports/2?secret=hunter2"] {
        assert!(watched.buy(report).starts_with("/reports/"));
    }
    assert_eq!((get(&watched.at("/free")).0, get(&watched.at("/no")).0, get(&watched.at("/nothing")).0), (200, 403, 404));

    let begun = Instant::now();
    let page = loop {
        let (status, page) = watched.admin("/metrics");
        assert_eq!(status, 200);
        if page.contains("farthing_gateway_requests_in_flight 0") || begun.elapsed() > PATIENCE {
            break page;
        }
        thread::sleep(Duration::from_millis(20));
    };
    for line in [
        "farthing_gateway_requests_total{route=\"GET /reports/*\",outcome=\"required\"} 2",
        "farthing_gateway_requests_total{route=\"GET /reports/*\",outcome=\"paid\"} 2",
        "farthing_gateway_requests_total{route=\"/free\",outcome=\"free\"} 1",
        "farthing_gateway_failures_total{route=\"/no\",outcome=\"blocked\",reason=\"denied\"} 1",
        "farthing_gateway_failures_total{route=\"unmatched\",outcome=\"problem\",reason=\"not_for_sale\"} 1",
        "farthing_gateway_upstream_answers_total{route=\"GET /reports/*\",status=\"2xx\"} 2",
        "farthing_gateway_upstream_up 1",
        "farthing_gateway_payments_in_flight 0",
        "asset=\"0x036CbD53842c5426634e7929541eC2318f3dCF7e\"} 20000",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
    let names = promised();
    assert!(names.len() > 10, "{names:?}");
    for name in names.iter().filter(|name| **name != "farthing_gateway_shadow_requests_total") {
        assert!(page.contains(&format!("\n{name}")), "{name} is not in {page}");
    }
    for line in page.lines().filter(|line| line.contains("route=")) {
        assert!(!line.contains("/reports/1") && !line.contains("/nothing"), "{line}");
    }

    assert_eq!(watched.admin("/healthz"), (200, "alive\n".to_owned()));
    assert_eq!(watched.admin("/readyz"), (200, "ready\n".to_owned()));
    let status = watched.api("/api/status");
    assert_eq!((&status["upstream"]["isUp"], &status["sponsors"][0]["network"]), (&json!(true), &json!(NETWORK)));
    assert_eq!((&status["sponsors"][0]["lowMark"], &status["sponsors"][0]["isLow"]), (&json!("0.02"), &json!(false)));
    let revenue = watched.api("/api/revenue?range=1h&by=route");
    let unit = &revenue["units"][0];
    assert_eq!((&unit["unit"], &unit["amount"], &unit["sales"]), (&json!("USD"), &json!("0.02"), &json!(2)));
    assert_eq!(unit["series"][0]["group"], "GET /reports/*");

    let ended = watched.service.end("TERM").with_code(0);
    let lines = lines(&ended.stderr);
    assert_eq!(lines.len(), 7, "{}", ended.stderr);
    let sold: Vec<&Value> = lines.iter().map(|line| &line["fields"]).filter(|fields| fields["outcome"] == "paid").collect();
    assert_eq!(sold.len(), 2);
    for (fields, path) in sold.iter().zip(["/reports/1", "/reports/2"]) {
        assert_eq!((&fields["path"], &fields["status"], &fields["is_whole"]), (&json!(path), &json!(200), &json!(true)));
        assert_eq!((&fields["amount_atomic"], &fields["network"]), (&json!("10000"), &json!(NETWORK)));
        assert_eq!((&fields["client"], &fields["route"]), (&json!("127.0.0.1"), &json!("GET /reports/*")));
        assert!(fields["transaction"].as_str().unwrap().starts_with("0x") && fields["payer"].is_string(), "{fields}");
        assert!(fields["bytes"].as_u64() > Some(0) && fields["upstream_duration_micros"].is_u64(), "{fields}");
    }
    assert!(!ended.stderr.contains("hunter2") && !ended.stderr.contains("payment-signature"), "{}", ended.stderr);
}

#[test]
fn a_callers_trace_reaches_the_upstream_with_the_gateways_span() {
    let watched = Watched::open("watched-trace", "", "");
    let parent = format!("00-{TRACE_ID}-00f067aa0b9902b7-01");
    let ask = |path: &str| {
        let request = reqwest::Client::new().get(watched.at(path)).header("traceparent", &parent);
        watched.chain.runtime.block_on(async { request.send().await.unwrap().text().await.unwrap() })
    };
    let heard = ask("/free");
    assert!(heard.starts_with(&format!("/free in 00-{TRACE_ID}-")) && !heard.contains("00f067aa0b9902b7"), "{heard}");
    assert_eq!(get(&watched.at("/free")).1, "/free in none");
    let ended = watched.service.end("TERM").with_code(0);
    let lines = lines(&ended.stderr);
    assert_eq!(lines[0]["span"]["trace_id"], TRACE_ID, "{}", ended.stderr);
    assert_eq!(heard.split('-').nth(2).unwrap(), lines[0]["span"]["span_id"]);
    assert!(lines[1]["span"].is_null());
}

#[test]
fn who_has_no_key_sees_nothing_and_no_log_is_kept_that_is_not_wanted() {
    let watched = Watched::open("watched-key", "access_log = false", "key = \"env:ADMIN_KEY\"");
    for path in ["/", "/metrics", "/api/status", "/other"] {
        assert_eq!(watched.admin(path).0, 401, "{path}");
    }
    assert_eq!((watched.admin("/healthz").0, watched.admin("/readyz").0), (200, 200));
    let ask = |build: &dyn Fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder| {
        let request = build(reqwest::Client::new().get(format!("{}/metrics", watched.admin)));
        watched.chain.runtime.block_on(async { request.send().await.unwrap().status().as_u16() })
    };
    assert_eq!(ask(&|request| request.bearer_auth(ADMIN_KEY)), 200);
    assert_eq!(ask(&|request| request.basic_auth("anybody", Some(ADMIN_KEY))), 200);
    assert_eq!(ask(&|request| request.bearer_auth("wrong")), 401);
    assert_eq!(get(&watched.at("/free")).0, 200);
    let ended = watched.service.end("TERM").with_code(0);
    assert!(lines(&ended.stderr).is_empty() && !ended.stderr.contains(ADMIN_KEY), "{}", ended.stderr);
}

#[test]
fn a_listener_for_everybody_needs_a_key() {
    let folder = Folder::new("watched-open");
    let text = format!(
        "[gateway]\nupstream = \"http://127.0.0.1:1\"\nfacilitator = \"http://127.0.0.1:1\"\n[gateway.admin]\nlisten = \"0.0.0.0:0\"\n\
         [pay_to]\n{NETWORK:?} = {SELLER:?}\n{ROUTES}"
    );
    let config = folder.file("farthing.toml", &text);
    let refused = farthing(["gateway", "check", "--config", config.to_str().unwrap()]).run().with_code(1);
    assert!(refused.stderr.contains("[gateway.admin] listens off loopback"), "{}", refused.stderr);
}
