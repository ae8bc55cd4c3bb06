//! `node.*`: nodes coming and going. Subject `node/NAME`.

use serde::{Deserialize, Serialize};

use super::family;
use crate::ids::Seq;
use crate::time::Micros;

/// A node leads and is about to take up the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStarted {
    /// Version of the software.
    pub software: String,
    /// Host name, for people.
    pub host: String,
    /// How many attempts it runs at once.
    pub max_running: u32,
}

/// Open work was reconciled with the world; dispatching begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecovered {
    /// Events folded to come here.
    pub replayed: Seq,
    /// How long the fold took.
    pub replay_us: Micros,
    /// Attempts that still run and are watched again.
    pub reattached: u32,
    /// Attempts that ended meanwhile, closed with their true outcome.
    pub closed: u32,
    /// Attempts whose tree is gone without an outcome.
    pub lost: u32,
    /// Attempts that had been ordered and never begun: they start now.
    pub unstarted: u32,
}

/// Why a node stops that nobody asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// An append failed for want of room. What was decided and not acknowledged is dropped.
    DiskFull,
}

/// The node stops: in good order, or with a reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStopped {
    /// Attempts that go on under their shims.
    pub running: u32,
    /// Tasks left in the queues.
    pub queued: u32,
    /// Why, if nobody asked it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<StopCause>,
}

family!(
    /// Nodes coming and going.
    NodeEvent {
        /// Leads.
        Started(NodeStarted) = "node.started",
        /// Has taken up the work.
        Recovered(NodeRecovered) = "node.recovered",
        /// Stops.
        Stopped(NodeStopped) = "node.stopped",
    }
);
