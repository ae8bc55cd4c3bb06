//! What is on the disk itself: from a record of what was done, what a power failure at any moment
//! leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::disk::Op;
use super::{Image, Name, SECTOR};

/// The disk behind a record, up to a moment that moves forward.
#[derive(Debug)]
pub struct Platter<'a> {
    record: &'a [Op],
    at: usize,
    files: Vec<Contents>,
    /// Names that are on disk.
    names: BTreeMap<Name, usize>,
    /// Changes of names that may be.
    pending_names: Vec<Op>,
}

/// A file on disk.
#[derive(Debug, Default)]
struct Contents {
    /// What was synced.
    synced: Vec<u8>,
    /// What failed syncs have left: what sectors, by where they begin, were to become one after
    /// the other. Any of it may be on disk, and no sync will take care of it any more.
    lost: BTreeMap<usize, Vec<Vec<u8>>>,
    /// What was done since the last sync.
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Sectors(usize, Arc<[u8]>),
    Len(usize),
}

/// The sectors of a run of them, by where each begins.
fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (at..).step_by(SECTOR).zip(bytes.chunks(SECTOR))
}

fn put(bytes: &mut Vec<u8>, at: usize, sector: &[u8]) {
    let end = at + sector.len();
    bytes.resize(bytes.len().max(end), 0);
    bytes[at..end].copy_from_slice(sector);
}

impl<'a> Platter<'a> {
    /// The disk that held `base`, before anything of the record was done.
    pub fn new(base: &Image, record: &'a [Op]) -> Self {
        let durable = |bytes: &Vec<u8>| Contents {
            synced: bytes.clone(),
            ..Contents::default()
        };
        Self {
            record,
            at: 0,
            files: base.values().map(durable).collect(),
            names: base.keys().copied().zip(0..).collect(),
            pending_names: Vec::new(),
        }
    }

    /// Goes on until this many operations are done. There is no way back.
    pub fn advance(&mut self, to: usize) {
        for op in &self.record[self.at..to] {
            self.done(op);
        }
        self.at = to;
    }

    fn done(&mut self, op: &Op) {
        match op {
            Op::Write(file, at, bytes) => {
                let change = Change::Sectors(*at, Arc::clone(bytes));
                self.files[*file].pending.push(change);
            }
            Op::SetLen(file, len) => self.files[*file].pending.push(Change::Len(*len)),
            Op::Sync(file) => self.files[*file].sync(),
            Op::FailedSync(file) => self.files[*file].fail(),
            Op::Create(_, file) => {
                debug_assert_eq!(*file, self.files.len());
                self.files.push(Contents::default());
                self.pending_names.push(op.clone());
            }
            Op::Remove(_) => self.pending_names.push(op.clone()),
            Op::SyncNames => {
                for op in std::mem::take(&mut self.pending_names) {
                    rename(&mut self.names, &op);
                }
            }
        }
    }

    /// What is left if the power fails now; of everything that may or may not be there, `keep` says
    /// what is.
    pub fn image(&self, keep: &mut dyn FnMut() -> bool) -> Image {
        let mut names = self.names.clone();
        for op in &self.pending_names {
            if keep() {
                rename(&mut names, op);
            }
        }
        names
            .iter()
            .map(|(&name, &file)| (name, self.files[file].torn(keep)))
            .collect()
    }
}

fn rename(names: &mut BTreeMap<Name, usize>, op: &Op) {
    match op {
        Op::Create(name, file) => {
            names.insert(*name, *file);
        }
        Op::Remove(name) => {
            names.remove(name);
        }
        other => panic!("{other:?} changes no name"),
    }
}

impl Contents {
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Sectors(at, bytes) => {
                    for (at, sector) in sectors(at, &bytes) {
                        self.lost.remove(&at);
                        put(&mut self.synced, at, sector);
                    }
                }
                Change::Len(len) => self.set_len(len),
            }
        }
    }

    fn fail(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Sectors(at, bytes) => {
                    for (at, sector) in sectors(at, &bytes) {
                        self.lost.entry(at).or_default().push(sector.to_vec());
                    }
                }
                // File systems keep a journal of lengths.
                Change::Len(len) => self.set_len(len),
            }
        }
    }

    fn set_len(&mut self, len: usize) {
        self.synced.resize(len, 0);
        self.lost.retain(|at, _| *at < len);
    }

    fn torn(&self, keep: &mut dyn FnMut() -> bool) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for (&at, versions) in &self.lost {
            for sector in versions {
                if keep() {
                    put(&mut bytes, at, sector);
                }
            }
        }
        for change in &self.pending {
            match change {
                Change::Sectors(at, run) => {
                    for (at, sector) in sectors(*at, run) {
                        if keep() {
                            put(&mut bytes, at, sector);
                        }
                    }
                }
                Change::Len(len) => {
                    if keep() {
                        bytes.resize(*len, 0);
                    }
                }
            }
        }
        bytes
    }
}
