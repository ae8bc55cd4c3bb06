//! One output stream of an attempt: from its pipe to its file, hashed on the way.
//!
//! Invariants:
//! - What is hashed is what is in the file, byte for byte.
//! - The pipe is read for as long as the stream lives, whatever becomes of the file: beyond the
//!   limit, or when the disk is full, the bytes are counted and thrown away.
//! - The file is made with the first byte, so that a silent child costs none.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::poll::{PollFd, PollFlags};

use super::files::AttemptFiles;
use super::records::StreamRecord;

/// Most of a stream that a record shows, in bytes.
const TAIL_BYTES: usize = 4096;

/// Used if a pipe's capacity can't be had: the largest an unprivileged process may ask for.
const LARGEST_PIPE: usize = 1 << 20;

/// The capture of one stream.
pub(super) struct Capture {
    name: &'static str,
    pipe: Option<OwnedFd>,
    file: Option<File>,
    limit: u64,
    kept: u64,
    total: u64,
    hasher: blake3::Hasher,
    tail: Vec<u8>,
    error: Option<io::Error>,
}

impl Capture {
    /// Captures into the file `name`; `pipe` is the reading end and doesn't block.
    pub(super) fn new(name: &'static str, limit: u64, pipe: Option<OwnedFd>) -> Self {
        Self {
            name,
            pipe,
            file: None,
            limit,
            kept: 0,
            total: 0,
            hasher: blake3::Hasher::new(),
            tail: Vec::new(),
            error: None,
        }
    }

    /// Bytes that were written so far.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The pipe to poll, until its end was seen.
    pub(super) fn wants(&self) -> Option<PollFd<'_>> {
        self.pipe
            .as_ref()
            .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
    }

    /// Reads once, at most a buffer full, so that no stream starves the other duties. Returns how
    /// many bytes there were: 0 when there are none now, or none to come.
    pub(super) fn read(&mut self, files: &AttemptFiles, buffer: &mut [u8]) -> usize {
        let Some(pipe) = &self.pipe else { return 0 };
        match nix::unistd::read(pipe, buffer) {
            Ok(count) if count > 0 => {
                self.take(files, &buffer[..count]);
                count
            }
            Err(Errno::EAGAIN | Errno::EINTR) => 0,
            Ok(_) | Err(_) => {
                self.pipe = None;
                0
            }
        }
    }

    /// Reads what is left in the pipe now that the tree has gone. A process outside the tree may
    /// hold the pipe too and write for ever: no more than a pipe can hold is taken.
    pub(super) fn drain(&mut self, files: &AttemptFiles, buffer: &mut [u8]) {
        let Some(pipe) = &self.pipe else { return };
        let capacity = fcntl(pipe, FcntlArg::F_GETPIPE_SZ);
        let mut left = capacity.map_or(LARGEST_PIPE, |size| size.unsigned_abs() as usize);
        while left > 0 {
            let size = left.min(buffer.len());
            match self.read(files, &mut buffer[..size]) {
                0 => break,
                count => left -= count,
            }
        }
        self.pipe = None;
    }

    /// Makes the file durable and says what became of the stream.
    pub(super) fn finish(mut self) -> StreamRecord {
        if let Some(file) = self.file.take()
            && let Err(error) = file.sync_data()
        {
            self.error.get_or_insert(error);
        }
        StreamRecord {
            bytes: self.kept,
            total_bytes: self.total,
            blake3: self.hasher.finalize().to_hex().to_string(),
            tail: tail_text(&self.tail),
            truncated: self.error.is_none() && self.total > self.kept,
            error: self.error.map(|error| error.to_string()),
        }
    }

    fn take(&mut self, files: &AttemptFiles, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = usize::try_from(self.limit - self.kept).unwrap_or(usize::MAX);
        let mut rest = &bytes[..bytes.len().min(room)];
        while !rest.is_empty() && self.error.is_none() {
            match self.write(files, rest) {
                Ok(count) => {
                    self.keep(&rest[..count]);
                    rest = &rest[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.error = Some(error),
            }
        }
    }

    fn write(&mut self, files: &AttemptFiles, bytes: &[u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            empty => empty.insert(files.create_output(self.name)?),
        };
        match file.write(bytes)? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            count => Ok(count),
        }
    }

    fn keep(&mut self, written: &[u8]) {
        self.kept += written.len() as u64;
        self.hasher.update(written);
        let last = &written[written.len().saturating_sub(TAIL_BYTES)..];
        if self.tail.len() + last.len() > 2 * TAIL_BYTES {
            let excess = self
                .tail
                .len()
                .saturating_sub(TAIL_BYTES - last.len().min(TAIL_BYTES));
            self.tail.drain(..excess);
        }
        self.tail.extend_from_slice(last);
    }
}

/// The last [`TAIL_BYTES`] of `bytes` as text. Replacing invalid bytes makes text longer, so it is
/// cut again afterwards.
fn tail_text(bytes: &[u8]) -> String {
    let mut start = bytes.len().saturating_sub(TAIL_BYTES);
    if start > 0 {
        // Do not start in the middle of a character; what is no character at all is left to be
        // replaced.
        let is_continuation = |byte: &u8| byte & 0xc0 == 0x80;
        start += bytes[start..]
            .iter()
            .take(3)
            .take_while(|byte| is_continuation(byte))
            .count();
    }
    let text = String::from_utf8_lossy(&bytes[start..]);
    let cut = text.ceil_char_boundary(text.len().saturating_sub(TAIL_BYTES));
    text[cut..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn files() -> (tempfile::TempDir, AttemptFiles) {
        let dir = tempfile::tempdir().unwrap();
        let fd = super::super::files::open_root(dir.path()).unwrap();
        let files = AttemptFiles::new(fd.as_fd().try_clone_to_owned().unwrap(), dir.path().into());
        (dir, files)
    }

    fn feed(limit: u64, chunks: &[&[u8]]) -> (StreamRecord, Option<Vec<u8>>) {
        let (dir, files) = files();
        let mut capture = Capture::new("stdout", limit, None);
        for chunk in chunks {
            capture.take(&files, chunk);
        }
        (
            capture.finish(),
            std::fs::read(dir.path().join("stdout")).ok(),
        )
    }

    #[test]
    fn nothing_written_makes_no_file() {
        let (record, file) = feed(10, &[]);
        assert_eq!(file, None);
        assert_eq!(record.blake3, blake3::hash(b"").to_hex().to_string());
        assert_eq!(
            (record.bytes, record.total_bytes, record.truncated),
            (0, 0, false)
        );
    }

    #[test]
    fn the_limit_cuts_and_counts() {
        let cases: [(u64, bool); 5] = [(0, true), (4, true), (5, true), (10, false), (11, false)];
        for (limit, truncated) in cases {
            let (record, file) = feed(limit, &[b"01234", b"56789"]);
            let kept = &b"0123456789"[..10.min(limit as usize)];
            assert_eq!(file.unwrap_or_default(), kept);
            assert_eq!(record.blake3, blake3::hash(kept).to_hex().to_string());
            assert_eq!(record.bytes, kept.len() as u64);
            assert_eq!(
                (record.total_bytes, record.truncated),
                (10, truncated),
                "limit {limit}"
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_made_is_an_error_in_the_record() {
        let (dir, files) = files();
        std::fs::write(dir.path().join("stdout"), "of somebody else").unwrap();
        let mut capture = Capture::new("stdout", 100, None);
        capture.take(&files, b"abc");
        capture.take(&files, b"def");
        let record = capture.finish();
        assert_eq!(
            (record.bytes, record.total_bytes, record.truncated),
            (0, 6, false)
        );
        assert!(record.error.is_some());
        assert_eq!(record.blake3, blake3::hash(b"").to_hex().to_string());
    }

    #[test]
    fn the_tail_is_the_last_4_kib_however_it_came() {
        let whole: Vec<u8> = (0..40_000u32).map(|n| b'a' + (n % 23) as u8).collect();
        for size in [1, 7, 1000, 4095, 4096, 4097, 8192, 10_000, 40_000] {
            let chunks: Vec<&[u8]> = whole.chunks(size).collect();
            let (record, _) = feed(1 << 20, &chunks);
            assert_eq!(
                record.tail.as_bytes(),
                &whole[whole.len() - 4096..],
                "chunks of {size}"
            );
        }
    }

    #[test]
    fn tails_are_valid_text_of_bounded_size() {
        for shift in 0..4 {
            let text = format!("{}{}", "x".repeat(shift), "ä€😀".repeat(1000));
            let tail = tail_text(text.as_bytes());
            assert!(tail.len() > 4090 && tail.len() <= 4096 && text.ends_with(&tail));
        }
        let junk = tail_text(&[0xff; 9000]);
        assert!(junk.len() > 4090 && junk.len() <= 4096);
        assert!(junk.chars().all(|c| c == char::REPLACEMENT_CHARACTER));
        assert_eq!(tail_text(b"abc"), "abc");
        assert_eq!(tail_text(&[0x80, b'a']), "\u{fffd}a");
    }
}
