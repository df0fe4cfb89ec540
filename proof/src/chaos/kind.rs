//! What goes wrong on the way to a node.

use std::fmt;

/// A way in which an exchange with a node goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The right answer, late.
    Late,
    /// Nothing is done, and no answer comes until the caller gives up.
    TimeOutBefore,
    /// The node does it, and no answer comes until the caller gives up.
    TimeOutAfter,
    /// The connection is cut before the node hears of it.
    CutBefore,
    /// The node does it, and the connection is cut.
    CutAfter,
    /// 429.
    TooManyRequests,
    /// 500.
    ServerError,
    /// 502.
    BadGateway,
    /// 504, though the node did it.
    GatewayTimeOut,
    /// A page for people instead of JSON.
    Garbage,
    /// The node does it, and half of the answer comes.
    Truncated,
    /// The node does it, and nothing comes, with status 200.
    Empty,
    /// A receipt is not there yet, for a few times of asking.
    NullReceipt,
    /// A broadcast is answered by its hash and forgotten.
    DroppedBroadcast,
    /// A broadcast reaches the node twice; the second answer comes.
    DoubledBroadcast,
    /// A broadcast is "already known", and nobody knows it.
    FalselyKnown,
    /// The node takes the broadcast, and the answer is "nonce too low".
    FalselyTooLow,
    /// Head, nonces and receipts as they were a while ago.
    Stale,
    /// The node seems to be of another chain, for a few times of asking.
    OtherChain,
}

/// What an exchange must hold for a fault to make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Anything,
    Broadcast,
    Receipt,
    Query,
    ChainId,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Late,
        Self::TimeOutBefore,
        Self::TimeOutAfter,
        Self::CutBefore,
        Self::CutAfter,
        Self::TooManyRequests,
        Self::ServerError,
        Self::BadGateway,
        Self::GatewayTimeOut,
        Self::Garbage,
        Self::Truncated,
        Self::Empty,
        Self::NullReceipt,
        Self::DroppedBroadcast,
        Self::DoubledBroadcast,
        Self::FalselyKnown,
        Self::FalselyTooLow,
        Self::Stale,
        Self::OtherChain,
    ];

    /// Its name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::TimeOutBefore => "time-out before",
            Self::TimeOutAfter => "time-out after",
            Self::CutBefore => "cut before",
            Self::CutAfter => "cut after",
            Self::TooManyRequests => "429",
            Self::ServerError => "500",
            Self::BadGateway => "502",
            Self::GatewayTimeOut => "504 after",
            Self::Garbage => "garbage",
            Self::Truncated => "truncated",
            Self::Empty => "empty",
            Self::NullReceipt => "null receipt",
            Self::DroppedBroadcast => "dropped broadcast",
            Self::DoubledBroadcast => "doubled broadcast",
            Self::FalselyKnown => "falsely known",
            Self::FalselyTooLow => "falsely too low",
            Self::Stale => "stale",
            Self::OtherChain => "other chain",
        }
    }

    pub(super) const fn needs(self) -> Needs {
        match self {
            Self::NullReceipt => Needs::Receipt,
            Self::DroppedBroadcast | Self::DoubledBroadcast | Self::FalselyKnown | Self::FalselyTooLow => Needs::Broadcast,
            Self::Stale => Needs::Query,
            Self::OtherChain => Needs::ChainId,
            _ => Needs::Anything,
        }
    }
}

impl Needs {
    /// Whether a call of that method is what is needed.
    pub(super) fn met_by(self, method: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Broadcast => method == "eth_sendRawTransaction",
            Self::Receipt => matches!(method, "eth_getTransactionReceipt" | "eth_getBlockReceipts"),
            Self::Query => matches!(
                method,
                "eth_blockNumber"
                    | "eth_getBlockByNumber"
                    | "eth_getTransactionCount"
                    | "eth_getTransactionReceipt"
                    | "eth_getTransactionByHash"
                    | "eth_getLogs"
            ),
            Self::ChainId => method == "eth_chainId",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
