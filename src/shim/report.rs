//! The shim's end of the report socket: never blocks, never fails.
//!
//! What can't be sent now waits here, and the shim's loop tries again when the socket takes more.
//! If the node has gone there is nobody to tell, and what was waiting is dropped.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};

use super::identity::ProcessIdentity;
use super::protocol::{MAX_REPORT_BYTES, Report};
use super::records::Outcome;

/// How long a shim that is done waits for a full socket: milliseconds.
const PARTING_PATIENCE_MS: u16 = 1000;

/// The socket and what it still has to carry.
pub(super) struct Reporter<'a> {
    socket: BorrowedFd<'a>,
    waiting: VecDeque<Vec<u8>>,
    lost: bool,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(socket: BorrowedFd<'a>) -> Self {
        Self {
            socket,
            waiting: VecDeque::new(),
            lost: false,
        }
    }

    /// Sends a report, or keeps it for later.
    pub(super) fn send(&mut self, report: &Report) {
        self.waiting.push_back(report.encode());
        self.flush();
    }

    /// Sends that an attempt has ended, with its outcome if that fits.
    pub(super) fn send_end(&mut self, of: &Outcome, shim: &ProcessIdentity) {
        let end = |outcome| {
            let (task_id, attempt, shim) = (of.task_id.clone(), of.attempt, shim.clone());
            Report::Ended {
                task_id,
                attempt,
                shim,
                outcome,
            }
        };
        let whole = end(Some(Box::new(of.clone()))).encode();
        self.waiting.push_back(match whole.len() {
            ..=MAX_REPORT_BYTES => whole,
            _ => end(None).encode(),
        });
        self.flush();
    }

    /// Sends what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self) {
        while let Some(message) = self.waiting.front() {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(self.socket.as_raw_fd(), message, flags) {
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return,
                Err(Errno::EINTR) => {}
                sent => {
                    // If not sent now, nobody will ever read it.
                    self.lost |= sent.is_err();
                    self.waiting.pop_front();
                }
            }
        }
    }

    /// The socket to poll for room, if something waits.
    pub(super) fn wants(&self) -> Option<PollFd<'a>> {
        (!self.waiting.is_empty()).then(|| PollFd::new(self.socket, PollFlags::POLLOUT))
    }

    /// Sends what waits before the shim goes on or ends, with bounded patience.
    pub(super) fn part(mut self) -> Parted {
        self.flush();
        if let Some(room) = self.wants() {
            let _ = poll(&mut [room], PollTimeout::from(PARTING_PATIENCE_MS));
            self.flush();
        }
        if self.waiting.is_empty() && !self.lost {
            Parted::Heard
        } else {
            Parted::Unheard
        }
    }
}

/// Whether all reports were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parted {
    /// They were.
    Heard,
    /// Some were not: there was no room for them, or nobody to read them.
    Unheard,
}
