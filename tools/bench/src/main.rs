//! Figures against peers.
fn main() {}
