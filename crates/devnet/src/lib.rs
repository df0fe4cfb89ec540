//! Embedded chains for demo, development and tests.
