//! The demo's nodes: real `ledger up`, started, killed and stopped.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::failed;
use crate::cli::error::Failure;

/// How long a node may take to say what is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running node. It is killed if the demo ends early, so that nothing is left behind.
pub(super) struct DemoNode {
    child: Child,
    said: Receiver<String>,
}

impl DemoNode {
    /// Starts a node and waits until it says that it leads.
    pub(super) fn leader(exe: &Path, data_dir: &Path, name: &str) -> Result<Self, Failure> {
        let node = Self::start(exe, data_dir, name)?;
        node.leads()?;
        Ok(node)
    }

    /// Starts a node and waits until it says that it stands by.
    pub(super) fn standby(exe: &Path, data_dir: &Path, name: &str) -> Result<Self, Failure> {
        let node = Self::start(exe, data_dir, name)?;
        node.stands_by()?;
        Ok(node)
    }

    fn start(exe: &Path, data_dir: &Path, name: &str) -> Result<Self, Failure> {
        let mut child = Command::new(exe)
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--color", "never", "up", "--node", name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| failed("a node can't be started", e))?;
        let stderr = child.stderr.take();
        let (tell, said) = channel();
        // It is read to its end: a node whose pipe is closed would be stopped by its next warning.
        std::thread::spawn(move || {
            let lines = stderr.map(|pipe| BufReader::new(pipe).lines());
            for line in lines.into_iter().flatten().map_while(Result::ok) {
                // Nobody may listen any more.
                let _ = tell.send(line);
            }
        });
        Ok(Self { child, said })
    }

    /// Waits until it says that it leads.
    pub(super) fn leads(&self) -> Result<(), Failure> {
        self.says(" leads in term ")
    }

    /// Waits until it says that it stands by.
    pub(super) fn stands_by(&self) -> Result<(), Failure> {
        self.says(" stands by; ")
    }

    fn says(&self, wanted: &str) -> Result<(), Failure> {
        let mut heard = String::new();
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(wanted) => return Ok(()),
                Ok(line) => heard.push_str(&line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(failed("a node did not do what it should", heard));
                }
            }
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with -9, as a crash would.
    pub(super) fn kill(mut self) -> Result<(), Failure> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(|e| failed("the node can't be killed", e))
    }

    /// Stops it in good order and waits until it has.
    pub(super) fn stop(mut self) -> Result<bool, Failure> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default());
        kill(pid, Signal::SIGTERM).map_err(|e| failed("the node can't be stopped", e))?;
        let status = self
            .child
            .wait()
            .map_err(|e| failed("the node can't be stopped", e))?;
        Ok(status.success())
    }
}

impl Drop for DemoNode {
    fn drop(&mut self) {
        // Killing what has been waited for already is an error and does nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
