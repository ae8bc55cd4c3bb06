//! Opsledger: what acts and what faces people.

pub mod shim;
