//! A token that is in no table: configuration for each of the three roles, and nothing else.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use farthing::core::network::Network;
use farthing::evm::U256;
use farthing::evm::asset::TransferMethod;
use farthing::evm::config::{AssetConfig, ChainConfig, ConfigError, RpcUrl};
use farthing::evm::signer::LocalSigner;
use farthing_devnet::DevToken;
use farthing_testkit::{Stack, golden};

const TOKEN: DevToken = DevToken::BLACKLIST;

fn own_token(network: Network) -> AssetConfig {
    AssetConfig {
        network,
        address: TOKEN.address.to_string(),
        symbol: TOKEN.symbol.to_owned(),
        decimals: TOKEN.decimals,
        name: TOKEN.name.to_owned(),
        version: DevToken::DOMAIN_VERSION.to_owned(),
        method: TransferMethod::Eip3009,
        permits: true,
        usd: false,
    }
}

#[tokio::test]
async fn a_token_of_ones_own_is_priced_paid_and_settled_by_configuration() {
    let stack = Stack::start().await.unwrap();
    let devnet = stack.devnet();
    let (wallet, buyer) = (stack.funded_wallet().unwrap(), devnet.accounts()[1].address);
    let one = U256::from(10).pow(U256::from(TOKEN.decimals));
    devnet.give_tokens(TOKEN.address, buyer, one).unwrap();
    let config = ChainConfig::new(golden::NETWORK.parse().unwrap(), RpcUrl::new(devnet.rpc_url()));
    let operator = LocalSigner::from_bytes(devnet.accounts()[2].secret.into()).unwrap();
    let token = AssetConfig { usd: true, ..own_token(golden::NETWORK.parse().unwrap()) };
    let local = farthing::Facilitator::builder().chain(config, vec![Arc::new(operator)]).asset(token.clone()).start().unwrap();
    let toll = farthing::Server::taking(std::slice::from_ref(&token)).unwrap().facilitator(local).unwrap();
    let toll = toll.pay_to(golden::NETWORK, golden::PAY_TO).unwrap().build().await.unwrap();
    let layer = toll.price(&format!("0.25 {}", TOKEN.symbol)).unwrap();
    let url = stack.serve(Router::new().route("/report", get(|| async { "14 ships in" }).layer(layer))).await.unwrap();

    let client = farthing::Client::builder().wallet(&wallet).unwrap().asset(token).build().unwrap();
    let answer = client.get(format!("{url}/report")).send().await.unwrap();
    assert!(answer.paid().unwrap().transaction.is_some());
    assert_eq!(answer.text().await.unwrap(), "14 ships in");
    let quarter = one / U256::from(4);
    assert_eq!(devnet.token_balance(TOKEN.address, golden::PAY_TO.parse().unwrap()).unwrap(), quarter);
    assert_eq!(devnet.token_balance(TOKEN.address, buyer).unwrap(), one - quarter);
}

#[test]
fn a_token_that_cannot_be_is_refused_at_start_up() {
    let refused =
        farthing::Server::taking(&[AssetConfig { address: "0x12".to_owned(), ..own_token(golden::NETWORK.parse().unwrap()) }]);
    assert!(matches!(refused.err(), Some(ConfigError::Address { .. })), "an address that is none");
}
