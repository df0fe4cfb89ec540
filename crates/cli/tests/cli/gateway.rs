//! `farthing gateway`: from nothing to a payment, new routes while it runs, and what it refuses.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use farthing::evm::U256;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::chain::Chain;
use crate::market::{Market, NETWORK, SELLER};
use crate::run::{Ended, Folder, OPERATOR_KEY, Service, farthing, get};

/// After this long something does not happen, and the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is behind the gateway: it says what it was asked, and with which key.
pub struct Origin {
    pub url: String,
    _runtime: Runtime,
}

impl Origin {
    pub fn open() -> Self {
        let runtime = Runtime::new().unwrap();
        let url = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let app = Router::new().route("/slow", axum::routing::get(slow)).fallback(|request: Request| async move {
                let key = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("none");
                format!("{} {} by {key}", request.method(), request.uri())
            });
            tokio::spawn(async move { axum::serve(listener, app).await });
            url
        });
        Self { url, _runtime: runtime }
    }
}

/// An answer whose second half comes later than connections may take to close once nothing is under way.
async fn slow() -> Body {
    let later = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        Ok::<_, Infallible>("half")
    };
    Body::from_stream(stream::once(async { Ok("first ") }).chain(stream::once(later)))
}

/// Somebody who runs a gateway, in a folder.
pub struct Seller {
    pub folder: Folder,
    config: String,
}

impl Seller {
    pub fn new(test: &str, config: &str) -> Self {
        let folder = Folder::new(test);
        let config = folder.file("farthing.toml", config).to_str().unwrap().to_owned();
        Self { folder, config }
    }

    fn rewrite(&self, config: &str) {
        self.folder.file("farthing.toml", config);
    }

    pub fn start(&self) -> (Service, String) {
        let gateway = farthing(["gateway", "--json", "--config", &self.config]);
        let mut service = gateway.env("FACILITATOR_KEY", OPERATOR_KEY).env("UPSTREAM_KEY", "hunter2").start();
        let url = service.facts()["listening"].as_str().unwrap().to_owned();
        (service, url)
    }

    pub fn check(&self, more: &[&str]) -> Ended {
        let check = farthing(["gateway", "check", "--config", &self.config]).arguments(more.iter().copied());
        check.env("FACILITATOR_KEY", OPERATOR_KEY).env("UPSTREAM_KEY", "hunter2").run()
    }
}

/// A file of a gateway that settles for itself.
pub fn config(upstream: &str, rpc: &str, routes: &str) -> String {
    format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\nupstream = {upstream:?}\n[gateway.headers]\nauthorization = \"Bearer env:UPSTREAM_KEY\"\n\
         [pay_to]\n{NETWORK:?} = {SELLER:?}\n[network.{NETWORK:?}]\nrpc = {rpc:?}\nsigner = \"env:FACILITATOR_KEY\"\n{routes}"
    )
}

const ROUTES: &str = "[[route]]\nmatch = \"GET /reports/*\"\nprice = \"$0.01\"\n[[route]]\nmatch = \"/free\"\nfree = true\n";

#[test]
fn a_file_is_written_explained_served_from_and_never_written_over() {
    let (market, origin, folder) = (Market::open(), Origin::open(), Folder::new("gateway-init"));
    let file = folder.at("farthing.toml");
    let path = file.to_str().unwrap();
    let (facilitator, upstream) = (market.facilitator_url(), origin.url.as_str());
    let init = |more: &[&str]| {
        let command = ["gateway", "init", path, "--upstream", upstream, "--facilitator", &facilitator];
        farthing(command).arguments(["--network", "base-sepolia", "--pay-to", SELLER]).arguments(more.iter().copied()).run()
    };
    let written = init(&[]).with_code(0);
    assert!(written.stdout.contains("wrote ") && written.stdout.contains("gateway check --config"), "{written:?}");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("127.0.0.1:4020", "127.0.0.1:0")).unwrap();
    let refused = init(&[]).with_code(1);
    assert!(refused.stderr.contains("is there already") && refused.stderr.contains("--force"), "{refused:?}");
    assert!(std::fs::read_to_string(&file).unwrap().contains("127.0.0.1:0"));

    let told = farthing(["gateway", "check", "--config", path]).run().with_code(0).stdout;
    for part in [
        upstream,
        "GET /reports/*",
        "0.01 USDC on eip155:84532 (exact)",
        "$0.002 per 1000 tokens of the answer's /usage/total_tokens, at most $0.05",
        "at most 0.05 USDC on eip155:84532 (upto)",
        "paid in USDC on eip155:84532 (exact)",
        "all else",
        "denied, with 404",
        "note  quoted prices are known again by one process alone",
    ] {
        assert!(told.contains(part), "{told}\nlacks: {part}");
    }
    let mut service = farthing(["gateway", "--json", "--config", path]).start();
    let facts = service.facts();
    assert_eq!((&facts["routes"], &facts["upstream"], &facts["settledBy"]), (&json!(4), &json!(upstream), &json!(facilitator)));
    let url = facts["listening"].as_str().unwrap();
    let paid = farthing(["pay", &format!("{url}/reports/7")]).with_wallet().run().with_code(0);
    assert_eq!((paid.stdout.as_str(), market.earned()), ("GET /reports/7 by none", U256::from(10_000)));
    assert_eq!(get(&format!("{url}/other")).0, 404);
    service.end("TERM").with_code(0);
    assert!(folder.at("gateway.db").exists(), "the book is beside the file");
    let forced = init(&["--force", "--json"]).with_code(0).stdout_json();
    assert_eq!(forced["written"], path);
    assert!(std::fs::read_to_string(&file).unwrap().contains("127.0.0.1:4020"));
}

#[test]
fn presets_are_files_from_which_is_sold() {
    let (market, origin, folder) = (Market::open(), Origin::open(), Folder::new("gateway-presets"));
    let (facilitator, upstream) = (market.facilitator_url(), origin.url.as_str());
    for (preset, free, sold, price) in [
        ("openai", "/v1/models", None, "$0.002 per 1000 tokens"),
        ("files", "/datasets/rain/sample.csv", Some("/datasets/rain/2026.csv"), "0.25 USDC"),
        ("articles", "/assets/style.css", Some("/articles/on-rain"), "0.05 USDC"),
    ] {
        let file = folder.at(&format!("{preset}.toml"));
        let path = file.to_str().unwrap();
        let init = ["gateway", "init", path, "--preset", preset, "--upstream", upstream, "--facilitator", &facilitator];
        farthing(init).arguments(["--network", "base-sepolia", "--pay-to", SELLER]).run().with_code(0);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("127.0.0.1:4020", "127.0.0.1:0")).unwrap();
        let told = farthing(["gateway", "check", "--config", path]).run().with_code(0).stdout;
        assert!(told.contains(price), "{told}");
        let mut service = farthing(["gateway", "--json", "--config", path]).start();
        let url = service.facts()["listening"].as_str().unwrap().to_owned();
        assert_eq!(get(&format!("{url}{free}")), (200, format!("GET {free} by none")));
        assert_eq!(get(&format!("{url}/other")).0, 404);
        if let Some(sold) = sold {
            let paid = farthing(["pay", &format!("{url}{sold}")]).with_wallet().run().with_code(0);
            assert_eq!(paid.stdout, format!("GET {sold} by none"));
        }
        service.end("TERM").with_code(0);
    }
    assert_eq!(market.earned(), U256::from(300_000));
}

#[test]
fn a_gateway_settles_for_itself_and_its_book_agrees_with_the_chain() {
    let (chain, origin) = (Chain::open(), Origin::open());
    let seller = Seller::new("gateway-own", &config(&origin.url, &chain.rpc_url(), ROUTES));
    let (service, url) = seller.start();
    let paid = farthing(["pay", &format!("{url}/reports/7?a=b")]).with_wallet().run().with_code(0);
    assert_eq!(paid.stdout, "GET /reports/7?a=b by Bearer hunter2");
    assert_eq!(get(&format!("{url}/free")), (200, "GET /free by Bearer hunter2".to_owned()));
    let ledger = |action: &str| farthing(["ledger", action, "--config", &seller.config, "--json"]).run().with_code(0);
    let row: Value = serde_json::from_str(&ledger("list").stdout).unwrap();
    assert_eq!((&row["payTo"], &row["state"]), (&json!(SELLER), &json!("settled")));
    let totals = ledger("reconcile").stdout_json();
    assert_eq!((&totals["payments"], &totals["agreeing"]), (&json!(1), &json!(1)), "{totals}");
    assert_eq!(chain.earned(), U256::from(10_000));
    let ended = service.end("TERM").with_code(0);
    assert!(!format!("{ended:?}").contains("hunter2"), "{ended:?}");
}

#[test]
fn one_command_line_is_a_gateway() {
    let (market, origin, folder) = (Market::open(), Origin::open(), Folder::new("gateway-line"));
    let book = format!("sqlite:{}", folder.at("book.db").display());
    let command = ["gateway", "--upstream", &origin.url, "--price", "$0.01", "--pay-to", SELLER, "--network", "base-sepolia"];
    let facilitator = market.facilitator_url();
    let rest = ["--facilitator", &facilitator, "--listen", "127.0.0.1:0", "--store", &book, "--json"];
    let mut service = farthing(command).arguments(rest).start();
    let url = service.facts()["listening"].as_str().unwrap().to_owned();
    let paid = farthing(["pay", &format!("{url}/any/thing")]).with_wallet().run().with_code(0);
    assert_eq!((paid.stdout.as_str(), market.earned()), ("GET /any/thing by none", U256::from(10_000)));
    assert_eq!(get(&format!("{url}/")).0, 402);
    service.signal("HUP");
    service.until_said("there is no file to read");
    service.end("TERM").with_code(0);
}

/// Asks until the answer is this one.
fn wait_for(url: &str, status: u16) {
    let begun = Instant::now();
    while get(url).0 != status {
        assert!(begun.elapsed() < PATIENCE, "{url} is not answered with {status}");
    }
}

#[test]
fn routes_are_read_anew_on_sighup_and_bad_ones_leave_the_old_ones_in_force() {
    let (chain, origin) = (Chain::open(), Origin::open());
    let with = |routes: &str| config(&origin.url, &chain.rpc_url(), routes);
    let seller = Seller::new("gateway-reload", &with(ROUTES));
    let (service, url) = seller.start();
    let (report, new) = (format!("{url}/reports/7"), format!("{url}/new"));
    assert_eq!((get(&report).0, get(&new).0), (402, 404));
    let more = format!("{ROUTES}[[route]]\nmatch = \"/new\"\nfree = true\n");
    seller.rewrite(&with(&more));
    service.signal("HUP");
    wait_for(&new, 200);
    seller.rewrite(&with(&more.replace("price", "prise")));
    service.signal("HUP");
    service.until_said("the old ones stay as they are");
    assert_eq!((get(&report).0, get(&new).0), (402, 200));
    // What is good again is taken.
    seller.rewrite(&with(&format!("{ROUTES}[[route]]\nmatch = \"/last\"\nfree = true\n")));
    service.signal("HUP");
    wait_for(&format!("{url}/last"), 200);
    assert_eq!((get(&report).0, get(&new).0), (402, 404));
    service.end("TERM").with_code(0);
}

#[test]
fn what_is_being_downloaded_is_finished_before_it_ends() {
    let (chain, origin) = (Chain::open(), Origin::open());
    let routes = format!("{ROUTES}[[route]]\nmatch = \"/slow\"\nfree = true\n");
    let (service, url) = Seller::new("gateway-drain", &config(&origin.url, &chain.rpc_url(), &routes)).start();
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    write!(stream, "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    let mut chunk = [0; 1_024];
    while !answer.contains("first ") {
        let length = stream.read(&mut chunk).unwrap();
        answer += std::str::from_utf8(&chunk[..length]).unwrap();
    }
    service.signal("TERM");
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("half"), "{answer}");
    service.ended().with_code(0);
}

#[test]
fn what_was_not_taken_from_a_file_is_said_loudly() {
    let (chain, origin) = (Chain::open(), Origin::open());
    let with = |routes: &str| config(&origin.url, &chain.rpc_url(), routes);
    for (number, (bad, taught)) in [
        (with(&ROUTES.replace("price", "prise")), "line 13, prise: unknown field `prise`"),
        (with(&ROUTES.replace("$0.01", "$0.0000001")), "line 11, route: GET /reports/*: $0.0000001 is not a whole number"),
        (with(ROUTES).replace(&SELLER[..6], "0x1111"), "something besides the routes has changed, which needs a restart"),
    ]
    .into_iter()
    .enumerate()
    {
        let seller = Seller::new(&format!("gateway-loud-{number}"), &with(ROUTES));
        let (service, url) = seller.start();
        seller.rewrite(&bad);
        service.signal("HUP");
        service.until_said("the old ones stay as they are");
        assert_eq!((get(&format!("{url}/free")).0, get(&format!("{url}/reports/7")).0), (200, 402));
        let ended = service.end("TERM").with_code(0);
        assert!(ended.stderr.contains(taught) && ended.stderr.contains("ERROR"), "{ended:?}\nlacks: {taught}");
    }
}

#[test]
fn check_says_what_start_up_would_refuse_and_where() {
    let chain = Chain::open();
    let good = config("http://127.0.0.1:1", &chain.rpc_url(), ROUTES);
    for (from, to, taught) in [
        ("price =", "prise =", "line 13, prise: unknown field `prise`, expected one of"),
        ("[gateway]", "[gateway]\nlisen = 1", "line 2, lisen: unknown field `lisen`"),
        ("\"$0.01\"", "\"$0.0000001\"", "line 11, route: GET /reports/*: $0.0000001 is not a whole number of atomic units"),
        (
            "free = true",
            "free = true\ndeny = true",
            "/free: expected exactly one of price, free = true and deny = true, or tables such as [route.tools], got several",
        ),
        ("\"/free\"", "\"GET /reports/1\"", "line 14, route: GET /reports/1: no request gets here, because GET /reports/*"),
        ("env:UPSTREAM_KEY", "env:NOT_SET", "gateway.headers.authorization: the environment variable NOT_SET is not set"),
        ("env:UPSTREAM_KEY", "hunter2", "gateway.headers.authorization: expected where the secret is kept"),
    ] {
        let seller = Seller::new("gateway-refused", &good.replacen(from, to, 1));
        let checked = seller.check(&[]).with_code(1);
        assert!(checked.stderr.contains(taught), "{}\nlacks: {taught}", checked.stderr);
        assert!(!checked.stderr.contains("hunter2"), "{}", checked.stderr);
        let started = farthing(["gateway", "--config", &seller.config]).env("FACILITATOR_KEY", OPERATOR_KEY);
        assert_eq!(started.env("UPSTREAM_KEY", "hunter2").run().with_code(1).stderr, checked.stderr);
    }
    let report = Seller::new("gateway-good", &good).check(&["--json"]).with_code(0).stdout_json();
    assert_eq!((&report["unmatched"], &report["routes"][1]), (&json!("denied"), &json!({"match": "/free", "access": "free"})));
    assert_eq!(report["notes"], json!([]));
    let open = good.replace("[gateway]\n", "[gateway]\nunmatched = \"free\"\n");
    let told = Seller::new("gateway-open", &open).check(&[]).with_code(0).stdout;
    assert!(told.contains("note  /reports/* is free by every method but GET"), "{told}");
    let offer = &report["routes"][0]["offers"][0];
    assert_eq!((&offer["amount"], &offer["symbol"], &offer["isCeiling"]), (&json!("0.01"), &json!("USDC"), &json!(false)));
}

#[test]
fn half_a_command_line_is_a_usage_error() {
    for (arguments, taught) in [
        (vec![], "--config"),
        (vec!["--upstream", "http://a"], "--price"),
        (vec!["--upstream", "http://a", "--price", "free"], "--price: expected a price such as"),
        (vec!["--upstream", "a", "--price", "$1"], "--upstream: expected a URL"),
        (vec!["--upstream", "http://a", "--price", "$1", "--pay-to", SELLER], "--network"),
        (vec!["--upstream", "http://a", "--price", "$1", "--pay-to", SELLER, "--network", "moon"], "--network"),
        (vec!["--config", "farthing.toml", "--price", "$1"], "cannot be used with"),
    ] {
        let ended = farthing(["gateway"]).arguments(arguments).run().with_code(2);
        assert!(ended.stderr.contains(taught), "{ended:?}\nlacks: {taught}");
    }
}
