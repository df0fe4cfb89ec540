//! The facilitator's second step: what the chain says, in one round trip at most, shared with others that ask meanwhile.
//!
//! The transfer is carried out on the latest state and forgotten, beside reads of everything that could explain its
//! failure, so that the diagnosis needs no second question.

use alloy_primitives::U256;
use alloy_sol_types::SolCall;
use farthing_core::reason::{Reason, Refusal};

use super::checks::Transfer;
use crate::abi::Token;
use crate::chain::{Chain, Observed, Probe, Question};
use crate::rpc::{Answer, Executed, NodeError};

/// What the chain says of a transfer.
#[derive(Debug)]
pub(super) struct Simulation {
    payer_has_code: bool,
    used: Executed,
    balance: Executed,
    name: Executed,
    version: Executed,
    transfer: Executed,
    /// What the transfer would cost, if that was asked.
    estimate: Option<Answer>,
}

/// Asks the chain, once.
pub(super) async fn simulate(chain: &Chain, transfer: &Transfer) -> Result<Simulation, NodeError> {
    let Transfer { asset, authorization, signature } = transfer;
    let probe = |data: Vec<u8>| Probe { to: asset.address, data: data.into() };
    let probes = [
        probe(Token::authorizationStateCall { authorizer: authorization.from, nonce: authorization.nonce }.abi_encode()),
        probe(Token::balanceOfCall { account: authorization.from }.abi_encode()),
        probe(Token::nameCall {}.abi_encode()),
        probe(Token::versionCall {}.abi_encode()),
        probe(authorization.calldata(signature)),
    ];
    let payment = probes.len().checked_sub(1);
    // A payer with code is refused whatever it would do.
    let question = Question { account: authorization.from, ordinary_only: true, probes: probes.to_vec(), payment };
    let Observed { code_size, executed, estimate, .. } = chain.observe(question).await?;
    let Ok([used, balance, name, version, simulated]) = <[Executed; 5]>::try_from(executed) else {
        return Err(NodeError::Malformed("eth_call"));
    };
    Ok(Simulation { payer_has_code: code_size > 0, used, balance, name, version, transfer: simulated, estimate })
}

impl Simulation {
    /// What others who pay in this asset may learn: the estimate of a transfer that was judged good. One that was not may
    /// run code of its payer's choice, and would make everybody's payment look expensive.
    pub(super) const fn estimate(&self) -> Option<&Answer> {
        self.estimate.as_ref()
    }

    /// Whether the transfer would move the money; if not, why. The first reason that applies wins, in the order of the
    /// official facilitator.
    pub(super) fn judge(&self, transfer: &Transfer) -> Result<(), Refusal> {
        if self.payer_has_code {
            return Err(Refusal::new(
                Reason::InvalidExactEvmSignature,
                format!(
                    "authorization.from: {} is a smart wallet or an EIP-7702 account, which this facilitator does not support yet; \
                     pay from an ordinary account",
                    transfer.authorization.from,
                ),
            ));
        }
        if self.balance.as_ref().is_ok_and(|data| data.is_empty()) {
            let message = format!("asset: there is no contract at {} on {}", transfer.asset.address, transfer.asset.network);
            return Err(Refusal::new(Reason::AssetNotDeployedContract, message));
        }
        // Some tokens do not revert on a used nonce, so this is looked at even where the transfer went through.
        self.check_nonce(transfer)?;
        let failure = self.transfer.as_ref().err();
        if failure.is_some() {
            self.check_domain(transfer)?;
        }
        self.check_balance(transfer)?;
        match failure {
            None => Ok(()),
            Some(revert) => Err(Refusal::new(
                Reason::InvalidExactEvmTransactionSimulationFailed,
                format!("the transfer would fail: {}", revert.reason),
            )),
        }
    }

    fn check_nonce(&self, transfer: &Transfer) -> Result<(), Refusal> {
        let used = self.used.as_ref().ok().and_then(|data| Token::authorizationStateCall::abi_decode_returns(data).ok());
        match used {
            Some(false) => Ok(()),
            Some(true) => Err(Refusal::new(
                Reason::InvalidExactEvmNonceAlreadyUsed,
                "authorization.nonce: it was used or cancelled on chain; sign a new payment with another nonce",
            )),
            None => Err(Refusal::new(
                Reason::InvalidExactEvmEip3009NotSupported,
                format!("asset: {} on {} does not know EIP-3009", transfer.asset.address, transfer.asset.network),
            )),
        }
    }

    fn check_domain(&self, transfer: &Transfer) -> Result<(), Refusal> {
        let asset = &transfer.asset;
        let name = self.name.as_ref().ok().and_then(|data| Token::nameCall::abi_decode_returns(data).ok());
        let version = self.version.as_ref().ok().and_then(|data| Token::versionCall::abi_decode_returns(data).ok());
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

    /// What the payer holds, if the asset says so.
    pub(super) fn balance(&self) -> Option<U256> {
        self.balance.as_ref().ok().and_then(|data| U256::try_from_be_slice(data))
    }

    fn check_balance(&self, transfer: &Transfer) -> Result<(), Refusal> {
        let needed = transfer.authorization.value;
        match self.balance() {
            Some(balance) if balance < needed => Err(Refusal::new(
                Reason::InvalidExactEvmInsufficientBalance,
                format!(
                    "{} holds {balance} atomic units of {} and the payment takes {needed}",
                    transfer.authorization.from, transfer.asset.symbol,
                ),
            )),
            _ => Ok(()),
        }
    }
}
