//! x402 payments for Rust: charge for any route, pay for any resource.
