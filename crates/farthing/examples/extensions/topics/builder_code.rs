//! Who built what a payment went through (`builder-code`), written behind the transaction's data for everybody to count.

use axum::Router;
use axum::routing::get;
use farthing::core::Source;
use farthing::core::extension::builder_code::{Attribution, Code, FacilitatorCodes};
use serde_json::{Value, json};

use crate::market::Market;

pub async fn run() -> Result<(), Source> {
    let mut market = Market::open().await?;

    // The operator: without codes of its own it writes none at all.
    let codes = FacilitatorCodes { wallet: Some(Code::new("harbour_pay")?), service: None };
    let facilitator = market.facilitator()?.builder_codes(codes).start()?;

    // The seller: whose app it is, and which services are part of it.
    let toll = market.seller(facilitator)?.builder_code("farside_news", &["tide_tables"])?.build().await?;
    let layer = toll.price("$0.25")?;
    market.serve(Router::new().route("/report", get(|| async { "14 ships in" }).layer(layer)))?;

    // The buyer: which service it is that buys.
    let client = market.buyer()?.service_codes(["sea_agent"])?.build()?;
    let answer = client.get(format!("{}/report", market.url)).send().await?;
    let transaction = answer.paid().and_then(|paid| paid.transaction.clone()).ok_or("nothing was sent")?;

    let written = Attribution::at_end_of(&data_of(&market.devnet.rpc_url(), &transaction.0).await?);
    let written = written.ok_or("the transaction names nobody")?;
    assert_eq!(written.app, Some(Code::new("farside_news")?));
    assert_eq!(written.wallet, Some(Code::new("harbour_pay")?));
    let services: Vec<&str> = written.services.iter().map(Code::as_str).collect();
    println!("  app farside_news, wallet harbour_pay, services {services:?}");
    Ok(())
}

/// A transaction's data, by the chain.
async fn data_of(rpc_url: &str, transaction: &str) -> Result<Vec<u8>, Source> {
    let question = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_getTransactionByHash", "params": [transaction]});
    let answer: Value = reqwest::Client::new().post(rpc_url).json(&question).send().await?.json().await?;
    let data = answer.pointer("/result/input").and_then(Value::as_str).ok_or("the chain has no such transaction")?;
    Ok(alloy_primitives::hex::decode(data)?)
}
