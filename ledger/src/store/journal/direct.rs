//! A segment's real file, written past the page cache.
//!
//! A journal is written once, from front to back, and read only after a crash: the page cache would
//! cost a copy and the bookkeeping of every page, and keep in memory what nobody asks for. Direct
//! writes are of whole, aligned pages. A frame seldom ends with one, so the page it ends in is
//! written again by the next frame, with the same bytes in front: whatever part of such a write a
//! crash lets through, what stood there is not changed.
//!
//! Where the file system does not take direct writes, or one does not follow what was written last,
//! the page cache takes them: the kernel keeps both views the same.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::disk::SegmentFile;

/// What direct writes begin and end at: no device asks for more.
const PAGE: usize = 4096;

/// A segment's file.
#[derive(Debug)]
pub(super) struct DirectFile {
    file: File,
    direct: Mutex<Option<Direct>>,
}

impl DirectFile {
    /// A file that is open at `path`, which is opened once more.
    pub(super) fn over(file: File, path: &Path) -> Self {
        let direct = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(path);
        let direct = direct.and_then(Direct::new).ok();
        Self {
            file,
            direct: Mutex::new(direct),
        }
    }
}

impl SegmentFile for DirectFile {
    fn len(&self) -> io::Result<u64> {
        SegmentFile::len(&self.file)
    }

    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        SegmentFile::read_at(&self.file, at, out)
    }

    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        // A write that failed is known to have failed.
        let mut slot = self.direct.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(direct) = slot.as_mut() {
            match direct.write(at, bytes) {
                Ok(Written::Yes) => return Ok(()),
                Ok(Written::No) => {}
                // Some file systems open a file for direct writes and then don't take them.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => *slot = None,
                Err(error) => return Err(error),
            }
        }
        SegmentFile::write_at(&self.file, at, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Whether a write could be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Yes,
    /// It does not follow the last one, so what stands in front of it is not known.
    No,
}

#[derive(Debug)]
struct Direct {
    file: File,
    /// Length of the file, which never changes.
    len: u64,
    /// Room for the pages of a write, and to begin at an aligned address.
    buffer: Vec<u8>,
    /// The page that was written last, and how much of it.
    last: Option<(u64, usize)>,
    page: Box<[u8; PAGE]>,
}

impl Direct {
    fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self {
            file,
            len,
            buffer: Vec::new(),
            last: None,
            page: Box::new([0; PAGE]),
        })
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<Written> {
        let lead = usize::try_from(at % PAGE as u64).unwrap_or(0);
        let from = at - lead as u64;
        // What lies between the last write and this one has no meaning.
        let known = match self.last.take() {
            Some((page, len)) if page == from && len <= lead => len,
            _ if lead == 0 => 0,
            _ => return Ok(Written::No),
        };
        let len = lead + bytes.len();
        let whole = len.next_multiple_of(PAGE);
        if from + whole as u64 > self.len {
            return Ok(Written::No);
        }
        if self.buffer.len() < whole + PAGE {
            self.buffer.resize(whole + PAGE, 0);
        }
        let aligned = self.buffer.as_ptr().align_offset(PAGE);
        let Some(pages) = self.buffer.get_mut(aligned..aligned.saturating_add(whole)) else {
            return Ok(Written::No);
        };
        pages[..known].copy_from_slice(&self.page[..known]);
        pages[known..lead].fill(0);
        pages[lead..len].copy_from_slice(bytes);
        pages[len..].fill(0);
        self.file.write_all_at(pages, from)?;
        let tail = len % PAGE;
        self.page[..tail].copy_from_slice(&pages[len - tail..len]);
        self.last = Some((from + (len - tail) as u64, tail));
        Ok(Written::Yes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        /// Behind the last write, after a gap.
        Behind(usize, usize),
        /// Somewhere.
        At(u64, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..600usize, 1..9000usize).prop_map(|(gap, len)| Step::Behind(gap, len)),
            1 => (0..200_000u64, 1..5000usize).prop_map(|(at, len)| Step::At(at, len)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn what_was_written_stays(steps in prop::collection::vec(step(), 1..24)) {
            const LEN: usize = 256 * 1024;
            let temp = tempfile::NamedTempFile::new().unwrap();
            temp.as_file().write_all_at(&vec![0xEE; LEN], 0).unwrap();
            let file = DirectFile::over(temp.reopen().unwrap(), temp.path());
            let mut known = vec![None; LEN];
            let mut end = 0;
            for (n, step) in steps.into_iter().enumerate() {
                let (at, len) = match step {
                    Step::Behind(gap, len) => (end + gap as u64, len),
                    Step::At(at, len) => (at, len),
                };
                let from = usize::try_from(at).unwrap();
                if from + len > LEN {
                    continue;
                }
                let bytes = vec![u8::try_from(n).unwrap(); len];
                file.write_at(at, &bytes).unwrap();
                file.sync().unwrap();
                known[from..from + len].fill(Some(bytes[0]));
                // A journal has nothing behind its last frame: what stands there may change.
                known[from + len..].fill(None);
                end = at + len as u64;
                let mut found = vec![0; LEN];
                file.read_at(0, &mut found).unwrap();
                let lost = (0..LEN).find(|&i| known[i].is_some_and(|byte| byte != found[i]));
                prop_assert_eq!(lost, None);
            }
        }
    }

    #[test]
    fn the_length_stays() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        temp.as_file().set_len(5000).unwrap();
        let file = DirectFile::over(temp.reopen().unwrap(), temp.path());
        for at in [0, 10, 4090, 4990] {
            file.write_at(at, &[7; 10]).unwrap();
        }
        assert_eq!(SegmentFile::len(&file).unwrap(), 5000);
    }
}
