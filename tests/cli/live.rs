//! With a node: the same answers through its socket, and the commands that need one.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Ledger, named, script, text};

fn stdout_of(ledger: &Ledger, arguments: &[&str]) -> String {
    let ran = ledger.cli(arguments);
    assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    text(&ran.stdout)
}

/// Starts a command whose standard output is read as it comes.
fn start(ledger: &Ledger, arguments: &[&str]) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = ledger
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

fn interrupt(child: &Child) {
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGINT,
    )
    .unwrap();
}

#[tokio::test]
async fn the_socket_and_the_files_give_the_same_output() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("a", script("echo out; echo err >&2"))).await;
    node.run(named("b", script("exit 4"))).await;
    let head = stdout_of(&ledger, &["query", "--count"]);
    let range = format!("1..{}", head.trim());
    let commands: [&[&str]; 9] = [
        &["query", "-o", "jsonl", "--seq", &range],
        &["simulate", "--history", &range, "--slots", "+2"],
        &["tail", "-n", "5", "-o", "verbose", "--seq", &range],
        &["show", "3"],
        &["task", "list"],
        &["--json", "task", "show", "a"],
        &["task", "logs", "a"],
        &["task", "logs", "a", "--stderr"],
        &["task", "list", "--state", "dead", "--json"],
    ];
    let through_node: Vec<_> = commands.iter().map(|c| stdout_of(&ledger, c)).collect();
    assert!(stdout_of(&ledger, &["verify"]).starts_with("intact: "));
    assert!(stdout_of(&ledger, &["rebuild", "--check"]).contains("same at seq"));
    node.stop_well();
    for (command, expected) in commands.iter().zip(through_node) {
        assert_eq!(stdout_of(&ledger, command), expected, "{command:?}");
    }
    assert!(stdout_of(&ledger, &["verify"]).starts_with("intact: "));
    ledger.assert_sound();
}

#[tokio::test]
async fn exec_behaves_as_if_the_command_ran_here() {
    let ledger = Ledger::new();
    let _node = ledger.up().await;
    let here = ledger.room.path();
    let ran = ledger
        .command(&["exec", "-e", "GREETING=hi", "--", "sh", "-c"])
        .arg("echo $GREETING; pwd; printf 'no newline' >&2; exit 3")
        .current_dir(here)
        .output()
        .unwrap();
    assert_eq!(ran.status.code(), Some(3), "{ran:?}");
    let real = std::fs::canonicalize(here).unwrap();
    assert_eq!(text(&ran.stdout), format!("hi\n{}\n", real.display()));
    assert_eq!(text(&ran.stderr), "no newline");
    for (code, arguments) in [
        (0, &["exec", "--", "true"][..]),
        (137, &["exec", "--", "sh", "-c", "kill -9 $$"]),
        (124, &["exec", "--max-runtime", "50ms", "--", "sleep", "60"]),
    ] {
        let ran = ledger.cli(arguments);
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {ran:?}");
    }
    let large = ledger.cli(&["exec", "--", "sh", "-c", "head -c 3000000 /dev/zero"]);
    assert_eq!(
        (large.stdout.len(), large.status.code()),
        (3_000_000, Some(0))
    );
}

#[tokio::test]
async fn exec_says_why_a_command_could_not_be_started() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let room = ledger.room.path();
    std::fs::write(room.join("plain"), "echo never\n").unwrap();
    std::fs::write(room.join("script"), "#!/nowhere/at/all\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(room.join("script"), mode).unwrap();
    let mut said = Vec::new();
    for (code, arguments) in [
        (127, &["exec", "--", "no-such-command-here"][..]),
        (127, &["exec", "-e", "PATH=/nowhere", "--", "true"]),
        (127, &["exec", "--", "./no-such-file"]),
        (127, &["exec", "--", "./script"]),
        (126, &["exec", "--id", "plain", "--", "./plain", "argument"]),
        (126, &["exec", "--", "/"]),
        (127, &["exec", "--json", "--", "no-such-command-here"]),
    ] {
        let ran = ledger.command(arguments).current_dir(room).output();
        let ran = ran.unwrap();
        assert_eq!(ran.status.code(), Some(code), "{arguments:?}: {ran:?}");
        assert_eq!(text(&ran.stdout), "", "{arguments:?}");
        let real = std::fs::canonicalize(room).unwrap();
        let stderr = text(&ran.stderr).replace(real.to_str().unwrap(), "[ROOM]");
        // The task itself, for programs, comes before the error.
        let stderr = &stderr[stderr.find("{\"error\"").unwrap_or(0)..];
        said.push(format!("$ ledger {}\n{stderr}", arguments.join(" ")));
    }
    insta::assert_snapshot!("not_started", said.join("\n"));
    let shown = stdout_of(&ledger, &["task", "show", "plain"]);
    assert!(shown.contains("exit code    126\n"), "{shown}");
    let why = "not started  exec: Permission denied (os error 13)\n";
    assert!(shown.contains(why), "{shown}");
    // A command's own code is its own, whatever it looks like.
    for code in ["124", "126", "127"] {
        let script = format!("exit {code}");
        let ran = ledger.cli(&["exec", "--", "sh", "-c", &script]);
        assert_eq!(ran.status.code().unwrap().to_string(), code);
        assert_eq!(text(&ran.stderr), "");
    }
    node.stop_well();
    let offline = stdout_of(&ledger, &["task", "show", "plain"]);
    assert_eq!(offline, shown, "the files say what the node said");
}

#[tokio::test]
async fn an_interrupt_cancels_what_exec_runs() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let (mut child, mut stdout) =
        start(&ledger, &["exec", "--id", "loop", "--", "sh", "-c", script]);
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    interrupt(&child);
    line.clear();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "bye\n");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert_eq!(node.end_of("loop").await.state.as_str(), "cancelled");
}

#[tokio::test]
async fn a_second_interrupt_leaves_the_task_to_itself() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let (mut child, mut stdout) = start(
        &ledger,
        &[
            "exec",
            "--id",
            "deaf",
            "--grace",
            "60s",
            "--",
            "sh",
            "-c",
            "trap '' TERM; echo ready; exec sleep 60",
        ],
    );
    stdout.read_line(&mut String::new()).unwrap();
    interrupt(&child);
    node.event(|e| e.kind == "task.cancel_requested").await;
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(node.task("deaf").await.state.as_str(), "cancelling");
}

#[tokio::test]
async fn exec_outlives_the_node_without_losing_or_repeating_a_byte() {
    let ledger = Ledger::new();
    let gate = ledger.fifo("gate");
    let node = ledger.up().await;
    let script = format!(
        "echo one; read line < {}; echo $line; echo three",
        gate.path.display()
    );
    let (mut child, mut stdout) = start(
        &ledger,
        &["exec", "--max-runtime", "60s", "--", "sh", "-c", &script],
    );
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    node.crash();
    let _node = ledger.up().await;
    let mut writer = std::fs::OpenOptions::new()
        .write(true)
        .open(&gate.path)
        .unwrap();
    writer.write_all(b"two\n").unwrap();
    drop(writer);
    for _ in 0..2 {
        stdout.read_line(&mut line).unwrap();
    }
    assert_eq!(line, "one\ntwo\nthree\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn tail_follows_over_a_restart_until_what_it_waits_for() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let (mut child, mut stdout) = start(
        &ledger,
        &[
            "tail",
            "-f",
            "-n",
            "1",
            "-o",
            "jsonl",
            "--until-match",
            "app.end data.n=2",
        ],
    );
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    stdout_of(&ledger, &["append", "app.end", "--data", "{\"n\":1}"]);
    node.stop_well();
    let _node = ledger.up().await;
    stdout_of(&ledger, &["append", "app.end", "--data", "{\"n\":2}"]);
    let mut lines = vec![first];
    lines.extend(stdout.lines().map(Result::unwrap));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let seqs: Vec<u64> = lines
        .iter()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"]
                .as_u64()
                .unwrap()
        })
        .collect();
    let expected: Vec<u64> = (seqs[0]..).take(seqs.len()).collect();
    assert_eq!(seqs, expected);
    assert!(seqs.len() > 4, "{seqs:?}");
    let ran = ledger.cli(&["tail", "-f", "-n", "0", "--timeout", "50ms"]);
    assert_eq!((ran.status.code(), ran.stdout.len()), (Some(124), 0));
}

#[tokio::test]
async fn logs_are_followed_as_they_come_until_the_attempt_has_ended() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let gate = ledger.fifo("gate");
    let text = format!("echo one; read x < {}; echo $x; printf last", gate.show());
    node.submit(named("t", script(&text))).await;
    let (mut child, mut stdout) = start(&ledger, &["task", "logs", "t", "-f"]);
    let mut lines = String::new();
    stdout.read_line(&mut lines).unwrap();
    assert_eq!(lines, "one\n", "what is written shows while the task runs");
    assert!(child.try_wait().unwrap().is_none());
    gate.tell("two");
    stdout.read_line(&mut lines).unwrap();
    std::io::Read::read_to_string(&mut stdout, &mut lines).unwrap();
    assert_eq!(lines, "one\ntwo\nlast");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    node.end_of("t").await;
    // Of one that has ended, all that there is.
    assert_eq!(stdout_of(&ledger, &["task", "logs", "t", "-f"]), lines);
    node.stop_well();
}

#[tokio::test]
async fn the_status_is_watched_over_a_restart_until_nobody_reads() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let watch = ["--json", "status", "--watch", "--interval", "100ms"];
    let (mut child, mut stdout) = start(&ledger, &watch);
    let mut next = |wanted: &dyn Fn(&serde_json::Value) -> bool| loop {
        let mut line = String::new();
        assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "it goes on");
        if wanted(&serde_json::from_str(&line).unwrap()) {
            break;
        }
    };
    let term = |status: &serde_json::Value| status["report"]["lease"]["term"].as_u64();
    next(&|status| term(status) == Some(1) && status["node"]["pid"].is_u64());
    node.stop_well();
    next(&|status| status["node"].is_null());
    let node = ledger.up().await;
    next(&|status| term(status) == Some(2) && status["node"]["pid"].is_u64());
    drop(stdout);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    node.stop_well();
}

#[tokio::test]
async fn tasks_are_submitted_cancelled_and_retried() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let file = ledger.path("input");
    std::fs::write(&file, "from a file").unwrap();
    let input = file.to_str().unwrap();
    let submitted = stdout_of(
        &ledger,
        &[
            "task",
            "submit",
            "--id",
            "read",
            "-p",
            "interactive",
            "--stdin",
            input,
            "--",
            "cat",
        ],
    );
    assert!(submitted.starts_with("task read is in queue 0 (interactive), 0 before it\nseq "));
    node.end_of("read").await;
    assert_eq!(stdout_of(&ledger, &["task", "logs", "read"]), "from a file");
    let again = ledger.cli(&["task", "submit", "--id", "read", "--", "cat"]);
    assert_eq!(again.status.code(), Some(8), "{again:?}");
    // It goes on for as long as the test wants.
    let (mut told, gate) = (ledger.fifo("told"), ledger.fifo("gate"));
    let text = format!(
        "trap 'read x < {}; exit 0' TERM; echo up > {}; while :; do sleep 0.01; done",
        gate.show(),
        told.show()
    );
    node.submit(named("long", script(&text))).await;
    told.line();
    let reason = ["task", "cancel", "long", "--reason", "not needed"];
    let said = stdout_of(&ledger, &reason);
    assert!(
        said.starts_with("task long is to be cancelled: its processes are being ended\nseq "),
        "{said}"
    );
    let again = stdout_of(&ledger, &["task", "cancel", "long"]);
    assert!(
        again.starts_with("task long is being cancelled already\n"),
        "{again}"
    );
    gate.tell("end");
    let view = node.end_of("long").await;
    assert_eq!(view.cancel_reason.as_deref(), Some("not needed"));
    // One that waits is cancelled at once.
    let wait = [
        "task",
        "submit",
        "--id",
        "later",
        "--not-before",
        "1h",
        "--",
        "true",
    ];
    stdout_of(&ledger, &wait);
    let said = stdout_of(&ledger, &["task", "cancel", "later"]);
    assert!(said.starts_with("task later is cancelled\nseq "), "{said}");
    node.run(named("bad", script("exit 1"))).await;
    assert!(stdout_of(&ledger, &["task", "retry", "bad"]).starts_with("task bad is queued again"));
    assert_eq!(
        ledger.cli(&["task", "retry", "read"]).status.code(),
        Some(8)
    );
    assert_eq!(
        ledger.cli(&["task", "cancel", "nobody"]).status.code(),
        Some(7)
    );
}

#[tokio::test]
async fn applications_append_one_or_many() {
    let ledger = Ledger::new();
    let _node = ledger.up().await;
    let one = [
        "append",
        "app.deploy",
        "--subject",
        "service/web",
        "--data",
        "{\"v\": 1.0}",
        "--as",
        "agent/ada",
        "--idempotency-key",
        "k1",
        "--json",
    ];
    let first: serde_json::Value = serde_json::from_str(&stdout_of(&ledger, &one)).unwrap();
    let again: serde_json::Value = serde_json::from_str(&stdout_of(&ledger, &one)).unwrap();
    assert_eq!(first["seq"], again["seq"]);
    assert_eq!(again["replayed"], true);
    let conflict = ledger.cli(&["append", "app.x", "--expect-head", "1"]);
    assert_eq!(conflict.status.code(), Some(8), "{conflict:?}");
    let conflict = ledger.cli(&[
        "append",
        "app.deploy",
        "--subject",
        "service/web",
        "--expect-version",
        "new",
    ]);
    assert_eq!(conflict.status.code(), Some(8), "{conflict:?}");
    let seq = &first["seq"];
    let said = text(&conflict.stderr);
    let why = format!("error: service/web is not new: its version is {seq}\nhint: read what");
    assert!(said.starts_with(&why), "{said}");
    let batch = ledger.path("batch");
    let lines = |web: u64| {
        format!(
            "{{\"kind\":\"app.step\",\"subject\":\"service/web\",\"expected_version\":{web}}}\n\
             {{\"kind\":\"app.step\",\"subject\":\"service/new\",\"expected_version\":0}}\n"
        )
    };
    let run = ["append", "--json", "--batch", batch.to_str().unwrap()];
    std::fs::write(&batch, lines(1)).unwrap();
    let conflict = ledger.cli(&run);
    assert_eq!(conflict.status.code(), Some(8), "{conflict:?}");
    let said: serde_json::Value = serde_json::from_slice(&conflict.stderr).unwrap();
    assert_eq!(&said["error"]["actual"], seq, "{said}");
    std::fs::write(&batch, lines(seq.as_u64().unwrap())).unwrap();
    let done: serde_json::Value = serde_json::from_str(&stdout_of(&ledger, &run)).unwrap();
    let (before, version) = (done["seq"].as_u64().unwrap() - 1, done["seq"].to_string());
    for (subject, expected) in [("web", before.to_string()), ("new", version)] {
        let subject = format!("service/{subject}");
        let append = ["append", "app.step", "--subject", &subject];
        stdout_of(
            &ledger,
            &[&append[..], &["--expect-version", &expected]].concat(),
        );
    }
    let reserved = ledger.cli(&["append", "task.submitted"]);
    assert_eq!(reserved.status.code(), Some(6), "{reserved:?}");
    let mut child = ledger
        .command(&["append", "--batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines =
        "{\"kind\":\"app.a\"}\n{\"kind\":\"app.b\",\"subject\":\"x/y\",\"data\":{\"n\":2}}\n";
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    let kinds = stdout_of(&ledger, &["query", "-k", "app.*", "-o", "cat"]);
    assert_eq!(kinds, "{\"v\":1.0}\n{}\n{}\n{}\n{}\n{}\n{\"n\":2}\n");
}

#[tokio::test]
async fn the_beginning_of_an_id_stands_for_it_where_no_other_begins_so() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    for name in ["build-of-monday", "build-of-tuesday", "build-of"] {
        node.run(named(name, script("echo done"))).await;
    }
    let run = |arguments: &[&str]| {
        let ran = ledger.cli(arguments);
        (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
    };
    let check = || {
        let (code, out, said) = run(&["task", "show", "build-of-m"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(out.starts_with("task build-of-monday completed"), "{out}");
        let (code, out, said) = run(&["task", "logs", "build-of-t"]);
        assert_eq!((code, out.as_str()), (Some(0), "done\n"), "{said}");
        // A whole id is that task, whatever else begins with it.
        let (code, out, said) = run(&["task", "show", "build-of"]);
        assert_eq!(code, Some(0), "{said}");
        assert!(out.starts_with("task build-of completed"), "{out}");
        let (code, _, said) = run(&["task", "show", "build-of-"]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("build-of-tuesday, build-of-monday"), "{said}");
        let (code, _, said) = run(&["task", "show", "build-o"]);
        assert_eq!(code, Some(7), "too short: {said}");
    };
    check();
    let (code, _, said) = run(&["task", "retry", "build-of-m"]);
    assert_eq!(code, Some(8), "{said}");
    assert!(said.contains("build-of-monday"), "{said}");
    node.stop_well();
    check();
}
