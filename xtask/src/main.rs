//! Development tasks: test, bench, contracts.
fn main() {}
