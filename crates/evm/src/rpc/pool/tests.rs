use super::*;
use serde_json::value::RawValue;

/// A node of which a test says how it answers.
#[derive(Default)]
struct Scripted(Mutex<Script>);

#[derive(Clone)]
struct Script {
    chain_id: u64,
    head: u64,
    /// What every exchange ends in instead.
    down: Option<NodeError>,
    /// What every call is answered with instead, the look at the chain and its head excepted.
    refusal: Option<CallError>,
    delay: Duration,
    asked: Vec<&'static str>,
}

impl Default for Script {
    fn default() -> Self {
        Self { chain_id: 1, head: 100, down: None, refusal: None, delay: Duration::from_millis(5), asked: Vec::new() }
    }
}

impl Scripted {
    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.0.lock().unwrap());
    }

    /// How often it was asked something, the look at the chain and its head excepted.
    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked.iter().filter(|method| !["eth_chainId", "eth_getBlockByNumber"].contains(method)).count()
    }
}

impl Node for Scripted {
    fn ask<'a>(&'a self, calls: &'a [Call]) -> BoxFuture<'a, Result<Vec<Answer>, NodeError>> {
        Box::pin(async move {
            let script = self.0.lock().unwrap().clone();
            tokio::time::sleep(script.delay).await;
            self.set(|script| script.asked.extend(calls.iter().map(|call| call.method)));
            if let Some(error) = script.down {
                return Err(error);
            }
            let answer = |call: &Call| {
                let zero = alloy_primitives::B256::ZERO;
                let json = match (call.method, script.refusal.clone()) {
                    ("eth_chainId", _) => format!(r#""{:#x}""#, script.chain_id),
                    // Ten seconds a block.
                    ("eth_getBlockByNumber", _) => format!(
                        r#"{{"number":"{0:#x}","hash":"{zero}","parentHash":"{zero}","timestamp":"{1:#x}","transactions":[]}}"#,
                        script.head,
                        script.head * 10
                    ),
                    (_, Some(error)) => return Err(error),
                    _ => format!(r#""{:#x}""#, script.head),
                };
                Ok(RawValue::from_string(json).unwrap())
            };
            Ok(calls.iter().map(answer).collect())
        })
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);

fn pool<const N: usize>() -> (NodePool, [Arc<Scripted>; N]) {
    let nodes: [Arc<Scripted>; N] = std::array::from_fn(|_| Arc::default());
    let endpoints = nodes.iter().enumerate().map(|(place, node)| (place.to_string(), Arc::clone(node) as Arc<dyn Node>));
    (NodePool::new(&crate::network::network(1), 1, endpoints.collect(), TIMEOUT), nodes)
}

fn refusal(code: i64, message: &str) -> CallError {
    CallError { code, message: message.to_owned(), data: None }
}

async fn height(pool: &NodePool) -> Result<u64, NodeError> {
    quantity(&pool.ask(&[Call::block_number()]).await?[0], "eth_blockNumber")
}

async fn send(pool: &NodePool) -> Result<Answer, NodeError> {
    Ok(pool.ask(&[Call::broadcast(&[1])]).await?.remove(0))
}

/// Lets what runs in the background run.
async fn later(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_node_of_the_configuration_answers() {
    let (pool, nodes) = pool::<3>();
    for _ in 0..5 {
        assert_eq!(height(&pool).await, Ok(100));
    }
    assert_eq!(nodes.each_ref().map(|node| node.asked()), [5, 0, 0]);
    let checks = nodes[0].0.lock().unwrap().asked.iter().filter(|method| **method == "eth_chainId").count();
    assert_eq!(checks, 1, "its chain is checked once");
}

#[tokio::test(start_paused = true)]
async fn no_question_is_lost_because_a_node_is_down() {
    for error in
        [NodeError::Unreachable, NodeError::Status(429), NodeError::Status(503), NodeError::Malformed("x"), NodeError::TooLarge]
    {
        let (pool, nodes) = pool::<2>();
        nodes[0].set(|script| script.down = Some(error.clone()));
        for _ in 0..3 {
            assert_eq!(height(&pool).await, Ok(100), "{error}");
        }
        assert_eq!(nodes[1].asked(), 3);
        assert!(nodes[0].asked() <= 1, "a node that is down is not asked again");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_is_used_again_and_its_chain_is_checked_anew() {
    let (pool, nodes) = pool::<2>();
    nodes[0].set(|script| script.down = Some(NodeError::Unreachable));
    assert_eq!(height(&pool).await, Ok(100));
    nodes[0].set(|script| script.down = None);
    later(60).await;
    assert_eq!(height(&pool).await, Ok(100));
    assert_eq!(nodes[0].asked(), 0, "a probe comes first");
    later(1).await;
    assert_eq!(height(&pool).await, Ok(100));
    assert_eq!(nodes[0].asked(), 1);

    nodes[0].set(|script| script.down = Some(NodeError::Status(502)));
    assert_eq!(height(&pool).await, Ok(100));
    nodes[0].set(|script| (script.down, script.chain_id) = (None, 5));
    let before = nodes[0].asked();
    for _ in 0..10 {
        later(60).await;
        assert_eq!(height(&pool).await, Ok(100));
    }
    assert_eq!(nodes[0].asked(), before, "another chain is behind the address now");
}

#[tokio::test(start_paused = true)]
async fn a_silent_node_takes_bounded_time() {
    let (pool, nodes) = pool::<3>();
    nodes[0].set(|script| script.delay = Duration::from_hours(1));
    let started = Instant::now();
    assert_eq!(height(&pool).await, Ok(100));
    assert!(started.elapsed() < TIMEOUT);
    for node in &nodes {
        node.set(|script| script.delay = Duration::from_hours(1));
    }
    later(60).await;
    let started = Instant::now();
    assert_eq!(height(&pool).await, Err(NodeError::TimedOut));
    assert!(started.elapsed() <= TIMEOUT * POOL_PATIENCE, "{:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(send(&pool).await.unwrap_err(), NodeError::TimedOut);
    assert!(started.elapsed() <= TIMEOUT * POOL_PATIENCE, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_node_of_another_chain_is_asked_nothing_else() {
    let (pool, nodes) = pool::<2>();
    nodes[0].set(|script| script.chain_id = 5);
    assert_eq!(height(&pool).await, Ok(100));
    nodes[1].set(|script| script.down = Some(NodeError::Unreachable));
    assert_eq!(height(&pool).await, Err(NodeError::Unreachable));
    assert_eq!(nodes[0].asked(), 0);
    let (alone, [node]) = self::pool::<1>();
    node.set(|script| script.chain_id = 5);
    for _ in 0..3 {
        assert_eq!(height(&alone).await, Err(NodeError::OtherChain { expected: 1, got: 5 }));
        assert!(send(&alone).await.is_err());
    }
    assert_eq!(node.asked(), 0);
    // Where many nodes share an address, the next one that answers may be right: nobody waits for it long.
    node.set(|script| script.chain_id = 1);
    later(1).await;
    assert_eq!(height(&alone).await, Ok(100));
}

#[tokio::test(start_paused = true)]
async fn a_stale_node_is_passed_over_until_it_has_caught_up() {
    let (pool, nodes) = pool::<2>();
    nodes[0].set(|script| script.head = 90);
    // Until something is known of the others, nobody is stale.
    assert_eq!(height(&pool).await, Ok(90));
    for _ in 0..3 {
        later(4).await;
        height(&pool).await.unwrap();
    }
    assert_eq!(height(&pool).await, Ok(100));
    nodes[1].set(|script| script.down = Some(NodeError::Unreachable));
    assert_eq!(height(&pool).await, Ok(90), "better late than nobody");
    nodes[1].set(|script| script.down = None);
    nodes[0].set(|script| script.head = 101);
    for _ in 0..3 {
        later(4).await;
        height(&pool).await.unwrap();
    }
    assert_eq!(height(&pool).await, Ok(101));
}

#[tokio::test(start_paused = true)]
async fn a_far_slower_node_is_passed_over() {
    let (pool, nodes) = pool::<2>();
    nodes[0].set(|script| script.delay = Duration::from_secs(2));
    height(&pool).await.unwrap();
    later(4).await;
    let started = Instant::now();
    height(&pool).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_a_failure_and_a_nodes_own_trouble_only_a_doubt() {
    let (pool, nodes) = pool::<2>();
    nodes[0].set(|script| script.refusal = Some(refusal(-32000, "header not found")));
    assert_eq!(height(&pool).await, Ok(100));
    assert_eq!(height(&pool).await, Ok(100));
    assert_eq!(nodes[0].asked(), 2, "it is asked again");
    nodes[1].set(|script| script.refusal = Some(refusal(-32603, "internal error")));
    let error = height(&pool).await.unwrap_err();
    assert!(matches!(error, NodeError::Refused { error: CallError { code: -32000, .. }, .. }), "{error}");
    nodes[0].set(|script| script.refusal = Some(refusal(429, "too many requests")));
    nodes[1].set(|script| script.refusal = None);
    assert_eq!(height(&pool).await, Ok(100));
    let asked = nodes[0].asked();
    assert_eq!(height(&pool).await, Ok(100));
    assert_eq!(nodes[0].asked(), asked, "it is left alone");
}

#[tokio::test(start_paused = true)]
async fn an_accepted_broadcast_goes_to_one_node() {
    let (pool, nodes) = pool::<3>();
    assert!(send(&pool).await.unwrap().is_ok());
    assert_eq!(nodes.each_ref().map(|node| node.asked()), [1, 0, 0]);
    nodes[0].set(|script| script.refusal = Some(refusal(-32000, "already known")));
    assert!(send(&pool).await.unwrap().unwrap_err().is_already_known());
    assert_eq!(nodes.each_ref().map(|node| node.asked()), [2, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_none_if_another_node_accepts() {
    let (pool, nodes) = pool::<3>();
    nodes[0].set(|script| script.refusal = Some(refusal(-32000, "txpool is full")));
    nodes[1].set(|script| script.refusal = Some(refusal(-32000, "already known")));
    nodes[2].set(|script| (script.refusal, script.delay) = (Some(refusal(-32000, "txpool is full")), Duration::from_millis(1)));
    assert!(send(&pool).await.unwrap().unwrap_err().is_already_known());
    nodes[2].set(|script| script.refusal = None);
    assert!(send(&pool).await.unwrap().is_ok());
    for node in &nodes {
        node.set(|script| script.refusal = Some(refusal(-32000, "insufficient funds")));
    }
    assert_eq!(send(&pool).await.unwrap().unwrap_err().message, "insufficient funds");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_beside_a_lost_answer_is_unclear() {
    let (pool, nodes) = pool::<2>();
    nodes[0].set(|script| script.down = Some(NodeError::TimedOut));
    nodes[1].set(|script| script.refusal = Some(refusal(-32000, "nonce too low")));
    assert_eq!(send(&pool).await.unwrap_err(), NodeError::TimedOut);
    nodes[1].set(|script| script.refusal = None);
    assert!(send(&pool).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_is_not_lost_when_every_node_was_down() {
    let (pool, nodes) = pool::<2>();
    for node in &nodes {
        node.set(|script| script.down = Some(NodeError::Unreachable));
    }
    assert_eq!(send(&pool).await.unwrap_err(), NodeError::Unreachable);
    nodes[1].set(|script| script.down = None);
    assert!(send(&pool).await.unwrap().is_ok(), "those that were found down are tried as a last resort");
}

#[tokio::test(start_paused = true)]
async fn reads_beside_a_broadcast_come_from_one_node() {
    let (pool, nodes) = pool::<2>();
    nodes[0].set(|script| (script.head, script.down) = (7, Some(NodeError::Unreachable)));
    let answers = pool.ask(&[Call::block_number(), Call::broadcast(&[1]), Call::block_number()]).await.unwrap();
    let heights: Vec<u64> = [0, 2].map(|place| quantity(&answers[place], "eth_blockNumber").unwrap()).into();
    assert_eq!(heights, [100, 100]);
}
