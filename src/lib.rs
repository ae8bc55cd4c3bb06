//! Opsledger: what acts and what faces people.

pub mod api {
    //! What crosses the socket.
    pub mod wire;
}
pub mod audit;
pub mod client;
pub mod config;
pub mod shim;
pub mod units;
