//! Wallets of all kinds, and none.

use farthing_testkit::browser::Browser;
use farthing_testkit::golden::CHAIN_ID;
use serde_json::json;

use crate::site::Site;

#[tokio::test]
async fn a_wallet_that_declines_costs_nothing_and_may_be_asked_again() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let mut wallet = site.wallet();
    wallet["declines"] = json!(["eth_signTypedData_v4"]);
    let person = site.person(&browser, wallet).await;
    person.goto(&site.at("/article")).await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=You declined in your wallet").await.unwrap();
    assert_eq!(site.earned(), 0);
    person.order("wallet", json!({"declines": []})).await.unwrap();
    person.click("text=Try again").await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=The sea is grey").await.unwrap();
    assert_eq!(site.earned(), 10_000);
}

#[tokio::test]
async fn a_wallet_on_another_network_is_switched_and_told_of_one_that_it_does_not_know() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    for (knows, asked) in [(json!([CHAIN_ID]), 0), (json!([]), 1)] {
        let mut wallet = site.wallet();
        wallet["chainId"] = json!(1);
        wallet["knows"] = knows;
        let person = site.person(&browser, wallet).await;
        person.goto(&site.at("/article")).await.unwrap();
        person.click("text=Pay $0.01").await.unwrap();
        person.sees("text=The sea is grey").await.unwrap();
        let calls = person.list("calls").await.unwrap();
        assert!(calls.iter().any(|call| call == "wallet_switchEthereumChain"), "{calls:?}");
        assert_eq!(calls.iter().filter(|call| *call == "wallet_addEthereumChain").count(), asked);
    }
    assert_eq!(site.earned(), 20_000);
}

#[tokio::test]
async fn an_account_with_too_little_is_told_before_it_signs() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person(&browser, site.wallet_of(2)).await;
    person.goto(&site.at("/article")).await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=Not enough in this account").await.unwrap();
    assert!(person.text("#detail").await.unwrap().contains("holds 0 USDC on Base Sepolia, and $0.01 is asked"));
    assert!(!person.list("calls").await.unwrap().contains(&"eth_signTypedData_v4".to_owned()));
}

#[tokio::test]
async fn without_a_wallet_the_page_says_how_to_get_one_and_how_programs_pay() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let person = site.person_with(&browser, json!({"wallets": []})).await;
    person.goto(&site.at("/article")).await.unwrap();
    person.sees("text=No wallet found in this browser").await.unwrap();
    person.click("text=Pay with a program instead").await.unwrap();
    person.sees(&format!("text=farthing pay '{}'", site.at("/article"))).await.unwrap();
    let silent = site.person_with(&browser, json!({"wallets": [], "scripts": false})).await;
    silent.goto(&site.at("/article")).await.unwrap();
    silent.sees("noscript .plain").await.unwrap();
}

#[tokio::test]
async fn a_wallet_of_the_older_kind_pays_too() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let mut wallet = site.wallet();
    wallet["isOlder"] = json!(true);
    let person = site.person(&browser, wallet).await;
    person.goto(&site.at("/article")).await.unwrap();
    person.click("text=Pay $0.01 with your wallet").await.unwrap();
    person.sees("text=The sea is grey").await.unwrap();
    assert_eq!(site.earned(), 10_000);
}

/// The payment is good when it is signed, and the money is gone when it arrives.
#[tokio::test]
async fn a_refusal_is_told_in_words_and_costs_nothing() {
    let (site, browser) = (Site::open().await, Browser::start().await.unwrap());
    let devnet = site.stack.devnet();
    devnet.give_usdc(devnet.accounts()[2].address, "10000".parse().unwrap()).unwrap();
    let [person, unlucky] = [(); 2].map(|()| site.person(&browser, site.wallet_of(2)));
    let (person, unlucky) = (person.await, unlucky.await);
    for somebody in [&person, &unlucky] {
        somebody.goto(&site.at("/article")).await.unwrap();
    }
    person.order("hold", json!({})).await.unwrap();
    person.click("text=Pay $0.01").await.unwrap();
    person.sees("text=This takes a few seconds").await.unwrap();
    unlucky.order("lose", json!({"times": 100, "served": false})).await.unwrap();
    unlucky.click("text=Pay $0.01").await.unwrap();
    unlucky.sees("text=The answer did not arrive.").await.unwrap();
    let elsewhere = site.person(&browser, site.wallet_of(2)).await;
    elsewhere.goto(&site.at("/plain/other")).await.unwrap();
    elsewhere.click("text=Pay $0.01").await.unwrap();
    elsewhere.sees("text=The sea is grey").await.unwrap();
    person.order("release", json!({})).await.unwrap();
    person.sees("text=The payment was refused").await.unwrap();
    let detail = person.text("#detail").await.unwrap();
    assert!(detail.contains("holds too little") && detail.contains("You have not been charged"), "{detail}");
    person.click("text=Start again").await.unwrap();
    person.sees("text=Pay $0.01").await.unwrap();
    assert_eq!((site.earned(), site.works()), (10_000, 1));
    // Of a payment that was sent before, nobody here can tell that it was not charged, and nobody throws it away.
    unlucky.order("lose", json!({"times": 0})).await.unwrap();
    unlucky.sees("text=look in your wallet whether it was charged").await.unwrap();
    unlucky.click("text=Buy it anew").await.unwrap();
    unlucky.sees("text=Pay $0.01").await.unwrap();
}
