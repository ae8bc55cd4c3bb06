//! `max_runtime`: what runs past it is ended with its whole tree, by a ladder that the log tells.

use serde_json::{Value, json};

use crate::support::{
    Fifo, Ledger, Logged, exec, identity, is_gone, limited, named, script, session_members, show,
    text,
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

#[tokio::test]
async fn one_that_stands_still_is_ended_and_tried_again_like_one_that_ran_too_long() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let cli = |arguments: &[&str]| {
        let done = ledger.cli(arguments);
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let task = [
        "exec",
        "--id",
        "idle",
        "--stall-after",
        "300ms",
        "--max-attempts",
        "2",
    ];
    let (code, out, error) =
        cli(&[&task[..], &["--", "sh", "-c", "echo said; exec sleep 600"]].concat());
    assert_eq!((code, out.as_str()), (Some(124), "said\nsaid\n"), "{error}");
    assert!(
        error.contains("task idle did nothing for 300ms and was ended"),
        "{error}"
    );
    let (_, shown, _) = cli(&["task", "show", "idle"]);
    assert!(shown.contains("may stall    300ms"), "{shown}");
    assert_eq!(shown.matches("stalled after").count(), 2, "{shown}");
    let (code, _, error) = cli(&["exec", "--stall-after", "5ms", "--", "true"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(
        error.contains("'--stall-after <DURATION>': write a duration from 100ms to 30d"),
        "{error}"
    );
    node.stop_well();
    let log = ledger.assert_sound();
    let reaped = log.of_kind("process.reaped");
    assert!(reaped.iter().all(|e| e.data["cause"] == "stalled"));
    let timed_out = log.of_kind("task.timed_out");
    assert_eq!((reaped.len(), timed_out.len()), (2, 2));
    assert_eq!(timed_out[0].data["stalled_ms"], 300);
    assert_eq!(
        log.only("task.submitted").data["terms"]["stall_after_ms"],
        300
    );
    assert_eq!(log.end_of("idle").data["reason"], "timed_out");
}

#[tokio::test]
async fn an_attempt_has_no_more_processes_than_it_may() {
    let ledger = Ledger::configured("[reaper]\nmax_processes = 20\n");
    let node = ledger.up().await;
    let info = node.status().await.node.unwrap();
    if info.warnings.iter().any(|w| w.contains("max_processes")) {
        return crate::support::host::lacks("a pids controller");
    }
    let many = "for n in $(seq 60); do sleep 600 & done; echo all";
    let view = node
        .run(named("bomb", limited(60_000, 100, script(many))))
        .await;
    assert_eq!(view.exit_code, Some(2), "the shell can't fork");
    let few = "for n in $(seq 10); do sleep 600 & done; echo all";
    let view = node
        .run(named("few", limited(60_000, 100, script(few))))
        .await;
    assert_eq!(view.exit_code, Some(0));
    node.stop_well();
    let log = ledger.assert_sound();
    for task in ["bomb", "few"] {
        assert_eq!(log.processes_of(task)[1].data["cause"], "leftovers");
    }
    let sent = log.processes_of("bomb")[1].data["steps"][0]["processes"].as_u64();
    assert!((15..=20).contains(&sent.unwrap()), "{sent:?}");
}

#[tokio::test]
async fn which_way_trees_are_held_is_said_and_can_be_chosen() {
    let ledger = Ledger::configured("[reaper]\ncgroups = \"off\"\n");
    let node = ledger.up().await;
    let info = node.status().await.node.unwrap();
    assert_eq!(info.cgroups.as_deref(), Some("none"));
    let left = "sleep 600 & exit 3";
    let view = node
        .run(named("plain", limited(60_000, 100, script(left))))
        .await;
    assert_eq!(view.exit_code, Some(3));
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.processes_of("plain")[1].data["cause"], "leftovers");
    ledger.configure("");
    let node = ledger.up().await;
    let cgroups = node.status().await.node.unwrap().cgroups.unwrap();
    assert!(["v2", "v1", "none"].contains(&&*cgroups));
    if cgroups == "none" {
        crate::support::host::lacks("cgroups");
    }
    node.stop_well();
}

#[tokio::test]
async fn a_gigabyte_of_output_is_counted_and_all_but_its_beginning_thrown_away() {
    const KEPT: u64 = 1024 * 1024;
    const WRITTEN: u64 = 1024 * 1024 * 1024;
    let ledger = Ledger::configured("[tasks]\noutput_limit = \"1MiB\"\n");
    let node = ledger.up().await;
    let text = format!("head -c {WRITTEN} /dev/zero; echo done >&2");
    let view = node.run(named("loud", script(&text))).await;
    assert_eq!(view.exit_code, Some(0));
    node.stop_well();
    let log = ledger.assert_sound();
    let outputs = &log.end_of("loud").data["outputs"];
    assert_eq!(outputs["stdout"]["bytes"], KEPT);
    assert_eq!(outputs["stdout"]["dropped_bytes"], WRITTEN - KEPT);
    assert_eq!(outputs["stderr"]["tail"], "done\n");
    let file = ledger.attempt_dir("loud", 1).join("stdout");
    assert_eq!(std::fs::metadata(file).unwrap().len(), KEPT);
}
