//! The store against the contract, a model, crashes and damage.

mod basics;
mod crash;
mod damage;
mod model;
mod tree;
