//! Whether everybody can use the page, and nothing of others runs in it.

use std::path::PathBuf;

use farthing_testkit::browser::Browser;
use serde_json::{Value, json};

use crate::site::{ROUTES, Site};

#[tokio::test]
async fn the_keyboard_alone_can_pay() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet()).await;
    person.goto(&site.at("/article")).await.unwrap();
    person.sees("text=Pay $0.01").await.unwrap();
    person.press("Tab").await.unwrap();
    let focused = person.order("focused", json!({})).await.unwrap();
    assert_eq!(focused, json!("Pay $0.01 with Test Wallet"));
    person.order("hold", json!({})).await.unwrap();
    person.press("Enter").await.unwrap();
    person.sees("text=This takes a few seconds").await.unwrap();
    assert_eq!(person.value("document.activeElement.id").await.unwrap(), json!("status"), "what was pressed is gone");
    person.order("release", json!({})).await.unwrap();
    person.sees("text=The sea is grey").await.unwrap();
    assert_eq!(site.earned(), 10_000);
}

#[tokio::test]
async fn nobody_is_kept_out_by_how_the_page_is_made() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    for (dark, width) in [(false, 1_100), (true, 360)] {
        let wishes = json!({"dark": dark, "width": width, "wallets": [site.wallet()]});
        let person = site.person_with(&browser, wishes).await;
        person.goto(&site.at("/article")).await.unwrap();
        person.sees("text=Pay $0.01").await.unwrap();
        let none: [Value; 0] = [];
        assert_eq!(person.barriers().await.unwrap(), none, "to begin with");
        assert_eq!(person.value("document.documentElement.scrollWidth <= innerWidth").await.unwrap(), json!(true));
        person.order("wallet", json!({"declines": ["eth_signTypedData_v4"]})).await.unwrap();
        person.click("text=Pay $0.01").await.unwrap();
        person.sees("text=You declined").await.unwrap();
        assert_eq!(person.barriers().await.unwrap(), none, "after something went wrong");
    }
    let nobody = site.person_with(&browser, json!({"dark": true})).await;
    nobody.goto(&site.at("/article")).await.unwrap();
    nobody.sees("text=No wallet found").await.unwrap();
    let none: [Value; 0] = [];
    assert_eq!(nobody.barriers().await.unwrap(), none, "without a wallet");
}

#[tokio::test]
async fn nothing_of_others_runs_in_the_page() {
    let bad = "</script><script>window.ran = 1</script><img src=x onerror='window.ran = 2'>";
    let routes = format!("[[route]]\nmatch = \"/**\"\nprice = \"$0.01\"\ndescription = '''{bad}'''");
    let paywall = format!("[gateway.paywall]\ntext = '''{bad}'''\nname = \"<b onclick=alert(1)>\"\naccent = \"#ffcc00\"");
    let (site, browser) = (Site::with(&paywall, &routes).await, Browser::start().await.unwrap());
    let mut wallet = site.wallet();
    wallet["name"] = json!("<img src=x onerror='window.ran=3'>");
    let person = site.person(&browser, wallet).await;
    person.goto(&site.at("/a?%3Cscript%3Ewindow.ran=4%3C/script%3E=%22'")).await.unwrap();
    person.sees("text=Pay $0.01 with <img").await.unwrap();
    let colour = person.value("getComputedStyle(document.querySelector('button.main')).backgroundColor").await.unwrap();
    assert_eq!(colour, json!("rgb(255, 204, 0)"), "the seller's own style is let in");
    assert!(person.text("h1").await.unwrap().starts_with("</script><script>"));
    let inject = "(() => { const made = document.createElement('script'); \
                  try { made.textContent = 'window.ran = 5'; document.body.append(made); } catch {} return window.ran ?? 0 })()";
    assert_eq!(person.value(inject).await.unwrap(), json!(0));
    for url in person.requests().await.unwrap() {
        assert!(url.starts_with(&site.url) || url.starts_with("data:"), "{url} leaves the site");
    }
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=The sea is grey").await.unwrap();
    assert_eq!(site.earned(), 10_000);
}

/// Pictures of every state, into the folder that `FARTHING_PICTURES` names; without it, only that every state can be shown.
#[tokio::test]
async fn every_state_can_be_shown() {
    let folder = std::env::var_os("FARTHING_PICTURES").map(PathBuf::from);
    let keys = "[gateway.paywall]\nname = \"The Harbour Gazette\"\ntext = \"One article, yours to read. No subscription.\"\nsupport = \"mailto:help@example.com\"";
    let (site, browser) = (Site::with(keys, ROUTES).await, Browser::start().await.unwrap());
    let sizes = [("desktop", 1_000, false), ("desktop-dark", 1_000, true), ("phone", 375, false), ("phone-dark", 375, true)];
    let shown = if folder.is_some() { &sizes[..] } else { &sizes[3..] };
    for &(size, width, dark) in shown {
        let wishes = |wallets: Value| json!({"dark": dark, "width": width, "height": 760, "scale": 2, "wallets": wallets});
        let shoot = async |person: &farthing_testkit::browser::Person, state: &str| {
            if let Some(folder) = &folder {
                person.picture(&folder.join(format!("{state}-{size}.png"))).await.unwrap();
            }
        };
        let nobody = site.person_with(&browser, wishes(json!([]))).await;
        nobody.goto(&site.at("/article")).await.unwrap();
        nobody.sees("text=No wallet found").await.unwrap();
        shoot(&nobody, "no-wallet").await;
        let mut second = site.wallet();
        second["name"] = json!("Another Wallet");
        let person = site.person_with(&browser, wishes(json!([site.wallet(), second]))).await;
        person.goto(&site.at("/article")).await.unwrap();
        person.sees("text=with Another Wallet").await.unwrap();
        shoot(&person, "choose").await;
        person.order("wallet", json!({"declines": ["eth_signTypedData_v4"]})).await.unwrap();
        person.click("text=Pay $0.01").await.unwrap();
        person.sees("text=You declined").await.unwrap();
        shoot(&person, "declined").await;
        person.order("wallet", json!({"declines": [], "waits": ["eth_signTypedData_v4"]})).await.unwrap();
        person.click("text=Try again").await.unwrap();
        person.click("text=Pay $0.01").await.unwrap();
        person.sees("text=Waiting for your signature").await.unwrap();
        shoot(&person, "signing").await;
        person.order("wallet", json!({"waits": []})).await.unwrap();
        person.goto(&site.at("/data.csv")).await.unwrap();
        person.click("text=Pay $0.01").await.unwrap();
        person.sees("text=Paid. It is here").await.unwrap();
        shoot(&person, "paid").await;
        person.reload().await.unwrap();
        person.sees("text=You have bought this").await.unwrap();
        shoot(&person, "bought").await;
        let poor = site.person_with(&browser, wishes(json!([site.wallet_of(2)]))).await;
        poor.goto(&site.at("/metered")).await.unwrap();
        poor.sees("text=Pay up to").await.unwrap();
        shoot(&poor, "metered").await;
        poor.click("text=Pay up to").await.unwrap();
        poor.sees("text=Not enough in this account").await.unwrap();
        shoot(&poor, "short").await;
    }
}
