//! Trees that don't go: what is said of them, and what is not done meanwhile.

use projections::tasks::Run;

use super::*;
use crate::scheduler::check::check;

fn found(process: Option<ProcessRef>, survivors: u32) -> Unkillable {
    let survivor = |pid| Survivor {
        pid: i32::try_from(pid).unwrap(),
        start_time: 9,
        state: 'D',
    };
    Unkillable {
        process,
        steps: Vec::new(),
        survivors: (1..=survivors).map(survivor).collect(),
        processes: survivors,
    }
}

fn process() -> ProcessRef {
    outcome(exited(0), None).process.unwrap()
}

fn run(world: &World) -> (&projections::tasks::Task, &Run) {
    let task = world.tasks.get("t").unwrap();
    (task, task.run().unwrap())
}

#[test]
fn that_something_outlives_sigkill_is_said_once_and_the_attempt_stays_open() {
    let mut world = World::running("t");
    let (task, open) = run(&world);
    assert!(
        unkillable(task, open, found(None, 1)).is_empty(),
        "of whom?"
    );
    let decided = unkillable(task, open, found(Some(process()), 40));
    let kinds: Vec<_> = decided
        .iter()
        .map(|d| d.event.kind_and_data().unwrap().0)
        .collect();
    assert_eq!(kinds, ["process.registered", "process.unkillable"]);
    let Event::Process(ProcessEvent::Unkillable(said)) = &decided[1].event else {
        panic!("{decided:?}");
    };
    assert_eq!((said.survivors.len(), said.processes), (MAX_SURVIVORS, 40));
    for one in decided {
        world.apply(one);
    }
    assert_eq!(world.state("t"), StateName::Running);
    let (task, open) = run(&world);
    assert!(open.unkillable.is_some());
    assert!(unkillable(task, open, found(Some(process()), 1)).is_empty());
    assert_eq!(
        world
            .end("t", &outcome(exited(0), Some(LadderCause::MaxRuntime)))
            .len(),
        3
    );
}

#[test]
fn a_job_of_the_nodes_own_can_not_stall() {
    let task = TaskSubmitted {
        payload: Payload::Builtin(Builtin {
            job: BuiltinJob::HealthCheck,
        }),
        terms: Some(Box::new(Terms {
            stall_after_ms: Some(Millis(1000)),
            ..Terms::default()
        })),
        ..submission(Priority::Standard)
    };
    assert!(
        check(&task)
            .unwrap_err()
            .to_string()
            .contains("no processes")
    );
}

#[test]
fn a_standstill_says_how_long_it_may_last() {
    let mut world = World::default();
    let terms = Terms {
        stall_after_ms: Some(Millis(700)),
        ..Terms::default()
    };
    world.submit_on("t", Priority::Standard, terms).unwrap();
    world.dispatch(1).unwrap();
    let (task, open) = run(&world);
    let ended = outcome(exited(0), Some(LadderCause::Stalled));
    let decided = ended_of(task, open, &ended);
    assert_eq!(decided.stalled_ms, Some(Millis(700)));
    world.end("t", &ended);
    let view = world.tasks.get("t").unwrap().view();
    assert_eq!(
        view.attempts[0].closing,
        projections::tasks::Closing::Stalled
    );
    assert_eq!(view.exit_code, Some(124));
}

fn ended_of(task: &projections::tasks::Task, run: &Run, outcome: &Ended) -> TaskTimedOut {
    let decided = ended(task, run, outcome, &Policy::default(), Timestamp(0), 0);
    let closing = decided.into_iter().find_map(|decided| match decided.event {
        Event::Task(TaskEvent::TimedOut(e)) => Some(e),
        _ => None,
    });
    closing.expect("it has timed out")
}
