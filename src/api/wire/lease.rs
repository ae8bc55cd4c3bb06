//! `/v1/node` and `/v1/lease`: what a node is, and who leads.

use ledger_core::ids::{Id, Seq, Term};
use ledger_core::time::{Micros, Millis, Timestamp};
use serde::{Deserialize, Serialize};

use super::ApiError;

/// What a node is to its ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It holds the lease.
    Leader,
    /// It follows, and takes over when the leader is gone.
    Standby,
}

/// `GET /v1/node`: what every node answers, whether it leads or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStanding {
    /// Its name.
    pub node: Id,
    /// Its process id.
    pub pid: u32,
    /// What it is.
    pub role: Role,
    /// Version of its software.
    pub software: String,
    /// When it became that.
    pub started_at: Timestamp,
    /// The last event that it has: durable on a leader, folded on a standby.
    pub seq: Seq,
    /// The term of that.
    pub term: Term,
    /// Whom a standby follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Id>,
    /// Why a standby can't take over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A node beside the one that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbor {
    /// Its name, after its socket.
    pub node: Id,
    /// What it says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<NodeStanding>,
    /// How many events it is behind the leader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<u64>,
    /// Why nothing is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
}

/// `GET /v1/lease`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseInfo {
    /// Who leads.
    pub holder: Id,
    /// Its process id.
    pub pid: u32,
    /// Its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its term.
    pub term: Term,
    /// When it began.
    pub acquired_at: Timestamp,
    /// How long ago the last heartbeat was.
    pub beat_age_us: Micros,
    /// How long it may be silent until a standby ends it.
    pub ttl_ms: Millis,
    /// Events since the term began.
    pub events: u64,
    /// The nodes beside it.
    pub standbys: Vec<Neighbor>,
}

/// `POST /v1/lease/step-down`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepDownRequest {
    /// Also where no node stands by: nobody leads then until one does.
    #[serde(default)]
    pub alone: bool,
    /// Only look whether it would be done: nothing is recorded.
    #[serde(default)]
    pub dry_run: bool,
}

/// `POST /v1/lease/acquire`, to the node that is to lead.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcquireRequest {
    /// End whoever leads now, though it works.
    #[serde(default)]
    pub force: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Acquired {
    /// This node leads already.
    AlreadyHeld {
        /// In this term.
        term: Term,
    },
    /// The lease is free, and this node is about to take it.
    Coming {
        /// The term whose holder was ended for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ended: Option<Term>,
    },
}
