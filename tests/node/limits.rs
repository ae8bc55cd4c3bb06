//! `max_runtime`: what runs past it is ended with its whole tree, by a ladder that the log tells.

use serde_json::{Value, json};

use crate::support::{
    Fifo, Ledger, Logged, exec, identity, is_gone, limited, named, script, session_members, show,
};

/// In milliseconds: enough for a script to say that it runs, also on a machine with much to do.
const LIMIT: u64 = 1500;

/// Runs a script past its limit; returns the closing event, that of its process, and the
/// processes left of its session.
async fn overrun(ledger: &Ledger, grace: u64, text: &str, told: &mut Fifo, tree: usize) -> Story {
    let node = ledger.up().await;
    node.submit(named("late", limited(LIMIT, grace, script(text))))
        .await;
    let processes: Vec<_> = (0..tree).map(|_| identity(told.pid())).collect();
    let view = node.end_of("late").await;
    assert_eq!(view.exit_code, Some(124));
    for process in &processes {
        assert!(is_gone(process), "{process:?} is left");
    }
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(
        log.life("late"),
        [
            "task.submitted",
            "task.started",
            "task.timed_out",
            "task.dead"
        ]
    );
    assert_eq!(log.end_of("late").data["reason"], "timed_out");
    let shim = log.only("process.registered").data["shim_pid"]
        .as_i64()
        .unwrap();
    assert_eq!(
        session_members(i32::try_from(shim).unwrap()),
        [0; 0],
        "processes are left"
    );
    Story {
        timed_out: log.only("task.timed_out").clone(),
        reaped: log.only("process.reaped").data.clone(),
    }
}

struct Story {
    timed_out: Logged,
    reaped: Value,
}

fn signals(reaped: &Value) -> Vec<&str> {
    let steps = reaped["steps"].as_array().unwrap();
    steps
        .iter()
        .map(|step| step["signal"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn one_that_obeys_sigterm_is_ended_by_it() {
    let ledger = Ledger::new();
    let mut told = ledger.fifo("told");
    let text = format!("echo $$ > {}; echo said; exec sleep 600", told.show());
    let story = overrun(&ledger, 600_000, &text, &mut told, 1).await;
    assert_eq!(signals(&story.reaped), ["SIGTERM"]);
    assert_eq!(story.reaped["cause"], "max_runtime");
    assert_eq!(
        story.reaped["end"],
        json!({"type": "signaled", "signal": 15})
    );
    let data = &story.timed_out.data;
    assert_eq!(data["max_runtime_ms"], LIMIT);
    assert!(data["runtime_us"].as_u64().unwrap() >= LIMIT * 1000);
    assert_eq!(data["outputs"]["stdout"]["tail"], "said\n");
}

#[tokio::test]
async fn one_that_ignores_sigterm_is_killed_with_its_whole_tree() {
    let ledger = Ledger::new();
    let mut told = ledger.fifo("told");
    // Each starts one child in a session of its own and one in its own group, two levels deep, and
    // nobody listens to SIGTERM.
    let tree = ledger.path("tree.sh");
    let text = format!(
        "trap '' TERM; echo $$ > {}\n\
         if test $1 -gt 0; then setsid -f sh $0 $(($1 - 1)); sh $0 $(($1 - 1)) & fi\n\
         while :; do sleep 600; done\n",
        told.show()
    );
    std::fs::write(&tree, text).unwrap();
    let text = format!("exec sh {} 2", show(&tree));
    let story = overrun(&ledger, 100, &text, &mut told, 7).await;
    let signals = signals(&story.reaped);
    assert_eq!(signals[0], "SIGTERM");
    assert_eq!(signals.last(), Some(&"SIGKILL"));
    assert_eq!(
        story.reaped["end"],
        json!({"type": "signaled", "signal": 9})
    );
}

#[tokio::test]
async fn one_that_ends_in_its_grace_has_timed_out_all_the_same() {
    let ledger = Ledger::new();
    let mut told = ledger.fifo("told");
    let text = format!(
        "trap 'echo cleaned; exit 0' TERM; echo $$ > {}; while :; do sleep 0.01; done",
        told.show()
    );
    let story = overrun(&ledger, 600_000, &text, &mut told, 1).await;
    assert_eq!(signals(&story.reaped), ["SIGTERM"]);
    assert_eq!(story.reaped["end"], json!({"type": "exited", "code": 0}));
    assert_eq!(
        story.timed_out.data["outputs"]["stdout"]["tail"],
        "cleaned\n"
    );
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_ended_with_it() {
    let ledger = Ledger::new();
    let mut told = ledger.fifo("told");
    let node = ledger.up().await;
    let gate = ledger.fifo("gate");
    let text = format!(
        "sh -c 'echo $$ > {}; exec sleep 600' & read x < {}",
        told.show(),
        gate.show()
    );
    node.submit(named("leaves", script(&text))).await;
    let process = identity(told.pid());
    gate.tell("go");
    let view = node.end_of("leaves").await;
    assert_eq!(view.exit_code, Some(0));
    assert!(is_gone(&process));
    // Nothing to end: a ladder stands only where one was needed.
    node.run(named("tidy", exec(&["true"]))).await;
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.life("leaves").last(), Some(&"task.completed"));
    let of_leaves = log.processes_of("leaves");
    assert_eq!(of_leaves[1].data["cause"], "leftovers");
    assert_eq!(
        of_leaves[1].data["end"],
        json!({"type": "exited", "code": 0})
    );
    assert_eq!(log.processes_of("tidy")[1].kind, "process.exited");
}
