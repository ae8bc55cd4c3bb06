//! The reaper of processes that somebody else started and that we were asked to watch: it sees their
//! end at once, ends those that are past their limit, and never touches an innocent one.
//!
//! ```text
//! reap watch ── decide::watch ──> process.watched ──(durable)──> run: pidfd, deadline, sweep
//!                                                                  │ seen
//! process.reaping <── decide::reported <── past its limit, stalled ┤
//!       │ (durable)                                                │
//!       └──> ladder: SIGTERM, grace, SIGKILL ── gone ──> process.terminated
//! ```
//! - A process is the same only if pid, start time and boot id are. A descriptor (pidfd) is taken
//!   first and the identity checked second, so what is signaled through it is never another.
//! - No signal before the event that orders it is durable. What is to be done follows from folded
//!   state, so a node that comes up goes on where the last one was, also in the middle of a ladder.
//! - Sweeps and samples are no events. A sweep asks all descriptors at once in one call, and reads
//!   `/proc` only for processes that may stand still for so long.
//! - Processes of attempts are not in its care: their shims look after them.
//!
//! | never signaled | because |
//! |---|---|
//! | pid 0 and 1, kernel threads | the system would stop |
//! | the node and what it runs below | nobody would look after anything |
//! | what the node or a shim has started | shims end what belongs to attempts, and record how |
//! | who is not who was watched | the number was given to another |
//!
//! Idea: pidfds instead of polling (systemd, containerd); the ladder of service managers.

pub mod candidate;
pub mod decide;
mod ladder;
pub mod run;
pub mod sample;
mod sys;
mod tree;
pub mod verdict;

#[cfg(test)]
mod tests;
