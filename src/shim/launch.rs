//! The node's handle on its spawner.
//!
//! Synchronous and without a runtime of its own: the node polls [`Spawner::reports`] as it polls
//! everything else.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, setsockopt, socketpair, sockopt,
};

use super::cgroup::CgroupPlaces;
use super::error::ReportError;
use super::files;
use super::frame;
use super::protocol::{MAX_REPORT_BYTES, Report, SpawnRequest};
use super::spawner;

/// How long a request may take to get into the socket before the spawner counts as stuck.
const SEND_PATIENCE: Duration = Duration::from_secs(5);

/// Room for reports on their way, in bytes; the system may grant less.
const REPORT_ROOM: usize = 1 << 20;

/// A running spawner. Dropping it ends the spawner (requests it hasn't read are lost) and leaves
/// its shims alone; [`Self::shut_down`] lets it serve what it was sent first.
#[derive(Debug)]
pub struct Spawner {
    child: Child,
    requests: Option<UnixStream>,
    reports: OwnedFd,
}

impl Spawner {
    /// Starts a spawner for `data_dir` from the binary `exe` (`/proc/self/exe` survives an
    /// upgrade of the file) and makes `attempts` below the data directory. Its shims make their
    /// cgroups in `cgroups`.
    ///
    /// # Errors
    /// When the directory can't be made or the process can't be started.
    pub fn launch(exe: &Path, data_dir: &Path, cgroups: &CgroupPlaces) -> io::Result<Self> {
        let data_dir = std::path::absolute(data_dir)?;
        let root = files::open_root(&data_dir).map_err(io::Error::other)?;
        let attempts = data_dir.join(files::ATTEMPTS);
        files::make_dir(root.as_fd(), files::ATTEMPTS, &attempts).map_err(io::Error::other)?;
        // The spawner could only die of it.
        files::open_beneath(root.as_fd(), files::ATTEMPTS, &attempts).map_err(io::Error::other)?;
        let (requests, requests_end) = UnixStream::pair()?;
        requests.set_write_timeout(Some(SEND_PATIENCE))?;
        let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
        let (reports, reports_end) = socketpair(AddressFamily::Unix, kind, None, flags)?;
        setsockopt(&reports_end, sockopt::SndBuf, &REPORT_ROOM)?;
        // Only this end: the other is shared with the shims, who ask for no waiting one by one.
        let nonblocking = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
        nix::fcntl::fcntl(&reports, nonblocking)?;
        let child = Command::new(exe)
            .args(spawner::arguments(&data_dir))
            .arg(serde_json::to_string(cgroups)?)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(requests_end)))
            .stdout(Stdio::from(reports_end))
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self {
            child,
            requests: Some(requests),
            reports,
        })
    }

    /// Hands over a request. Success means that the spawner will read it if it lives that long,
    /// not that anything was started; for that see the reports and the attempt's directory.
    ///
    /// `released` are the pids of shims whose [`Report::Ended`] was understood and written down
    /// durably elsewhere, so that nothing will be asked of them any more for the attempt they served:
    /// they may serve another one, and need not sync its outcome. At most 256 are taken at a time.
    ///
    /// # Errors
    /// The request can't be encoded or is larger than [`super::MAX_REQUEST_BYTES`]
    /// ([`io::ErrorKind::InvalidInput`]): nothing was sent. Any other error means that the spawner
    /// is dead or stuck and can't be used any more; this request was not handed over whole, so it
    /// will never be served.
    pub fn send(&mut self, request: &SpawnRequest, released: &[i32]) -> io::Result<()> {
        let request = serde_json::to_vec(request)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let Some(requests) = &mut self.requests else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        // std's sockets never raise SIGPIPE. After a partial frame the rest would be misread.
        frame::write(requests, released, &request).inspect_err(|error| {
            if error.kind() != io::ErrorKind::InvalidInput {
                self.requests = None;
            }
        })
    }

    /// The socket on which reports come, to be polled; it doesn't block. Its end means that the
    /// spawner and all its shims have gone.
    pub fn reports(&self) -> BorrowedFd<'_> {
        self.reports.as_fd()
    }

    /// Reads the next report's message; `None` if there is none now.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when no one is left who could report.
    pub fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        let mut message = vec![0; MAX_REPORT_BYTES];
        loop {
            match recv(
                self.reports.as_raw_fd(),
                &mut message,
                MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => {
                    message.truncate(length);
                    return Ok(Some(message));
                }
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Understands a report's message.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub fn parse_report(message: &[u8]) -> Result<Report, ReportError> {
        Report::parse(message)
    }

    /// The spawner's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A pidfd of the spawner, which becomes readable when it ends.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn pidfd(&self) -> io::Result<OwnedFd> {
        // Our own unreaped child: the number can't be anyone else's.
        super::sys::pidfd_open(self.child.id() as i32)
    }

    /// How the spawner has ended; `None` while it runs.
    ///
    /// # Errors
    /// As [`Child::try_wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Lets the spawner serve what it was sent, and waits for it to end. Shims live on.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn shut_down(mut self) -> io::Result<ExitStatus> {
        self.requests = None;
        self.child.wait()
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // Harmless to shims, and reaches a stopped one too; an ended one is just waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
