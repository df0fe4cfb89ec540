//! Farthing against the official SDKs, role by role.
