//! Asks a node over JSON-RPC, as anybody would. The product's own client is under test, so it is not the judge.

use std::time::Duration;

use alloy_primitives::U64;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(30);

/// Speaks to one node.
#[derive(Clone, Debug)]
pub struct Rpc {
    url: String,
    http: reqwest::Client,
}

impl Rpc {
    /// Speaks to the node at that address.
    pub fn new(url: impl Into<String>) -> Result<Self> {
        Ok(Self { url: url.into(), http: reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()? })
    }

    /// Where the node is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls a method; an error of the node is an error here.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value> {
        let mut answer = self.exchange(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})).await?;
        if let Some(error) = answer.get("error") {
            bail!("{method}: {error}");
        }
        Ok(answer.get_mut("result").map(Value::take).unwrap_or_default())
    }

    /// Calls a method whose answer is one number.
    pub async fn number(&self, method: &str, params: Value) -> Result<u64> {
        let answer = self.call(method, params).await?;
        let text = answer.as_str().with_context(|| format!("{method} answers a number, got {answer}"))?;
        Ok(text.parse::<U64>().with_context(|| format!("{method} answers a number, got {text}"))?.to())
    }

    /// One exchange, whatever it is.
    pub async fn exchange(&self, body: &Value) -> Result<Value> {
        let answer = self.http.post(&self.url).json(body).send().await.context("the node cannot be reached")?;
        answer.json().await.context("the node's answer is no JSON")
    }
}
