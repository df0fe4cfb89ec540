//! The chain of a simulation, outside of its time.
//!
//! A simulation's clock stands still while anything is to do, so it can't wait for a socket: the clock would run away.
//! The chain and the chaos in front of it therefore live on a thread of their own, and a question to them blocks the
//! simulation's only thread until the answer is there. In simulated time a node answers at once.

use std::future::Future;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context, Result};
use farthing_core::BoxFuture;
use farthing_devnet::{Devnet, Mining};
use farthing_evm::rpc::{Answer, Call, HttpNode, Node, NodeError, NodePool};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::chaos::{Chaos, Kind, Weather};
use crate::replica;
use crate::rpc::Rpc;

/// How long a question may take in real time.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A chain with chaos in front of it, on a thread of their own.
pub struct Bridge {
    /// The chain.
    pub devnet: Devnet,
    /// What is in front of it.
    pub chaos: Chaos,
    /// Asks the chain without the chaos.
    pub rpc: Rpc,
    handle: Handle,
    /// Taken when dropped: a runtime may not wait for its end inside of another one.
    runtime: Option<Runtime>,
}

/// A node as a simulated facilitator has it.
pub struct BridgedNode {
    inner: Arc<dyn Node>,
    runtime: Handle,
}

impl Bridge {
    /// Starts a chain at that moment, whose blocks are made on demand.
    pub fn start(seed: u64, start_seconds: u64, faults_per_thousand: u64) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (devnet, chaos) = wait(runtime.handle(), async move {
            let devnet = Devnet::builder().mining(Mining::Manual).start_time(start_seconds).start().await?;
            let mut weather = Weather::stormy(faults_per_thousand, Duration::ZERO);
            // Real time is nothing here: what makes a caller wait is the same as a connection that is cut.
            weather.kinds.retain(|(kind, _)| !matches!(kind, Kind::TimeOutBefore | Kind::TimeOutAfter | Kind::Late));
            let chaos = Chaos::start(&devnet.rpc_url(), seed, weather).await?;
            anyhow::Ok((devnet, chaos))
        })??;
        let rpc = Rpc::new(devnet.rpc_url())?;
        Ok(Self { devnet, chaos, rpc, handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// The node behind the chaos, for another facilitator.
    pub fn node(&self) -> Result<Arc<dyn Node>> {
        self.node_at(self.chaos.url())
    }

    /// The node without the chaos, for buyers.
    pub fn true_node(&self) -> Result<Arc<dyn Node>> {
        self.node_at(&self.devnet.rpc_url())
    }

    fn node_at(&self, url: &str) -> Result<Arc<dyn Node>> {
        let config = replica::config(url)?;
        let endpoint = config.nodes.first().context("a node is configured")?;
        let inner = Arc::new(HttpNode::new(&config.network, endpoint)?);
        let node: Arc<dyn Node> = Arc::new(BridgedNode { inner, runtime: self.handle.clone() });
        let chain_id = self.devnet.chain_id();
        Ok(Arc::new(NodePool::new(&config.network, chain_id, vec![("bridged".to_owned(), node)], endpoint.request_timeout())))
    }

    /// Does something on the chain's thread and waits for it.
    pub fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        wait(&self.handle, work)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Node for BridgedNode {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        Box::pin(async move {
            // A real node never answers at once: others run in between.
            tokio::task::yield_now().await;
            let (inner, calls) = (Arc::clone(&self.inner), calls.to_vec());
            let answer = wait(&self.runtime, async move { inner.ask(&calls).await });
            tokio::task::yield_now().await;
            answer.unwrap_or(Err(NodeError::TimedOut))
        })
    }
}

fn wait<T: Send + 'static>(runtime: &Handle, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    runtime.spawn(async move {
        // Whoever asked is waiting below.
        drop(sender.send(work.await));
    });
    receiver.recv_timeout(ANSWER_LIMIT).context("the chain's thread does not answer")
}
