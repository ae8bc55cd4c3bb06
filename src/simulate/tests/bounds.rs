//! Random histories: nothing starves, nothing is left, and the same seed gives the same.

use ledger_core::event::{Priority, Terms};
use ledger_core::time::{Micros, Timestamp};
use proptest::prelude::*;

use super::super::bound::{self, Stay, Until};
use super::super::engine::{Run, run};
use super::super::outcome::Ending;
use super::super::summary::Summary;
use super::super::work::{Course, Discipline, Manner, Reaper, Settings, Work};
use super::{id, settings, work};

/// Tasks with retries, losses, cancellations, dependencies and hangs.
fn anything() -> impl Strategy<Value = Vec<Work>> {
    let one = (0_u64..400, 1_u64..1500, 0_usize..3, 0_u32..40, any::<u16>());
    prop::collection::vec(one, 1..100).prop_map(|drawn| {
        let mut arrival = 0;
        let tasks = drawn.into_iter().enumerate();
        tasks
            .map(|(n, (gap, length, queue, what, more))| {
                arrival += gap;
                let mut task = work(n, arrival, Priority::ALL[queue], Some(length));
                task.max_runtime.0 = 1_200;
                let length = Micros(length * 1000);
                let mut terms = Terms::default();
                match what {
                    0 => task.courses = vec![Course::Hangs],
                    1 => task.courses = vec![Course::Ends(length, Manner::Lost)],
                    2 => task.courses = vec![Course::Ends(length, Manner::Cancelled)],
                    3 | 4 => {
                        terms.max_attempts = 3;
                        let failed = Course::Ends(length, Manner::Badly);
                        task.courses = vec![failed, Course::Ends(length, Manner::Well)];
                    }
                    5 => {
                        let later = arrival + u64::from(more % 3_000);
                        task.withdrawn = Some(Timestamp(later * 1000));
                    }
                    6 | 7 if n > 0 => terms.depends_on = vec![id(usize::from(more) % n)],
                    8 => terms.not_before = Some(Timestamp((arrival + 700) * 1000)),
                    9 => terms.expires_at = Some(Timestamp((arrival + 900) * 1000)),
                    _ => {}
                }
                task.terms = Some(Box::new(terms));
                task
            })
            .collect()
    })
}

/// That every stay in queue 0 came before those that came there later, looked through from end to
/// end; `false` if a later one was started before one that had room.
fn in_turn(stays: &[Stay], boost: u64, slots: usize) -> bool {
    let entered = |stay: &Stay| {
        (
            stay.ready_at.0 + boost * u64::from(stay.queue.level()),
            stay.since,
        )
    };
    let runs = |stay: &Stay, instant: usize| match stay.until {
        Until::Started { order, .. } => order < instant,
        Until::Left(_) | Until::Waits => false,
    };
    stays.iter().all(|started| {
        let Until::Started { at, order: now, .. } = started.until else {
            return true;
        };
        let ended = |stay: &Stay| {
            matches!(stay.until, Until::Started { ended: Some(end), .. } if end <= at)
        };
        let open = stays.iter().filter(|s| runs(s, now) && !ended(s));
        let others = open.filter(|s| s.queue != Priority::Interactive).count();
        let mine = Some(entered(started)).filter(|(entered, _)| *entered <= at.0);
        stays.iter().all(|other| {
            let there = entered(other).0 <= at.0;
            let waits = match other.until {
                Until::Started { order, .. } => order > now,
                Until::Left(left) => left > at,
                Until::Waits => true,
            };
            let barred = other.queue != Priority::Interactive && slots > 1 && others + 1 >= slots;
            !(there && waits) || barred || mine.is_some_and(|mine| mine < entered(other))
        })
    })
}

fn all_ended(run: &Run) -> bool {
    run.outcome.tasks.iter().all(|task| task.ended.is_some())
        && run.outcome.spells.iter().all(|spell| spell.ended.is_some())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn nothing_starves_and_nothing_is_left(tasks in anything(), slots in 1_usize..6, seed in any::<u64>()) {
        for discipline in [Discipline::Mlfq, Discipline::Fifo] {
            let settings = Settings { seed, ..settings(discipline, slots) };
            let run = run(&tasks, &settings).unwrap();
            let rules = run.rules.expect("there are no keys");
            let checked = bound::check(&run.stays, &rules);
            prop_assert!(checked.is_ok(), "{checked:?}");
            prop_assert!(in_turn(&run.stays, 1_000_000, slots));
            prop_assert!(all_ended(&run));
            prop_assert_eq!(Summary::of(&run.outcome, Some(slots)).leftover, 0);
        }
    }

    #[test]
    fn the_bound_holds_as_well_where_nothing_ends_what_hangs(
        tasks in anything(),
        slots in 1_usize..6,
        horizon in 0_u64..20_000,
    ) {
        let settings = Settings {
            reaper: Reaper::Off,
            horizon: Some(Timestamp(horizon * 1000)),
            ..settings(Discipline::Mlfq, slots)
        };
        let run = run(&tasks, &settings).unwrap();
        let checked = bound::check(&run.stays, &run.rules.expect("there are no keys"));
        prop_assert!(checked.is_ok(), "{checked:?}");
        let held = Summary::of(&run.outcome, Some(slots));
        prop_assert!(held.busy_us.0 <= held.horizon_us.0 * slots as u64);
        prop_assert!(held.waste_us <= held.busy_us);
    }

    #[test]
    fn a_start_out_of_turn_is_found(tasks in anything(), slots in 1_usize..4, which in any::<u16>()) {
        let run = run(&tasks, &settings(Discipline::Mlfq, slots)).unwrap();
        let rules = run.rules.expect("there are no keys");
        // Two starts change places: found by both, or by neither because it changed nothing that counts.
        let mut stays = run.stays;
        let n = usize::from(which) % stays.len();
        let m = (n + 1) % stays.len();
        let (a, b) = (stays[n].until, stays[m].until);
        if let (Until::Started { ended: Some(_), .. }, Until::Started { ended: Some(_), .. }) = (a, b) {
            (stays[n].until, stays[m].until) = (b, a);
            if !in_turn(&stays, 1_000_000, slots) {
                prop_assert!(bound::check(&stays, &rules).is_err());
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same(tasks in anything(), slots in 1_usize..6, seed in any::<u64>()) {
        let settings = Settings { seed, ..settings(Discipline::Mlfq, slots) };
        let told = |tasks: &[Work]| {
            let run = run(tasks, &settings).unwrap();
            serde_json::to_string(&Summary::of(&run.outcome, Some(slots))).unwrap()
        };
        prop_assert_eq!(told(&tasks), told(&tasks));
    }
}

#[test]
fn more_slots_complete_no_less_work() {
    let tasks: Vec<Work> = (0..500)
        .map(|n| work(n, n as u64 * 20, Priority::ALL[n % 3], Some(100)))
        .collect();
    let mut last = u64::MAX;
    for slots in 1..12 {
        let run = run(&tasks, &settings(Discipline::Mlfq, slots)).unwrap();
        let completed = |task: &&super::super::outcome::Fate| {
            matches!(task.ended, Some((_, Ending::Completed)))
        };
        assert_eq!(run.outcome.tasks.iter().filter(completed).count(), 500);
        let took = run.outcome.end.0;
        assert!(took <= last, "{slots} slots took {took}, one less {last}");
        last = took;
    }
}
