//! What comes from the terminal while a screen is shown again and again: the key that ends it, and that
//! its size has changed.
//!
//! Keys come one by one and are not shown. However it ends, the terminal is as it was: whoever drops
//! this puts it back, and so does a signal that ends the process, which a thread of its own waits
//! for, so that it is heeded also while a node is waited for.

use std::io::{self, IsTerminal, PipeReader, PipeWriter, Read, Stdin, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, SigSet, Signal, raise, signal as set_handler};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, read, tcgetpgrp};

use super::aside;
use crate::api::wire::{ApiError, ErrorCode};

/// What ends a command on a terminal.
const FATAL: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// What has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// `q`: it is to end.
    Quit,
    /// The terminal has another size.
    Resized,
    /// Nothing, for as long as was waited.
    Nothing,
}

/// The keys of the terminal, and its size.
pub(crate) struct Keys {
    /// Standard input with how it was, if there are keys to be had.
    stdin: Option<(Stdin, Termios)>,
    resized: PipeReader,
}

impl Keys {
    /// Takes the keys, if standard input is a terminal and this its foreground, and listens.
    ///
    /// # Errors
    /// [`ErrorCode::Failed`] if the system refuses what that takes.
    pub(crate) fn take() -> Result<Self, ApiError> {
        let failed = |e: io::Error| {
            ApiError::new(ErrorCode::Failed, "the terminal can't be listened to").because(e)
        };
        let signals: SigSet = FATAL.into_iter().chain([Signal::SIGWINCH]).collect();
        // Threads that are started later have them blocked too: one waits for all.
        signals.thread_block().map_err(|e| failed(e.into()))?;
        let (resized, resize) = io::pipe().map_err(failed)?;
        let stdin = one_by_one(io::stdin());
        let before = stdin.as_ref().map(|(_, before)| before.clone());
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || listen(signals, resize, before.as_ref()))
            .map_err(failed)?;
        Ok(Self { stdin, resized })
    }

    /// Waits for what comes, at most for so long.
    pub(crate) fn wait(&mut self, patience: Duration) -> Came {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = vec![PollFd::new(self.resized.as_fd(), PollFlags::POLLIN)];
            if let Some((stdin, _)) = &self.stdin {
                fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
            if !poll(&mut fds, timeout).is_ok_and(|ready| ready > 0) {
                return Came::Nothing;
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(true)).collect();
            if ready[0] {
                let mut told = [0; 64];
                return match self.resized.read(&mut told) {
                    Ok(n) if n > 0 => Came::Resized,
                    _ => Came::Nothing,
                };
            }
            if ready.get(1) == Some(&true) && self.quits() {
                return Came::Quit;
            }
        }
    }

    /// Reads the keys that have come. Whoever has closed the terminal presses none any more.
    fn quits(&mut self) -> bool {
        let Some((stdin, _)) = &self.stdin else {
            return false;
        };
        let mut keys = [0; 64];
        match read(stdin, &mut keys) {
            Ok(n) if n > 0 => keys[..n].iter().any(|key| matches!(key, b'q' | b'Q')),
            _ => {
                self.stdin = None;
                false
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some((stdin, before)) = &self.stdin {
            put_back(stdin, before);
        }
    }
}

/// Has keys come without a return and unseen; returns how it was. Nothing where that can't be.
fn one_by_one(stdin: Stdin) -> Option<(Stdin, Termios)> {
    // In the background of its own terminal, to change that would be to be stopped.
    let is_behind = tcgetpgrp(&stdin).is_ok_and(|group| group != getpgrp());
    if is_behind || !stdin.is_terminal() {
        return None;
    }
    let before = tcgetattr(&stdin).ok()?;
    let mut keys = before.clone();
    keys.local_flags
        .remove(LocalFlags::ICANON | LocalFlags::ECHO);
    tcsetattr(&stdin, SetArg::TCSANOW, &keys).ok()?;
    Some((stdin, before))
}

fn put_back(stdin: &Stdin, before: &Termios) {
    // Where the terminal has gone there is nothing to put back.
    let _ = tcsetattr(stdin, SetArg::TCSANOW, before);
}

/// Tells of another size, and ends the process by a signal that ends it, with the terminal put back.
fn listen(signals: SigSet, mut resize: PipeWriter, before: Option<&Termios>) {
    while let Ok(signal) = signals.wait() {
        if signal == Signal::SIGWINCH {
            if resize.write_all(b"w").is_err() {
                return;
            }
            continue;
        }
        if let Some(before) = before {
            put_back(&io::stdin(), before);
        }
        // Below the screen, whose lines may have been let run over the edge.
        aside("\x1b[?7h");
        return die_of(signal);
    }
}

/// Ends the process as the signal does, also where whoever started it had it ignored: `nohup` does that,
/// and a shell's `&`.
#[allow(unsafe_code)] // no handler is installed, so none can run where it must not
fn die_of(signal: Signal) {
    let only: SigSet = [signal].into_iter().collect();
    // SAFETY: the default takes the place of whatever there was; no function of ours is called by it.
    if unsafe { set_handler(signal, SigHandler::SigDfl) }.is_ok() && only.thread_unblock().is_ok() {
        let _ = raise(signal);
    }
}
