//! `status` against a naive recount of all events, and what it refuses.

use std::collections::{BTreeMap, BTreeSet};

use ledger_core::event::*;
use ledger_core::ids::{Entity, Id, Seq, Term};
use ledger_core::time::{Micros, Millis, Timestamp};
use proptest::prelude::*;

use super::{Percentiles, RECENT_RUNS, Status, StatusReport, TaskCounts, TermState};
use crate::framework::{Health, Projection, rebuild, unwatched};
use crate::testkit::{History, LEDGER, Recorded};

fn at(history: &History, upto: Seq) -> Status {
    let fold = rebuild::<Status>(history.store(), Some(upto), &mut unwatched).unwrap();
    assert_eq!(fold.health(), &Health::Following);
    fold.into_state()
}

fn task(r: &Recorded) -> Option<&TaskEvent> {
    match &r.event {
        Event::Task(event) => Some(event),
        _ => None,
    }
}

/// State by the last event of each task that says it, and its queue by the last that does.
fn recount_states(events: &[Recorded]) -> BTreeMap<&str, (Priority, &'static str, &Recorded)> {
    let mut states = BTreeMap::new();
    for r in events {
        let Some(event) = task(r) else { continue };
        if let TaskEvent::Submitted(e) = event {
            states.insert(&*r.subject, (e.priority, "queued", r));
            continue;
        }
        let state = match event.kind() {
            "task.throttled" => continue,
            "task.requeued" | "task.retried" | "task.reprioritized" => "queued",
            "task.started" => "running",
            "task.cancel_requested" => "cancelling",
            "task.completed" => "completed",
            "task.cancelled" => "cancelled",
            "task.dead" => "dead",
            _ => "undecided",
        };
        let queue = match event {
            TaskEvent::Reprioritized(e) => Some(e.priority),
            TaskEvent::Failed(e) => e.demoted_to,
            TaskEvent::TimedOut(e) => e.demoted_to,
            _ => None,
        };
        let queue = queue.unwrap_or(states[&*r.subject].0);
        states.insert(&r.subject, (queue, state, r));
    }
    states
}

fn counts<'a>(
    states: impl Iterator<Item = &'a (Priority, &'static str, &'a Recorded)>,
) -> TaskCounts {
    let mut c = TaskCounts::default();
    for (_, state, _) in states {
        *match *state {
            "queued" => &mut c.queued,
            "running" => &mut c.running,
            "cancelling" => &mut c.cancelling,
            "undecided" => &mut c.undecided,
            "completed" => &mut c.completed,
            "cancelled" => &mut c.cancelled,
            _ => &mut c.dead,
        } += 1;
    }
    c
}

fn check_percentiles(told: Percentiles, mut values: Vec<u64>) {
    values.sort_unstable();
    assert_eq!(told.count, values.len() as u64);
    assert_eq!(told.max_us, values.last().map(|&v| Micros(v)));
    for (percent, told) in [(50, told.p50_us), (95, told.p95_us), (99, told.p99_us)] {
        let rank = (values.len() * percent).div_ceil(100);
        let exact = rank.checked_sub(1).map(|i| values[i]);
        assert_eq!(told.is_some(), exact.is_some());
        let (told, exact) = (told.unwrap_or_default().0, exact.unwrap_or_default());
        assert!(
            told.abs_diff(exact) * 64 <= exact,
            "p{percent}: {exact} told as {told}"
        );
    }
}

fn check_queue(report: &StatusReport, queue: Priority, events: &[Recorded]) {
    let states = recount_states(events);
    let told = &report.queues[usize::from(queue.level())];
    let of_queue = || states.values().filter(|(q, _, _)| *q == queue);
    assert_eq!(told.tasks, counts(of_queue()));
    let pause = events
        .iter()
        .rfind(|r| r.kind.starts_with("queue.") && r.subject == queue.name());
    let pause = pause.filter(|r| r.kind == "queue.paused").map(|r| r.seq);
    assert_eq!(told.paused.as_ref().map(|pause| pause.since), pause);
    let oldest = of_queue()
        .filter(|(_, state, _)| *state == "queued")
        .min_by_key(|s| s.2.seq);
    let oldest = oldest.map(|(_, _, r)| (r.subject.as_str(), r.seq, r.at, report.now.since(r.at)));
    let told_oldest = told.oldest_waiting.as_ref();
    let told_oldest = told_oldest.map(|w| (w.task.as_str(), w.since, w.since_at, w.waited_us));
    assert_eq!(told_oldest, oldest);
    let waits = events.iter().filter_map(task).filter_map(|e| match e {
        TaskEvent::Started(e) if e.queue == queue => Some(e.waited_us.0),
        _ => None,
    });
    check_percentiles(told.wait, waits.collect());
    // An attempt ran in the queue that its task was last taken from.
    let taken_from = |n: usize| {
        let started = events[..n]
            .iter()
            .rev()
            .filter(|r| r.subject == events[n].subject);
        started.filter_map(task).find_map(|e| match e {
            TaskEvent::Started(e) => Some(e.queue),
            _ => None,
        })
    };
    let runtimes = (0..events.len()).filter(|&n| task(&events[n]).is_some());
    let runtimes = runtimes.filter(|&n| taken_from(n) == Some(queue));
    let runtimes = runtimes.filter_map(|n| match task(&events[n])? {
        TaskEvent::Completed(e) => Some(e.runtime_us.0),
        TaskEvent::Failed(e) => Some(e.runtime_us.0),
        TaskEvent::TimedOut(e) => Some(e.runtime_us.0),
        TaskEvent::Cancelled(e) => e.runtime_us.map(|r| r.0),
        _ => None,
    });
    check_percentiles(told.runtime, runtimes.collect());
}

fn check_totals(report: &StatusReport, events: &[Recorded]) {
    let kinds = |kind: &str| events.iter().filter(|r| r.kind == kind).count() as u64;
    let family = |name: &str| events.iter().filter(|r| r.kind.starts_with(name)).count() as u64;
    let (t, p, u, e) = (
        &report.totals,
        &report.processes,
        &report.upkeep,
        &report.events,
    );
    for (told, kind) in [
        (t.submitted, "task.submitted"),
        (t.started, "task.started"),
        (t.completed, "task.completed"),
        (t.failed, "task.failed"),
        (t.timed_out, "task.timed_out"),
        (t.lost, "task.lost"),
        (t.requeued, "task.requeued"),
        (t.cancel_requested, "task.cancel_requested"),
        (t.cancelled, "task.cancelled"),
        (t.dead, "task.dead"),
        (t.retried, "task.retried"),
        (t.reprioritized, "task.reprioritized"),
        (t.throttled, "task.throttled"),
        (p.registered, "process.registered"),
        (p.exited, "process.exited"),
        (
            p.reaped_cancel + p.reaped_leftovers + p.reaped_max_runtime + p.reaped_stalled,
            "process.reaped",
        ),
        (p.lost, "process.lost"),
        (p.unkillable, "process.unkillable"),
        (u.jobs_due, "job.due"),
        (u.jobs_skipped, "job.skipped"),
        (u.checkpoints_created, "checkpoint.created"),
    ] {
        assert_eq!(told, kinds(kind), "{kind}");
    }
    for (told, name) in [
        (e.ledger, "ledger."),
        (e.task, "task."),
        (e.process, "process."),
        (e.lease, "lease."),
        (e.node, "node."),
        (e.job, "job."),
        (e.checkpoint, "checkpoint."),
        (e.recovery, "recovery."),
        (e.queue, "queue."),
        (e.app, "app."),
    ] {
        assert_eq!(told, family(name), "{name}");
    }
    assert_eq!((e.unknown, report.events_total), (0, events.len() as u64));
    let demoted = events.iter().filter(|r| match task(r) {
        Some(TaskEvent::Failed(e)) => e.demoted_to.is_some(),
        Some(TaskEvent::TimedOut(e)) => e.demoted_to.is_some(),
        _ => false,
    });
    assert_eq!((t.demoted, t.boosted), (demoted.count() as u64, 0));
    let reaped = p.reaped_cancel + p.reaped_leftovers + p.reaped_max_runtime + p.reaped_stalled;
    let ended = p.exited + reaped + p.lost;
    assert_eq!(report.running_processes, p.registered - ended);
    let runs = events
        .iter()
        .filter_map(task)
        .filter_map(|e| match e.kind() {
            "task.completed" => Some(true),
            "task.failed" | "task.timed_out" | "task.lost" => Some(false),
            _ => None,
        });
    let runs: Vec<_> = runs.rev().take(RECENT_RUNS).collect();
    assert_eq!(report.recent.runs as usize, runs.len());
    assert_eq!(
        report.recent.succeeded as usize,
        runs.iter().filter(|r| **r).count()
    );
}

fn check_lease(report: &StatusReport, status: &Status, events: &[Recorded]) {
    let acquired = events.iter().rfind(|r| r.kind == "lease.acquired");
    let told = report.lease.as_ref();
    assert_eq!(told.map(|l| l.facts.acquired), acquired.map(|r| r.seq));
    let (Some(told), Some(acquired)) = (told, acquired) else {
        return;
    };
    assert_eq!(
        (told.facts.term, told.facts.acquired_at),
        (acquired.term, acquired.at)
    );
    assert_eq!(
        told.events as usize,
        events.iter().filter(|r| r.seq >= acquired.seq).count()
    );
    let released = events
        .iter()
        .find(|r| r.kind == "lease.released" && r.term == acquired.term);
    let state = released.map_or(TermState::Open, |r| TermState::Released { at: r.at });
    assert_eq!(told.facts.state, state);
    let until = released.map_or(report.now, |r| r.at);
    assert_eq!(told.held_us, until.since(acquired.at));
    let lost = events
        .iter()
        .any(|r| r.kind == "lease.lost" && r.term == acquired.term);
    let before = status.term_before().map(|t| t.state);
    assert_eq!(matches!(before, Some(TermState::Lost { .. })), lost);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_figure_is_what_a_recount_says(
        choices in prop::collection::vec(any::<u32>(), 0..250),
        cut in any::<prop::sample::Index>(),
        later in 0u64..10_000_000,
    ) {
        let history = History::drawn(&choices);
        let events = &history.events()[..=cut.index(history.events().len())];
        let last = events.last().unwrap();
        let status = at(&history, last.seq);
        let now = Timestamp(last.at.0 + later);
        let report = status.report(now);
        check_totals(&report, events);
        check_lease(&report, &status, events);
        for queue in Priority::ALL {
            check_queue(&report, queue, events);
        }
        let states = recount_states(events);
        prop_assert_eq!(report.tasks, counts(states.values()));
        let oldest = states.values().filter(|s| s.1 == "queued").map(|s| s.2.seq).min();
        prop_assert_eq!(report.oldest_waiting.map(|w| w.since), oldest);
        prop_assert_eq!(report.last_event_age_us, Some(Micros(later)));
        prop_assert_eq!(report.ledger.unwrap().ledger_id, LEDGER);
        let paused: BTreeSet<_> = events.iter().fold(BTreeSet::new(), |mut set, r| {
            match r.kind.as_str() {
                "job.paused" => { set.insert(r.subject.clone()); }
                "job.resumed" => { set.remove(&r.subject); }
                _ => {}
            }
            set
        });
        let told: BTreeSet<_> = report.upkeep.jobs_paused.iter().map(|j| j.to_string()).collect();
        prop_assert_eq!(told, paused);
    }

    #[test]
    fn rows_ascend_and_restore_all_of_it(choices in prop::collection::vec(any::<u32>(), 0..250)) {
        let history = History::drawn(&choices);
        let status = at(&history, history.head().seq);
        let mut rows = Vec::new();
        status.rows(&mut |k, v| rows.push((k.to_owned(), v.to_owned())));
        prop_assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0));
        prop_assert!(rows.iter().all(|(_, v)| !v.contains('\n')));
        prop_assert_eq!(Status::from_rows(&mut rows.into_iter()).unwrap(), status);
    }
}

#[test]
fn terms_that_nobody_ended_are_lost_when_that_is_recorded() {
    let mut history = History::new();
    let acquired = |history: &mut History| {
        history.next_term();
        let event = LeaseEvent::Acquired(LeaseAcquired {
            holder: Id::new("a").unwrap(),
            pid: 1,
            start_time: None,
            boot_id: "b".into(),
            incarnation: "i".into(),
        });
        history.append(vec![(Entity::new("lease/main").unwrap(), event.into())]);
    };
    // Term 2 ends before it could record the loss of term 1; term 3 records both.
    acquired(&mut history);
    acquired(&mut history);
    for term in [1, 2] {
        let lost = LeaseEvent::Lost(LeaseLost {
            holder: Id::new("a").unwrap(),
            term: Term(term),
        });
        history.append(vec![(Entity::new("lease/main").unwrap(), lost.into())]);
    }
    let status = at(&history, history.head().seq);
    let before = status.term_before().unwrap();
    assert_eq!(
        (before.term, before.state),
        (Term(2), TermState::Lost { at: history.now() })
    );
    let again = LeaseEvent::Lost(LeaseLost {
        holder: Id::new("a").unwrap(),
        term: Term(2),
    });
    let reason = refused(&mut history, "lease/main", again);
    assert_eq!(reason, "term 2 ended and was not held");
}

/// Appends one event and says why it was refused; a refusal must change nothing.
fn refused(history: &mut History, subject: &str, event: impl Into<Event>) -> String {
    let before = at(history, history.head().seq);
    history.append(vec![(Entity::new(subject).unwrap(), event.into())]);
    let fold = rebuild::<Status>(history.store(), None, &mut unwatched).unwrap();
    assert_eq!(fold.state(), &before);
    match fold.health() {
        Health::Following => panic!("{subject}: folded"),
        Health::Poisoned { seq, reason } => {
            assert_eq!(*seq, history.head().seq);
            reason.clone()
        }
    }
}

#[test]
fn what_cannot_follow_is_refused_and_changes_nothing() {
    let id = |s: &str| Id::new(s).unwrap();
    let dead = TaskEvent::Dead(TaskDead {
        reason: DeadReason::Failed,
        attempts: 1,
        dependency: None,
    });
    let reason = refused(&mut History::new(), "task/nobody", dead);
    assert_eq!(reason, "task nobody is over, or was never submitted");
    // The first step submits t7 or so; find it by its event.
    let submitted = || {
        let mut history = History::new();
        history.step(0);
        let task = history.events().last().unwrap().subject.clone();
        (history, format!("task/{task}"))
    };
    let (mut history, task) = submitted();
    let retried = TaskEvent::Retried(TaskRetried {
        attempt: Attempt(2),
    });
    assert!(refused(&mut history, &task, retried).contains("task.retried cannot follow"));
    let (mut history, task) = submitted();
    let Event::Task(again) = history.events().last().unwrap().event.clone() else {
        panic!("not a task")
    };
    assert!(refused(&mut history, &task, again).ends_with("exists already"));
    let lost = ProcessEvent::Lost(ProcessLost {
        reason: String::new(),
        orphans_ended: 0,
    });
    let reason = refused(&mut History::new(), "process/b.1.2", lost);
    assert_eq!(reason, "process b.1.2 ended and did not run");
    let lost = LeaseEvent::Lost(LeaseLost {
        holder: id("a"),
        term: Term(1),
    });
    let reason = refused(&mut History::new(), "lease/main", lost);
    assert_eq!(reason, "term 1 is not over");
    let stopped = NodeEvent::Stopped(NodeStopped {
        running: 0,
        queued: 0,
        reason: None,
    });
    let reason = refused(&mut History::new(), "node/b", stopped);
    assert_eq!(reason, "node b is not the one that started");
}

#[test]
fn unknown_kinds_are_counted_and_not_refused() {
    let mut history = History::new();
    let cell = Entity::new("cell/x").unwrap();
    history.append_raw(vec![(
        "cell.created".into(),
        1,
        cell,
        "{\"a\":1}".into(),
        None,
    )]);
    let status = at(&history, history.head().seq);
    assert_eq!(status.report(history.now()).events.unknown, 1);
}

#[test]
fn the_success_rate_is_of_the_latest_runs() {
    let mut status = Status::default();
    (0..RECENT_RUNS).for_each(|_| status.record_run(false));
    (0..RECENT_RUNS / 4).for_each(|_| status.record_run(true));
    let recent = status.report(Timestamp(0)).recent;
    assert_eq!((recent.runs, recent.succeeded), (500, 125));
    assert_eq!(recent.success_rate(), Some(0.25));
    assert_eq!(
        Status::default().report(Timestamp(0)).recent.success_rate(),
        None
    );
}

#[test]
fn rows_that_nothing_writes_are_refused() {
    for (key, value) in [
        ("nonsense", "1"),
        ("task/../x", "{}"),
        ("queue/3", "{}"),
        ("recent", "\"012\""),
        ("events", "[]"),
    ] {
        let mut rows = std::iter::once((key.to_owned(), value.to_owned()));
        assert_eq!(Status::from_rows(&mut rows).unwrap_err().key, key);
    }
    let long = format!("\"{}\"", "1".repeat(RECENT_RUNS + 1));
    let mut rows = std::iter::once(("recent".to_owned(), long));
    assert!(Status::from_rows(&mut rows).is_err());
}

#[test]
fn waiting_has_an_age() {
    let mut history = History::new();
    history.step(0);
    let status = at(&history, history.head().seq);
    let later = history.now().plus(Millis(1500));
    let report = status.report(later);
    assert_eq!(report.oldest_waiting.unwrap().waited_us, Micros(1_500_000));
}

#[test]
fn what_outlives_sigkill_is_listed_until_it_ends() {
    let mut history = History::new();
    let said = |survivors: u32| {
        ProcessEvent::Unkillable(ProcessUnkillable {
            task: Id::new("t").unwrap(),
            attempt: Attempt(1),
            steps: Vec::new(),
            survivors: (0..survivors)
                .map(|n| Survivor {
                    pid: 2 + i32::try_from(n).unwrap(),
                    start_time: 3,
                    state: 'D',
                })
                .collect(),
            processes: survivors,
        })
    };
    let reason = refused(&mut history, "process/b.1.2", said(1));
    assert_eq!(reason, "process b.1.2 outlives SIGKILL and did not run");
    let mut history = History::new();
    let registered = ProcessEvent::Registered(ProcessRegistered {
        pid: 1,
        start_time: 2,
        boot_id: "b".into(),
        pgid: 1,
        shim_pid: 5,
        shim_start_time: 1,
        task: Id::new("t").unwrap(),
        attempt: Attempt(1),
        max_runtime_ms: Millis(1),
    });
    let subject = Entity::new("process/b.1.2").unwrap();
    history.append(vec![(subject.clone(), registered.into())]);
    history.append(vec![(subject.clone(), said(3).into())]);
    let seq = history.head().seq;
    let listed = at(&history, seq).report(Timestamp(0)).unkillable;
    let facts = listed[0].unkillable.as_ref().unwrap();
    assert_eq!(
        (&*listed[0].task, facts.since, facts.processes),
        ("t", seq, 3)
    );
    assert_eq!(
        facts.first.map(|first| (first.pid, first.state)),
        Some((2, 'D'))
    );
    let lost = ProcessEvent::Lost(ProcessLost {
        reason: String::new(),
        orphans_ended: 0,
    });
    history.append(vec![(subject, lost.into())]);
    let status = at(&history, history.head().seq);
    assert!(status.report(Timestamp(0)).unkillable.is_empty());
    assert_eq!(status.report(Timestamp(0)).processes.unkillable, 1);
}
