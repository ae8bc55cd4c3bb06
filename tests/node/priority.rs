//! Order of dispatch and how much runs at once, from the start events in the log.

use ledger_core::event::Priority;
use serde_json::json;

use crate::support::{Ledger, Log, exec, named, script};

/// Walks the log; returns the most attempts that were ever open at once.
fn most_open(log: &Log) -> usize {
    let mut open = std::collections::BTreeSet::new();
    let mut most = 0;
    for event in log.of_kind("task.") {
        match event.kind.as_str() {
            "task.started" => assert!(open.insert(event.of.clone()), "{event:?}"),
            "task.completed" | "task.failed" | "task.timed_out" | "task.lost"
            | "task.cancelled" => {
                open.remove(&event.of);
            }
            _ => {}
        }
        most = most.max(open.len());
    }
    assert!(open.is_empty(), "{open:?}");
    most
}

#[tokio::test]
async fn queues_are_served_strictly_in_order_and_first_in_first_out() {
    let ledger = Ledger::configured("[scheduler]\nmax_running = 1\n");
    let (mut begun, gate) = (ledger.fifo("begun"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let text = format!("echo go > {}; read x < {}", begun.show(), gate.show());
    node.submit(named("first", script(&text))).await;
    assert_eq!(begun.line(), "go");

    let mut expected = Vec::new();
    let mut waiting = [0; 3];
    // Every queue at every place in the order of submission.
    for (n, level) in [2, 1, 0, 1, 2, 0, 0, 2, 1, 1, 0, 2].into_iter().enumerate() {
        let name = format!("t{n}");
        let mut request = named(&name, exec(&["true"]));
        request.priority = Priority::try_from(level).unwrap();
        let receipt = node.submit(request).await;
        let queue = usize::try_from(level).unwrap();
        assert_eq!(receipt.position, waiting[queue], "{name}");
        assert_eq!(receipt.queue, Priority::try_from(level).unwrap());
        waiting[queue] += 1;
        expected.push((level, n, name));
    }
    let last = node.task("t11").await;
    assert_eq!(last.position, Some(3), "three of its queue stand before it");
    let queued = node.status().await.report;
    let queued: u64 = queued.queues.iter().map(|q| q.tasks.queued).sum();
    assert_eq!(queued, 12);
    gate.tell("on");
    for (_, _, name) in &expected {
        node.end_of(name).await;
    }
    node.stop_well();

    expected.sort();
    let log = ledger.assert_sound();
    let started = log.of_kind("task.started");
    let order: Vec<_> = started[1..].iter().map(|e| e.of.clone()).collect();
    let names: Vec<_> = expected.iter().map(|(_, _, name)| name.clone()).collect();
    assert_eq!(order, names);
    for (event, (level, _, _)) in started[1..].iter().zip(&expected) {
        assert_eq!(event.data["queue"], json!(level));
        assert!(event.data["waited_us"].as_u64().unwrap() > 0, "{event:?}");
    }
    assert_eq!(most_open(&log), 1);
}

#[tokio::test]
async fn no_more_runs_at_once_than_allowed() {
    let ledger = Ledger::configured("[scheduler]\nmax_running = 3\n");
    let (mut begun, gate) = (ledger.fifo("begun"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let text = format!("echo go > {}; read x < {}", begun.show(), gate.show());
    for n in 0..9 {
        // Of queue 0, which every slot is for.
        let mut request = named(&format!("t{n}"), script(&text));
        request.priority = Priority::Interactive;
        node.submit(request).await;
    }
    for _ in 0..9 {
        // One may only begin when another has ended, so this is never more than three ahead.
        begun.line();
        gate.tell("on");
    }
    for n in 0..9 {
        node.end_of(&format!("t{n}")).await;
    }
    node.stop_well();
    assert_eq!(most_open(&ledger.assert_sound()), 3);
}
