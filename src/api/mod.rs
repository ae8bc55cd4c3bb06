//! The API of a node.

pub mod wire;
