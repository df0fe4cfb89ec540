//! A seller who is paid before the work.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use farthing::client::PaymentOutcome;
use farthing::evm::U256;
use farthing_testkit::{Stack, golden};

#[tokio::test]
async fn what_is_charged_before_the_work_is_charged_whatever_becomes_of_it() {
    let stack = Stack::start().await.unwrap();
    let wallet = stack.funded_wallet().unwrap();
    let toll = farthing::Server::builder().facilitator(stack.facilitator_url()).unwrap();
    let toll = toll.pay_to(golden::NETWORK, golden::PAY_TO).unwrap().build().await.unwrap();
    let price = || toll.price("$0.01").unwrap().upfront().unwrap();
    let app = Router::new()
        .route("/render", get(|| async { "the film" }).layer(price()))
        .route("/broken", get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "the camera broke") }).layer(price()));
    let url = stack.serve(app).await.unwrap();
    let client = farthing::Client::builder().wallet(&wallet).unwrap().build().unwrap();

    let payee = golden::PAY_TO.parse().unwrap();
    let before = stack.devnet().usdc_balance(payee);
    for (path, status, moved) in [("render", 200, 10_000_u64), ("broken", 500, 20_000)] {
        let answer = client.get(format!("{url}/{path}")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
        let paid = answer.paid().unwrap();
        assert_eq!((paid.outcome, paid.doubts.as_slice()), (PaymentOutcome::Settled, [].as_slice()), "{path}");
        assert_eq!(stack.devnet().usdc_balance(payee) - before, U256::from(moved), "{path}");
    }
}
