//! What a person buys, and how it arrives.

use farthing_testkit::browser::Browser;
use serde_json::json;

use crate::site::Site;

#[tokio::test]
async fn a_person_pays_and_sees_what_was_bought() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    assert_eq!(person.goto(&site.at("/article?page=2")).await.unwrap(), 402);
    assert_eq!(person.text("h1").await.unwrap(), "The sea in winter");
    person.click("text=Pay $0.01 with Test Wallet").await.unwrap();
    person.sees("text=The sea is grey, and wide").await.unwrap();
    assert_eq!((site.earned(), site.works()), (10_000, 1));
    // It is a page of its own: at its address, with its own style and script, and its own title.
    assert_eq!(person.value("location.pathname + location.search").await.unwrap(), json!("/article?page=2"));
    assert_eq!(person.value("getComputedStyle(document.querySelector('h1')).color").await.unwrap(), json!("rgb(1, 2, 3)"));
    assert_eq!(person.reload().await.unwrap(), 200, "it is given again");
    assert_eq!(person.text("#seen").await.unwrap(), "1");
    let calls = person.list("calls").await.unwrap();
    assert_eq!(calls.iter().filter(|call| *call == "eth_signTypedData_v4").count(), 1, "{calls:?}");
    assert_eq!((site.earned(), site.works()), (10_000, 0));
    for url in person.requests().await.unwrap() {
        assert!(url.starts_with(&site.url) || url.starts_with("data:"), "{url} leaves the site");
    }
    assert_eq!(person.list("errors").await.unwrap().iter().filter(|error| !error.contains("402")).count(), 0);
}

#[tokio::test]
async fn what_is_bought_at_one_address_opens_no_other() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/article")).await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=The sea is grey").await.unwrap();
    for other in ["/article?page=2", "/article/more", "/other"] {
        assert_eq!(person.goto(&site.at(other)).await.unwrap(), 402, "{other}");
        person.sees("text=Pay $0.01 with Test Wallet").await.unwrap();
    }
    assert_eq!(person.goto(&site.at("/article")).await.unwrap(), 200);
    assert_eq!(site.earned(), 10_000);
}

#[tokio::test]
async fn a_file_is_saved_under_its_name_and_can_be_had_again() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/data.csv")).await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=tides of 2026.csv: 12 bytes, text/csv").await.unwrap();
    person.click("text=Save tides of 2026.csv").await.unwrap();
    person.reload().await.unwrap();
    person.sees("text=You have bought this").await.unwrap();
    person.click("text=Open it again").await.unwrap();
    person.sees("text=Save tides of 2026.csv").await.unwrap();
    assert!(person.list("downloads").await.unwrap().iter().all(|name| name == "tides of 2026.csv"));
    assert_eq!((site.earned(), site.works()), (10_000, 1));
}

#[tokio::test]
async fn pictures_redirects_and_large_pages_arrive() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/picture.png")).await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("body > img").await.unwrap();
    assert_eq!(person.value("document.contentType").await.unwrap(), json!("image/png"));
    person.goto(&site.at("/large.html")).await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=large.html: 2.1 MB, text/html").await.unwrap();
    assert_eq!(site.earned(), 20_000);
    person.goto(&site.at("/moved")).await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=Pay $0.01 with Test Wallet").await.unwrap();
    assert_eq!(person.value("location.pathname").await.unwrap(), json!("/elsewhere"), "which has a price of its own");
    assert_eq!(site.earned(), 30_000);
}

#[tokio::test]
async fn nobody_pays_for_what_is_not_there() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/missing")).await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=The site answered 404 instead of what is sold here. You have not been charged.").await.unwrap();
    assert_eq!(site.earned(), 0);
}

#[tokio::test]
async fn prices_that_are_counted_and_purchases_that_must_have_a_name_are_paid() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    for (target, price, earned) in [("/counted?pages=3", "$0.03", 30_000), ("/first/a", "$0.10", 130_000)] {
        person.goto(&site.at(target)).await.unwrap();
        person.click(&format!("text=Pay {price} with Test Wallet")).await.unwrap();
        person.sees("text=The sea is grey, and wide").await.unwrap();
        assert_eq!(person.reload().await.unwrap(), 200, "{target} is given again");
        assert_eq!((site.earned(), site.works()), (earned, 1), "{target}");
    }
}

/// Where the price is a ceiling, what is signed moves through Permit2, which has to be approved.
#[tokio::test]
async fn a_metered_page_costs_what_it_used() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/metered")).await.unwrap();
    person.click("text=Pay up to $0.05 with Test Wallet").await.unwrap();
    person.sees("text=This token has to be approved first").await.unwrap();
    assert_eq!(site.earned(), 0);
    site.stack.approve_permit2().unwrap();
    person.reload().await.unwrap();
    person.click("text=Pay up to $0.05 with Test Wallet").await.unwrap();
    person.sees("text=The sea is grey, and wide").await.unwrap();
    let used = site.earned();
    assert!((100..400).contains(&used), "{used}");
}

#[tokio::test]
async fn a_form_that_was_sent_cannot_be_paid_for_by_a_page() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/article")).await.unwrap();
    person.sees("text=Pay $0.01").await.unwrap();
    let form =
        site.http.post(site.at("/article")).header("accept", crate::site::HTML).header("user-agent", crate::site::FIREFOX);
    let page = site.ask(form).await;
    assert!(page.status == 402 && page.text.contains("\"method\":\"POST\""), "{}", page.text);
}

#[tokio::test]
async fn a_person_chooses_the_network() {
    let (site, browser) = (Site::also_on("eip155:8453").await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/article")).await.unwrap();
    person.sees("text=Pay $0.01 with Test Wallet").await.unwrap();
    assert_eq!(person.text("#unit").await.unwrap(), "in USDC on Base");
    // By keyboard, as a group of radio buttons is used.
    person.press("Tab").await.unwrap();
    person.press("ArrowDown").await.unwrap();
    assert_eq!(person.text("#unit").await.unwrap(), "in USDC on Base Sepolia");
    if let Some(folder) = std::env::var_os("FARTHING_PICTURES") {
        person.picture(&std::path::PathBuf::from(folder).join("networks.png")).await.unwrap();
    }
    assert_eq!(person.barriers().await.unwrap(), Vec::<serde_json::Value>::new());
    person.click("text=Pay $0.01 with Test Wallet").await.unwrap();
    person.sees("text=The sea is grey").await.unwrap();
    assert_eq!(site.earned(), 10_000);
}
