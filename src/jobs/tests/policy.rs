//! Definitions, overlap, what was missed, pauses.

use std::collections::BTreeMap;

use ledger_core::envelope::Header;
use ledger_core::event::*;
use ledger_core::ids::{EventId, Id, Seq, Term, Uuid};
use ledger_core::time::{Millis, Timestamp};
use projections::framework::Projection;
use projections::jobs::{JobState, Jobs};

use super::super::decide::{self, Refusal, Step};
use super::super::{Times, Timetable};
use crate::decided::Decided;

pub(super) fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

pub(super) fn s(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1_000_000)
}

pub(super) fn spec(every: u64, overlap: Overlap, missed: Missed) -> JobSpec {
    JobSpec {
        schedule: Schedule::Every {
            every_ms: Millis(every * 1000),
        },
        overlap,
        missed,
        task: TaskSubmitted {
            priority: Priority::Standard,
            payload: Payload::Builtin(Builtin {
                job: BuiltinJob::HealthCheck,
            }),
            max_runtime_ms: Millis(1000),
            grace_ms: Millis(1000),
            terms: None,
        },
        source: "ledger.toml".into(),
    }
}

/// The jobs, and what has been recorded of them.
#[derive(Default)]
pub(super) struct Book {
    pub(super) jobs: Jobs,
    pub(super) seq: u64,
}

impl Book {
    pub(super) fn record(&mut self, decided: impl IntoIterator<Item = Decided>) -> usize {
        let mut count = 0;
        for decided in decided {
            self.seq += 1;
            count += 1;
            let (kind, _) = decided.event.kind_and_data().unwrap();
            let header = Header {
                seq: Seq(self.seq),
                term: Term(1),
                recorded_at: Timestamp(self.seq),
                event_id: EventId(Uuid::nil()),
                kind,
                version: 1,
                subject: &decided.subject,
                actor: "node/n",
                claimed_actor: None,
                cause: None,
                correlation: None,
                traceparent: None,
                idempotency_key: None,
            };
            self.jobs.apply(&header, &decided.event).unwrap();
        }
        count
    }

    pub(super) fn define(&mut self, spec: &JobSpec, now: Timestamp) -> usize {
        let wanted = BTreeMap::from([(id("j"), spec.clone())]);
        let decided = decide::define(&self.jobs, &wanted, Times::same(now)).unwrap();
        self.record(decided)
    }

    /// What is due, recorded; returns the steps.
    pub(super) fn due(&mut self, now: Timestamp, watched_since: Timestamp) -> Vec<Step> {
        let job = self.jobs.get("j").unwrap();
        let Some(spec) = job.spec() else {
            return Vec::new();
        };
        let timetable = Timetable::new(&spec.schedule).unwrap();
        let steps = decide::due(job, &timetable, now, watched_since);
        for step in &steps {
            let event = match step {
                Step::Skip(skipped) => JobEvent::Skipped(skipped.clone()),
                Step::Run { due_at, .. } => JobEvent::Due(JobDue {
                    due_at: *due_at,
                    task: decide::due_task(&id("j"), *due_at, 0),
                }),
            };
            self.record([Decided::new(job_subject(&id("j")), event)]);
        }
        steps
    }

    fn end(&mut self, task: &str) {
        let cancelled = TaskEvent::Cancelled(TaskCancelled {
            attempt: None,
            reason: None,
            runtime_us: None,
            outputs: None,
        });
        let subject = ledger_core::ids::task_subject(&id(task));
        self.record([Decided::new(subject, cancelled)]);
    }
}

fn run(seconds: u64) -> Step {
    Step::Run {
        due_at: s(seconds),
        cancel: Vec::new(),
    }
}

fn skip(from: u64, through: Option<u64>, reason: SkipReason) -> Step {
    Step::Skip(JobSkipped {
        due_at: s(from),
        reason,
        through: through.map(s),
    })
}

#[test]
fn definitions_follow_what_is_wanted_and_only_that() {
    let mut book = Book::default();
    let first = spec(10, Overlap::Skip, Missed::RunOnce);
    assert_eq!(book.define(&first, s(100)), 1);
    assert_eq!(book.define(&first, s(101)), 0, "nothing has changed");
    assert_eq!(book.jobs.get("j").unwrap().decided, s(100));
    let other_task = JobSpec {
        overlap: Overlap::Queue,
        ..first.clone()
    };
    assert_eq!(book.define(&other_task, s(105)), 1);
    assert_eq!(book.jobs.get("j").unwrap().decided, s(100), "as before");
    let other_schedule = spec(20, Overlap::Queue, Missed::RunOnce);
    assert_eq!(book.define(&other_schedule, s(107)), 1);
    assert_eq!(book.jobs.get("j").unwrap().decided, s(107));
    let gone = decide::define(&book.jobs, &BTreeMap::new(), Times::same(s(108))).unwrap();
    assert_eq!(book.record(gone), 1);
    assert_eq!(book.jobs.get("j").unwrap().state(), JobState::Removed);
    assert!(book.due(s(1000), s(0)).is_empty());
}

#[test]
fn what_makes_no_sense_is_refused_whole() {
    let mut wanted = BTreeMap::from([(id("a"), spec(10, Overlap::Skip, Missed::RunOnce))]);
    let all = Missed::RunAll { at_most: 3 };
    for wrong in [
        spec(0, Overlap::Skip, Missed::Skip),
        spec(10, Overlap::Skip, all),
        spec(10, Overlap::CancelRunning, all),
        spec(10, Overlap::Queue, Missed::RunAll { at_most: 0 }),
        spec(10, Overlap::Queue, Missed::RunAll { at_most: 1001 }),
    ] {
        wanted.insert(id("b"), wrong);
        let refused = decide::define(&Jobs::default(), &wanted, Times::same(s(1)));
        assert!(
            matches!(refused, Err(Refusal::Invalid { .. })),
            "{refused:?}"
        );
    }
    let long = id(&"n".repeat(65));
    let good = spec(10, Overlap::Skip, Missed::RunOnce);
    assert!(decide::check(&long, &good).is_err());
    let task = decide::manual_task(&id(&"n".repeat(64)), s(1), u32::MAX - 1);
    assert!(task.len() < 128);
}

#[test]
fn the_first_run_is_one_period_after_the_definition() {
    let mut book = Book::default();
    book.define(
        &spec(10, Overlap::Skip, Missed::RunOnce),
        Timestamp(99_000_001),
    );
    assert!(book.due(s(109), s(0)).is_empty());
    assert_eq!(book.due(s(110), s(0)), [run(110)]);
    assert!(book.due(s(110), s(0)).is_empty(), "decided once");
}

#[test]
fn overlap_leaves_out_submits_or_cancels() {
    for (overlap, second) in [
        (Overlap::Skip, skip(120, None, SkipReason::Overlap)),
        (Overlap::Queue, run(120)),
        (
            Overlap::CancelRunning,
            Step::Run {
                due_at: s(120),
                cancel: vec![id("j-19700101T000150Z")],
            },
        ),
    ] {
        let mut book = Book::default();
        book.define(&spec(10, overlap, Missed::RunOnce), s(100));
        assert_eq!(book.due(s(110), s(0)), [run(110)]);
        assert_eq!(book.due(s(120), s(0)), std::slice::from_ref(&second));
        book.end("j-19700101T000150Z");
        let mut book = Book::default();
        book.define(&spec(10, overlap, Missed::RunOnce), s(100));
        book.due(s(110), s(0));
        book.end("j-19700101T000150Z");
        assert_eq!(book.due(s(120), s(0)), [run(120)], "nothing goes on");
    }
}

#[test]
fn what_was_missed_is_run_once_left_out_or_run_all() {
    // Due at 110, 120 … 150; somebody watches since 145, or since 155.
    let all = |at_most| Missed::RunAll { at_most };
    let older = |through| skip(110, Some(through), SkipReason::Missed);
    for (missed, on_time, late) in [
        (
            Missed::RunOnce,
            vec![older(140), run(150)],
            vec![older(140), run(150)],
        ),
        (Missed::Skip, vec![older(140), run(150)], vec![older(150)]),
        (
            all(3),
            vec![older(120), run(130), run(140), run(150)],
            vec![older(120), run(130), run(140), run(150)],
        ),
        (
            all(9),
            (11..=15).map(|n| run(n * 10)).collect(),
            (11..=15).map(|n| run(n * 10)).collect(),
        ),
    ] {
        for (watched, expected) in [(145, on_time), (155, late)] {
            let mut book = Book::default();
            book.define(&spec(10, Overlap::Queue, missed), s(100));
            assert_eq!(
                book.due(s(156), s(watched)),
                expected,
                "{missed:?} {watched}"
            );
            assert_eq!(book.jobs.get("j").unwrap().decided, s(150));
        }
    }
}

#[test]
fn a_pause_leaves_out_what_is_due_until_it_ends() {
    let mut book = Book::default();
    book.define(&spec(10, Overlap::Skip, Missed::RunOnce), s(100));
    let unknown = decide::pause(&book.jobs, &id("x"), None);
    assert_eq!(unknown, Err(Refusal::Unknown(id("x"))));
    assert!(
        decide::resume(&book.jobs, &id("j"), Times::same(s(100)))
            .unwrap()
            .is_empty()
    );
    let paused = decide::pause(&book.jobs, &id("j"), Some("why".into())).unwrap();
    assert_eq!(book.record(paused), 1);
    assert_eq!(decide::pause(&book.jobs, &id("j"), None), Ok(None), "twice");
    assert!(book.due(s(130), s(0)).is_empty());
    let resumed = decide::resume(&book.jobs, &id("j"), Times::same(s(135))).unwrap();
    let skipped = JobEvent::Skipped(JobSkipped {
        due_at: s(110),
        reason: SkipReason::Paused,
        through: Some(s(130)),
    });
    assert_eq!(resumed[0].event, skipped.into());
    assert_eq!(book.record(resumed), 2);
    assert!(book.due(s(144), s(0)).is_empty());
    assert_eq!(
        book.due(s(145), s(0)),
        [run(145)],
        "counted from the resumption"
    );
}
