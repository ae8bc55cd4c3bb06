//! Asking the history: which events, and what they led to.

pub mod filter;
