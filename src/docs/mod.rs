//! Guides, compiled with the code so that their links and examples can't rot.

#[doc = include_str!("operations.md")]
pub mod operations {}

#[doc = include_str!("adding_a_capability.md")]
pub mod adding_a_capability {}

#[doc = include_str!("leadership.md")]
pub mod leadership {}

#[doc = include_str!("simulation.md")]
pub mod simulation {}
