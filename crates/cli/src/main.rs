//! The farthing command: pay, inspect, facilitator, devnet, demo.
fn main() {}
