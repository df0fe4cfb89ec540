//! The page in a real Chromium: what is sold is plotted, and everybody can read it.

use std::path::PathBuf;

use farthing_testkit::browser::{Browser, Person};
use serde_json::{Value, json};

use crate::till::Till;

const HOUR: u64 = 3_600;

/// Waits until the page has shown this range by that.
async fn shows(person: &Person, what: &str) {
    person.sees(&format!("html[data-shown='{what}']")).await.unwrap();
}

#[tokio::test]
async fn what_is_sold_is_plotted_and_told_and_nobody_else_is_asked() {
    let (till, browser) = (Till::open().await, Browser::start().await.unwrap());
    let person = browser.open(json!({})).await.unwrap();
    assert_eq!(person.goto(&till.admin).await.unwrap(), 200);
    person.sees("text=Nothing has been sold in this time").await.unwrap();

    assert_eq!(till.sell(0, "GET", "/reports/1", 3 * HOUR).await, 200);
    assert_eq!(till.sell(1, "GET", "/datasets/a", 3 * HOUR).await, 200);
    assert_eq!(till.sell(0, "GET", "/reports/2", 0).await, 200);
    assert_eq!(till.sell(0, "GET", "/fails", 0).await, 404);
    till.leave_open(9, 400).await;
    // It brings itself up to date, and this came last.
    person.sees("#open >> text=farthing ledger show 0909").await.unwrap();
    person.sees("#revenue .legend >> text=GET /datasets/**").await.unwrap();
    assert!(person.text("#tiles").await.unwrap().contains("$0.27"));
    assert!(person.text("#tiles").await.unwrap().contains("75%"), "three of four");
    assert!(person.text("#failures").await.unwrap().contains("The work failed, nobody paid"));
    assert!(person.text("#attention").await.unwrap().contains("is low: fund it"));
    let link = person.value("document.querySelector('#sales a').href").await.unwrap();
    assert!(link.as_str().unwrap().starts_with("https://sepolia.basescan.org/tx/0x"), "{link}");

    // Three hours ago twenty-six cents were sold: the plot says so by its height, by the keyboard, and in its table.
    let heights = "(() => { const bars = [...document.querySelectorAll('#revenue svg rect:not(.hit)')].map(bar => bar.height.baseVal.value); \
                return Math.max(...bars) / Math.min(...bars) })()";
    let ratio = person.value(heights).await.unwrap().as_f64().unwrap();
    assert!((24.0..26.0).contains(&ratio), "25 cents are {ratio} times a cent");
    person.value("document.querySelector('#revenue svg').focus()").await.unwrap();
    for _ in 0..4 {
        person.press("ArrowLeft").await.unwrap();
    }
    let readout = person.text("#revenue .readout").await.unwrap();
    assert!(readout.contains("$0.26 (2 sales)") && readout.contains("GET /datasets/** $0.25"), "{readout}");
    person.click("#revenue summary").await.unwrap();
    assert!(person.text("#revenue table").await.unwrap().contains("$0.26 (2 sales)"));

    person.click("#ranges input[value='1h']").await.unwrap();
    shows(&person, "1h route").await;
    assert!(person.text("#tiles").await.unwrap().contains("$0.01"));
    person.click("#revenue >> text=Payer").await.unwrap();
    shows(&person, "1h payer").await;
    assert!(person.text("#revenue .legend").await.unwrap().contains('…'));

    for url in person.requests().await.unwrap() {
        assert!(url.starts_with(&till.admin), "{url} leaves this machine");
    }
    let none: [String; 0] = [];
    assert_eq!(person.list("errors").await.unwrap(), none);
}

/// Pictures of every state, into the folder that `FARTHING_PICTURES` names; without it, only that everybody can use it.
#[tokio::test]
async fn nobody_is_kept_out_and_every_state_can_be_shown() {
    let folder = std::env::var_os("FARTHING_PICTURES").map(PathBuf::from);
    let (till, browser) = (Till::open().await, Browser::start().await.unwrap());
    let none: [Value; 0] = [];
    let wishes = |dark: bool, width: u32| json!({"dark": dark, "width": width, "height": 900, "scale": 2});
    let shoot = async |person: &Person, name: &str| {
        if let Some(folder) = &folder {
            person.picture(&folder.join(format!("{name}.png"))).await.unwrap();
        }
    };
    let first = browser.open(wishes(false, 1_200)).await.unwrap();
    first.goto(&till.admin).await.unwrap();
    shows(&first, "24h route").await;
    shoot(&first, "empty-desktop").await;
    assert_eq!(first.barriers().await.unwrap(), none, "empty");
    for hour in (0..24).rev().filter(|hour| hour % 5 != 3) {
        assert_eq!(till.sell(usize::try_from(hour % 3).unwrap(), "GET", "/reports/7", hour * HOUR).await, 200);
        if hour % 2 == 0 {
            assert_eq!(till.sell(1, "GET", "/datasets/rain/2026.csv", hour * HOUR).await, 200);
        }
        if hour % 7 == 0 {
            assert_eq!(till.sell(2, "POST", "/v1/chat/completions", hour * HOUR).await, 200);
            assert_eq!(till.ask("/reports/8", hour * HOUR).await, 402);
        }
    }
    till.sell(0, "GET", "/fails", HOUR).await;
    till.ask("/nowhere", HOUR).await;
    till.leave_open(7, 400).await;
    till.leave_open(8, 20).await;
    for (name, dark, width) in
        [("desktop", false, 1_200), ("desktop-dark", true, 1_200), ("phone", false, 375), ("phone-dark", true, 375)]
    {
        let person = browser.open(wishes(dark, width)).await.unwrap();
        person.goto(&till.admin).await.unwrap();
        person.sees("#revenue .legend >> text=GET /reports/*").await.unwrap();
        shoot(&person, name).await;
        assert_eq!(person.barriers().await.unwrap(), none, "{name}");
        assert_eq!(person.value("document.documentElement.scrollWidth <= innerWidth").await.unwrap(), json!(true), "{name}");
    }
}
