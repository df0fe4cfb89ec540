//! Farthing in every role, with the official SDKs in the others, on two chains.
//!
//! Each test buys a report and sees the price move on the chain, then asks for what fails and sees nothing move.

use anyhow::Result;
use farthing_interop::{
    chain::ChainKind,
    conformance::{Suite, passes},
    goods::Sale,
    purchase::{Market, record},
    roles::{Client, Combination, Facilitator, Server},
};
use serde_json::json;

farthing_interop::combinations! {
    client_farthing_server_farthing_facilitator_farthing
    client_ts_server_farthing_facilitator_farthing
    client_python_httpx_server_farthing_facilitator_farthing
    client_python_requests_server_farthing_facilitator_farthing
    client_v1_server_farthing_facilitator_farthing
    client_farthing_server_farthing_facilitator_ts
    client_ts_server_farthing_facilitator_ts
    client_python_httpx_server_farthing_facilitator_ts
    client_python_requests_server_farthing_facilitator_ts
    client_v1_server_farthing_facilitator_ts
    client_farthing_server_ts_facilitator_farthing
    client_ts_server_ts_facilitator_farthing
    client_python_httpx_server_ts_facilitator_farthing
    client_python_requests_server_ts_facilitator_farthing
    client_farthing_server_ts_facilitator_ts
    client_farthing_server_python_facilitator_farthing
    client_ts_server_python_facilitator_farthing
    client_python_httpx_server_python_facilitator_farthing
    client_python_requests_server_python_facilitator_farthing
    client_farthing_server_python_facilitator_ts
    client_farthing_server_v1_facilitator_farthing
    client_ts_server_v1_facilitator_farthing
    client_python_httpx_server_v1_facilitator_farthing
    client_python_requests_server_v1_facilitator_farthing
    client_v1_server_v1_facilitator_farthing
    client_farthing_server_v1_facilitator_ts
}

#[test]
fn every_combination_with_farthing_in_it_is_tested() -> Result<()> {
    let mut expected: Vec<String> = Combination::all().filter(|it| it.has_farthing()).map(|it| it.to_string()).collect();
    let mut tested: Vec<String> = COMBINATIONS.iter().map(ToString::to_string).collect();
    expected.sort();
    tested.sort();
    assert_eq!(tested, expected);
    // The task that counts results wants one list of all of them; tests/goods.rs sells the goods.
    tested.extend(Sale::ours().map(|sale| sale.to_string()));
    record(&json!({"chains": ChainKind::ALL.map(|kind| kind.to_string()), "combinations": tested}))
}

#[tokio::test]
async fn one_url_serves_a_v1_and_a_v2_buyer() -> Result<()> {
    let market = Market::open(ChainKind::Anvil, Server::Farthing, Facilitator::Farthing).await?;
    market.sells_a_report(Client::V1).await?;
    market.sells_a_report(Client::Ts).await
}

#[tokio::test]
async fn the_conformance_suite_passes_our_facilitator_and_our_terms() -> Result<()> {
    let market = Market::open(ChainKind::Devnet, Server::Farthing, Facilitator::Farthing).await?;
    assert_eq!(passes(Suite::Facilitator, market.facilitator().url()).await?.len(), 4);
    assert_eq!(passes(Suite::Resource, &format!("{}/report", market.server().url())).await?.len(), 7);
    Ok(())
}
