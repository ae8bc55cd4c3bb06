//! `lease.*`: who leads, term by term. Subject `lease/main`. The first event of a term is its
//! `lease.acquired`; heartbeats are samples and never events.

use serde::{Deserialize, Serialize};

use super::family;
use crate::ids::{Id, Term};

/// A node leads from here on; the header's term is the new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseAcquired {
    /// The node.
    pub holder: Id,
    /// Its process id, for people.
    pub pid: i32,
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

family!(
    /// Who leads.
    LeaseEvent {
        /// A term begins.
        Acquired(LeaseAcquired) = "lease.acquired",
        /// A term was given back.
        Released(LeaseReleased) = "lease.released",
        /// A term ended without a release.
        Lost(LeaseLost) = "lease.lost",
    }
);
