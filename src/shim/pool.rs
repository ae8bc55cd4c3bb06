//! Shims that have served an attempt and may serve another: what starting short tasks at a high
//! rate costs is mostly the fork of a process and its end.
//!
//! ```text
//!  node ──frame──> spawner ──the same frame──> idle shim     (or a fork, if there's none)
//!                     ^─────────"idle", 1 byte──────┘
//! ```
//!
//! - A request is handed only to a shim that has said it is idle and that the node has released:
//!   the node alone knows that it will not signal that shim for an earlier attempt any more, and that
//!   the end of that attempt is durable. A shim takes the request as saying so.
//! - Idle shims end when their socket does: with the spawner, or when they were idle for long.
//! - No more than [`MAX_MEMBERS`] are kept, so that descriptors and memory stay bounded.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::frame;

/// Most shims that may serve again, idle and busy together.
const MAX_MEMBERS: usize = 32;
/// At least how long they are kept when there is nothing to do at all; twice that at most.
const IDLE_PATIENCE_MS: u16 = 10_000;
/// An idle shim that does not take a request for so long is stopped or worse.
const HANDING_PATIENCE: Duration = Duration::from_secs(5);

/// What a shim says when it may be given another request.
const IDLE: u8 = b'i';

/// A shim's own end: how it is given more to do.
pub(super) struct Seat(UnixStream);

impl Seat {
    /// Says that this shim is idle.
    pub(super) fn offer(&mut self) -> Offered {
        match self.0.write_all(&[IDLE]) {
            Ok(()) => Offered::Heard,
            Err(_) => Offered::Alone,
        }
    }

    /// Waits for news: the next request, or that there will be none. `false` if there were none within
    /// this time.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::NONE);
        let news = PollFd::new(self.0.as_fd(), PollFlags::POLLIN);
        poll(&mut [news], patience) != Ok(0)
    }

    /// The next request, as soon as it comes. `false` if there will be none.
    pub(super) fn next(&mut self, request: &mut Vec<u8>) -> bool {
        matches!(frame::read(&mut self.0, request), Ok(Some(_)))
    }
}

/// What came of a shim's saying that it is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offered {
    /// Its spawner hears of it.
    Heard,
    /// There is no spawner any more.
    Alone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It serves an attempt, as far as anybody has said.
    Busy,
    /// It is done; the node has not said so yet.
    Idle,
    /// The node is done with it; it has not said so itself yet.
    Released,
    /// Both.
    Free,
}

struct Member {
    pid: i32,
    socket: UnixStream,
    state: State,
}

/// The spawner's end of all of them.
#[derive(Default)]
pub(super) struct Pool {
    members: Vec<Member>,
}

impl Pool {
    /// A seat for a shim that is about to be forked, if there's room for one.
    pub(super) fn seat(&self) -> Option<(UnixStream, Seat)> {
        if self.members.len() >= MAX_MEMBERS {
            return None;
        }
        let (ours, theirs) = UnixStream::pair().ok()?;
        ours.set_write_timeout(Some(HANDING_PATIENCE)).ok()?;
        Some((ours, Seat(theirs)))
    }

    /// Takes in the shim that was forked for a seat and is busy.
    pub(super) fn add(&mut self, pid: i32, socket: UnixStream) {
        self.members.push(Member {
            pid,
            socket,
            state: State::Busy,
        });
    }

    /// Closes everything: in a fork, which has no business with its siblings.
    pub(super) fn abandon(&mut self) {
        self.members.clear();
    }

    /// Waits until there's a request, keeping book of the shims meanwhile.
    ///
    /// What the shims say is of no use before the next request, so at first nobody is woken for it.
    pub(super) fn wait(&mut self, requests: BorrowedFd<'_>) {
        if !self.members.is_empty() {
            let mut request = [PollFd::new(requests, PollFlags::POLLIN)];
            let _ = poll(&mut request, PollTimeout::from(IDLE_PATIENCE_MS));
        }
        self.wait_for_all(requests);
    }

    /// Waits until there's a request, and takes what shims say when they say it.
    fn wait_for_all(&mut self, requests: BorrowedFd<'_>) {
        loop {
            let mut fds = vec![PollFd::new(requests, PollFlags::POLLIN)];
            let sockets = self.members.iter().map(|member| member.socket.as_fd());
            fds.extend(sockets.map(|socket| PollFd::new(socket, PollFlags::POLLIN)));
            let idle = self.members.iter().any(Member::is_idle);
            let patience = if idle {
                PollTimeout::from(IDLE_PATIENCE_MS)
            } else {
                PollTimeout::NONE
            };
            let count = poll(&mut fds, patience);
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
            let mut news = ready.iter().skip(1);
            self.members.retain_mut(|member| {
                !news.next().is_some_and(|&news| news) || member.listen() == Presence::There
            });
            if count == Ok(0) {
                self.members.retain(|member| !member.is_idle());
            }
            if ready[0] {
                return;
            }
        }
    }

    /// The node is done with these.
    pub(super) fn release(&mut self, pids: &[i32]) {
        for member in self.members.iter_mut().filter(|m| pids.contains(&m.pid)) {
            member.state = match member.state {
                State::Busy | State::Released => State::Released,
                State::Idle | State::Free => State::Free,
            };
        }
    }

    /// Hands a request to a free shim. `false` if there is none: nobody here will ever serve it
    /// then.
    pub(super) fn hand(&mut self, request: &[u8]) -> bool {
        let is_free = |member: &Member| member.state == State::Free;
        while let Some(index) = self.members.iter().position(is_free) {
            let member = &mut self.members[index];
            member.state = State::Busy;
            if frame::write(&mut member.socket, &[], request).is_ok() {
                return true;
            }
            // Half a frame, at most, is followed by the end of the socket.
            self.members.swap_remove(index);
        }
        false
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Presence {
    There,
    Gone,
}

impl Member {
    fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle | State::Free)
    }

    /// Takes what it said, when it has said something.
    fn listen(&mut self) -> Presence {
        let mut said = [0];
        match self.socket.read(&mut said) {
            Ok(1) if said[0] == IDLE => {
                self.state = match self.state {
                    State::Busy | State::Idle => State::Idle,
                    State::Released | State::Free => State::Free,
                };
                Presence::There
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Presence::There,
            Ok(_) | Err(_) => Presence::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(pool: &mut Pool, pid: i32) -> Seat {
        let (ours, seat) = pool.seat().unwrap();
        pool.add(pid, ours);
        seat
    }

    /// Lets the pool look at what its members have said.
    fn look(pool: &mut Pool) {
        let (mut request, requests) = UnixStream::pair().unwrap();
        request.write_all(b"x").unwrap();
        pool.wait(requests.as_fd());
    }

    #[test]
    fn only_a_shim_that_is_idle_and_released_is_handed_a_request() {
        for released_first in [false, true] {
            let mut pool = Pool::default();
            let (mut first, _second) = (member(&mut pool, 1), member(&mut pool, 2));
            assert!(!pool.hand(b"early"), "it is busy");
            if released_first {
                pool.release(&[1, 3]);
                assert!(!pool.hand(b"released"), "it has not said that it is idle");
            }
            first.0.write_all(&[IDLE]).unwrap();
            look(&mut pool);
            if !released_first {
                assert!(!pool.hand(b"idle"), "it is not released");
                pool.release(&[1, 3]);
            }
            assert!(pool.hand(b"hello"));
            let mut request = Vec::new();
            frame::read(&mut first.0, &mut request).unwrap().unwrap();
            assert_eq!(request, b"hello");
            assert!(!pool.hand(b"again"), "it is busy with the last one");
            first.0.write_all(&[IDLE]).unwrap();
            look(&mut pool);
            assert!(!pool.hand(b"again"), "it was released for the one before");
        }
    }

    #[test]
    fn shims_that_have_gone_are_forgotten_and_passed_over() {
        let mut pool = Pool::default();
        let (mut first, mut second) = (member(&mut pool, 1), member(&mut pool, 2));
        first.0.write_all(&[IDLE]).unwrap();
        second.0.write_all(&[IDLE]).unwrap();
        look(&mut pool);
        pool.release(&[1, 2]);
        drop(first);
        assert!(pool.hand(b"x"), "the other one takes it");
        assert_eq!(pool.members.len(), 1);
        drop(second);
        look(&mut pool);
        assert!(pool.members.is_empty());
    }

    #[test]
    fn a_shim_whose_spawner_has_gone_gets_nothing_more() {
        let mut pool = Pool::default();
        let mut seat = member(&mut pool, 1);
        assert_eq!(seat.offer(), Offered::Heard);
        pool.abandon();
        assert!(seat.wait(HANDING_PATIENCE), "its end is news");
        assert!(!seat.next(&mut Vec::new()));
        assert_eq!(seat.offer(), Offered::Alone);
    }

    #[test]
    fn there_are_only_so_many_seats() {
        let mut pool = Pool::default();
        let seats: Vec<Seat> = (1..=MAX_MEMBERS as i32)
            .map(|pid| member(&mut pool, pid))
            .collect();
        assert!(pool.seat().is_none());
        drop(seats);
        look(&mut pool);
        assert!(pool.seat().is_some());
    }
}
