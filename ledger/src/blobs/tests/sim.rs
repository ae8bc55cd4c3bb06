//! A disk for blobs that keeps a record of what was done, from which follows what a power failure
//! leaves: of a file's bytes what was synced, and perhaps more; of a directory's names those that
//! were there at its last sync, with any of the changes since. Any call can be made to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::super::disk::{Disk, Folder, Made, NewFile, OldFile};
use crate::time::Timestamp;

/// Something that was done.
#[derive(Debug, Clone)]
enum Op {
    Make(Folder),
    /// A name was given to a file.
    Link(Folder, String, usize),
    Unlink(Folder, String),
    Write(usize, Vec<u8>),
    SyncFile(usize),
    SyncFolder(Folder),
}

#[derive(Debug, Clone, Default)]
struct State {
    folders: BTreeSet<Folder>,
    names: BTreeMap<(Folder, String), usize>,
    files: Vec<(Vec<u8>, Timestamp)>,
    ops: Vec<Op>,
    calls: usize,
    fails: Option<(usize, io::ErrorKind)>,
}

/// Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

/// What becomes of what was not synced.
pub(super) type Coin<'a> = &'a mut dyn FnMut() -> bool;

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lets the call after `calls` more fail, once.
    pub(super) fn fail_after(&self, calls: usize, kind: io::ErrorKind) {
        let mut state = self.state();
        state.fails = Some((state.calls + calls, kind));
    }

    /// Whether the call that was to fail has.
    pub(super) fn has_failed(&self) -> bool {
        self.state().fails.is_none()
    }

    pub(super) fn ops(&self) -> usize {
        self.state().ops.len()
    }

    /// What the next process finds if this one is killed after so many operations.
    pub(super) fn killed_at(&self, ops: usize) -> Self {
        self.left_at(ops, &mut || true)
    }

    /// What a power failure after so many operations leaves. Nothing on it is unsynced.
    pub(super) fn crashed_at(&self, ops: usize, coin: Coin<'_>) -> Self {
        let left = self.left_at(ops, coin);
        left.state().ops.clear();
        left
    }

    fn left_at(&self, ops: usize, coin: Coin<'_>) -> Self {
        let state = self.state();
        let done = &state.ops[..ops];
        let synced = |at: usize, is: &dyn Fn(&Op) -> bool| done[at..].iter().any(is);
        let mut left = State {
            files: vec![(Vec::new(), Timestamp(0)); state.files.len()],
            ..State::default()
        };
        for (at, op) in done.iter().enumerate() {
            let folder = match op {
                Op::Make(Folder::Top) => Some(Folder::Data),
                Op::Make(_) => Some(Folder::Top),
                Op::Link(folder, ..) | Op::Unlink(folder, _) => Some(*folder),
                Op::Write(..) | Op::SyncFile(_) | Op::SyncFolder(_) => None,
            };
            let durable = match (op, folder) {
                (_, Some(folder)) => {
                    synced(at, &|o| matches!(o, Op::SyncFolder(f) if *f == folder))
                }
                (Op::Write(file, _), _) => {
                    synced(at, &|o| matches!(o, Op::SyncFile(f) if f == file))
                }
                _ => true,
            };
            let stays = durable || coin();
            match op {
                Op::Make(folder) if stays => drop(left.folders.insert(*folder)),
                Op::Link(folder, name, file) if stays => {
                    left.names.insert((*folder, name.clone()), *file);
                }
                Op::Unlink(folder, name) if stays => {
                    left.names.remove(&(*folder, name.clone()));
                }
                Op::Write(file, bytes) if stays => left.files[*file].0.extend(bytes),
                // The length is there and the bytes are not.
                Op::Write(file, bytes) => left.files[*file].0.extend(vec![0; bytes.len()]),
                _ => {}
            }
        }
        let folders = left.folders.clone();
        left.names
            .retain(|(folder, _), _| *folder == Folder::Data || folders.contains(folder));
        // What was not synced is so for the next process too.
        left.ops = done.to_vec();
        Self(Arc::new(Mutex::new(left)))
    }

    fn call<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        state.calls += 1;
        if let Some((at, kind)) = state.fails
            && state.calls > at
        {
            state.fails = None;
            return Err(kind.into());
        }
        work(&mut state)
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    fn has(&self, folder: Folder) -> io::Result<()> {
        let there = folder == Folder::Data || self.folders.contains(&folder);
        there.then_some(()).ok_or_else(missing)
    }

    fn file(&self, folder: Folder, name: &str) -> io::Result<usize> {
        let found = self.names.get(&(folder, name.to_owned()));
        found.copied().ok_or_else(missing)
    }

    fn link(&mut self, folder: Folder, name: &str, file: usize) {
        self.names.insert((folder, name.to_owned()), file);
        self.ops.push(Op::Link(folder, name.to_owned(), file));
    }

    fn unlink(&mut self, folder: Folder, name: &str) {
        self.names.remove(&(folder, name.to_owned()));
        self.ops.push(Op::Unlink(folder, name.to_owned()));
    }
}

impl Disk for SimDisk {
    fn make(&self, folder: Folder) -> io::Result<Made> {
        self.call(|state| {
            if state.folders.insert(folder) {
                state.ops.push(Op::Make(folder));
                return Ok(Made::New);
            }
            Ok(Made::There)
        })
    }

    fn sync(&self, folder: Folder) -> io::Result<()> {
        self.call(|state| {
            state.has(folder)?;
            state.ops.push(Op::SyncFolder(folder));
            Ok(())
        })
    }

    fn create(&self, folder: Folder, name: &str) -> io::Result<Box<dyn NewFile>> {
        let file = self.call(|state| {
            state.has(folder)?;
            if state.file(folder, name).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let file = state.files.len();
            state.files.push((Vec::new(), Timestamp(0)));
            state.link(folder, name, file);
            Ok(file)
        })?;
        Ok(Box::new(SimFile(self.clone(), file, 0)))
    }

    fn rename(&self, from: (Folder, &str), to: (Folder, &str)) -> io::Result<()> {
        self.call(|state| {
            state.has(to.0)?;
            let file = state.file(from.0, from.1)?;
            state.link(to.0, to.1, file);
            state.unlink(from.0, from.1);
            Ok(())
        })
    }

    fn open(&self, folder: Folder, name: &str) -> io::Result<Box<dyn OldFile>> {
        let file = self.call(|state| state.file(folder, name))?;
        Ok(Box::new(SimFile(self.clone(), file, 0)))
    }

    fn remove(&self, folder: Folder, name: &str) -> io::Result<()> {
        self.call(|state| {
            state.file(folder, name)?;
            state.unlink(folder, name);
            Ok(())
        })
    }

    fn list(&self, folder: Folder) -> io::Result<Vec<String>> {
        self.call(|state| {
            let all = state.names.keys().filter(|(at, _)| *at == folder);
            Ok(all.map(|(_, name)| name.clone()).collect())
        })
    }
}

/// A file, and how far it was read.
#[derive(Debug)]
struct SimFile(SimDisk, usize, usize);

impl NewFile for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.call(|state| {
            state.files[self.1].0.extend(bytes);
            state.ops.push(Op::Write(self.1, bytes.to_vec()));
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.call(|state| {
            state.ops.push(Op::SyncFile(self.1));
            Ok(())
        })
    }
}

impl OldFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.0.call(|state| Ok(state.files[self.1].0.len() as u64))
    }

    fn modified(&self) -> io::Result<Timestamp> {
        self.0.call(|state| Ok(state.files[self.1].1))
    }

    fn touch(&self, now: Timestamp) -> io::Result<()> {
        self.0.call(|state| {
            state.files[self.1].1 = now;
            Ok(())
        })
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (file, at) = (self.1, self.2);
        let count = self.0.call(|state| {
            let rest = &state.files[file].0[at..];
            let count = rest.len().min(out.len());
            out[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        })?;
        self.2 += count;
        Ok(count)
    }
}
