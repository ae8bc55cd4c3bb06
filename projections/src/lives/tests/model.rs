//! The fold against a model that keeps every event and judges each life by itself, backwards from
//! what there is; and how much the fold keeps.

use std::collections::{BTreeMap, BTreeSet};

use ledger_core::ids::Seq;
use ledger_core::verify::Examine;
use proptest::prelude::*;

use super::super::finding::REMEMBERED;
use super::super::{Finding, Problem};
use super::{Lives, Told, blocks, fold, outcome};
use crate::framework::hash_at;
use crate::testkit::{History, Recorded};

/// How many lives of each family have ended and are open, counted over all events at once.
fn counted(events: &[Recorded]) -> BTreeMap<&'static str, (u64, u64)> {
    let count = |kinds: &[&str]| {
        let fits = |e: &&Recorded| kinds.contains(&e.kind.as_str());
        events.iter().filter(fits).count() as u64
    };
    let lives = |begin: &[&str], end: &[&str]| (count(end), count(begin) - count(end));
    // A cancelled task had an attempt if its event names one.
    let cancelled = events.iter().filter(|e| {
        let data = e.event.kind_and_data();
        e.kind == "task.cancelled" && data.is_some_and(|(_, data)| data.contains("\"attempt\""))
    });
    let attempts = count(&[
        "task.completed",
        "task.failed",
        "task.timed_out",
        "task.lost",
    ]) + cancelled.count() as u64;
    BTreeMap::from([
        (
            "term",
            lives(
                &["lease.acquired"],
                &["lease.released", "lease.lost", "lease.fenced"],
            ),
        ),
        (
            "node",
            lives(
                &["node.started"],
                &["lease.released", "lease.lost", "lease.fenced"],
            ),
        ),
        (
            "task",
            lives(
                &["task.submitted", "task.retried"],
                &["task.completed", "task.cancelled", "task.dead"],
            ),
        ),
        ("attempt", (attempts, count(&["task.started"]) - attempts)),
        (
            "process",
            lives(
                &["process.registered", "process.watched"],
                &[
                    "process.exited",
                    "process.reaped",
                    "process.lost",
                    "process.terminated",
                    "process.ended",
                    "process.unwatched",
                ],
            ),
        ),
        ("job", {
            let due = count(&["job.due", "job.triggered"]);
            let (resumed, open) = lives(&["job.paused"], &["job.resumed"]);
            (due + resumed, open)
        }),
        (
            "checkpoint",
            lives(&["checkpoint.created"], &["checkpoint.pruned"]),
        ),
    ])
}

/// Whether the events of one task and its processes could have happened, in this order: looks for
/// what must precede each event among all that came before it.
fn task_is_possible(events: &[(usize, &str, Option<u64>)]) -> bool {
    const CLOSE: [&str; 5] = ["completed", "failed", "timed_out", "lost", "cancelled"];
    const BROKEN: [&str; 3] = ["failed", "timed_out", "lost"];
    const END: [&str; 4] = ["completed", "cancelled", "dead", "perished"];
    let before = |n: usize| events[..n].last().map(|(_, kind, _)| *kind);
    // The last event that changes where the task stands.
    let stand = |n: usize| {
        let moves = |(_, kind, _): &&(usize, &str, Option<u64>)| *kind != "cancel_requested";
        events[..n].iter().rfind(moves).copied()
    };
    (0..events.len()).all(|n| {
        let (_, kind, attempt) = events[n];
        let standing = stand(n);
        let stands = |kinds: &[&str]| standing.is_some_and(|(_, kind, _)| kinds.contains(&kind));
        let of_before = standing.and_then(|(_, _, attempt)| attempt);
        match kind {
            "submitted" => before(n).is_none() || stands(&END),
            "retried" => before(n).is_none() || stands(&END),
            "started" => match standing {
                Some((_, "submitted", _)) => attempt == Some(1),
                Some((_, "retried" | "requeued", next)) => attempt == next,
                _ => false,
            },
            "cancel_requested" => stands(&["started"]) && of_before == attempt,
            "cancelled" if attempt.is_none() => stands(&["submitted", "retried", "requeued"]),
            close if CLOSE.contains(&close) => stands(&["started"]) && of_before == attempt,
            "requeued" => stands(&BROKEN) && attempt == of_before.map(|n| n + 1),
            "dead" => stands(&BROKEN),
            // Dead while it waited.
            "perished" => stands(&["submitted", "retried", "requeued"]),
            other => panic!("{other}"),
        }
    }) && !events
        .iter()
        .rfind(|(_, kind, _)| *kind != "cancel_requested")
        .is_some_and(|(_, kind, _)| BROKEN.contains(kind))
}

fn tasks_are_possible(story: &[Told]) -> bool {
    let mut tasks: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (n, (_, kind, subject, data)) in story.iter().enumerate() {
        if let Some(kind) = kind.strip_prefix("task.") {
            let data: serde_json::Value = serde_json::from_str(data).unwrap();
            let kind = match (kind, data["reason"].as_str()) {
                ("reprioritized" | "throttled", _) => continue,
                ("dead", Some("dependency" | "expired")) => "perished",
                (kind, _) => kind,
            };
            let life = tasks.entry(subject).or_default();
            life.push((n, kind, data["attempt"].as_u64()));
        }
    }
    tasks.values().all(|events| task_is_possible(events))
}

/// A history as a story that can be told otherwise. What nodes say of their counts is left out, and
/// processes, which have models of their own in `faults`.
fn story(history: &History) -> Vec<Told> {
    let tell = |e: &Recorded| {
        let (kind, data) = e.event.kind_and_data()?;
        let family = kind.split('.').next()?;
        let told = ["ledger", "lease", "task"].contains(&family);
        let subject = format!("{family}/{}", e.subject);
        told.then(|| (e.term.0, kind.to_owned(), subject, data))
    };
    history.events().iter().filter_map(tell).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_could_happen_is_complete_and_counted_however_it_is_cut(
        choices in prop::collection::vec(any::<u32>(), 0..250),
        cut in any::<prop::sample::Index>(),
    ) {
        let history = History::drawn(&choices);
        let blocks = history.blocks();
        for cut in [blocks.len(), cut.index(blocks.len()) + 1] {
            let head = blocks[cut - 1].last();
            let outcome = fold(&blocks, head, |_| {});
            prop_assert!(outcome.is_complete(), "{:#?}", outcome.findings);
            let upto = usize::try_from(head.0).unwrap();
            let tallies = outcome.lives.iter().map(|t| (t.family, (t.ended, t.open)));
            prop_assert_eq!(tallies.collect::<BTreeMap<_, _>>(), counted(&history.events()[..upto]));
        }
    }

    #[test]
    fn what_was_changed_is_found_where_the_model_finds_it(
        choices in prop::collection::vec(any::<u32>(), 20..120),
        change in 0..4,
        at in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
    ) {
        let mut story = story(&History::drawn(&choices));
        let tasks: Vec<_> = (0..story.len()).filter(|&n| story[n].1.starts_with("task.")).collect();
        prop_assume!(!tasks.is_empty());
        let (at, other) = (tasks[at.index(tasks.len())], tasks[other.index(tasks.len())]);
        match change {
            0 => drop(story.remove(at)),
            1 => {
                let again = (story[other].0, story[at].1.clone(), story[at].2.clone(), story[at].3.clone());
                story.insert(other, again);
            }
            2 => {
                let (a, b) = (story[at].0, story[other].0);
                story.swap(at, other);
                (story[at].0, story[other].0) = (a, b);
            }
            _ => {}
        }
        let outcome = outcome(&story);
        prop_assert_eq!(outcome.is_complete(), tasks_are_possible(&story), "{:#?}", outcome.findings);
    }
}

#[test]
fn a_checkpoint_is_of_the_history_that_it_is_in() {
    let history = History::seeded(11, 400);
    let blocks = history.blocks();
    let mut kept = 0;
    for cut in 1..=blocks.len() {
        let (examiner, mut lives) = Lives::begin(blocks[cut - 1].last());
        for block in &blocks[..cut] {
            let mut notes = Default::default();
            for event in block.events() {
                examiner.event(&event.unwrap(), &mut notes);
            }
            lives.fold(notes);
        }
        let claims = lives.claims();
        kept += claims.len();
        for claim in claims {
            let found = hash_at(history.store(), claim.of).unwrap();
            assert_eq!(claim.hash, found);
            lives.look_up(claim.clone(), found);
            lives.look_up(claim, ledger_core::hash::Hash::ZERO);
        }
        let problems = lives.end().findings;
        let wrong = |f: &Finding| matches!(f.problem, Problem::OtherHash { .. });
        assert!(
            problems.iter().all(wrong) && problems.len() <= 1,
            "{problems:#?}"
        );
    }
    assert!(kept > 0);
}

#[test]
fn memory_holds_what_is_open_and_not_the_history() {
    // Steps that end as many lives as they begin, and now and then a new term.
    let round = [0, 5, 10, 12, 19, 0, 5, 10, 14, 18, 5, 10, 15, 18, 17];
    let choices: Vec<u32> = round.iter().copied().cycle().take(12_000).collect();
    let history = History::drawn(&choices);
    let blocks = history.blocks();
    let mut open = BTreeSet::new();
    let mut most = 0;
    let outcome = fold(&blocks, Seq(u64::MAX), |lives: &Lives| {
        most = most.max(lives.held());
        open.insert(
            lives
                .families
                .iter()
                .flat_map(|f| f.tallies())
                .map(|t| t.open)
                .sum::<u64>(),
        );
    });
    assert!(outcome.is_complete(), "{:#?}", outcome.findings);
    let ended: u64 = outcome.lives.iter().map(|tally| tally.ended).sum();
    assert!(ended > 5 * REMEMBERED as u64, "{ended}");
    // A process is held twice, by itself and by its task.
    let most_open = usize::try_from(*open.last().unwrap()).unwrap();
    assert!(most <= 2 * most_open + 2, "{most} held, {most_open} open");
    assert!(most_open < 200, "{most_open}");
}

#[test]
fn only_so_many_of_the_ended_are_remembered() {
    let mut story = super::faults::led();
    for n in 0..REMEMBERED + 10 {
        let subject = format!("task/t{n}");
        story.push((1, "task.submitted".into(), subject.clone(), "{}".into()));
        story.push((1, "task.cancelled".into(), subject, "{}".into()));
    }
    let (_, mut lives) = Lives::begin(Seq::ZERO);
    let (examiner, _) = Lives::begin(Seq(u64::MAX));
    for block in blocks(&story) {
        let mut notes = Default::default();
        for event in block.events() {
            examiner.event(&event.unwrap(), &mut notes);
        }
        lives.fold(notes);
    }
    assert_eq!(lives.findings.remembered(), (REMEMBERED, REMEMBERED));
}
