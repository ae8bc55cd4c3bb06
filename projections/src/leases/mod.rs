//! `leases`: who leads, in which term. Decision state: whoever takes the lease next reads it to
//! know the term that follows and whether the one before was given back.

mod apply;
mod state;

pub use state::{Leases, Tenure};

#[cfg(test)]
mod tests;
