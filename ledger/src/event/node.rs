//! `node.*`: nodes coming and going. Subject `node/NAME`.

use serde::{Deserialize, Serialize};

use super::family;
use crate::ids::Seq;
use crate::time::{Micros, Timestamp};

/// By what a later node of the same boot tells whether the wall clock was set meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostClock {
    /// The boot.
    pub boot_id: String,
    /// When that was, by the wall clock that the node goes by: the wall clock less the time since
    /// boot.
    pub booted_at: Timestamp,
}

/// A node leads and is about to take up the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStarted {
    /// Version of the software.
    pub software: String,
    /// Host name, for people.
    pub host: String,
    /// How many attempts it runs at once.
    pub max_running: u32,
    /// The clock that it goes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<HostClock>,
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

/// The wall clock was set by more than a minute. Until that has settled the node goes by the time
/// since boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStepped {
    /// What the wall clock says.
    pub wall: Timestamp,
    /// What it would say had it not been set.
    pub expected: Timestamp,
}

/// What a second reading has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// The clock stands by it: the node goes by what it says.
    Followed,
    /// The clock has come back: nothing has changed.
    Reverted,
}

/// A step of the wall clock has settled: what is due by it is due from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockSettled {
    /// How.
    pub outcome: Settled,
    /// What the wall clock says.
    pub wall: Timestamp,
    /// The clock that the node goes by from now on.
    pub clock: HostClock,
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
        /// Finds that the wall clock was set.
        ClockStepped(ClockStepped) = "node.clock_stepped",
        /// Knows what to think of it.
        ClockSettled(ClockSettled) = "node.clock_settled",
    }
);
