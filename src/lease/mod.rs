//! The lease: exactly one node leads a ledger at a time.
//!
//! Nodes of one host share a data directory, and the leader holds an exclusive lock on it
//! ([`lock`]): who has it leads, and no one else. The [`record`] beside it says who that is and
//! beats while he works ([`holding`]); an observer that sees it stand still ([`observing`]) may end
//! him ([`fence`]), which frees the lock. The term in the log fences late writers of our own. The
//! first event of a term is its `lease.acquired` ([`decide`]).

pub mod decide;
pub mod ending;
pub mod fence;
pub mod file;
pub mod holding;
pub mod lock;
pub mod observing;
pub mod record;
pub mod timing;
pub mod uptime;
