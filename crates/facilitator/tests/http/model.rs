//! Random lives of one payment, against what is true on chain.
//!
//! Two processes share a book and a chain. They are asked to settle, by copies and by a second payment with the same
//! nonce; transactions land, hang, revert and expire; processes are killed and started again; and the operator's own code
//! lets payments go, refuses them, or fails, as it likes. Whatever happens:
//!
//! 1. a failure is told only where no money has moved and none can any more for that request;
//! 2. success is told only where the money moved, always with the same transaction, and to one request only;
//! 3. no second transaction is sent while the first one may land (the scripted chain asserts it);
//! 4. in the end the book says what the chain says, and the request that was settled is told so again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use farthing_core::books::{Fingerprint, SettlementState};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::wire::SettleResponse;
use farthing_facilitator::{Before, HookContext, HookFuture, Hooks};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Answer, Facilitator, Fault, request, request_for};

#[derive(Clone, Debug)]
enum Step {
    /// So many copies of one of two requests, at one of two processes, while the chain does this.
    Settle {
        process: usize,
        second: bool,
        copies: usize,
        fault: Fault,
    },
    /// The same request at both processes at once.
    SettleAtBoth {
        fault: Fault,
    },
    Mine,
    Kill {
        process: usize,
    },
    Wait {
        seconds: u64,
    },
    /// From now on hooks let payments go (0), refuse them (1), or fail.
    Mood {
        mood: u8,
    },
}

/// A hook that lets payments go, refuses them, or fails; and always fails afterwards.
#[derive(Default)]
struct Moody(AtomicU8);

impl Hooks for Moody {
    fn on_before_settle<'a>(&'a self, _: &'a HookContext<'a>) -> HookFuture<'a, Before<SettleResponse>> {
        Box::pin(std::future::ready(match self.0.load(Ordering::Relaxed) {
            0 => Ok(Before::Continue),
            1 => Ok(Before::Abort(Refusal::new(Reason::from("not_today"), "the operator says no"))),
            _ => Err("the operator's database is away".into()),
        }))
    }

    fn on_after_settle<'a>(&'a self, _: &'a HookContext<'a>, _: &'a SettleResponse) -> HookFuture<'a, ()> {
        Box::pin(std::future::ready(Err("the operator's database is away".into())))
    }
}

fn faults() -> impl Strategy<Value = Fault> {
    prop::sample::select(vec![
        Fault::None,
        Fault::None,
        Fault::NodeDown,
        Fault::NodeSlow,
        Fault::Reverts,
        Fault::SpoiltByNeighbours,
        Fault::SpoiltAndSettled,
        Fault::NotSentAfterAll,
        Fault::OutboxFails,
        Fault::Unknown,
        Fault::PanicsBefore,
        Fault::PanicsAfter,
        Fault::HangsBefore,
        Fault::WritesSlowly,
        Fault::HangsAfter,
    ])
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_usize, any::<bool>(), 1..4_usize, faults())
            .prop_map(|(process, second, copies, fault)| Step::Settle { process, second, copies, fault }),
        2 => faults().prop_map(|fault| Step::SettleAtBoth { fault }),
        1 => Just(Step::Mine),
        1 => (0..2_usize).prop_map(|process| Step::Kill { process }),
        1 => (1..200_u64).prop_map(|seconds| Step::Wait { seconds }),
        1 => (0..3_u8).prop_map(|mood| Step::Mood { mood }),
    ]
}

/// The world, and what was told in it.
struct World {
    processes: Vec<Facilitator>,
    hooks: Arc<Moody>,
    requests: [Value; 2],
    /// Which request was told of success, and with which transaction.
    success: Option<(usize, Value)>,
}

impl World {
    fn new() -> Self {
        let first = Facilitator::new();
        let hooks = Arc::new(Moody::default());
        let processes = vec![first.replica_with(vec![hooks.clone()]), first.replica_with(vec![hooks.clone()])];
        for process in &processes {
            process.local.start();
        }
        Self { processes, hooks, requests: [request(1), request_for(1, "0xSecondSeller", "10000")], success: None }
    }

    async fn step(&mut self, step: &Step) {
        let chain = &self.processes[0].chain;
        match *step {
            Step::Settle { process, second, copies, fault } => {
                chain.fault(fault);
                self.settle(&vec![process; copies], usize::from(second)).await;
            }
            Step::SettleAtBoth { fault } => {
                chain.fault(fault);
                self.settle(&[0, 1], 0).await;
            }
            Step::Mine => chain.mine(),
            Step::Kill { process } => {
                let killed = self.processes[process].clone();
                killed.node.die();
                self.processes[process] = killed.replica_with(vec![self.hooks.clone()]);
                self.processes[process].local.start();
            }
            Step::Mood { mood } => self.hooks.0.store(mood, Ordering::Relaxed),
            Step::Wait { seconds } => tokio::time::sleep(Duration::from_secs(seconds)).await,
        }
    }

    async fn settle(&mut self, processes: &[usize], which: usize) {
        let request = self.requests[which].clone();
        let asked = processes.iter().map(|process| self.processes[*process].settle(&request));
        for answer in futures_util::future::join_all(asked).await {
            self.check(&answer, which).await;
        }
    }

    async fn check(&mut self, answer: &Answer, which: usize) {
        let chain = &self.processes[0].chain;
        let moved = chain.moved.lock().unwrap().get(&1).cloned();
        let sent = chain.mempool.lock().unwrap().contains_key(&1);
        let entry = self.processes[0].entry(1).await;
        let is_ours = entry.as_ref().is_some_and(|entry| entry.request == self.fingerprint(which));
        if answer.json["success"] == json!(true) {
            assert_eq!(moved.map(|transaction| json!(transaction.0)), Some(answer.json["transaction"].clone()));
            let told = self.success.get_or_insert_with(|| (which, answer.json["transaction"].clone()));
            assert_eq!(*told, (which, answer.json["transaction"].clone()), "one success for one request");
            return;
        }
        match answer.reason() {
            "settlement_pending" => {}
            "payment_in_flight" | "payment_already_used" => assert!(!is_ours, "{answer:?}: {entry:?}"),
            _ => assert!(!(is_ours && (moved.is_some() || sent)), "{answer:?} although the money moved or may: {entry:?}"),
        }
    }

    /// By what the facilitator knows the request; the same digest as its own.
    fn fingerprint(&self, which: usize) -> Fingerprint {
        use sha2::Digest;
        let request = farthing_core::wire::PaymentRequest::read(self.requests[which].to_string().as_bytes()).unwrap();
        Fingerprint(format!("{:x}", sha2::Sha256::digest(serde_json::to_vec(&request).unwrap())))
    }

    /// Everything that was sent lands or expires, and everything comes to its end.
    async fn end(&mut self, lands: bool) {
        let chain = self.processes[0].chain.clone();
        chain.fault(Fault::None);
        self.hooks.0.store(0, Ordering::Relaxed);
        if lands {
            chain.mine();
        }
        chain.expire();
        tokio::time::sleep(Duration::from_secs(400)).await;
        let moved = chain.moved.lock().unwrap().get(&1).cloned();
        match (self.processes[0].state(1).await, &moved) {
            (Some(SettlementState::Settled(settlement)), Some(moved)) => assert_eq!(settlement.transaction, *moved),
            (Some(SettlementState::Dead(_)) | None, None) => {}
            (book, chain) => panic!("the book says {book:?}, the chain {chain:?}"),
        }
        for which in [0, 1] {
            self.settle(&[0, 1], which).await;
        }
        assert_eq!(self.success.is_some(), moved.is_some(), "whoever paid is told so");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_answers_agree_with_the_chain(
        steps in prop::collection::vec(steps(), 1..10),
        lands in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new();
            for step in &steps {
                world.step(step).await;
            }
            world.end(lands).await;
        });
    }
}
