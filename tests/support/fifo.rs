//! Named pipes between tests and tasks.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::DEADLINE;

/// A pipe by name. It is open for both directions here, so that opening it blocks neither side.
pub struct Fifo {
    pub path: PathBuf,
    lines: BufReader<std::fs::File>,
}

impl Fifo {
    pub(super) fn new(path: &Path) -> Self {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open(path)
            .unwrap();
        Self {
            path: path.to_owned(),
            lines: BufReader::new(file),
        }
    }

    /// The next line that a task writes. Blocks: nothing else of the test runs meanwhile.
    pub fn line(&mut self) -> String {
        if self.lines.buffer().is_empty() {
            let fd = self.lines.get_ref().as_fd();
            let timeout = PollTimeout::try_from(DEADLINE).unwrap();
            let ready = poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout).unwrap();
            assert_eq!(ready, 1, "waited in vain for a line");
        }
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next line, a process id.
    pub fn pid(&mut self) -> i32 {
        self.line().parse().unwrap()
    }

    /// Gives a line to a task that reads.
    pub fn tell(&self, line: &str) {
        self.lines
            .get_ref()
            .write_all(format!("{line}\n").as_bytes())
            .unwrap();
    }

    pub fn show(&self) -> &str {
        self.path.to_str().unwrap()
    }
}
