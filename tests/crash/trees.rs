//! Process trees that don't go when they should: what outlives SIGKILL, who runs away, shims that
//! do nothing; and strangers who come by the number of one that has gone.

use ledger_core::ids::Id;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use opsledger::reaper::verdict::Verdict;
use opsledger::shim::ProcessIdentity;
use projections::tasks::StateName;

use crate::support::host::{Freezer, Given, Ice, lacks};
use crate::support::{
    Fifo, Ledger, Node, end, exec, id, identity, is_gone, limited, named, script, text, wait_gone,
};

async fn shim_of(node: &Node, task: &str, attempt: u32) -> ProcessIdentity {
    let registered = node.registered(task, attempt).await;
    identity(i32::try_from(registered.data["shim_pid"].as_i64().unwrap()).unwrap())
}

/// A script whose child outlives it where it is frozen; it says the child's pid.
fn parent(told: &Fifo) -> String {
    format!("sleep 600 & echo $! > {}; wait", told.show())
}

fn warnings(ledger: &Ledger) -> String {
    text(&ledger.cli(&["status"]).stdout)
}

#[tokio::test]
async fn what_outlives_sigkill_is_an_event_and_a_warning_until_it_is_gone() {
    let Some(freezer) = Freezer::make() else {
        return lacks("a version 1 freezer");
    };
    let ledger = Ledger::new();
    let mut told = ledger.fifo("told");
    let node = ledger.up().await;
    let task = limited(600_000, 50, script(&parent(&told)));
    node.submit(named("stuck", task)).await;
    let sleeper = identity(told.pid());
    node.registered("stuck", 1).await;
    freezer.freeze(sleeper.pid);
    let cancel = node.client.cancel(&id("stuck"), &Default::default()).await;
    cancel.unwrap();

    let said = node.event(|e| e.kind == "process.unkillable").await;
    assert_eq!(said.data["task"], "stuck");
    assert_eq!(
        (&said.data["attempt"], &said.data["processes"]),
        (&1.into(), &1.into())
    );
    let survivor = &said.data["survivors"][0];
    assert_eq!(survivor["pid"], sleeper.pid);
    assert_eq!(survivor["start_time"], sleeper.start_time);
    assert_eq!(survivor["state"], "D");
    let steps = said.data["steps"].as_array().unwrap();
    let signals: Vec<_> = steps
        .iter()
        .map(|s| s["signal"].as_str().unwrap())
        .collect();
    assert_eq!(signals, ["SIGTERM", "SIGKILL"]);
    assert_eq!(node.task("stuck").await.state, StateName::Cancelling);
    let expected = format!("pid {} (D) of task stuck can't be killed", sleeper.pid);
    assert!(
        warnings(&ledger).contains(&expected),
        "{}",
        warnings(&ledger)
    );
    assert_eq!(node.status().await.report.unkillable.len(), 1);
    let list = node.client.processes(None).await.unwrap();
    assert_eq!(list.processes[0].verdict, Verdict::Unkillable);

    // The next node knows, and does not say it again.
    node.crash();
    let node = ledger.up().await;
    node.recovered().await;
    assert_eq!(node.task("stuck").await.state, StateName::Cancelling);
    assert!(warnings(&ledger).contains(&expected));

    freezer.thaw();
    assert_eq!(node.end_of("stuck").await.state, StateName::Cancelled);
    assert!(is_gone(&sleeper));
    assert!(!warnings(&ledger).contains("can't be killed"));
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("process.unkillable"), 1);
    let reaped = log.only("process.reaped");
    assert_eq!(reaped.of, log.only("process.unkillable").of);
    assert_eq!(reaped.data["cause"], "cancel");
    assert_eq!(log.count("task.requeued"), 0);
}

#[tokio::test]
async fn orphans_that_outlive_sigkill_keep_their_attempt_open() {
    let Some(freezer) = Freezer::make() else {
        return lacks("a version 1 freezer");
    };
    let ledger = Ledger::new();
    let mut told = ledger.fifo("told");
    let node = ledger.up().await;
    let text = format!("[ $LEDGER_ATTEMPT = 2 ] && exit 0; {}", parent(&told));
    node.submit(named("torn", script(&text))).await;
    let sleeper = identity(told.pid());
    let shim = shim_of(&node, "torn", 1).await;
    freezer.freeze(sleeper.pid);
    end(&shim);
    let said = node.event(|e| e.kind == "process.unkillable").await;
    assert_eq!(said.data["survivors"][0]["pid"], sleeper.pid);
    assert_eq!(said.data["steps"][0]["signal"], "SIGKILL");
    assert_eq!(node.task("torn").await.state, StateName::Running);
    assert!(warnings(&ledger).contains("of task torn can't be killed"));
    freezer.thaw();
    let view = node.end_of("torn").await;
    assert_eq!((view.state, view.lost), (StateName::Completed, 1));
    node.stop_well();
    let log = ledger.assert_sound();
    let lost = log.only("process.lost");
    // The sleeper, and its parent if that was still on its way out.
    let ended = lost.data["orphans_ended"].as_u64().unwrap();
    assert!((1..=2).contains(&ended), "{lost:?}");
    assert!(lost.seq > said.seq);
}

#[tokio::test]
async fn a_daemon_that_ran_away_ends_with_its_killed_shim() {
    let ledger = Ledger::new();
    let (mut told, gate) = (ledger.fifo("told"), ledger.fifo("gate"));
    let node = ledger.up().await;
    if node.status().await.node.unwrap().cgroups.as_deref() == Some("none") {
        return lacks("cgroups");
    }
    let text = format!(
        "[ $LEDGER_ATTEMPT = 2 ] && exit 0; \
         (setsid sh -c 'echo $$ > {}; exec sleep 600' > /dev/null 2>&1 &); read x < {}",
        told.show(),
        gate.show()
    );
    node.submit(named("runaway", script(&text))).await;
    let daemon = identity(told.pid());
    end(&shim_of(&node, "runaway", 1).await);
    let view = node.end_of("runaway").await;
    assert_eq!((view.state, view.lost), (StateName::Completed, 1));
    assert!(is_gone(&daemon));
    node.stop_well();
    let log = ledger.assert_sound();
    let ended = log.only("process.lost").data["orphans_ended"].as_u64();
    assert!(ended >= Some(1), "{ended:?}");
}

#[tokio::test]
async fn a_shim_that_is_killed_after_its_child_has_ended_loses_the_attempt() {
    let ledger = Ledger::new();
    let gate = ledger.fifo("gate");
    let node = ledger.up().await;
    let text = format!(
        "[ $LEDGER_ATTEMPT = 2 ] && exit 0; read x < {}; exit 7",
        gate.show()
    );
    node.submit(named("late", script(&text))).await;
    let shim = shim_of(&node, "late", 1).await;
    let child = node.task("late").await.process.unwrap();
    let child = identity(child.pid);
    kill(Pid::from_raw(shim.pid), Signal::SIGSTOP).unwrap();
    gate.tell("end");
    wait_gone(&child);
    end(&shim);
    let view = node.end_of("late").await;
    assert_eq!((view.state, view.lost), (StateName::Completed, 1));
    node.stop_well();
    ledger.assert_sound();
}

/// Runs `zombie-cleanup` until it finds an attempt that is overdue.
async fn cleanup(node: &Node) -> String {
    loop {
        let job = Id::new("zombie-cleanup").unwrap();
        let receipt = node.client.run_job(&job).await.unwrap();
        node.end_of(&receipt.task_id).await;
        let outputs = node.task(&receipt.task_id).await.outputs.unwrap();
        if outputs.stdout.tail.contains(" 1 overdue") {
            return outputs.stdout.tail;
        }
    }
}

/// A ledger whose node does its own jobs, and looks early.
fn attentive() -> Ledger {
    let ledger = Ledger::new();
    let settings = "[reaper]\noverdue_after = \"200ms\"\n";
    std::fs::write(ledger.dir.join("ledger.toml"), settings).unwrap();
    ledger
}

#[tokio::test]
async fn a_shim_that_was_stopped_is_woken_and_ends_its_tree() {
    let ledger = attentive();
    let node = ledger.up().await;
    let task = limited(300, 100, exec(&["sleep", "600"]));
    node.submit(named("overdue", task)).await;
    let shim = shim_of(&node, "overdue", 1).await;
    kill(Pid::from_raw(shim.pid), Signal::SIGSTOP).unwrap();
    let said = cleanup(&node).await;
    assert!(
        said.contains("overdue runs longer than it may; its shim was woken"),
        "{said}"
    );
    let view = node.end_of("overdue").await;
    assert_eq!((view.state, view.exit_code), (StateName::Dead, Some(124)));
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.only("process.reaped").data["cause"], "max_runtime");
}

#[tokio::test]
async fn a_shim_that_can_not_be_woken_is_killed_with_all_that_it_holds() {
    let Some(ice) = Ice::make() else {
        return lacks("cgroups of version 2");
    };
    let ledger = attentive();
    let mut told = ledger.fifo("told");
    let node = ledger.up().await;
    let text = format!(
        "[ $LEDGER_ATTEMPT = 2 ] && exit 0; sh -c 'echo $$ > {}; exec sleep 600' & wait",
        told.show()
    );
    let task = limited(1500, 100, script(&text));
    node.submit(named("frozen", task)).await;
    let sleeper = identity(told.pid());
    let shim = shim_of(&node, "frozen", 1).await;
    // It neither sees its alarm nor hears SIGCONT.
    ice.freeze(shim.pid);
    cleanup(&node).await;
    let view = node.end_of("frozen").await;
    assert_eq!((view.state, view.lost), (StateName::Completed, 1));
    assert!(is_gone(&shim) && is_gone(&sleeper));
    node.stop_well();
    let log = ledger.assert_sound();
    let why = log.only("process.lost").data["reason"].as_str().unwrap();
    assert!(why.contains("its shim did nothing about it"), "{why}");
}

#[tokio::test]
async fn whoever_has_the_pid_of_a_shim_that_has_gone_is_left_alone() {
    let ledger = Ledger::new();
    let mut told = ledger.fifo("told");
    let node = ledger.up().await;
    let text = format!(
        "[ $LEDGER_ATTEMPT = 2 ] && exit 0; echo $$ > {}; exec sleep 600",
        told.show()
    );
    node.submit(named("gone", script(&text))).await;
    let child = identity(told.pid());
    let shim = shim_of(&node, "gone", 1).await;
    // The node sleeps while its spawner lets the kernel reap the shim.
    node.stand_still();
    end(&shim);
    wait_gone(&shim);
    wait_gone(&child);
    let stranger = loop {
        if ProcessIdentity::of(shim.pid).unwrap().is_none() {
            break Given::after(&shim);
        }
    };
    let Some(stranger) = stranger else {
        return lacks("set_tid");
    };
    node.crash();
    let node = ledger.up().await;
    let view = node.end_of("gone").await;
    assert_eq!((view.state, view.lost), (StateName::Completed, 1));
    assert!(stranger.lives());
    node.stop_well();
    assert!(stranger.lives());
    ledger.assert_sound();
}

#[tokio::test]
async fn a_tree_is_ended_though_proc_can_not_be_read_any_more() {
    let ledger = Ledger::new();
    let mut told = ledger.fifo("told");
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", crate::support::LEDGER, "--data-dir"]);
    let Ok(node) = Node::try_start(command.arg(&ledger.dir).arg("up")).await else {
        return lacks("mount namespaces");
    };
    let text = format!(
        "(setsid sh -c 'trap \"\" TERM; echo $$ > {0}; exec sleep 600' &); \
         trap '' TERM; echo $$ > {0}; while :; do sleep 600; done",
        told.show()
    );
    node.submit(named("blind", limited(600_000, 200, script(&text))))
        .await;
    let members = [identity(told.pid()), identity(told.pid())];
    node.registered("blind", 1).await;
    let covered = std::process::Command::new("nsenter")
        .args(["-t", &node.pid().to_string(), "-m"])
        .args(["mount", "-t", "tmpfs", "none", "/proc"])
        .status();
    if !covered.unwrap().success() {
        return lacks("a way to cover /proc");
    }
    let cancel = node.client.cancel(&id("blind"), &Default::default()).await;
    cancel.unwrap();
    let view = node.end_of("blind").await;
    assert_eq!(view.state, StateName::Cancelled);
    assert!(members.iter().all(is_gone), "{members:?}");
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.only("process.reaped").data["cause"], "cancel");
}

#[tokio::test]
async fn a_node_that_can_not_read_proc_says_so_and_starts_nothing() {
    let ledger = Ledger::new();
    let script = format!(
        "mount -t tmpfs none /proc && exec {} --data-dir {} up",
        crate::support::LEDGER,
        ledger.dir.display()
    );
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]);
    let Err(ended) = Node::try_start(&mut command).await else {
        panic!("it leads without knowing who it is");
    };
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("/proc"), "{ended:?}");
    let log = ledger.log();
    assert_eq!(log.count("lease.acquired"), 0);
}

#[tokio::test]
async fn a_node_that_may_do_little_and_sees_only_its_own_processes_ends_its_trees() {
    let ledger = Ledger::new();
    let nobody = "65534:65534";
    let owned = std::process::Command::new("chown")
        .args(["-R", nobody])
        .arg(ledger.room.path())
        .status();
    let script_of_up = format!(
        "mount -t proc -o hidepid=2 none /proc && exec setpriv --reuid 65534 --regid 65534 \
         --clear-groups {} --data-dir {} up",
        crate::support::LEDGER,
        ledger.dir.display()
    );
    let mut told = ledger.fifo("told");
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", &script_of_up]);
    if !owned.unwrap().success() {
        return lacks("root");
    }
    let node = match Node::try_start(&mut command).await {
        Ok(node) => node,
        Err(ended) => return lacks(&format!("hidepid or setpriv: {ended:?}")),
    };
    let info = node.status().await.node.unwrap();
    assert_eq!(info.cgroups.as_deref(), Some("none"), "it may not make any");
    std::process::Command::new("chown")
        .arg(nobody)
        .arg(&told.path)
        .status()
        .unwrap();
    let text = format!(
        "(setsid sh -c 'trap \"\" TERM; echo $$ > {0}; exec sleep 600' &); \
         echo $$ > {0}; exec sleep 600",
        told.show()
    );
    node.submit(named("humble", limited(600_000, 200, script(&text))))
        .await;
    let members = [identity(told.pid()), identity(told.pid())];
    node.registered("humble", 1).await;
    let cancel = node.client.cancel(&id("humble"), &Default::default()).await;
    cancel.unwrap();
    assert_eq!(node.end_of("humble").await.state, StateName::Cancelled);
    assert!(members.iter().all(is_gone), "{members:?}");
    node.stop_well();
}
