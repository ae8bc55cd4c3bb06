//! `lease.*`: who leads, term by term. Subject `lease/main`. The first event of a term is its
//! `lease.acquired`; heartbeats are samples and never events.

use serde::{Deserialize, Serialize};

use super::family;
use crate::ids::{Entity, Id, Term};
use crate::time::Millis;

/// A node leads from here on; the header's term is the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseAcquired {
    /// The node.
    pub holder: Id,
    /// Its process id, for people.
    pub pid: i32,
    /// Start of its process in clock ticks since boot: with pid and boot, which process it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<u64>,
    /// Which boot of the host.
    pub boot_id: String,
    /// Drawn anew each time a node starts: tells two lives of one name apart.
    pub incarnation: String,
}

/// Why a term was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseReason {
    /// The node was asked to stop.
    Shutdown,
    /// The disk is full.
    DiskFull,
    /// An operator wanted another node to lead.
    StepDown,
}

/// The holder gave its term back; the last event of that term.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseReleased {
    /// The node.
    pub holder: Id,
    /// Why.
    pub reason: ReleaseReason,
}

/// The term before ended without a release: recorded by whoever came after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseLost {
    /// The node that held it.
    pub holder: Id,
    /// The term that ended.
    pub term: Term,
}

/// Why a holder was ended by force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum FenceCause {
    /// It held the lease and gave no sign of life for its TTL.
    Silent {
        /// For how long, by the clock of whoever ended it.
        silent_ms: Millis,
    },
    /// An operator wanted this node to lead at once.
    Forced {
        /// Who.
        by: Entity,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// The term before ended because its holder was killed, so that its lock came free: recorded by whoever
/// did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseFenced {
    /// The node that held it.
    pub holder: Id,
    /// The term that ended.
    pub term: Term,
    /// The process that was killed.
    pub pid: i32,
    /// Its start in clock ticks since boot.
    pub start_time: u64,
    /// Why.
    #[serde(flatten)]
    pub cause: FenceCause,
}

family!(
    /// Who leads.
    LeaseEvent {
        /// A term begins.
        Acquired(LeaseAcquired) = "lease.acquired",
        /// A term was given back.
        Released(LeaseReleased) = "lease.released",
        /// A term ended without a release.
        Lost(LeaseLost) = "lease.lost",
        /// A term ended because its holder was killed.
        Fenced(LeaseFenced) = "lease.fenced",
    }
);
