//! What is said of what was asked for: where a task stands and what holds it, that there was nothing to
//! do, and that a key was used for something else.

use insta::assert_snapshot;

use crate::support::{Ledger, exec, named, script, text};

/// What each of the commands says and how it exits, without what differs from run to run.
fn talk(ledger: &Ledger, commands: &[&[&str]]) -> String {
    let mut told = String::new();
    for arguments in commands {
        let ran = ledger.cli(arguments);
        told.push_str(&format!("$ ledger {}\n", arguments.join(" ")));
        for line in format!("{}{}", text(&ran.stdout), text(&ran.stderr)).lines() {
            let line = match line.split_once(' ') {
                Some(("seq", _)) => "seq [SEQ]",
                Some(("hash", rest)) => &format!("hash [HASH]{}", &rest[64..]),
                _ => line,
            };
            told.push_str(&format!("{line}\n"));
        }
        match ran.status.code() {
            Some(0) => told.push('\n'),
            code => told.push_str(&format!("exit code {}\n\n", code.unwrap())),
        }
    }
    told
}

#[tokio::test]
async fn what_holds_a_task_is_said() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let talked = talk(
        &ledger,
        &[
            &["queue", "pause", "2", "--reason", "quiet hours"],
            &["queue", "pause", "2"],
            &["task", "submit", "--id", "night", "-p", "2", "--", "true"],
            &[
                "task",
                "submit",
                "--id",
                "after",
                "--depends-on",
                "night",
                "--",
                "true",
            ],
            &["task", "set-priority", "night", "2"],
            &["task", "logs", "night"],
            &["task", "list"],
            &["queue", "resume", "0"],
            &["task", "cancel", "night"],
            &["task", "cancel", "night"],
            &["task", "logs", "after"],
            &["resume"],
        ],
    );
    assert_snapshot!("held", talked);
    let status = text(&ledger.cli(&["status"]).stdout);
    assert!(
        status.contains("0 queued, 0 running, 0 completed, 1 cancelled, 1 dead"),
        "{status}"
    );
    node.stop_well();
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let key = ["--idempotency-key", "k"];
    let submit = |more: &[&'static str], command: &'static str| {
        let begin = [&["task", "submit", "--id", "first"][..], &key, more].concat();
        [&begin[..], &["--", command]].concat()
    };
    let first = ledger.cli(&submit(&["--not-before", "1h"], "true"));
    assert!(first.status.success(), "{first:?}");
    let append =
        |data: &'static str| ["append", "app.x", "--idempotency-key", "a", "--data", data].to_vec();
    assert!(ledger.cli(&append("{}")).status.success());
    let talked = talk(
        &ledger,
        &[
            // Said later, it is another time, and the same wish.
            &submit(&["--not-before", "2h"], "true"),
            &submit(&[], "false"),
            &submit(
                &["-p", "0", "--max-runtime", "7s", "--max-attempts", "3"],
                "true",
            ),
            &["task", "submit", "--idempotency-key", "a", "--", "true"],
            &append("{}"),
            &append("{\"n\":1}"),
            &["append", "app.y", "--idempotency-key", "k"],
        ],
    );
    assert_snapshot!("keys", talked);
    node.stop_well();
}

#[tokio::test]
async fn logs_of_what_never_ran_say_why() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let ran = ledger.cli(&["exec", "--id", "missing", "--", "no-such-command-here"]);
    assert_eq!(ran.status.code(), Some(127), "{ran:?}");
    let talked = talk(&ledger, &[&["task", "logs", "missing"]]);
    assert_snapshot!(talked, @r"
    $ ledger task logs missing
    attempt 1 of task missing could not be started: exec: No such file or directory (os error 2)
    ");
    node.stop_well();
    assert_eq!(talk(&ledger, &[&["task", "logs", "missing"]]), talked);
}

#[tokio::test]
async fn logs_that_nobody_adds_to_are_not_followed() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let gate = ledger.fifo("gate");
    let text = format!("echo one; read x < {}", gate.show());
    node.submit(named("night", script(&text))).await;
    let first = || ledger.cli(&["task", "logs", "night"]).stdout;
    while first() != b"one\n" {
        tokio::task::yield_now().await;
    }
    node.crash();
    let talked = talk(
        &ledger,
        &[&["task", "logs", "night"], &["task", "logs", "night", "-f"]],
    );
    assert_snapshot!(talked, @r"
    $ ledger task logs night
    one

    $ ledger task logs night -f
    one
    error: attempt 1 of task night can be followed no further
    cause: no node runs that could tell when it ends
    hint: start one with `ledger up`; without -f what it wrote so far is shown
    exit code 6
    ");
    gate.tell("");
    let node = ledger.up().await;
    node.end_of("night").await;
    node.stop_well();
    let talked = talk(&ledger, &[&["task", "logs", "night", "-f"]]);
    assert_snapshot!(talked, @r"
    $ ledger task logs night -f
    one
    ");
}

#[tokio::test]
async fn too_little_of_an_id_is_said_to_be_that() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("nightly-build", exec(&["true"]))).await;
    let commands: [&[&str]; 4] = [
        &["task", "show", "nightl"],
        &["task", "cancel", "nightl"],
        &["task", "retry", "nightly-"],
        &["task", "retry", "nightly-x"],
    ];
    let talked = talk(&ledger, &commands);
    node.stop_well();
    let offline = talk(&ledger, &commands[..1]);
    assert_snapshot!(format!("{talked}{offline}"), @r"
    $ ledger task show nightl
    error: there is no task nightl
    hint: see `ledger task list` for the tasks there are; the beginning of an id needs 8 characters
    exit code 7

    $ ledger task cancel nightl
    error: there is no task nightl
    hint: see `ledger task list` for the tasks there are; the beginning of an id needs 8 characters
    exit code 7

    $ ledger task retry nightly-
    error: task nightly-build is completed already; only a dead task can be retried
    exit code 8

    $ ledger task retry nightly-x
    error: there is no task nightly-x
    hint: see `ledger task list` for the tasks there are
    exit code 7

    $ ledger task show nightl
    error: there is no task nightl
    hint: see `ledger task list` for the tasks there are; the beginning of an id needs 8 characters
    exit code 7
    ");
}
