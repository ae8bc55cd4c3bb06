//! Asking the history: which events, what they led to, and what can be proven of them.

pub mod filter;
pub mod heads;
