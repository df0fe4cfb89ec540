//! Measures Farthing against the limits of the machine, in one run.
fn main() {}
