//! What the chain says of a transfer, in one round trip at most, shared with others that ask meanwhile.
//!
//! The transfer is carried out on the latest state and forgotten, beside reads of everything that could explain its
//! failure, so that the diagnosis needs no second question. A payer that is a contract is asked by itself whether the
//! signature is its own (ERC-1271): its code could use up what others need.

use alloy_primitives::{Bytes, U256};
use alloy_sol_types::SolCall;
use farthing_core::reason::{Reason, Refusal};

use super::expected::Expected;
use super::transfer::{Authorized, Transfer};
use crate::abi::{ExactProxy, Token};
use crate::chain::{Chain, Observed, Paid, Probe, Question};
use crate::rpc::{Answer, Executed, NodeError, Revert};
use crate::transfer::permit2::{self, PERMIT2};
use crate::wallet::{self, Claim};

/// What the chain says of a transfer.
#[derive(Debug)]
pub(super) struct Simulation {
    pub(super) payer_has_code: bool,
    /// Whether later probes saw what earlier ones did.
    pub(super) in_sequence: bool,
    executed: Vec<Executed>,
    places: Places,
    /// What the transfer would cost, if that was asked.
    estimate: Option<Answer>,
}

/// Where the answers are.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    used: usize,
    balance: usize,
    /// Name and version of the token's domain, of tokens that a user told of.
    domain: Option<(usize, usize)>,
    /// Allowance and proxy.
    permit2: Option<(usize, usize)>,
    /// What the payee holds before and after, of tokens that may keep a part.
    received: Option<(usize, usize)>,
    created: Option<usize>,
    agreed: Option<usize>,
    paid: usize,
}

/// Asks the chain, once.
pub(super) async fn simulate(chain: &Chain, transfer: &Transfer) -> Result<Simulation, NodeError> {
    let (probes, places) = probes(transfer);
    let is_ordinary = matches!(transfer.claim, Claim::Ordinary(_));
    let question = Question {
        account: transfer.payer(),
        ordinary_only: is_ordinary,
        probes,
        payment: transfer.gas_kind().map(|kind| Paid { place: places.paid, kind }),
        sender: transfer.sender(),
    };
    let count = question.probes.len();
    let observed = if is_ordinary { chain.observe(question).await? } else { chain.observe_alone(question).await? };
    let Observed { code_size, executed, estimate, block } = observed;
    if executed.len() != count {
        return Err(NodeError::Malformed("eth_call"));
    }
    Ok(Simulation { payer_has_code: code_size > 0, in_sequence: block.is_some(), executed, places, estimate })
}

/// Everything that is asked, in the order in which it is carried out.
fn probes(transfer: &Transfer) -> (Vec<Probe>, Places) {
    let mut probes: Vec<Probe> = Vec::with_capacity(10);
    let mut add = |to, data: Vec<u8>| {
        probes.push(Probe { to, data: data.into() });
        probes.len().saturating_sub(1)
    };
    let (asset, payer, pay_to) = (transfer.asset.address, transfer.payer(), transfer.authorized.pay_to());
    let (state, question) = transfer.expected().state_question();
    let balance = |account| Token::balanceOfCall { account }.abi_encode();
    let mut places = Places { used: add(state, question), balance: add(asset, balance(payer)), ..Places::default() };
    // Half of the work would be to ask what is known.
    let is_known = transfer.asset.is_built_in;
    match &transfer.authorized {
        Authorized::Eip3009(_) if is_known => {}
        Authorized::Eip3009(_) => {
            let name = add(asset, Token::nameCall {}.abi_encode());
            places.domain = Some((name, add(asset, Token::versionCall {}.abi_encode())));
        }
        Authorized::Permit2(authorization) => {
            let allowance = add(asset, Token::allowanceCall { owner: payer, spender: PERMIT2 }.abi_encode());
            let proxy = add(authorization.spender, ExactProxy::PERMIT2Call {}.abi_encode());
            places.permit2 = Some((allowance, proxy));
        }
    }
    let before = (!is_known).then(|| add(asset, balance(pay_to)));
    if let Claim::Undeployed(creation) = &transfer.claim {
        places.created = Some(add(creation.factory, creation.call.to_vec()));
    }
    if !matches!(transfer.claim, Claim::Ordinary(_)) {
        let digest = transfer.authorized.digest(&transfer.asset);
        places.agreed = Some(add(payer, wallet::question(digest, &transfer.claim.bytes())));
    }
    let Probe { to, data } = transfer.whole_call();
    places.paid = add(to, data.to_vec());
    places.received = before.map(|before| (before, add(asset, balance(pay_to))));
    (probes, places)
}

impl Simulation {
    /// What others whose payments cost alike may learn: the estimate of a transfer that was judged good. One that was not may
    /// run code of its payer's choice, and would make everybody's payment look expensive.
    pub(super) const fn estimate(&self) -> Option<&Answer> {
        self.estimate.as_ref()
    }

    /// What the payer can still be charged, if the asset says so: its balance, and what it allows Permit2 of that. A permit
    /// or an approval that goes along allows what it is for.
    pub(super) fn available(&self, transfer: &Transfer) -> Option<U256> {
        let balance = self.number(self.places.balance)?;
        match self.places.permit2 {
            Some((allowance, _)) if transfer.permit.is_none() && transfer.approval.is_none() => {
                Some(balance.min(self.number(allowance)?))
            }
            _ => Some(balance),
        }
    }

    /// What the payer has approved Permit2 for, if that is too little.
    pub(super) fn short_allowance(&self, transfer: &Transfer) -> Option<U256> {
        let allowance = self.places.permit2.and_then(|(allowance, _)| self.number(allowance));
        allowance.filter(|allowance| *allowance < transfer.value)
    }

    /// Whether the transfer would move the money; if not, why. The first reason that applies wins, in the order of the
    /// official facilitator.
    pub(super) fn judge(&self, transfer: &Transfer) -> Result<(), Refusal> {
        match transfer.authorized {
            Authorized::Eip3009(_) => self.judge_eip3009(transfer),
            Authorized::Permit2(_) => self.judge_permit2(transfer),
        }
    }

    fn judge_eip3009(&self, transfer: &Transfer) -> Result<(), Refusal> {
        self.check_signature(transfer)?;
        self.check_asset(transfer)?;
        // Some tokens do not revert on a used nonce, so this is looked at even where the transfer went through.
        match self.used(&transfer.expected()) {
            Some(false) => {}
            Some(true) => return Err(used("authorization.nonce", transfer)),
            None => {
                let message = format!("asset: {} on {} does not know EIP-3009", transfer.asset.address, transfer.asset.network);
                return Err(Refusal::new(Reason::InvalidExactEvmEip3009NotSupported, message));
            }
        }
        let failure = self.revert(self.places.paid);
        if failure.is_some() {
            self.check_domain(transfer)?;
        }
        self.check_balance(transfer)?;
        failure.map_or_else(|| self.check_received(transfer), |revert| Err(would_fail(transfer, revert)))
    }

    fn judge_permit2(&self, transfer: &Transfer) -> Result<(), Refusal> {
        self.check_asset(transfer)?;
        self.check_signature(transfer)?;
        let Some((_, proxy)) = self.places.permit2 else { return Ok(()) };
        let failure = self.revert(self.places.paid);
        // An address without code answers nothing, and a call to it does nothing.
        if self.answer(proxy).is_none_or(|data| data.is_empty()) {
            let message = format!("x402's proxy for Permit2 is not on {}; pay by another method", transfer.asset.network);
            return Err(Refusal::new(Reason::Permit2ProxyNotDeployed, message));
        }
        if self.used(&transfer.expected()) == Some(true) {
            return Err(used("permit2Authorization.nonce", transfer));
        }
        self.check_balance(transfer)?;
        let Some(revert) = failure else { return self.check_received(transfer) };
        if let Some(allowed) = self.short_allowance(transfer) {
            if transfer.approval.is_some() {
                return Ok(());
            }
            let message = format!(
                "{} allows Permit2 ({PERMIT2}) {allowed} atomic units of {}, and the payment takes {}; approve Permit2 for this \
                 asset first, once",
                transfer.payer(),
                transfer.asset.symbol,
                transfer.value,
            );
            return Err(Refusal::new(Reason::Permit2AllowanceRequired, message));
        }
        Err(would_fail(transfer, revert))
    }

    fn check_asset(&self, transfer: &Transfer) -> Result<(), Refusal> {
        if self.answer(self.places.balance).is_some_and(|data| data.is_empty()) {
            let message = format!("asset: there is no contract at {} on {}", transfer.asset.address, transfer.asset.network);
            return Err(Refusal::new(Reason::AssetNotDeployedContract, message));
        }
        Ok(())
    }

    /// Whose signature it is, where only the chain can say.
    fn check_signature(&self, transfer: &Transfer) -> Result<(), Refusal> {
        let refused = |message: String| Err(Refusal::new(transfer.reasons().signature.clone(), message));
        let payer = transfer.payer();
        match &transfer.claim {
            Claim::Ordinary(_) => return Ok(()),
            Claim::Contract(_, why) if !self.payer_has_code => return refused(format!("signature: {why} ({payer})")),
            Claim::Contract(..) => {}
            Claim::Undeployed(creation) => {
                if let Some(revert) = self.places.created.and_then(|place| self.revert(place)) {
                    let message = format!("the payer's wallet could not be created by {}: {}", creation.factory, revert.reason);
                    return Err(Refusal::new(Reason::SmartWalletDeploymentFailed, message));
                }
            }
        }
        let answer = self.places.agreed.and_then(|place| self.answer(place));
        match answer {
            Some(answer) if wallet::agrees(answer) => Ok(()),
            Some(answer) if answer.is_empty() && !self.payer_has_code && self.places.created.is_some() => {
                let message = format!("{payer} is still no contract after its wallet was to be created");
                Err(Refusal::new(Reason::SmartWalletDeploymentFailed, message))
            }
            _ => refused(format!(
                "signature: the payer {payer} is a smart wallet or an EIP-7702 account, and does not agree that it is its own \
                 (ERC-1271); the signature of the key behind it does not count"
            )),
        }
    }

    fn check_domain(&self, transfer: &Transfer) -> Result<(), Refusal> {
        let Some((name, version)) = self.places.domain else { return Ok(()) };
        let asset = &transfer.asset;
        let name = self.answer(name).and_then(|data| Token::nameCall::abi_decode_returns(data).ok());
        let version = self.answer(version).and_then(|data| Token::versionCall::abi_decode_returns(data).ok());
        let parts = [
            (Reason::InvalidExactEvmTokenNameMismatch, "extra.name", &asset.name, name),
            (Reason::InvalidExactEvmTokenVersionMismatch, "extra.version", &asset.version, version),
        ];
        for (reason, field, ours, on_chain) in parts {
            if let Some(on_chain) = on_chain.filter(|on_chain| on_chain != ours) {
                let expected = format!("{}, as the token itself says", crate::text::quoted(&on_chain));
                return Err(Refusal::mismatch(reason, field, expected, format!("{ours:?}")));
            }
        }
        Ok(())
    }

    fn check_balance(&self, transfer: &Transfer) -> Result<(), Refusal> {
        let needed = transfer.value;
        match self.number(self.places.balance) {
            Some(balance) if balance < needed => Err(Refusal::new(
                transfer.reasons().balance.clone(),
                format!(
                    "{} holds {balance} atomic units of {} and the payment takes {needed}",
                    transfer.payer(),
                    transfer.asset.symbol,
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Whether the payee would get all of it: tokens that keep a fee for themselves settle nothing exactly.
    fn check_received(&self, transfer: &Transfer) -> Result<(), Refusal> {
        let Some((before, after)) = self.places.received else { return Ok(()) };
        let received = self.number(after).zip(self.number(before)).and_then(|(after, before)| after.checked_sub(before));
        if !self.in_sequence || transfer.payer() == transfer.authorized.pay_to() || received == Some(transfer.value) {
            return Ok(());
        }
        let expected = format!("{} atomic units of {} at the payee", transfer.value, transfer.asset.symbol);
        let got = received.map_or_else(|| "less than nothing".to_owned(), |received| received.to_string());
        Err(Refusal::mismatch(transfer.reasons().simulation.clone(), "the transfer", expected, got))
    }

    fn used(&self, expected: &Expected) -> Option<bool> {
        self.answer(self.places.used).and_then(|data| expected.is_used_by_state(data))
    }

    fn number(&self, place: usize) -> Option<U256> {
        self.answer(place).filter(|data| data.len() == 32).and_then(|data| U256::try_from_be_slice(data))
    }

    fn answer(&self, place: usize) -> Option<&Bytes> {
        self.executed.get(place)?.as_ref().ok()
    }

    fn revert(&self, place: usize) -> Option<&Revert> {
        self.executed.get(place)?.as_ref().err()
    }
}

fn used(field: &str, transfer: &Transfer) -> Refusal {
    let message = format!("{field}: it was used or cancelled on chain; sign a new payment with another nonce");
    Refusal::new(transfer.reasons().used.clone(), message)
}

/// Why a transfer fails, by the error of the contract if that has a reason of its own.
fn would_fail(transfer: &Transfer, revert: &Revert) -> Refusal {
    let by_contract = match transfer.authorized {
        Authorized::Permit2(_) => revert.selector.and_then(permit2::reason_of),
        Authorized::Eip3009(_) => None,
    };
    let reason = by_contract.unwrap_or_else(|| transfer.reasons().simulation.clone());
    Refusal::new(reason, format!("the transfer would fail: {}", revert.reason))
}
