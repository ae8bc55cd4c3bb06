//! First in first out on several slots, against the recursion of Kiefer and Wolfowitz (1955): each
//! task is started when it has come and the slot that is free first is free.

use ledger_core::event::Priority;
use proptest::prelude::*;

use super::super::engine::run;
use super::super::work::{Discipline, Reaper, Settings};
use super::{settings, starts, work};

/// When each task is started; `None` for those that never are.
fn recursion(tasks: &[(u64, Option<u64>)], slots: usize, limit: Option<u64>) -> Vec<Option<u64>> {
    let mut free: Vec<Option<u64>> = vec![Some(0); slots];
    let mut starts = Vec::new();
    for (arrival, length) in tasks {
        free.sort_by_key(|at| at.unwrap_or(u64::MAX));
        let start = free[0].map(|at| at.max(*arrival));
        let runs = match (length, limit) {
            (Some(length), Some(limit)) => Some(*length.min(&limit)),
            (None, limit) => limit,
            (length, None) => *length,
        };
        free[0] = start.and_then(|start| Some(start + runs?));
        starts.push(start);
    }
    starts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn it_starts_tasks_when_the_recursion_does(
        tasks in prop::collection::vec((0_u64..60, 1_u64..200, 0_u32..20, 0_usize..3), 1..120),
        slots in 1_usize..6,
        reaped in any::<bool>(),
    ) {
        let mut arrival = 0;
        let mut plain = Vec::new();
        let mut given = Vec::new();
        for (n, (gap, length, hangs, queue)) in tasks.into_iter().enumerate() {
            arrival += gap;
            let length = (hangs > 0).then_some(length);
            plain.push((arrival, length));
            let mut task = work(n, arrival, Priority::ALL[queue], length);
            task.max_runtime.0 = 150;
            given.push(task);
        }
        let reaper = if reaped { Reaper::On } else { Reaper::Off };
        let settings = Settings { reaper, ..settings(Discipline::Fifo, slots) };
        let run = run(&given, &settings).unwrap();
        prop_assert_eq!(starts(&run), recursion(&plain, slots, reaped.then_some(150)));
    }
}
