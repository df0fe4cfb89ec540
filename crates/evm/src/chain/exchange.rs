//! One read of the chain: many questions, one round trip.
//!
//! While it is not known whether the node can execute calls under an assumed state, it is asked in both forms of
//! [`question`], in the same round trip. What does not come back well from the shared form is asked again call by call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use farthing_core::network::Network;
use tokio::time::Instant;

use super::gas::GasBook;
use super::question::{self, Observed, Question};
use crate::abi::MULTICALL3;
use crate::config::ChainConfig;
use crate::relayer::Relayer;
use crate::rpc::{self, Answer, Call, Node, NodeError};

/// What each probe may use at least, where payments may use less: too little would look like a payment that fails.
const MIN_PROBE_GAS_UNITS: u64 = 500_000;
/// How long a node that could not assume code is not asked to.
const NO_OVERRIDES_LIFETIME: Duration = Duration::from_mins(1);

/// Asks the node of one chain, and keeps what it learns of it.
pub(super) struct Exchange {
    id: u64,
    network: Network,
    node: Arc<dyn Node>,
    relayer: Arc<Relayer>,
    gas: Arc<GasBook>,
    gas_units_per_probe: u64,
    known: Mutex<Known>,
}

/// What is known of the node.
#[derive(Debug, Default)]
struct Known {
    overrides: Overrides,
    multicall: Option<bool>,
}

/// Whether the node can execute calls under an assumed state.
#[derive(Clone, Copy, Debug, Default)]
enum Overrides {
    /// Not asked yet, or not since it failed.
    #[default]
    Unknown,
    Work,
    Fail {
        since: Instant,
    },
}

/// The calls of one read, and where their answers will be.
struct Plan {
    calls: Vec<Call>,
    id: Option<usize>,
    multicall: Option<usize>,
    together: Option<usize>,
    /// Where the first question's own calls begin, if they are asked one by one.
    one_by_one: Option<usize>,
    /// The estimate, if there is one question only.
    estimate: Option<usize>,
}

/// What a shared call brought.
enum Shared {
    /// The answers; `None` for a question that did not fit.
    Answers(Vec<Option<Observed>>),
    /// It was too much for one call.
    TooMuch,
    /// The node did not assume the contract.
    NoOverrides,
    /// The node is in trouble.
    Trouble(NodeError),
}

/// The answer to a question, once there is one.
type Found = Option<Result<Observed, NodeError>>;

impl Exchange {
    /// Nothing is asked yet.
    pub(super) fn new(id: u64, config: &ChainConfig, node: Arc<dyn Node>, relayer: Arc<Relayer>, gas: Arc<GasBook>) -> Self {
        Self {
            id,
            network: config.network.clone(),
            node,
            relayer,
            gas,
            gas_units_per_probe: config.gas.max_units.max(MIN_PROBE_GAS_UNITS),
            known: Mutex::default(),
        }
    }

    /// One answer for each question.
    pub(super) async fn read(&self, questions: &[&Question]) -> Vec<Result<Observed, NodeError>> {
        let mut found: Vec<Found> = questions.iter().map(|_| None).collect();
        let answered = self.together(questions, &mut found).await;
        let mut missing: Vec<(usize, &Question)> = questions.iter().copied().enumerate().collect();
        missing.retain(|(index, _)| matches!(found.get(*index), Some(None)));
        if let Err(error) = answered {
            fail(&mut found, &error);
        } else if !missing.is_empty() {
            tracing::debug!(network = %self.network, questions = missing.len(), "asking call by call");
            let calls: Vec<Call> = missing.iter().flat_map(|(_, question)| question::call_by_call(question)).collect();
            match self.node.ask(&calls).await {
                Ok(answers) => fill(&mut found, &missing, &answers),
                Err(error) => {
                    self.forget();
                    fail(&mut found, &error);
                }
            }
        }
        found.into_iter().map(|answer| answer.unwrap_or(Err(NodeError::Malformed("eth_call")))).collect()
    }

    /// The estimate that is due for one of the questions, if any is, and which one's.
    pub(super) fn due_estimate(&self, questions: &[&Question]) -> Option<(usize, Call)> {
        let due = |question: &&Question| question.payment.filter(|paid| self.gas.should_ask(paid.kind));
        let (index, question, paid) =
            questions.iter().enumerate().find_map(|(index, question)| Some((index, question, due(question)?)))?;
        let (payment, sender) = (question.probes.get(paid.place)?, question.sender.unwrap_or(self.relayer.address()));
        Some((index, Call::estimate_gas(sender, payment.to, &payment.data)))
    }

    /// One call by itself; `None` if the node has no answer.
    pub(super) async fn ask_alone(&self, call: Call) -> Option<Answer> {
        self.node.ask(&[call]).await.ok()?.into_iter().next()
    }

    /// Whether the chain has Multicall3.
    pub(super) async fn has_multicall(&self) -> Result<bool, NodeError> {
        if let Some(known) = self.known().multicall {
            return Ok(known);
        }
        let answers = self.node.ask(&[Call::chain_id(), Call::code(MULTICALL3)]).await?;
        let [id, code] = answers.as_slice() else { return Err(NodeError::Malformed("eth_getCode")) };
        self.check_id(Some(id))?;
        let has_multicall = !rpc::bytes(code, "eth_getCode")?.is_empty();
        self.known().multicall = Some(has_multicall);
        Ok(has_multicall)
    }

    /// Whether the node is of this chain.
    pub(super) fn check_id(&self, answer: Option<&Answer>) -> Result<(), NodeError> {
        const METHOD: &str = "eth_chainId";
        let got = rpc::quantity(answer.ok_or(NodeError::Malformed(METHOD))?, METHOD)?;
        if got == self.id {
            return Ok(());
        }
        tracing::error!(network = %self.network, got, "the configured node is of another chain");
        Err(NodeError::OtherChain { expected: self.id, got })
    }

    /// The round trip that all questions share. An error is one for all of them.
    async fn together(&self, questions: &[&Question], found: &mut [Found]) -> Result<(), NodeError> {
        let (plan, answers) = self.exchange(questions).await.inspect_err(|_| self.forget())?;
        self.take_shared(&plan, &answers, questions, found)?;
        if let Some(first) = plan.one_by_one {
            let all: Vec<(usize, &Question)> = questions.iter().copied().enumerate().collect();
            fill(found, &all, answers.get(first..).unwrap_or_default());
        }
        if let (Some(place), Some(Some(Ok(observed)))) = (plan.estimate, found.first_mut()) {
            observed.estimate = answers.get(place).cloned();
        }
        Ok(())
    }

    /// The round trip, and what the chain learns from it for itself.
    async fn exchange(&self, questions: &[&Question]) -> Result<(Plan, Vec<Answer>), NodeError> {
        let mut plan = self.plan(questions);
        let upkeep = self.relayer.plan_upkeep(&mut plan.calls);
        let answers = self.node.ask(&plan.calls).await?;
        if answers.len() != plan.calls.len() {
            return Err(NodeError::Malformed("eth_call"));
        }
        if let Some(place) = plan.id {
            self.check_id(answers.get(place))?;
        }
        if let Some(Ok(code)) = plan.multicall.and_then(|place| answers.get(place)).map(|code| rpc::bytes(code, "eth_getCode"))
        {
            self.known().multicall = Some(!code.is_empty());
        }
        if let Some(upkeep) = upkeep {
            self.relayer.absorb_upkeep(&upkeep, &answers);
        }
        Ok((plan, answers))
    }

    fn plan(&self, questions: &[&Question]) -> Plan {
        let overrides = self.known().overrides();
        let mut plan = Plan { calls: Vec::new(), id: None, multicall: None, together: None, one_by_one: None, estimate: None };
        if matches!(overrides, Overrides::Unknown) {
            plan.id = Some(plan.add(Call::chain_id()));
            plan.multicall = Some(plan.add(Call::code(MULTICALL3)));
        }
        if !matches!(overrides, Overrides::Fail { .. }) {
            let call = question::together(questions, self.gas_units_per_probe);
            plan.together = Some(plan.add(call));
        }
        if questions.len() == 1 {
            let estimate = self.due_estimate(questions);
            plan.estimate = estimate.map(|(_, call)| plan.add(call));
        }
        if !matches!(overrides, Overrides::Work) {
            plan.one_by_one = Some(plan.calls.len());
            plan.calls.extend(questions.iter().flat_map(|question| question::call_by_call(question)));
        }
        plan
    }

    /// Takes what the shared call brought, if there was one, and what that says of the node.
    fn take_shared(
        &self,
        plan: &Plan,
        answers: &[Answer],
        questions: &[&Question],
        found: &mut [Found],
    ) -> Result<(), NodeError> {
        let Some(answer) = plan.together.and_then(|place| answers.get(place)) else { return Ok(()) };
        match Shared::of(answer, questions) {
            Shared::Answers(observed) => {
                self.known().overrides = Overrides::Work;
                found.iter_mut().zip(observed).for_each(|(found, observed)| *found = observed.map(Ok));
            }
            // One question by itself is never too much for a node that assumed the contract.
            Shared::TooMuch if questions.len() == 1 => self.forget(),
            Shared::TooMuch => {}
            Shared::Trouble(error) if plan.one_by_one.is_none() => return Err(error),
            Shared::NoOverrides if plan.one_by_one.is_none() => self.forget(),
            Shared::NoOverrides | Shared::Trouble(_) => {
                tracing::info!(network = %self.network, "the node executes no call under an assumed state; asking call by call");
                self.known().overrides = Overrides::Fail { since: Instant::now() };
            }
        }
        Ok(())
    }

    /// The node failed: it may be another one when it is back.
    fn forget(&self) {
        *self.known() = Known::default();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills what is missing with the answers to [`question::call_by_call`] of these questions.
fn fill(found: &mut [Found], asked: &[(usize, &Question)], mut answers: &[Answer]) {
    for (index, question) in asked {
        let Some((own, rest)) = answers.split_at_checked(question::call_count(question)) else { return };
        answers = rest;
        if let Some(missing) = found.get_mut(*index).filter(|found| found.is_none()) {
            *missing = Some(question::answered(own));
        }
    }
}

/// Whatever is missing will not come.
fn fail(found: &mut [Found], error: &NodeError) {
    found.iter_mut().filter(|found| found.is_none()).for_each(|found| *found = Some(Err(error.clone())));
}

impl Known {
    fn overrides(&self) -> Overrides {
        match self.overrides {
            Overrides::Fail { since } if since.elapsed() >= NO_OVERRIDES_LIFETIME => Overrides::Unknown,
            known => known,
        }
    }
}

impl Plan {
    fn add(&mut self, call: Call) -> usize {
        self.calls.push(call);
        self.calls.len().saturating_sub(1)
    }
}

impl Shared {
    fn of(answer: &Answer, questions: &[&Question]) -> Self {
        match rpc::executed(answer) {
            Ok(Ok(data)) => question::apart(&data, questions).map_or_else(|_| Self::NoOverrides, Self::Answers),
            Ok(Err(_)) => Self::TooMuch,
            Err(NodeError::Refused { error, .. }) if error.refuses_overrides() => Self::NoOverrides,
            Err(NodeError::Malformed(_)) => Self::NoOverrides,
            Err(error) => Self::Trouble(error),
        }
    }
}
