//! The spawner: the node's helper that forks a shim for each request.
//!
//! It exists so that shims are cheap and clean: one thread, a small heap, no descriptor but its
//! two sockets, signals reset once for all. It doesn't even read the requests; each fork reads its
//! own, so that a request that breaks something breaks only its own shim.
//!
//! It ends when the request socket does, that is with the node; its shims live on.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

use super::files;
use super::identity::boot_id;
use super::protocol::{MAX_REQUEST_BYTES, Refusal, Report, RequestProbe};
use super::report::Reporter;
use super::run::{self, Context};
use super::sys::{self, ChildSignal};

/// The first argument that makes the binary a spawner.
pub const ARGUMENT: &str = "__spawner";

/// What comes inherited beyond the standard descriptors was leaked by whoever started the node.
const FIRST_FOREIGN_FD: i32 = 3;

/// Runs the spawner: requests come on descriptor 0, reports go to descriptor 1, the data directory
/// is the second argument. Meant to be the whole of `main`.
pub fn main() -> ExitCode {
    let Some(data_dir) = std::env::args_os().nth(2) else {
        return ExitCode::from(64);
    };
    match serve(&data_dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(70),
    }
}

struct Spawner {
    requests: File,
    reports: OwnedFd,
    attempts: OwnedFd,
    attempts_path: PathBuf,
}

fn serve(data_dir: &OsStr) -> io::Result<()> {
    let mut spawner = set_up(Path::new(data_dir))?;
    let mut request = Vec::new();
    while spawner.receive(&mut request)? {
        spawner.fork_shim(&request);
        // The next shims inherit this memory, and it may hold secrets.
        request.fill(0);
    }
    Ok(())
}

fn set_up(data_dir: &Path) -> io::Result<Spawner> {
    sys::close_from(FIRST_FOREIGN_FD);
    let requests = claim_fd(io::stdin().as_fd())?;
    let reports = claim_fd(io::stdout().as_fd())?;
    let null = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    drop(null);
    // Away from the node's terminal: an interrupt there is the node's business.
    let _ = setsid();
    // Blocked for good and inherited by shims, so that a SIGTERM can't come too early for them.
    SigSet::all().thread_set_mask()?;
    sys::default_all_signals();
    sys::set_child_signal(ChildSignal::AutoReap);
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    chdir("/")?;
    // Looked up once here, known to every shim.
    boot_id().map_err(io::Error::other)?;
    blake3::hash(b"the hasher asks the processor what it can do");
    let attempts_path = data_dir.join(files::ATTEMPTS);
    let root = files::open_root(data_dir).map_err(io::Error::other)?;
    let attempts = files::open_beneath(root.as_fd(), files::ATTEMPTS, &attempts_path)
        .map_err(io::Error::other)?;
    Ok(Spawner {
        requests: File::from(requests),
        reports,
        attempts,
        attempts_path,
    })
}

/// A close-on-exec copy of a descriptor, above the standard ones.
fn claim_fd(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    Ok(adopt(copy))
}

#[allow(unsafe_code)] // fcntl returns a bare number
fn adopt(fd: i32) -> OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the kernel has just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

impl Spawner {
    /// Reads the next request into `request`; `false` when there are no more.
    fn receive(&mut self, request: &mut Vec<u8>) -> io::Result<bool> {
        let mut header = [0; 4];
        match self.requests.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other?,
        }
        let length = u32::from_le_bytes(header) as usize;
        if length > MAX_REQUEST_BYTES {
            self.refuse(&[], Refusal::Malformed, "request is too large");
            return Err(io::ErrorKind::InvalidData.into());
        }
        request.resize(length, 0);
        match self.requests.read_exact(request) {
            // The node died in the middle of it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            other => other.map(|()| true),
        }
    }

    #[allow(unsafe_code)] // fork
    fn fork_shim(&self, request: &[u8]) {
        // SAFETY: this process has one thread, so the child may do whatever the parent may.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { .. }) => {}
            Ok(ForkResult::Child) => {
                let code = self.be_shim(request);
                // SAFETY: ends the process at once; nothing of the spawner's is to be run down.
                unsafe { libc::_exit(code) }
            }
            Err(errno) => self.refuse(request, Refusal::Resources, errno.desc()),
        }
    }

    fn be_shim(&self, request: &[u8]) -> i32 {
        use std::os::fd::AsRawFd;
        // As long as a shim holds it, the node couldn't see the spawner die. `self.requests` names
        // nothing from here on; it's never used or dropped again, for this process ends in `_exit`.
        let _ = nix::unistd::close(self.requests.as_raw_fd());
        let context = Context {
            attempts: self.attempts.as_fd(),
            attempts_path: &self.attempts_path,
            reports: self.reports.as_fd(),
        };
        let life = std::panic::AssertUnwindSafe(|| run::run(&context, request));
        std::panic::catch_unwind(life).unwrap_or(101)
    }

    fn refuse(&self, request: &[u8], refusal: Refusal, message: &str) {
        let probe = serde_json::from_slice::<RequestProbe>(request).ok();
        let (task_id, attempt) = probe.map_or((None, None), |probe| (probe.task_id, probe.attempt));
        let message = message.to_owned();
        let mut reporter = Reporter::new(self.reports.as_fd());
        reporter.send(&Report::Refused {
            task_id,
            attempt,
            refusal,
            message,
        });
    }
}

/// The command line of a spawner, after the program.
pub(super) fn arguments(data_dir: &Path) -> [&OsStr; 2] {
    [OsStr::from_bytes(ARGUMENT.as_bytes()), data_dir.as_os_str()]
}
