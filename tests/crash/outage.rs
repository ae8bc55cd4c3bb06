//! `kill -9` of the node while there is work: what runs goes on, what ends meanwhile is learned
//! of, what waits is not forgotten.

use opsledger::shim::AttemptDir;
use projections::tasks::StateName;
use serde_json::{Value, json};

use crate::support::{
    Ledger, Logged, end, exec, id, identity, is_gone, limited, named, script, session_members,
    wait_gone,
};

/// The report of the last node that came up.
fn recovered(log: &crate::support::Log) -> &Value {
    &log.of_kind("recovery.completed").last().unwrap().data
}

fn shim(registered: &Logged) -> opsledger::shim::ProcessIdentity {
    identity(i32::try_from(registered.data["shim_pid"].as_i64().unwrap()).unwrap())
}

#[tokio::test]
async fn tasks_that_run_go_on_under_the_next_node() {
    let ledger = Ledger::new();
    let mut told = ledger.fifo("told");
    let gates = [0, 1, 2].map(|n| ledger.fifo(&format!("gate{n}")));
    let node = ledger.up().await;
    let mut processes = Vec::new();
    for (n, gate) in gates.iter().enumerate() {
        let name = format!("t{n}");
        let text = format!(
            "echo $$ > {}; read x < {}; echo $x; exit 7",
            told.show(),
            gate.show()
        );
        node.submit(named(&name, script(&text))).await;
        processes.push(identity(told.pid()));
        node.registered(&name, 1).await;
    }
    let spawner = identity(node.spawner());
    node.crash();
    wait_gone(&spawner);
    assert!(
        processes.iter().all(|p| !is_gone(p)),
        "they outlive the node"
    );

    let node = ledger.up().await;
    assert_eq!(node.term, 2);
    node.recovered().await;
    for (n, process) in processes.iter().enumerate() {
        let view = node.task(&format!("t{n}")).await;
        assert_eq!(view.state, StateName::Running);
        assert_eq!(view.process.unwrap().pid, process.pid);
        gates[n].tell("said");
    }
    for n in 0..3 {
        let name = format!("t{n}");
        assert_eq!(node.end_of(&name).await.exit_code, Some(7));
        let outputs = node.task(&name).await.outputs.unwrap();
        assert_eq!(outputs.stdout.tail, "said\n");
    }
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(
        (log.count("task.started"), log.count("process.registered")),
        (3, 3)
    );
    assert_eq!(recovered(&log)["reattached"], 3);
    assert_eq!(log.only("lease.lost").data["term"], 1);
}

#[tokio::test]
async fn tasks_that_end_meanwhile_are_closed_with_their_true_outcome() {
    let ledger = Ledger::new();
    let (mut told, gate) = (ledger.fifo("told"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let mut shims = Vec::new();
    for (name, how) in [
        ("good", "exit 0"),
        ("bad", "exit 9"),
        ("torn", "kill -ABRT $$"),
    ] {
        let text = format!(
            "echo $$ > {}; read x < {}; echo {name}; {how}",
            told.show(),
            gate.show()
        );
        node.submit(named(name, script(&text))).await;
        told.pid();
        shims.push(shim(&node.registered(name, 1).await));
    }
    node.crash();
    for _ in &shims {
        gate.tell("end");
    }
    shims.iter().for_each(wait_gone);

    let node = ledger.up().await;
    for (name, code) in [("good", 0), ("bad", 9), ("torn", 134)] {
        assert_eq!(node.end_of(name).await.exit_code, Some(code), "{name}");
        let outputs = node.task(name).await.outputs.unwrap();
        assert_eq!(outputs.stdout.tail, format!("{name}\n"));
    }
    node.stop_well();
    let log = ledger.assert_sound();
    let report = recovered(&log);
    assert_eq!((&report["closed"], &report["lost"]), (&json!(3), &json!(0)));
    assert_eq!(log.count("task.started"), 3);
}

#[tokio::test]
async fn an_end_that_was_told_to_a_node_that_dies_before_it_is_recorded_is_found_by_the_next() {
    let ledger = Ledger::new();
    let (mut told, gate) = (ledger.fifo("told"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let text = format!(
        "echo $$ > {}; read x < {}; exit 7",
        told.show(),
        gate.show()
    );
    node.submit(named("heard", script(&text))).await;
    told.pid();
    let shim = shim(&node.registered("heard", 1).await);
    // It hears nothing more, and its spawner and its socket are still there.
    node.stand_still();
    gate.tell("end");
    let attempt = AttemptDir::new(&ledger.dir, "heard", 1).unwrap();
    while attempt.read_outcome().unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    node.crash();
    wait_gone(&shim);

    let node = ledger.up().await;
    assert_eq!(node.end_of("heard").await.exit_code, Some(7));
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(recovered(&log)["closed"], 1);
    assert_eq!((log.count("task.started"), log.count("task.lost")), (1, 0));
}

#[tokio::test]
async fn a_limit_that_passes_meanwhile_is_held_to_by_the_shim() {
    let ledger = Ledger::new();
    let mut told = ledger.fifo("told");
    let node = ledger.up().await;
    let text = format!(
        "trap '' TERM; echo $$ > {}; while :; do sleep 600; done",
        told.show()
    );
    node.submit(named("late", limited(2500, 100, script(&text))))
        .await;
    let process = identity(told.pid());
    let shim = shim(&node.registered("late", 1).await);
    node.crash();
    wait_gone(&shim);
    assert!(is_gone(&process));
    assert!(session_members(shim.pid).is_empty());

    let node = ledger.up().await;
    assert_eq!(node.end_of("late").await.exit_code, Some(124));
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.only("task.timed_out").term, 2);
    let steps = log.only("process.reaped").data["steps"].as_array().unwrap();
    assert_eq!(steps.last().unwrap()["signal"], "SIGKILL");
}

#[tokio::test]
async fn tasks_that_wait_are_run_by_the_next_node_in_their_order() {
    let ledger = Ledger::configured("[scheduler]\nmax_running = 1\n");
    let (mut told, gate) = (ledger.fifo("told"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let text = format!("echo $$ > {}; read x < {}", told.show(), gate.show());
    node.submit(named("runs", script(&text))).await;
    told.pid();
    for n in 0..5 {
        node.submit(named(&format!("t{n}"), exec(&["true"]))).await;
    }
    node.crash();
    let node = ledger.up().await;
    assert_eq!(node.task("t4").await.position, Some(4));
    gate.tell("end");
    node.end_of("t4").await;
    node.stop_well();
    let log = ledger.assert_sound();
    let order: Vec<_> = log
        .of_kind("task.started")
        .iter()
        .map(|e| e.of.clone())
        .collect();
    assert_eq!(order, ["runs", "t0", "t1", "t2", "t3", "t4"]);
}

#[tokio::test]
async fn a_cancel_is_carried_on_by_the_next_node() {
    let ledger = Ledger::new();
    let (mut told, gate) = (ledger.fifo("told"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let text = format!(
        "trap 'echo 0 > {0}' TERM; echo $$ > {0}; until read x < {1}; do :; done",
        told.show(),
        gate.show()
    );
    node.submit(named("stubborn", script(&text))).await;
    let process = identity(told.pid());
    node.registered("stubborn", 1).await;
    node.client
        .cancel(&id("stubborn"), &Default::default())
        .await
        .unwrap();
    assert_eq!(told.line(), "0", "it was asked to end");
    node.crash();
    let node = ledger.up().await;
    assert_eq!(node.task("stubborn").await.state, StateName::Cancelling);
    assert!(!is_gone(&process));
    gate.tell("end");
    assert_eq!(node.end_of("stubborn").await.state, StateName::Cancelled);
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.only("process.reaped").data["cause"], "cancel");
}

#[tokio::test]
async fn an_attempt_whose_shim_dies_meanwhile_is_lost_and_run_again() {
    let ledger = Ledger::new();
    let (mut told, gate) = (ledger.fifo("told"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let text = format!(
        "sh -c 'echo $$ > {0}; exec sleep 600' & echo $$ > {0}; read x < {1}; exit 3",
        told.show(),
        gate.show()
    );
    node.submit(named("torn", script(&text))).await;
    let members = [identity(told.pid()), identity(told.pid())];
    let shim = shim(&node.registered("torn", 1).await);
    node.crash();
    end(&shim);
    wait_gone(&shim);

    let node = ledger.up().await;
    let again = [told.pid(), told.pid()];
    assert!(members.iter().all(is_gone), "{members:?}");
    assert!(session_members(shim.pid).is_empty(), "{again:?}");
    gate.tell("end");
    let view = node.end_of("torn").await;
    assert_eq!((view.exit_code, view.lost), (Some(3), 1));
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.only("task.lost").term, 2);
    let report = recovered(&log);
    assert_eq!(
        (&report["lost"], &report["reattached"]),
        (&json!(1), &json!(0))
    );
}

#[tokio::test]
async fn a_graceful_stop_leaves_running_tasks_to_the_next_node() {
    let ledger = Ledger::configured("[scheduler]\nmax_running = 1\n");
    let (mut told, gate) = (ledger.fifo("told"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let text = format!(
        "echo $$ > {}; read x < {}; exit 5",
        told.show(),
        gate.show()
    );
    node.submit(named("runs", script(&text))).await;
    let process = identity(told.pid());
    node.submit(named("waits", exec(&["true"]))).await;
    node.registered("runs", 1).await;
    node.stop_well();
    assert!(!is_gone(&process));
    let log = ledger.log();
    let [.., stopped, released] = log.0.as_slice() else {
        unreachable!()
    };
    assert_eq!(stopped.kind, "node.stopped");
    assert_eq!(stopped.data, json!({"running": 1, "queued": 1}));
    assert_eq!(released.kind, "lease.released");
    assert_eq!(released.data["reason"], "shutdown");

    let node = ledger.up().await;
    node.recovered().await;
    gate.tell("end");
    assert_eq!(node.end_of("runs").await.exit_code, Some(5));
    node.end_of("waits").await;
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("lease.lost"), 0, "the lease was given back");
    assert_eq!(log.count("task.started"), 2);
    assert_eq!(recovered(&log)["reattached"], 1);
}
