//! A seller of something metered: the buyer signs a ceiling, and the chain moves what was used.

use std::sync::Arc;

use axum::routing::get;
use axum::{Extension, Router};
use farthing::client::PaymentOutcome;
use farthing::evm::U256;
use farthing::evm::config::{ChainConfig, RpcUrl};
use farthing::evm::signer::LocalSigner;
use farthing::server::{Paid, UsageError};
use farthing_devnet::PERMIT2;
use farthing_testkit::{Stack, golden};

async fn words(Extension(paid): Extension<Paid>) -> String {
    let said: Result<(), UsageError> = ["14", "ships", "in"].iter().try_for_each(|_| paid.usage().add(15_000));
    format!("{said:?}")
}

async fn nothing(Extension(paid): Extension<Paid>) -> String {
    format!("{:?}", paid.usage().set_percent("0%"))
}

#[tokio::test]
async fn a_metered_answer_moves_what_was_used_and_not_the_ceiling() {
    let stack = Stack::start().await.unwrap();
    let devnet = stack.devnet();
    let (wallet, buyer) = (stack.funded_wallet().unwrap(), devnet.accounts()[1].address);
    let token = golden::ASSET.parse().unwrap();
    devnet.set_allowance(token, buyer, PERMIT2, U256::MAX).unwrap();
    let config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(devnet.rpc_url()));
    let signer = LocalSigner::from_bytes(devnet.accounts()[2].secret.into()).unwrap();
    let local = farthing::Facilitator::builder().chain(config, vec![Arc::new(signer)]).start().unwrap();
    let toll = farthing::Server::builder().facilitator(local).unwrap().pay_to(golden::NETWORK, golden::PAY_TO).unwrap();
    let toll = toll.build().await.unwrap();
    let app = Router::new()
        .route("/words", get(words).layer(toll.price_up_to("$0.25").unwrap()))
        .route("/nothing", get(nothing).layer(toll.price_up_to("$0.25").unwrap()));
    let url = stack.serve(app).await.unwrap();
    let client = farthing::Client::builder().wallet(&wallet).unwrap().build().unwrap();

    let payee = golden::PAY_TO.parse().unwrap();
    let (before, had) = (devnet.usdc_balance(payee), devnet.usdc_balance(buyer));
    for path in ["words", "nothing"] {
        let answer = client.get(format!("{url}/{path}")).send().await.unwrap();
        let paid = answer.paid().unwrap();
        assert_eq!((paid.outcome, paid.doubts.as_slice()), (PaymentOutcome::Settled, [].as_slice()), "{path}");
        assert_eq!(paid.transaction.is_some(), path == "words");
        assert_eq!(answer.text().await.unwrap(), "Ok(())");
        assert_eq!(devnet.usdc_balance(payee) - before, U256::from(45_000_u64), "{path}");
        assert_eq!(had - devnet.usdc_balance(buyer), U256::from(45_000_u64), "{path}");
    }
}
