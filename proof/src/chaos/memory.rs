//! What the proxy remembers so as to lie: older answers, and lies that go on for a while.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;

use super::kind::Needs;

/// How many different answers to one question are remembered.
const MAX_OLD_ANSWERS: usize = 3;
/// How many questions are remembered; then all are forgotten.
const MAX_QUESTIONS: usize = 4_096;

/// What was answered, and which lies go on.
#[derive(Debug, Default)]
pub(super) struct Memory {
    answers: HashMap<String, VecDeque<Value>>,
    /// Receipts that seem not to be there, and for how many times of asking.
    withheld: HashMap<String, u64>,
    /// For how many times of asking the node seems to be of another chain.
    other_chain: u64,
}

impl Memory {
    /// The node's true answer to a question.
    pub fn learn(&mut self, method: &str, question: &str, result: &Value) {
        if !Needs::Query.met_by(method) {
            return;
        }
        if self.answers.len() >= MAX_QUESTIONS {
            self.answers.clear();
        }
        let answers = self.answers.entry(question.to_owned()).or_default();
        if answers.back() != Some(result) {
            answers.push_back(result.clone());
        }
        if answers.len() > MAX_OLD_ANSWERS {
            answers.pop_front();
        }
    }

    /// The oldest answer that is remembered.
    pub fn stale(&self, question: &str) -> Option<Value> {
        self.answers.get(question)?.front().cloned()
    }

    pub fn withhold(&mut self, question: &str, times: u64) {
        self.withheld.insert(question.to_owned(), times);
    }

    pub fn seem_other_chain(&mut self, times: u64) {
        self.other_chain = times;
    }

    /// What is answered instead, where a lie goes on.
    pub fn standing_lie(&mut self, method: &str, question: &str) -> Option<Value> {
        if Needs::ChainId.met_by(method) && self.other_chain > 0 {
            self.other_chain -= 1;
            return Some(Value::from("0x7a69f"));
        }
        let left = self.withheld.get_mut(question)?;
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.withheld.remove(question);
        }
        Some(Value::Null)
    }

    /// Ends every lie.
    pub fn come_clean(&mut self) {
        self.withheld.clear();
        self.other_chain = 0;
    }
}
