//! The directory of checkpoints on the simulated host, and what becomes of the files in it.
//!
//! | must hold | why |
//! |---|---|
//! | what was written stays when its process dies | the system has it |
//! | what was not synced is there after a power failure, or not, or in part; so is a name whose directory was not | so are real disks |
//! | a making happens step by step | whatever strikes, strikes between them |

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Cursor, ErrorKind, Seek, SeekFrom, Write};
use std::rc::Rc;

use ledger_core::ids::Seq;
use opsledger::node::checkpoints::{CheckpointError, CheckpointFile, Files, NewFile};

use crate::chance::Draws;

/// A file.
#[derive(Debug, Clone)]
struct File {
    bytes: Rc<[u8]>,
    synced: bool,
}

/// The directory.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    files: BTreeMap<CheckpointFile, File>,
    /// What is being written, or was left.
    new: Option<File>,
    /// The file whose name a power failure may still take.
    unsettled: Option<CheckpointFile>,
    /// What was written under each name.
    written: BTreeMap<CheckpointFile, Rc<[u8]>>,
    /// Those that something was done to, or that were set aside.
    touched: BTreeSet<CheckpointFile>,
}

impl Shelf {
    /// The files there are, the oldest position first.
    pub(crate) fn list(&self) -> impl DoubleEndedIterator<Item = &CheckpointFile> {
        self.files.keys()
    }

    /// Whether a file is what was written under its name.
    pub(crate) fn is_sound(&self, file: &CheckpointFile) -> bool {
        let there = self.files.get(file).map(|there| &there.bytes);
        there.is_some() && there == self.written.get(file)
    }

    /// Whether something was done to a file, or it was set aside.
    pub(crate) fn is_touched(&self, file: &CheckpointFile) -> bool {
        self.touched.contains(file)
    }

    /// So much of a new file is written.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.new = Some(File {
            bytes: bytes.into(),
            synced: false,
        });
    }

    /// The new file is synced.
    pub(crate) fn sync(&mut self) {
        if let Some(new) = &mut self.new {
            new.synced = true;
        }
    }

    /// The new file gets its name.
    pub(crate) fn name(&mut self, file: &CheckpointFile) {
        if let Some(new) = self.new.take() {
            self.written.insert(file.clone(), Rc::clone(&new.bytes));
            self.files.insert(file.clone(), new);
            self.unsettled = Some(file.clone());
        }
    }

    /// The directory is synced.
    pub(crate) fn settle(&mut self) {
        self.unsettled = None;
    }

    /// What an interrupted making has left is removed.
    pub(crate) fn clear(&mut self) {
        self.new = None;
    }

    /// A file is set aside.
    pub(crate) fn set_aside(&mut self, file: &CheckpointFile) {
        self.files.remove(file);
        self.touched.insert(file.clone());
    }

    /// The host loses power.
    pub(crate) fn power_fails(&mut self, draws: &mut Draws) {
        if let Some(file) = self.unsettled.take() {
            match draws.below(3) {
                0 => {}
                1 => self.new = self.files.remove(&file),
                _ => drop(self.files.remove(&file)),
            }
        }
        if draws.one_in(3) {
            self.new = None;
        }
        for file in self.files.values_mut().chain(&mut self.new) {
            if !file.synced {
                file.bytes = torn(&file.bytes, draws);
                file.synced = true;
            }
        }
    }

    /// Somebody damages a file, the newest more often. Says what was done, if there is one.
    pub(crate) fn damage(&mut self, draws: &mut Draws) -> Option<String> {
        let all: Vec<_> = self.files.keys().cloned().collect();
        let (last, any) = (all.last()?, draws.pick(&all));
        let file = if draws.one_in(3) { any } else { last };
        let other = draws.pick(&all);
        self.touched.insert(file.clone());
        let File { bytes, .. } = self.files.get(file)?;
        let mut bad = bytes.to_vec();
        let kind = draws.below(5);
        let what = match kind {
            0 if !bad.is_empty() => {
                let at = draws.index(bad.len());
                bad[at] ^= 1 << draws.below(8);
                format!("byte {at} is another")
            }
            1 => {
                bad.truncate(draws.index(bad.len() + 1));
                format!("it is cut to {} bytes", bad.len())
            }
            2 => {
                bad.clear();
                "it is emptied".into()
            }
            3 if other != file => {
                self.touched.insert(other.clone());
                let theirs = self.files.get(other)?.bytes.clone();
                let mine = std::mem::replace(&mut self.files.get_mut(file)?.bytes, theirs);
                self.files.get_mut(other)?.bytes = mine;
                return Some(format!("{} and {} are swapped", said(file), said(other)));
            }
            _ => {
                let at = file.seq.0;
                let (before, after) = (at.saturating_sub(1), at.saturating_add(1));
                let far = at.saturating_add(40);
                let to = CheckpointFile {
                    seq: Seq(*draws.pick(&[0, before, after, far, u64::MAX])),
                    name: file.name.clone(),
                };
                let moved = self.files.remove(file)?;
                let what = format!("{} is at {} now", said(file), to.seq);
                self.touched.insert(to.clone());
                self.files.insert(to, moved);
                return Some(what);
            }
        };
        self.files.get_mut(file)?.bytes = bad.into();
        Some(format!("{}: {what}", said(file)))
    }
}

/// A file as traces name it.
pub(crate) fn said(file: &CheckpointFile) -> String {
    format!("{} at seq {}", file.name, file.seq)
}

/// What is left of bytes that were not synced.
fn torn(bytes: &[u8], draws: &mut Draws) -> Rc<[u8]> {
    let at = draws.index(bytes.len() + 1);
    match draws.below(4) {
        0 => bytes.into(),
        1 => [].into(),
        2 => bytes[..at].into(),
        _ => {
            // Its length is there, and a part of it is not.
            let mut left = bytes.to_vec();
            left[at..].fill(0);
            left.into()
        }
    }
}

/// What goes wrong with a new file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Trouble {
    /// There is room for so many bytes.
    Room(u64),
    /// It can't be synced.
    Sync,
}

/// The directory as whoever makes or uses checkpoints has it. What is made goes onto the shelf later, step
/// by step.
pub(crate) struct View<'a> {
    shelf: &'a Shelf,
    trouble: Option<Trouble>,
    new: RefCell<Cursor<Vec<u8>>>,
}

impl<'a> View<'a> {
    pub(crate) fn of(shelf: &'a Shelf, trouble: Option<Trouble>) -> Self {
        Self {
            shelf,
            trouble,
            new: RefCell::default(),
        }
    }

    /// What was written.
    pub(crate) fn into_new(self) -> Rc<[u8]> {
        self.new.into_inner().into_inner().into()
    }
}

impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the simulated directory of checkpoints")
    }
}

impl Files for View<'_> {
    fn list(&self) -> io::Result<Vec<CheckpointFile>> {
        Ok(self.shelf.list().cloned().collect())
    }

    fn read(&self, file: &CheckpointFile, limit: u64) -> Result<Vec<u8>, CheckpointError> {
        let there = self.shelf.files.get(file);
        let bytes = &there.ok_or(CheckpointError::Missing)?.bytes;
        match bytes.len() as u64 > limit {
            true => Err(CheckpointError::Damaged(format!("{} bytes", bytes.len()))),
            false => Ok(bytes.to_vec()),
        }
    }

    fn create(&self) -> io::Result<Box<dyn NewFile + '_>> {
        self.new.take();
        Ok(Box::new(Writing(self)))
    }

    fn read_new(&self) -> Result<Vec<u8>, CheckpointError> {
        Ok(self.new.borrow().get_ref().clone())
    }

    fn publish(&self, _: &CheckpointFile) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is being written.
struct Writing<'a>(&'a View<'a>);

impl Write for Writing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut new = self.0.new.borrow_mut();
        if let Some(Trouble::Room(room)) = self.0.trouble
            && new.position() + bytes.len() as u64 > room
        {
            return Err(ErrorKind::StorageFull.into());
        }
        new.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Writing<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.new.borrow_mut().seek(to)
    }
}

impl NewFile for Writing<'_> {
    fn finish(self: Box<Self>) -> io::Result<()> {
        match self.0.trouble {
            Some(Trouble::Sync) => Err(io::Error::other("it can't be synced")),
            Some(Trouble::Room(_)) | None => Ok(()),
        }
    }
}
