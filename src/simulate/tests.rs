//! Simulations against models that share nothing with them, and the histories they make of
//! themselves.

mod bounds;
mod fifo;
mod histories;

use ledger_core::event::{Priority, Terms};
use ledger_core::ids::Id;
use ledger_core::time::{Micros, Millis, Timestamp};

use super::engine::{Run, run};
use super::work::{Course, Discipline, Manner, Reaper, Settings, Work};
use crate::scheduler::policy::Policy;

/// A settings of so many slots, with boosts of a second.
fn settings(discipline: Discipline, slots: usize) -> Settings {
    let mut policy = Policy {
        max_running: slots,
        ..Policy::default()
    };
    policy.queues[1].boost_after = Some(Millis(1000));
    policy.queues[2].boost_after = Some(Millis(1000));
    Settings {
        discipline,
        policy,
        reaper: Reaper::On,
        horizon: None,
        seed: 1,
    }
}

fn id(n: usize) -> Id {
    Id::new(format!("t{n}")).unwrap()
}

/// A task that runs for `ms` milliseconds, or hangs.
fn work(n: usize, arrival_ms: u64, queue: Priority, ms: Option<u64>) -> Work {
    Work {
        id: id(n),
        arrival: Timestamp(arrival_ms * 1000),
        queue,
        max_runtime: Millis(30_000),
        terms: None,
        courses: vec![ms.map_or(Course::Hangs, |ms| {
            Course::Ends(Micros(ms * 1000), Manner::Well)
        })],
        withdrawn: None,
    }
}

/// When each task was started, in milliseconds.
fn starts(run: &Run) -> Vec<Option<u64>> {
    let mut tasks = run.outcome.tasks.clone();
    tasks.sort_by_key(|task| task.task);
    let started = tasks.iter().map(|task| task.started);
    started.map(|at| at.map(|at| at.0 / 1000)).collect()
}

#[test]
fn virtual_time_goes_as_real_time_would() {
    use Priority::{Background, Interactive, Standard};
    let tasks = [
        work(0, 0, Background, Some(500)),
        work(1, 0, Background, Some(5_000)),
        work(2, 100, Standard, Some(100)),
        work(3, 200, Interactive, Some(50)),
        work(4, 210, Interactive, Some(50)),
        work(5, 220, Standard, None),
    ];
    let mut limited = tasks.to_vec();
    limited[5].max_runtime = Millis(2_000);
    let on = run(&limited, &settings(Discipline::Mlfq, 2)).unwrap();
    // One slot is kept for queue 0. The hung one goes before the background task, which has not waited
    // for long enough, and is ended at its limit.
    let expected = [0, 2_600, 500, 200, 250, 600];
    assert_eq!(starts(&on), expected.map(Some));
    assert_eq!(on.outcome.end, Timestamp(7_600_000));

    let off = Settings {
        reaper: Reaper::Off,
        ..settings(Discipline::Mlfq, 2)
    };
    let off = run(&limited, &off).unwrap();
    assert_eq!(starts(&off)[1], None);
    let fifo = run(&limited, &settings(Discipline::Fifo, 2)).unwrap();
    let expected = [0, 0, 500, 600, 650, 700];
    assert_eq!(starts(&fifo), expected.map(Some));
}

#[test]
fn what_happens_at_the_horizon_is_seen_and_nothing_after() {
    let tasks = [
        work(0, 0, Priority::Standard, Some(1_000)),
        work(1, 1_000, Priority::Standard, Some(1_000)),
        work(2, 1_001, Priority::Standard, Some(1_000)),
    ];
    let settings = Settings {
        horizon: Some(Timestamp(1_000_000)),
        ..settings(Discipline::Fifo, 1)
    };
    let run = run(&tasks, &settings).unwrap();
    assert_eq!(starts(&run), [Some(0), Some(1_000)]);
    assert_eq!(run.outcome.spells[0].ended, Some(Timestamp(1_000_000)));
    assert_eq!(run.outcome.spells[1].ended, None);
}

#[test]
fn terms_are_kept_to() {
    let mut tasks = vec![
        work(0, 0, Priority::Standard, Some(300)),
        work(1, 0, Priority::Standard, Some(100)),
        work(2, 0, Priority::Standard, Some(100)),
        work(3, 10, Priority::Standard, None),
        work(4, 20, Priority::Standard, Some(10)),
    ];
    let with = |terms: Terms| Some(Box::new(terms));
    tasks[1].terms = with(Terms {
        depends_on: vec![id(0)],
        ..Terms::default()
    });
    tasks[2].terms = with(Terms {
        not_before: Some(Timestamp(150_000)),
        max_attempts: 2,
        ..Terms::default()
    });
    tasks[2].courses = vec![
        Course::Ends(Micros(100_000), Manner::Badly),
        Course::Ends(Micros(100_000), Manner::Well),
    ];
    // Cancelled while it runs, and before it is handed over.
    tasks[3].withdrawn = Some(Timestamp(50_000));
    tasks[4].withdrawn = Some(Timestamp(0));
    let run = run(&tasks, &settings(Discipline::Mlfq, 8)).unwrap();
    assert_eq!(
        starts(&run),
        [Some(0), Some(300), Some(150), Some(10), None]
    );
    let ended: Vec<_> = run.outcome.tasks.iter().map(|t| t.ended.unwrap()).collect();
    use super::outcome::Ending::{Cancelled, Completed};
    assert_eq!(ended[1], (Timestamp(400_000), Completed));
    assert_eq!(ended[2].1, Completed);
    assert_eq!(run.outcome.spells.iter().filter(|s| s.task == 2).count(), 2);
    assert_eq!(ended[3], (Timestamp(50_000), Cancelled));
    assert_eq!(ended[4], (Timestamp(20_000), Cancelled));
}

#[test]
fn tasks_of_one_id_are_refused() {
    let twice = [
        work(0, 0, Priority::Standard, Some(1)),
        work(0, 5, Priority::Standard, Some(1)),
    ];
    let refused = run(&twice, &settings(Discipline::Mlfq, 8)).unwrap_err();
    assert_eq!(refused.to_string(), "there are two tasks t0");
}
