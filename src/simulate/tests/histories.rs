//! Histories that are made here: what is read of them is what was put in.

use ledger_core::envelope::Header;
use ledger_core::event::{
    Attempt, DeadReason, Event, Exec, Failure, Outputs, Payload, Priority, StreamDigest,
    TaskCancelled, TaskCompleted, TaskDead, TaskEvent, TaskFailed, TaskLost, TaskReprioritized,
    TaskStarted, TaskSubmitted, TaskTimedOut, Terms,
};
use ledger_core::hash::Hash;
use ledger_core::ids::{EventId, Id, Seq, Term, Uuid};
use ledger_core::time::{Micros, Millis, Timestamp};

use super::super::engine::run;
use super::super::history::{History, Left, Wanted};
use super::super::mix::Unended;
use super::super::outcome::{Ending, HeldBy};
use super::super::summary::Summary;
use super::super::work::{Course, Discipline, Manner, Reaper};
use super::{settings, starts};

#[derive(Default)]
struct Told {
    history: History,
    seq: u64,
}

impl Told {
    fn tell(&mut self, at_ms: u64, task: &str, event: TaskEvent, wanted: Wanted) {
        self.seq += 1;
        let event = Event::Task(event);
        let subject = format!("task/{task}");
        let header = Header {
            seq: Seq(self.seq),
            term: Term(1),
            recorded_at: Timestamp(at_ms * 1000),
            event_id: EventId(Uuid::nil()),
            kind: "task.any",
            version: 1,
            subject: &subject,
            actor: "node/n",
            claimed_actor: None,
            cause: None,
            correlation: None,
            traceparent: None,
            idempotency_key: None,
        };
        self.history.read(&header, &event, wanted);
    }

    fn submit(&mut self, at_ms: u64, task: &str, terms: Option<Terms>) {
        let submitted = TaskSubmitted {
            priority: Priority::Standard,
            payload: Payload::Exec(Exec {
                argv: vec!["true".into()],
                env: std::collections::BTreeMap::new(),
                cwd: None,
                stdin: None,
            }),
            max_runtime_ms: Millis(1000),
            grace_ms: Millis(0),
            terms: terms.map(Box::new),
        };
        self.tell(at_ms, task, TaskEvent::Submitted(submitted), Wanted::Yes);
    }

    fn start(&mut self, at_ms: u64, task: &str, waited_ms: u64) {
        let started = TaskStarted {
            attempt: Attempt::FIRST,
            queue: Priority::Standard,
            node: Id::new("n").unwrap(),
            waited_us: Micros(waited_ms * 1000),
            boost: 0,
            rate: None,
        };
        self.tell(at_ms, task, TaskEvent::Started(started), Wanted::No);
    }

    fn end(&mut self, at_ms: u64, task: &str, event: TaskEvent) {
        self.tell(at_ms, task, event, Wanted::No);
    }
}

fn outputs() -> Outputs {
    let nothing = StreamDigest {
        bytes: 0,
        blake3: Hash::ZERO,
        tail: String::new(),
        dropped_bytes: 0,
        error: None,
    };
    Outputs {
        stdout: nothing.clone(),
        stderr: nothing,
    }
}

fn completed(ms: u64) -> TaskEvent {
    TaskEvent::Completed(TaskCompleted {
        attempt: Attempt::FIRST,
        runtime_us: Micros(ms * 1000),
        outputs: outputs(),
    })
}

fn dead(reason: DeadReason) -> TaskEvent {
    TaskEvent::Dead(TaskDead {
        reason,
        attempts: 1,
        dependency: None,
    })
}

/// One task of each kind of life, one at a time.
fn told() -> History {
    let mut told = Told::default();
    told.submit(0, "well", None);
    told.start(5, "well", 5);
    told.end(105, "well", completed(99));
    told.submit(200, "badly", None);
    told.start(200, "badly", 0);
    let failed = TaskFailed {
        attempt: Attempt::FIRST,
        failure: Failure::Exit { code: 1 },
        runtime_us: Micros(50_000),
        outputs: outputs(),
        demoted_to: None,
    };
    told.end(251, "badly", TaskEvent::Failed(failed));
    told.end(251, "badly", dead(DeadReason::Failed));
    told.submit(300, "overdue", None);
    told.start(300, "overdue", 0);
    let timed_out = TaskTimedOut {
        stalled_ms: None,
        attempt: Attempt::FIRST,
        max_runtime_ms: Millis(1000),
        runtime_us: Micros(1_003_000),
        outputs: outputs(),
        demoted_to: None,
    };
    told.end(1_303, "overdue", TaskEvent::TimedOut(timed_out));
    told.end(1_303, "overdue", dead(DeadReason::TimedOut));
    told.submit(1_400, "lost", None);
    told.start(1_400, "lost", 0);
    let lost = TaskLost {
        attempt: Attempt::FIRST,
        reason: "gone".into(),
    };
    told.end(1_450, "lost", TaskEvent::Lost(lost));
    told.start(1_450, "lost", 0);
    told.end(1_460, "lost", completed(10));
    told.submit(1_500, "unwanted", None);
    let moved = TaskReprioritized {
        priority: Priority::Background,
        before: Priority::Standard,
        since: Timestamp(1_501_000),
    };
    told.end(1_501, "unwanted", TaskEvent::Reprioritized(moved));
    let cancelled = |attempt, runtime_us| {
        TaskEvent::Cancelled(TaskCancelled {
            attempt,
            reason: None,
            runtime_us,
            outputs: None,
        })
    };
    told.end(1_510, "unwanted", cancelled(None, None));
    told.submit(1_600, "stopped", None);
    told.start(1_600, "stopped", 0);
    told.end(
        1_700,
        "stopped",
        cancelled(Some(Attempt::FIRST), Some(Micros(99_000))),
    );
    let terms = Terms {
        expires_at: Some(Timestamp(1_900_000)),
        depends_on: vec![Id::new("before").unwrap()],
        ..Terms::default()
    };
    told.submit(1_800, "expired", Some(terms));
    told.end(1_900, "expired", dead(DeadReason::Expired));
    told.submit(2_000, "running", None);
    told.start(2_000, "running", 0);
    told.submit(2_010, "waiting", None);
    told.end(2_020, "of-before", completed(1));
    told.history
}

#[test]
fn every_end_of_an_attempt_is_taken_over() {
    let (then, work, left) = told().finish(Unended::LeftOut);
    let courses: Vec<(&str, &[Course])> =
        work.iter().map(|w| (w.id.as_str(), &*w.courses)).collect();
    let ends = |ms: u64, manner| Course::Ends(Micros(ms * 1000), manner);
    let expected: [(&str, &[Course]); 7] = [
        ("well", &[ends(99, Manner::Well)]),
        ("badly", &[ends(50, Manner::Badly)]),
        ("overdue", &[Course::Hangs]),
        ("lost", &[ends(50, Manner::Lost), ends(10, Manner::Well)]),
        ("unwanted", &[Course::Hangs]),
        ("stopped", &[ends(99, Manner::Cancelled)]),
        ("expired", &[]),
    ];
    assert_eq!(courses, expected);
    assert_eq!(work[4].withdrawn, Some(Timestamp(1_510_000)));
    assert_eq!(work[5].withdrawn, None);
    let expected = Left {
        unended: 2,
        hang: 0,
        without_length: 1,
        dependencies: 1,
        steps_by_hand: 1,
    };
    assert_eq!(left, expected);
    let held: Vec<HeldBy> = then.spells.iter().map(|spell| spell.held_by).collect();
    use HeldBy::{Dead, Overdue, Unwanted, Work};
    assert_eq!(held, [Work, Work, Overdue, Dead, Work, Unwanted]);
    assert_eq!(
        then.tasks[1].ended,
        Some((Timestamp(251_000), Ending::Dead))
    );
    let (_, work, left) = told().finish(Unended::Hang);
    assert_eq!((left.unended, left.hang), (1, 1));
    assert_eq!(work.last().unwrap().courses, [Course::Hangs]);
}

#[test]
fn under_the_same_rules_the_same_would_come_out() {
    let (then, work, _) = told().finish(Unended::LeftOut);
    let again = run(&work, &settings(Discipline::Mlfq, 4)).unwrap();
    let ended = |tasks: &[super::super::outcome::Fate]| -> Vec<_> {
        tasks
            .iter()
            .map(|task| task.ended.map(|(_, how)| how))
            .collect()
    };
    let mut expected = ended(&then.tasks);
    // There is room at once here, and nobody knows how long it would have run.
    expected[6] = Some(Ending::Completed);
    assert_eq!(ended(&again.outcome.tasks), expected);
    let at = [0, 200, 300, 1_400, 1_500, 1_600, 1_800];
    assert_eq!(starts(&again), at.map(Some));
    let summary = Summary::of(&then, Some(4));
    assert_eq!(
        (
            summary.ends.completed,
            summary.ends.dead,
            summary.ends.cancelled
        ),
        (2, 3, 2)
    );
    assert_eq!(summary.waste_us, Micros(1_003_000 + 50_000));
}

#[test]
fn what_ended_just_at_its_limit_is_not_reaped() {
    let mut told = Told::default();
    told.submit(0, "close", None);
    told.start(0, "close", 0);
    told.end(1_003, "close", completed(1_002));
    let (_, work, _) = told.history.finish(Unended::LeftOut);
    let again = run(&work, &settings(Discipline::Mlfq, 1)).unwrap();
    let ended = (Timestamp(1_002_000), Ending::Completed);
    assert_eq!(again.outcome.tasks[0].ended, Some(ended));
}

#[test]
fn what_stood_still_is_ended_when_it_was_and_not_at_its_limit() {
    let mut told = Told::default();
    let terms = Terms {
        stall_after_ms: Some(Millis(200)),
        ..Terms::default()
    };
    told.submit(0, "still", Some(terms));
    told.start(0, "still", 0);
    let stalled = TaskTimedOut {
        stalled_ms: Some(Millis(200)),
        attempt: Attempt::FIRST,
        max_runtime_ms: Millis(1000),
        runtime_us: Micros(350_000),
        outputs: outputs(),
        demoted_to: None,
    };
    told.end(351, "still", TaskEvent::TimedOut(stalled));
    told.end(351, "still", dead(DeadReason::TimedOut));
    let (then, work, _) = told.history.finish(Unended::LeftOut);
    assert_eq!(then.spells[0].held_by, HeldBy::Overdue);
    assert_eq!(work[0].courses, [Course::Stalls(Micros(350_000))]);
    let again = run(&work, &settings(Discipline::Mlfq, 1)).unwrap();
    let ended = (Timestamp(350_000), Ending::Dead);
    assert_eq!(again.outcome.tasks[0].ended, Some(ended));
    // Nothing ends it without a reaper.
    let mut unreaped = settings(Discipline::Mlfq, 1);
    unreaped.reaper = Reaper::Off;
    unreaped.horizon = Some(Timestamp(5_000_000));
    let again = run(&work, &unreaped).unwrap();
    assert_eq!(again.outcome.tasks[0].ended, None);
    assert_eq!(again.outcome.spells[0].held_by, HeldBy::Hung);
}

#[test]
fn what_is_cut_off_has_not_happened() {
    let (then, ..) = told().finish(Unended::Hang);
    let cut = then.clone().cut(Timestamp(302_000));
    assert_eq!(cut.tasks.len(), 3);
    assert_eq!(cut.tasks[2].ended, None);
    assert_eq!(cut.spells[2].ended, None);
    let early = then.cut(Timestamp(3_000));
    assert_eq!(
        early.tasks[0].wait,
        super::super::outcome::Wait::Still(Micros(3_000))
    );
    assert_eq!((early.tasks[0].started, early.spells.len()), (None, 0));
}
