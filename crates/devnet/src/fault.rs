//! Faults on demand: what a payment must survive, made to happen at a chosen moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

/// Matches every method when given as the method of a fault.
pub const ANY_METHOD: &str = "*";
/// Most faults that can wait at once; a further one is not injected and counts as cleared.
pub const MAX_FAULTS: usize = 1024;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The method is executed this much later.
    Delay(Duration),
    /// The method is executed, then the connection is closed without an answer.
    DropAnswer,
    /// `eth_sendRawTransaction` accepts the transaction, which is visible in the pool and never mined. It can be
    /// replaced by one with higher fees.
    HoldTransaction,
    /// `eth_sendRawTransaction` accepts the transaction and the node forgets it.
    LoseTransaction,
    /// The method is executed twice; the first answer is given.
    ExecuteTwice,
    /// The method is not executed and answers with a JSON-RPC error.
    Error {
        /// JSON-RPC error code.
        code: i64,
        /// JSON-RPC error message.
        message: String,
    },
    /// The method is not executed; the HTTP answer has this status (400–599) and no JSON.
    HttpStatus(u16),
    /// The method is not executed; the HTTP answer is a success and no JSON, as of a portal or a broken proxy.
    Garbage,
    /// The method is not executed and answers this: another chain's id, a wrong nonce, whatever a node must not say.
    Answer(Value),
    /// The answer comes twice: in a batch beside itself, alone as a batch of two.
    AnswerTwice,
    /// The method is executed by a node that has not seen the newest blocks, this many of them (as far back as state is
    /// kept).
    StaleHead(u64),
}

/// How often a fault happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// This often, then it is gone.
    Exactly(u32),
    /// Until it is cleared.
    UntilCleared,
    /// At random until it is cleared: at so many calls of a thousand, the same ones for the same seed.
    Sometimes {
        /// Of a thousand calls, so many fail.
        per_mille: u16,
        /// Where the randomness begins.
        seed: u64,
    },
}

/// Names an injected fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FaultId(pub(crate) u64);

/// The handle to inject faults by. Clones act on the same chain.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    active: Arc<Mutex<Active>>,
}

#[derive(Debug, Default)]
struct Active {
    next: u64,
    faults: BTreeMap<FaultId, (String, Fault, Times)>,
    fired: u64,
}

impl Faults {
    /// Makes `fault` happen at the next calls of `method` (or of any, with [`ANY_METHOD`]).
    pub fn inject(&self, method: &str, fault: Fault, times: Times) -> FaultId {
        let mut active = self.active();
        let id = FaultId(active.next);
        active.next += 1;
        if active.faults.len() < MAX_FAULTS && times != Times::Exactly(0) {
            active.faults.insert(id, (method.to_owned(), fault, times));
        }
        id
    }

    /// Ends one fault; `false` if it had already ended.
    pub fn clear(&self, id: FaultId) -> bool {
        self.active().faults.remove(&id).is_some()
    }

    /// Ends all faults.
    pub fn clear_all(&self) {
        self.active().faults.clear();
    }

    /// How many faults have happened since the start.
    pub fn fired(&self) -> u64 {
        self.active().fired
    }

    /// The faults that happen to this call, in the order in which they were injected.
    pub(crate) fn take(&self, method: &str) -> Vec<Fault> {
        let mut active = self.active();
        if active.faults.is_empty() {
            return Vec::new();
        }
        let mut taken = Vec::new();
        active.faults.retain(|_, (wanted, fault, times)| {
            if wanted != method && wanted != ANY_METHOD {
                return true;
            }
            if let Times::Sometimes { per_mille, seed } = times
                && random_below_1000(seed) >= *per_mille
            {
                return true;
            }
            taken.push(fault.clone());
            match times {
                Times::UntilCleared | Times::Sometimes { .. } => true,
                Times::Exactly(left) => {
                    *left -= 1;
                    *left > 0
                }
            }
        });
        active.fired += u64::try_from(taken.len()).unwrap_or(u64::MAX);
        taken
    }

    fn active(&self) -> MutexGuard<'_, Active> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next number of a sequence that the seed decides (`SplitMix64`), and the next seed.
fn random_below_1000(seed: &mut u64) -> u16 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*seed ^ (*seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    u16::try_from((mixed ^ (mixed >> 31)) % 1000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_decided_by_its_seed() {
        let fired = |seed: u64| {
            let faults = Faults::default();
            faults.inject("eth_call", Fault::Garbage, Times::Sometimes { per_mille: 200, seed });
            (0..10_000).map(|_| !faults.take("eth_call").is_empty()).collect::<Vec<bool>>()
        };
        assert_eq!(fired(7), fired(7));
        assert_ne!(fired(7), fired(8));
        let count = fired(7).into_iter().filter(|fired| *fired).count();
        assert!((1_800..2_200).contains(&count), "{count} of 10,000 at 20 %");
    }
}
