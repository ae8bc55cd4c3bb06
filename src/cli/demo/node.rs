//! The demo's node: a real `ledger up`, started, killed and stopped.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::failed;
use crate::cli::error::Failure;

/// A running node. It is killed if the demo ends early, so that nothing is left behind.
pub(super) struct DemoNode {
    child: Child,
}

impl DemoNode {
    /// Starts a node and waits until it says that it leads.
    pub(super) fn start(exe: &Path, data_dir: &Path) -> Result<Self, Failure> {
        let mut child = Command::new(exe)
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--color", "never", "up"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| failed("a node can't be started", e))?;
        let stderr = child.stderr.take();
        let node = Self { child };
        let mut said = String::new();
        let mut lines = stderr.map(BufReader::new);
        loop {
            let mut line = String::new();
            let read = lines
                .as_mut()
                .map_or(Ok(0), |lines| lines.read_line(&mut line));
            if read.map_err(|e| failed("the node can't be heard", e))? == 0 {
                return Err(failed("the node did not come up", said.trim_end()));
            }
            said.push_str(&line);
            if line.contains(" leads in term ") {
                break;
            }
        }
        // A node whose pipe is closed would be stopped by its next warning.
        std::thread::spawn(move || lines.map(|lines| lines.lines().count()));
        Ok(node)
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
