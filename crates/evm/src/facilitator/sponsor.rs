//! What goes along with a payment by Permit2, so that a payer needs no gas to approve Permit2: a permit (EIP-2612) that is
//! sent in the same transaction, or the payer's own signed approval, which is broadcast before.

use std::sync::Arc;

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use farthing_core::books::PaymentRecord;
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{SendRight, SettleError, VerifyError};
use farthing_core::time::UnixSeconds;
use farthing_core::wire::Extensions;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::transfer::{SETTLE_MARGIN_SECONDS, Transfer};
use super::{funding, unavailable};
use crate::abi::Token;
use crate::chain::Chain;
use crate::relayer::ForeignError;
use crate::rpc::{self, Answer, BlockTag, Call, NodeError};
use crate::transfer::approval::{self, Approval, Wanted};
use crate::transfer::eip2612::{self, ProxyPermit};
use crate::transfer::permit2::{Authorization, PERMIT2};

const WEI_PER_GWEI: u64 = 1_000_000_000;

/// Reads what came along with a payment, as far as this facilitator sends it. A permit goes before an approval.
pub(crate) fn read(
    chain: &Chain,
    extensions: &Extensions,
    authorization: &Authorization,
    now: UnixSeconds,
) -> Result<(Option<ProxyPermit>, Option<Approval>), Refusal> {
    let sponsor = chain.sponsor();
    let (payer, asset) = (authorization.from, authorization.permitted.token);
    if sponsor.permits {
        let reason = Reason::InvalidEip2612ExtensionFormat;
        let info = written_by_payer(extensions, eip2612::EXTENSION, eip2612::Info::FIELDS, reason)?;
        if let Some(info) = info {
            return Ok((Some(check_permit(&info, authorization, now)?), None));
        }
    }
    if sponsor.approvals {
        let reason = Reason::InvalidErc20ApprovalExtensionFormat;
        let info: Option<approval::Info> = written_by_payer(extensions, approval::EXTENSION, approval::Info::FIELDS, reason)?;
        if let Some(info) = info {
            check_places(
                [
                    ("from", info.from, payer, Reason::Erc20ApprovalFromMismatch),
                    ("asset", info.asset, asset, Reason::Erc20ApprovalAssetMismatch),
                    ("spender", info.spender, PERMIT2, Reason::Erc20ApprovalSpenderNotPermit2),
                ],
                approval::EXTENSION,
            )?;
            let wanted = Wanted {
                chain_id: chain.id(),
                asset,
                payer,
                amount: authorization.permitted.amount,
                max_fee_per_unit_wei: chain.relayer().caps().max_fee_per_unit_wei.into(),
            };
            return Ok((None, Some(Approval::read(&info.signed_transaction, &wanted)?)));
        }
    }
    Ok((None, None))
}

/// An extension that a payer has filled in.
#[derive(Deserialize)]
struct Written<T> {
    info: T,
}

/// An extension's `info`, if a payer has filled it in: echoed as the server advertised it, it says nothing.
fn written_by_payer<T: DeserializeOwned>(
    extensions: &Extensions,
    key: &str,
    fields: &[&str],
    reason: Reason,
) -> Result<Option<T>, Refusal> {
    let Some(extension) = extensions.get::<serde_json::Value>(key, reason.clone())? else { return Ok(None) };
    let Some(info) = extension.get("info").and_then(serde_json::Value::as_object) else { return Ok(None) };
    if fields.iter().any(|field| info.get(*field).is_none_or(serde_json::Value::is_null)) {
        return Ok(None);
    }
    // Read once more by the core, which repeats nothing of what a peer wrote into a wrong place.
    Ok(extensions.get::<Written<T>>(key, reason)?.map(|written| written.info))
}

fn check_permit(info: &eip2612::Info, authorization: &Authorization, now: UnixSeconds) -> Result<ProxyPermit, Refusal> {
    const KEY: &str = eip2612::EXTENSION;
    let signature = info.signature.strict().map_err(|error| {
        Refusal::new(Reason::InvalidEip2612ExtensionFormat, format!("extensions.{KEY}.info.signature: {error}"))
    })?;
    check_places(
        [
            ("from", info.from, authorization.from, Reason::Eip2612FromMismatch),
            ("asset", info.asset, authorization.permitted.token, Reason::Eip2612AssetMismatch),
            ("spender", info.spender, PERMIT2, Reason::Eip2612SpenderNotPermit2),
        ],
        KEY,
    )?;
    let earliest = now.plus(SETTLE_MARGIN_SECONDS);
    if info.deadline < U256::from(earliest.0) {
        let field = format!("extensions.{KEY}.info.deadline");
        let expected = format!("at least {earliest} (now and {SETTLE_MARGIN_SECONDS} seconds)");
        return Err(Refusal::mismatch(Reason::Eip2612DeadlineExpired, &field, expected, info.deadline));
    }
    if info.amount != authorization.permitted.amount {
        let field = format!("extensions.{KEY}.info.amount");
        let expected = format!("exactly {}, what the payment permits", authorization.permitted.amount);
        return Err(Refusal::mismatch(Reason::Permit22612AmountMismatch, &field, expected, info.amount));
    }
    Ok(ProxyPermit { value: info.amount, deadline: info.deadline, signature })
}

fn check_places(places: [(&str, Address, Address, Reason); 3], key: &str) -> Result<(), Refusal> {
    let wrong = places.into_iter().find(|(_, got, expected, _)| got != expected);
    wrong.map_or(Ok(()), |(field, got, expected, reason)| {
        Err(Refusal::mismatch(reason, &format!("extensions.{key}.info.{field}"), expected, got))
    })
}

/// The most that a payer is given for the gas of its approval.
pub(super) fn max_funding_wei(chain: &Chain) -> U256 {
    U256::from(chain.sponsor().max_funding_gwei).saturating_mul(U256::from(WEI_PER_GWEI))
}

/// What one block says of a payer's approval.
enum Standing {
    /// The payment needs it no more: Permit2 is allowed enough, or the payment was even carried out.
    Done,
    /// Somebody has broadcast it.
    Pending,
    /// It can be mined.
    Open,
    /// The payment lacks it, and it can't be mined.
    Lost(Refusal),
}

/// Whether the payer's approval can be mined: its number is next, its gas can be paid, and it offers what the next block asks.
/// That is asked anew: what is remembered of fees is seconds old, and on fast networks they fall to a fraction in that time.
///
/// A refusal is no more than a suspicion. A copy of the payment may be carried out elsewhere at this moment, and its approval
/// uses the payer's number and coin before anything of the payment is in the book: see [`check_suspicion`].
pub(super) async fn check_payer(chain: &Chain, transfer: &Transfer) -> Result<(), VerifyError> {
    let Some(approval) = &transfer.approval else { return Ok(()) };
    let payer = transfer.payer();
    let calls = [Call::balance(payer), Call::mined_count(payer), Call::fee_history()];
    let answers = chain.node().ask(&calls).await.map_err(|error| unavailable(chain, error))?;
    let account = Account::read(&answers).map_err(|error| unavailable(chain, error))?;
    Ok(account.check(chain, approval)?)
}

/// What becomes of a payment whose approval is suspected not to be minable, once it was looked at again. Nothing, if it does
/// not need the approval any more. Otherwise one block, named by its hash, has to show all of it at once: that the payment
/// lacks the approval, is not carried out, and the approval can't be mined. Then no copy of it can be about to settle, and
/// it is refused. Where answers of different moments do not belong together it is not: it is asked again.
pub(super) async fn check_suspicion(chain: &Chain, transfer: &Transfer, suspicion: VerifyError) -> Result<(), VerifyError> {
    let Some(approval) = &transfer.approval else { return Ok(()) };
    if matches!(suspicion, VerifyError::Unavailable(_)) {
        return Err(suspicion);
    }
    match standing(chain, transfer, approval).await.map_err(|error| unavailable(chain, error))? {
        Standing::Lost(refusal) => Err(refusal.into()),
        Standing::Done | Standing::Pending | Standing::Open => {
            let message = "the payer's approval of Permit2 is being carried out, or was a moment ago; ask again in a moment";
            Err(VerifyError::Unavailable(message.into()))
        }
    }
}

/// What the newest block says of the approval.
async fn standing(chain: &Chain, transfer: &Transfer, approval: &Approval) -> Result<Standing, NodeError> {
    let answers = chain.node().ask(&[Call::block(BlockTag::Latest)]).await?;
    let block = answers.first().map(rpc::block).transpose()?.flatten();
    let hash = block.ok_or(NodeError::Malformed("eth_getBlockByNumber"))?.hash;
    let (payer, expected) = (transfer.payer(), transfer.expected());
    let (place, question) = expected.state_question();
    let allowance = Token::allowanceCall { owner: payer, spender: PERMIT2 }.abi_encode();
    let calls = [
        Call::balance_at(hash, payer),
        Call::mined_count_at(hash, payer),
        Call::fee_history(),
        Call::execute_at(hash, place, &question),
        Call::execute_at(hash, transfer.asset.address, &allowance),
        Call::transaction(approval.hash),
    ];
    let answers = chain.node().ask(&calls).await?;
    let [.., used, allowed, known] = answers.as_slice() else { return Err(NodeError::Malformed("eth_call")) };
    let account = Account::read(&answers)?;
    let used = rpc::executed(used)?.ok().and_then(|data| expected.is_used_by_state(&data));
    let allowed = rpc::executed(allowed)?.ok().and_then(|data| Token::allowanceCall::abi_decode_returns_validate(&data).ok());
    let (Some(used), Some(allowed)) = (used, allowed) else { return Err(NodeError::Malformed("eth_call")) };
    if used || allowed >= transfer.value {
        return Ok(Standing::Done);
    }
    // What is too dear or too poor for this block may fit into the next one.
    if account.next <= approval.nonce && rpc::is_known(known)? {
        return Ok(Standing::Pending);
    }
    Ok(account.check(chain, approval).map_or_else(Standing::Lost, |()| Standing::Open))
}

/// A payer's account, and what the next block asks of it.
struct Account {
    balance_wei: U256,
    /// The number of its next transaction.
    next: u64,
    unit_wei: u128,
}

impl Account {
    /// Reads balance, number and fees. In this order: a number that is still free after the balance was read has taken
    /// nothing of it.
    fn read(answers: &[Answer]) -> Result<Self, NodeError> {
        let [balance, count, fees, ..] = answers else { return Err(NodeError::Malformed("eth_getTransactionCount")) };
        Ok(Self {
            balance_wei: rpc::wei(balance, "eth_getBalance")?,
            next: rpc::quantity(count, "eth_getTransactionCount")?,
            unit_wei: rpc::fee_history(fees)?.base_fee_wei,
        })
    }

    /// Whether it can have this approval mined, with what this facilitator gives.
    fn check(&self, chain: &Chain, approval: &Approval) -> Result<(), Refusal> {
        let Self { balance_wei, next, unit_wei } = *self;
        let refused = |field: &str, expected: String, got: String| {
            Err(Refusal::mismatch(Reason::Erc20ApprovalBroadcastFailed, field, expected, got))
        };
        if approval.nonce != next {
            let expected = format!("{next}, the payer's next number");
            return refused("signedTransaction.nonce", expected, approval.nonce.to_string());
        }
        let needed_wei = approval.max_cost_wei();
        if needed_wei.saturating_sub(balance_wei) > max_funding_wei(chain) {
            let expected =
                format!("{needed_wei} wei with the payer, which the approval may cost and this facilitator does not give");
            return refused("signedTransaction", expected, balance_wei.to_string());
        }
        if approval.max_fee_wei < unit_wei {
            let expected = format!("at least {unit_wei} wei, the base fee of the next block");
            return refused("signedTransaction.maxFeePerGas", expected, approval.max_fee_wei.to_string());
        }
        Ok(())
    }
}

/// Broadcasts the payer's approval and waits until it is mined. It is the payer's own transaction, of which there is only
/// one, however often it is broadcast: nothing needs to be written down before. What the payer is given for its gas is in the
/// book like everything that is sent, so that it is given once.
pub(super) async fn approve(
    chain: &Chain,
    transfer: &Transfer,
    record: &PaymentRecord,
    right: &Arc<dyn SendRight>,
) -> Result<(), SettleError> {
    let Some(approval) = &transfer.approval else { return Ok(()) };
    funding::give(chain, transfer, approval, record, right).await?;
    tracing::info!(network = %chain.network(), transaction = %approval.hash, payer = %transfer.payer(), "broadcasting a payer's approval of Permit2");
    let rejected = |reason, message: String| Err(SettleError::Rejected(Refusal::new(reason, message)));
    match chain.relayer().broadcast_foreign(approval.hash, &approval.bytes).await {
        Ok(receipt) if receipt.succeeded => Ok(()),
        Ok(_) => {
            rejected(Reason::Erc20ApprovalTxFailed, format!("the payer's approval {} was mined and reverted", approval.hash))
        }
        Err(ForeignError::Refused(error)) => {
            tracing::warn!(network = %chain.network(), %error, "a payer's approval was refused");
            match standing(chain, transfer, approval).await {
                Ok(Standing::Done) => Ok(()),
                Ok(Standing::Lost(refusal)) => Err(SettleError::Rejected(refusal)),
                Ok(Standing::Open) => {
                    let message = format!("the network refused the payer's approval {}", approval.hash);
                    rejected(Reason::Erc20ApprovalBroadcastFailed, message)
                }
                Ok(Standing::Pending) => Err(SettleError::NotSent(Box::new(error))),
                Err(error) => Err(SettleError::NotSent(Box::new(error))),
            }
        }
        Err(error) => Err(SettleError::NotSent(Box::new(error))),
    }
}
