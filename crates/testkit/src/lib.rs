//! Test doubles, builders and peers' launchers. A dev-dependency only.
//!
//! - [`golden`]: values that other implementations produced, to be met byte for byte.

pub mod golden;
