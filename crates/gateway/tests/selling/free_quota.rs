//! So many requests are free in a period, and no more, whoever asks, however many at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use farthing::core::BoxFuture;
use farthing::core::books::{BookError, MemoryQuotas, QuotaRequest, QuotaTaken, Quotas};
use farthing::core::extension::sign_in_with_x::Challenge;
use farthing::core::header;
use farthing::core::time::{Clock, UnixSeconds};
use farthing::evm::message::MessageKey;
use farthing::evm::signer::Signer;
use farthing::store::{Access, Options, Store, StoreUrl};
use farthing_gateway::{DeskMaterials, Peer};
use farthing_testkit::postgres::Database;
use http::Request;
use tower::ServiceExt;

use crate::shop::{Answer, Shop};

const ROUTES: &str = r#"
    [[route]]
    match = "GET /reports/*"
    price = "$0.01"
    free_quota = { requests = 2, per = "day", by = "ip" }
    [[route]]
    match = "/other"
    price = "$0.01"
    free_quota = false
"#;
const ASKERS: u16 = 1_000;
/// Ten seconds after a day has begun.
pub const NOW: UnixSeconds = UnixSeconds(86_400 * 20_000 + 10);

/// It is always the same moment, so that no period ends in the middle of a test.
pub struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> UnixSeconds {
        NOW
    }
}

/// A book that can be away.
#[derive(Default)]
struct Flaky {
    inner: MemoryQuotas,
    is_away: AtomicBool,
}

impl Quotas for Flaky {
    fn take<'a>(&'a self, request: &'a QuotaRequest) -> BoxFuture<'a, Result<QuotaTaken, BookError>> {
        if self.is_away.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Err(BookError("the book is away".into()))));
        }
        self.inner.take(request)
    }
}

pub fn counting_in(quotas: Arc<dyn Quotas>) -> DeskMaterials {
    DeskMaterials { clock: Some(Arc::new(Stopped)), quotas: Some(quotas), ..DeskMaterials::default() }
}

async fn shop(keys: &str, routes: &str) -> Shop {
    Shop::at_desk(keys, routes, counting_in(Arc::new(MemoryQuotas::default()))).await.unwrap()
}

async fn ask_from(shop: &Shop, address: &str, target: &str) -> Answer {
    shop.ask(shop.http.get(shop.at(target)).header("x-forwarded-for", address)).await
}

fn told<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers[name].to_str().unwrap()
}

#[tokio::test]
async fn so_many_requests_of_an_address_are_free_and_then_it_costs() {
    let shop = shop("", ROUTES).await;
    for left in ["1", "0"] {
        let answer = ask_from(&shop, "192.0.2.1", "/reports/1").await;
        assert_eq!((answer.status, answer.text.as_str()), (200, "GET /reports/1"));
        assert_eq!(told(&answer, "ratelimit-policy"), "\"free\";q=2;w=86400");
        assert_eq!(told(&answer, "ratelimit"), format!("\"free\";r={left};t=86390"));
        // What one was given must not be kept for others.
        assert_eq!(told(&answer, "cache-control"), "private, no-store");
        let seen = shop.upstream.seen();
        assert_eq!((seen.len(), &seen[0].added["farthing-access"]), (1, &"free-quota".parse().unwrap()));
    }
    let unpaid = ask_from(&shop, "192.0.2.1", "/reports/2").await;
    assert_eq!(
        (unpaid.terms()["accepts"][0]["amount"].as_str(), told(&unpaid, "ratelimit")),
        (Some("10000"), "\"free\";r=0;t=86390")
    );
    // Another address has its own, and who pays takes none of them.
    assert_eq!(ask_from(&shop, "192.0.2.2", "/reports/1").await.status, 200);
    let payment = shop.payment(&unpaid).await;
    let paying =
        shop.http.get(shop.at("/reports/2")).header("x-forwarded-for", "192.0.2.2").header("payment-signature", payment);
    let paid = shop.ask(paying).await;
    assert_eq!((paid.status, shop.earned()), (200, 10_000));
    assert_eq!(ask_from(&shop, "192.0.2.2", "/reports/1").await.status, 200);
    assert_eq!(ask_from(&shop, "192.0.2.2", "/reports/1").await.status, 402);
}

#[tokio::test]
async fn one_network_of_ipv6_is_one_caller_and_a_claim_is_no_address() {
    let shop = shop("", ROUTES).await;
    for (address, status) in [("2001:db8::1", 200), ("2001:db8::2", 200), ("2001:db8::3", 402), ("2001:db8:0:1::1", 200)] {
        assert_eq!(ask_from(&shop, address, "/reports/1").await.status, status, "{address}");
    }
    // The nearest address that nobody vouches for counts, whatever stands before it.
    for (claimed, status) in [("1.1.1.1, 192.0.2.1", 200), ("2.2.2.2, 192.0.2.1", 200), ("3.3.3.3, 192.0.2.1", 402)] {
        assert_eq!(ask_from(&shop, claimed, "/reports/1").await.status, status, "{claimed}");
    }
}

#[tokio::test]
async fn what_is_said_for_all_routes_holds_where_a_route_says_nothing_else() {
    let keys = "free_quota = { requests = 1, per = \"hour\", by = \"ip\" }";
    let shop = shop(keys, &format!("{ROUTES}\n[[route]]\nmatch = \"/third\"\nprice = \"$1\"")).await;
    for (target, status) in
        [("/other", 402), ("/third", 200), ("/third", 402), ("/reports/1", 200), ("/reports/1", 200), ("/reports/1", 402)]
    {
        assert_eq!(ask_from(&shop, "192.0.2.1", target).await.status, status, "{target}");
    }
}

#[tokio::test]
async fn what_cannot_be_counted_is_not_free_and_can_be_paid_for() {
    let book = Arc::new(Flaky::default());
    let shop = Shop::at_desk("", ROUTES, counting_in(book.clone())).await.unwrap();
    book.is_away.store(true, Ordering::SeqCst);
    let (text, paid) = shop.buy(shop.get("/reports/1")).await;
    assert_eq!((text.as_str(), paid), ("GET /reports/1", 10_000));
    book.is_away.store(false, Ordering::SeqCst);
    assert_eq!(ask_from(&shop, "192.0.2.1", "/reports/1").await.status, 200);
}

#[tokio::test]
async fn without_a_book_or_a_clock_nothing_is_free() {
    let error = Shop::try_with("", ROUTES).await.err().unwrap().to_string();
    assert!(error.contains("GET /reports/*: free_quota: it is counted in the book, and there is none"), "{error}");
    let error = Shop::at_desk("", ROUTES, DeskMaterials::default()).await.err().unwrap().to_string();
    assert!(error.contains("there is no clock"), "{error}");
}

/// Of so many at once exactly as many are let in as the quota says.
async fn race(store: Store) {
    let routes = ROUTES.replace("requests = 2", "requests = 100");
    let shop = Shop::at_desk("", &routes, counting_in(store.quotas())).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..ASKERS {
        let gateway = shop.gateway.clone();
        tasks.spawn(async move {
            let peer = Peer::new([192, 0, 2, 1].into(), false);
            let request =
                Request::get("/reports/1").header("host", "shop.example").extension(peer).body(Body::empty()).unwrap();
            gateway.oneshot(request).await.unwrap().status().as_u16()
        });
    }
    let answers = tasks.join_all().await;
    let count = |status: u16| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!((count(200), count(402)), (100, usize::from(ASKERS) - 100));
    assert_eq!(shop.upstream.lines().len(), 100);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_requests_at_once_exactly_a_hundred_are_free_on_sqlite() {
    let folder = std::env::temp_dir().join(format!("farthing-gateway-quota-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    race(Store::open(&StoreUrl::sqlite(folder.join("book.db")), Access::Own).await.unwrap()).await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_requests_at_once_exactly_a_hundred_are_free_on_postgres() {
    let database = Database::new().unwrap();
    // What the shared server of the tests needs: it does not sync.
    let options = Options { accept_lost_commits: true, ..Options::default() };
    race(Store::open_with(&database.url().parse().unwrap(), Access::Own, &options).await.unwrap()).await;
}

const BY_PAYER: &str = r#"
    [[route]]
    match = "GET /reports/*"
    price = "$0.01"
    sign_in = true
    free_quota = { requests = 2, per = "day", by = "payer" }
"#;

/// A sign-in for the challenge of an answer.
pub async fn sign_in(answer: &Answer, signer: &Arc<dyn Signer>) -> String {
    let challenge: Challenge = serde_json::from_value(answer.terms()["extensions"]["sign-in-with-x"].clone()).unwrap();
    let key = MessageKey::Ordinary(Arc::clone(signer));
    let proof = challenge.sign(&"https://shop.example".parse().unwrap(), &[], &key).await.unwrap().unwrap();
    header::encode(&proof).unwrap()
}

#[tokio::test]
async fn who_signs_in_has_some_requests_for_free_and_each_sign_in_is_good_once() {
    let shop = shop("public_url = \"https://shop.example\"", BY_PAYER).await;
    let unpaid = || async { shop.ask(shop.http.get(shop.at("/reports/1"))).await };
    let come = |sign_in: String| shop.ask(shop.http.get(shop.at("/reports/1")).header("sign-in-with-x", sign_in));
    for left in ["1", "0"] {
        let signed = sign_in(&unpaid().await, &shop.signer()).await;
        let answer = come(signed.clone()).await;
        assert_eq!(
            (answer.status, answer.headers.get("ratelimit").unwrap().to_str().unwrap()),
            (200, &*format!("\"free\";r={left};t=86390"))
        );
        // The same one again is no other request.
        assert_eq!(come(signed).await.terms()["error"], "invalid_siwx_nonce");
    }
    assert_eq!(come(sign_in(&unpaid().await, &shop.signer()).await).await.status, 402);
    assert_eq!((shop.upstream.lines().len(), shop.earned()), (2, 0));
    // Without signing in, nothing is known of who asks.
    assert_eq!(unpaid().await.status, 402);
}

#[tokio::test]
async fn a_quota_of_payers_needs_a_way_to_show_who_one_is() {
    let routes = BY_PAYER.replace("sign_in = true", "");
    let quotas = counting_in(Arc::new(MemoryQuotas::default()));
    let error = Shop::at_desk("", &routes, quotas).await.err().unwrap().to_string();
    assert!(error.contains("needs sign_in = true"), "{error}");
}
