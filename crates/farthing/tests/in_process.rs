//! A seller that settles for itself: gate and facilitator in one process, without a hop between them.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use farthing::core::facilitator::Facilitator as _;
use farthing::core::wire::Version;
use farthing::evm::U256;
use farthing::evm::config::{ChainConfig, RpcUrl};
use farthing::evm::signer::LocalSigner;
use farthing_testkit::{Stack, golden};

#[tokio::test]
async fn a_server_settles_through_a_facilitator_in_its_own_process() {
    let stack = Stack::start().await.unwrap();
    let devnet = stack.devnet();
    let operator = &devnet.accounts()[2];
    let local = farthing::Facilitator::builder()
        .chain(
            ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(devnet.rpc_url())),
            vec![Arc::new(LocalSigner::from_bytes(operator.secret.into()).unwrap())],
        )
        .start()
        .unwrap();
    let kinds = local.supported().await.unwrap().kinds;
    let kinds: Vec<(&str, Version)> = kinds.iter().map(|kind| (kind.scheme.as_str(), kind.x402_version)).collect();
    assert_eq!(kinds, [("exact", Version::V2), ("exact", Version::V1), ("upto", Version::V2)]);

    let toll = farthing::Server::builder().facilitator(local).unwrap().pay_to(golden::NETWORK, golden::PAY_TO).unwrap();
    let layer = toll.build().await.unwrap().price("$0.25").unwrap();
    let url = stack.serve(Router::new().route("/report", get(|| async { "14 ships in" }).layer(layer))).await.unwrap();
    let wallet = stack.funded_wallet().unwrap();
    let client = farthing::Client::builder().wallet(&wallet).unwrap().limit("$0.60 in total").unwrap().build().unwrap();

    let payee = golden::PAY_TO.parse().unwrap();
    for payments in 1_u64..=2 {
        let answer = client.get(format!("{url}/report")).send().await.unwrap();
        assert_eq!(answer.paid().unwrap().usd.to_string(), "$0.25");
        assert_eq!(answer.text().await.unwrap(), "14 ships in");
        assert_eq!(devnet.usdc_balance(payee), U256::from(payments * 250_000));
    }
    let refused = client.get(format!("{url}/report")).send().await.unwrap_err();
    assert!(refused.to_string().contains("$0.6 in total"), "{refused}");
    assert_eq!(devnet.usdc_balance(payee), U256::from(500_000_u64));
}
