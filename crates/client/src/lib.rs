//! Pays for x402 resources within limits that hold.
