//! Charges for HTTP routes with x402.
