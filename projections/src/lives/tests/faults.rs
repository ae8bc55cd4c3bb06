//! Every finding, made to occur; and beside it what looks alike and is none.

mod processes;

use ledger_core::hash::Hash;
use ledger_core::ids::{Seq, Term};

use super::super::{Count, Finding, Life, Problem};
use super::{Told, outcome};

fn tell(term: u64, kind: &str, subject: &str, data: &str) -> Told {
    (term, kind.into(), subject.into(), data.into())
}

/// A ledger that is led in term 1.
pub(super) fn led() -> Vec<Told> {
    let mut story = vec![tell(0, "ledger.created", "ledger/l", "{}")];
    story.extend(takeover(1, None, (0, 0)));
    story
}

/// A term begins; its node finds this many attempts that go on, and that have ended.
fn takeover(term: u64, lost: Option<u64>, found: (u32, u32)) -> Vec<Told> {
    let mut story = vec![tell(term, "lease.acquired", "lease/main", "{}")];
    if let Some(lost) = lost {
        let data = format!(r#"{{"term":{lost}}}"#);
        story.push(tell(term, "lease.lost", "lease/main", &data));
    }
    story.push(tell(term, "node.started", "node/a", "{}"));
    story.push(recovered(term, found));
    story
}

fn recovered(term: u64, (go_on, ended): (u32, u32)) -> Told {
    let data = format!(r#"{{"reattached":{go_on},"closed":{ended},"lost":0,"unstarted":0}}"#);
    tell(term, "node.recovered", "node/a", &data)
}

fn task(term: u64, what: &str, attempt: u32) -> Told {
    let data = match attempt {
        0 => "{}".to_owned(),
        n => format!(r#"{{"attempt":{n}}}"#),
    };
    tell(term, &format!("task.{what}"), "task/t", &data)
}

fn process(term: u64, what: &str) -> Told {
    let data = r#"{"task":"t","attempt":1}"#;
    tell(term, &format!("process.{what}"), "process/b.1.2", data)
}

/// What is found in a story that begins with a ledger that is led.
fn found(rest: &[Told]) -> Vec<Finding> {
    let story = [led(), rest.to_vec()].concat();
    let outcome = outcome(&story);
    assert_eq!(outcome.found, outcome.findings.len() as u64);
    for finding in &outcome.findings {
        assert!(!finding.to_string().is_empty());
        assert!(serde_json::to_value(finding).unwrap()["problem"].is_string());
    }
    outcome.findings
}

/// The first event behind those of [`led`].
const NEXT: u64 = 5;

/// The only finding: whose, begun where, shown where, what.
#[track_caller]
fn finds(rest: &[Told], life: Life, begun: Option<u64>, seq: Option<u64>, problem: Problem) {
    let expected = Finding {
        life,
        begun: begun.map(Seq),
        seq: seq.map(Seq),
        problem,
    };
    assert_eq!(found(rest), [expected]);
}

#[track_caller]
fn finds_nothing(rest: &[Told]) {
    assert_eq!(found(rest), []);
}

fn the_task() -> Life {
    Life::Task { task: "t".into() }
}

fn attempt(attempt: u32) -> Life {
    let task = "t".into();
    Life::Attempt { task, attempt }
}

fn the_process() -> Life {
    let process = "b.1.2".into();
    Life::Process { process }
}

fn term(term: u64) -> Life {
    Life::Term { term: Term(term) }
}

fn node() -> Life {
    Life::Node { node: "a".into() }
}

#[test]
fn what_is_open_at_the_end_may_still_end() {
    let run = [task(1, "submitted", 0), task(1, "started", 1)];
    finds_nothing(&run);
    let run = [&run[..], &[process(1, "registered")]].concat();
    finds_nothing(&run);
    // In good order, with an attempt that goes on.
    let stopped = tell(1, "node.stopped", "node/a", r#"{"running":1,"queued":0}"#);
    let released = tell(1, "lease.released", "lease/main", "{}");
    finds_nothing(&[&run[..], &[stopped, released]].concat());
    // Killed, and the next node has not looked yet.
    let dying = &takeover(2, Some(1), (1, 0))[..3];
    finds_nothing(&[&run[..], dying].concat());
    // It was killed too, before it had looked; the one after it has.
    finds_nothing(&[&run[..], dying, &takeover(3, Some(2), (1, 0))].concat());
}

#[test]
fn a_term_begins_with_its_acquisition_and_ends_once() {
    let app = |term| tell(term, "app.x", "app/x", "{}");
    let released = |term| tell(term, "lease.released", "lease/main", "{}");
    let lost = |term, of| {
        let data = format!(r#"{{"term":{of}}}"#);
        tell(term, "lease.lost", "lease/main", &data)
    };
    let acquired = |term| tell(term, "lease.acquired", "lease/main", "{}");
    finds(&[app(2)], term(2), None, Some(NEXT), Problem::NotAcquired);
    finds(
        &[acquired(1)],
        term(1),
        Some(2),
        Some(NEXT),
        Problem::BegunTwice,
    );
    let ended = Seq(NEXT);
    let after = Problem::AfterEnd { ended };
    finds(
        &[released(1), app(1), app(1)],
        term(1),
        Some(2),
        Some(NEXT + 1),
        after,
    );
    let twice = found(&[released(1), released(1)]);
    let problems: Vec<_> = twice.iter().map(|f| f.problem.clone()).collect();
    assert_eq!(
        problems,
        [Problem::AfterEnd { ended }, Problem::EndedTwice { ended }]
    );
    // Lost though it was given back, though it was never held, though it is not over.
    let again = [released(1), acquired(2), lost(2, 1)];
    finds(
        &again,
        term(1),
        None,
        Some(NEXT + 2),
        Problem::EndedTwice { ended },
    );
    finds(
        &[acquired(9), lost(9, 1), lost(9, 4)],
        term(4),
        None,
        Some(NEXT + 2),
        Problem::NotBegun,
    );
    finds(&[lost(1, 1)], term(1), None, Some(NEXT), Problem::FromLater);
    // A node that takes over says what became of the term before.
    finds(
        &takeover(2, None, (0, 0)),
        term(1),
        Some(2),
        Some(NEXT + 2),
        Problem::Unaccounted,
    );
    finds_nothing(&takeover(2, Some(1), (0, 0)));
}

#[test]
fn a_node_says_that_it_leads_and_counts_right() {
    let started = tell(1, "node.started", "node/a", "{}");
    finds(&[started], node(), Some(3), Some(NEXT), Problem::BegunTwice);
    finds(
        &[recovered(1, (0, 0))],
        node(),
        Some(3),
        Some(NEXT),
        Problem::BegunTwice,
    );
    let stopped = |running, queued| {
        let data = format!(r#"{{"running":{running},"queued":{queued}}}"#);
        tell(1, "node.stopped", "node/a", &data)
    };
    let ended = Seq(NEXT);
    let twice = Problem::EndedTwice { ended };
    finds(
        &[stopped(0, 0), stopped(0, 0)],
        node(),
        None,
        Some(NEXT + 1),
        twice,
    );
    let other = tell(1, "node.stopped", "node/b", r#"{"running":0,"queued":0}"#);
    let of = Life::Node { node: "b".into() };
    finds(&[other], of, None, Some(NEXT), Problem::NotBegun);
    let miscounted = |count, said, counted| Problem::Miscounted {
        count,
        said,
        counted,
    };
    finds(
        &[stopped(1, 0)],
        node(),
        None,
        Some(NEXT),
        miscounted(Count::Running, 1, 0),
    );
    finds(
        &[stopped(0, 2)],
        node(),
        None,
        Some(NEXT),
        miscounted(Count::Queued, 2, 0),
    );
    // Giving back the lease ends it as well.
    finds_nothing(&[tell(1, "lease.released", "lease/main", "{}")]);
}

#[test]
fn what_was_open_at_a_takeover_is_accounted_for() {
    let run = [task(1, "submitted", 0), task(1, "started", 1)];
    let after = |found| [&run[..], &takeover(2, Some(1), found)].concat();
    finds_nothing(&after((1, 0)));
    let at = Some(NEXT + 5);
    let miscounted = |count, said, counted| Problem::Miscounted {
        count,
        said,
        counted,
    };
    finds(
        &after((0, 0)),
        node(),
        None,
        at,
        miscounted(Count::GoOn, 0, 1),
    );
    finds(
        &after((1, 1)),
        node(),
        None,
        at,
        miscounted(Count::Found, 2, 1),
    );
    // It says that the attempt has ended; no event does.
    finds(
        &after((0, 1)),
        node(),
        None,
        at,
        miscounted(Count::GoOn, 0, 1),
    );
    // It was closed as lost meanwhile.
    let mut closed = after((0, 1));
    closed.splice(5..5, [task(2, "lost", 1), task(2, "requeued", 2)]);
    finds_nothing(&closed);
    // Taken up, and ended before the others were: counted by what it was found as.
    let mut ended = after((1, 0));
    ended.splice(5..5, [task(2, "completed", 1)]);
    finds_nothing(&ended);
}

#[test]
fn what_was_open_where_a_copy_was_made_is_nobodys_until_it_is_given_up() {
    let founded = |term: u64| {
        let acquired = tell(term, "lease.acquired", "lease/main", "{}");
        let lost = tell(term, "lease.lost", "lease/main", r#"{"term":1}"#);
        let restored = tell(term, "ledger.restored", "ledger/l", "{}");
        let released = tell(term, "lease.released", "lease/main", "{}");
        [acquired, lost, restored, released]
    };
    let run = [task(1, "submitted", 0), task(1, "started", 1)];
    let copied = [&run[..], &founded(2), &takeover(3, None, (0, 0))].concat();
    finds_nothing(&copied);
    let given_up = [
        task(3, "lost", 1),
        task(3, "requeued", 2),
        task(3, "started", 2),
    ];
    let on = [&copied[..], &given_up].concat();
    finds_nothing(&on);
    // The next node finds what this one has ordered.
    finds_nothing(&[&on[..], &takeover(4, Some(3), (1, 0))].concat());
    let at = on.len() as u64 + NEXT + 3;
    let forgotten = [&on[..], &takeover(4, Some(3), (0, 0))].concat();
    let problem = Problem::Miscounted {
        count: Count::GoOn,
        said: 0,
        counted: 1,
    };
    finds(&forgotten, node(), None, Some(at), problem);
}

#[test]
fn a_task_begins_once_and_ends_once() {
    let submitted = task(1, "submitted", 0);
    let twice = [submitted.clone(), submitted.clone()];
    finds(
        &twice,
        the_task(),
        Some(NEXT),
        Some(NEXT + 1),
        Problem::BegunTwice,
    );
    finds(
        &[task(1, "cancelled", 0)],
        the_task(),
        None,
        Some(NEXT),
        Problem::NotBegun,
    );
    let cancelled = [
        submitted.clone(),
        task(1, "cancelled", 0),
        task(1, "cancelled", 0),
    ];
    let ended = Seq(NEXT + 1);
    finds(
        &cancelled,
        the_task(),
        None,
        Some(NEXT + 2),
        Problem::EndedTwice { ended },
    );
    finds(
        &[task(1, "started", 1)],
        the_task(),
        None,
        Some(NEXT),
        Problem::NotBegun,
    );
    // Its attempt ended badly, and nothing is said of the task: at the end, and before what follows.
    let broken = [submitted, task(1, "started", 1), task(1, "failed", 1)];
    finds(&broken, the_task(), Some(NEXT), None, Problem::Undecided);
    let on = |more: &[Told]| [&broken[..], more].concat();
    let undecided = |seq| (the_task(), Some(NEXT), Some(seq), Problem::Undecided);
    let (life, begun, seq, problem) = undecided(NEXT + 3);
    finds(&on(&[task(1, "started", 2)]), life, begun, seq, problem);
    let (life, begun, seq, problem) = undecided(NEXT + 6);
    finds(
        &on(&takeover(2, Some(1), (0, 0))),
        life,
        begun,
        seq,
        problem,
    );
    finds_nothing(&on(&[
        task(1, "dead", 0),
        task(1, "retried", 2),
        task(1, "started", 2),
    ]));
}

#[test]
fn an_attempt_is_ordered_in_its_turn_and_closed_once() {
    let run = [task(1, "submitted", 0), task(1, "started", 1)];
    let on = |more: &[Told]| [&run[..], more].concat();
    let (begun, at) = (Some(NEXT + 1), Some(NEXT + 2));
    for over in [
        task(1, "cancelled", 0),
        task(1, "requeued", 2),
        task(1, "dead", 0),
    ] {
        finds(&on(&[over]), attempt(1), begun, at, Problem::NeverEnded);
    }
    finds(
        &on(&[task(1, "started", 2)]),
        attempt(1),
        begun,
        at,
        Problem::NeverEnded,
    );
    finds(
        &on(&[task(1, "completed", 2)]),
        attempt(2),
        None,
        at,
        Problem::NotBegun,
    );
    finds(
        &on(&[task(1, "cancel_requested", 2)]),
        attempt(2),
        None,
        at,
        Problem::NotBegun,
    );
    let ended = Seq(NEXT + 2);
    let twice = [task(1, "completed", 1), task(1, "failed", 1)];
    finds(
        &on(&twice),
        attempt(1),
        None,
        Some(NEXT + 3),
        Problem::EndedTwice { ended },
    );
    let out_of_turn = |expected| Problem::OutOfTurn { expected };
    let third = [task(1, "submitted", 0), task(1, "started", 3)];
    finds(&third, attempt(3), None, Some(NEXT + 1), out_of_turn(1));
    let again = [task(1, "lost", 1), task(1, "requeued", 3)];
    finds(
        &on(&again),
        attempt(3),
        None,
        Some(NEXT + 3),
        out_of_turn(2),
    );
    let unneeded = [task(1, "submitted", 0), task(1, "requeued", 1)];
    finds(&unneeded, attempt(1), None, Some(NEXT + 1), out_of_turn(1));
    let untried = [task(1, "submitted", 0), task(1, "dead", 0)];
    finds(
        &untried,
        attempt(1),
        None,
        Some(NEXT + 1),
        Problem::NotBegun,
    );
}

#[test]
fn a_run_of_a_job_is_submitted_and_a_pause_ends() {
    let job = |what: &str| tell(1, &format!("job.{what}"), "job/j", r#"{"task":"t"}"#);
    let life = || Life::Job { job: "j".into() };
    let unsubmitted = || Problem::NotSubmitted { task: "t".into() };
    finds_nothing(&[job("due"), task(1, "submitted", 0)]);
    finds_nothing(&[job("triggered"), task(1, "submitted", 0)]);
    finds_nothing(&["defined", "changed", "removed", "defined"].map(job));
    let twice = ["defined", "defined"].map(job);
    let again = Problem::BegunTwice;
    finds(&twice, life(), Some(NEXT), Some(NEXT + 1), again);
    for what in ["changed", "removed"] {
        finds(&[job(what)], life(), None, Some(NEXT), Problem::NotBegun);
    }
    finds(&[job("due")], life(), Some(NEXT), None, unsubmitted());
    let taken_over = [&[job("due")][..], &takeover(2, Some(1), (0, 0))].concat();
    finds(
        &taken_over,
        life(),
        Some(NEXT),
        Some(NEXT + 4),
        unsubmitted(),
    );
    let twice = [job("due"), job("due"), task(1, "submitted", 0)];
    finds(
        &twice,
        life(),
        Some(NEXT),
        Some(NEXT + 1),
        Problem::BegunTwice,
    );
    finds_nothing(&[job("paused"), job("resumed"), job("paused")]);
    let twice = [job("paused"), job("paused")];
    finds(
        &twice,
        life(),
        Some(NEXT),
        Some(NEXT + 1),
        Problem::BegunTwice,
    );
    finds(
        &[job("resumed")],
        life(),
        None,
        Some(NEXT),
        Problem::NotBegun,
    );
}

#[test]
fn a_checkpoint_is_of_the_past_and_pruned_once() {
    let name = |what: &str, seq: u64| {
        let data = format!(r#"{{"seq":{seq},"hash":"{}"}}"#, Hash::ZERO);
        tell(1, &format!("checkpoint.{what}"), "checkpoint/c", &data)
    };
    let life = || Life::Checkpoint {
        checkpoint: "c".into(),
    };
    finds_nothing(&[name("created", 4), name("pruned", 0), name("created", 6)]);
    finds(
        &[name("created", 5)],
        life(),
        None,
        Some(NEXT),
        Problem::FromLater,
    );
    let twice = [name("created", 4), name("created", 4)];
    finds(
        &twice,
        life(),
        Some(NEXT),
        Some(NEXT + 1),
        Problem::BegunTwice,
    );
    finds(
        &[name("pruned", 0)],
        life(),
        None,
        Some(NEXT),
        Problem::NotBegun,
    );
}

#[test]
fn what_can_not_be_read_is_said_and_followed_by_nothing_else() {
    let bad = tell(1, "task.started", "task/t", r#"{"attempt":"first"}"#);
    let [finding] = found(&[task(1, "submitted", 0), bad]).try_into().unwrap();
    assert_eq!(
        (finding.life, finding.seq),
        (the_task(), Some(Seq(NEXT + 1)))
    );
    assert!(matches!(finding.problem, Problem::Unreadable { .. }));
}

#[test]
fn many_findings_are_counted_and_the_first_thousand_kept() {
    let story: Vec<_> = (0..1500).map(|_| task(1, "cancelled", 0)).collect();
    let outcome = outcome(&[led(), story].concat());
    assert_eq!((outcome.found, outcome.findings.len()), (1500, 1000));
}
