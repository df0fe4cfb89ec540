//! What cannot be charged for is an error at start-up, never a free pass.

use std::sync::Arc;

use farthing_core::scheme::PaymentFlow;
use farthing_core::wire::{SupportedKind, Version};
use farthing_server::{BuildError, RouteError, Server, ServerBuilder};

use crate::support::{FakeFacilitator, FakeScheme, NETWORK, PAY_TO, Shop, UNNAMED_NETWORK, clock, kind, schemes};

fn selling(kinds: Vec<SupportedKind>) -> ServerBuilder {
    let mut facilitator = FakeFacilitator::new();
    facilitator.kinds = kinds;
    Server::builder()
        .schemes(schemes())
        .clock(clock())
        .facilitator(Arc::new(facilitator))
        .unwrap()
        .pay_to(NETWORK, PAY_TO)
        .unwrap()
}

async fn fails(builder: ServerBuilder) -> BuildError {
    builder.build().await.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn a_server_needs_somebody_to_settle_and_somebody_to_pay() {
    assert!(matches!(fails(Server::builder()).await, BuildError::NoFacilitator));
    let no_account = Server::builder().facilitator(Arc::new(FakeFacilitator::new())).unwrap();
    assert!(matches!(fails(no_account).await, BuildError::NoPayTo));
    let no_clock = Server::builder().facilitator(Arc::new(FakeFacilitator::new())).unwrap().pay_to(NETWORK, PAY_TO).unwrap();
    assert!(matches!(fails(no_clock).await, BuildError::NoClock));
}

#[tokio::test]
async fn every_accepted_network_needs_a_kind_of_its_own() {
    let other_scheme = SupportedKind { scheme: "upto".to_owned(), ..kind(NETWORK) };
    let old = SupportedKind { x402_version: Version::V1, ..kind(NETWORK) };
    for kinds in [vec![], vec![kind("eip155:8453")], vec![other_scheme], vec![old]] {
        let error = fails(selling(kinds.clone())).await;
        assert!(matches!(&error, BuildError::NoKind { network, .. } if network.as_str() == NETWORK), "{error}");
        assert!(error.to_string().contains(NETWORK), "{error}");
    }
    // One network that can be paid on does not excuse another.
    let two = selling(vec![kind(NETWORK)]).pay_to(UNNAMED_NETWORK, PAY_TO).unwrap();
    assert!(matches!(fails(two).await, BuildError::NoKind { .. }));
    let unknown = selling(vec![kind(NETWORK)]).pay_to("solana:abc", PAY_TO).unwrap();
    assert!(matches!(fails(unknown).await, BuildError::NoScheme { .. }));
}

#[tokio::test]
async fn a_route_can_be_sold_on_some_of_the_networks_alone() {
    let both = selling(vec![kind(NETWORK), kind(UNNAMED_NETWORK)]).pay_to(UNNAMED_NETWORK, PAY_TO).unwrap();
    let both = both.build().await.unwrap();
    let networks = |server: &Server| {
        let layer = server.price("$0.01").unwrap();
        layer.route().offers().map(|offer| offer.network.to_string()).collect::<Vec<_>>()
    };
    let one = both.only_on(&[UNNAMED_NETWORK.parse().unwrap()]).unwrap();
    assert_eq!((networks(&both), networks(&one)), (vec![NETWORK.into(), UNNAMED_NETWORK.into()], vec![UNNAMED_NETWORK.into()]));
    let error = one.only_on(&[NETWORK.parse().unwrap()]).map(|_| ()).unwrap_err();
    assert!(matches!(&error, RouteError::NotPaid { .. }), "{error}");
    assert!(error.to_string().contains(NETWORK) && error.to_string().contains(UNNAMED_NETWORK), "{error}");
}

#[test]
fn names_are_checked_where_they_are_given() {
    let pay_to = |network: &str, account: &str| Server::builder().pay_to(network, account).map(|_| ()).unwrap_err();
    assert!(matches!(pay_to("base", PAY_TO), BuildError::Network(_)));
    assert!(matches!(pay_to("eip155:*", PAY_TO), BuildError::Network(_)), "a pattern is no network");
    assert!(matches!(pay_to(NETWORK, ""), BuildError::Account { .. }));
    let twice = Server::builder().pay_to(NETWORK, PAY_TO).unwrap().pay_to(NETWORK, PAY_TO);
    assert!(matches!(twice.map(|_| ()).unwrap_err(), BuildError::TwoAccounts(_)));
    for bad in ["", "shop.example", "ftp://shop.example", "https://u:p@shop.example", "https://shop.example/?a", "https://a/#b"]
    {
        assert!(matches!(Server::builder().public_url(bad).map(|_| ()).unwrap_err(), BuildError::PublicUrl(_)), "{bad}");
        assert!(matches!(Server::builder().facilitator(bad).map(|_| ()).unwrap_err(), BuildError::Remote(_)), "{bad}");
    }
}

#[tokio::test]
async fn a_price_that_cannot_be_had_exactly_is_refused() {
    let shop = Shop::open().await;
    let fails = |price: &str| shop.server.price(price).map(|_| ()).unwrap_err();
    assert!(matches!(fails("free"), RouteError::Price(_)));
    assert!(matches!(fails("$0"), RouteError::Price(_)));
    assert!(matches!(fails("$0.0000001"), RouteError::Price(_)));
    assert!(matches!(fails("0.001 EURC"), RouteError::Price(_)));
    assert!(matches!(fails("1 GBPC"), RouteError::NoAsset { .. }));
    let nothing = farthing_core::price::Price::Atomic(0.into(), "0xUsdc".parse().unwrap());
    assert!(matches!(shop.server.charge(nothing).map(|_| ()).unwrap_err(), RouteError::Free(_)));
    let layer = shop.server.price("$1").unwrap();
    assert!(matches!(layer.max_timeout_seconds(0).map(|_| ()).unwrap_err(), RouteError::NoTime));
}

#[tokio::test]
async fn a_dollar_price_is_asked_in_the_default_asset_alone() {
    let shop = Shop::open().await;
    let offered = |price: &str| {
        let layer = shop.server.price(price).unwrap();
        layer.route().offers().map(|offer| format!("{} {}", offer.amount, offer.asset)).collect::<Vec<_>>()
    };
    assert_eq!(offered("$0.01"), ["10000 0xUsdc"]);
    assert_eq!(offered("0.02 EURC"), ["2 0xEurc"]);
    assert_eq!(offered("1.5 USDX"), ["1500000 0xUsdx"]);
}

#[tokio::test]
async fn an_offer_that_the_scheme_refuses_is_not_made() {
    let facilitator = Arc::new(FakeFacilitator::new());
    let builder = Server::builder().schemes(schemes()).clock(clock()).facilitator(facilitator).unwrap();
    let server = builder.pay_to(NETWORK, "nobody").unwrap().build().await.unwrap();
    assert!(matches!(server.price("$1").map(|_| ()).unwrap_err(), RouteError::Offer { .. }));
}

#[tokio::test]
async fn a_flow_other_than_authorization_is_refused() {
    for flow in [PaymentFlow::Upfront, PaymentFlow::Escrow] {
        let facilitator = Arc::new(FakeFacilitator::new());
        let builder = Server::builder().schemes(vec![Arc::new(FakeScheme { flow })]).clock(clock());
        let builder = builder.facilitator(facilitator).unwrap();
        let server = builder.pay_to(NETWORK, PAY_TO).unwrap().build().await.unwrap();
        assert!(matches!(server.price("$1").map(|_| ()).unwrap_err(), RouteError::Flow { .. }));
    }
}

#[tokio::test]
async fn a_facilitators_extra_cannot_cut_the_terms_open() {
    let extra = serde_json::json!({"fromKind": "\u{E000}"}).as_object().cloned();
    let server = selling(vec![SupportedKind { extra, ..kind(NETWORK) }]).build().await.unwrap();
    assert!(matches!(server.price("$1").map(|_| ()).unwrap_err(), RouteError::Unwritable(_)));
}
