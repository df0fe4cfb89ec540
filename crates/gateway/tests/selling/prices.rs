//! Prices by the clock, and several prices for one thing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use farthing::core::time::{Clock, UnixSeconds};
use serde_json::json;

use crate::shop::{Answer, Shop};

/// A clock that is moved by hand.
#[derive(Clone)]
struct Hands(Arc<AtomicU64>);

impl Hands {
    /// Half a minute before five on a Monday, in UTC.
    fn before_five() -> Self {
        Self(Arc::new(AtomicU64::new(1_704_128_370)))
    }

    fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

async fn open(routes: &str, clock: &Hands) -> Shop {
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let shop = Shop::serving("", routes, |server| server.clock(clock)).await;
    shop.unwrap_or_else(|error| panic!("{error}"))
}

fn amounts(answer: &Answer) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    answer.terms()["accepts"].as_array().unwrap().iter().map(|offer| (text(&offer["scheme"]), text(&offer["amount"]))).collect()
}

fn exact(amount: &str) -> (String, String) {
    ("exact".to_owned(), amount.to_owned())
}

const BY_DAY: &str = "[[route]]\nmatch = \"/report\"\n\
                      price = { by = \"time\", \"mon-fri 09:00-17:00\" = \"$0.02\", otherwise = \"$0.01\" }\n";

#[tokio::test]
async fn a_price_changes_with_the_hour_and_what_was_quoted_before_holds() {
    let clock = Hands::before_five();
    let shop = open(BY_DAY, &clock).await;
    let ask = || shop.http.get(shop.at("/report"));
    let early = shop.ask(ask()).await;
    assert_eq!(amounts(&early), [exact("20000")]);
    clock.advance(60);
    assert_eq!(amounts(&shop.ask(ask()).await), [exact("10000")]);
    let paid = shop.ask(ask().header("payment-signature", shop.payment(&early).await)).await;
    assert_eq!((paid.status, shop.earned()), (200, 20_000), "it was promised, and it is what was signed");
    assert_eq!(shop.buy(shop.get("/report")).await.1, 10_000);
}

#[tokio::test]
async fn a_quote_of_the_cheap_hours_does_not_outlive_its_promise() {
    let clock = Hands::before_five();
    let shop = open(&BY_DAY.replace("09:00-17:00", "17:00-18:00"), &clock).await;
    let ask = || shop.http.get(shop.at("/report"));
    let cheap = shop.ask(ask()).await;
    assert_eq!(amounts(&cheap), [exact("10000")]);
    clock.advance(400);
    let late = shop.ask(ask().header("payment-signature", shop.payment(&cheap).await)).await;
    assert_eq!((amounts(&late), shop.earned()), (vec![exact("20000")], 0));
    assert_eq!(late.terms()["error"], "quote_expired");
}

const TWO_WAYS: &str = r#"
    [[route]]
    match = "POST /chat"
    price = ["$0.04", { each = "$0.002", per = "1000 tokens", of = "response:/usage/total_tokens", at_most = "$0.05" }]
    [[route]]
    match = "/report"
    price = ["$0.01", "0.009 EURC"]
"#;

#[tokio::test]
async fn a_buyer_takes_the_price_that_it_likes() {
    let shop = Shop::open(TWO_WAYS).await;
    let post = || shop.http.post(shop.at("/chat")).body("1500");
    let terms = shop.ask(post()).await;
    assert_eq!(amounts(&terms), [exact("40000"), ("upto".to_owned(), "50000".to_owned())]);
    let mut earned = 0;
    for (number, price) in [(1, 3_000), (0, 40_000)] {
        let paid = shop.ask(post().header("payment-signature", shop.payment_by(&terms, number).await)).await;
        earned += price;
        assert_eq!((paid.status, shop.earned()), (200, earned), "{paid:?}");
    }
    // Without a count there is nothing to charge by the second price, and the first one asks for none.
    let post = || shop.http.post(shop.at("/chat")).body("null");
    let by = async |number| {
        shop.ask(post().header("payment-signature", shop.payment_by(&shop.ask(post()).await, number).await)).await
    };
    assert_eq!((by(1).await.status, by(0).await.status), (502, 200));
    assert_eq!(shop.earned(), earned + 40_000);
    let terms = shop.ask(shop.http.get(shop.at("/report"))).await;
    assert_eq!(amounts(&terms), [exact("10000"), exact("9000")]);
    let assets = |number: usize| terms.terms()["accepts"][number]["extra"]["name"].clone();
    assert_eq!((assets(0), assets(1)), (json!("USDC"), json!("EURC")));
}

#[tokio::test]
async fn prices_that_are_asked_for_stand_beside_those_that_are_not() {
    let clock = Hands::before_five();
    let by_day = r#"{ by = "time", "mon-fri 09:00-17:00" = "$0.02", otherwise = "$0.01" }"#;
    let metered = r#"{ each = "$0.002", per = "1000 tokens", of = "response:/usage/total_tokens", at_most = "$0.05" }"#;
    let shop = open(&format!("[[route]]\nmatch = \"/chat\"\nprice = [{by_day}, {metered}, \"0.5 EURC\"]"), &clock).await;
    let post = || shop.http.post(shop.at("/chat")).body("1500");
    let terms = shop.ask(post()).await;
    let upto = ("upto".to_owned(), "50000".to_owned());
    assert_eq!(amounts(&terms), [exact("20000"), upto.clone(), exact("500000")]);
    clock.advance(60);
    assert_eq!(amounts(&shop.ask(post()).await), [exact("10000"), upto, exact("500000")]);
    for (number, earned) in [(0, 20_000), (1, 23_000)] {
        let paid = shop.ask(post().header("payment-signature", shop.payment_by(&terms, number).await)).await;
        assert_eq!((paid.status, shop.earned()), (200, earned), "{paid:?}");
    }
}

#[tokio::test]
async fn two_prices_for_one_way_to_pay_are_found_at_start_up() {
    for (price, taught) in [
        (r#"["$0.01", "0.02 USDC"]"#, "by exact is priced twice"),
        (r#"[{ price = "$0.01", accepts = ["base"] }]"#, "nobody is paid on eip155:8453"),
        (r#"["$0.01", "$0.0000001"]"#, "$0.0000001 is not a whole number of atomic units"),
        (r#"["$0.01", "1 GOLD"]"#, "1 GOLD cannot be asked in any asset"),
    ] {
        let refused = Shop::try_with("", &format!("[[route]]\nmatch = \"/a\"\nprice = {price}")).await;
        let error = refused.err().unwrap().to_string();
        assert!(error.contains(taught), "{error}\nlacks: {taught}");
    }
}
