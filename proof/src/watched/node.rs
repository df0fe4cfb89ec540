//! A node, watched.

use farthing_core::BoxFuture;
use farthing_evm::rpc::{Answer, Call, Node, NodeError};

use super::Watched;

impl<T: Node + ?Sized> Node for Watched<T> {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        self.call(name(calls), move || self.inner.ask(calls), || NodeError::TimedOut)
    }
}

/// An exchange is named by the methods in it, each once.
fn name(calls: &[Call]) -> String {
    let mut methods: Vec<&str> = calls.iter().map(|call| call.method).collect();
    methods.sort_unstable();
    methods.dedup();
    format!("node.{}", methods.join("+"))
}
