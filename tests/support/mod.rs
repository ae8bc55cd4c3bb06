//! A ledger in a temporary directory, nodes on it as child processes, and the means to wait
//! without sleeping: a node's own words, the log, pidfds and pipes.
//!
//! Assertions are made on the log, which is always read with its chain checked.

#![allow(dead_code, unused_imports, unreachable_pub)] // each test crate uses its own part

pub mod clock;
mod fifo;
pub mod host;
mod http;
mod log;
mod member;
mod node;
pub mod node_trap;
mod processes;
pub mod small_disk;
pub mod tracer;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ledger_core::event::{Exec, Payload, Priority};
use ledger_core::ids::Id;
use ledger_core::time::Millis;
use opsledger::api::wire::SubmitRequest;
use tempfile::TempDir;

pub use fifo::Fifo;
pub use http::{Answer, get, get_request, post, post_request, raw, send_only};
pub use log::{Log, Logged};
pub use member::Member;
pub use node::{Ended, Follower, Node, fails_to_start, has_socket};
pub use processes::{end, identity, is_gone, parent_of, session_members, wait_gone};

/// Nothing here takes nearly as long; who waits for so long waits in vain.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The program under test.
pub const LEDGER: &str = env!("CARGO_BIN_EXE_ledger");

/// A ledger's data directory. Dropping it ends whatever still runs for it.
pub struct Ledger {
    /// Holds the data directory and room for what tests need besides.
    pub room: TempDir,
    /// The data directory.
    pub dir: PathBuf,
}

impl Ledger {
    /// A ledger with nothing in it.
    pub fn new() -> Self {
        Self::at("data")
    }

    /// A ledger in a directory below its room.
    pub fn at(relative: &str) -> Self {
        let room = tempfile::tempdir().unwrap();
        let dir = room.path().join(relative);
        let ledger = Self { room, dir };
        let made = ledger.cli(&["init"]);
        assert!(made.status.success(), "{made:?}");
        ledger.configure("");
        ledger
    }

    /// A ledger with a configuration.
    pub fn configured(toml: &str) -> Self {
        let ledger = Self::new();
        ledger.configure(toml);
        ledger
    }

    /// Writes the configuration. The node's own jobs are off: tests say what is in the log.
    pub fn configure(&self, toml: &str) {
        let mut toml = format!("{toml}\n[jobs]\nbuiltin = false\n");
        // Tests share two cores, and a node that is starved must not lose its lease for it: those that
        // are about leases say how long theirs are.
        if !toml.contains("[lease]") {
            toml.push_str("[lease]\nrenew_deadline = \"60s\"\nttl = \"90s\"\n");
        }
        // Nor is there an event that comes when a test happens to take long.
        if !toml.contains("[checkpoint]") {
            toml.push_str("[checkpoint]\ncompare_after = \"1h\"\n");
        }
        std::fs::write(self.dir.join("ledger.toml"), toml).unwrap();
    }

    /// The command that runs `ledger` on this directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(LEDGER);
        command
            .arg("--data-dir")
            .arg(&self.dir)
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    /// Runs `ledger` on this directory to its end.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A node that leads.
    pub async fn up(&self) -> Node {
        Node::up(self).await
    }

    /// What is in the log, read from the files: no node may be running.
    pub fn log(&self) -> Log {
        Log::read(&self.dir)
    }

    /// A path in the room, for files of tasks.
    pub fn path(&self, name: &str) -> PathBuf {
        self.room.path().join(name)
    }

    /// A pipe between a task and the test.
    pub fn fifo(&self, name: &str) -> Fifo {
        Fifo::new(&self.path(name))
    }

    /// The directory of an attempt.
    pub fn attempt_dir(&self, task: &str, attempt: u32) -> PathBuf {
        self.dir
            .join("attempts")
            .join(task)
            .join(attempt.to_string())
    }

    /// Everything that must be true of a ledger whose node has gone, however it went: the chain
    /// and the store's own structures are sound, terms begin with their acquisition and rise, no
    /// attempt was ordered twice, and every view on disk is what the log folds to.
    pub fn assert_sound(&self) -> Log {
        let log = self.log();
        log.assert_sound();
        for check in [&["verify"][..], &["rebuild", "--check"]] {
            let done = self.cli(check);
            assert!(done.status.success(), "{check:?}: {}", text(&done.stderr));
        }
        log
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        processes::end_all(&self.dir);
    }
}

/// The command of a task that runs one.
pub fn command_of(request: &mut SubmitRequest) -> &mut Exec {
    match &mut request.payload {
        Payload::Exec(exec) => exec,
        Payload::Builtin(builtin) => panic!("not a command: {builtin:?}"),
    }
}

/// A task that runs a program.
pub fn exec(argv: &[&str]) -> SubmitRequest {
    SubmitRequest {
        task_id: None,
        priority: Priority::Standard,
        payload: Payload::Exec(Exec {
            argv: argv.iter().map(|&a| a.to_owned()).collect(),
            env: std::collections::BTreeMap::new(),
            cwd: None,
            stdin: None,
        }),
        max_runtime_ms: Some(Millis(600_000)),
        grace_ms: Some(Millis(600_000)),
        terms: None,
        idempotency_key: None,
        claimed_actor: None,
        correlation: None,
    }
}

/// A task that runs a script for the shell.
pub fn script(text: &str) -> SubmitRequest {
    exec(&["sh", "-c", text])
}

/// The same, under an id.
pub fn named(task: &str, mut request: SubmitRequest) -> SubmitRequest {
    request.task_id = Some(id(task));
    request
}

/// The same, with limits in milliseconds.
pub fn limited(max_runtime: u64, grace: u64, mut request: SubmitRequest) -> SubmitRequest {
    request.max_runtime_ms = Some(Millis(max_runtime));
    request.grace_ms = Some(Millis(grace));
    request
}

/// An id known to be one.
pub fn id(text: &str) -> Id {
    Id::new(text).unwrap()
}

/// A path as text.
pub fn show(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether tests must not skip what the machine might not allow.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|ci| ci == "true")
}
