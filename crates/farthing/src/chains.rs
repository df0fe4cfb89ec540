//! The one list of chain families. A new family is one crate and one line in each of these.
