//! Policies and the selector: which of the payable offers is paid.

use farthing_client::{Candidate, ClientBuilder, Error, Rule};
use farthing_core::reason::Reason;
use farthing_core::scheme::PaymentFlow;
use serde_json::{Value, json};

use crate::support::*;

fn offers() -> Vec<Value> {
    vec![
        offer(BASE, "0xUSDC", "30000"),
        offer(BASE, "0xFAKE", "1"),
        offer(SEPOLIA, "0xUSDC", "10000"),
        offer(BASE, "0xUSDC", "20000"),
    ]
}

/// What a buyer takes of the offers above, or why it takes none.
async fn taken(change: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<String, Error> {
    let wallet = Wallet { held: Some(25_000), ..Wallet::default() };
    let buyer = Buyer::with(wallet, change);
    let seller = Seller::start(|seen, base| {
        Some(if seen.payment().is_some() { paid(&settled()) } else { asks(&terms(base, &offers())) })
    })
    .await;
    let answer = buyer.client.get(seller.url("/report")).send().await;
    let payments = seller.payments();
    assert_eq!((payments.len(), buyer.wallet.signed()), (usize::from(answer.is_ok()), usize::from(answer.is_ok())));
    answer.map(|_| payments[0]["accepted"]["amount"].as_str().unwrap().to_owned())
}

fn on_base(_: farthing_core::wire::Version, mut candidates: Vec<Candidate<'_>>) -> Vec<Candidate<'_>> {
    candidates.retain(|candidate| candidate.offer().network.as_str() == BASE);
    candidates
}

#[tokio::test]
async fn policies_leave_offers_out_and_reorder_the_rest_one_after_the_other() {
    assert_eq!(taken(|builder| builder).await.unwrap(), "10000");
    assert_eq!(taken(|builder| builder.policy(on_base)).await.unwrap(), "20000");
    let dearest = |builder: ClientBuilder| {
        builder.policy(on_base).policy(|version, mut candidates| {
            assert_eq!((version.number(), candidates.len()), (2, 2), "unpayable ones and those left out are not shown");
            assert!(candidates.is_sorted_by_key(Candidate::usd), "best first");
            candidates.reverse();
            candidates
        })
    };
    assert_eq!(taken(dearest).await.unwrap(), "20000", "the dearest is beyond the wallet, and the next one is taken");
}

#[tokio::test]
async fn what_policies_leave_out_is_said_by_name() {
    let error = taken(|builder| builder.policy(|_, _| Vec::new())).await.unwrap_err();
    assert!(matches!(&error, Error::RefusedByPolicy(declined) if declined.rule == Rule::Offers), "{error}");
    assert_eq!(error.to_string().matches("a policy of the buyer's left it out").count(), 3, "{error}");
}

#[tokio::test]
async fn a_selector_picks_one_and_no_other_is_tried() {
    assert_eq!(taken(|builder| builder.selector(|_, candidates| Some(candidates.len() - 2))).await.unwrap(), "20000");
    let error = taken(|builder| builder.selector(|_, candidates| Some(candidates.len() - 1))).await.unwrap_err();
    assert!(matches!(error, Error::Unaffordable(_)), "{error}");
    assert_eq!(error.to_string().matches("the buyer's selector did not pick it").count(), 2, "{error}");
    for nothing in [None, Some(3), Some(usize::MAX)] {
        let error = taken(move |builder| builder.selector(move |_, _| nothing)).await.unwrap_err();
        assert!(matches!(error, Error::RefusedByPolicy(_)), "{error}");
    }
}

#[tokio::test]
async fn a_policy_or_selector_that_panics_lets_nothing_be_paid() {
    let policy = taken(|builder| builder.policy(|_, _| panic!("sesame"))).await.unwrap_err();
    let selector = taken(|builder| builder.selector(|_, _| panic!("sesame"))).await.unwrap_err();
    for error in [policy, selector] {
        assert!(matches!(&error, Error::RefusedByPolicy(declined) if declined.rule == Rule::HookFailed), "{error}");
        assert!(!error.to_string().contains("sesame"), "{error}");
    }
}

#[tokio::test]
async fn a_dry_run_heeds_policies() {
    let seller = Seller::start(|_, base| Some(asks(&terms(base, &offers())))).await;
    let buyer = Buyer::with(Wallet::default(), |builder| builder.policy(on_base));
    let terms = buyer.client.inspect(seller.url("/report")).await.unwrap();
    assert_eq!(terms.would_pay, Some(4));
    assert_eq!(terms.offers[2].why.as_deref(), Some("a policy of the buyer's left it out"));
    let buyer = Buyer::with(Wallet::default(), |builder| builder.policy(|_, _| panic!("sesame")));
    let terms = buyer.client.inspect(seller.url("/report")).await.unwrap();
    assert!(terms.would_pay.is_none() && terms.refusal.unwrap().contains("panicked"));
}

#[tokio::test]
async fn a_policy_sees_when_the_money_would_move() {
    let seller = Seller::start(|seen, base| {
        let mut upfront = offer(BASE, "0xUSDC", "9000");
        upfront["extra"]["paymentFlow"] = json!("upfront");
        Some(if seen.payment().is_some() { paid(&settled()) } else { asks(&terms(base, &[upfront])) })
    })
    .await;
    let careful = Buyer::with(Wallet::default(), |builder| {
        builder.policy(|_, candidates| {
            candidates.into_iter().filter(|candidate| candidate.flow() == PaymentFlow::Authorization).collect()
        })
    });
    let error = careful.client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(error, Error::RefusedByPolicy(_)), "{error}");
}

#[tokio::test]
async fn unknown_flows_and_transfer_methods_are_passed_over_with_their_reason_for_an_offer_that_can_be_paid() {
    let with = |field: &str, value: Value| {
        let mut offer = offer(BASE, "0xUSDC", "1000");
        offer["extra"][field] = value;
        offer
    };
    let strange = vec![
        with("paymentFlow", json!("someday")),
        with("paymentFlow", json!(7)),
        with("assetTransferMethod", json!("pigeon")),
        with("assetTransferMethod", json!(["eip3009"])),
    ];
    let offering = |offers: Vec<Value>| {
        Seller::start(move |seen, base| {
            Some(if seen.payment().is_some() { paid(&settled()) } else { asks(&terms(base, &offers)) })
        })
    };
    let seller = offering(strange.clone()).await;
    let buyer = Buyer::new();
    let error = buyer.client.get(seller.url("/report")).send().await.unwrap_err();
    assert!(matches!(error, Error::NotPayable(_)), "{error}");
    let text = error.to_string();
    assert_eq!(text.matches("extra.paymentFlow: expected").count(), 2, "{text}");
    assert_eq!(text.matches(Reason::UnsupportedAssetTransferMethod.as_str()).count(), 2, "{text}");
    let seller = offering([strange, vec![offer(BASE, "0xUSDC", "20000")]].concat()).await;
    buyer.client.get(seller.url("/report")).send().await.unwrap();
    assert_eq!(seller.payments()[0]["accepted"]["amount"], "20000");
}
