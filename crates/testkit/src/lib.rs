//! Test doubles, builders and peers' launchers. A dev-dependency only.
