//! A ledger that is the same every time, and the binary run on it with nothing around it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::LedgerEvent;
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, EventId, Id, Kind, LedgerId, Seq, Term};
use ledger_core::store::LogWriter;
use ledger_core::store::durable::DurableStore;
use ledger_core::time::Timestamp;
use tempfile::TempDir;

use crate::support::{LEDGER, text};

/// 2024-01-31T08:00:00Z; each event is recorded a second after the one before.
const START: u64 = 1_706_688_000_000_000;

pub const LEDGER_ID: &str = "0198c1f2-0000-7000-8000-000000000001";

/// A data directory with a known history.
pub struct Sample {
    pub room: TempDir,
    pub dir: PathBuf,
}

/// What a command printed, and how it exited.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// What is recorded: kind, subject, actor, the event that led to it, and its payload.
type Told = (
    &'static str,
    &'static str,
    &'static str,
    Option<u64>,
    String,
);

const NODE: &str = "node/primary";

fn outputs() -> String {
    let stream = |tail: &str| {
        let blake3 = Hash::of(tail.as_bytes());
        let tail = serde_json::to_string(tail).unwrap();
        format!(
            r#"{{"bytes":{},"blake3":"{blake3}","tail":{tail}}}"#,
            tail.len()
        )
    };
    let (stdout, stderr) = (stream("hello\nworld\n"), stream("\u{1b}[31mred\n"));
    format!(r#"{{"stdout":{stdout},"stderr":{stderr}}}"#)
}

fn submitted(argv: &str, priority: u8) -> String {
    format!(
        r#"{{"priority":{priority},"payload":{{"type":"exec","argv":{argv}}},"max_runtime_ms":30000,"grace_ms":5000}}"#
    )
}

fn started(queue: u8) -> String {
    format!(r#"{{"attempt":1,"queue":{queue},"node":"primary","waited_us":1500}}"#)
}

fn story() -> Vec<(u64, Vec<Told>)> {
    [what_went_well(), what_did_not()].concat()
}

fn what_went_well() -> Vec<(u64, Vec<Told>)> {
    let (node, outputs) = (NODE, outputs());
    let acquired = r#"{"holder":"primary","pid":4242,"boot_id":"b0","incarnation":"i1"}"#;
    vec![
        (
            1,
            vec![("lease.acquired", "lease/main", node, None, acquired.into())],
        ),
        (
            1,
            vec![(
                "node.started",
                node,
                node,
                None,
                r#"{"software":"opsledger 0.1.0","host":"vm","max_running":4}"#.into(),
            )],
        ),
        (
            1,
            vec![(
                "task.submitted",
                "task/build-7",
                "uid/1000",
                None,
                submitted(r#"["make","all"]"#, 1),
            )],
        ),
        (
            1,
            vec![("task.started", "task/build-7", node, Some(4), started(1))],
        ),
        (
            1,
            vec![(
                "task.completed",
                "task/build-7",
                node,
                Some(5),
                format!(r#"{{"attempt":1,"runtime_us":1240000,"outputs":{outputs}}}"#),
            )],
        ),
    ]
}

fn what_did_not() -> Vec<(u64, Vec<Told>)> {
    let (node, outputs) = (NODE, outputs());
    vec![
        (
            1,
            vec![(
                "task.submitted",
                "task/evil",
                "uid/1000",
                None,
                submitted(r#"["sh","-c","\u001b[2J\u202egnp"]"#, 0),
            )],
        ),
        (
            1,
            vec![("task.started", "task/evil", node, Some(7), started(0))],
        ),
        (
            1,
            vec![
                (
                    "task.failed",
                    "task/evil",
                    node,
                    Some(8),
                    format!(
                        r#"{{"attempt":1,"failure":{{"type":"exit","code":3}},"runtime_us":20000,"outputs":{outputs}}}"#
                    ),
                ),
                (
                    "task.dead",
                    "task/evil",
                    node,
                    Some(8),
                    r#"{"reason":"failed","attempts":1}"#.into(),
                ),
            ],
        ),
        (
            1,
            vec![(
                "app.deploy",
                "service/web",
                "uid/1000",
                None,
                r#"{"version":"1.4","replicas":3}"#.into(),
            )],
        ),
        (
            1,
            vec![(
                "task.submitted",
                "task/later",
                "uid/0",
                None,
                submitted(r#"["sleep","5"]"#, 2),
            )],
        ),
        (
            1,
            vec![(
                "lease.released",
                "lease/main",
                node,
                None,
                r#"{"holder":"primary","reason":"shutdown"}"#.into(),
            )],
        ),
    ]
}

/// Another term, in which a process is started, ends, and its task with it.
fn what_ran() -> Vec<(u64, Vec<Told>)> {
    let process = "process/7bf6b4b8-b982-4eba-b13b-ca9b68f7d200.31363.1369270";
    let acquired = r#"{"holder":"primary","pid":31300,"boot_id":"b1","incarnation":"i2"}"#;
    let registered = r#"{"pid":31363,"start_time":1369270,"boot_id":"7bf6b4b8-b982-4eba-b13b-ca9b68f7d200","pgid":31363,"shim_pid":31362,"shim_start_time":1369269,"task":"later","attempt":1,"max_runtime_ms":30000}"#;
    let exited = r#"{"end":{"type":"exited","code":0},"usage":{"user_us":1000,"sys_us":500,"max_rss_kib":12083}}"#;
    let completed = format!(
        r#"{{"attempt":1,"runtime_us":5002000,"outputs":{}}}"#,
        outputs()
    );
    vec![
        (
            2,
            vec![("lease.acquired", "lease/main", NODE, None, acquired.into())],
        ),
        (
            2,
            vec![("task.started", "task/later", NODE, Some(12), started(2))],
        ),
        (
            2,
            vec![(
                "process.registered",
                process,
                NODE,
                Some(15),
                registered.into(),
            )],
        ),
        (
            2,
            vec![
                ("process.exited", process, NODE, Some(15), exited.into()),
                ("task.completed", "task/later", NODE, Some(15), completed),
            ],
        ),
    ]
}

impl Sample {
    pub fn new() -> Self {
        Self::of(story())
    }

    /// A longer story, with a process in it.
    pub fn with_process() -> Self {
        Self::of([story(), what_ran()].concat())
    }

    fn of(story: Vec<(u64, Vec<Told>)>) -> Self {
        let room = tempfile::tempdir().unwrap();
        let dir = room.path().join("data");
        std::fs::create_dir(&dir).unwrap();
        let ledger_id: LedgerId = LEDGER_ID.parse().unwrap();
        let key = ChainKey::new(ledger_id);
        let created = format!(
            r#"{{"ledger_id":"{LEDGER_ID}","format":1,"name":"sample","software":"opsledger 0.1.0"}}"#
        );
        assert_eq!(LedgerEvent::KINDS[0], "ledger.created");
        let mut genesis = BatchBuilder::new(key, Head::EMPTY, Term(0));
        let subject = format!("ledger/{LEDGER_ID}");
        let first = draft(1, "ledger.created", &subject, "uid/1000", None, created);
        genesis.push(&[first], Timestamp(START)).unwrap();
        let mut store = DurableStore::create(&dir, ledger_id, &genesis.take()).unwrap();
        for (term, events) in story {
            let head = LogWriter::head(&store);
            let drafts: Vec<_> = (head.seq.0 + 1..)
                .zip(events)
                .map(|(seq, (kind, subject, actor, cause, data))| {
                    draft(seq, kind, subject, actor, cause, data)
                })
                .collect();
            let mut builder = BatchBuilder::new(key, head, Term(term));
            builder
                .push(&drafts, Timestamp(START + 1_000_000 * head.seq.0))
                .unwrap();
            store.append(&builder.take()).unwrap();
        }
        store.close().unwrap();
        Self { room, dir }
    }

    /// Runs `ledger` on it.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = bare(self.room.path());
        command.arg("--data-dir").arg(&self.dir).args(arguments);
        self.ran(command.output().unwrap())
    }

    /// What a command on it printed.
    pub fn ran(&self, output: Output) -> Ran {
        Ran::of(&output, self.room.path())
    }

    /// Standard output of a command that must work and say nothing else.
    pub fn shows(&self, arguments: &[&str]) -> String {
        let ran = self.run(arguments);
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (Some(0), ""),
            "{arguments:?}: {ran:?}"
        );
        ran.stdout
    }
}

impl Ran {
    pub fn of(output: &Output, room: &Path) -> Self {
        // Where the test happens to run is no part of what is asserted.
        let show = |bytes: &[u8]| text(bytes).replace(room.to_str().unwrap(), "[ROOM]");
        Self {
            code: output.status.code(),
            stdout: show(&output.stdout),
            stderr: show(&output.stderr),
        }
    }
}

/// The binary with nothing of this test's environment but a home of its own.
pub fn bare(home: &Path) -> Command {
    let mut command = Command::new(LEDGER);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("TZ", "UTC")
        .current_dir(home)
        .stdin(Stdio::null());
    command
}

fn draft(
    seq: u64,
    kind: &str,
    subject: &str,
    actor: &str,
    cause: Option<u64>,
    data: String,
) -> Draft {
    let mut origin = Origin::of(Entity::new(actor).unwrap());
    origin.cause = cause.map(Seq);
    if kind == "app.deploy" {
        origin.claimed_actor = Some(Entity::new("agent/ada").unwrap());
        origin.correlation = Some(Id::new("req-1").unwrap());
    }
    let event_id = format!("0198c1f2-0000-7000-9000-{seq:012}");
    Draft {
        event_id: event_id.parse::<EventId>().unwrap(),
        kind: Kind::new(kind).unwrap(),
        version: 1,
        subject: Entity::new(subject).unwrap(),
        origin,
        idempotency_key: None,
        data,
    }
}
