//! What can happen in a simulated world.

use crate::chance::Chance;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A buyer pays at one of the nodes.
    Pay,
    /// A payment is presented again, at whichever node.
    Copy,
    /// A little time goes by.
    Wait,
    /// Minutes go by.
    WaitLong,
    /// Blocks are made.
    Mine,
    /// The newest blocks are replaced; their transactions wait again.
    Reorganise,
    /// The newest blocks are replaced; their transactions are forgotten.
    ReorganiseAndForget,
    /// The way to the chain goes bad, or good again.
    TurnWeather,
    /// A node's store begins to fail now and then, or stops to.
    TurnStore,
    /// A node dies at one of its next calls.
    Kill,
    /// A node ends in good order.
    Stop,
    /// A new node joins.
    Start,
}

const WEIGHTS: &[(Action, u64)] = &[
    (Action::Pay, 30),
    (Action::Copy, 12),
    (Action::Wait, 20),
    (Action::WaitLong, 2),
    (Action::Mine, 25),
    (Action::Reorganise, 4),
    (Action::ReorganiseAndForget, 3),
    (Action::TurnWeather, 5),
    (Action::TurnStore, 4),
    (Action::Kill, 4),
    (Action::Stop, 2),
    (Action::Start, 5),
];

impl Action {
    /// The next step.
    pub fn draw(chance: &mut Chance) -> Self {
        chance.weighted(WEIGHTS).unwrap_or(Self::Wait)
    }

    /// Its name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Copy => "copy",
            Self::Wait => "wait",
            Self::WaitLong => "wait long",
            Self::Mine => "mine",
            Self::Reorganise => "reorganise",
            Self::ReorganiseAndForget => "reorganise and forget",
            Self::TurnWeather => "turn weather",
            Self::TurnStore => "turn store",
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Start => "start",
        }
    }
}
