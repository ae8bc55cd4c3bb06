//! The pager: `$PAGER`, or `less -FRX`, and only where people read.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

/// A pager that runs.
#[derive(Debug)]
pub(crate) struct Pager {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Pager {
    /// Starts the pager; `None` if there is none or it is not wanted (`PAGER` empty or `cat`).
    pub(crate) fn start() -> Option<Self> {
        let pager = std::env::var("PAGER").unwrap_or_else(|_| "less".to_owned());
        if pager.trim().is_empty() || pager.trim() == "cat" {
            return None;
        }
        let mut command = Command::new("sh");
        // PAGER is the person's own and may hold arguments, so a shell takes it apart. `less`
        // leaves by itself if all fits on a screen, passes colors, and leaves the text there.
        command.args(["-c", &pager]).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            command.env("LESS", "FRX");
        }
        if !is_there(&pager) {
            return None;
        }
        let mut child = command.spawn().ok()?;
        let stdin = child.stdin.take();
        Some(Self { child, stdin })
    }
}

/// Whether the program that a pager command begins with can be found.
fn is_there(pager: &str) -> bool {
    let program = pager.split_whitespace().next().unwrap_or_default();
    if program.contains('/') {
        return std::path::Path::new(program).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stdin {
            Some(stdin) => stdin.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stdin.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        // Closing its input lets it end; the prompt comes back when the person leaves it.
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
