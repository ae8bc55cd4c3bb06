//! Lives of tasks, from submit to their end, as the log tells them.

use std::fs;

use projections::tasks::StateName;
use serde_json::{Value, json};

use crate::support::{Ledger, Node, command_of, exec, id, named, script, show};

/// The stream's record in a closing event must be what is in the file.
fn assert_output(ledger: &Ledger, data: &Value, task: &str, stream: &str, expected: &[u8]) {
    let record = &data["outputs"][stream];
    assert_eq!(record["bytes"], expected.len());
    assert_eq!(
        record["blake3"].as_str().unwrap(),
        blake3::hash(expected).to_hex().as_str()
    );
    let file = fs::read(ledger.attempt_dir(task, 1).join(stream)).unwrap_or_default();
    assert_eq!(file, expected);
}

#[tokio::test]
async fn a_task_that_completes_leaves_its_whole_story() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let mut request = named(
        "whole",
        script("echo out; echo err >&2; pwd; cat; echo $NAME"),
    );
    let exec = command_of(&mut request);
    exec.stdin = Some("from stdin\n".into());
    exec.env.insert("NAME".into(), "value".into());
    request.correlation = Some(id("story"));
    let receipt = node.submit(request).await;
    assert_eq!((receipt.position, receipt.replayed), (0, false));
    let view = node.end_of("whole").await;
    assert_eq!(
        (view.state, view.exit_code),
        (StateName::Completed, Some(0))
    );
    assert_eq!(
        node.task("whole").await.outputs.unwrap().stderr.tail,
        "err\n"
    );
    node.stop_well();

    let log = ledger.assert_sound();
    assert_eq!(
        log.life("whole"),
        ["task.submitted", "task.started", "task.completed"]
    );
    let submitted = &log.0[usize::try_from(receipt.seq.0).unwrap() - 1];
    assert_eq!(
        (submitted.kind.as_str(), submitted.hash),
        ("task.submitted", receipt.hash)
    );
    assert_eq!(submitted.term, receipt.term.0);
    let uid = format!("uid/{}", nix::unistd::geteuid());
    assert_eq!(submitted.actor, uid);
    let processes = log.processes_of("whole");
    let kinds: Vec<_> = processes.iter().map(|e| e.kind.as_str()).collect();
    assert_eq!(kinds, ["process.registered", "process.exited"]);
    assert_eq!(processes[0].cause.unwrap().0, log.only("task.started").seq);
    let work = ledger.attempt_dir("whole", 1).join("work");
    let out = format!("out\n{}\nfrom stdin\nvalue\n", show(&work));
    let data = &log.only("task.completed").data;
    assert_output(&ledger, data, "whole", "stdout", out.as_bytes());
    assert_output(&ledger, data, "whole", "stderr", b"err\n");
    assert_eq!(data["outputs"]["stdout"]["tail"], out);
}

#[tokio::test]
async fn failures_are_told_apart() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let code = node.run(named("code", script("exit 42"))).await;
    assert_eq!((code.state, code.exit_code), (StateName::Dead, Some(42)));
    let signal = node.run(named("signal", script("kill -ABRT $$"))).await;
    assert_eq!(signal.exit_code, Some(128 + 6));
    let command = node
        .run(named("command", exec(&["/nonexistent/program", "x"])))
        .await;
    assert_eq!(command.exit_code, Some(127));
    let mut nowhere = named("cwd", exec(&["true"]));
    let in_dir = command_of(&mut nowhere);
    in_dir.cwd = Some("/nonexistent/dir".into());
    assert_eq!(node.run(nowhere).await.exit_code, Some(127));
    node.stop_well();

    let log = ledger.assert_sound();
    let failure = |task: &str| {
        let events = log.of_task(task);
        let [.., failed, dead] = events.as_slice() else {
            panic!("{events:?}")
        };
        assert_eq!(
            (failed.kind.as_str(), dead.kind.as_str()),
            ("task.failed", "task.dead")
        );
        assert_eq!(dead.data, json!({"reason": "failed", "attempts": 1}));
        failed.data["failure"].clone()
    };
    assert_eq!(failure("code"), json!({"type": "exit", "code": 42}));
    assert_eq!(failure("signal"), json!({"type": "signal", "signal": 6}));
    let spawn = |task: &str, step: &str| {
        let failure = failure(task);
        assert_eq!(failure["type"], "spawn");
        assert_eq!(
            (&failure["step"], &failure["errno"]),
            (&json!(step), &json!(2))
        );
        assert!(log.processes_of(task).is_empty(), "nothing ran");
    };
    spawn("command", "exec");
    spawn("cwd", "working_directory");
}

/// A task that says where it is and then waits until it is told something.
fn waiting(name: &str, fifo: &str, answer: &str) -> opsledger::api::wire::SubmitRequest {
    named(
        name,
        script(&format!("echo $$ > {fifo}; read x < {answer}; echo $x")),
    )
}

#[tokio::test]
async fn a_running_task_is_cancelled_by_its_ladder_and_a_queued_one_at_once() {
    let ledger = Ledger::configured("[scheduler]\nmax_running = 1\n");
    let (mut pids, answers) = (ledger.fifo("pids"), ledger.fifo("answers"));
    let node = ledger.up().await;
    node.submit(waiting("runs", pids.show(), answers.show()))
        .await;
    node.submit(named("waits", exec(&["true"]))).await;
    let process = crate::support::identity(pids.pid());

    let cancel = |task: &'static str| cancel(&node, task, Some("no need"));
    let receipt = cancel("waits").await.unwrap();
    assert!(!receipt.replayed);
    assert_eq!(node.task("waits").await.state, StateName::Cancelled);
    cancel("runs").await.unwrap();
    let view = node.end_of("runs").await;
    assert_eq!(
        (view.state, view.exit_code),
        (StateName::Cancelled, Some(143))
    );
    assert!(crate::support::is_gone(&process));
    for task in ["waits", "runs"] {
        let again = cancel(task).await.unwrap_err();
        assert_eq!(
            again.code,
            opsledger::api::wire::ErrorCode::Conflict,
            "{again}"
        );
    }
    let unknown = cancel("never").await.unwrap_err();
    assert_eq!(unknown.code, opsledger::api::wire::ErrorCode::NotFound);
    node.stop_well();

    let log = ledger.assert_sound();
    assert_eq!(log.life("waits"), ["task.submitted", "task.cancelled"]);
    assert_eq!(
        log.life("runs"),
        [
            "task.submitted",
            "task.started",
            "task.cancel_requested",
            "task.cancelled"
        ]
    );
    assert_eq!(log.end_of("runs").data["reason"], "no need");
    let reaped = &log.only("process.reaped").data;
    assert_eq!(reaped["cause"], "cancel");
    assert_eq!(
        reaped["steps"].as_array().unwrap().len(),
        1,
        "SIGTERM was enough"
    );
    assert_eq!(reaped["end"], json!({"type": "signaled", "signal": 15}));
}

async fn cancel(
    node: &Node,
    task: &str,
    reason: Option<&str>,
) -> Result<opsledger::api::wire::Receipt, opsledger::api::wire::ApiError> {
    let request = opsledger::api::wire::CancelRequest {
        reason: reason.map(str::to_owned),
    };
    node.client.cancel(&id(task), &request).await
}

#[tokio::test]
async fn a_dead_task_is_retried_by_hand_and_nothing_else_is() {
    let ledger = Ledger::new();
    let marker = ledger.path("marker");
    let node = ledger.up().await;
    let text = format!("test -e {} || exit 9", show(&marker));
    assert_eq!(
        node.run(named("again", script(&text))).await.exit_code,
        Some(9)
    );
    fs::write(&marker, "").unwrap();
    node.client.retry(&id("again")).await.unwrap();
    let view = node.end_of("again").await;
    assert_eq!((view.state, view.attempts.len()), (StateName::Completed, 2));
    for (task, code) in [("again", "conflict"), ("never", "not_found")] {
        let refused = node.client.retry(&id(task)).await.unwrap_err();
        assert_eq!(serde_json::to_value(refused.code).unwrap(), code);
    }
    node.stop_well();
    let log = ledger.assert_sound();
    let attempts: Vec<_> = log
        .of_kind("task.started")
        .iter()
        .map(|e| e.data["attempt"].clone())
        .collect();
    assert_eq!(attempts, [1, 2]);
    let life = log.life("again");
    assert_eq!(
        life[2..6],
        ["task.failed", "task.dead", "task.retried", "task.started"]
    );
}

#[tokio::test]
async fn what_looks_like_a_secret_is_kept_out_of_the_log() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    // Put together here, so that no scanner takes it for real.
    let secret = format!("ghp_{}", "a1B2".repeat(9));
    let halves = (&secret[..10], &secret[10..]);
    let printed = script(&format!(
        "echo before {}{}{} after",
        halves.0, "''", halves.1
    ));
    let view = node.run(named("prints", printed)).await;
    assert_eq!(view.state, StateName::Completed);

    let before = node.client.head().await.unwrap();
    let mut in_env = exec(&["true"]);
    let with_env = command_of(&mut in_env);
    with_env
        .env
        .insert("GITHUB_TOKEN".into(), "hunter2hunter2".into());
    let mut in_stdin = exec(&["cat"]);
    let with_stdin = command_of(&mut in_stdin);
    with_stdin.stdin = Some(format!("key {secret}\n"));
    let cases = [
        (exec(&["curl", "-H", &secret]), "argument 2"),
        (in_env, "environment variable GITHUB_TOKEN"),
        (in_stdin, "standard input"),
    ];
    for (request, field) in cases {
        let refused = node.client.submit(&request).await.unwrap_err();
        assert_eq!(refused.code, opsledger::api::wire::ErrorCode::Refused);
        assert!(refused.message.contains(field), "{refused}");
        let said = serde_json::to_string(&refused).unwrap();
        assert!(
            !said.contains(&secret) && !said.contains("hunter2"),
            "{said}"
        );
    }
    assert_eq!(
        node.client.head().await.unwrap(),
        before,
        "nothing was appended"
    );
    node.stop_well();

    let log = ledger.assert_sound();
    let tail = log.only("task.completed").data["outputs"]["stdout"]["tail"].clone();
    assert_eq!(tail, "before [redacted:github-token] after\n");
    // The file is the task's own and keeps what was written.
    let file = fs::read_to_string(ledger.attempt_dir("prints", 1).join("stdout")).unwrap();
    assert_eq!(file, format!("before {secret} after\n"));
    for event in &log.0 {
        assert!(!event.data.to_string().contains(&secret), "{event:?}");
    }
}

#[tokio::test]
async fn directories_and_sockets_are_the_owners_alone() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let ledger = Ledger::new();
    let node = ledger.up().await;
    node.run(named("x", exec(&["true"]))).await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for dir in ["run", "attempts", "attempts/x", "attempts/x/1", "views"] {
        assert_eq!(mode(&ledger.dir.join(dir)), 0o700, "{dir}");
    }
    for file in [
        "run/primary.sock",
        "ledger.redb",
        "head",
        "attempts/x/1/outcome",
    ] {
        assert_eq!(mode(&ledger.dir.join(file)), 0o600, "{file}");
    }
    assert_eq!(
        fs::metadata(&ledger.dir).unwrap().uid(),
        nix::unistd::geteuid().as_raw()
    );
    node.stop_well();
    assert!(
        !crate::support::has_socket(&ledger.dir),
        "a node takes its socket with it"
    );
}
