//! What of an event matters to lives, read while its block is checked, on any thread.
//!
//! Most events matter to none, and of the others little: who, which attempt. So the payloads are not
//! decoded into their types, with all that tasks have written last, but only as far as that.

use std::borrow::Cow;

use ledger_core::envelope::{EventRef, Header};
use ledger_core::event::{APP_PREFIX, DeadReason};
use ledger_core::hash::Hash;
use ledger_core::ids::{Seq, Term};
use ledger_core::store::Block;
use ledger_core::verify::Examine;
use serde::Deserialize;

/// What happened, as far as lives go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fact {
    /// The events from this one to `last` are of one term.
    Span {
        last: Seq,
        /// Whether the first of them is an acquisition.
        acquires: bool,
    },
    /// From here on the history goes on in a directory that was made from a copy of it.
    Founded,
    LeaseAcquired,
    LeaseReleased,
    LeaseLost {
        term: Term,
    },
    NodeStarted,
    NodeRecovered {
        go_on: u64,
        ended: u64,
    },
    NodeStopped {
        running: u64,
        queued: u64,
    },
    TaskSubmitted,
    TaskStarted {
        attempt: u32,
    },
    /// The attempt has ended well, and the task with it.
    TaskCompleted {
        attempt: u32,
    },
    /// The attempt has ended badly; what becomes of the task follows.
    TaskBroken {
        attempt: u32,
    },
    TaskRequeued {
        attempt: u32,
    },
    TaskCancelRequested {
        attempt: u32,
    },
    TaskCancelled {
        attempt: Option<u32>,
    },
    /// Dead after its last attempt, or while it waited for one.
    TaskDead {
        waited: bool,
    },
    TaskRetried {
        attempt: u32,
    },
    ProcessRegistered {
        task: Box<str>,
        attempt: u32,
    },
    ProcessEnded,
    /// It outlives SIGKILL, and is open until it ends all the same.
    ProcessUnkillable,
    /// One that somebody else started is watched.
    ProcessWatched,
    /// Something happens to it that does not end its watch.
    ProcessGoesOn,
    /// It has ended, or is not watched any more.
    ProcessLetGo,
    JobDefined,
    JobChanged,
    JobRemoved,
    JobDue {
        task: Box<str>,
    },
    JobPaused,
    JobResumed,
    CheckpointCreated {
        of: Seq,
        hash: Hash,
    },
    CheckpointPruned,
    /// The payload is not what its kind says, or of a version that is not known here.
    Unreadable {
        kind: Box<str>,
        reason: Box<str>,
    },
}

/// A fact in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) seq: Seq,
    pub(super) term: Term,
    /// The id part of the event's subject.
    pub(super) subject: Box<str>,
    pub(super) fact: Fact,
}

/// Reads steps out of blocks that are being verified.
#[derive(Debug, Clone, Copy)]
pub struct LivesExaminer {
    head: Seq,
}

impl LivesExaminer {
    pub(super) fn new(head: Seq) -> Self {
        Self { head }
    }
}

/// The steps in a block.
#[derive(Debug, Default)]
pub struct LivesNotes {
    steps: Vec<Step>,
    /// Where the last span stands in `steps`.
    span: usize,
}

impl LivesNotes {
    pub(super) fn into_steps(self) -> Vec<Step> {
        self.steps
    }

    /// Counts an event into the span of its term.
    fn count(&mut self, header: &Header<'_>) {
        if let Some(Step { term, fact, .. }) = self.steps.get_mut(self.span)
            && *term == header.term
            && let Fact::Span { last, .. } = fact
        {
            *last = header.seq;
            return;
        }
        self.span = self.steps.len();
        self.steps.push(Step {
            seq: header.seq,
            term: header.term,
            subject: Box::default(),
            fact: Fact::Span {
                last: header.seq,
                acquires: header.kind == "lease.acquired",
            },
        });
    }
}

impl Examine for LivesExaminer {
    type Notes = LivesNotes;

    fn event(&self, event: &EventRef<'_>, notes: &mut LivesNotes) {
        let header = &event.header;
        if header.seq > self.head {
            return;
        }
        notes.count(header);
        if let Some(fact) = read(event) {
            notes.steps.push(Step {
                seq: header.seq,
                term: header.term,
                subject: header.subject_id().into(),
                fact,
            });
        }
    }

    fn block(&self, _: &Block, _: &mut LivesNotes) {}
}

/// Kinds that touch no life.
#[cfg(test)]
const NO_LIFE: [&str; 21] = [
    "node.clock_stepped",
    "node.clock_settled",
    "ledger.created",
    "ledger.resumed",
    "ledger.backed_up",
    "ledger.backup_failed",
    "ledger.backups_pruned",
    "ledger.exported",
    "job.skipped",
    "checkpoint.rejected",
    "checkpoint.failed",
    "recovery.verified",
    "recovery.diverged",
    "task.reprioritized",
    "task.throttled",
    "queue.paused",
    "queue.resumed",
    "snapshot.created",
    "snapshot.failed",
    "snapshot.pruned",
    "snapshot.restored",
];

#[derive(Deserialize)]
struct OfAttempt {
    attempt: u32,
}

#[derive(Deserialize)]
struct OfAttemptIfAny {
    #[serde(default)]
    attempt: Option<u32>,
}

#[derive(Deserialize)]
struct Dead {
    #[serde(default)]
    reason: Option<DeadReason>,
}

#[derive(Deserialize)]
struct OfTerm {
    term: Term,
}

#[derive(Deserialize)]
struct Recovered {
    reattached: u32,
    closed: u32,
    lost: u32,
    unstarted: u32,
}

#[derive(Deserialize)]
struct Stopped {
    running: u32,
    queued: u32,
}

#[derive(Deserialize)]
struct OfTask<'a> {
    #[serde(borrow)]
    task: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Registered<'a> {
    #[serde(borrow)]
    task: Cow<'a, str>,
    attempt: u32,
}

#[derive(Deserialize)]
struct Created {
    seq: Seq,
    hash: Hash,
}

/// Reads an event; `None` if it touches no life.
fn read(event: &EventRef<'_>) -> Option<Fact> {
    let kind = event.header.kind;
    if kind.starts_with(APP_PREFIX) {
        return None;
    }
    let read = match kind {
        "ledger.restored" | "ledger.imported" | "ledger.salvaged" | "ledger.forked" => {
            Ok(Fact::Founded)
        }
        "lease.acquired" => Ok(Fact::LeaseAcquired),
        "lease.released" => Ok(Fact::LeaseReleased),
        "lease.lost" | "lease.fenced" => of(event, |OfTerm { term }| Fact::LeaseLost { term }),
        "node.started" => Ok(Fact::NodeStarted),
        // `node.recovered` is what was written before.
        "node.recovered" | "recovery.completed" => {
            of(event, |said: Recovered| Fact::NodeRecovered {
                go_on: u64::from(said.reattached) + u64::from(said.unstarted),
                ended: u64::from(said.closed) + u64::from(said.lost),
            })
        }
        "node.stopped" => of(event, |said: Stopped| Fact::NodeStopped {
            running: said.running.into(),
            queued: said.queued.into(),
        }),
        "task.submitted" => Ok(Fact::TaskSubmitted),
        "task.started" => of(event, |OfAttempt { attempt }| Fact::TaskStarted { attempt }),
        "task.completed" => of(event, |OfAttempt { attempt }| Fact::TaskCompleted {
            attempt,
        }),
        "task.failed" | "task.timed_out" | "task.lost" => {
            of(event, |OfAttempt { attempt }| Fact::TaskBroken { attempt })
        }
        "task.requeued" => of(event, |OfAttempt { attempt }| Fact::TaskRequeued {
            attempt,
        }),
        "task.cancel_requested" => of(event, |OfAttempt { attempt }| Fact::TaskCancelRequested {
            attempt,
        }),
        "task.cancelled" => of(event, |OfAttemptIfAny { attempt }| Fact::TaskCancelled {
            attempt,
        }),
        "task.dead" => of(event, |Dead { reason }| Fact::TaskDead {
            waited: matches!(reason, Some(DeadReason::Dependency | DeadReason::Expired)),
        }),
        "task.retried" => of(event, |OfAttempt { attempt }| Fact::TaskRetried { attempt }),
        "process.registered" => of(event, |said: Registered<'_>| Fact::ProcessRegistered {
            task: said.task.into(),
            attempt: said.attempt,
        }),
        "process.exited" | "process.reaped" | "process.lost" => Ok(Fact::ProcessEnded),
        "process.unkillable" => Ok(Fact::ProcessUnkillable),
        "process.watched" => Ok(Fact::ProcessWatched),
        "process.reaping" | "process.survived" => Ok(Fact::ProcessGoesOn),
        "process.terminated" | "process.ended" | "process.unwatched" => Ok(Fact::ProcessLetGo),
        "job.defined" => Ok(Fact::JobDefined),
        "job.changed" => Ok(Fact::JobChanged),
        "job.removed" => Ok(Fact::JobRemoved),
        "job.due" | "job.triggered" => of(event, |said: OfTask<'_>| Fact::JobDue {
            task: said.task.into(),
        }),
        "job.paused" => Ok(Fact::JobPaused),
        "job.resumed" => Ok(Fact::JobResumed),
        "checkpoint.created" => of(event, |said: Created| Fact::CheckpointCreated {
            of: said.seq,
            hash: said.hash,
        }),
        "checkpoint.pruned" => Ok(Fact::CheckpointPruned),
        _ => return None,
    };
    let read = match event.header.version {
        1 => read,
        other => Err(format!("version {other} of {kind} is not known here")),
    };
    Some(read.unwrap_or_else(|reason| Fact::Unreadable {
        kind: kind.into(),
        reason: reason.into(),
    }))
}

fn of<'a, T: Deserialize<'a>>(
    event: &EventRef<'a>,
    fact: impl FnOnce(T) -> Fact,
) -> Result<Fact, String> {
    serde_json::from_str(event.data).map(fact).map_err(|error| {
        format!(
            "the payload of {} does not decode: {error}",
            event.header.kind
        )
    })
}

#[cfg(test)]
mod tests {
    use ledger_core::event::{Event, TaskEvent};

    use super::*;
    use crate::testkit::History;

    #[test]
    fn every_kind_is_read_or_known_to_touch_no_life() {
        let event = |kind, data| EventRef {
            header: Header {
                kind,
                version: 1,
                ..header()
            },
            data,
        };
        for kind in Event::known_kinds() {
            let known = !NO_LIFE.contains(&kind);
            assert_eq!(read(&event(kind, "[]")).is_some(), known, "{kind}");
        }
        assert_eq!(read(&event("app.task.started", "{}")), None);
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let history = History::seeded(5, 300);
        for block in history.blocks() {
            for event in block.events() {
                let event = event.unwrap();
                let fact = read(&event);
                assert!(!matches!(fact, Some(Fact::Unreadable { .. })), "{fact:?}");
                let attempt = match Event::decode(&event).unwrap() {
                    Event::Task(TaskEvent::Throttled(_)) => None,
                    Event::Task(task) => attempt_of(&task),
                    _ => None,
                };
                let read = match fact {
                    Some(
                        Fact::TaskStarted { attempt }
                        | Fact::TaskCompleted { attempt }
                        | Fact::TaskBroken { attempt }
                        | Fact::TaskRequeued { attempt }
                        | Fact::TaskRetried { attempt }
                        | Fact::TaskCancelRequested { attempt },
                    ) => Some(attempt),
                    Some(Fact::TaskCancelled { attempt }) => attempt,
                    _ => None,
                };
                assert_eq!(read, attempt);
            }
        }
    }

    fn attempt_of(task: &TaskEvent) -> Option<u32> {
        let data: serde_json::Value = serde_json::from_str(&task.to_json()).unwrap();
        data["attempt"].as_u64().map(|n| n.try_into().unwrap())
    }

    #[test]
    fn what_does_not_decode_or_is_of_another_version_is_said_to_be() {
        let mut event = EventRef {
            header: Header {
                kind: "task.started",
                ..header()
            },
            data: r#"{"attempt":"one"}"#,
        };
        assert!(matches!(read(&event), Some(Fact::Unreadable { .. })));
        event.data = r#"{"attempt":1}"#;
        assert_eq!(read(&event), Some(Fact::TaskStarted { attempt: 1 }));
        event.header.version = 2;
        assert!(matches!(read(&event), Some(Fact::Unreadable { .. })));
    }

    fn header() -> Header<'static> {
        Header {
            seq: Seq(1),
            term: Term(1),
            recorded_at: ledger_core::time::Timestamp(1),
            event_id: ledger_core::ids::EventId(ledger_core::ids::Uuid::nil()),
            kind: "",
            version: 1,
            subject: "task/t",
            actor: "uid/1",
            claimed_actor: None,
            cause: None,
            correlation: None,
            traceparent: None,
            idempotency_key: None,
        }
    }
}
