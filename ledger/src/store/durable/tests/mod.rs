//! The durable store against the contract, a model, crashes, failures and damage.

mod basics;
mod crash;
mod fail;
mod lives;
mod readers;
mod structure;
mod world;
