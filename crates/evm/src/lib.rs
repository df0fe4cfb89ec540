//! x402 schemes on EVM chains, for client, server and facilitator.
