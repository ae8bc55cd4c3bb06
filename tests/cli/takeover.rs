//! Clients in the middle of something when the leader is killed and another node takes over.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Stdio};

use serde_json::Value;

use crate::support::{Ledger, Member, named, script, text};

/// A command whose output is read as it comes.
struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
}

impl Running {
    fn start(ledger: &Ledger, arguments: &[&str]) -> Self {
        let mut child = ledger
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            stdout: BufReader::new(child.stdout.take().unwrap()),
            stderr: child.stderr.take().unwrap(),
            child,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(
            self.stdout.read_line(&mut line).unwrap(),
            0,
            "no more lines"
        );
        line
    }

    /// Its exit code, and the rest of what it wrote.
    fn ended(mut self) -> (i32, String, String) {
        let (mut out, mut said) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).unwrap();
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code().unwrap(), out, said)
    }
}

const LOST: &str = "the connection to the node that led is lost; the task goes on\n";

#[tokio::test]
async fn exec_rides_over_a_takeover() {
    let ledger = Ledger::new();
    let gate = ledger.fifo("gate");
    let a = Member::leader(&ledger, "a").await;
    let mut b = Member::standby(&ledger, "b").await;
    let text = format!(
        "echo one; echo error >&2; read x < {}; echo $x; echo three; exit 7",
        gate.show()
    );
    let run = ["exec", "--max-runtime", "60s", "--", "sh", "-c", &text];
    let mut exec = Running::start(&ledger, &run);
    assert_eq!(exec.line(), "one\n");
    a.crash();
    assert_eq!(b.leads().await, 2);
    gate.tell("two");
    let (code, out, said) = exec.ended();
    assert_eq!((code, out.as_str()), (7, "two\nthree\n"), "{said}");
    let (before, after) = said.split_once(LOST).unwrap_or_else(|| panic!("{said}"));
    assert!(
        after.starts_with("node b leads in term 2, after "),
        "{said}"
    );
    let lines = before.lines().chain(after.lines().skip(1));
    assert_eq!(lines.collect::<Vec<_>>(), ["error"], "{said}");
    b.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("task.submitted"), 1);
    assert_eq!(log.count("task.started"), 1);
}

#[tokio::test]
async fn logs_and_tail_go_on_without_a_gap() {
    let ledger = Ledger::new();
    let gate = ledger.fifo("gate");
    let a = Member::leader(&ledger, "a").await;
    let mut b = Member::standby(&ledger, "b").await;
    let text = format!("echo one; read x < {}; echo $x; printf last", gate.show());
    let client = a.client().await;
    client.submit(&named("t", script(&text))).await.unwrap();
    let mut logs = Running::start(&ledger, &["task", "logs", "t", "-f"]);
    assert_eq!(logs.line(), "one\n");
    let until = "task.completed subject=task/t";
    let tail = [
        "tail",
        "-f",
        "-o",
        "jsonl",
        "-n",
        "all",
        "--until-match",
        until,
    ];
    let mut tail = Running::start(&ledger, &tail);
    let mut events = tail.line();
    let watch = ["--json", "status", "--watch", "--interval", "100ms"];
    let mut watch = Running::start(&ledger, &watch);
    let term = |line: &str| {
        let status: Value = serde_json::from_str(line).unwrap();
        status["node"]["lease"]["term"].as_u64()
    };
    assert_eq!(term(&watch.line()), Some(1));
    a.crash();
    assert_eq!(b.leads().await, 2);
    gate.tell("two");
    let (code, out, said) = logs.ended();
    assert_eq!((code, out.as_str()), (0, "two\nlast"), "{said}");
    assert!(said.starts_with(LOST), "{said}");
    let (code, out, said) = tail.ended();
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("no node leads; waiting"), "{said}");
    assert!(said.contains("node b leads in term 2; going on"), "{said}");
    events.push_str(&out);
    let seq = |line: &str| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64();
    let seqs: Vec<_> = events.lines().filter_map(seq).collect();
    let expected: Vec<_> = (1..).take(seqs.len()).collect();
    assert_eq!(seqs, expected);
    while term(&watch.line()) != Some(2) {}
    watch.child.kill().unwrap();
    watch.child.wait().unwrap();
    b.stop_well();
    ledger.assert_sound();
}

/// A node's socket whose answers to one request never arrive: it is done, the connection ends, and
/// nobody listens there any more.
struct Losing {
    socket: PathBuf,
}

impl Losing {
    /// In front of the node named `real`, found before it by its name, losing what is sent to `path`.
    fn start(ledger: &Ledger, real: &str, path: &'static str) -> Self {
        let run = ledger.dir.join("run");
        let (socket, real) = (run.join("0.sock"), run.join(format!("{real}.sock")));
        let listener = UnixListener::bind(&socket).unwrap();
        let ours = socket.clone();
        std::thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let (real, ours) = (real.clone(), ours.clone());
                std::thread::spawn(move || relay(client, &real, path, &ours));
            }
        });
        Self { socket }
    }
}

impl Drop for Losing {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Passes requests and answers on, one by one, until the answer that is lost.
fn relay(client: UnixStream, real: &std::path::Path, path: &str, ours: &std::path::Path) {
    let real = UnixStream::connect(real).unwrap();
    let mut from_client = BufReader::new(client.try_clone().unwrap());
    let mut from_real = BufReader::new(real.try_clone().unwrap());
    let (mut client, mut real) = (client, real);
    while let Some(request) = message(&mut from_client) {
        real.write_all(&request).unwrap();
        let answer = message(&mut from_real).unwrap();
        if text(&request).starts_with(&format!("POST {path} ")) {
            std::fs::remove_file(ours).unwrap();
            return;
        }
        client.write_all(&answer).unwrap();
    }
}

/// One request or answer with its body.
fn message(from: &mut impl BufRead) -> Option<Vec<u8>> {
    let (mut bytes, mut length) = (Vec::new(), 0);
    loop {
        let start = bytes.len();
        if from.read_until(b'\n', &mut bytes).ok()? == 0 {
            return None;
        }
        let line = text(&bytes[start..]).to_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    bytes.extend(body);
    Some(bytes)
}

#[tokio::test]
async fn a_submit_whose_answer_is_lost_is_sent_again_and_is_one_task() {
    let ledger = Ledger::new();
    let a = Member::leader(&ledger, "a").await;
    for command in [
        &["exec", "--", "echo", "done"][..],
        &["task", "submit", "--", "echo", "done"],
    ] {
        let losing = Losing::start(&ledger, "a", "/v1/tasks");
        let (code, out, said) = Running::start(&ledger, command).ended();
        assert_eq!(code, 0, "{said}");
        assert!(
            out.ends_with("done\n") || out.contains(" was submitted before, and is "),
            "{out}"
        );
        assert!(said.starts_with("the connection to the node"), "{said}");
        drop(losing);
    }
    a.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("task.submitted"), 2, "each of them once");
}

#[tokio::test]
async fn an_append_whose_answer_is_lost_may_be_recorded_and_says_so() {
    let ledger = Ledger::new();
    let a = Member::leader(&ledger, "a").await;
    let mut said = Vec::new();
    for key in [&[][..], &["--idempotency-key", "k1"]] {
        let losing = Losing::start(&ledger, "a", "/v1/events");
        let append = [&["append", "app.deploy"], key].concat();
        let ran = ledger.cli(&append);
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        assert_eq!(text(&ran.stdout), "");
        said.push(format!(
            "$ ledger {}\n{}",
            append.join(" "),
            text(&ran.stderr)
        ));
        drop(losing);
    }
    let filters = [(r"(?m)^(cause: the connection to the node is lost).*", "$1")];
    insta::with_settings!({filters => filters}, {
        insta::assert_snapshot!("append_unanswered", said.join("\n"));
    });
    let again = ledger.cli(&["append", "app.deploy", "--idempotency-key", "k1"]);
    assert!(text(&again.stdout).contains("(as before)"), "{again:?}");
    a.stop_well();
    assert_eq!(ledger.assert_sound().count("app.deploy"), 2);
}
