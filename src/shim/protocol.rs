//! What node, spawner and shim say to each other: requests one way, reports the other.
//!
//! A request is JSON in a frame on a stream socket (`frame.rs`). A report
//! is one message of a sequenced-packet socket which all shims share, so each is whole or absent.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::ReportError;
use super::identity::ProcessIdentity;
use super::records::{
    Claim, Outcome, PROTOCOL_VERSION, ProtocolVersion, Started, TaskId, Unkillable,
};

/// Largest request, encoded.
pub const MAX_REQUEST_BYTES: usize = 256 * 1024;

/// Largest report, encoded; a buffer of this size reads any.
pub const MAX_REPORT_BYTES: usize = 16 * 1024;

/// Start one attempt. Its directory must exist ([`super::AttemptDir::create`]).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnRequest {
    /// [`PROTOCOL_VERSION`].
    pub protocol: ProtocolVersion,
    /// The task.
    pub task_id: TaskId,
    /// Which attempt of it, from 1.
    pub attempt: NonZeroU32,
    /// Program and arguments. A program without `/` is looked up in the `PATH` of `env`
    /// (`/usr/bin:/bin` without one); relative paths count from `cwd`.
    pub argv: Vec<String>,
    /// The whole environment of the child: nothing is added, nothing inherited.
    pub env: BTreeMap<String, String>,
    /// Absolute working directory.
    pub cwd: PathBuf,
    /// What the child reads from standard input; `/dev/null` without.
    pub stdin: Option<String>,
    /// The user to run as; the shim's own without. Needs a privileged shim.
    pub run_as: Option<RunAs>,
    /// How long the attempt may run, milliseconds, at least 1.
    pub max_runtime_ms: u64,
    /// Time between SIGTERM and SIGKILL, milliseconds.
    pub grace_ms: u64,
    /// How many bytes of each output stream are kept.
    pub output_limit: u64,
    /// How long the whole tree may use no CPU time and write nothing, milliseconds, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall_after_ms: Option<u64>,
    /// How many processes the tree may have at once, at least 1; kept where there's a cgroup for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_processes: Option<u32>,
    /// How long the child runs before its start is written down and reported, milliseconds. One that
    /// ends earlier is reported by its end alone, which says all that its start would have said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub announce_after_ms: u64,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Environment and input may hold secrets: they're counted, never shown.
impl std::fmt::Debug for SpawnRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SpawnRequest")
            .field("task_id", &self.task_id)
            .field("attempt", &self.attempt)
            .field("program", &self.argv.first())
            .field("env", &self.env.len())
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// A user to run as.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups; all others are dropped.
    pub groups: Vec<u32>,
}

impl SpawnRequest {
    /// Output kept of each stream unless something else is asked for: 64 MiB.
    pub const DEFAULT_OUTPUT_LIMIT: u64 = 64 << 20;

    /// What in the request can't be done, if anything: the shim refuses it with these words.
    pub fn defect(&self) -> Option<&'static str> {
        let has_nul = |text: &str| text.as_bytes().contains(&0);
        let bad_name = |name: &String| name.is_empty() || name.contains('=') || has_nul(name);
        let program = self.argv.first().map_or("", String::as_str);
        let path_has_nul = |path: &Path| path.as_os_str().as_encoded_bytes().contains(&0);
        if self.protocol != PROTOCOL_VERSION {
            Some("unknown protocol version")
        } else if program.is_empty() {
            Some("argv names no program")
        } else if self.argv.iter().any(|argument| has_nul(argument)) {
            Some("argv holds a NUL byte")
        } else if self.env.keys().any(bad_name) {
            Some("env has a name that is empty or holds '=' or a NUL byte")
        } else if self.env.values().any(|value| has_nul(value)) {
            Some("env has a value that holds a NUL byte")
        } else if !self.cwd.is_absolute() || path_has_nul(&self.cwd) {
            Some("cwd is not an absolute path")
        } else if self.max_runtime_ms == 0 {
            Some("max_runtime_ms is 0")
        } else if self.stall_after_ms == Some(0) {
            Some("stall_after_ms is 0")
        } else if self.max_processes == Some(0) {
            Some("max_processes is 0")
        } else {
            None
        }
    }
}

/// Only what a refusal needs to know of a request which could not be read as a whole.
#[derive(Deserialize)]
pub(super) struct RequestProbe {
    pub(super) protocol: Option<ProtocolVersion>,
    pub(super) task_id: Option<TaskId>,
    pub(super) attempt: Option<NonZeroU32>,
}

/// What a shim (or the spawner) tells the node. A hint to look at the attempt's directory: reports
/// can be lost, and then a sweep of the directory finds the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The child runs, and has for [`SpawnRequest::announce_after_ms`].
    Started(Started),
    /// The attempt has an outcome, which is on its way to the disk (`unsaved.rs`). Also sent when the
    /// child could not be started.
    Ended {
        /// The task.
        task_id: TaskId,
        /// Which attempt of it.
        attempt: NonZeroU32,
        /// The shim, about to exit or to serve another attempt.
        shim: ProcessIdentity,
        /// The outcome as it is in the file, if it fits into a message.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<Box<Outcome>>,
    },
    /// Somebody else had the claim; nothing was started.
    ClaimedElsewhere {
        /// The task.
        task_id: TaskId,
        /// Which attempt of it.
        attempt: NonZeroU32,
        /// Who has it; `None` if the claim can't be read.
        claim: Option<Claim>,
    },
    /// Nothing was started, and the claim wasn't taken.
    Refused {
        /// The task, as far as the request could be understood.
        task_id: Option<TaskId>,
        /// Which attempt of it.
        attempt: Option<NonZeroU32>,
        /// What kind of refusal.
        refusal: Refusal,
        /// The same for people, with details.
        message: String,
    },
    /// Processes of the attempt have outlived SIGKILL (uninterruptible, or of another user). The
    /// shim stays and waits for them; [`Report::Ended`] follows if they ever end.
    Unkillable(Unkillable),
}

/// Why nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The request has a version that this binary doesn't know.
    UnknownVersion,
    /// The request isn't JSON, or not of the right shape, or asks for something impossible.
    Malformed,
    /// The attempt's directory isn't there or can't be used.
    Directory,
    /// The machine had no process or descriptor left.
    Resources,
}

#[derive(Serialize)]
struct EnvelopeRef<'a> {
    protocol: ProtocolVersion,
    report: &'a Report,
}

#[derive(Deserialize)]
struct Envelope {
    report: Report,
}

#[derive(Deserialize)]
pub(super) struct VersionProbe {
    pub(super) protocol: ProtocolVersion,
}

impl Report {
    /// The message that carries this report.
    pub(super) fn encode(&self) -> Vec<u8> {
        let envelope = EnvelopeRef {
            protocol: PROTOCOL_VERSION,
            report: self,
        };
        serde_json::to_vec(&envelope).unwrap_or_default()
    }

    /// Reads one message.
    ///
    /// # Errors
    /// When it isn't a report, or one of an unknown version.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        let probe: VersionProbe = serde_json::from_slice(bytes)?;
        if probe.protocol != PROTOCOL_VERSION {
            return Err(ReportError::UnknownVersion(probe.protocol));
        }
        Ok(serde_json::from_slice::<Envelope>(bytes)?.report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn request() -> SpawnRequest {
        SpawnRequest {
            protocol: PROTOCOL_VERSION,
            task_id: TaskId::new("t").unwrap(),
            attempt: NonZeroU32::MIN,
            argv: vec!["true".into()],
            env: BTreeMap::new(),
            cwd: "/".into(),
            stdin: None,
            run_as: None,
            max_runtime_ms: 1000,
            grace_ms: 100,
            output_limit: 10,
            stall_after_ms: None,
            max_processes: None,
            announce_after_ms: 0,
        }
    }

    #[test]
    fn impossible_requests_have_a_defect() {
        assert_eq!(request().defect(), None);
        let breaks: [fn(&mut SpawnRequest); 11] = [
            |r| r.protocol = ProtocolVersion(2),
            |r| r.argv.clear(),
            |r| r.argv = vec![String::new()],
            |r| r.argv.push("a\0b".into()),
            |r| drop(r.env.insert(String::new(), "v".into())),
            |r| drop(r.env.insert("a=b".into(), "v".into())),
            |r| drop(r.env.insert("a".into(), "\0".into())),
            |r| r.cwd = "relative".into(),
            |r| r.max_runtime_ms = 0,
            |r| r.stall_after_ms = Some(0),
            |r| r.max_processes = Some(0),
        ];
        for (index, damage) in breaks.into_iter().enumerate() {
            let mut broken = request();
            damage(&mut broken);
            assert!(broken.defect().is_some(), "defect {index} was not seen");
        }
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let mut secret = request();
        secret.env.insert("TOKEN".into(), "hunter2".into());
        secret.stdin = Some("hunter2".into());
        secret.argv.push("hunter2".into());
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[test]
    fn reports_round_trip_and_unknown_versions_are_refused() {
        let report = Report::Refused {
            task_id: None,
            attempt: None,
            refusal: Refusal::Malformed,
            message: "m".into(),
        };
        let bytes = report.encode();
        assert_eq!(Report::parse(&bytes).unwrap(), report);
        let newer = String::from_utf8(bytes)
            .unwrap()
            .replace("\"protocol\":1", "\"protocol\":2");
        let error = Report::parse(newer.as_bytes()).unwrap_err();
        assert!(matches!(
            error,
            ReportError::UnknownVersion(ProtocolVersion(2))
        ));
        for junk in [
            &b""[..],
            b"{}",
            b"null",
            b"\xff",
            br#"{"protocol":1,"report":"x"}"#,
        ] {
            assert!(matches!(
                Report::parse(junk),
                Err(ReportError::Malformed(_))
            ));
        }
    }
}
