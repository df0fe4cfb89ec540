//! What became of a payment, from the chain alone.
//!
//! 1. Everything is judged at one block, the newest that is as deep as `confirm.blocks` asks for, named by its hash: a node
//!    that lags behind or follows another branch does not have that block, and cannot answer for it.
//! 2. Settled: a transaction up to there used the authorization, and its logs show exactly this transfer ([`expected`]). It
//!    need not be ours: whoever holds the payer's authorization can broadcast it, and the seller has been paid all the same.
//! 3. Failed: the state of that block proves that this payment can't land any more. The authorization was used for
//!    something else, or cancelled, or it expired unused by the chain's own time, or it is unused though our transaction
//!    was mined, or though the number under which we sent it is used up.
//! 4. Everything else is unknown: missing receipts, nodes that disagree, answers that make no sense.
//! 5. What is to hold for good is judged at a block that is as deep as `confirm.final_blocks` asks for. There an authorization
//!    that is unused has failed only once it has expired, for until then somebody else may carry it out.
//!
//! A payment that was never sent from here has no transaction and no height to begin at. If somebody else carried it out
//! after it was verified here, that was a moment ago, so it is looked for from the newest block backwards
//! ([`moved_already`]).
//!
//! [`expected`]: super::expected

use alloy_primitives::{Address, B256};
use alloy_sol_types::SolCall;
use farthing_core::Source;
use farthing_core::books::{PaymentRecord, SettlementEntry};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Found, Outcome, PaymentKey, TransactionId, VerifyError};

use super::expected::{Expected, Moved, Named};
use super::search::{First, Use, find_use};
use crate::abi::{Permit2, Token};
use crate::chain::Chain;
use crate::rpc::{self, Block, BlockTag, Call, NodeError, Receipt, Sent};
use crate::text::fixed_hex;
use crate::transfer::permit2::{PERMIT2, nonce_place};

/// How far before our own transaction the search for another one begins, in blocks: the payer's authorization may have been
/// used between its verification and our sending.
const SEARCH_BEFORE_BLOCKS: u64 = 64;
/// How far back a use is searched that came after a verification, in blocks: more than an hour where blocks are fastest.
const SEARCH_BACK_BLOCKS: u64 = 20_000;
/// How deep the block at which everything is judged.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// As `confirm.blocks` asks for.
    Confirmed,
    /// As `confirm.final_blocks` asks for.
    Final,
}

/// What became of this payment, which this transaction of ours was to carry?
struct Question<'a> {
    entry: &'a SettlementEntry,
    payment: Expected,
    hash: B256,
    depth: Depth,
}

/// The block at which everything is judged, and a transaction if it is in there, with its call if that was asked for.
pub(super) struct View {
    pub(super) block: Block,
    pub(super) receipt: Option<Receipt>,
    pub(super) sent: Option<Sent>,
}

/// What became of the payment. Sends nothing.
pub(super) async fn of(chain: &Chain, entry: &SettlementEntry, depth: Depth) -> Result<Outcome, VerifyError> {
    let payment = Expected::of(&entry.record).map_err(VerifyError::Unavailable)?;
    let hash = transaction_hash(&entry.transaction).map_err(VerifyError::Unavailable)?;
    let outcome = judge(chain, &Question { entry, payment, hash, depth }).await;
    outcome.map_err(|error| {
        tracing::warn!(network = %chain.network(), %error, "the node does not say what became of a payment");
        VerifyError::Unavailable(Box::new(error))
    })
}

/// Whether somebody else carried out a payment that was found good here and is refused now. Sends nothing.
pub(super) async fn moved_already(
    chain: &Chain,
    record: &PaymentRecord,
    refusal: &Refusal,
) -> Result<Option<Found>, VerifyError> {
    let was_seen_used = match refusal.reason {
        Reason::InvalidExactEvmNonceAlreadyUsed | Reason::Permit2InvalidNonce => true,
        // Too late to be sent from here; it may have been carried out in time.
        Reason::InvalidExactEvmPayloadAuthorizationValidBefore | Reason::Permit2DeadlineExpired => false,
        _ => return Ok(None),
    };
    let payment = Expected::of(record).map_err(VerifyError::Unavailable)?;
    match look_back(chain, &payment, record, was_seen_used).await {
        Ok(Some(Use::Exactly(hash, height, value))) => {
            Ok(Some(Found { settlement: payment.settlement(chain, hash, value), height }))
        }
        Ok(Some(Use::Otherwise(_) | Use::Cancelled(_) | Use::Nowhere) | None) => Ok(None),
        Ok(Some(Use::Unclear)) => {
            let message = "the authorization was used, and it is not certain yet by which transaction; ask again in a moment";
            Err(VerifyError::Unavailable(message.into()))
        }
        Err(error) => {
            tracing::warn!(network = %chain.network(), %error, "the node does not say what used an authorization");
            Err(VerifyError::Unavailable(Box::new(error)))
        }
    }
}

/// What used the authorization lately; none if it is unused.
async fn look_back(
    chain: &Chain,
    payment: &Expected,
    record: &PaymentRecord,
    was_seen_used: bool,
) -> Result<Option<Use>, NodeError> {
    let Some(View { block, .. }) = view(chain, None, Depth::Confirmed, false).await? else { return Ok(Some(Use::Unclear)) };
    match is_used(chain, payment, &block).await? {
        Some(true) => {}
        Some(false) if !was_seen_used => return Ok(None),
        // Seen used, but not in a block that is deep enough, or by a node that is ahead of this one.
        Some(false) | None => return Ok(Some(Use::Unclear)),
    }
    let first = block.number.saturating_sub(SEARCH_BACK_BLOCKS);
    let found = find_use(chain, payment, (first, block.number), First::Newest).await?;
    Ok(Some(if_certain(found, record, &block)))
}

/// That nothing shows what used an authorization is believed only once it has expired: logs may come late.
fn if_certain(found: Use, record: &PaymentRecord, block: &Block) -> Use {
    match found {
        Use::Nowhere if block.timestamp_seconds < record.expires_at.0 => Use::Unclear,
        found => found,
    }
}

async fn judge(chain: &Chain, question: &Question<'_>) -> Result<Outcome, NodeError> {
    let Question { entry, payment, hash, depth } = question;
    let (hash, depth) = (*hash, *depth);
    let reads_call = matches!(payment.named, Named::Permit2 { .. });
    let Some(View { block, receipt, sent }) = view(chain, Some(hash), depth, reads_call).await? else {
        return Ok(Outcome::Unknown);
    };
    let trusted = |contract| chain.trusts_factory(contract);
    let ours = receipt.as_ref().map(|receipt| payment.moved_by_call(receipt, sent.as_ref(), trusted));
    if let Some(Moved::Exactly(value)) = ours {
        return Ok(Outcome::Settled(payment.settlement(chain, hash, value)));
    }
    if matches!(payment.named, Named::Funding(_)) {
        // Nobody else can have sent it.
        return Ok(match receipt {
            Some(_) => Outcome::Failed(payment.moved_nothing(hash)),
            // That its number is used up says nothing: it may have replaced another one of ours, which landed all the same,
            // and no state of the chain tells. Coin must not be given again while the payment can be made.
            None if block.timestamp_seconds < entry.record.expires_at.0 => Outcome::Unknown,
            None if is_number_used_up(chain, entry.record.key, &block).await? => Outcome::Failed(payment.overtaken(hash)),
            None => Outcome::Unknown,
        });
    }
    let is_by_token = matches!(payment.named, Named::Eip3009(_));
    match (is_used(chain, payment, &block).await?, ours) {
        (Some(true), Some(Moved::Perhaps)) if is_by_token => {
            Ok(Outcome::Settled(payment.settlement(chain, hash, payment.value)))
        }
        (Some(true), Some(Moved::Otherwise)) => Ok(Outcome::Failed(payment.used_otherwise(hash))),
        (Some(true), _) => used_by_another(chain, question, &block).await,
        // Nodes that disagree: the logs say that it was used, the state that it was not.
        (Some(false), Some(Moved::Otherwise)) | (None, _) => Ok(Outcome::Unknown),
        (Some(false), Some(Moved::Perhaps)) if is_by_token => Ok(Outcome::Unknown),
        (Some(false), _) if block.timestamp_seconds >= entry.record.expires_at.0 => {
            Ok(Outcome::Failed(payment.expired(&block)))
        }
        // It may still be carried out by somebody else.
        (Some(false), _) if depth == Depth::Final => Ok(Outcome::Unknown),
        (Some(false), Some(_)) => Ok(Outcome::Failed(payment.moved_nothing(hash))),
        (Some(false), None) if is_number_used_up(chain, entry.record.key, &block).await? => {
            Ok(Outcome::Failed(payment.overtaken(hash)))
        }
        (Some(false), None) => Ok(Outcome::Unknown),
    }
}

/// Another transaction used the authorization: which, and what for?
async fn used_by_another(chain: &Chain, question: &Question<'_>, block: &Block) -> Result<Outcome, NodeError> {
    let Question { entry, payment, .. } = question;
    let first = entry.height.saturating_sub(SEARCH_BEFORE_BLOCKS);
    let mut used_by = find_use(chain, payment, (first, block.number), First::Oldest).await?;
    if let (Use::Unclear | Use::Nowhere, Some(before)) = (&used_by, first.checked_sub(1)) {
        // It waited for its turn for longer than that: between its verification and its sending.
        let earliest = entry.height.saturating_sub(SEARCH_BACK_BLOCKS);
        let later = used_by;
        used_by = match (find_use(chain, payment, (earliest, before), First::Newest).await?, later) {
            (Use::Nowhere, Use::Unclear) => Use::Unclear,
            (found, _) => found,
        };
    }
    Ok(match if_certain(used_by, &entry.record, block) {
        Use::Exactly(hash, _, value) => Outcome::Settled(payment.settlement(chain, hash, value)),
        Use::Otherwise(hash) => Outcome::Failed(payment.used_otherwise(hash)),
        Use::Cancelled(hash) => Outcome::Failed(payment.cancelled(hash)),
        Use::Nowhere => Outcome::Failed(payment.used_elsewhere()),
        Use::Unclear => Outcome::Unknown,
    })
}

/// Whether up to this block the account that sent the payment last has used the number under which it did: no transaction
/// that was signed for that number can land any more.
async fn is_number_used_up(chain: &Chain, key: PaymentKey, block: &Block) -> Result<bool, NodeError> {
    let Some((account, sequence)) = chain.relayer().carrier(key).await else { return Ok(false) };
    let answers = chain.node().ask(&[Call::mined_count_at(block.hash, account)]).await?;
    // Not every node knows the past.
    let count = answers.first().and_then(|answer| rpc::quantity(answer, "eth_getTransactionCount").ok());
    Ok(count.is_some_and(|count| count > sequence))
}

/// The block to judge at, and the receipt of a transaction, if its block is still part of the chain and deep enough.
/// `None` if the node's answers do not belong together.
pub(super) async fn view(chain: &Chain, hash: Option<B256>, depth: Depth, reads_call: bool) -> Result<Option<View>, NodeError> {
    const METHOD: &str = "eth_getBlockByNumber";
    let mut calls = vec![Call::chain_id(), Call::block(BlockTag::Latest)];
    calls.extend(hash.map(Call::receipt));
    calls.extend(hash.filter(|_| reads_call).map(Call::transaction));
    let answers = chain.node().ask(&calls).await?;
    let [id, head, rest @ ..] = answers.as_slice() else { return Err(NodeError::Malformed(METHOD)) };
    chain.check_id(Some(id))?;
    let Some(head) = rpc::block(head)? else { return Ok(None) };
    let receipt = rest.first().map(rpc::receipt).transpose()?.flatten();
    let sent = rest.get(1).map(rpc::transaction).transpose()?.flatten();
    let receipt = receipt.filter(|receipt| Some(receipt.transaction_hash) == hash);
    let depth = match depth {
        Depth::Confirmed => chain.confirm().blocks,
        Depth::Final => chain.confirm().final_blocks,
    };
    let depth = depth.saturating_sub(1);
    let Some(height) = head.number.checked_sub(depth) else { return Ok(None) };
    let receipt = receipt.filter(|receipt| receipt.block_number <= height);
    let mut calls = vec![Call::block(BlockTag::Number(height))];
    calls.extend(receipt.as_ref().map(|receipt| Call::block(BlockTag::Number(receipt.block_number))));
    let answers = chain.node().ask(&calls).await?;
    let mut blocks = answers.iter().map(rpc::block);
    let Some(block) = blocks.next().transpose()?.flatten().filter(|block| block.number == height) else { return Ok(None) };
    let holder = blocks.next().transpose()?.flatten();
    let agrees = match (&receipt, &holder) {
        (Some(receipt), Some(holder)) => receipt.block_hash == holder.hash,
        (Some(_), None) => false,
        (None, _) => true,
    };
    Ok(agrees.then_some(View { block, receipt, sent }))
}

/// Whether the authorization was used or cancelled up to this block; `None` if the node can't say.
async fn is_used(chain: &Chain, payment: &Expected, block: &Block) -> Result<Option<bool>, NodeError> {
    let (to, question) = payment.state_question();
    let answers = chain.node().ask(&[Call::execute_at(block.hash, to, &question)]).await?;
    let used = match answers.first().map(rpc::executed) {
        Some(Ok(Ok(data))) => payment.is_used_by_state(&data),
        _ => None,
    };
    if used.is_none() {
        tracing::debug!(network = %chain.network(), height = block.number, "the node does not know the state of a block");
    }
    Ok(used)
}

impl Expected {
    /// What is asked to learn whether the authorization was used or cancelled.
    pub(super) fn state_question(&self) -> (Address, Vec<u8>) {
        match self.named {
            Named::Eip3009(nonce) => (self.asset, Token::authorizationStateCall { authorizer: self.payer, nonce }.abi_encode()),
            Named::Permit2 { nonce, .. } => {
                let (word, _) = nonce_place(nonce);
                (PERMIT2, Permit2::nonceBitmapCall { owner: self.payer, word }.abi_encode())
            }
            Named::Funding(_) => (self.payer, Vec::new()),
        }
    }

    /// The answer to [`Self::state_question`].
    pub(super) fn is_used_by_state(&self, data: &[u8]) -> Option<bool> {
        match self.named {
            Named::Eip3009(_) => Token::authorizationStateCall::abi_decode_returns_validate(data).ok(),
            Named::Permit2 { nonce, .. } => {
                let (_, bit) = nonce_place(nonce);
                let word = Permit2::nonceBitmapCall::abi_decode_returns_validate(data).ok()?;
                Some(word & bit == bit)
            }
            Named::Funding(_) => None,
        }
    }

    fn used_otherwise(&self, hash: B256) -> Refusal {
        let Self { asset, payer, pay_to, value, .. } = self;
        Refusal::new(
            Reason::InvalidExactEvmTransferEventMismatch,
            format!(
                "transaction {hash} used the authorization, but the asset {asset} logged no transfer of {value} from {payer} to {pay_to} by it"
            ),
        )
    }

    fn used_elsewhere(&self) -> Refusal {
        let Self { payer, pay_to, .. } = self;
        let message = format!("the authorization was used for something else: nothing moved from {payer} to {pay_to} by it");
        Refusal::new(self.reasons().used.clone(), message)
    }

    fn cancelled(&self, hash: B256) -> Refusal {
        let message = format!("the payer cancelled the authorization in transaction {hash}");
        Refusal::new(self.reasons().used.clone(), message)
    }

    fn expired(&self, block: &Block) -> Refusal {
        let Block { number, timestamp_seconds, .. } = block;
        Refusal::new(
            self.reasons().expired.clone(),
            format!("the authorization expired unused: block {number} is of {timestamp_seconds}; sign a new payment"),
        )
    }

    fn moved_nothing(&self, hash: B256) -> Refusal {
        let message = format!("transaction {hash} was mined and moved nothing");
        Refusal::new(self.reasons().failed.clone(), message)
    }

    fn overtaken(&self, hash: B256) -> Refusal {
        let message = format!("transaction {hash} was overtaken: its number is used by another one, and nothing moved");
        Refusal::new(self.reasons().failed.clone(), message)
    }
}

fn transaction_hash(id: &TransactionId) -> Result<B256, Source> {
    fixed_hex(&id.0).map(B256::new).ok_or_else(|| Source::from("the book's record: transaction is no EVM transaction hash"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_named_by_its_hash() {
        assert!(transaction_hash(&TransactionId("0x12".to_owned())).is_err());
        assert!(transaction_hash(&TransactionId(B256::ZERO.to_string())).is_ok());
    }
}
