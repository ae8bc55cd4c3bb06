//! Lives of jobs: definitions, runs, pauses, and what is refused.

use ledger_core::envelope::Header;
use ledger_core::event::*;
use ledger_core::hash::Hash;
use ledger_core::ids::{EventId, Id, Seq, Term, Uuid};
use ledger_core::time::{Micros, Millis, Timestamp};

use super::{JobState, Jobs, RECENT_RUNS, RunOutcome, RunState};
use crate::framework::Projection;

#[derive(Default)]
struct History {
    jobs: Jobs,
    seq: u64,
}

impl History {
    fn apply(&mut self, subject: &str, event: impl Into<Event>) -> Result<(), String> {
        let event = event.into();
        let (kind, _) = event.kind_and_data().unwrap();
        let header = Header {
            seq: Seq(self.seq + 1),
            term: Term(1),
            recorded_at: Timestamp(self.seq + 1),
            event_id: EventId(Uuid::nil()),
            kind,
            version: 1,
            subject,
            actor: "node/n",
            claimed_actor: None,
            cause: None,
            correlation: None,
            traceparent: None,
            idempotency_key: None,
        };
        assert!(Jobs::wants(kind) || kind == "task.submitted");
        let before = self.rows();
        let result = self.jobs.apply(&header, &event).map_err(|e| e.reason);
        match &result {
            Ok(()) => self.seq += 1,
            Err(_) => assert_eq!(self.rows(), before, "a refused event changes nothing"),
        }
        let restored = Jobs::from_rows(&mut self.rows().into_iter()).unwrap();
        assert_eq!(restored.jobs, self.jobs.jobs);
        assert_eq!(restored.of_task, self.jobs.of_task);
        result
    }

    fn rows(&self) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        self.jobs
            .rows(&mut |k, v| rows.push((k.to_owned(), v.to_owned())));
        rows
    }

    fn job(&mut self, event: JobEvent) -> Result<(), String> {
        self.apply("job/j", event)
    }

    fn task(&mut self, task: &str, event: TaskEvent) {
        self.apply(&format!("task/{task}"), event).unwrap();
    }

    fn state(&self) -> JobState {
        self.jobs.get("j").unwrap().state()
    }

    fn decided(&self) -> u64 {
        self.jobs.get("j").unwrap().decided.0
    }
}

fn spec(every: u64) -> JobSpec {
    JobSpec {
        schedule: Schedule::Every {
            every_ms: Millis(every),
        },
        overlap: Overlap::Skip,
        missed: Missed::RunOnce,
        task: TaskSubmitted {
            priority: Priority::Interactive,
            payload: Payload::Builtin(Builtin {
                job: BuiltinJob::HealthCheck,
            }),
            max_runtime_ms: Millis(1000),
            grace_ms: Millis(100),
            terms: None,
        },
        source: "built in".into(),
    }
}

fn defined(from: u64) -> JobEvent {
    JobEvent::Defined(JobDefined {
        spec: spec(1000),
        from: Timestamp(from),
    })
}

fn due(at: u64, task: &str) -> JobEvent {
    JobEvent::Due(JobDue {
        due_at: Timestamp(at),
        task: Id::new(task).unwrap(),
    })
}

fn started() -> TaskEvent {
    TaskEvent::Started(TaskStarted {
        attempt: Attempt(1),
        queue: Priority::Interactive,
        node: Id::new("n").unwrap(),
        waited_us: Micros(1),
        boost: 0,
        rate: None,
    })
}

fn outputs() -> Outputs {
    let stream = StreamDigest {
        bytes: 0,
        blake3: Hash::of(b""),
        tail: String::new(),
        dropped_bytes: 0,
        error: None,
    };
    Outputs {
        stdout: stream.clone(),
        stderr: stream,
    }
}

fn completed() -> TaskEvent {
    TaskEvent::Completed(TaskCompleted {
        attempt: Attempt(1),
        runtime_us: Micros(5),
        outputs: outputs(),
    })
}

#[test]
fn a_definition_comes_changes_goes_and_comes_again() {
    let mut h = History::default();
    let changed = |from: Option<u64>| {
        JobEvent::Changed(JobChanged {
            spec: spec(2000),
            from: from.map(Timestamp),
        })
    };
    let removed = || JobEvent::Removed(JobRemoved {});
    assert!(h.job(changed(None)).is_err(), "never defined");
    assert!(h.job(removed()).is_err(), "never defined");
    h.job(defined(10)).unwrap();
    assert!(h.job(defined(11)).is_err(), "twice");
    assert_eq!((h.state(), h.decided()), (JobState::Active, 10));
    h.job(changed(None)).unwrap();
    assert_eq!(h.decided(), 10, "the schedule is what it was");
    h.job(changed(Some(20))).unwrap();
    assert_eq!(h.decided(), 20);
    assert_eq!(h.jobs.get("j").unwrap().spec(), Some(&spec(2000)));
    h.job(JobEvent::Paused(JobPaused {
        reason: Some("enough".into()),
    }))
    .unwrap();
    assert_eq!(h.state(), JobState::Paused);
    h.job(removed()).unwrap();
    assert_eq!(h.state(), JobState::Removed);
    h.job(defined(30)).unwrap();
    assert_eq!(h.state(), JobState::Paused, "a pause outlives a removal");
    h.job(JobEvent::Resumed(JobResumed {
        from: Some(Timestamp(40)),
    }))
    .unwrap();
    assert_eq!((h.state(), h.decided()), (JobState::Active, 40));
}

#[test]
fn a_run_is_followed_to_its_end() {
    let mut h = History::default();
    h.job(defined(10)).unwrap();
    h.job(due(20, "a")).unwrap();
    assert!(h.job(due(30, "a")).is_err(), "a task is one run");
    assert_eq!(h.decided(), 20);
    let view = |h: &History| h.jobs.get("j").unwrap().detailed_view(9);
    assert_eq!(view(&h).live, [Id::new("a").unwrap()]);
    h.task("other", started());
    h.task("a", started());
    assert_eq!(view(&h).runs[0].state, RunState::Running);
    h.task("a", completed());
    let done = view(&h);
    assert!(done.live.is_empty());
    let last = done.last.unwrap();
    assert_eq!(last.runtime_us, Some(Micros(5)));
    assert!(matches!(
        last.state,
        RunState::Ended {
            outcome: RunOutcome::Completed,
            ..
        }
    ));
    h.job(JobEvent::Triggered(JobTriggered {
        task: Id::new("m").unwrap(),
    }))
    .unwrap();
    assert_eq!(h.decided(), 20, "a run by hand decides nothing that is due");
    h.task("m", started());
    h.task(
        "m",
        TaskEvent::Failed(TaskFailed {
            attempt: Attempt(1),
            failure: Failure::Exit { code: 1 },
            runtime_us: Micros(7),
            outputs: outputs(),
            demoted_to: None,
        }),
    );
    assert_eq!(view(&h).runs[0].state, RunState::Waiting);
    h.task(
        "m",
        TaskEvent::Dead(TaskDead {
            reason: DeadReason::Failed,
            attempts: 1,
            dependency: None,
        }),
    );
    let recent = view(&h).recent;
    assert_eq!((recent.runs, recent.succeeded), (2, 1));
    assert_eq!(recent.success_rate(), Some(0.5));
    h.task(
        "m",
        TaskEvent::Retried(TaskRetried {
            attempt: Attempt(2),
        }),
    );
    assert_eq!(view(&h).live, [Id::new("m").unwrap()]);
    h.task("m", completed());
    assert_eq!(view(&h).recent.success_rate(), Some(1.0));
}

#[test]
fn a_run_that_was_never_started_ends_badly_and_steering_changes_nothing() {
    let mut h = History::default();
    h.job(defined(0)).unwrap();
    let view = |h: &History| h.jobs.get("j").unwrap().detailed_view(9);
    for (n, reason) in [(1, DeadReason::Expired), (2, DeadReason::Dependency)] {
        let name = format!("r{n}");
        h.job(due(n, &name)).unwrap();
        h.task(
            &name,
            TaskEvent::Reprioritized(TaskReprioritized {
                priority: Priority::Background,
                before: Priority::Interactive,
                since: Timestamp(n),
            }),
        );
        assert_eq!(view(&h).runs[0].state, RunState::Waiting);
        h.task(
            &name,
            TaskEvent::Dead(TaskDead {
                reason,
                attempts: 0,
                dependency: None,
            }),
        );
        let RunState::Ended { outcome, .. } = view(&h).runs[0].state else {
            panic!("{name} has not ended");
        };
        assert_eq!(outcome, RunOutcome::Dead(reason));
    }
    h.job(due(3, "r3")).unwrap();
    h.task("r3", started());
    h.task(
        "r3",
        TaskEvent::Throttled(TaskThrottled {
            attempt: Attempt(1),
            rate_key: Id::new("provider").unwrap(),
            retry_after_ms: Millis(1),
            until: Timestamp(9),
        }),
    );
    assert_eq!(view(&h).runs[0].state, RunState::Running);
    let recent = view(&h).recent;
    assert_eq!((recent.runs, recent.succeeded), (2, 0));
}

#[test]
fn what_is_left_out_is_decided_up_to_the_last_of_it() {
    let mut h = History::default();
    h.job(defined(10)).unwrap();
    let skipped = |due_at: u64, through: Option<u64>| {
        JobEvent::Skipped(JobSkipped {
            due_at: Timestamp(due_at),
            reason: SkipReason::Missed,
            through: through.map(Timestamp),
        })
    };
    h.job(skipped(20, None)).unwrap();
    assert_eq!(h.decided(), 20);
    h.job(skipped(30, Some(90))).unwrap();
    assert_eq!(h.decided(), 90);
    assert_eq!(h.jobs.get("j").unwrap().view().skips, 2);
}

#[test]
fn the_oldest_runs_that_are_over_are_forgotten() {
    let mut h = History::default();
    h.job(defined(10)).unwrap();
    h.job(due(11, "first")).unwrap();
    for n in 0..u64::try_from(RECENT_RUNS).unwrap() + 20 {
        let task = format!("t{n}");
        h.job(due(20 + n, &task)).unwrap();
        h.task(&task, completed());
    }
    let job = h.jobs.get("j").unwrap();
    assert_eq!(job.runs.len(), RECENT_RUNS);
    assert_eq!(&*job.runs[0].task, "first", "one that lives is kept");
    assert_eq!(h.jobs.of_task.len(), RECENT_RUNS);
    let counts = job.view().recent;
    assert_eq!(counts.runs, counts.succeeded);
}

#[test]
fn what_histories_without_definitions_tell_is_taken() {
    let mut h = History::default();
    h.job(due(20, "a")).unwrap();
    h.job(JobEvent::Paused(JobPaused { reason: None })).unwrap();
    h.job(JobEvent::Resumed(JobResumed { from: None })).unwrap();
    assert_eq!((h.state(), h.decided()), (JobState::Removed, 20));
}
