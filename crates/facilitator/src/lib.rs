//! Verifies and settles x402 payments, in process or over HTTP.
