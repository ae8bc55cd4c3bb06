//! The records in an attempt's directory, and the types they are made of.
//!
//! All are JSON objects with a `protocol` member. A reader ignores members it doesn't know, so
//! that fields can be added, and refuses versions it doesn't know. These types outlive a node:
//! shims of an older binary keep writing them while a newer node reads.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::cgroup::CgroupRecord;
use super::error::AttemptError;
use super::identity::ProcessIdentity;

/// The version of requests, reports and records that this binary writes and understands.
pub const PROTOCOL_VERSION: ProtocolVersion = ProtocolVersion(1);

/// A version of the protocol between node, spawner and shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProtocolVersion(pub u32);

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A task id that is safe as the name of a directory: `[A-Za-z0-9][A-Za-z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

impl TaskId {
    /// Checks `text` and makes it a task id.
    ///
    /// # Errors
    /// [`AttemptError::InvalidTaskId`].
    pub fn new(text: &str) -> Result<Self, AttemptError> {
        let bytes = text.as_bytes();
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        let valid = (1..=128).contains(&bytes.len())
            && bytes[0].is_ascii_alphanumeric()
            && bytes.iter().all(inner);
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err(invalid_task_id(text))
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The refused text goes into messages: no more of it than a reader needs.
fn invalid_task_id(text: &str) -> AttemptError {
    AttemptError::InvalidTaskId(text.chars().take(200).collect())
}

impl TryFrom<String> for TaskId {
    type Error = AttemptError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What kind of process took a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claimant {
    /// A shim, which starts the child next.
    Shim,
    /// A node, which thereby made sure that nothing will be started.
    Node,
}

/// `claim`: who alone may start the attempt. Appears with its full content or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Version of the record.
    pub protocol: ProtocolVersion,
    /// What took it.
    pub kind: Claimant,
    /// Who took it.
    #[serde(flatten)]
    pub by: ProcessIdentity,
    /// What holds the tree that it starts, if something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<CgroupRecord>,
}

/// `started`: the child runs; its `exec` has succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Version of the record.
    pub protocol: ProtocolVersion,
    /// The task.
    pub task_id: TaskId,
    /// Which attempt of it, from 1.
    pub attempt: NonZeroU32,
    /// The shim: leader of the session, to be watched and signaled by the node.
    pub shim: ProcessIdentity,
    /// The child: leader of the process group, signaled by the shim only.
    pub child: ProcessIdentity,
    /// The process group, equal to the child's pid.
    pub pgid: i32,
    /// Wall clock, microseconds since 1970 UTC.
    pub started_at_us: u64,
}

/// `outcome`: how the attempt ended. Written once, when nothing of its tree is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Version of the record.
    pub protocol: ProtocolVersion,
    /// The task.
    pub task_id: TaskId,
    /// Which attempt of it, from 1.
    pub attempt: NonZeroU32,
    /// The child; `None` if none could be started, or if it was gone before it could be looked at.
    pub child: Option<ProcessIdentity>,
    /// How the child itself ended.
    pub result: ExitResult,
    /// What was done to end the tree; `None` if it ended by itself.
    pub ladder: Option<Ladder>,
    /// Wall clock at the start, microseconds since 1970 UTC.
    pub started_at_us: u64,
    /// Wall clock at the end of the tree, microseconds since 1970 UTC.
    pub ended_at_us: u64,
    /// From start to end of the tree in microseconds, time in system suspend included.
    pub runtime_us: u64,
    /// What the child and the descendants it waited for have used.
    pub usage: Usage,
    /// What became of the child's standard output.
    pub stdout: StreamRecord,
    /// What became of the child's standard error.
    pub stderr: StreamRecord,
}

impl Outcome {
    /// Whether it is that of this attempt.
    pub fn is_of(&self, task_id: &TaskId, attempt: NonZeroU32) -> bool {
        self.task_id == *task_id && self.attempt == attempt
    }
}

/// How the child ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitResult {
    /// It exited.
    Exited {
        /// Exit code, 0 to 255.
        code: i32,
    },
    /// A signal ended it.
    Signaled {
        /// Number of the signal.
        signal: i32,
        /// Whether it dumped core.
        core: bool,
    },
    /// It never ran.
    SpawnFailed {
        /// Where the start failed.
        step: SpawnStep,
        /// The system's error number, or 0 if it gave none.
        errno: i32,
        /// The same for people.
        message: String,
    },
}

/// The steps of a start, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnStep {
    /// Pipes, timers and memory of the shim.
    Prepare,
    /// Making the new process.
    Fork,
    /// Its own process group.
    ProcessGroup,
    /// Becoming the configured user.
    Credentials,
    /// Arranging to die with the shim.
    DeathSignal,
    /// Changing to the working directory.
    WorkingDirectory,
    /// Standard input, output and error.
    Streams,
    /// Becoming the program.
    Exec,
}

/// Why the shim ended the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LadderCause {
    /// It ran for longer than it may.
    MaxRuntime,
    /// The shim was told to (SIGTERM).
    Cancel,
    /// The child had ended and left descendants behind.
    Leftovers,
    /// The whole tree did nothing for as long as it may.
    Stalled,
}

/// The steps taken to end the tree. A step is listed only if it reached a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    /// Why; the first cause if several came together.
    pub cause: LadderCause,
    /// SIGTERM and, if that was not enough, SIGKILL.
    pub steps: Vec<LadderStep>,
    /// Processes that outlived SIGKILL for so long that they were reported as unkillable. All had
    /// gone when the outcome was written.
    pub survivors: Vec<ProcessIdentity>,
}

/// One step of a ladder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LadderStep {
    /// Number of the signal.
    pub signal: i32,
    /// When it was first sent, in microseconds after the start of the attempt.
    pub after_us: u64,
    /// How many processes it was sent to, over all repetitions.
    pub processes: u32,
}

/// A process that outlives SIGKILL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// Who.
    #[serde(flatten)]
    pub identity: ProcessIdentity,
    /// What the kernel says it does, as in `/proc/PID/stat`; `?` if that can't be read.
    #[serde(default = "unread")]
    pub state: char,
}

fn unread() -> char {
    '?'
}

/// `unkillable`: something of the tree outlives SIGKILL (it waits uninterruptibly, or is of another
/// user). The shim stays and waits for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unkillable {
    /// Version of the record.
    #[serde(default = "current")]
    pub protocol: ProtocolVersion,
    /// The task.
    pub task_id: TaskId,
    /// Which attempt of it, from 1.
    pub attempt: NonZeroU32,
    /// The shim.
    pub shim: ProcessIdentity,
    /// The processes, at most 32 of them.
    pub survivors: Vec<Survivor>,
    /// How many there are.
    #[serde(default)]
    pub processes: u32,
    /// What was sent so far.
    #[serde(default)]
    pub steps: Vec<LadderStep>,
}

fn current() -> ProtocolVersion {
    PROTOCOL_VERSION
}

/// What the child used, from `wait4`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user mode, microseconds.
    pub user_us: u64,
    /// CPU time in the kernel, microseconds.
    pub sys_us: u64,
    /// Largest resident size, KiB.
    pub max_rss_kib: u64,
}

/// What became of one output stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// Bytes kept in the file. Without any, there is no file.
    pub bytes: u64,
    /// Bytes that were written by the processes.
    pub total_bytes: u64,
    /// BLAKE3 of the bytes kept, 64 hexadecimal digits.
    pub blake3: String,
    /// The last of what was kept: at most 4096 bytes of UTF-8, invalid bytes replaced.
    pub tail: String,
    /// Whether the limit cut the stream.
    pub truncated: bool,
    /// Why keeping stopped before the limit (a full disk, say).
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn task_ids_are_safe_names() {
        let longest = "a".repeat(128);
        for good in ["a", "0", "A.b_c-d", "a..", "x-", longest.as_str()] {
            assert_eq!(TaskId::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(129);
        for bad in [
            "", ".", "..", ".a", "-a", "_a", "a/b", "../a", "/a", "a\0", "a b", "ä", &long,
        ] {
            assert!(
                matches!(TaskId::new(bad), Err(AttemptError::InvalidTaskId(_))),
                "{bad:?}"
            );
            let quoted = serde_json::to_string(bad).unwrap();
            assert!(serde_json::from_str::<TaskId>(&quoted).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn claims_are_flat_and_tolerate_new_members() {
        let by = ProcessIdentity {
            pid: 5,
            start_time: 6,
            boot_id: "b".into(),
        };
        let claim = Claim {
            protocol: PROTOCOL_VERSION,
            kind: Claimant::Node,
            by,
            cgroup: None,
        };
        let text = r#"{"protocol":1,"kind":"node","pid":5,"start_time":6,"boot_id":"b"}"#;
        assert_eq!(serde_json::to_string(&claim).unwrap(), text);
        let newer = text.replace('{', r#"{"added":[1],"#);
        assert_eq!(serde_json::from_str::<Claim>(&newer).unwrap(), claim);
    }

    #[test]
    fn results_carry_their_data() {
        let text = serde_json::to_string(&ExitResult::Signaled {
            signal: 9,
            core: false,
        })
        .unwrap();
        assert_eq!(text, r#"{"signaled":{"signal":9,"core":false}}"#);
    }
}
