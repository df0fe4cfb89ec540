//! The files in `examples/`, each as its reader runs it: a real gateway in front of something real, and everybody buys from it.

mod replicas;
mod upstream;

use std::path::PathBuf;

use farthing_interop::peer::{Answer, Peer, Script};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use self::upstream::{Folders, Upstream};
use crate::market::{Market, SELLER};
use crate::run::{Folder, KEY, Service, farthing, get, post};

/// Where the files say that the upstream, the facilitator and the gateway are.
const UPSTREAM: &str = "http://127.0.0.1:8000";
const FACILITATOR: &str = "https://x402.org/facilitator";
const LISTEN: &str = "127.0.0.1:4020";
/// What each file sells, for the tests to be complete.
const TRIED: [&str; 6] = ["api", "articles", "events", "files", "openai", "replicas"];

fn examples() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"))
}

/// A file, with its places put where the test has them.
fn placed(name: &str, upstream: &str, facilitator: &str) -> String {
    let text = std::fs::read_to_string(examples().join(format!("{name}.toml"))).unwrap();
    let places = [(UPSTREAM, upstream), (FACILITATOR, facilitator), (LISTEN, "127.0.0.1:0")];
    places.into_iter().fold(text, |text, (written, real)| {
        assert_eq!(text.matches(written).count(), 1, "{name}.toml says {written} once");
        text.replace(written, real)
    })
}

/// A gateway that runs an example.
struct Running {
    url: String,
    service: Service,
    _folder: Folder,
}

impl Running {
    fn start(name: &str, upstream: &str, market: &Market) -> Self {
        let folder = Folder::new(&format!("example-{name}"));
        let file = folder.file(&format!("{name}.toml"), &placed(name, upstream, &market.facilitator_url()));
        let path = file.to_str().unwrap();
        farthing(["gateway", "check", "--config", path]).run().with_code(0);
        let mut service = farthing(["gateway", "--json", "--config", path]).start();
        let url = service.facts()["listening"].as_str().unwrap().to_owned();
        Self { url, service, _folder: folder }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    fn end(self) {
        self.service.end("TERM").with_code(0);
    }
}

/// Everybody who buys: ourselves, and the official clients in TypeScript and in Python.
struct Buyers {
    runtime: Runtime,
    peers: [Peer; 2],
}

impl Buyers {
    fn start(market: &Market) -> Self {
        let (runtime, rpc_url) = (Runtime::new().unwrap(), market.rpc_url());
        let settings = [("RPC_URL", rpc_url.as_str())];
        let scripts = [Script::Ts("buyer.mjs"), Script::Python("buyer.py")];
        let peers = scripts.map(|script| runtime.block_on(Peer::start(script, &settings)).unwrap());
        Self { runtime, peers }
    }

    /// Each buys the same, by a POST if there is something to send; returns what each got, and what it cost each time.
    fn buy(&self, market: &Market, url: &str, body: Option<&Value>) -> Vec<(String, u64)> {
        let mut bought = Vec::new();
        let mut earned = market.earned();
        let mut keep = |text: String| {
            let now = market.earned();
            bought.push((text, (now - earned).to::<u64>()));
            earned = now;
        };
        let mut pay = farthing(["pay", url]).with_wallet();
        let json = body.map(Value::to_string);
        if let Some(json) = &json {
            pay = pay.arguments(["-H", "content-type: application/json", "-d", json]);
        }
        keep(pay.run().with_code(0).stdout);
        for peer in &self.peers {
            let mut order = json!({"url": url, "key": KEY, "wallet": null, "id": null, "services": []});
            if let Some(body) = body {
                order["json"] = body.clone();
            }
            let answer: Answer = self.runtime.block_on(peer.buys(&order)).unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.settlement.as_ref().unwrap()["success"], json!(true), "{answer:?}");
            // Peers read JSON where there is some.
            keep(answer.body.as_str().map_or_else(|| answer.body.to_string(), str::to_owned));
        }
        bought
    }
}

#[test]
fn every_example_is_tried_here_and_told_of_in_the_readme() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(examples()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        names.extend(name.strip_suffix(".toml").map(str::to_owned));
    }
    names.sort();
    assert_eq!(names, TRIED);
    let readme = std::fs::read_to_string(examples().join("README.md")).unwrap();
    for name in names {
        assert!(readme.contains(&format!("| [{name}.toml]({name}.toml) |")), "{name}");
    }
}

#[test]
fn the_examples_of_presets_are_what_init_writes() {
    let folder = Folder::new("example-presets");
    for preset in ["openai", "files", "articles"] {
        let file = folder.at(preset);
        let init = ["gateway", "init", file.to_str().unwrap(), "--preset", preset, "--upstream", UPSTREAM, "--pay-to", SELLER];
        farthing(init).run().with_code(0);
        let written = std::fs::read_to_string(&file).unwrap();
        let example = std::fs::read_to_string(examples().join(format!("{preset}.toml"))).unwrap();
        assert_eq!(example, written, "write it anew: farthing {}", init.join(" "));
    }
}

#[test]
fn files_and_articles_behind_pythons_own_server_are_bought_by_everybody() {
    let (market, folders) = (Market::open(), Folders::serve("example-folders"));
    let buyers = Buyers::start(&market);
    let files = Running::start("files", &folders.url, &market);
    assert_eq!(get(&files.at("/datasets/rain/sample.csv")), (200, "day,mm\n".to_owned()));
    assert_eq!(get(&files.at("/datasets/rain/2026.csv")).0, 402);
    let bought = buyers.buy(&market, &files.at("/datasets/rain/2026.csv"), None);
    assert_eq!(bought, [(); 3].map(|()| ("day,mm\n1,42\n".to_owned(), 250_000)));
    assert_eq!(get(&files.at("/datasets/rain/2027.csv")).0, 402, "what there is shows only to who pays");
    files.end();

    let articles = Running::start("articles", &folders.url, &market);
    assert!(get(&articles.at("/")).1.contains("front page"));
    assert_eq!(get(&articles.at("/assets/style.css")).0, 200);
    assert_eq!(get(&articles.at("/datasets/rain/2026.csv")).0, 404, "not for sale here");
    let bought = buyers.buy(&market, &articles.at("/articles/rain.html"), None);
    assert_eq!(bought, [(); 3].map(|()| ("<p>It rained.".to_owned(), 50_000)));
    articles.end();
}

#[test]
fn a_model_server_is_paid_by_the_token_by_everybody() {
    let (market, upstream) = (Market::open(), Upstream::serve());
    market.approve_permit2();
    let buyers = Buyers::start(&market);
    let gateway = Running::start("openai", &upstream.url, &market);
    assert_eq!(get(&gateway.at("/v1/models")).0, 200);
    let question = json!({"model": "small", "messages": [{"role": "user", "content": "What is a farthing?"}]});
    let url = gateway.at("/v1/chat/completions");
    assert_eq!(post(&url, &[("content-type", "application/json")], &question).unwrap().0, 402);
    for (text, charged) in buyers.buy(&market, &url, Some(&question)) {
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], "A quarter of a penny.");
        // 1234 tokens, at $0.002 for each 1000.
        assert_eq!(charged, 2_468);
    }
    let mut streamed = question;
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({"include_usage": true});
    for (text, charged) in buyers.buy(&market, &url, Some(&streamed)) {
        assert!(text.starts_with("data: {") && text.ends_with("data: [DONE]\n\n"), "{text}");
        assert_eq!(charged, 2_468);
    }
    assert_eq!(upstream.worked(), 6, "the model worked for those who paid, once for each");
    gateway.end();
}

#[test]
fn an_api_at_one_price_and_recorded_events_are_bought_by_everybody() {
    let (market, upstream) = (Market::open(), Upstream::serve());
    market.approve_permit2();
    let buyers = Buyers::start(&market);
    let api = Running::start("api", &upstream.url, &market);
    assert_eq!(get(&api.at("/healthz")), (200, "up".to_owned()));
    let bought = buyers.buy(&market, &api.at("/v1/weather"), None);
    assert_eq!(bought, [(); 3].map(|()| ("{\"sky\":\"clear\"}".to_owned(), 10_000)));
    api.end();

    let events = Running::start("events", &upstream.url, &market);
    let (status, live) = get(&events.at("/live"));
    assert_eq!(status, 200);
    assert!(live.contains("data: 0\n\n") && live.contains("data: 2\n\n"), "{live}");
    for (text, charged) in buyers.buy(&market, &events.at("/recordings/2026-11-21"), None) {
        assert_eq!(text, upstream::recording());
        // $0.001 for each 1000 bytes is one atomic unit for each.
        assert_eq!(charged, u64::try_from(text.len()).unwrap());
    }
    events.end();
    assert_eq!(upstream.worked(), 6);
}
