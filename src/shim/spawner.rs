//! The spawner: the node's helper that forks a shim for a request, or hands it to an idle one.
//!
//! It exists so that shims are cheap and clean: one thread, a small heap, no descriptors but its
//! two sockets and those of shims that may serve again, signals reset once for all. It doesn't
//! even read the requests; each shim reads its own, so that a request that breaks something breaks
//! only its own shim.
//!
//! It ends when the request socket does, that is with the node; its shims live on until what they
//! serve has ended.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

use super::cgroup::CgroupPlaces;
use super::files;
use super::frame;
use super::identity::boot_id;
use super::pool::{Offered, Pool, Seat};
use super::protocol::{Refusal, Report, RequestProbe};
use super::report::Reporter;
use super::run::{Context, Served, Shim};
use super::sys::{self, ChildSignal};
use super::unsaved;

/// The first argument that makes the binary a spawner.
pub const ARGUMENT: &str = "__spawner";

/// What comes inherited beyond the standard descriptors was leaked by whoever started the node.
const FIRST_FOREIGN_FD: i32 = 3;

/// Runs the spawner: requests come on descriptor 0, reports go to descriptor 1; the data directory
/// is the second argument, and where to make cgroups the third. Meant to be the whole of `main`.
pub fn main() -> ExitCode {
    let Some(data_dir) = std::env::args_os().nth(2) else {
        return ExitCode::from(64);
    };
    let cgroups = std::env::args().nth(3);
    let cgroups = cgroups.and_then(|text| serde_json::from_str(&text).ok());
    match serve(&data_dir, cgroups.unwrap_or_default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(70),
    }
}

struct Spawner {
    requests: File,
    reports: OwnedFd,
    attempts: OwnedFd,
    attempts_path: PathBuf,
    cgroups: CgroupPlaces,
    pool: Pool,
}

fn serve(data_dir: &OsStr, cgroups: CgroupPlaces) -> io::Result<()> {
    let mut spawner = set_up(Path::new(data_dir), cgroups)?;
    let mut request = Vec::new();
    while let Some(released) = spawner.receive(&mut request)? {
        spawner.pool.release(&released);
        if !spawner.pool.hand(&request) {
            spawner.fork_shim(&request);
        }
        // The next shims inherit this memory, and it may hold secrets.
        request.fill(0);
    }
    spawner.cgroups.remove_unused();
    Ok(())
}

fn set_up(data_dir: &Path, cgroups: CgroupPlaces) -> io::Result<Spawner> {
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
        cgroups,
        pool: Pool::default(),
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
    /// Waits for the next request and reads it into `request`; returns the shims that the node is
    /// done with, or `None` when there are no more requests.
    fn receive(&mut self, request: &mut Vec<u8>) -> io::Result<Option<Vec<i32>>> {
        self.pool.wait(self.requests.as_fd());
        frame::read(&mut self.requests, request).inspect_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData {
                self.refuse(&[], Refusal::Malformed, "request is too large");
            }
        })
    }

    #[allow(unsafe_code)] // fork
    fn fork_shim(&mut self, request: &[u8]) {
        let (ours, seat) = self.pool.seat().unzip();
        // SAFETY: this process has one thread, so the child may do whatever the parent may.
        match unsafe { fork() } {
            Ok(ForkResult::Parent { child }) => {
                if let Some(ours) = ours {
                    self.pool.add(child.as_raw(), ours);
                }
            }
            Ok(ForkResult::Child) => {
                drop(ours);
                let code = self.be_shim(request, seat);
                // SAFETY: ends the process at once; nothing of the spawner's is to be run down.
                unsafe { libc::_exit(code) }
            }
            Err(errno) => self.refuse(request, Refusal::Resources, errno.desc()),
        }
    }

    fn be_shim(&mut self, request: &[u8], mut seat: Option<Seat>) -> i32 {
        use std::os::fd::AsRawFd;
        // As long as a shim holds it, the node couldn't see the spawner die. `self.requests` names
        // nothing from here on; it's never used or dropped again, for this process ends in `_exit`.
        let _ = nix::unistd::close(self.requests.as_raw_fd());
        self.pool.abandon();
        let mut shim = Shim::new(Context {
            attempts: self.attempts.as_fd(),
            attempts_path: &self.attempts_path,
            reports: self.reports.as_fd(),
            cgroups: &self.cgroups,
        });
        let code = Self::serve_all(&mut shim, request, &mut seat);
        shim.retire();
        code
    }

    fn serve_all(shim: &mut Shim<'_>, request: &[u8], seat: &mut Option<Seat>) -> i32 {
        let mut request = request.to_vec();
        loop {
            let life = std::panic::AssertUnwindSafe(|| shim.serve(&request));
            let served = std::panic::catch_unwind(life).unwrap_or(Served::Spent(101));
            request.fill(0);
            let next = match (served, seat.as_mut()) {
                (Served::Spent(code), _) => return code.max(shim.save()),
                (Served::Whole, None) => false,
                (Served::Whole, Some(seat)) => {
                    // Not while somebody waits for it to serve again.
                    if seat.offer() == Offered::Alone || !seat.wait(unsaved::PATIENCE) {
                        shim.save();
                    }
                    seat.next(&mut request)
                }
            };
            if !next {
                return shim.save();
            }
        }
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
