//! The fate of one simulated node: its store may fail for a while, and the node may die at any call.

use std::sync::Mutex;
use std::sync::PoisonError;

use crate::chance::Chance;
use crate::watched::{Verdict, Watch};

/// How often a call of a failing store fails, in a thousand.
const STORE_FAILURES_PER_THOUSAND: u64 = 300;

/// Looks on at one node's books.
#[derive(Debug)]
pub struct Fate(Mutex<State>);

#[derive(Debug)]
struct State {
    chance: Chance,
    store_fails: bool,
    /// Dies after so many more points.
    dies_in: Option<u64>,
    dead: bool,
}

impl Fate {
    /// A healthy node.
    pub fn new(seed: u64, node: u64) -> Self {
        Self(Mutex::new(State { chance: Chance::of(seed, node), store_fails: false, dies_in: None, dead: false }))
    }

    /// Whether the store fails now and then.
    pub fn store_fails(&self, fails: bool) {
        self.state().store_fails = fails;
    }

    /// The node dies at one of its next calls, before or after it.
    pub fn die_in(&self, points: u64) {
        self.state().dies_in = Some(points);
    }

    /// The node is dead from now on, if it is not already.
    pub fn die(&self) {
        self.state().dead = true;
    }

    /// Whether it is dead.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn decide(&self, call: &str) -> Verdict {
        let mut state = self.state();
        if let Some(left) = state.dies_in.as_mut() {
            *left = left.saturating_sub(1);
            if *left == 0 {
                state.dead = true;
            }
        }
        if state.dead {
            return Verdict::Freeze;
        }
        let fails = state.store_fails && !call.starts_with("node.") && state.chance.per_thousand(STORE_FAILURES_PER_THOUSAND);
        if fails { Verdict::Fail } else { Verdict::Go }
    }
}

impl Watch for Fate {
    fn before(&self, call: &str) -> Verdict {
        self.decide(call)
    }

    fn after(&self, call: &str) -> Verdict {
        self.decide(call)
    }
}
