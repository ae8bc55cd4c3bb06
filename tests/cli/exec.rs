//! `ledger exec`: what is said while a task is tried again, what its command reads, and how it ends.

use std::io::{BufRead, BufReader, Write};
use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{Ledger, named, script, text};

/// Attempts follow each other at once.
const HASTY: &str = "[scheduler]\nbackoff_base = \"1ms\"\nbackoff_cap = \"1ms\"\n";

/// What is said, with what differs from run to run left out.
fn said(ran: &Output) -> String {
    let words = text(&ran.stderr);
    let lines = words.lines().map(|line| match line.split_once(" follows") {
        // How long the pause is depends on chance, and whether it is over on the machine.
        Some((before, _)) => format!("{before} follows\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

fn fed(ledger: &Ledger, arguments: &[&str], input: &str) -> Output {
    let mut child = ledger
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn what_became_of_each_attempt_is_said() {
    let ledger = Ledger::configured(HASTY);
    let _node = ledger.up().await;
    let script =
        "case $LEDGER_ATTEMPT in 1) exit 3;; 2) kill -9 $$;; 3) sleep 60;; esac; echo done";
    let ran = ledger.cli(&[
        "exec",
        "--id",
        "t",
        "--max-attempts",
        "4",
        "--max-runtime",
        "500ms",
        "--",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert_eq!(text(&ran.stdout), "done\n");
    insta::assert_snapshot!("attempts", said(&ran));
}

#[tokio::test]
async fn the_command_reads_what_it_is_given_and_nothing_else() {
    let ledger = Ledger::new();
    let _node = ledger.up().await;
    let ran = fed(&ledger, &["exec", "--stdin", "-", "--", "cat"], "from here");
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    assert_eq!(
        (text(&ran.stdout), text(&ran.stderr)),
        ("from here".to_owned(), String::new())
    );
    let file = ledger.path("input");
    std::fs::write(&file, "from a file").unwrap();
    let named = ["exec", "--stdin", file.to_str().unwrap(), "--", "cat"];
    assert_eq!(text(&ledger.cli(&named).stdout), "from a file");
    // Not asked for, it is not passed on, and that is said.
    let input = std::fs::File::open(&file).unwrap();
    let ran = ledger
        .command(&["exec", "--", "cat"])
        .stdin(input)
        .output()
        .unwrap();
    assert_eq!(
        (ran.status.code(), text(&ran.stdout)),
        (Some(0), String::new())
    );
    assert_eq!(
        text(&ran.stderr),
        "what comes in on standard input is not passed on: `--stdin -` does that, and `</dev/null` \
         says that none is meant\n"
    );
    let quiet = ledger.cli(&["exec", "--", "cat"]);
    assert_eq!(
        (quiet.status.code(), text(&quiet.stderr)),
        (Some(0), String::new())
    );
}

#[tokio::test]
async fn an_option_that_does_not_exist_is_no_command() {
    let ledger = Ledger::new();
    let _node = ledger.up().await;
    let mut said = Vec::new();
    for arguments in [
        &["exec", "--nosuch", "true"][..],
        &["exec", "--max-runtimes", "5s", "true"],
        &["exec", "-x"],
        &["task", "submit", "--prioritye", "0", "--", "true"],
    ] {
        let ran = ledger.cli(arguments);
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {ran:?}");
        said.push(format!(
            "$ ledger {}\n{}",
            arguments.join(" "),
            text(&ran.stderr)
        ));
    }
    insta::assert_snapshot!("unknown_options", said.join("\n"));
    // From its first word on everything is the command's.
    let ran = ledger.cli(&["exec", "echo", "--nosuch", "-p", "9", "--", "--json"]);
    assert_eq!(text(&ran.stdout), "--nosuch -p 9 -- --json\n", "{ran:?}");
    let ran = ledger.cli(&["exec", "--", "-nosuch"]);
    assert_eq!(ran.status.code(), Some(127), "{ran:?}");
}

#[tokio::test]
async fn programs_get_the_task_however_it_ended() {
    let ledger = Ledger::new();
    let _node = ledger.up().await;
    for (code, state, script) in [
        (0, "completed", "echo out"),
        (3, "dead", "echo out; exit 3"),
    ] {
        let ran = ledger.cli(&["--json", "exec", "--", "sh", "-c", script]);
        assert_eq!(ran.status.code(), Some(code), "{ran:?}");
        assert_eq!(text(&ran.stdout), "out\n");
        let said: Value = serde_json::from_slice(&ran.stderr).unwrap();
        let task = &said["task"];
        assert_eq!(
            (&task["state"], &task["exit_code"]),
            (&state.into(), &code.into())
        );
        assert_eq!(task["outputs"]["stdout"]["tail"], "out\n");
        // It is what the task is shown as.
        let shown = ledger.cli(&["--json", "task", "show", task["task_id"].as_str().unwrap()]);
        assert_eq!(
            task,
            &serde_json::from_slice::<Value>(&shown.stdout).unwrap()
        );
    }
}

#[tokio::test]
async fn what_does_not_heed_the_cancel_is_killed_and_shown_so() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let script = "trap '' TERM; echo ready; while :; do :; done";
    let mut child = ledger
        .command(&[
            "exec", "--id", "deaf", "--grace", "50ms", "--", "sh", "-c", script,
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
    let ran = child.wait_with_output().unwrap();
    assert_eq!(ran.status.code(), Some(137), "{ran:?}");
    assert_eq!(
        text(&ran.stderr),
        "task deaf is being cancelled; once more leaves it to that\n\
         task deaf was cancelled and had to be killed\n"
    );
    let show = || {
        let shown = ledger.cli(&["task", "show", "deaf"]);
        assert!(shown.status.success(), "{shown:?}");
        text(&shown.stdout)
    };
    let shown = show();
    assert!(shown.contains("exit code    137\n"), "{shown}");
    let why = "       ended for the cancel; the command was ended by SIGKILL\n";
    assert!(shown.contains(why), "{shown}");
    for signal in ["SIGTERM", "SIGKILL"] {
        let step = format!("       {signal} to 1 process, ");
        assert!(shown.contains(&step), "{shown}");
    }
    node.stop_well();
    assert_eq!(show(), shown, "the files say what the node said");
}

#[tokio::test]
async fn whoever_waits_for_a_held_task_knows_what_for() {
    let ledger = Ledger::new();
    let _node = ledger.up().await;
    let paused = ledger.cli(&["queue", "pause", "standard", "--reason", "quiet hours"]);
    assert!(paused.status.success(), "{paused:?}");
    let mut child = ledger
        .command(&["exec", "--id", "waits", "--", "echo", "done"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut said).unwrap();
    assert_eq!(
        said,
        "task waits is held (queue paused: quiet hours): it starts once it is not\n"
    );
    let resumed = ledger.cli(&["queue", "resume", "standard"]);
    assert!(resumed.status.success(), "{resumed:?}");
    let ran = child.wait_with_output().unwrap();
    assert_eq!(
        (ran.status.code(), text(&ran.stdout)),
        (Some(0), "done\n".to_owned())
    );
}

#[tokio::test]
async fn who_comes_second_under_a_key_looks_on_and_cancels_nothing() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let pipe = ledger.fifo("go");
    let script = format!("echo begun; read line < {}", pipe.path.display());
    let command = ["exec", "--id", "once", "--idempotency-key", "k", "sh", "-c"];
    let command = [&command[..], &[&*script]].concat();
    let exec = || {
        let mut exec = ledger.command(&command);
        exec.stdout(Stdio::piped()).stderr(Stdio::piped());
        exec.spawn().unwrap()
    };
    let mut first = exec();
    let mut begun = String::new();
    let mut stdout = BufReader::new(first.stdout.take().unwrap());
    stdout.read_line(&mut begun).unwrap();
    let mut second = exec();
    let mut stderr = BufReader::new(second.stderr.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(
        line(),
        "task once was submitted before under this key: nothing is run anew\n"
    );
    let pid = Pid::from_raw(i32::try_from(second.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    let said = line();
    assert!(said.starts_with("task once goes on; "), "{said}");
    assert_eq!(second.wait().unwrap().code(), Some(130));
    pipe.tell("now");
    assert!(first.wait().unwrap().success());
    node.stop_well();
}

#[tokio::test]
async fn what_was_not_kept_of_an_output_is_said() {
    let ledger = Ledger::configured("[tasks]\noutput_limit = \"1KiB\"\n");
    let node = ledger.up().await;
    let command = "head -c 3072 /dev/zero; head -c 1024 /dev/zero >&2";
    let ran = ledger.cli(&["exec", "--id", "loud", "--", "sh", "-c", command]);
    assert_eq!((ran.status.code(), ran.stdout.len()), (Some(0), 1024));
    let cut = "the standard output of task loud was cut off at 1.00 KiB (tasks.output_limit): \
               2.00 KiB more were not kept\n";
    assert_eq!(
        text(&ran.stderr[1024..]),
        cut,
        "and nothing of the other stream"
    );
    let logs = || ledger.cli(&["task", "logs", "loud"]);
    assert_eq!(text(&logs().stderr), cut);
    assert_eq!(
        text(&ledger.cli(&["task", "logs", "-f", "loud"]).stderr),
        cut
    );
    assert_eq!(
        ledger.cli(&["task", "logs", "--stderr", "loud"]).stderr,
        b""
    );
    node.stop_well();
    let offline = logs();
    assert_eq!(
        (text(&offline.stderr), offline.stdout.len()),
        (cut.to_owned(), 1024)
    );
}

#[tokio::test]
async fn why_a_command_never_ran_is_said() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let failed = ledger.cli(&["exec", "--id", "first", "--", "false"]);
    assert_eq!(failed.status.code(), Some(1));
    assert_eq!(text(&failed.stderr), "");
    let gate = ledger.fifo("gate");
    let slow = format!("read x < {}; exit 1", gate.show());
    node.submit(named("slow", script(&slow))).await;
    let after = [
        "exec",
        "--id",
        "after",
        "--depends-on",
        "slow",
        "--",
        "true",
    ];
    let mut child = ledger
        .command(&after)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut held = String::new();
    stderr.read_line(&mut held).unwrap();
    let mut logs = ledger.command(&["task", "logs", "-f", "after"]);
    let mut logs = logs.stderr(Stdio::piped()).spawn().unwrap();
    let mut from_logs = BufReader::new(logs.stderr.take().unwrap());
    let mut waits = String::new();
    from_logs.read_line(&mut waits).unwrap();
    gate.tell("now");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    let why = "task slow, which it depends on, did not complete";
    assert_eq!(said, format!("task after is dead and never ran: {why}\n"));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut told = String::new();
    std::io::Read::read_to_string(&mut from_logs, &mut told).unwrap();
    assert_eq!(
        told,
        format!("error: task after has not been started\ncause: it is dead: {why}\n")
    );
    assert_eq!(logs.wait().unwrap().code(), Some(7));
    let paused = ledger.cli(&["queue", "pause", "standard"]);
    assert!(paused.status.success(), "{paused:?}");
    let late = ledger.cli(&["exec", "--id", "late", "--expires", "1s", "--", "true"]);
    assert_eq!(late.status.code(), Some(1));
    let said = text(&late.stderr);
    assert!(
        said.ends_with("task late is dead and never ran: it expired while it waited\n"),
        "{said}"
    );
    node.stop_well();
}
