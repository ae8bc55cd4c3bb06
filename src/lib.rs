//! Opsledger: what acts and what faces people.

pub mod audit;
pub mod config;
pub mod shim;
pub mod units;
