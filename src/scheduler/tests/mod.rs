//! Every decision of the scheduler, one by one; random histories of them are in [`model`].

mod impossible;
mod model;
mod reaping;
mod rules;

use std::collections::BTreeMap;

use ledger_core::envelope::Header;
use ledger_core::event::*;
use ledger_core::hash::Hash;
use ledger_core::ids::{EventId, Id, Seq, Term, Uuid};
use ledger_core::time::{Micros, Millis, Timestamp};
use projections::framework::{ApplyError, Projection};
use projections::tasks::{ProcessRef, StateName, Tasks};

use super::decide::*;
use super::dispatch::dispatch;
use super::policy::Policy;
use crate::decided::Decided;

/// Folded tasks; what is decided is applied at once, as the sequencer does.
#[derive(Default)]
struct World {
    tasks: Tasks,
    policy: Policy,
    seq: u64,
    /// In microseconds; each event takes ten.
    clock: u64,
    /// What chance gives.
    draw: u64,
}

fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

impl World {
    fn apply(&mut self, decided: Decided) {
        let subject = decided.subject.as_str().to_owned();
        self.fold(&subject, &decided.event).unwrap();
    }

    /// An event that nobody decided.
    fn try_apply(&mut self, task: &str, event: &TaskEvent) -> Result<(), ApplyError> {
        self.fold(&format!("task/{task}"), &event.clone().into())
    }

    fn fold(&mut self, subject: &str, event: &Event) -> Result<(), ApplyError> {
        self.seq += 1;
        self.clock += 10;
        let (kind, _) = event.kind_and_data().unwrap();
        if !Tasks::wants(kind) {
            return Ok(());
        }
        let header = Header {
            seq: Seq(self.seq),
            term: Term(1),
            recorded_at: self.now(),
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
        self.tasks.apply(&header, event)
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.clock)
    }

    /// Lets time pass.
    fn pass(&mut self, time: Millis) {
        self.clock += time.0 * 1000;
    }

    fn submit(&mut self, task: &str, priority: Priority) {
        self.submit_on(task, priority, Terms::default()).unwrap();
    }

    fn submit_on(&mut self, task: &str, priority: Priority, terms: Terms) -> Result<(), Refusal> {
        let submission = TaskSubmitted {
            terms: Some(Box::new(terms)),
            ..submission(priority)
        };
        let decided = submit(&self.tasks, &id(task), submission, self.now())?;
        self.apply(decided);
        Ok(())
    }

    /// The next start, if one is decided; it is then applied.
    fn dispatch(&mut self, max_running: usize) -> Option<(String, TaskStarted)> {
        self.policy.max_running = max_running;
        self.next()
    }

    fn next(&mut self) -> Option<(String, TaskStarted)> {
        let decided = dispatch(&self.tasks, &self.policy, &id("n"), self.now())?;
        let Event::Task(TaskEvent::Started(started)) = decided.event.clone() else {
            panic!("{decided:?}")
        };
        let task = decided.subject.id().to_owned();
        self.apply(decided);
        Some((task, started))
    }

    /// A task that runs.
    fn running(task: &str) -> Self {
        let mut world = Self::default();
        world.submit(task, Priority::Standard);
        assert_eq!(world.dispatch(1).unwrap().0, task);
        world
    }

    fn end(&mut self, task: &str, outcome: &Ended) -> Vec<&'static str> {
        let task = self.tasks.get(task).unwrap();
        let run = task.run().unwrap();
        let decided = ended(task, run, outcome, &self.policy, self.now(), self.draw);
        self.all(decided)
    }

    fn lose(&mut self, task: &str) -> Vec<&'static str> {
        let task = self.tasks.get(task).unwrap();
        let decided = lost(task, task.run().unwrap(), "gone", 0);
        self.all(decided)
    }

    fn cancel(&mut self, task: &str) -> Result<Option<&'static str>, Refusal> {
        let decided = cancel(&self.tasks, &id(task), Some("enough".into()))?;
        Ok(decided.map(|decided| self.all(vec![decided])[0]))
    }

    fn all(&mut self, decided: Vec<Decided>) -> Vec<&'static str> {
        decided
            .into_iter()
            .map(|decided| {
                let (kind, _) = decided.event.kind_and_data().unwrap();
                self.apply(decided);
                kind
            })
            .collect()
    }

    fn state(&self, task: &str) -> StateName {
        self.tasks.get(task).unwrap().view().state
    }
}

fn exec(argv: &[&str]) -> Exec {
    Exec {
        argv: argv.iter().map(|&a| a.to_owned()).collect(),
        env: BTreeMap::new(),
        cwd: None,
        stdin: None,
    }
}

fn command_of(task: &mut TaskSubmitted) -> &mut Exec {
    match &mut task.payload {
        Payload::Exec(exec) => exec,
        Payload::Builtin(builtin) => panic!("not a command: {builtin:?}"),
    }
}

fn submission(priority: Priority) -> TaskSubmitted {
    TaskSubmitted {
        priority,
        payload: Payload::Exec(exec(&["true"])),
        max_runtime_ms: Millis(1000),
        grace_ms: Millis(100),
        terms: None,
    }
}

fn outcome(result: EndResult, cause: Option<LadderCause>) -> Ended {
    let nothing = StreamDigest {
        bytes: 0,
        blake3: Hash::ZERO,
        tail: String::new(),
        dropped_bytes: 0,
        error: None,
    };
    Ended {
        process: matches!(result, EndResult::Ran(_)).then(|| ProcessRef {
            pid: 7,
            start_time: 9,
            boot_id: "boot".into(),
            shim_pid: 6,
            shim_start_time: 8,
        }),
        result,
        ladder: cause.map(|cause| (cause, Vec::new())),
        runtime_us: Micros(5),
        usage: Usage::default(),
        outputs: Outputs {
            stdout: nothing.clone(),
            stderr: nothing,
        },
    }
}

fn exited(code: i32) -> EndResult {
    EndResult::Ran(ProcessEnd::Exited { code })
}

#[test]
fn submissions_that_no_one_could_run_are_refused() {
    let refused = |change: &dyn Fn(&mut TaskSubmitted)| {
        let mut task = submission(Priority::Standard);
        change(&mut task);
        match submit(&Tasks::default(), &id("t"), task, Timestamp(0)) {
            Err(Refusal::Invalid(why)) => why,
            other => panic!("{other:?}"),
        }
    };
    let with = |change: &dyn Fn(&mut Exec)| {
        refused(&|task| {
            let exec = command_of(task);
            change(exec);
        })
    };
    let env = |name: &str, value: &str| {
        let why = with(&|e| drop(e.env.insert(name.into(), value.into())));
        assert!(why.contains("environment variable"), "{why}");
        assert!(value.is_empty() || !why.contains(value), "{why}");
    };
    assert!(with(&|e| e.argv.clear()).contains("at least a program"));
    assert!(with(&|e| e.argv[0].clear()).contains("at least a program"));
    assert!(with(&|e| e.argv.push("a\0b".into())).contains("NUL"));
    assert!(with(&|e| e.argv.resize(MAX_ARGS + 1, "x".into())).contains("at most"));
    let many = |e: &mut Exec| {
        e.env
            .extend((0..=MAX_ARGS).map(|n| (format!("V{n}"), String::new())))
    };
    assert!(with(&many).contains("at most"));
    env("", "value");
    env("A=B", "value");
    env("A\0", "value");
    env("A", "val\0ue");
    for cwd in ["", "relative", "./x", "/a\0b"] {
        assert!(
            with(&|e| e.cwd = Some(cwd.into())).contains("absolute"),
            "{cwd:?}"
        );
    }
    for limit in [0, MAX_RUNTIME.0 + 1, u64::MAX] {
        assert!(refused(&|t| t.max_runtime_ms = Millis(limit)).contains("max_runtime"));
    }
    assert!(refused(&|t| t.grace_ms = Millis(MAX_GRACE.0 + 1)).contains("grace"));
}

#[test]
fn the_edges_of_what_is_allowed_are_allowed() {
    let mut task = submission(Priority::Background);
    let exec = command_of(&mut task);
    exec.argv.resize(MAX_ARGS, String::new());
    exec.cwd = Some("/".into());
    (task.max_runtime_ms, task.grace_ms) = (MAX_RUNTIME, MAX_GRACE);
    assert!(submit(&Tasks::default(), &id("t"), task.clone(), Timestamp(0)).is_ok());
    (task.max_runtime_ms, task.grace_ms) = (Millis(1), Millis(0));
    assert!(submit(&Tasks::default(), &id("t"), task, Timestamp(0)).is_ok());
}

#[test]
fn an_id_stays_taken_after_its_task_has_ended() {
    let mut world = World::running("t");
    let again = |world: &World| {
        submit(
            &world.tasks,
            &id("t"),
            submission(Priority::Standard),
            world.now(),
        )
    };
    assert_eq!(again(&world), Err(Refusal::Exists(id("t"))));
    world.end("t", &outcome(exited(0), None));
    assert_eq!(again(&world), Err(Refusal::Exists(id("t"))));
}

#[test]
fn queues_are_emptied_in_their_order_up_to_the_limit() {
    let mut world = World::default();
    use Priority::{Background, Interactive, Standard};
    for (task, queue) in [
        ("b1", Background),
        ("s1", Standard),
        ("i1", Interactive),
        ("s2", Standard),
        ("i2", Interactive),
    ] {
        world.submit(task, queue);
    }
    assert_eq!(world.dispatch(0), None);
    let (task, started) = world.dispatch(2).unwrap();
    assert_eq!(
        (task.as_str(), started.queue, started.attempt),
        ("i1", Interactive, Attempt(1))
    );
    assert!(started.waited_us > Micros(0));
    assert_eq!(world.dispatch(2).unwrap().0, "i2");
    assert_eq!(world.dispatch(2), None, "two run");
    world.end("i1", &outcome(exited(0), None));
    assert_eq!(world.dispatch(3).unwrap().0, "s1");
    // One that is being cancelled still has its place.
    world.cancel("s1").unwrap();
    assert_eq!(world.dispatch(2), None);
    world.submit("i3", Interactive);
    assert_eq!(world.dispatch(3).unwrap().0, "i3");
    assert_eq!(world.dispatch(5).unwrap().0, "s2");
    assert_eq!(world.dispatch(5).unwrap().0, "b1");
    assert_eq!(world.dispatch(9), None, "nobody waits");
}

#[test]
fn a_process_is_registered_once() {
    let mut world = World::running("t");
    let process = outcome(exited(0), None).process.unwrap();
    let task = world.tasks.get("t").unwrap();
    let decided = started(task, task.run().unwrap(), &process).unwrap();
    world.apply(decided);
    let task = world.tasks.get("t").unwrap();
    assert_eq!(started(task, task.run().unwrap(), &process), None);
    let kinds = world.end("t", &outcome(exited(0), None));
    assert_eq!(kinds, ["process.exited", "task.completed"]);
}

#[test]
fn what_follows_from_an_end_depends_on_the_result_and_on_why_we_helped() {
    use LadderCause::{Cancel, Leftovers, MaxRuntime, Stalled};
    let signaled = EndResult::Ran(ProcessEnd::Signaled { signal: 15 });
    let not_started = EndResult::NotStarted(Failure::Spawn {
        step: "exec".into(),
        errno: 2,
        message: "no such file".into(),
    });
    let completed: &[&str] = &["task.completed"];
    let failed: &[&str] = &["task.failed", "task.dead"];
    let timed_out: &[&str] = &["task.timed_out", "task.dead"];
    let cancelled: &[&str] = &["task.cancelled"];
    let cases = [
        (exited(0), None, completed),
        (exited(3), None, failed),
        (signaled.clone(), None, failed),
        (not_started.clone(), None, failed),
        // What it left behind was ended with it, which says nothing about itself.
        (exited(0), Some(Leftovers), completed),
        (exited(3), Some(Leftovers), failed),
        (signaled.clone(), Some(Leftovers), failed),
        // Past its limit it has timed out, however it took it.
        (exited(0), Some(MaxRuntime), timed_out),
        (exited(3), Some(MaxRuntime), timed_out),
        (signaled.clone(), Some(MaxRuntime), timed_out),
        (exited(0), Some(Stalled), timed_out),
        (signaled.clone(), Some(Stalled), timed_out),
        (exited(0), Some(Cancel), cancelled),
        (exited(3), Some(Cancel), cancelled),
        (signaled, Some(Cancel), cancelled),
    ];
    for (result, cause, expected) in cases {
        let mut world = World::running("t");
        if cause == Some(Cancel) {
            world.cancel("t").unwrap();
        }
        let mut all = Vec::new();
        if matches!(result, EndResult::Ran(_)) {
            all.push("process.registered");
            all.push(if cause.is_some() {
                "process.reaped"
            } else {
                "process.exited"
            });
        }
        all.extend(expected);
        let kinds = world.end("t", &outcome(result.clone(), cause));
        assert_eq!(kinds, all, "{result:?} {cause:?}");
        assert_eq!(world.tasks.open_count(), 0);
    }
}

#[test]
fn an_outcome_that_came_before_the_cancel_wins() {
    let mut world = World::running("t");
    world.cancel("t").unwrap();
    assert_eq!(world.state("t"), StateName::Cancelling);
    let kinds = world.end("t", &outcome(exited(0), None));
    assert_eq!(kinds.last(), Some(&"task.completed"));
    assert_eq!(world.state("t"), StateName::Completed);
}

#[test]
fn a_lost_task_comes_back_three_times() {
    let mut world = World::running("t");
    for times in 1..=MAX_LOST {
        assert_eq!(world.lose("t"), ["task.lost", "task.requeued"]);
        let (_, started) = world.dispatch(1).unwrap();
        assert_eq!(started.attempt, Attempt(times + 1));
    }
    assert_eq!(world.lose("t"), ["task.lost", "task.dead"]);
    let view = world.tasks.get("t").unwrap().view();
    assert_eq!(
        (view.state, view.dead_reason),
        (StateName::Dead, Some(DeadReason::Lost))
    );
    // Nobody wants a cancelled one back.
    let mut world = World::running("t");
    world.cancel("t").unwrap();
    assert_eq!(world.lose("t"), ["task.cancelled"]);
}

#[test]
fn a_task_retried_by_hand_may_be_lost_as_often_again() {
    let mut world = World::running("t");
    let lose_all = |world: &mut World| {
        for times in 1..=MAX_LOST {
            assert_eq!(world.lose("t"), ["task.lost", "task.requeued"]);
            assert_eq!(world.tasks.get("t").unwrap().lost, times);
            world.dispatch(1).unwrap();
        }
        assert_eq!(world.lose("t"), ["task.lost", "task.dead"]);
    };
    for life in 0..3 {
        lose_all(&mut world);
        let decided = retry(&world.tasks, &id("t"), world.now()).unwrap();
        world.apply(decided);
        assert_eq!(world.tasks.get("t").unwrap().lost, 0, "life {life}");
        let (_, started) = world.dispatch(1).unwrap();
        let attempts = (life + 1) * (MAX_LOST + 1) + 1;
        assert_eq!(started.attempt, Attempt(attempts), "attempts count on");
    }
    // What it lost before it failed by itself is forgotten as well.
    world.lose("t");
    world.dispatch(1).unwrap();
    world.end("t", &outcome(exited(1), None));
    let decided = retry(&world.tasks, &id("t"), world.now()).unwrap();
    world.apply(decided);
    world.dispatch(1).unwrap();
    lose_all(&mut world);
}

#[test]
fn a_lost_process_that_is_known_is_closed_with_its_attempt() {
    let mut world = World::running("t");
    let process = outcome(exited(0), None).process.unwrap();
    let task = world.tasks.get("t").unwrap();
    let decided = started(task, task.run().unwrap(), &process).unwrap();
    world.apply(decided);
    assert_eq!(
        world.lose("t"),
        ["process.lost", "task.lost", "task.requeued"]
    );
}

/// A task in each state it can be found in.
fn in_state(state: StateName) -> World {
    let mut world = World::default();
    world.submit("t", Priority::Standard);
    if state != StateName::Queued {
        world.dispatch(1).unwrap();
    }
    match state {
        StateName::Queued | StateName::Running => {}
        StateName::Cancelling => drop(world.cancel("t").unwrap()),
        StateName::Completed => drop(world.end("t", &outcome(exited(0), None))),
        StateName::Dead => drop(world.end("t", &outcome(exited(1), None))),
        StateName::Cancelled => {
            world.cancel("t").unwrap();
            world.end("t", &outcome(exited(1), Some(LadderCause::Cancel)));
        }
        StateName::Undecided | StateName::Held => unreachable!("not a state of its own"),
    }
    assert_eq!(world.state("t"), state);
    world
}

#[test]
fn cancel_and_retry_in_each_state() {
    let told_apart = |state: &StateName| *state != StateName::Held;
    for state in StateName::ALL.into_iter().filter(told_apart) {
        let cancelled = in_state(state).cancel("t");
        let refused =
            |why: &Refusal| matches!(why, Refusal::State { state: s, .. } if *s == state.as_str());
        match state {
            StateName::Queued => assert_eq!(cancelled, Ok(Some("task.cancelled"))),
            StateName::Running => assert_eq!(cancelled, Ok(Some("task.cancel_requested"))),
            StateName::Cancelling => assert_eq!(cancelled, Ok(None)),
            _ => assert!(refused(&cancelled.unwrap_err()), "{state:?}"),
        }
        let mut world = in_state(state);
        match retry(&world.tasks, &id("t"), world.now()) {
            Ok(decided) => {
                assert_eq!(state, StateName::Dead);
                world.apply(decided);
                assert_eq!(world.dispatch(1).unwrap().1.attempt, Attempt(2));
            }
            Err(why) => assert!(
                refused(&why) && state != StateName::Dead,
                "{state:?}: {why}"
            ),
        }
    }
    let nobody = World::default();
    assert_eq!(
        cancel(&nobody.tasks, &id("t"), None),
        Err(Refusal::Unknown(id("t")))
    );
    assert_eq!(
        retry(&nobody.tasks, &id("t"), nobody.now()),
        Err(Refusal::Unknown(id("t")))
    );
}
