//! A real node in a directory: the `ledger` binary, made and run as a user would.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use opsledger::client::Client;

use crate::error::{Context, Failure};

/// How long a node may take to serve after it was started, or to end after it was told to.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a node that comes up or goes.
const PAUSE: Duration = Duration::from_millis(5);

/// The `ledger` binary.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(PathBuf);

impl Ledger {
    /// The one that was named, or else the one beside this program.
    ///
    /// # Errors
    /// [`Failure`] if there is none.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, Failure> {
        let path = match named {
            Some(path) => path.to_owned(),
            None => std::env::current_exe()
                .context("looking for this program")?
                .with_file_name("ledger"),
        };
        if !path.is_file() {
            return Err(Failure::new(format!(
                "there is no {}: build it (`cargo build --release --bin ledger`) or name another \
                 with --ledger",
                path.display()
            )));
        }
        Ok(Self(path))
    }

    /// `ledger --data-dir DIR ARGS…`, with nothing on its standard streams.
    fn command(&self, data_dir: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(&self.0);
        command
            .arg("--data-dir")
            .arg(data_dir)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Runs a command to its end; its exit code, or `None` if a signal ended it.
    ///
    /// # Errors
    /// [`Failure`] if it can't be run.
    pub(crate) fn run(&self, data_dir: &Path, args: &[&str]) -> Result<Option<i32>, Failure> {
        let status = self.command(data_dir, args).status();
        let status = status.context(format!("running {}", self.0.display()))?;
        Ok(status.code())
    }
}

/// A node that runs; ended with its data left where it is when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    data_dir: PathBuf,
    log: PathBuf,
}

impl Ledger {
    /// Makes a ledger in `home/data` whose nodes run at most `max_running` attempts at once; `more` is
    /// the rest of its `ledger.toml`.
    ///
    /// # Errors
    /// [`Failure`] if the command does not do that.
    pub(crate) fn init(&self, home: &Path, max_running: u32, more: &str) -> Result<(), Failure> {
        let data_dir = home.join("data");
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&data_dir)
            .context(format!("making {}", data_dir.display()))?;
        let code = self.run(&data_dir, &["init", "--name", "bench"])?;
        if code != Some(0) {
            return Err(Failure::new(format!(
                "`ledger init` in {} ended with {code:?}",
                data_dir.display()
            )));
        }
        // What the node does by itself would be measured too.
        let settings =
            format!("[scheduler]\nmax_running = {max_running}\n[jobs]\nbuiltin = false\n{more}");
        fs::write(data_dir.join("ledger.toml"), settings).context("writing ledger.toml")
    }
}

impl Node {
    /// Makes a ledger in `home/data`, as [`Ledger::init`] does, and runs a node over it. Returns when it
    /// serves.
    ///
    /// # Errors
    /// [`Failure`] with the end of its log.
    pub(crate) fn start(
        ledger: &Ledger,
        home: &Path,
        max_running: u32,
        more: &str,
    ) -> Result<Self, Failure> {
        ledger.init(home, max_running, more)?;
        let mut node = Self::up(ledger, home, "primary")?;
        node.wait_until_it_serves()?;
        Ok(node)
    }

    /// Starts a node of this name over the ledger in `home/data`, and does not wait for it. Its log is
    /// `home/NAME.log`.
    ///
    /// # Errors
    /// [`Failure`] if it can't be started.
    pub(crate) fn up(ledger: &Ledger, home: &Path, name: &str) -> Result<Self, Failure> {
        let data_dir = home.join("data");
        let log = home.join(format!("{name}.log"));
        let log_file = File::create(&log).context("making the node's log")?;
        let child = ledger
            .command(&data_dir, &["up", "--node", name])
            .stderr(log_file)
            .spawn()
            .context("starting a node")?;
        Ok(Self {
            child,
            data_dir,
            log,
        })
    }

    /// Kills it as a crash would, and waits for its end.
    ///
    /// # Errors
    /// [`Failure`] if the system refuses.
    pub(crate) fn crash(mut self) -> Result<(), Failure> {
        self.child.kill().context("killing a node")?;
        self.child.wait().context("waiting for a node").map(drop)
    }

    /// Has its process stand still.
    ///
    /// # Errors
    /// [`Failure`] if the system refuses.
    pub(crate) fn hang(&self) -> Result<(), Failure> {
        let pid = i32::try_from(self.child.id()).context("a pid")?;
        kill(Pid::from_raw(pid), Signal::SIGSTOP).context("stopping a node")
    }

    /// Fails with its log's end if it has ended.
    ///
    /// # Errors
    /// That [`Failure`].
    pub(crate) fn still_there(&mut self) -> Result<(), Failure> {
        match self.child.try_wait().context("looking at a node")? {
            None => Ok(()),
            Some(_) => Err(Failure::new(format!(
                "the node has ended; it said: {}",
                self.last_words()
            ))),
        }
    }

    fn wait_until_it_serves(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        let runtime = runtime()?;
        loop {
            let found = runtime.block_on(Client::discover(&self.data_dir));
            if matches!(found, Ok(Some(_))) {
                return Ok(());
            }
            let ended = self.child.try_wait().context("waiting for a node")?;
            if ended.is_some() || Instant::now() > deadline {
                return Err(Failure::new(format!(
                    "the node does not serve; it said: {}",
                    self.last_words()
                )));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Its data directory.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A client of it, for the runtime that this is called in.
    ///
    /// # Errors
    /// [`Failure`] if it does not answer.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        Client::discover(&self.data_dir)
            .await
            .context("connecting to the node")?
            .ok_or_else(|| {
                Failure::new(format!("the node has gone; it said: {}", self.last_words()))
            })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as an operator would, with SIGTERM, and waits for it.
    ///
    /// # Errors
    /// [`Failure`] if it does not end in time, or not well.
    pub(crate) fn stop(mut self) -> Result<(), Failure> {
        let pid = i32::try_from(self.child.id()).context("telling the node to end")?;
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("telling the node to end")?;
        let deadline = Instant::now() + PATIENCE;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().context("waiting for the node")? {
                break status;
            }
            if Instant::now() > deadline {
                return Err(Failure::new("the node does not end"));
            }
            std::thread::sleep(PAUSE);
        };
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the node ended with {status}; it said: {}",
            self.last_words()
        )))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // What was measured so far has failed; the node's tasks end with it or are short.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A runtime for clients: one thread, like the node's own server.
///
/// # Errors
/// [`Failure`] if it can't be started.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the clients' runtime")
}
