//! What is asked of a chain for one payment, and the two forms in which a node is asked it.
//!
//! The first form asks for many payments in one call: the runtime code of `contracts/Probe.sol` is assumed, for the length
//! of that call, at an address where nothing is. It undoes what it carried out for one payment before the next, so that
//! they can't disturb each other. The second form, for nodes that can't assume code, asks call by call.

use std::sync::LazyLock;

use alloy_primitives::{Address, Bytes, U256, address};
use alloy_sol_types::{SolCall, SolValue};
use serde::Deserialize;

use super::gas::GasKind;
use crate::abi::ProbeContract;
use crate::rpc::{self, Answer, Call, Executed, NodeError, Revert};

/// Where the contract is assumed: the end of keccak256("farthing probe"), an address to which nobody has a key.
pub(super) const PROBE: Address = address!("0x853fb0e876daf3e2dfd634f2e788ae427539896c");
/// What is kept of the answer to each probe, in bytes; the rest is cut off, and what is cut does not decode.
const MAX_PROBE_ANSWER_BYTES: u64 = 1_024;
/// The contract, as `cargo xtask contracts` compiled it.
const ARTIFACT: &str = include_str!("../../../../contracts/artifacts/Probe.json");
/// Why nothing was carried out for an account that was to be an ordinary one.
const SKIPPED: &str = "it was not carried out, because the account has code";
/// What became of one probe, as the contract counts.
const FAILED: u8 = 0;
const RETURNED: u8 = 1;

/// One read-only call of a contract. It may carry a signature, so it is not shown.
#[derive(Clone)]
pub struct Probe {
    /// The contract.
    pub to: Address,
    /// The call.
    pub data: Bytes,
}

/// What is asked for one payment.
#[derive(Clone)]
pub struct Question {
    /// Whose code is looked at.
    pub account: Address,
    /// Whether nothing is to be carried out if the account has code. Its code could use up whatever the node allows, at the
    /// expense of everybody who asks at the same time. A node that is asked call by call carries it out all the same.
    pub ordinary_only: bool,
    /// What is carried out, one after another; where the node can, later ones see what earlier ones did.
    pub probes: Vec<Probe>,
    /// Which of the probes is the payment itself: its gas is estimated, if that is due.
    pub payment: Option<Paid>,
    /// Who calls, where that matters: the contract is assumed at that account. Such a question is asked by itself.
    pub sender: Option<Address>,
}

/// Where the payment is among the probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paid {
    /// Its place.
    pub place: usize,
    /// What it costs like.
    pub kind: GasKind,
}

/// What [`Chain::observe`](super::Chain::observe) saw.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The length of the account's code, in bytes; 0 for ordinary accounts.
    pub code_size: usize,
    /// What the probes did, in the order of the question.
    pub executed: Vec<Executed>,
    /// What the payment would cost, if that was asked.
    pub estimate: Option<Answer>,
    /// The block on which it was carried out, if the node said so.
    pub block: Option<BlockView>,
}

/// A block as a contract sees it. Some rollups show contracts another height than they show the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockView {
    /// Its height.
    pub number: u64,
    /// Its time, in seconds since 1970.
    pub timestamp_seconds: u64,
}

/// Many questions in one call. Where it matters who calls, there is one only.
pub(super) fn together(questions: &[&Question], gas_units_per_probe: u64) -> Call {
    let call = |probe: &Probe| ProbeContract::Call { to: probe.to, data: probe.data.clone() };
    let group = |question: &Question| ProbeContract::Group {
        account: question.account,
        ordinaryOnly: question.ordinary_only,
        calls: question.probes.iter().map(call).collect(),
    };
    let call = ProbeContract::observeCall {
        groups: questions.iter().map(|question| group(question)).collect(),
        gasPerCall: U256::from(gas_units_per_probe),
        maxBytes: U256::from(MAX_PROBE_ANSWER_BYTES),
    };
    let caller = questions.iter().find_map(|question| question.sender).unwrap_or(PROBE);
    Call::execute_with_code(caller, &RUNTIME, &call.abi_encode())
}

/// The node has not carried out the contract: this is not what it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAssumed;

/// The answers to [`together`], `None` for a question that did not fit into the gas of the call.
pub(super) fn apart(data: &[u8], questions: &[&Question]) -> Result<Vec<Option<Observed>>, NotAssumed> {
    let answer = ProbeContract::observeCall::abi_decode_returns(data).map_err(|_| NotAssumed)?;
    if answer.reports.len() != questions.len() {
        return Err(NotAssumed);
    }
    let block = BlockView {
        number: answer.height.try_into().map_err(|_| NotAssumed)?,
        timestamp_seconds: answer.timestamp.try_into().map_err(|_| NotAssumed)?,
    };
    answer.reports.iter().zip(questions).map(|(report, question)| observed(report, question, block)).collect()
}

fn observed(report: &ProbeContract::Report, question: &Question, block: BlockView) -> Result<Option<Observed>, NotAssumed> {
    let code_size = report.codeSize.try_into().map_err(|_| NotAssumed)?;
    let seen = |executed| Observed { code_size, executed, estimate: None, block: Some(block) };
    if report.results.is_empty() {
        let skipped = question.ordinary_only && code_size > 0;
        let revert = |_| Err(Revert { reason: SKIPPED.to_owned(), selector: None });
        return Ok(skipped.then(|| seen(question.probes.iter().map(revert).collect())));
    }
    let results = Vec::<ProbeContract::Result>::abi_decode(&report.results).map_err(|_| NotAssumed)?;
    if results.len() != question.probes.len() {
        return Err(NotAssumed);
    }
    let executed = results.into_iter().map(|result| match result.outcome {
        RETURNED => Some(Ok(result.data)),
        FAILED => Some(Err(Revert::from_data(&result.data))),
        _ => None,
    });
    Ok(executed.collect::<Option<Vec<Executed>>>().map(seen))
}

/// One question, call by call.
pub(super) fn call_by_call(question: &Question) -> impl Iterator<Item = Call> + '_ {
    let execute = |probe: &Probe| match question.sender {
        Some(sender) => Call::execute_from(sender, probe.to, &probe.data),
        None => Call::execute(probe.to, &probe.data),
    };
    let probes = question.probes.iter().map(execute);
    std::iter::once(Call::code(question.account)).chain(probes)
}

/// How many calls [`call_by_call`] makes.
pub(super) const fn call_count(question: &Question) -> usize {
    question.probes.len().saturating_add(1)
}

/// The answers to [`call_by_call`].
pub(super) fn answered(answers: &[Answer]) -> Result<Observed, NodeError> {
    let Some((code, answers)) = answers.split_first() else { return Err(NodeError::Malformed("eth_getCode")) };
    Ok(Observed {
        code_size: rpc::bytes(code, "eth_getCode")?.len(),
        executed: answers.iter().map(rpc::executed).collect::<Result<_, _>>()?,
        estimate: None,
        block: None,
    })
}

#[expect(clippy::expect_used, reason = "the artifact is compiled into this crate, and a test reads it")]
static RUNTIME: LazyLock<Bytes> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct Artifact {
        runtime: Bytes,
    }
    serde_json::from_str::<Artifact>(ARTIFACT).expect("the contract's artifact has its runtime code").runtime
});

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;

    #[test]
    fn the_contract_is_there_and_its_address_is_nobodys() {
        assert!(RUNTIME.len() > 1_000);
        assert_eq!(PROBE, Address::from_word(keccak256("farthing probe")));
    }

    #[test]
    fn what_is_not_the_contracts_answer_is_noticed() {
        let question =
            Question { account: Address::ZERO, ordinary_only: false, probes: Vec::new(), payment: None, sender: None };
        assert!(apart(&[], &[&question]).is_err());
        assert!(apart(&[0; 31], &[&question]).is_err());
        assert!(apart(&[0xff; 320], &[&question]).is_err());
        let nothing = ProbeContract::observeReturn { height: U256::ZERO, timestamp: U256::ZERO, reports: Vec::new() };
        let nothing = ProbeContract::observeCall::abi_encode_returns(&nothing);
        assert!(apart(&nothing, &[&question]).is_err(), "it answers fewer questions than were asked");
        assert!(apart(&nothing, &[]).is_ok());
    }

    #[test]
    fn a_question_that_did_not_fit_is_told_from_one_that_failed() {
        let probe = Probe { to: Address::ZERO, data: Bytes::new() };
        let question =
            Question { account: Address::ZERO, ordinary_only: false, probes: vec![probe; 2], payment: None, sender: None };
        let report = |outcomes: [u8; 2]| {
            let results = outcomes.map(|outcome| ProbeContract::Result { outcome, data: Bytes::new() });
            ProbeContract::Report { codeSize: U256::from(23), results: results.to_vec().abi_encode().into() }
        };
        let starved = ProbeContract::Report { codeSize: U256::ZERO, results: Bytes::new() };
        let answer = ProbeContract::observeReturn {
            height: U256::from(7),
            timestamp: U256::from(8),
            reports: vec![report([1, 0]), report([1, 2]), starved],
        };
        let data = ProbeContract::observeCall::abi_encode_returns(&answer);
        let seen = apart(&data, &[&question, &question, &question]).unwrap();
        let first = seen[0].as_ref().unwrap();
        assert_eq!((first.code_size, first.block), (23, Some(BlockView { number: 7, timestamp_seconds: 8 })));
        assert!(first.executed[0].is_ok() && first.executed[1].is_err());
        assert!(seen[1].is_none() && seen[2].is_none());
    }
}
