//! Finds what used an authorization, from logs, in blocks that are deep enough.
//!
//! EIP-3009 logs each use under the authorization's own number. Permit2 logs only that a payer made numbers void; a use shows
//! as a transfer of the asset from payer to payee, of which there may be many, so each is looked at with the call that made
//! it, until one names the number.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolEvent, SolValue};

use super::expected::{Expected, Moved, Named};
use super::outcome::{Depth, View, view};
use crate::abi::{Permit2, Token};
use crate::chain::Chain;
use crate::rpc::{self, Block, BlockTag, Call, MinedLog, NodeError};
use crate::transfer::permit2::{PERMIT2, nonce_place};

/// How many blocks are searched in one question at first. Nodes that allow less say so.
const SEARCH_RANGE_BLOCKS: u64 = 1_000;
/// How often the logs are asked for, in one look for the outcome.
const MAX_SEARCHES: usize = 40;
/// The most transfers from a payer to a payee that are looked at for one payment.
const MAX_CANDIDATES: usize = 1_024;
/// How many of them in one question.
const CANDIDATES_TOGETHER: usize = 32;

/// What used an authorization.
pub(super) enum Use {
    /// This transaction, and so much moved, as it allows; with the height of its block.
    Exactly(B256, u64, U256),
    /// This transaction, for something else.
    Otherwise(B256),
    /// The payer cancelled it, in this transaction.
    Cancelled(B256),
    /// Every log was read, and none shows it.
    Nowhere,
    /// No log says.
    Unclear,
}

/// Which blocks are searched first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    Oldest,
    Newest,
}

/// The blocks to be searched, in pieces that the node can take.
struct Pieces {
    from: u64,
    to: u64,
    span: u64,
    order: First,
}

/// Finds the transaction that used the authorization or cancelled it, in these blocks, of which the last is deep enough.
pub(super) async fn find_use(chain: &Chain, payment: &Expected, blocks: (u64, u64), order: First) -> Result<Use, NodeError> {
    let found = match payment.named {
        Named::Eip3009(nonce) => find_logged(chain, payment, nonce, blocks, order).await?,
        Named::Permit2 { nonce, .. } => find_by_call(chain, payment, nonce, blocks, order).await?,
        Named::Funding(_) => Use::Unclear,
    };
    if matches!(found, Use::Unclear) {
        tracing::warn!(network = %chain.network(), payer = %payment.payer, "an authorization was used, and no log says by what");
    }
    Ok(found)
}

/// The use of an authorization by EIP-3009.
async fn find_logged(
    chain: &Chain,
    payment: &Expected,
    nonce: B256,
    blocks: (u64, u64),
    order: First,
) -> Result<Use, NodeError> {
    const EVENTS: [B256; 2] = [Token::AuthorizationUsed::SIGNATURE_HASH, Token::AuthorizationCanceled::SIGNATURE_HASH];
    let topics = [payment.payer.into_word(), nonce];
    let mut pieces = Pieces::new(blocks, order);
    for _ in 0..MAX_SEARCHES {
        let Some((first, last)) = pieces.next() else { break };
        let questions =
            EVENTS.map(|event| Call::logs(payment.asset, &[Some(event), Some(topics[0]), Some(topics[1])], first, last));
        let Some(logs) = pieces.ask(chain, &questions, (first, last)).await? else { continue };
        let is_meant = |log: &MinedLog| {
            log.log.address == payment.asset
                && matches!(log.log.topics.as_slice(), [event, rest @ ..] if EVENTS.contains(event) && *rest == topics)
        };
        if let Some(log) = logs.into_iter().find(is_meant) {
            if log.log.topics.first() == Some(&Token::AuthorizationCanceled::SIGNATURE_HASH) {
                return Ok(Use::Cancelled(log.transaction_hash));
            }
            return judge(chain, payment, log.transaction_hash).await;
        }
    }
    Ok(Use::Unclear)
}

/// The use of a number of Permit2.
async fn find_by_call(
    chain: &Chain,
    payment: &Expected,
    nonce: U256,
    blocks: (u64, u64),
    order: First,
) -> Result<Use, NodeError> {
    let payer = Some(payment.payer.into_word());
    let mut pieces = Pieces::new(blocks, order);
    let (mut looked_at, mut is_unclear) = (0_usize, false);
    for _ in 0..MAX_SEARCHES {
        let Some((first, last)) = pieces.next() else {
            return Ok(if is_unclear { Use::Unclear } else { Use::Nowhere });
        };
        let transfer = [Some(Token::Transfer::SIGNATURE_HASH), payer, Some(payment.pay_to.into_word())];
        let made_void = [Some(Permit2::UnorderedNonceInvalidation::SIGNATURE_HASH), payer];
        let questions = [
            Call::logs(payment.asset, &transfer, first, last),
            Call::logs(PERMIT2, &made_void, first, last),
            // A node that does not have the last of these blocks answers for those before it only.
            Call::block(BlockTag::Number(last)),
        ];
        let Some(logs) = pieces.ask(chain, &questions, (first, last)).await? else { continue };
        if let Some(log) = logs.iter().find(|log| makes_void(log, payment.payer, nonce)) {
            return Ok(Use::Cancelled(log.transaction_hash));
        }
        let mut candidates: Vec<B256> = Vec::new();
        for log in logs.iter().filter(|log| payment.may_be_transfer(&log.log)) {
            if !candidates.contains(&log.transaction_hash) {
                candidates.push(log.transaction_hash);
            }
        }
        looked_at = looked_at.saturating_add(candidates.len());
        if looked_at > MAX_CANDIDATES {
            return Ok(Use::Unclear);
        }
        for together in candidates.chunks(CANDIDATES_TOGETHER) {
            match look_at(chain, payment, together).await? {
                Use::Nowhere => {}
                Use::Unclear => is_unclear = true,
                found => return Ok(found),
            }
        }
    }
    Ok(Use::Unclear)
}

/// Looks at transactions that moved as much from payer to payee: whether one of them did so for this payment.
async fn look_at(chain: &Chain, payment: &Expected, hashes: &[B256]) -> Result<Use, NodeError> {
    let calls: Vec<Call> = hashes.iter().flat_map(|hash| [Call::receipt(*hash), Call::transaction(*hash)]).collect();
    let answers = chain.node().ask(&calls).await?;
    let mut found = Use::Nowhere;
    for (hash, answers) in hashes.iter().zip(answers.chunks(2)) {
        let [receipt, sent] = answers else { return Err(NodeError::Malformed("eth_getTransactionReceipt")) };
        let receipt = rpc::receipt(receipt)?.filter(|receipt| receipt.transaction_hash == *hash);
        let sent = rpc::transaction(sent)?;
        let moved = receipt.map(|receipt| payment.moved_by_call(&receipt, sent.as_ref(), |it| chain.trusts_factory(it)));
        match moved {
            Some(Moved::Nothing) => {}
            // Once more, with a look at whether its block is part of the chain and deep enough.
            Some(Moved::Exactly(_) | Moved::Otherwise) => return judge(chain, payment, *hash).await,
            Some(Moved::Perhaps) | None => found = Use::Unclear,
        }
    }
    Ok(found)
}

async fn judge(chain: &Chain, payment: &Expected, hash: B256) -> Result<Use, NodeError> {
    let reads_call = matches!(payment.named, Named::Permit2 { .. });
    let seen = view(chain, Some(hash), Depth::Confirmed, reads_call).await?;
    let Some(View { receipt: Some(receipt), sent, .. }) = seen else { return Ok(Use::Unclear) };
    Ok(match payment.moved_by_call(&receipt, sent.as_ref(), |it| chain.trusts_factory(it)) {
        Moved::Exactly(value) => Use::Exactly(hash, receipt.block_number, value),
        Moved::Otherwise => Use::Otherwise(hash),
        Moved::Perhaps | Moved::Nothing => Use::Unclear,
    })
}

fn makes_void(found: &MinedLog, payer: Address, nonce: U256) -> bool {
    const EVENT: B256 = Permit2::UnorderedNonceInvalidation::SIGNATURE_HASH;
    let (word, bit) = nonce_place(nonce);
    found.log.address == PERMIT2
        && found.log.topics == [EVENT, payer.into_word()]
        && <(U256, U256)>::abi_decode_params(&found.log.data).is_ok_and(|(at, mask)| at == word && mask & bit == bit)
}

impl Pieces {
    const fn new((from, to): (u64, u64), order: First) -> Self {
        Self { from, to, span: SEARCH_RANGE_BLOCKS, order }
    }

    /// The next piece; none when everything was searched.
    fn next(&self) -> Option<(u64, u64)> {
        let Self { from, to, span, order } = *self;
        (from <= to).then(|| match order {
            First::Oldest => (from, from.saturating_add(span.saturating_sub(1)).min(to)),
            First::Newest => (to.saturating_sub(span.saturating_sub(1)).max(from), to),
        })
    }

    /// Asks for the logs of a piece, with the last of its blocks beside them or not. `None` if the piece was too large, and a
    /// smaller one is next.
    async fn ask(
        &mut self,
        chain: &Chain,
        questions: &[Call],
        (first, last): (u64, u64),
    ) -> Result<Option<Vec<MinedLog>>, NodeError> {
        const METHOD: &str = "eth_getLogs";
        let answers = chain.node().ask(questions).await?;
        if answers.len() != questions.len() {
            return Err(NodeError::Malformed(METHOD));
        }
        if first < last && answers.iter().any(|answer| answer.as_ref().is_err_and(rpc::CallError::range_is_too_large)) {
            self.span = (last.saturating_sub(first).saturating_add(1) / 2).max(1);
            return Ok(None);
        }
        let mut logs = Vec::new();
        for (question, answer) in questions.iter().zip(&answers) {
            if question.method == METHOD {
                logs.extend(rpc::logs(answer)?.into_iter().filter(|log| (first..=last).contains(&log.block_number)));
            } else if rpc::block(answer)?.is_none_or(|block: Block| block.number != last) {
                return Err(NodeError::Malformed(question.method));
            }
        }
        match (self.order, first.checked_sub(1)) {
            (First::Oldest, _) => self.from = last.saturating_add(1),
            (First::Newest, Some(before)) => self.to = before,
            // Nothing comes before the first block.
            (First::Newest, None) => (self.from, self.to) = (1, 0),
        }
        Ok(Some(logs))
    }
}
