//! What a node says when it is given a transaction. Nodes agree on no codes, only roughly on words.

use crate::rpc::CallError;

/// What became of a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broadcast {
    /// The node has it, from now or from before.
    Accepted,
    /// Another transaction of this account has the nonce, or this one has been mined already.
    NonceTaken,
    /// The fees are too low for the node; nothing was sent on.
    Underpriced,
    /// Refused for good; nothing was sent on.
    Refused,
    /// It may or may not have been sent on.
    Unclear,
}

/// Words of the usual nodes (geth, reth, erigon, nethermind, besu, anvil, sequencers), in lower case, most specific first.
const WORDS: &[(&str, Broadcast)] = &[
    ("already known", Broadcast::Accepted),
    ("already imported", Broadcast::Accepted),
    ("already in pool", Broadcast::Accepted),
    ("already in mempool", Broadcast::Accepted),
    ("alreadyknown", Broadcast::Accepted),
    ("unknown transaction", Broadcast::Refused),
    ("known transaction", Broadcast::Accepted),
    ("nonce too low", Broadcast::NonceTaken),
    ("nonce is too low", Broadcast::NonceTaken),
    ("oldnonce", Broadcast::NonceTaken),
    ("nonce has already been used", Broadcast::NonceTaken),
    ("replacement transaction underpriced", Broadcast::NonceTaken),
    ("replacementnotallowed", Broadcast::NonceTaken),
    ("could not replace", Broadcast::NonceTaken),
    ("underpriced", Broadcast::Underpriced),
    ("less than block base fee", Broadcast::Underpriced),
    ("feetoolow", Broadcast::Underpriced),
    ("fee too low", Broadcast::Underpriced),
    ("gas price too low", Broadcast::Underpriced),
    ("insufficient funds", Broadcast::Refused),
    ("insufficient balance", Broadcast::Refused),
    ("intrinsic gas too low", Broadcast::Refused),
    ("exceeds block gas limit", Broadcast::Refused),
    ("gas limit too high", Broadcast::Refused),
    ("invalid sender", Broadcast::Refused),
    ("invalid chain id", Broadcast::Refused),
    ("chain id mismatch", Broadcast::Refused),
    ("transaction type not supported", Broadcast::Refused),
    ("txpool is full", Broadcast::Refused),
];

/// Words for what a node lacks at the moment, in lower case: its own room, or the coin that another node sees already.
const PASSING_WORDS: [&str; 3] = ["insufficient funds", "insufficient balance", "txpool is full"];

impl Broadcast {
    /// Reads a node's refusal. Words that are not known here leave it unclear, which is the safe side.
    pub(super) fn of(error: &CallError) -> Self {
        let message = error.message.to_ascii_lowercase();
        WORDS.iter().find(|(words, _)| message.contains(words)).map_or(Self::Unclear, |(_, broadcast)| *broadcast)
    }

    /// Whether a refusal is about the moment and not about the transaction: of an account's number and coin a node that is
    /// behind knows less than others.
    pub(super) fn is_passing(error: &CallError) -> bool {
        let message = error.message.to_ascii_lowercase();
        Self::of(error) == Self::NonceTaken || PASSING_WORDS.iter().any(|words| message.contains(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_is_wrong_with_a_transaction() {
        let cases = [
            ("nonce too low", true),
            ("replacement transaction underpriced", true),
            ("insufficient funds for gas * price + value", true),
            ("txpool is full", true),
            ("transaction underpriced", false),
            ("intrinsic gas too low", false),
        ];
        for (message, expected) in cases {
            let error = CallError { code: -32_000, message: message.to_owned(), data: None };
            assert_eq!(Broadcast::is_passing(&error), expected, "{message}");
        }
    }

    #[test]
    fn nodes_words_are_understood() {
        let cases = [
            ("already known", Broadcast::Accepted),
            ("ALREADY_EXISTS: already known", Broadcast::Accepted),
            ("nonce too low: next nonce 5, tx nonce 3", Broadcast::NonceTaken),
            ("OldNonce", Broadcast::NonceTaken),
            ("replacement transaction underpriced", Broadcast::NonceTaken),
            ("transaction underpriced: gas tip cap 1, minimum needed 2", Broadcast::Underpriced),
            ("max fee per gas less than block base fee: address 0x, maxFeePerGas: 1, baseFee: 7", Broadcast::Underpriced),
            ("insufficient funds for gas * price + value", Broadcast::Refused),
            ("known transaction: 0xab", Broadcast::Accepted),
            ("unknown transaction type", Broadcast::Refused),
            ("nonce too high", Broadcast::Unclear),
            ("Internal error", Broadcast::Unclear),
            ("execution reverted", Broadcast::Unclear),
            ("", Broadcast::Unclear),
        ];
        for (message, expected) in cases {
            let error = CallError { code: -32_000, message: message.to_owned(), data: None };
            assert_eq!(Broadcast::of(&error), expected, "{message}");
        }
    }
}
