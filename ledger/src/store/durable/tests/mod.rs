//! The durable store against the contract, a model, crashes, failures and damage.

mod basics;
