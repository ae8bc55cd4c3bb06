//! The shim: how the process of an attempt is started, watched, ended and recorded, so that it
//! outlives the node.
//!
//! ```text
//!  node ──requests──> spawner ──fork──> shim ──vfork+exec──> child (leader of its own group)
//!   ^                                    │ └─ pipes: stdout, stderr      └─ descendants
//!   └────────────reports─────────────────┤
//!                                        └─> attempts/<task>/<n>/{claim,started,stdout,stderr,outcome}
//! ```
//!
//! The node starts one *spawner*, a single-threaded copy of its own binary with a small heap. For
//! a request the spawner forks, and the fork *is* the shim: no exec, hence no second start of a
//! binary. A shim that is done stays for a while and may be given another request (`pool.rs`). The
//! idea of a small process that stays with the child is the container runtimes' (containerd-shim,
//! conmon); forking it from a warm small process is the zygote's; that it serves one after another
//! is the pre-forking server's.
//!
//! Invariants:
//! - **At most one start per attempt.** A shim starts nothing before it has taken the attempt's
//!   `claim`, which appears at once with its content and only for one taker. It never creates the
//!   attempt's directory: where there's none, nothing is started.
//! - **Files rule, reports hint.** What counts is in the attempt's directory. A report can be lost
//!   (the node is stopped, its queue is full); it then costs a sweep, never truth. One that carries
//!   an outcome says what is in the file already.
//! - **An outcome is durable or somebody's.** A shim syncs it unless the node says that an event of it
//!   is durable (`unsaved.rs`).
//! - **Nobody blocks a shim.** Reports are sent without blocking, output beyond the limit or a full
//!   disk is read and thrown away.
//! - **The child dies with its shim** (parent death signal), and the shim ends the whole tree: it
//!   is the subreaper, so every orphan of the tree becomes its child.
//! - **Group and process ids cannot be recycled under a signal**: the leader of the group is kept
//!   unreaped for as long as the group may be signaled, and single processes are signaled through
//!   a pidfd after their identity was checked.
//!
//! A `claim` says only that nobody else starts the attempt *while this machine is up*: it's not
//! synced. After a reboot, every attempt that was ordered under the earlier boot id and has no
//! outcome must be taken as possibly started.
//!
//! A node only ever talks to shims of its own binary: those of an older one go with its spawner once
//! they have served what they serve, and are met through their files.
//!
//! A service manager that ends all processes of a service ends the shims too; it must be told to
//! end the node alone (systemd: `KillMode=process`).
//!
//! Needs Linux 5.9 or newer (pidfd, openat2, close_range).

mod announce;
mod attempt;
mod capture;
mod cgroup;
mod child;
mod error;
mod files;
mod frame;
mod guard;
mod identity;
mod ladder;
mod launch;
pub mod orphans;
mod pool;
mod protocol;
mod records;
mod report;
mod run;
pub mod spawner;
mod standstill;
mod supervise;
mod sys;
mod tree;
mod unsaved;
pub mod watch;

pub use attempt::{AttemptDir, Attempts, ClaimAttempt, Workplace};
pub use cgroup::{CgroupBase, CgroupPlaces, CgroupRecord, CgroupVersion, CgroupsSwept};
pub use error::{AttemptError, IdentityError, ReportError};
pub use identity::{ProcessIdentity, ProcessStat, ProcessState};
pub use launch::Spawner;
pub use protocol::{MAX_REPORT_BYTES, MAX_REQUEST_BYTES, Refusal, Report, RunAs, SpawnRequest};
pub use records::{
    Claim, Claimant, ExitResult, Ladder, LadderCause, LadderStep, Outcome, PROTOCOL_VERSION,
    ProtocolVersion, SpawnStep, Started, StreamRecord, Survivor, TaskId, Unkillable, Usage,
};
