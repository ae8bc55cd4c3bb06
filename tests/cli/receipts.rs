//! What is said of what was asked for: where a task stands and what holds it, that there was nothing to
//! do, and that a key was used for something else.

use crate::support::{Ledger, text};

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
    insta::assert_snapshot!("held", talked);
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
    insta::assert_snapshot!("keys", talked);
    node.stop_well();
}

#[tokio::test]
async fn logs_of_what_never_ran_say_why() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let ran = ledger.cli(&["exec", "--id", "missing", "--", "no-such-command-here"]);
    assert_eq!(ran.status.code(), Some(127), "{ran:?}");
    let talked = talk(&ledger, &[&["task", "logs", "missing"]]);
    insta::assert_snapshot!(talked, @r"
    $ ledger task logs missing
    attempt 1 of task missing could not be started: exec: No such file or directory (os error 2)
    ");
    node.stop_well();
    assert_eq!(talk(&ledger, &[&["task", "logs", "missing"]]), talked);
}
