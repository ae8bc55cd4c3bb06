//! The log itself.
