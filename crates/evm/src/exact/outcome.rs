//! What became of an EIP-3009 payment, from the chain alone.
//!
//! 1. Everything is judged at one block, the newest that is as deep as `confirm.blocks` asks for, named by its hash: a node
//!    that lags behind or follows another branch does not have that block, and cannot answer for it.
//! 2. Settled: a transaction up to there used the authorization, and the token's logs show exactly this transfer. It need
//!    not be ours: whoever holds the payer's authorization can broadcast it, and the seller has been paid all the same.
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

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolCall, SolEvent};
use farthing_core::Source;
use farthing_core::books::{PaymentRecord, SettlementEntry};
use farthing_core::reason::{Reason, Refusal};
use farthing_core::scheme::{Found, Outcome, PaymentKey, Settlement, TransactionId, VerifyError};

use crate::abi::Token;
use crate::chain::Chain;
use crate::rpc::{self, Block, BlockTag, Call, Log, MinedLog, NodeError, Receipt};
use crate::text::{account_id, fixed_hex, parse_address};
use crate::transfer::eip3009::Authorization;

/// How far before our own transaction the search for another one begins, in blocks: the payer's authorization may have been
/// used between its verification and our sending.
const SEARCH_BEFORE_BLOCKS: u64 = 64;
/// How many blocks are searched in one question at first. Nodes that allow less say so.
const SEARCH_RANGE_BLOCKS: u64 = 1_000;
/// How far back a use is searched that came after a verification, in blocks: more than an hour where blocks are fastest.
const SEARCH_BACK_BLOCKS: u64 = 20_000;
/// How often the logs are asked for, in one look for the outcome.
const MAX_SEARCHES: usize = 40;

/// The transfer that a payment authorises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) asset: Address,
    pub(super) payer: Address,
    pub(super) pay_to: Address,
    pub(super) value: U256,
    pub(super) nonce: B256,
}

/// What the logs of one transaction say of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// Its authorization was used, and its money moved.
    Exactly,
    /// Its authorization was used for something else.
    Otherwise,
    /// Such a transfer happened, but this token does not log whose authorization it was.
    Perhaps,
    /// It is not in there.
    Nothing,
}

/// What used an authorization.
enum Use {
    /// This transaction, and exactly its money moved; with the height of its block.
    Exactly(B256, u64),
    /// This transaction, for something else.
    Otherwise(B256),
    /// The payer cancelled it, in this transaction.
    Cancelled(B256),
    /// No log says.
    Unclear,
}

/// Which blocks are searched first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Oldest,
    Newest,
}

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

/// The block at which everything is judged, and our own transaction if it is in there.
struct View {
    block: Block,
    receipt: Option<Receipt>,
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
        Reason::InvalidExactEvmNonceAlreadyUsed => true,
        // Too late to be sent from here; it may have been carried out in time.
        Reason::InvalidExactEvmPayloadAuthorizationValidBefore => false,
        _ => return Ok(None),
    };
    let payment = Expected::of(record).map_err(VerifyError::Unavailable)?;
    match look_back(chain, &payment, was_seen_used).await {
        Ok(Some(Use::Exactly(hash, height))) => Ok(Some(Found { settlement: payment.settlement(chain, hash), height })),
        Ok(Some(Use::Otherwise(_) | Use::Cancelled(_)) | None) => Ok(None),
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
async fn look_back(chain: &Chain, payment: &Expected, was_seen_used: bool) -> Result<Option<Use>, NodeError> {
    let Some(View { block, .. }) = view(chain, None, Depth::Confirmed).await? else { return Ok(Some(Use::Unclear)) };
    match is_used(chain, payment, &block).await? {
        Some(true) => {}
        Some(false) if !was_seen_used => return Ok(None),
        // Seen used, but not in a block that is deep enough, or by a node that is ahead of this one.
        Some(false) | None => return Ok(Some(Use::Unclear)),
    }
    let first = block.number.saturating_sub(SEARCH_BACK_BLOCKS);
    find_use(chain, payment, (first, block.number), First::Newest).await.map(Some)
}

async fn judge(chain: &Chain, question: &Question<'_>) -> Result<Outcome, NodeError> {
    let Question { entry, payment, hash, depth } = question;
    let (hash, depth) = (*hash, *depth);
    let Some(View { block, receipt }) = view(chain, Some(hash), depth).await? else { return Ok(Outcome::Unknown) };
    let ours = receipt.as_ref().map(|receipt| payment.moved_by(receipt));
    if ours == Some(Moved::Exactly) {
        return Ok(Outcome::Settled(payment.settlement(chain, hash)));
    }
    match (is_used(chain, payment, &block).await?, ours) {
        (Some(true), Some(Moved::Perhaps)) => Ok(Outcome::Settled(payment.settlement(chain, hash))),
        (Some(true), Some(Moved::Otherwise)) => Ok(Outcome::Failed(payment.used_otherwise(hash))),
        (Some(true), _) => {
            let first = entry.height.saturating_sub(SEARCH_BEFORE_BLOCKS);
            let mut used_by = find_use(chain, payment, (first, block.number), First::Oldest).await?;
            if let (Use::Unclear, Some(before)) = (&used_by, first.checked_sub(1)) {
                // It waited for its turn for longer than that: between its verification and its sending.
                let earliest = entry.height.saturating_sub(SEARCH_BACK_BLOCKS);
                used_by = find_use(chain, payment, (earliest, before), First::Newest).await?;
            }
            Ok(match used_by {
                Use::Exactly(hash, _) => Outcome::Settled(payment.settlement(chain, hash)),
                Use::Otherwise(hash) => Outcome::Failed(payment.used_otherwise(hash)),
                Use::Cancelled(hash) => Outcome::Failed(cancelled(hash)),
                Use::Unclear => Outcome::Unknown,
            })
        }
        // Nodes that disagree: the logs say that it was used, the state that it was not.
        (Some(false), Some(Moved::Perhaps | Moved::Otherwise)) | (None, _) => Ok(Outcome::Unknown),
        (Some(false), _) if block.timestamp_seconds >= entry.record.expires_at.0 => Ok(Outcome::Failed(expired(&block))),
        // It may still be carried out by somebody else.
        (Some(false), _) if depth == Depth::Final => Ok(Outcome::Unknown),
        (Some(false), Some(_)) => Ok(Outcome::Failed(moved_nothing(hash))),
        (Some(false), None) if is_number_used_up(chain, entry.record.key, &block).await? => {
            Ok(Outcome::Failed(overtaken(hash)))
        }
        (Some(false), None) => Ok(Outcome::Unknown),
    }
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
async fn view(chain: &Chain, hash: Option<B256>, depth: Depth) -> Result<Option<View>, NodeError> {
    const METHOD: &str = "eth_getBlockByNumber";
    let mut calls = vec![Call::chain_id(), Call::block(BlockTag::Latest)];
    calls.extend(hash.map(Call::receipt));
    let answers = chain.node().ask(&calls).await?;
    let [id, head, receipt @ ..] = answers.as_slice() else { return Err(NodeError::Malformed(METHOD)) };
    chain.check_id(Some(id))?;
    let Some(head) = rpc::block(head)? else { return Ok(None) };
    let receipt = receipt.first().map(rpc::receipt).transpose()?.flatten();
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
    Ok(agrees.then_some(View { block, receipt }))
}

/// Whether the authorization was used or cancelled up to this block; `None` if the node can't say.
async fn is_used(chain: &Chain, payment: &Expected, block: &Block) -> Result<Option<bool>, NodeError> {
    let question = Token::authorizationStateCall { authorizer: payment.payer, nonce: payment.nonce }.abi_encode();
    let answers = chain.node().ask(&[Call::execute_at(block.hash, payment.asset, &question)]).await?;
    let used = match answers.first().map(rpc::executed) {
        Some(Ok(Ok(data))) => Token::authorizationStateCall::abi_decode_returns_validate(&data).ok(),
        _ => None,
    };
    if used.is_none() {
        tracing::debug!(network = %chain.network(), height = block.number, "the node does not know the state of a block");
    }
    Ok(used)
}

/// Finds the transaction that used the authorization or cancelled it, in these blocks, of which the last is deep enough.
async fn find_use(chain: &Chain, payment: &Expected, blocks: (u64, u64), order: First) -> Result<Use, NodeError> {
    let Some(log) = search(chain, payment, blocks, order).await? else {
        tracing::warn!(network = %chain.network(), nonce = %payment.nonce, "an authorization was used, and no log says by what");
        return Ok(Use::Unclear);
    };
    let hash = log.transaction_hash;
    if log.log.topics.first() == Some(&Token::AuthorizationCanceled::SIGNATURE_HASH) {
        return Ok(Use::Cancelled(hash));
    }
    let Some(View { receipt: Some(receipt), .. }) = view(chain, Some(hash), Depth::Confirmed).await? else {
        return Ok(Use::Unclear);
    };
    Ok(match payment.moved_by(&receipt) {
        Moved::Exactly => Use::Exactly(hash, receipt.block_number),
        Moved::Otherwise => Use::Otherwise(hash),
        Moved::Perhaps | Moved::Nothing => Use::Unclear,
    })
}

/// Looks for the use or the cancellation, in pieces that the node can take.
async fn search(
    chain: &Chain,
    payment: &Expected,
    (mut from, mut to): (u64, u64),
    order: First,
) -> Result<Option<MinedLog>, NodeError> {
    let mut span = SEARCH_RANGE_BLOCKS;
    for _ in 0..MAX_SEARCHES {
        if from > to {
            break;
        }
        let (first, last) = match order {
            First::Oldest => (from, from.saturating_add(span.saturating_sub(1)).min(to)),
            First::Newest => (to.saturating_sub(span.saturating_sub(1)).max(from), to),
        };
        let answers = chain.node().ask(&payment.questions(first, last)).await?;
        if answers.len() != Expected::EVENTS.len() {
            return Err(NodeError::Malformed("eth_getLogs"));
        }
        if first < last && answers.iter().any(|answer| answer.as_ref().is_err_and(rpc::CallError::range_is_too_large)) {
            span = (last.saturating_sub(first).saturating_add(1) / 2).max(1);
            continue;
        }
        for answer in &answers {
            if let Some(found) = rpc::logs(answer)?.into_iter().find(|log| payment.is_meant_by(log, first..=last)) {
                return Ok(Some(found));
            }
        }
        match (order, first.checked_sub(1)) {
            (First::Oldest, _) => from = last.saturating_add(1),
            (First::Newest, Some(before)) => to = before,
            (First::Newest, None) => break,
        }
    }
    Ok(None)
}

impl Expected {
    /// The events that end an authorization.
    const EVENTS: [B256; 2] = [Token::AuthorizationUsed::SIGNATURE_HASH, Token::AuthorizationCanceled::SIGNATURE_HASH];

    /// The transfer that an authorization allows.
    pub(super) const fn by(asset: Address, authorization: &Authorization) -> Self {
        let Authorization { from, to, value, nonce, .. } = *authorization;
        Self { asset, payer: from, pay_to: to, value, nonce }
    }

    /// The transfer that a book's record stands for.
    fn of(record: &PaymentRecord) -> Result<Self, Source> {
        let address = |field: &str, text: &str| {
            parse_address(text).ok_or_else(|| Source::from(format!("the book's record: {field} is no EVM address")))
        };
        Ok(Self {
            asset: address("asset", record.asset.as_str())?,
            payer: address("payer", record.payer.as_str())?,
            pay_to: address("pay_to", record.pay_to.as_str())?,
            value: record.amount.units(),
            nonce: fixed_hex(&record.reference)
                .map(B256::new)
                .ok_or_else(|| Source::from("the book's record: reference is no EIP-3009 nonce"))?,
        })
    }

    /// What a transaction did with this payment.
    pub(super) fn moved_by(&self, receipt: &Receipt) -> Moved {
        if receipt.succeeded { self.moved(&receipt.logs) } else { Moved::Nothing }
    }

    /// What these logs of one transaction say of this payment. A transfer belongs to the use of an authorization that the
    /// token logged directly before it, so that no two payments can claim one transfer.
    fn moved(&self, logs: &[Log]) -> Moved {
        const USED: B256 = Token::AuthorizationUsed::SIGNATURE_HASH;
        let events = [USED, Token::Transfer::SIGNATURE_HASH];
        let ours = logs.iter().filter(|log| log.address == self.asset);
        let mut relevant = ours.filter(|log| log.topics.first().is_some_and(|event| events.contains(event)));
        let mut logs_uses = false;
        let mut transferred = false;
        while let Some(log) = relevant.next() {
            if log.topics == [USED, self.payer.into_word(), self.nonce] {
                let exact = relevant.next().is_some_and(|log| self.is_transfer(log));
                return if exact { Moved::Exactly } else { Moved::Otherwise };
            }
            logs_uses |= log.topics.first() == Some(&USED);
            transferred |= self.is_transfer(log);
        }
        if transferred && !logs_uses { Moved::Perhaps } else { Moved::Nothing }
    }

    fn is_transfer(&self, log: &Log) -> bool {
        log.topics == [Token::Transfer::SIGNATURE_HASH, self.payer.into_word(), self.pay_to.into_word()]
            && log.data.as_ref() == self.value.to_be_bytes::<32>()
    }

    fn questions(&self, from: u64, to: u64) -> [Call; 2] {
        let topics = [Some(self.payer.into_word()), Some(self.nonce)];
        Self::EVENTS.map(|event| Call::logs(self.asset, &[Some(event), topics[0], topics[1]], from, to))
    }

    /// Whether a log that the node found is one that was asked for.
    fn is_meant_by(&self, found: &MinedLog, blocks: std::ops::RangeInclusive<u64>) -> bool {
        let [event, payer, nonce] = found.log.topics.as_slice() else { return false };
        found.log.address == self.asset
            && Self::EVENTS.contains(event)
            && *payer == self.payer.into_word()
            && *nonce == self.nonce
            && blocks.contains(&found.block_number)
    }

    pub(super) fn settlement(&self, chain: &Chain, hash: B256) -> Settlement {
        Settlement {
            transaction: TransactionId(hash.to_string()),
            network: chain.network().clone(),
            payer: account_id(self.payer),
            amount: farthing_core::amount::Amount::from_units(self.value),
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
}

fn cancelled(hash: B256) -> Refusal {
    let message = format!("the payer cancelled the authorization in transaction {hash}");
    Refusal::new(Reason::InvalidExactEvmNonceAlreadyUsed, message)
}

fn expired(block: &Block) -> Refusal {
    let Block { number, timestamp_seconds, .. } = block;
    Refusal::new(
        Reason::InvalidExactEvmPayloadAuthorizationValidBefore,
        format!("the authorization expired unused: block {number} is of {timestamp_seconds}; sign a new payment"),
    )
}

fn moved_nothing(hash: B256) -> Refusal {
    Refusal::new(Reason::InvalidExactEvmTransactionFailed, format!("transaction {hash} was mined and moved nothing"))
}

fn overtaken(hash: B256) -> Refusal {
    let message = format!("transaction {hash} was overtaken: its number is used by another one, and nothing moved");
    Refusal::new(Reason::InvalidExactEvmTransactionFailed, message)
}

fn transaction_hash(id: &TransactionId) -> Result<B256, Source> {
    fixed_hex(&id.0).map(B256::new).ok_or_else(|| Source::from("the book's record: transaction is no EVM transaction hash"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Bytes;

    const ASSET: Address = Address::repeat_byte(1);
    const PAYER: Address = Address::repeat_byte(2);
    const PAY_TO: Address = Address::repeat_byte(3);

    fn payment(nonce: u8) -> Expected {
        Expected { asset: ASSET, payer: PAYER, pay_to: PAY_TO, value: U256::from(10), nonce: B256::repeat_byte(nonce) }
    }

    fn used(nonce: u8) -> Log {
        let topics = vec![Token::AuthorizationUsed::SIGNATURE_HASH, PAYER.into_word(), B256::repeat_byte(nonce)];
        Log { address: ASSET, topics, data: Bytes::new() }
    }

    fn transfer(to: Address, value: u64) -> Log {
        let topics = vec![Token::Transfer::SIGNATURE_HASH, PAYER.into_word(), to.into_word()];
        Log { address: ASSET, topics, data: U256::from(value).to_be_bytes_vec().into() }
    }

    fn of_another(log: Log) -> Log {
        Log { address: Address::repeat_byte(9), ..log }
    }

    #[test]
    fn logs_say_which_payment_moved() {
        let paid = || transfer(PAY_TO, 10);
        let cases: [(&[Log], Moved); 12] = [
            (&[used(7), paid()], Moved::Exactly),
            (&[used(8), paid(), used(7), paid()], Moved::Exactly),
            (&[used(7), of_another(used(8)), of_another(paid()), paid()], Moved::Exactly),
            (&[], Moved::Nothing),
            (&[used(8), paid()], Moved::Nothing),
            (&[of_another(used(7)), of_another(paid())], Moved::Nothing),
            (&[used(7)], Moved::Otherwise),
            (&[used(7), transfer(PAY_TO, 9)], Moved::Otherwise),
            (&[used(7), transfer(PAYER, 10)], Moved::Otherwise),
            (&[used(7), transfer(PAYER, 10), used(8), paid()], Moved::Otherwise),
            (&[used(7), used(8), paid()], Moved::Otherwise),
            (&[paid()], Moved::Perhaps),
        ];
        for (logs, expected) in cases {
            assert_eq!(payment(7).moved(logs), expected, "{logs:?}");
        }
    }

    #[test]
    fn no_transfer_counts_for_two_payments() {
        let pieces = [used(7), used(8), transfer(PAY_TO, 10), transfer(PAYER, 10)];
        for (first, second) in (0..4_usize.pow(6)).map(|number| (number, number / 64)) {
            let at = |number: usize, place: u32| pieces[number / 4_usize.pow(place) % 4].clone();
            let logs: Vec<Log> = (0..3).map(|place| at(first, place)).chain((0..3).map(|place| at(second, place))).collect();
            let moved =
                [7, 8].map(|nonce| payment(nonce).moved(&logs)).iter().filter(|moved| **moved == Moved::Exactly).count();
            let transfers = logs.iter().filter(|log| **log == transfer(PAY_TO, 10)).count();
            assert!(moved <= transfers, "{logs:?}");
        }
    }

    #[test]
    fn a_transaction_is_named_by_its_hash() {
        assert!(transaction_hash(&TransactionId("0x12".to_owned())).is_err());
        assert!(transaction_hash(&TransactionId(B256::ZERO.to_string())).is_ok());
    }
}
