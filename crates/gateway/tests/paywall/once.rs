//! Whatever happens on the way, a person pays once.

use farthing_testkit::browser::Browser;
use serde_json::json;

use crate::site::Site;

async fn signatures(person: &farthing_testkit::browser::Person) -> usize {
    person.list("calls").await.unwrap().iter().filter(|call| *call == "eth_signTypedData_v4").count()
}

#[tokio::test]
async fn three_clicks_pay_once() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/article")).await.unwrap();
    person.order("double", json!({"selector": "text=Pay $0.01", "times": 3})).await.unwrap();
    person.sees("text=The sea is grey").await.unwrap();
    assert_eq!((signatures(&person).await, site.earned(), site.works()), (1, 10_000, 1));
}

#[tokio::test]
async fn a_reload_in_the_middle_pays_once() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/article")).await.unwrap();
    person.order("hold", json!({})).await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=This takes a few seconds").await.unwrap();
    person.reload().await.unwrap();
    person.sees("text=The same payment is presented again").await.unwrap();
    person.order("release", json!({})).await.unwrap();
    person.sees("text=The sea is grey").await.unwrap();
    assert_eq!((signatures(&person).await, site.earned(), site.works()), (1, 10_000, 1));
}

#[tokio::test]
async fn answers_that_get_lost_are_fetched_again_with_the_same_payment() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/article")).await.unwrap();
    person.order("lose", json!({"times": 2})).await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=The answer did not arrive.").await.unwrap();
    person.sees("text=The sea is grey").await.unwrap();
    assert_eq!((signatures(&person).await, site.earned(), site.works()), (1, 10_000, 1));
}

/// What was lost with the page that waited for it is there when the person comes back.
#[tokio::test]
async fn an_answer_that_was_lost_with_its_page_is_there_later() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/article")).await.unwrap();
    person.order("lose", json!({"times": 1})).await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=The answer did not arrive.").await.unwrap();
    person.goto("about:blank").await.unwrap();
    person.goto(&site.at("/article")).await.unwrap();
    person.sees("text=The sea is grey").await.unwrap();
    assert_eq!((signatures(&person).await, site.earned(), site.works()), (1, 10_000, 1));
}

#[tokio::test]
async fn two_tabs_pay_once() {
    two_tabs(true).await;
}

/// Without TLS, browsers give pages no locks.
#[tokio::test]
async fn two_tabs_without_locks_pay_once() {
    two_tabs(false).await;
}

async fn two_tabs(locks: bool) {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let first = site.person_with(&browser, json!({"wallets": [site.wallet()], "locks": locks})).await;
    let second = first.another_tab().await.unwrap();
    for tab in [&first, &second] {
        tab.goto(&site.at("/article")).await.unwrap();
        tab.sees("text=Pay $0.01").await.unwrap();
    }
    assert_eq!(second.value("navigator.locks !== undefined").await.unwrap(), json!(locks));
    first.order("wallet", json!({"waits": ["eth_requestAccounts"]})).await.unwrap();
    second.click("text=Pay $0.01").await.unwrap();
    second.sees("text=Connecting").await.unwrap();
    // Nothing is signed yet, and still only one of them goes on.
    first.click("text=Pay $0.01").await.unwrap();
    first.sees("text=Another tab is paying for this").await.unwrap();
    first.order("wallet", json!({"waits": []})).await.unwrap();
    second.reload().await.unwrap();
    second.sees("text=Pay $0.01").await.unwrap();
    first.order("hold", json!({})).await.unwrap();
    pay_after_claims(&first).await;
    // The second hears of the payment of the first, and will not make one of its own.
    second.sees("text=Another tab is paying for this").await.unwrap();
    first.order("release", json!({})).await.unwrap();
    first.sees("text=The sea is grey").await.unwrap();
    second.sees("text=You have bought this").await.unwrap();
    second.click("text=Open it again").await.unwrap();
    second.sees("text=The sea is grey").await.unwrap();
    assert_eq!((signatures(&first).await, site.earned(), site.works()), (1, 10_000, 1));
}

/// A tab that has gone leaves its claim behind for some seconds, where there are no locks.
async fn pay_after_claims(person: &farthing_testkit::browser::Person) {
    for _ in 0..200 {
        person.click("text=Try again").await.unwrap();
        person.click("text=Pay $0.01").await.unwrap();
        person.sees("text=/This takes a few seconds|Another tab/").await.unwrap();
        if person.text("#headline").await.unwrap() == "Paying" {
            return;
        }
    }
    panic!("the claim of a tab that is gone is never given up");
}

#[tokio::test]
async fn who_wants_it_anew_pays_anew() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/data.csv")).await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=Paid. It is here").await.unwrap();
    person.reload().await.unwrap();
    person.click("text=Buy it anew for $0.01").await.unwrap();
    person.click("text=Pay $0.01 with Test Wallet").await.unwrap();
    person.sees("text=Paid. It is here").await.unwrap();
    assert_eq!((signatures(&person).await, site.earned(), site.works()), (2, 20_000, 2));
}

/// The money has moved, and nobody has heard of it yet.
#[tokio::test]
async fn a_settlement_that_is_not_confirmed_is_waited_for_with_the_same_payment() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/article")).await.unwrap();
    site.till.loses_settlements(true);
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=Waiting for confirmation").await.unwrap();
    site.till.loses_settlements(false);
    person.sees("text=The sea is grey").await.unwrap();
    assert_eq!((signatures(&person).await, site.earned()), (1, 10_000));
}

#[tokio::test]
async fn a_purchase_that_is_not_kept_any_more_is_told_and_can_be_made_anew() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/article")).await.unwrap();
    // What another site would have kept: a payment that bought nothing here.
    let kept = "localStorage.setItem('farthing GET /article', JSON.stringify({header: btoa(JSON.stringify({x402Version: 2, \
                accepted: JSON.parse(document.getElementById('data').textContent).terms.accepts[0], payload: {}})), \
                until: Date.now() / 1000, network: 'eip155:84532', price: '$0.01', delivered: true}))";
    person.value(kept).await.unwrap();
    person.reload().await.unwrap();
    person.sees("text=You have bought this").await.unwrap();
    person.click("text=Open it again").await.unwrap();
    person.sees("text=It is not kept any more").await.unwrap();
    person.click("text=Buy it anew").await.unwrap();
    person.click("text=Pay $0.01 with Test Wallet").await.unwrap();
    person.sees("text=The sea is grey").await.unwrap();
    assert_eq!(site.earned(), 10_000);
}
