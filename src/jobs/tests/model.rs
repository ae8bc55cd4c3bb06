//! Due times against a model that counts on its fingers: over random restarts, pauses, ends of runs
//! and clocks that are set, each due time is decided exactly once, in order, and by the right policy.

use std::collections::BTreeSet;

use ledger_core::event::*;
use ledger_core::ids::Id;
use ledger_core::time::Timestamp;
use projections::framework::Projection;
use projections::jobs::{JobState, Jobs};
use proptest::prelude::*;

use super::super::decide::{self, Step};
use super::super::{Agenda, Times};
use super::policy::{Book, id, s, spec};
use crate::decided::Decided;

const EVERY: u64 = 10;

#[derive(Debug, Clone)]
enum Move {
    /// So much time passes, and the node looks.
    Pass(u64),
    /// The clock is set back.
    Back(u64),
    /// The node is gone for so long, and comes up again.
    Restart(u64),
    Pause,
    Resume,
    /// The oldest run that goes on ends.
    End,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (0u64..25).prop_map(Move::Pass),
        1 => (1u64..60).prop_map(Move::Back),
        2 => (0u64..90).prop_map(Move::Restart),
        1 => Just(Move::Pause),
        1 => Just(Move::Resume),
        3 => Just(Move::End),
    ];
    prop::collection::vec(one, 0..80)
}

fn policies() -> impl Strategy<Value = (Overlap, Missed)> {
    prop_oneof![
        Just((Overlap::Skip, Missed::RunOnce)),
        Just((Overlap::Skip, Missed::Skip)),
        Just((Overlap::Queue, Missed::RunOnce)),
        Just((Overlap::Queue, Missed::RunAll { at_most: 3 })),
        Just((Overlap::CancelRunning, Missed::Skip)),
    ]
}

struct Model {
    /// The last due time that was decided, and the period's phase with it.
    decided: u64,
    runs: BTreeSet<u64>,
    /// Runs whose tasks go on.
    live: Vec<u64>,
}

impl Model {
    /// What must follow at `now`, as runs and as due times left out.
    fn due(
        &mut self,
        now: u64,
        watched: u64,
        overlap: Overlap,
        missed: Missed,
    ) -> (Vec<u64>, Vec<u64>) {
        let mut all = Vec::new();
        while self.decided + EVERY <= now {
            self.decided += EVERY;
            all.push(self.decided);
        }
        let want = match missed {
            Missed::RunAll { at_most } => at_most as usize,
            Missed::RunOnce | Missed::Skip => 1,
        };
        let keep = all.len().saturating_sub(want);
        let mut out = all[..keep].to_vec();
        let mut runs = all[keep..].to_vec();
        let late = runs.last().is_some_and(|last| *last <= watched);
        if (missed == Missed::Skip && late) || (overlap == Overlap::Skip && !self.live.is_empty()) {
            out.append(&mut runs);
        }
        (runs, out)
    }
}

fn restart(book: &mut Book) {
    let mut rows = Vec::new();
    book.jobs
        .rows(&mut |k, v| rows.push((k.to_owned(), v.to_owned())));
    book.jobs = Jobs::from_rows(&mut rows.into_iter()).unwrap();
}

fn end(book: &mut Book, due: u64) {
    let task: Id = decide::due_task(&id("j"), s(due), 0);
    let ended = TaskEvent::Cancelled(TaskCancelled {
        attempt: None,
        reason: None,
        runtime_us: None,
        outputs: None,
    });
    book.record([Decided::new(ledger_core::ids::task_subject(&task), ended)]);
}

/// Looks at what is due, and holds it against the model.
fn look(
    book: &mut Book,
    model: &mut Model,
    (now, watched): (u64, u64),
    (overlap, missed): (Overlap, Missed),
) {
    if book.jobs.get("j").unwrap().state() == JobState::Paused {
        assert!(book.due(s(now), s(watched)).is_empty());
        return;
    }
    let mut agenda = Agenda::default();
    agenda.refresh(&book.jobs);
    let times = Times::same(s(now));
    let due = s(model.decided + EVERY);
    assert_eq!(agenda.next(times), Some(due.since(s(now))));
    assert_eq!(agenda.due(times).is_some(), model.decided + EVERY <= now);
    let (runs, out) = model.due(now, watched, overlap, missed);
    let (mut ran, mut left) = (Vec::new(), Vec::new());
    for step in book.due(s(now), s(watched)) {
        match step {
            Step::Run { due_at, cancel } => {
                let live: Vec<_> = model
                    .live
                    .iter()
                    .map(|d| decide::due_task(&id("j"), s(*d), 0))
                    .collect();
                let cancelled = overlap == Overlap::CancelRunning;
                assert_eq!(cancel, if cancelled { live } else { Vec::new() });
                ran.push(due_at.0 / 1_000_000);
            }
            Step::Skip(skipped) => {
                let last = skipped.through.unwrap_or(skipped.due_at);
                let mut at = skipped.due_at;
                while at <= last {
                    left.push(at.0 / 1_000_000);
                    at = Timestamp(at.0 + EVERY * 1_000_000);
                }
            }
        }
    }
    assert_eq!((&ran, &left), (&runs, &out));
    for due in ran {
        assert!(model.runs.insert(due), "{due} was run twice");
        if overlap == Overlap::CancelRunning {
            for before in std::mem::take(&mut model.live) {
                end(book, before);
            }
        }
        model.live.push(due);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn each_due_time_is_decided_once_whatever_happens(moves in moves(), policies in policies()) {
        let mut book = Book::default();
        let (mut now, mut watched) = (1000, 1000);
        book.define(&spec(EVERY, policies.0, policies.1), s(now));
        let mut model = Model { decided: now, runs: BTreeSet::new(), live: Vec::new() };
        for one in moves {
            match one {
                Move::Pass(time) => now += time,
                Move::Back(time) => now -= time.min(now),
                Move::Restart(time) => {
                    now += time;
                    watched = now;
                    restart(&mut book);
                }
                Move::Pause => {
                    let paused = decide::pause(&book.jobs, &id("j"), None).unwrap();
                    book.record(paused);
                }
                Move::Resume => {
                    let resumed = decide::resume(&book.jobs, &id("j"), Times::same(s(now))).unwrap();
                    // A clock that was set back meanwhile would have it run again what was run: that
                    // is for whoever knows the tasks, so the model stays with times to come.
                    if now >= model.decided && book.record(resumed) > 0 {
                        model.decided = now;
                    }
                }
                Move::End => {
                    if !model.live.is_empty() {
                        let due = model.live.remove(0);
                        end(&mut book, due);
                    }
                }
            }
            look(&mut book, &mut model, (now, watched), policies);
        }
    }
}
