//! Nodes for facilitators that are measured in this process: one that answers from memory, and one that counts.

use std::sync::Arc;

use farthing::evm::config::{NodeConfig, RpcUrl};
use farthing::evm::rpc::{Answer, Call, HttpNode, Node, NodeError};
use farthing_core::BoxFuture;
use serde_json::value::RawValue;

use crate::memo::{Memo, shape};
use crate::proxy::Counter;
use crate::sample::NETWORK;

/// A node that counts and passes on.
pub struct Counted {
    node: Arc<dyn Node>,
    /// What it has counted.
    pub counter: Counter,
}

/// A node of a real chain whose answers are remembered, so that they cost next to nothing.
pub struct Remembering {
    node: HttpNode,
    memo: Memo,
}

impl Counted {
    pub fn new(node: impl Node + 'static) -> Arc<Self> {
        Arc::new(Self { node: Arc::new(node), counter: Counter::default() })
    }
}

impl Node for Counted {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        self.counter.add(calls.len());
        self.node.ask(calls)
    }
}

impl Remembering {
    pub fn new(rpc_url: &str) -> anyhow::Result<Self> {
        Ok(Self { node: http(rpc_url)?, memo: Memo::default() })
    }

    fn remembered(&self, call: &Call) -> Option<Box<RawValue>> {
        let answer = self.memo.answer(&shape(call.method, &call.params)?)?;
        Some((*answer).to_owned())
    }

    async fn learn(&self, calls: &[Call]) -> Result<Vec<Answer>, NodeError> {
        let answers = self.node.ask(calls).await?;
        for (call, answer) in calls.iter().zip(&answers) {
            if let (Some(shape), Ok(answer)) = (shape(call.method, &call.params), answer) {
                self.memo.learn(shape, answer);
            }
        }
        Ok(answers)
    }
}

impl Node for Remembering {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        let remembered: Option<Vec<Answer>> = calls.iter().map(|call| self.remembered(call).map(Ok)).collect();
        match remembered {
            Some(answers) => Box::pin(std::future::ready(Ok(answers))),
            None => Box::pin(self.learn(calls)),
        }
    }
}

/// A node over HTTP.
pub fn http(rpc_url: &str) -> anyhow::Result<HttpNode> {
    Ok(HttpNode::new(&NETWORK.parse()?, &NodeConfig::new(RpcUrl::new(rpc_url)))?)
}
