//! Parts that die under a living node: shims and spawners.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use projections::tasks::StateName;
use serde_json::json;

use crate::support::{
    Fifo, Ledger, Node, end, exec, identity, is_gone, named, script, session_members, wait_gone,
};

/// A script that says its pid, starts a child that says its own, and waits to be told to end.
fn family(told: &Fifo, gate: &Fifo) -> String {
    let (told, gate) = (told.show(), gate.show());
    format!("echo $$ > {told}; sh -c 'echo $$ > {told}; exec sleep 600' & read x < {gate}; exit 0")
}

async fn shim_of(node: &Node, task: &str, attempt: u32) -> i32 {
    let registered = node.registered(task, attempt).await;
    i32::try_from(registered.data["shim_pid"].as_i64().unwrap()).unwrap()
}

#[tokio::test]
async fn a_shim_that_is_killed_loses_its_attempt_and_leaves_nobody_behind() {
    let ledger = Ledger::new();
    let (mut told, gate) = (ledger.fifo("told"), ledger.fifo("gate"));
    let node = ledger.up().await;
    node.submit(named("torn", script(&family(&told, &gate))))
        .await;
    let members = [identity(told.pid()), identity(told.pid())];
    let shim = shim_of(&node, "torn", 1).await;
    end(&identity(shim));
    // The second attempt begins only when the first one's whole tree is gone.
    let second = [identity(told.pid()), identity(told.pid())];
    assert!(members.iter().all(is_gone), "{members:?}");
    assert!(session_members(shim).is_empty());
    gate.tell("end");
    let view = node.end_of("torn").await;
    assert_eq!(
        (view.state, view.lost, view.attempts.len()),
        (StateName::Completed, 1, 2)
    );
    assert!(second.iter().all(is_gone), "{second:?}");
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(
        log.life("torn")[..5],
        [
            "task.submitted",
            "task.started",
            "task.lost",
            "task.requeued",
            "task.started"
        ]
    );
    let lost = log.only("process.lost");
    assert_eq!(lost.of, log.of_kind("process.registered")[0].of);
    assert_eq!(
        log.only("task.requeued").data,
        json!({"attempt": 2, "lost": 1})
    );
}

#[tokio::test]
async fn a_task_that_is_lost_again_and_again_ends_dead() {
    let ledger = Ledger::new();
    let mut told = ledger.fifo("told");
    let node = ledger.up().await;
    let text = format!("echo $$ > {}; exec sleep 600", told.show());
    node.submit(named("doomed", script(&text))).await;
    for attempt in 1..=4 {
        let process = identity(told.pid());
        end(&identity(shim_of(&node, "doomed", attempt).await));
        wait_gone(&process);
    }
    let view = node.end_of("doomed").await;
    assert_eq!(
        (view.state, view.lost, view.exit_code),
        (StateName::Dead, 4, None)
    );
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(
        (log.count("task.started"), log.count("task.requeued")),
        (4, 3)
    );
    assert_eq!(
        log.only("task.dead").data,
        json!({"reason": "lost", "attempts": 4})
    );
}

#[tokio::test]
async fn a_cancelled_task_whose_shim_is_killed_is_cancelled() {
    let ledger = Ledger::new();
    let mut told = ledger.fifo("told");
    let node = ledger.up().await;
    let text = format!(
        "trap '' TERM; echo $$ > {}; while :; do sleep 600; done",
        told.show()
    );
    node.submit(named("unwanted", script(&text))).await;
    let process = identity(told.pid());
    let shim = shim_of(&node, "unwanted", 1).await;
    node.client
        .cancel(&crate::support::id("unwanted"), &Default::default())
        .await
        .unwrap();
    end(&identity(shim));
    assert_eq!(node.end_of("unwanted").await.state, StateName::Cancelled);
    assert!(is_gone(&process));
    assert!(session_members(shim).is_empty());
    node.stop_well();
    assert_eq!(ledger.assert_sound().count("task.requeued"), 0);
}

#[tokio::test]
async fn a_spawner_that_is_killed_is_replaced_and_its_shims_live_on() {
    let ledger = Ledger::new();
    let (mut told, gate) = (ledger.fifo("told"), ledger.fifo("gate"));
    let node = ledger.up().await;
    // Without a shim, and then with one that holds the spawner's sockets open.
    end(&identity(node.spawner()));
    assert_eq!(
        node.run(named("alone", exec(&["true"]))).await.exit_code,
        Some(0)
    );
    let text = format!(
        "echo $$ > {}; read x < {}; exit 7",
        told.show(),
        gate.show()
    );
    node.submit(named("survives", script(&text))).await;
    let process = identity(told.pid());
    node.registered("survives", 1).await;
    end(&identity(node.spawner()));
    assert_eq!(
        node.run(named("after", exec(&["true"]))).await.exit_code,
        Some(0)
    );
    assert!(!is_gone(&process));
    gate.tell("end");
    assert_eq!(node.end_of("survives").await.exit_code, Some(7));
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("task.lost"), 0);
}

#[tokio::test]
async fn what_a_dead_spawner_had_not_read_is_begun_by_the_next() {
    // Room for all four at once, besides the slot that is kept for queue 0.
    let ledger = Ledger::configured("[scheduler]\nmax_running = 5\n");
    let (mut told, gate) = (ledger.fifo("told"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let text = format!("echo $$ > {}; read x < {}", told.show(), gate.show());
    node.submit(named("holds", script(&text))).await;
    told.pid();
    node.registered("holds", 1).await;
    let spawner = node.spawner();
    kill(Pid::from_raw(spawner), Signal::SIGSTOP).unwrap();
    let mut submitted = Vec::new();
    for n in 0..3 {
        submitted.push(
            node.submit(named(&format!("unread{n}"), exec(&["true"])))
                .await,
        );
    }
    // They have been ordered, and their directories are made right before they are asked for.
    for n in 0..3 {
        let ordered =
            |e: &crate::support::Logged| e.kind == "task.started" && e.of == format!("unread{n}");
        node.event(ordered).await;
    }
    end(&identity(spawner));
    for receipt in submitted {
        assert_eq!(node.end_of(&receipt.task_id).await.exit_code, Some(0));
    }
    gate.tell("end");
    assert_eq!(node.end_of("holds").await.exit_code, Some(0));
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(
        (log.count("task.started"), log.count("task.completed")),
        (4, 4)
    );
}

#[tokio::test]
async fn spawners_that_can_not_serve_fail_their_tasks_and_not_the_node() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    assert_eq!(
        node.run(named("before", exec(&["true"]))).await.exit_code,
        Some(0)
    );
    // No spawner follows a link to where attempts are kept, so each that is started ends at once.
    let (attempts, away) = (ledger.dir.join("attempts"), ledger.dir.join("away"));
    std::fs::rename(&attempts, &away).unwrap();
    std::os::unix::fs::symlink("away", &attempts).unwrap();
    end(&identity(node.spawner()));
    let view = node.run(named("meanwhile", exec(&["true"]))).await;
    assert_eq!((view.state, view.exit_code), (StateName::Dead, Some(127)));
    std::fs::remove_file(&attempts).unwrap();
    std::fs::rename(&away, &attempts).unwrap();
    assert_eq!(
        node.run(named("after", exec(&["true"]))).await.exit_code,
        Some(0)
    );
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.only("task.failed").data["failure"]["type"], "spawn");
}
