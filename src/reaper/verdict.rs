//! How a watched process stands, in a word: a pure function of what is seen of it.

use std::fmt;
use std::time::Duration;

use ledger_core::event::ReapCause;
use serde::{Deserialize, Serialize};

/// How a watched process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It runs, and may.
    Running,
    /// It is not there any more.
    Exited,
    /// Its number belongs to another process.
    Recycled,
    /// It runs longer than it may.
    Overdue,
    /// It has not used the CPU for longer than it may.
    Stuck,
    /// It has ended, and its parent does not look.
    Defunct,
    /// It outlives SIGKILL.
    Unkillable,
    /// It can't be looked at from here.
    Unknown,
}

impl Verdict {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Exited => "exited",
            Self::Recycled => "recycled",
            Self::Overdue => "overdue",
            Self::Stuck => "stuck",
            Self::Defunct => "defunct",
            Self::Unkillable => "unkillable",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is seen under a process's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Nobody.
    Gone,
    /// Another process.
    Another,
    /// It was of an earlier boot of this host, or of another host.
    OtherBoot,
    /// Itself, ended and not waited for.
    Zombie,
    /// Itself.
    Here {
        /// How long it has not used the CPU, as far as that was watched.
        idle: Duration,
    },
    /// It can't be said.
    Unseen,
}

/// What a process may do, and how far the reaper has come with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// When it was started, since boot.
    pub started: Duration,
    /// How long it may run.
    pub max_runtime: Duration,
    /// How long it may stand still.
    pub stall_after: Option<Duration>,
    /// Why it is being ended, if it is.
    pub reaping: Option<ReapCause>,
    /// Whether something of it outlives SIGKILL.
    pub survived: bool,
}

impl Rules {
    /// When it has run for as long as it may, since boot.
    pub fn deadline(&self) -> Duration {
        self.started.saturating_add(self.max_runtime)
    }

    /// How it stands `now` (since boot).
    pub fn verdict(&self, sight: Sight, now: Duration) -> Verdict {
        let idle = match sight {
            Sight::Gone | Sight::OtherBoot => return Verdict::Exited,
            Sight::Another => return Verdict::Recycled,
            Sight::Zombie => return Verdict::Defunct,
            Sight::Unseen => return Verdict::Unknown,
            Sight::Here { idle } => idle,
        };
        match self.reaping {
            _ if self.survived => Verdict::Unkillable,
            Some(ReapCause::Stalled) => Verdict::Stuck,
            Some(ReapCause::MaxRuntime) => Verdict::Overdue,
            None if now >= self.deadline() => Verdict::Overdue,
            None if self.stall_after.is_some_and(|limit| idle >= limit) => Verdict::Stuck,
            None => Verdict::Running,
        }
    }
}
