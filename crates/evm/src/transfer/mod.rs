//! How a token moves by signature. One file for each asset transfer method; schemes share them.

pub mod eip3009;
