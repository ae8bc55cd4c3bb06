//! When jobs are due, and what follows.

mod calendar;
mod model;
mod policy;
