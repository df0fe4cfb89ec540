//! JSON-RPC to the node of a test.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Speaks to one node.
pub struct Rpc {
    url: String,
    http: reqwest::Client,
}

impl Rpc {
    /// Speaks to the node at `url`.
    pub fn new(url: String) -> Result<Self> {
        Ok(Self { url, http: reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build()? })
    }

    /// Where the node is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls a method and returns its result; an error of the node is an error here.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value> {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = self.http.post(&self.url).json(&request).send().await;
        let mut answer: Value = answer.with_context(|| format!("{method} at {}", self.url))?.json().await?;
        if let Some(error) = answer.get("error") {
            bail!("{method}: {error}");
        }
        Ok(answer.get_mut("result").map(Value::take).unwrap_or_default())
    }
}
