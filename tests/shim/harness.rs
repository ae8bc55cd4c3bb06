//! A spawner with its data directory, and the means to wait without sleeping.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use opsledger::shim::orphans::Orphaned;
use opsledger::shim::watch::{Attach, attach};
use opsledger::shim::{
    AttemptDir, CgroupPlaces, Outcome, PROTOCOL_VERSION, ProcessIdentity, Report, SpawnRequest,
    Spawner, Started, TaskId,
};
use tempfile::TempDir;

/// Nothing here takes seconds; who waits for so long waits in vain.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Node {
    pub(crate) spawner: Spawner,
    pub(crate) cgroups: CgroupPlaces,
    pub(crate) data: TempDir,
}

pub(crate) fn launch() -> Node {
    launch_with(CgroupPlaces::find)
}

/// One whose shims have no cgroups, as where none can be made.
pub(crate) fn launch_without_cgroups() -> Node {
    launch_with(|_| CgroupPlaces::default())
}

pub(crate) fn launch_with(places: impl FnOnce(&Path) -> CgroupPlaces) -> Node {
    let data = tempfile::tempdir().unwrap();
    let exe = Path::new(env!("CARGO_BIN_EXE_ledger"));
    let cgroups = places(data.path());
    // What is named by the directory's inode may be a former directory's, of a shim that was killed.
    cgroups.sweep(|_| false);
    let spawner = Spawner::launch(exe, data.path(), &cgroups).unwrap();
    Node {
        spawner,
        cgroups,
        data,
    }
}

/// A request with generous limits.
pub(crate) fn request(task: &str, argv: &[&str]) -> SpawnRequest {
    SpawnRequest {
        protocol: PROTOCOL_VERSION,
        task_id: TaskId::new(task).unwrap(),
        attempt: NonZeroU32::MIN,
        argv: argv.iter().map(|&text| text.to_owned()).collect(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        cwd: "/".into(),
        stdin: None,
        run_as: None,
        max_runtime_ms: 600_000,
        grace_ms: 600_000,
        output_limit: SpawnRequest::DEFAULT_OUTPUT_LIMIT,
        stall_after_ms: None,
        max_processes: None,
        announce_after_ms: 0,
    }
}

/// A request to run a script for the shell.
pub(crate) fn script(task: &str, text: &str) -> SpawnRequest {
    request(task, &["sh", "-c", text])
}

impl Node {
    pub(crate) fn dir(&self, request: &SpawnRequest) -> AttemptDir {
        let attempt = request.attempt.get();
        AttemptDir::new(self.data.path(), request.task_id.as_str(), attempt).unwrap()
    }

    /// Makes the directory and asks for the start.
    pub(crate) fn send(&mut self, request: &SpawnRequest) -> AttemptDir {
        self.send_releasing(request, &[])
    }

    /// [`Self::send`], releasing shims.
    pub(crate) fn send_releasing(
        &mut self,
        request: &SpawnRequest,
        released: &[i32],
    ) -> AttemptDir {
        let dir = self.dir(request);
        dir.create().unwrap();
        self.spawner.send(request, released).unwrap();
        dir
    }

    pub(crate) fn report(&self) -> Report {
        let start = Instant::now();
        loop {
            if let Some(message) = self.spawner.receive().unwrap() {
                return Spawner::parse_report(&message).unwrap();
            }
            assert!(start.elapsed() < DEADLINE, "no report came");
            wait_readable(self.spawner.reports());
        }
    }

    pub(crate) fn started(&self) -> Started {
        match self.report() {
            Report::Started(started) => started,
            other => panic!("expected a start, got {other:?}"),
        }
    }

    pub(crate) fn ended(&self) {
        match self.report() {
            Report::Ended { .. } => {}
            other => panic!("expected an end, got {other:?}"),
        }
    }

    /// Runs an attempt whose child can be started, to its end.
    pub(crate) fn run(&mut self, request: &SpawnRequest) -> (Outcome, AttemptDir) {
        let dir = self.send(request);
        let started = self.started();
        assert_eq!(dir.read_started().unwrap(), Some(started.clone()));
        self.ended();
        let outcome = dir
            .read_outcome()
            .unwrap()
            .expect("the outcome comes before the report");
        assert_eq!(outcome.child, Some(started.child));
        (outcome, dir)
    }

    /// What the shim that took an attempt's claim may have left.
    pub(crate) fn orphaned(&self, dir: &AttemptDir) -> Orphaned {
        let claim = dir.read_claim().unwrap().unwrap();
        Orphaned::by(&claim, self.data.path())
    }

    pub(crate) fn fifo(&self, name: &str) -> Fifo {
        Fifo::new(&self.data.path().join(name))
    }
}

pub(crate) fn wait_readable(fd: BorrowedFd<'_>) {
    let timeout = PollTimeout::try_from(DEADLINE).unwrap();
    let ready = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout).unwrap();
    assert_eq!(ready, 1, "waited in vain");
}

/// Waits until this very process has ended.
pub(crate) fn wait_gone(identity: &ProcessIdentity) {
    match attach(identity).unwrap() {
        Attach::Alive(pidfd) => wait_readable(pidfd.as_fd()),
        Attach::Gone => {}
    }
}

/// For what nobody announces.
pub(crate) fn wait_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < DEADLINE, "waited in vain");
        // tidy: allow(sleep) — what is waited for here announces itself to nobody
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A named pipe between test and child. It's open for both directions here, so that opening it
/// blocks neither side.
pub(crate) struct Fifo {
    pub(crate) path: PathBuf,
    lines: BufReader<std::fs::File>,
}

impl Fifo {
    fn new(path: &Path) -> Self {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).custom_flags(libc::O_CLOEXEC);
        Self {
            path: path.to_owned(),
            lines: BufReader::new(file.open(path).unwrap()),
        }
    }

    /// The next line that a child writes.
    pub(crate) fn line(&mut self) -> String {
        if self.lines.buffer().is_empty() {
            wait_readable(self.lines.get_ref().as_fd());
        }
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The process whose number comes next.
    pub(crate) fn process(&mut self) -> ProcessIdentity {
        let pid = self.line().parse().unwrap();
        ProcessIdentity::of(pid)
            .unwrap()
            .expect("it waits to be ended")
    }

    /// Gives a line to a child that reads.
    pub(crate) fn tell(&self, line: &str) {
        use std::io::Write;
        let mut file = self.lines.get_ref();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn show(&self) -> &str {
        self.path.to_str().unwrap()
    }
}
