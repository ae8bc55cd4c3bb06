//! The durable store against the contract, a model, crashes, failures and damage.

mod basics;
mod crash;
mod lives;
mod readers;
mod world;
