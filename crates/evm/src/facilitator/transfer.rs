//! A transfer that a payer signed, by whichever method: what the steps of every scheme's facilitator work on.

use std::sync::Arc;

use alloy_primitives::{Address, B256, Keccak256, U256};
use alloy_sol_types::SolCall;
use farthing_core::amount::Amount;
use farthing_core::books::PaymentRecord;
use farthing_core::extension::builder_code::Attribution;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::PaymentKey;
use farthing_core::time::UnixSeconds;
use farthing_core::wire::PaymentRequirements;

use super::expected::{Expected, Named};
use crate::abi::{MAX_DATA_BYTE_GAS_UNITS, MULTICALL3, Multicall3};
use crate::asset::KnownAsset;
use crate::chain::{GasKind, Probe};
use crate::network::slow_block_seconds;
use crate::relayer::Company;
use crate::signature::{SignatureError, WireSignature};
use crate::text::{account_id, asset_id};
use crate::transfer::approval::Approval;
use crate::transfer::eip2612::ProxyPermit;
use crate::transfer::{eip3009, permit2};
use crate::wallet::Claim;

/// How long an authorization must still be valid: sending and mining take a moment. The official facilitators' value,
/// to which two blocks are added where blocks are slow ([`crate::network::slow_block_seconds`]).
pub const SETTLE_MARGIN_SECONDS: u64 = 6;
/// How far a payer's clock may be ahead of this one.
pub const CLOCK_SKEW_SECONDS: u64 = 60;
/// How a nonce of Permit2 begins in a book.
const PERMIT2_REFERENCE: &str = "permit2:";
/// How the approval begins there for whose gas a payer was given coin.
const FUNDING_REFERENCE: &str = "funding:";

/// What the payer signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authorized {
    /// For the token itself.
    Eip3009(eip3009::Authorization),
    /// For Permit2 and one of the proxies.
    Permit2(permit2::Authorization),
}

/// A payment that is good as far as can be told without the chain.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) asset: Arc<KnownAsset>,
    pub(crate) authorized: Authorized,
    /// How much moves: less than was signed only where the scheme takes as much as was used.
    pub(crate) value: U256,
    pub(crate) claim: Claim,
    /// A permit to be sent along.
    pub(crate) permit: Option<ProxyPermit>,
    /// The payer's own approval, to be broadcast before.
    pub(crate) approval: Option<Approval>,
    /// Whom the transaction names behind its call.
    pub(crate) attribution: Attribution,
}

/// The protocol's strings for what can be wrong with a transfer, which differ by method and scheme.
#[derive(Debug)]
pub(crate) struct Reasons {
    pub(crate) unreadable: Reason,
    pub(crate) signature: Reason,
    pub(crate) used: Reason,
    pub(crate) expired: Reason,
    pub(crate) balance: Reason,
    pub(crate) simulation: Reason,
    pub(crate) failed: Reason,
}

pub(crate) static EIP3009_REASONS: Reasons = Reasons {
    unreadable: Reason::InvalidExactEvmFailedToParseSignature,
    signature: Reason::InvalidExactEvmSignature,
    used: Reason::InvalidExactEvmNonceAlreadyUsed,
    expired: Reason::InvalidExactEvmPayloadAuthorizationValidBefore,
    balance: Reason::InvalidExactEvmInsufficientBalance,
    simulation: Reason::InvalidExactEvmTransactionSimulationFailed,
    failed: Reason::InvalidExactEvmTransactionFailed,
};

pub(crate) static PERMIT2_REASONS: Reasons = Reasons {
    unreadable: Reason::InvalidPermit2Signature,
    signature: Reason::InvalidPermit2Signature,
    used: Reason::Permit2InvalidNonce,
    expired: Reason::Permit2DeadlineExpired,
    balance: Reason::Permit2InsufficientBalance,
    simulation: Reason::Permit2SimulationFailed,
    failed: Reason::InvalidExactEvmTransactionFailed,
};

pub(crate) static UPTO_REASONS: Reasons = Reasons {
    unreadable: Reason::InvalidPermit2Signature,
    signature: Reason::InvalidPermit2Signature,
    used: Reason::Permit2InvalidNonce,
    expired: Reason::Permit2DeadlineExpired,
    balance: Reason::Permit2InsufficientBalance,
    simulation: Reason::Permit2SimulationFailed,
    failed: Reason::InvalidUptoEvmTransactionFailed,
};

impl Authorized {
    pub(crate) const fn payer(&self) -> Address {
        match self {
            Self::Eip3009(authorization) => authorization.from,
            Self::Permit2(authorization) => authorization.from,
        }
    }

    pub(crate) const fn pay_to(&self) -> Address {
        match self {
            Self::Eip3009(authorization) => authorization.to,
            Self::Permit2(authorization) => authorization.witness.to,
        }
    }

    /// The most that may move.
    pub(crate) const fn most(&self) -> U256 {
        match self {
            Self::Eip3009(authorization) => authorization.value,
            Self::Permit2(authorization) => authorization.permitted.amount,
        }
    }

    /// The first moment at which it can't be carried out any more.
    pub(crate) const fn ends_at(&self) -> U256 {
        match self {
            Self::Eip3009(authorization) => authorization.valid_before,
            Self::Permit2(authorization) => authorization.deadline.saturating_add(U256::ONE),
        }
    }

    /// The field that says when it ends.
    pub(crate) const fn end_field(&self) -> &'static str {
        match self {
            Self::Eip3009(_) => "authorization.validBefore",
            Self::Permit2(_) => "permit2Authorization.deadline",
        }
    }

    /// The same moment as books count; never, where that is beyond them.
    pub(crate) fn expires_at(&self) -> UnixSeconds {
        UnixSeconds(self.ends_at().try_into().unwrap_or(u64::MAX))
    }

    /// The hash that the payer signed.
    pub(crate) fn digest(&self, asset: &KnownAsset) -> B256 {
        match self {
            Self::Eip3009(authorization) => authorization.digest(asset.domain_separator),
            Self::Permit2(authorization) => authorization.digest(asset.chain_id),
        }
    }

    pub(crate) const fn reasons(&self) -> &'static Reasons {
        match self {
            Self::Eip3009(_) => &EIP3009_REASONS,
            Self::Permit2(authorization) if authorization.witness.facilitator.is_some() => &UPTO_REASONS,
            Self::Permit2(_) => &PERMIT2_REASONS,
        }
    }

    /// What makes the payment unique on its chain: for EIP-3009 chain, asset, payer and nonce, for Permit2 chain, payer and
    /// nonce. The same for the server and for the facilitator, and the same however the payment is written.
    pub(crate) fn key(&self, chain_id: u64, asset: Address) -> PaymentKey {
        let mut hasher = Keccak256::new();
        let chain_id = U256::from(chain_id).to_be_bytes::<32>();
        match self {
            Self::Eip3009(authorization) => {
                hasher.update(b"eip3009");
                hasher.update(chain_id);
                hasher.update(asset);
                hasher.update(authorization.from);
                hasher.update(authorization.nonce);
            }
            Self::Permit2(authorization) => {
                hasher.update(b"permit2");
                hasher.update(chain_id);
                hasher.update(authorization.from);
                hasher.update(authorization.nonce.to_be_bytes::<32>());
            }
        }
        PaymentKey(hasher.finalize().0)
    }

    /// What a book keeps of the payment.
    pub(crate) fn record(
        &self,
        scheme: &str,
        requirements: &PaymentRequirements,
        (chain_id, asset): (u64, Address),
    ) -> PaymentRecord {
        PaymentRecord {
            key: self.key(chain_id, asset),
            scheme: scheme.to_owned(),
            network: requirements.network.clone(),
            payer: account_id(self.payer()),
            pay_to: account_id(self.pay_to()),
            asset: asset_id(asset),
            amount: Amount::from_units(self.most()),
            expires_at: self.expires_at(),
            reference: self.named().reference(),
        }
    }

    /// How the chain names it.
    pub(crate) const fn named(&self) -> Named {
        match self {
            Self::Eip3009(authorization) => Named::Eip3009(authorization.nonce),
            Self::Permit2(authorization) => Named::Permit2 { proxy: authorization.spender, nonce: authorization.nonce },
        }
    }
}

impl Named {
    /// As a book's record says it: the method and the nonce.
    pub(super) fn reference(&self) -> String {
        match self {
            Self::Eip3009(nonce) => nonce.to_string(),
            Self::Permit2 { nonce, .. } => format!("{PERMIT2_REFERENCE}{nonce}"),
            Self::Funding(approval) => format!("{FUNDING_REFERENCE}{approval}"),
        }
    }

    /// Reads [`Self::reference`] of a payment by this scheme.
    pub(super) fn read(reference: &str, scheme: &str) -> Option<Self> {
        if let Some(digits) = reference.strip_prefix(PERMIT2_REFERENCE).filter(|digits| !digits.is_empty()) {
            let proxy = if scheme == crate::upto::NAME { permit2::UPTO_PROXY } else { permit2::EXACT_PROXY };
            return Some(Self::Permit2 { proxy, nonce: U256::from_str_radix(digits, 10).ok()? });
        }
        if let Some(approval) = reference.strip_prefix(FUNDING_REFERENCE) {
            return crate::text::fixed_hex(approval).map(B256::new).map(Self::Funding);
        }
        crate::text::fixed_hex(reference).map(B256::new).map(Self::Eip3009)
    }
}

impl Transfer {
    pub(crate) const fn payer(&self) -> Address {
        self.authorized.payer()
    }

    pub(crate) const fn reasons(&self) -> &'static Reasons {
        self.authorized.reasons()
    }

    /// Who has to call, if not just anybody.
    pub(crate) const fn sender(&self) -> Option<Address> {
        match &self.authorized {
            Authorized::Permit2(authorization) => authorization.witness.facilitator,
            Authorized::Eip3009(_) => None,
        }
    }

    /// The call that moves the money.
    pub(crate) fn call(&self) -> Probe {
        let (to, data) = match (&self.authorized, &self.claim) {
            (Authorized::Eip3009(authorization), Claim::Ordinary(signature)) => {
                (self.asset.address, authorization.calldata(signature))
            }
            (Authorized::Eip3009(authorization), claim) => {
                (self.asset.address, authorization.calldata_with_bytes(&claim.bytes()))
            }
            (Authorized::Permit2(authorization), claim) => {
                (authorization.spender, authorization.calldata(self.value, &claim.bytes(), self.permit.as_ref()))
            }
        };
        Probe { to, data: data.into() }
    }

    /// The call that is sent: the same, after the payer's wallet is created, where it has to be; and behind it, whom it names.
    pub(crate) fn whole_call(&self) -> Probe {
        let Probe { to, data } = self.call_from_nothing();
        let suffix = self.attribution.suffix();
        if suffix.is_empty() { Probe { to, data } } else { Probe { to, data: [&data[..], &suffix].concat().into() } }
    }

    /// What the names behind the call cost.
    pub(crate) fn attribution_gas_units(&self) -> u64 {
        let bytes = u64::try_from(self.attribution.suffix().len()).unwrap_or(u64::MAX);
        bytes.saturating_mul(MAX_DATA_BYTE_GAS_UNITS)
    }

    /// The call that moves the money, also where the payer's wallet does not exist yet.
    fn call_from_nothing(&self) -> Probe {
        let call = self.call();
        let Claim::Undeployed(creation) = &self.claim else { return call };
        // Somebody else may have created it meanwhile, which some factories take for an error.
        let create = Multicall3::Call3 { target: creation.factory, allowFailure: true, callData: creation.call.clone() };
        let pay = Multicall3::Call3 { target: call.to, allowFailure: false, callData: call.data };
        Probe { to: MULTICALL3, data: Multicall3::aggregate3Call { calls: vec![create, pay] }.abi_encode().into() }
    }

    /// What it costs like; a payer's own code costs what it likes.
    pub(crate) fn gas_kind(&self) -> Option<GasKind> {
        if !matches!(self.claim, Claim::Ordinary(_)) {
            return None;
        }
        let Probe { to, data } = self.call();
        Some(GasKind { contract: to, selector: data.first_chunk().copied()?, asset: self.asset.address })
    }

    /// What it may be carried beside.
    pub(crate) fn company(&self) -> Company {
        match (&self.authorized, &self.claim) {
            (Authorized::Eip3009(_), Claim::Ordinary(_)) => Company::Any,
            (Authorized::Permit2(authorization), Claim::Ordinary(_)) if authorization.witness.facilitator.is_none() => {
                // Permit2 logs no nonce.
                let mut hasher = Keccak256::new();
                hasher.update(self.asset.address);
                hasher.update(self.payer());
                hasher.update(self.authorized.pay_to());
                hasher.update(self.value.to_be_bytes::<32>());
                Company::Unlike(hasher.finalize())
            }
            _ => Company::None,
        }
    }

    /// What the chain has to show.
    pub(crate) fn expected(&self) -> Expected {
        Expected {
            asset: self.asset.address,
            payer: self.authorized.payer(),
            pay_to: self.authorized.pay_to(),
            value: self.value,
            named: self.authorized.named(),
        }
    }

    /// Whether it can still be carried out: sending takes a moment, and an expired one only burns gas.
    pub(crate) fn check_expiry(&self, now: UnixSeconds) -> Result<(), Refusal> {
        check_expiry(&self.authorized, now, self.asset.chain_id)
    }
}

/// How long an authorization must still be valid when it is sent.
pub(crate) fn margin_seconds(chain_id: u64) -> u64 {
    SETTLE_MARGIN_SECONDS.saturating_add(slow_block_seconds(chain_id).saturating_mul(2))
}

/// Whether an authorization can still be carried out.
pub(crate) fn check_expiry(authorized: &Authorized, now: UnixSeconds, chain_id: u64) -> Result<(), Refusal> {
    let margin_seconds = margin_seconds(chain_id);
    let earliest = now.plus(margin_seconds);
    let end = match authorized {
        Authorized::Eip3009(authorization) => authorization.valid_before,
        Authorized::Permit2(authorization) => authorization.deadline,
    };
    if end >= U256::from(earliest.0) {
        return Ok(());
    }
    Err(Refusal::mismatch(
        authorized.reasons().expired.clone(),
        authorized.end_field(),
        format!("at least {earliest} (now and {margin_seconds} seconds)"),
        format!("{end}; sign a new payment"),
    ))
}

/// Whether an authorization does not outlive the offer: it could be settled long after the buyer gave up on it.
pub(crate) fn check_window(authorized: &Authorized, now: UnixSeconds, max_timeout_seconds: u64) -> Result<(), Refusal> {
    let latest = now.plus(max_timeout_seconds).plus(CLOCK_SKEW_SECONDS);
    let end = match authorized {
        Authorized::Eip3009(authorization) => authorization.valid_before,
        Authorized::Permit2(authorization) => authorization.deadline,
    };
    if end <= U256::from(latest.0) {
        return Ok(());
    }
    Err(Refusal::mismatch(
        authorized.reasons().expired.clone(),
        authorized.end_field(),
        format!("at most {latest} (now, maxTimeoutSeconds {max_timeout_seconds} and {CLOCK_SKEW_SECONDS} seconds)"),
        end,
    ))
}

/// Reads what the payer gave as its signature.
pub(crate) fn read_claim(signature: &WireSignature, authorized: &Authorized, asset: &KnownAsset) -> Result<Claim, Refusal> {
    Claim::read(signature, authorized.digest(asset), authorized.payer()).map_err(|error| {
        let reasons = authorized.reasons();
        let reason = if error == SignatureError::NotHex { &reasons.unreadable } else { &reasons.signature };
        Refusal::new(reason.clone(), format!("signature: {error}"))
    })
}
