//! Whether something comes in on standard input that nobody asked for: a command that runs elsewhere
//! does not read it, and whoever piped something in would wait in vain.

use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{FileStat, SFlag, fstat};
use nix::unistd::{Whence, lseek};

/// Whether there is something to be read right now from a pipe, a socket or a file. What may still
/// come is not waited for; a terminal and `/dev/null` are nobody's input.
pub(super) fn has_come_in(stdin: BorrowedFd<'_>) -> bool {
    let Ok(stat) = fstat(stdin) else {
        return false;
    };
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => is_unread(stdin, &stat),
        SFlag::S_IFIFO | SFlag::S_IFSOCK => is_readable(stdin),
        _ => false,
    }
}

fn is_unread(file: BorrowedFd<'_>, stat: &FileStat) -> bool {
    lseek(file.as_fd(), 0, Whence::SeekCur).is_ok_and(|at| at < stat.st_size)
}

fn is_readable(stream: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(stream, PollFlags::POLLIN)];
    let ready = poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
    // The end alone is POLLHUP.
    ready
        && fds[0]
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLIN))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn only_what_waits_to_be_read_has_come_in() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        assert!(!has_come_in(reader.as_fd()), "an empty pipe");
        writer.write_all(b"x").unwrap();
        assert!(has_come_in(reader.as_fd()), "a pipe with something in it");
        let (ended, _) = std::io::pipe().unwrap();
        assert!(!has_come_in(ended.as_fd()), "a pipe that ended");
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("input");
        std::fs::write(&path, "text").unwrap();
        let mut file = File::open(&path).unwrap();
        assert!(has_come_in(file.as_fd()), "a file");
        file.read_to_end(&mut Vec::new()).unwrap();
        assert!(!has_come_in(file.as_fd()), "a file that was read");
        let null = File::open("/dev/null").unwrap();
        assert!(!has_come_in(null.as_fd()), "/dev/null");
    }
}
