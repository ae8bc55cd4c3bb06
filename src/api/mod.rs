//! The API: HTTP and JSON over a Unix socket, for the command line, agents and programs.
//!
//! Handlers only translate: a request becomes a command to the core or a question to a view, the
//! answer becomes JSON. Who asks is taken from the socket's peer, never from the request.

mod blobs;
mod checkpoints;
mod connections;
mod error;
mod events;
mod extract;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod jobs;
mod lease;
mod output;
mod processes;
mod same;
mod server;
mod socket;
mod spoken;
mod tasks;
mod tree;
mod upkeep;
mod views;
pub mod wire;

pub(crate) use checkpoints::listed as listed_checkpoints;
pub use connections::Limits;
pub(crate) use jobs::{listed, shown};
pub use lease::{Leading, Standby, serve_standby};
pub(crate) use processes::{sampled, what};
pub use server::{Api, Defaults, serve};
pub use socket::{BindError, Listener, Socket};
pub(crate) use views::{Folds, disk_info};
