//! What is sold is in the book of sales, once, with what a seller wants to know of it.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use farthing_core::books::{OpenSale, Sale, SaleQuery, Sales, SettledBy, Usd};
use farthing_core::facilitator::FacilitatorError;
use farthing_core::reason::Reason;

use crate::support::{Fault, NETWORK, PAY_TO, PAYER, Shop, TRANSACTION, buy, refused};

async fn sold(shop: &Shop) -> Vec<Sale> {
    shop.deliveries.inner.list(&SaleQuery { limit: 10, ..SaleQuery::default() }).await.unwrap()
}

async fn open(shop: &Shop) -> Vec<OpenSale> {
    shop.deliveries.inner.open(&SaleQuery { limit: 10, ..SaleQuery::default() }).await.unwrap()
}

#[tokio::test]
async fn a_sale_says_what_was_sold_to_whom_for_how_much() {
    let shop = Shop::open().await;
    assert_eq!(buy(&shop.app(), "/report?key=secret", "1").await.status, StatusCode::OK);
    let [sale] = &sold(&shop).await[..] else { panic!("one was sold") };
    let bill = &sale.bill;
    assert_eq!(bill.route, bill.resource, "it has no other name");
    assert!(bill.resource.starts_with("GET http") && bill.resource.ends_with("/report"), "{}", bill.resource);
    assert_eq!(bill.payer.as_ref().unwrap().as_str(), PAYER);
    assert_eq!((bill.pay_to.as_str(), bill.asset.network.as_str(), bill.scheme.as_str()), (PAY_TO, NETWORK, "exact"));
    assert_eq!((bill.amount, bill.usd()), (10_000.into(), Some("$0.01".parse::<Usd>().unwrap())));
    assert_eq!((sale.transaction.0.as_str(), sale.settled_by), (TRANSACTION, SettledBy::Facilitator));
    assert_eq!(open(&shop).await, []);
}

#[tokio::test]
async fn a_route_goes_by_its_name_or_by_its_description() {
    let shop = Shop::open().await;
    let layer = || shop.server.price("$0.01").unwrap();
    let app = Router::new()
        .route("/described", get(|| async { "" }).layer(layer().description("Tomorrow's weather")))
        .route("/named", get(|| async { "" }).layer(layer().sold_as("weather").unwrap().description("Tomorrow's weather")));
    for (path, name) in [("/described", "Tomorrow's weather"), ("/named", "weather")] {
        assert_eq!(buy(&app, path, path).await.status, StatusCode::OK);
        assert!(sold(&shop).await.iter().any(|sale| sale.bill.route == name && sale.bill.resource.ends_with(path)));
    }
}

#[tokio::test]
async fn what_is_not_known_is_open_and_what_was_refused_is_nothing() {
    let shop = Shop::open().await;
    let app = shop.app();
    shop.facilitator.will_settle(Ok(refused(Reason::InsufficientFunds, "")));
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::PAYMENT_REQUIRED);
    assert_eq!((open(&shop).await, sold(&shop).await), (vec![], vec![]));
    shop.facilitator.will_settle(Err(FacilitatorError::Indeterminate("cut off".into())));
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let [pending] = &open(&shop).await[..] else { panic!("one is open") };
    assert_eq!((pending.bill.amount, pending.bill.payer.as_ref().unwrap().as_str()), (10_000.into(), PAYER));
    assert_eq!(sold(&shop).await, []);
    // It is asked about again, and has settled after all.
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::OK);
    let [sale] = &sold(&shop).await[..] else { panic!("one was sold") };
    assert_eq!((sale.payment, open(&shop).await), (pending.payment, vec![]));
}

#[tokio::test]
async fn money_that_moved_for_an_answer_that_did_not_go_out_is_a_sale_once_it_is_written() {
    let shop = Shop::open().await;
    let app = shop.app();
    shop.deliveries.will_fail("served", Fault::Unheard);
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(sold(&shop).await.len(), 1);
    assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::OK);
    assert_eq!((sold(&shop).await.len(), open(&shop).await), (1, vec![]));
}

#[tokio::test]
async fn money_that_moved_before_the_work_is_a_sale_whatever_becomes_of_the_work() {
    let shop = Shop::open().await;
    let layer = shop.server.price("$0.01").unwrap().upfront().unwrap();
    let app = Router::new().route("/report", get(|| async { StatusCode::BAD_GATEWAY }).layer(layer));
    for _ in 0..2 {
        assert_eq!(buy(&app, "/report", "1").await.status, StatusCode::BAD_GATEWAY);
        let [sale] = &sold(&shop).await[..] else { panic!("one was sold") };
        assert_eq!((sale.bill.payer.as_ref().unwrap().as_str(), open(&shop).await), (PAYER, vec![]));
    }
}
