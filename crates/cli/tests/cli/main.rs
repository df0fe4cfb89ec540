//! The binary as its users meet it: what it prints where, what it exits with, and when it ends.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that finds nothing there has failed")]

mod callers;
mod chain;
mod check;
mod crash;
mod demo;
mod devnet;
mod examples;
mod facilitator;
mod gateway;
mod gateway_entry;
mod help;
mod inspect;
mod ledger;
mod market;
mod metrics;
mod operator;
mod pay;
mod peer;
mod readme;
mod refunds;
mod refusals;
mod run;
mod sales;
mod seller;
mod settle;
mod tls;
mod traces;
mod watching;
