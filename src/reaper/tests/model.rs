//! Whatever is asked and reported, in whatever order: held against a model that knows of each process
//! only whether it is watched, being ended, or neither.

use std::collections::BTreeMap;

use ledger_core::event::{EndSeen, ProcessEvent, ReapCause, UnwatchReason};
use ledger_core::time::{Micros, Timestamp};
use proptest::prelude::*;

use super::super::decide::{self, Report};
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Watch(i32),
    Unwatch(i32),
    Report(i32, Report),
    Register(i32),
    Exit(i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Model {
    Watched,
    Reaping,
    OfAttempt,
}

fn step() -> impl Strategy<Value = Step> {
    let report = prop_oneof![
        Just(Report::Due {
            cause: ReapCause::MaxRuntime,
            runtime: Micros(1),
            idle: None
        }),
        Just(Report::Due {
            cause: ReapCause::Stalled,
            runtime: Micros(1),
            idle: Some(Micros(1))
        }),
        Just(Report::Ended {
            seen: EndSeen::AtOnce,
            runtime: None
        }),
        Just(Report::Terminated {
            steps: Vec::new(),
            runtime: Micros(1)
        }),
        Just(Report::Survived {
            steps: Vec::new(),
            survivors: Vec::new()
        }),
        Just(Report::LetGo(UnwatchReason::Recycled)),
        Just(Report::LetGo(UnwatchReason::Forbidden)),
    ];
    let pid = 2..6_i32;
    prop_oneof![
        3 => pid.clone().prop_map(Step::Watch),
        1 => pid.clone().prop_map(Step::Unwatch),
        4 => (pid.clone(), report).prop_map(|(pid, report)| Step::Report(pid, report)),
        1 => pid.clone().prop_map(Step::Register),
        1 => pid.prop_map(Step::Exit),
    ]
}

/// What the model becomes; nothing if the step must not lead to an event.
fn next(now: Option<Model>, step: &Step) -> Option<Option<Model>> {
    use Model::{OfAttempt, Reaping, Watched};
    match (step, now) {
        (Step::Watch(_), None) => Some(Some(Watched)),
        (Step::Unwatch(_), Some(Watched)) => Some(None),
        (Step::Register(_), None) => Some(Some(OfAttempt)),
        (Step::Exit(_), Some(OfAttempt)) => Some(None),
        (Step::Report(_, report), Some(Watched | Reaping)) => match (report, now) {
            (Report::Due { .. }, Some(Watched)) => Some(Some(Reaping)),
            (Report::Survived { .. }, Some(Reaping)) => Some(Some(Reaping)),
            (Report::Terminated { .. }, Some(Reaping)) => Some(None),
            (Report::Ended { .. } | Report::LetGo(_), _) => Some(None),
            _ => None,
        },
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn decisions_follow_the_model_and_always_fold(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut folded = Folded::default();
        let mut model: BTreeMap<i32, Model> = BTreeMap::new();
        for step in &steps {
            let (Step::Watch(pid)
            | Step::Unwatch(pid)
            | Step::Report(pid, _)
            | Step::Register(pid)
            | Step::Exit(pid)) = step;
            let expected = next(model.get(pid).copied(), step);
            let processes = &folded.processes;
            let mut process = candidate(*pid);
            // Not below the shim of the attempts, or nobody could be watched while one runs.
            process.room = 10;
            let decided = match step {
                Step::Watch(_) => {
                    decide::watch(processes, &process, terms(60_000), &uid(1000), Timestamp(9)).ok()
                }
                Step::Unwatch(pid) => decide::unwatch(processes, &pid.to_string()).ok(),
                Step::Report(pid, report) => decide::reported(processes, &id(*pid), report),
                Step::Register(pid) => {
                    if expected.is_some() {
                        folded.register(*pid);
                    }
                    None
                }
                Step::Exit(pid) => {
                    if expected.is_some() {
                        folded.exit(*pid);
                    }
                    None
                }
            };
            if !matches!(step, Step::Register(_) | Step::Exit(_)) {
                prop_assert_eq!(decided.is_some(), expected.is_some(), "{:?}", step);
            }
            if let Some(decided) = decided {
                folded.fold(&decided);
            }
            match expected {
                Some(Some(now)) => drop(model.insert(*pid, now)),
                Some(None) => drop(model.remove(pid)),
                None => {}
            }
        }
        let held: Vec<i32> = folded.processes.iter().map(|(_, process)| process.pid).collect();
        let open: Vec<i32> = model.keys().copied().collect();
        prop_assert_eq!(held, open);
    }
}

#[test]
fn a_report_is_recorded_as_what_it_is() {
    let mut folded = Folded::default();
    let decided = decide::watch(
        &folded.processes,
        &candidate(7),
        terms(60_000),
        &uid(1000),
        Timestamp(10_000_000),
    );
    let decided = decided.unwrap();
    let Event::Process(ProcessEvent::Watched(watched)) = &decided.event else {
        panic!("{decided:?}");
    };
    assert_eq!(watched.started_at, Timestamp(9_000_000));
    folded.fold(&decided);
    assert_eq!(
        decide::reported(
            &folded.processes,
            "boot.7.8",
            &Report::LetGo(UnwatchReason::Recycled)
        ),
        None,
        "another process of that number"
    );
}
