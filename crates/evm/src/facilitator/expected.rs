//! What a transaction has to show before a payment counts as settled by it.
//!
//! EIP-3009 logs whose authorization it was. Permit2 logs nothing of the kind, so there the call is read, too: it has to
//! name the payer's nonce, and the logs that belong to it have to show the transfer. Of several payments in one
//! transaction each ends with a log of its proxy, so that logs can be told apart as long as no two payments are alike.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolCall, SolEvent};
use farthing_core::Source;
use farthing_core::amount::Amount;
use farthing_core::books::PaymentRecord;
use farthing_core::scheme::{Settlement, TransactionId};

use super::transfer::{EIP3009_REASONS, PERMIT2_REASONS, Reasons, UPTO_REASONS};
use crate::abi::{ExactProxy, MULTICALL3, Multicall3, Token};
use crate::chain::Chain;
use crate::rpc::{Log, Receipt, Sent};
use crate::text::{account_id, parse_address};
use crate::transfer::permit2::{Carried, EXACT_PROXY, UPTO_PROXY};

/// The transfer that a payment authorises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) asset: Address,
    pub(crate) payer: Address,
    pub(crate) pay_to: Address,
    /// How much; the most, where a record stands for a payment of which less may have been taken.
    pub(crate) value: U256,
    pub(crate) named: Named,
}

/// How the chain names an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// By the token's own nonce.
    Eip3009(B256),
    /// By a nonce of Permit2, through one of the proxies.
    Permit2 {
        /// The proxy.
        proxy: Address,
        /// The payer's number.
        nonce: U256,
    },
    /// By nothing but the transaction: no payment, but coin that a payer was given for the gas of this approval.
    Funding(B256),
}

/// What one transaction says of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// Its authorization was used, and so much moved, as it allows.
    Exactly(U256),
    /// Its authorization was used for something else.
    Otherwise,
    /// Such a transfer happened, but nothing tells whose authorization it was.
    Perhaps,
    /// It is not in there.
    Nothing,
}

/// Topics that end the logs of one payment by a proxy.
const SETTLED: [B256; 2] = [ExactProxy::Settled::SIGNATURE_HASH, ExactProxy::SettledWithPermit::SIGNATURE_HASH];

impl Expected {
    /// The transfer that a book's record stands for.
    pub(super) fn of(record: &PaymentRecord) -> Result<Self, Source> {
        let address = |field: &str, text: &str| {
            parse_address(text).ok_or_else(|| Source::from(format!("the book's record: {field} is no EVM address")))
        };
        Ok(Self {
            asset: address("asset", record.asset.as_str())?,
            payer: address("payer", record.payer.as_str())?,
            pay_to: address("pay_to", record.pay_to.as_str())?,
            value: record.amount.units(),
            named: Named::read(&record.reference, &record.scheme)
                .ok_or_else(|| Source::from("the book's record: reference is no nonce of EIP-3009 or Permit2"))?,
        })
    }

    pub(super) fn reasons(&self) -> &'static Reasons {
        match self.named {
            Named::Eip3009(_) | Named::Funding(_) => &EIP3009_REASONS,
            Named::Permit2 { proxy: UPTO_PROXY, .. } => &UPTO_REASONS,
            Named::Permit2 { .. } => &PERMIT2_REASONS,
        }
    }

    /// Whether less may have moved than the record says.
    const fn is_metered(&self) -> bool {
        matches!(self.named, Named::Permit2 { proxy: UPTO_PROXY, .. })
    }

    /// What a transaction did with this payment that was sent from here to carry it, with no payment like it beside.
    pub(super) fn moved_by(&self, receipt: &Receipt) -> Moved {
        match self.named {
            _ if !receipt.succeeded => Moved::Nothing,
            Named::Eip3009(nonce) => self.moved(nonce, &receipt.logs),
            Named::Permit2 { proxy, .. } if self.has_settled(proxy, self.value, &receipt.logs) => Moved::Exactly(self.value),
            Named::Permit2 { .. } => Moved::Nothing,
            Named::Funding(_) => Moved::Exactly(self.value),
        }
    }

    /// What a transaction did with this payment, whoever sent it. `trusted` says which contracts create wallets and do
    /// nothing else.
    pub(super) fn moved_by_call(&self, receipt: &Receipt, sent: Option<&Sent>, trusted: impl Fn(Address) -> bool) -> Moved {
        let Named::Permit2 { proxy, .. } = self.named else { return self.moved_by(receipt) };
        let Some(sent) = sent.filter(|sent| sent.hash == receipt.transaction_hash) else { return Moved::Perhaps };
        if !receipt.succeeded {
            return Moved::Nothing;
        }
        let Some(calls) = calls_of(sent) else { return Moved::Perhaps };
        let (ours, others): (Vec<_>, Vec<_>) =
            calls.iter().map(|(to, carried)| (*to, *carried)).partition(|(_, carried)| self.is_named_by(carried.as_ref()));
        let Some((_, Some(carried))) = ours.first() else {
            // A call of the token itself can't use a nonce of Permit2.
            let can_use = |(to, carried): &(Address, Option<Carried>)| carried.is_none() && *to != self.asset && !trusted(*to);
            return if others.iter().any(can_use) { Moved::Perhaps } else { Moved::Nothing };
        };
        if ours.iter().any(|(_, other)| other.as_ref() != Some(carried)) || !self.allows(carried) {
            return if calls.len() == 1 { Moved::Otherwise } else { Moved::Perhaps };
        }
        let has_settled = self.has_settled(proxy, carried.amount, &receipt.logs);
        if calls.len() == 1 {
            return if has_settled { Moved::Exactly(carried.amount) } else { Moved::Otherwise };
        }
        let is_alike = |other: &Carried| {
            (other.token, other.owner, other.to, other.amount) == (self.asset, self.payer, self.pay_to, carried.amount)
        };
        if others.iter().any(|(to, other)| other.as_ref().map_or(!trusted(*to), is_alike)) {
            return Moved::Perhaps;
        }
        if has_settled { Moved::Exactly(carried.amount) } else { Moved::Nothing }
    }

    fn is_named_by(&self, carried: Option<&Carried>) -> bool {
        let Named::Permit2 { nonce, .. } = self.named else { return false };
        carried.is_some_and(|carried| carried.owner == self.payer && carried.nonce == nonce)
    }

    /// Whether a call carries out what the payment allows.
    fn allows(&self, carried: &Carried) -> bool {
        let Named::Permit2 { proxy, .. } = self.named else { return false };
        let amount = if self.is_metered() { carried.amount <= self.value } else { carried.amount == self.value };
        amount && carried.proxy == proxy && carried.token == self.asset && carried.to == self.pay_to
    }

    /// Whether the logs of one payment by this proxy show the transfer.
    fn has_settled(&self, proxy: Address, value: U256, logs: &[Log]) -> bool {
        let mut transferred = false;
        for log in logs {
            if log.address == self.asset && self.is_transfer(log, value) {
                transferred = true;
            } else if [EXACT_PROXY, UPTO_PROXY].contains(&log.address)
                && log.topics.first().is_some_and(|topic| SETTLED.contains(topic))
            {
                if transferred && log.address == proxy {
                    return true;
                }
                transferred = false;
            }
        }
        false
    }

    /// What these logs of one transaction say of this payment by EIP-3009. A transfer belongs to the use of an authorization
    /// that the token logged directly before it, so that no two payments can claim one transfer.
    fn moved(&self, nonce: B256, logs: &[Log]) -> Moved {
        const USED: B256 = Token::AuthorizationUsed::SIGNATURE_HASH;
        let events = [USED, Token::Transfer::SIGNATURE_HASH];
        let ours = logs.iter().filter(|log| log.address == self.asset);
        let mut relevant = ours.filter(|log| log.topics.first().is_some_and(|event| events.contains(event)));
        let mut logs_uses = false;
        let mut transferred = false;
        while let Some(log) = relevant.next() {
            if log.topics == [USED, self.payer.into_word(), nonce] {
                let exact = relevant.next().is_some_and(|log| self.is_transfer(log, self.value));
                return if exact { Moved::Exactly(self.value) } else { Moved::Otherwise };
            }
            logs_uses |= log.topics.first() == Some(&USED);
            transferred |= self.is_transfer(log, self.value);
        }
        if transferred && !logs_uses { Moved::Perhaps } else { Moved::Nothing }
    }

    fn is_transfer(&self, log: &Log, value: U256) -> bool {
        self.is_transfer_between(log) && log.data.as_ref() == value.to_be_bytes::<32>()
    }

    fn is_transfer_between(&self, log: &Log) -> bool {
        log.topics == [Token::Transfer::SIGNATURE_HASH, self.payer.into_word(), self.pay_to.into_word()]
    }

    /// Whether a log of the asset may be this payment's transfer.
    pub(super) fn may_be_transfer(&self, log: &Log) -> bool {
        let value = U256::try_from_be_slice(&log.data);
        let fits = |value| if self.is_metered() { value <= self.value } else { value == self.value };
        log.address == self.asset && self.is_transfer_between(log) && log.data.len() == 32 && value.is_some_and(fits)
    }

    pub(super) fn settlement(&self, chain: &Chain, hash: B256, value: U256) -> Settlement {
        Settlement {
            transaction: TransactionId(hash.to_string()),
            network: chain.network().clone(),
            payer: account_id(self.payer),
            amount: Amount::from_units(value),
        }
    }
}

/// The calls that a transaction makes, and which payment each carries out; `None` if they can't be read.
fn calls_of(sent: &Sent) -> Option<Vec<(Address, Option<Carried>)>> {
    let to = sent.to?;
    if to != MULTICALL3 {
        return Some(vec![(to, Carried::by_call(to, &sent.input))]);
    }
    let calls = Multicall3::aggregate3Call::abi_decode(&sent.input).ok()?.calls;
    Some(calls.iter().map(|call| (call.target, Carried::by_call(call.target, &call.callData))).collect())
}

#[cfg(test)]
mod tests;
