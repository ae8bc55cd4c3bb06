//! The wall clock of a node that runs is set, by an hour, or while none runs: what would expire or be
//! due by that alone waits for a second reading, and what only takes its time goes on.

use ledger_core::event::{Priority, Terms};
use ledger_core::time::{Millis, Timestamp};
use opsledger::api::wire::{QueueRequest, SubmitRequest};
use projections::tasks::StateName;

use crate::support::clock::{FakeClock, HOUR, MINUTE};
use crate::support::{Ledger, Log, Logged, Node, exec, id, named};

const STEPPED: &str = "node.clock_stepped";
const SETTLED: &str = "node.clock_settled";
/// So that a second reading is taken.
const A_WHILE: i64 = MINUTE + 1;

/// A lease that outlasts the minutes that are skipped here: a host whose time since boot jumps has slept,
/// and its leader with it.
const LEASE: &str = "[lease]\nrenew_deadline = \"12h\"\nttl = \"24h\"\n";

/// A job that is due by the calendar, in half an hour.
fn in_half_an_hour() -> String {
    let due = ledger_core::clock::now().plus(Millis(1_800_000)).to_jiff();
    let due = due.strftime("%M %H * * *");
    format!("{LEASE}[jobs.daily]\ncron = \"{due}\"\ntime_zone = \"UTC\"\ncommand = [\"true\"]\n")
}

/// A task of a queue that is held, which expires in half an hour by the clock as it stands now.
async fn hold_one_that_expires(node: &Node) {
    let request = QueueRequest { reason: None };
    let queue = Priority::Background;
    node.client.pause_queue(queue, &request).await.unwrap();
    let terms = Terms {
        expires_at: Some(ledger_core::clock::now().plus(Millis(1_800_000))),
        ..Terms::default()
    };
    let request = SubmitRequest {
        priority: queue,
        terms: Some(terms),
        ..named("brief", exec(&["true"]))
    };
    node.submit(request).await;
}

/// Has a turn taken, and comes back when what it decided is on disk.
async fn turn(node: &Node, task: &str) {
    let view = node.run(named(task, exec(&["true"]))).await;
    assert_eq!(view.state, StateName::Completed);
}

async fn is_held(node: &Node) -> bool {
    node.task("brief").await.state == StateName::Held
}

async fn told(node: &Node, kind: &str) -> Logged {
    node.event(|e| e.kind == kind && e.term == node.term).await
}

fn ahead(event: &Logged) -> i64 {
    let time = |name: &str| -> Timestamp { event.data[name].as_str().unwrap().parse().unwrap() };
    let seconds = |at: Timestamp| i64::try_from(at.0 / 1_000_000).unwrap();
    seconds(time("wall")) - seconds(time("expected"))
}

/// What holds whatever clocks do.
fn assert_in_order(log: &Log) {
    let pairs = log.0.windows(2);
    assert!(
        pairs
            .into_iter()
            .all(|pair| pair[0].recorded_at <= pair[1].recorded_at)
    );
}

#[tokio::test]
async fn an_hour_ahead_expires_and_starts_nothing_before_a_second_reading() {
    let ledger = Ledger::configured(&in_half_an_hour());
    let clock = FakeClock::make(&ledger);
    let node = Node::start(&mut clock.up(&ledger)).await;
    assert!(clock.rules(node.pid()));
    hold_one_that_expires(&node).await;
    clock.set(HOUR);
    turn(&node, "first").await;
    let stepped = told(&node, STEPPED).await;
    assert!((ahead(&stepped) - HOUR).abs() <= 1, "{stepped:?}");
    clock.pass(MINUTE / 2);
    turn(&node, "second").await;
    assert!(is_held(&node).await);
    assert_eq!(node.log().await.count("job."), 1, "defined, and not due");
    clock.pass(MINUTE);
    turn(&node, "third").await;
    assert_eq!(told(&node, SETTLED).await.data["outcome"], "followed");
    let ended = node.end_of("brief").await;
    assert_eq!(ended.state, StateName::Dead);
    node.event(|e| e.kind == "job.due").await;
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.end_of("brief").data["reason"], "expired");
    assert!(log.end_of("brief").seq > log.only(SETTLED).seq);
    assert!(log.only("job.due").seq > log.only(SETTLED).seq);
    assert_in_order(&log);
}

#[tokio::test]
async fn an_hour_ahead_that_is_taken_back_never_was() {
    let ledger = Ledger::configured(&in_half_an_hour());
    let clock = FakeClock::make(&ledger);
    let node = Node::start(&mut clock.up(&ledger)).await;
    hold_one_that_expires(&node).await;
    clock.set(HOUR);
    turn(&node, "first").await;
    told(&node, STEPPED).await;
    clock.set(-HOUR);
    clock.pass(A_WHILE);
    turn(&node, "second").await;
    assert_eq!(told(&node, SETTLED).await.data["outcome"], "reverted");
    assert!(is_held(&node).await);
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!((log.count("job.due"), log.count("task.dead")), (0, 0));
    assert_in_order(&log);
}

#[tokio::test]
async fn an_hour_back_holds_up_nothing_that_only_takes_its_time() {
    let config = "[scheduler]\nbackoff_base = \"1s\"\nbackoff_cap = \"1s\"\n\
                  [jobs.often]\nevery = \"1s\"\ncommand = [\"true\"]\n";
    let ledger = Ledger::configured(&format!("{LEASE}{config}"));
    let clock = FakeClock::make(&ledger);
    let node = Node::start(&mut clock.up(&ledger)).await;
    hold_one_that_expires(&node).await;
    clock.set(-HOUR);
    turn(&node, "first").await;
    let stepped = told(&node, STEPPED).await;
    assert!((ahead(&stepped) + HOUR).abs() <= 1, "{stepped:?}");
    clock.pass(A_WHILE);
    turn(&node, "second").await;
    let settled = told(&node, SETTLED).await;
    assert_eq!(settled.data["outcome"], "followed");
    // A pause between two attempts, and an interval.
    let terms = Terms {
        max_attempts: 2,
        ..Terms::default()
    };
    let fails = SubmitRequest {
        terms: Some(terms),
        ..named("fails", exec(&["false"]))
    };
    let ended = node.run(fails).await;
    assert_eq!((ended.state, ended.attempts.len()), (StateName::Dead, 2));
    let mut follower = node.follow(settled.seq).await;
    for _ in 0..3 {
        follower.find(|e| e.kind == "job.due").await;
    }
    // What expires does so by the clock on the wall: it has an hour more.
    clock.pass(HOUR + 25 * MINUTE);
    turn(&node, "third").await;
    assert!(is_held(&node).await);
    clock.pass(5 * MINUTE);
    turn(&node, "fourth").await;
    assert_eq!(node.end_of("brief").await.state, StateName::Dead);
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count(STEPPED), 1);
    assert_in_order(&log);
}

#[tokio::test]
async fn a_clock_that_is_set_while_no_node_runs_is_seen_by_the_next() {
    let ledger = Ledger::configured(LEASE);
    let clock = FakeClock::make(&ledger);
    let node = Node::start(&mut clock.up(&ledger)).await;
    hold_one_that_expires(&node).await;
    node.crash();
    clock.set(HOUR);
    for _ in 0..2 {
        let node = Node::start(&mut clock.up(&ledger)).await;
        told(&node, STEPPED).await;
        turn(&node, &format!("of-{}", node.term)).await;
        assert!(is_held(&node).await, "being killed settles nothing");
        node.crash();
    }
    let node = Node::start(&mut clock.up(&ledger)).await;
    clock.pass(A_WHILE);
    node.client
        .cancel(&id("nobody"), &Default::default())
        .await
        .unwrap_err();
    told(&node, SETTLED).await;
    assert_eq!(node.end_of("brief").await.state, StateName::Dead);
    node.stop_well();
    let node = Node::start(&mut clock.up(&ledger)).await;
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!((log.count(STEPPED), log.count(SETTLED)), (3, 1));
    assert_in_order(&log);
}
