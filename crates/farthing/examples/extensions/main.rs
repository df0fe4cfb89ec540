//! Every extension and payment flow, each as a small complete program: a chain, a facilitator, a seller and a buyer in one
//! process. No network, no keys of value, no money.
//!
//! ```console
//! $ cargo run --example extensions --package farthing              # all of them
//! $ cargo run --example extensions --package farthing -- sign-in   # one
//! ```
//!
//! Read a topic from its `run`: first what the operator sets up, then what the seller sells, then what the buyer does. What
//! it prints it has checked; if it were not so, it would end with an error. [`market`] is the set-up that all share.
//!
//! It is one program and not ten because the machine code of an EVM is linked into it.

mod market;

mod topics {
    pub mod builder_code;
    pub mod gas_sponsoring;
    pub mod hooks;
    pub mod metered;
    pub mod payment_id;
    pub mod quotes;
    pub mod receipts;
    pub mod sign_in;
    pub mod smart_wallet;
    pub mod upfront;
}

use std::time::Duration;

use farthing::core::{BoxFuture, Source};
use tokio::time::timeout;

/// Longer than any topic takes.
const TOPIC_TIMEOUT: Duration = Duration::from_mins(1);

type Run = fn() -> BoxFuture<'static, Result<(), Source>>;

const TOPICS: &[(&str, Run)] = &[
    ("metered", || Box::pin(topics::metered::run())),
    ("upfront", || Box::pin(topics::upfront::run())),
    ("quotes", || Box::pin(topics::quotes::run())),
    ("gas-sponsoring", || Box::pin(topics::gas_sponsoring::run())),
    ("smart-wallet", || Box::pin(topics::smart_wallet::run())),
    ("sign-in", || Box::pin(topics::sign_in::run())),
    ("payment-id", || Box::pin(topics::payment_id::run())),
    ("receipts", || Box::pin(topics::receipts::run())),
    ("builder-code", || Box::pin(topics::builder_code::run())),
    ("hooks", || Box::pin(topics::hooks::run())),
];

#[tokio::main]
async fn main() -> Result<(), Source> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known: Vec<&str> = TOPICS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("expected topics of {}, got {unknown:?}", known.join(", ")).into());
    }
    for (name, run) in TOPICS.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|it| it == name)) {
        println!("{name}");
        timeout(TOPIC_TIMEOUT, run()).await??;
    }
    Ok(())
}
