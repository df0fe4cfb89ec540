//! Which offer is taken, and why the others are not.

use farthing_client::controls::SpendControls;
use farthing_client::{ClientBuilder, Error, Rule};
use serde_json::{Value, json};

use crate::support::*;

async fn offering(offers: Vec<Value>) -> Seller {
    Seller::start(move |seen, base| Some(if seen.payment().is_some() { paid(&settled()) } else { asks(&terms(base, &offers)) }))
        .await
}

/// The offer that a buyer takes of these.
async fn taken(buyer: &Buyer, offers: Vec<Value>) -> Value {
    let seller = offering(offers).await;
    buyer.client.get(seller.url("/report")).send().await.unwrap();
    seller.payments()[0]["accepted"].clone()
}

/// Why a buyer takes none of these.
async fn refused(buyer: &Buyer, offers: Vec<Value>) -> Error {
    let seller = offering(offers).await;
    let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert_eq!((seller.payments().len(), buyer.reservation(0), error.may_have_paid()), (0, None, false), "{error}");
    error
}

fn under(controls: SpendControls) -> Buyer {
    Buyer::with(Wallet::default(), |builder: ClientBuilder| builder.controls(controls))
}

#[tokio::test]
async fn the_cheapest_offer_in_dollars_is_taken_wherever_it_stands() {
    let offers = vec![
        offer(BASE, "0xUSDC", "20000"),
        offer(BASE, "0xUSDM", "9999999999999999"), // just under a cent, in 18 decimals
        offer(BASE, "0xUSDC", "10000"),
    ];
    assert_eq!(taken(&Buyer::new(), offers).await["asset"], "0xUSDM");
}

#[tokio::test]
async fn among_equals_the_preferred_network_goes_first_and_then_the_servers_order() {
    let offers = || vec![offer(BASE, "0xUSDC", "10000"), offer(SEPOLIA, "0xUSDC", "10000")];
    assert_eq!(taken(&Buyer::new(), offers()).await["network"], BASE);
    let preferring = |name: &'static str| Buyer::with(Wallet::default(), move |builder| builder.prefer_network(name).unwrap());
    assert_eq!(taken(&preferring(SEPOLIA), offers()).await["network"], SEPOLIA);
    assert_eq!(taken(&preferring("eip155:1"), offers()).await["network"], BASE);
    let dearer = vec![offer(BASE, "0xUSDC", "10000"), offer(SEPOLIA, "0xUSDC", "10001")];
    assert_eq!(taken(&preferring(SEPOLIA), dearer).await["network"], BASE, "a preference is not worth paying more for");
}

#[tokio::test]
async fn offers_that_the_wallet_does_not_know_are_not_payable_and_each_says_why() {
    let mut upto = offer(BASE, "0xUSDC", "10000");
    upto["scheme"] = json!("upto");
    let mut deposit = offer(BASE, "0xUSDC", "10000");
    deposit["extra"]["paymentFlow"] = json!("escrow");
    let offers = vec![
        offer("eip155:1", "0xUSDC", "10000"),
        upto,
        offer(BASE, "0xFAKE", "10000"),
        deposit,
        offer(BASE, "0xUSDC", "0"),
        json!({"scheme": "exact", "network": "base"}),
    ];
    let error = refused(&Buyer::new(), offers).await;
    assert!(matches!(error, Error::NotPayable(_)), "{error}");
    let text = error.to_string();
    for says in [
        "no offer can be paid: 1. exact on eip155:1",
        "2. upto on eip155:8453",
        "has no scheme \"upto\"",
        "0xFAKE is not a known asset",
        "before the work",
        "asks for nothing",
        "6. it cannot be read",
    ] {
        assert!(text.contains(says), "{says} is not in {text}");
    }
}

#[tokio::test]
async fn whoever_charges_after_the_work_is_paid_rather_than_whoever_charges_before() {
    let mut upfront = offer(BASE, "0xUSDC", "9000");
    upfront["extra"]["paymentFlow"] = json!("upfront");
    assert_eq!(taken(&Buyer::new(), vec![upfront.clone()]).await["amount"], "9000");
    assert_eq!(taken(&Buyer::new(), vec![upfront, offer(BASE, "0xUSDC", "10000")]).await["amount"], "10000");
}

#[tokio::test]
async fn one_dollar_is_the_most_for_one_payment_until_told_otherwise() {
    let error = refused(&Buyer::new(), vec![offer(BASE, "0xUSDC", "10000000")]).await;
    assert!(matches!(&error, Error::RefusedByPolicy(declined) if declined.rule == Rule::Offers), "{error}");
    assert_eq!(error.to_string(), "no offer can be paid: 1. exact on eip155:8453 10 USDC: over the limit of $1 per payment");
    let generous = Buyer::with(Wallet::default(), |builder| builder.limit("$10 per payment").unwrap());
    assert_eq!(taken(&generous, vec![offer(BASE, "0xUSDC", "10000000")]).await["amount"], "10000000");
}

#[tokio::test]
async fn a_request_may_set_a_lower_limit_for_itself() {
    let seller = Seller::honest().await;
    let buyer = Buyer::new();
    let error = buyer.client.get(seller.url("/report")).at_most("$0.009").unwrap().send().await.unwrap_err();
    assert!(error.to_string().contains("over the limit of $0.009 per payment"), "{error}");
    assert!(buyer.client.get(seller.url("/report")).at_most("$0.01").unwrap().send().await.unwrap().paid().is_some());
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_by_name() {
    let cent = || vec![offer(BASE, "0xUSDC", "10000")];
    let lists = [
        (SpendControls::default().networks([SEPOLIA.parse().unwrap()]), "not among the allowed networks"),
        (SpendControls::default().assets(["USDM".parse().unwrap()]), "the asset is not among the allowed"),
        (SpendControls::default().payees(["0xFriend".parse().unwrap()]), "0xSeller, who is not among the allowed"),
        (SpendControls::default().hosts(["api.example.com".to_owned()]), "127.0.0.1 is not among the allowed hosts"),
        (SpendControls::default().max_timeout_seconds(299), "for 300 seconds, and at most 299"),
    ];
    for (controls, says) in lists {
        let error = refused(&under(controls), cent()).await;
        assert!(matches!(error, Error::RefusedByPolicy(_)) && error.to_string().contains(says), "{error}");
    }
    let allowed = SpendControls::default()
        .networks([BASE.parse().unwrap()])
        .assets(["usdc".parse().unwrap()])
        .payees([SELLER.to_lowercase().parse().unwrap()])
        .hosts(["127.0.0.1".to_owned()])
        .max_timeout_seconds(300);
    assert_eq!(taken(&under(allowed), cent()).await["network"], BASE);
}

#[tokio::test]
async fn an_authorization_for_more_than_fifteen_minutes_is_not_signed() {
    let lasting = |seconds: u64| {
        let mut offer = offer(BASE, "0xUSDC", "10000");
        offer["maxTimeoutSeconds"] = json!(seconds);
        vec![offer]
    };
    let error = refused(&Buyer::new(), lasting(901)).await;
    assert!(error.to_string().contains("901 seconds, and at most 900"), "{error}");
    taken(&Buyer::new(), lasting(900)).await;
}

#[tokio::test]
async fn what_has_no_price_in_dollars_is_not_paid() {
    let error = refused(&Buyer::new(), vec![offer(BASE, "0xEURC", "10000")]).await;
    assert!(matches!(error, Error::RefusedByPolicy(_)) && error.to_string().contains("dollars"), "{error}");
    let most = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    let error = refused(&Buyer::new(), vec![offer(BASE, "0xUSDC", most)]).await;
    assert!(matches!(error, Error::RefusedByPolicy(_)), "{error}");
}

#[tokio::test]
async fn an_offer_that_the_wallet_cannot_afford_is_skipped_with_what_it_holds() {
    let poor = || Buyer::with(Wallet { held: Some(9_999), ..Wallet::default() }, |builder| builder);
    let error = refused(&poor(), vec![offer(BASE, "0xUSDC", "10000")]).await;
    assert!(matches!(error, Error::Unaffordable(_)), "{error}");
    assert!(error.to_string().contains("0.01 USDC: the wallet holds 0.009999 USDC"), "{error}");
    let offers = vec![offer(BASE, "0xUSDC", "10000"), offer(BASE, "0xUSDC", "9999")];
    assert_eq!(taken(&poor(), offers).await["amount"], "9999");
}

#[tokio::test]
async fn a_node_that_is_down_does_not_stop_payments() {
    let buyer = Buyer::with(Wallet { node_is_down: true, ..Wallet::default() }, |builder| builder);
    taken(&buyer, vec![offer(BASE, "0xUSDC", "10000")]).await;
}

#[tokio::test]
async fn when_nothing_could_be_signed_nothing_counts_as_spent() {
    let locked = Buyer::with(Wallet { cannot_sign: true, ..Wallet::default() }, |builder| builder);
    let error = refused(&locked, vec![offer(BASE, "0xUSDC", "10000")]).await;
    assert!(matches!(error, Error::Wallet(_)), "{error}");
    let picky = Buyer::with(Wallet { refuses: true, ..Wallet::default() }, |builder| builder);
    let error = refused(&picky, vec![offer(BASE, "0xUSDC", "10000")]).await;
    assert!(matches!(error, Error::NotPayable(_)) && error.to_string().contains("extra.name"), "{error}");
}

#[tokio::test]
async fn only_so_many_offers_are_looked_at() {
    let mut offers = vec![offer(BASE, "0xUSDC", "20000"); farthing_client::payer::MAX_OFFERS];
    offers.push(offer(BASE, "0xUSDC", "1"));
    assert_eq!(taken(&Buyer::new(), offers).await["amount"], "20000");
}

#[tokio::test]
async fn a_sellers_words_cannot_rewrite_a_terminal() {
    let mut evil = offer(BASE, "0xUSDC", "10000");
    evil["scheme"] = json!("\u{1b}[2Jfree\n");
    let error = refused(&Buyer::new(), vec![evil]).await;
    assert!(!error.to_string().contains(|letter: char| letter.is_control()), "{error:?}");
}
