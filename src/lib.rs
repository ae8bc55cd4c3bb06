//! Opsledger: what acts and what faces people.
