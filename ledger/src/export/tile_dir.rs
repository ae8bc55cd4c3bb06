//! A directory of C2SP tlog-tiles: static files that verifiers of transparency logs read, and that
//! a later export extends.
//!
//! ```text
//! push(event) ──> 256 leaves and events ──> tile/0/N, tile/entries/N
//!                         └──> TreeWriter ──> rows ──> tile/1/N, tile/2/N …
//! finish(sign) ──> what is not full yet, as .p/W ──> checkpoint, last of all
//! ```
//! - A file is written under another name, synced and renamed: what is there is whole.
//! - A file that is there is never changed. One that holds something else means that the directory
//!   is of another history.
//! - The checkpoint comes last, so all that it stands for is there; an export that was interrupted
//!   leaves the old one, and the next goes on from that.
//! - The directory grows only from its own checkpoint: the ledger must have the same hash there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::files;
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq};
use crate::merkle::{
    TILE_WIDTH, TileId, TileKind, TileRow, TreeHash, TreeRoot, TreeSize, TreeSource, TreeWriter,
    entry_bundle, leaf_hashes,
};
use crate::tree_head::{Checkpoint, MAX_NOTE, SignedNote, TreeHead};

/// Name of the file with the signed head.
pub const CHECKPOINT_FILE: &str = "checkpoint";

/// Files that are synced together.
const SYNC_AT: usize = 256;

/// Why a directory of tiles can't be written or extended.
#[derive(Debug, thiserror::Error)]
pub enum TileDirError {
    /// The file system failed.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// There is something else in it.
    #[error("{0} is not empty, and has no checkpoint of tiles")]
    Foreign(PathBuf),
    /// What is there is not what was written.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It holds another ledger.
    #[error("{dir} holds ledger {found}")]
    OtherLedger {
        /// The directory.
        dir: PathBuf,
        /// Whose tiles they are.
        found: LedgerId,
    },
    /// The ledger is not the one that was exported here.
    #[error(
        "the tiles hold another history: they have hash {theirs} at seq {seq}, the ledger {ours}"
    )]
    Forked {
        /// Where both reach.
        seq: Seq,
        /// What the tiles say.
        theirs: Hash,
        /// What the ledger says.
        ours: Hash,
    },
    /// Events came out of order.
    #[error("seq {expected} was expected, seq {found} came")]
    Order {
        /// What should come.
        expected: Seq,
        /// What came.
        found: Seq,
    },
    /// The ledger ends before the tiles do.
    #[error("the tiles reach to seq {tiles}, the ledger only to seq {ledger}")]
    Behind {
        /// Their last event.
        tiles: Seq,
        /// The ledger's last.
        ledger: Seq,
    },
}

/// What an export has added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grown {
    /// Events that the tiles had before.
    pub before: TreeSize,
    /// The tree that they hold now.
    pub tree: TreeRoot,
    /// Files that were written.
    pub files: u64,
}

/// A directory that is being written.
#[derive(Debug)]
pub struct TileDir {
    dir: PathBuf,
    ledger: LedgerId,
    /// What the checkpoint says, if there is one.
    head: Option<TreeHead>,
    writer: TreeWriter,
    next: Seq,
    last: Hash,
    /// Events of the bundle that is not full yet, and their leaves.
    bundle: Vec<Vec<u8>>,
    leaves: Vec<TreeHash>,
    /// How many of those leaves the tree has already.
    known: usize,
    /// Rows that are not full yet, by level.
    partial: BTreeMap<u8, TileRow>,
    /// Files that are written and not synced: where they are, where they belong.
    pending: Vec<(PathBuf, PathBuf)>,
    files: u64,
}

fn at(path: &Path) -> impl Fn(io::Error) -> TileDirError + '_ {
    |error| TileDirError::Io {
        path: path.to_owned(),
        error,
    }
}

fn damaged(path: &Path, reason: impl ToString) -> TileDirError {
    TileDirError::Damaged {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

impl TileDir {
    /// A directory to begin in, which is made if it is missing, or to extend with the events of a
    /// ledger that ends at `end`. What is in it already must be all there: each file is read to tell
    /// that it has its size, and what the new tree grows from is hashed.
    ///
    /// # Errors
    /// [`TileDirError`] if there is something else in it, or something is wrong with it.
    pub fn open(dir: &Path, ledger: LedgerId, end: Seq) -> Result<Self, TileDirError> {
        // Everyone may read them, as far as the umask allows.
        fs::create_dir_all(dir).map_err(at(dir))?;
        let checkpoint = dir.join(CHECKPOINT_FILE);
        let head = match fs::metadata(&checkpoint) {
            Ok(_) => Some(read_head(&checkpoint)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(at(&checkpoint)(e)),
        };
        let writer = match head {
            Some(head) if head.ledger != ledger => {
                return Err(TileDirError::OtherLedger {
                    dir: dir.to_owned(),
                    found: head.ledger,
                });
            }
            Some(head) if head.seq() > end => {
                return Err(TileDirError::Behind {
                    tiles: head.seq(),
                    ledger: end,
                });
            }
            Some(head) => {
                check_files(dir, head.tree.size)?;
                resume(dir, head)?
            }
            None => {
                check_empty(dir)?;
                TreeWriter::new()
            }
        };
        // The last event that they have comes once more, to be compared.
        let width = TILE_WIDTH as u64;
        let begin = writer.size().0.saturating_sub(1) / width * width;
        Ok(Self {
            dir: dir.to_owned(),
            ledger,
            head,
            known: usize::try_from(writer.size().0 - begin).unwrap_or(0),
            writer,
            next: Seq(begin + 1),
            last: Hash::ZERO,
            bundle: Vec::new(),
            leaves: Vec::new(),
            partial: BTreeMap::new(),
            pending: Vec::new(),
            files: 0,
        })
    }

    /// The first event that it needs: where the bundle with the last that it has begins.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// Takes the next event and its hash in the chain.
    ///
    /// # Errors
    /// [`TileDirError`].
    pub fn push(&mut self, seq: Seq, event: &[u8], hash: Hash) -> Result<(), TileDirError> {
        if seq != self.next {
            return Err(TileDirError::Order {
                expected: self.next,
                found: seq,
            });
        }
        if let Some(head) = self
            .head
            .filter(|head| head.seq() == seq && head.chain != hash)
        {
            return Err(TileDirError::Forked {
                seq,
                theirs: head.chain,
                ours: hash,
            });
        }
        self.next = seq.next();
        self.last = hash;
        self.bundle.push(event.to_vec());
        if self.bundle.len() == TILE_WIDTH {
            self.write_bundle()?;
            self.bundle.clear();
            self.leaves.clear();
            self.known = 0;
        }
        Ok(())
    }

    /// Writes what is left and the head, which `sign` makes a signed note of.
    ///
    /// # Errors
    /// [`TileDirError`], or that of `sign`.
    pub fn finish<E: From<TileDirError>>(
        mut self,
        sign: impl FnOnce(&TreeHead) -> Result<SignedNote, E>,
    ) -> Result<Grown, E> {
        let before = self.head.map_or(TreeSize(0), |head| head.tree.size);
        if self.next <= before.last() {
            // Whoever opened it said that there are more.
            return Err(E::from(TileDirError::Order {
                expected: before.last(),
                found: Seq(self.next.0 - 1),
            }));
        }
        if !self.bundle.is_empty() {
            self.write_bundle()?;
        }
        for row in std::mem::take(&mut self.partial).into_values() {
            self.write_row(&row)?;
        }
        self.sync()?;
        let tree = self.writer.root();
        if tree.size > before {
            let head = TreeHead {
                ledger: self.ledger,
                tree,
                chain: self.last,
            };
            let note = sign(&head)?.to_string();
            let path = self.dir.join(CHECKPOINT_FILE);
            files::publish(&path, note.as_bytes()).map_err(at(&path))?;
            self.remove_outgrown(before, tree.size)?;
        }
        Ok(Grown {
            before,
            tree,
            files: self.files,
        })
    }

    /// Puts the bundle that there is into files, and its new leaves into the tree.
    fn write_bundle(&mut self) -> Result<(), TileDirError> {
        self.leaves.clear();
        leaf_hashes(self.bundle.iter().map(Vec::as_slice), &mut self.leaves);
        let new = self.leaves.get(self.known..).unwrap_or_default().to_vec();
        for row in self.writer.append(&new) {
            if row.is_full() {
                self.partial.remove(&row.level);
                self.write_row(&row)?;
            } else {
                self.partial.insert(row.level, row);
            }
        }
        let size = self.writer.size();
        let index = (size.0 - 1) / TILE_WIDTH as u64;
        let tile = TileRow {
            level: 0,
            index,
            hashes: self.leaves.clone(),
        };
        self.write_row(&tile)?;
        let bytes = entry_bundle(self.bundle.iter().map(Vec::as_slice))
            .map_err(|e| damaged(&self.dir, e))?;
        self.put(TileId::at(TileKind::Entries, index, size), &bytes)
    }

    fn write_row(&mut self, row: &TileRow) -> Result<(), TileDirError> {
        let id = TileId::at(TileKind::Hashes(row.level), row.index, self.writer.size());
        self.put(id, &row.to_bytes())
    }

    fn put(&mut self, id: Option<TileId>, bytes: &[u8]) -> Result<(), TileDirError> {
        let Some(id) = id else {
            return Err(damaged(&self.dir, "a tile lies outside of the tree"));
        };
        let path = self.dir.join(id.to_string());
        match fs::read(&path) {
            // Left by an export that was interrupted, or there since the last.
            Ok(found) if found == bytes => return Ok(()),
            Ok(_) => return Err(damaged(&path, "it holds something else")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(at(&path)(e)),
        }
        let parent = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(parent).map_err(at(parent))?;
        let new = self.dir.join(format!(".new-{}", self.pending.len()));
        fs::write(&new, bytes).map_err(at(&new))?;
        self.pending.push((new, path));
        self.files += 1;
        if self.pending.len() == SYNC_AT {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), TileDirError> {
        let mut parents = BTreeSet::new();
        for (new, path) in std::mem::take(&mut self.pending) {
            File::open(&new)
                .and_then(|file| file.sync_all())
                .and_then(|()| fs::rename(&new, &path))
                .map_err(at(&path))?;
            // New directories have to last as well, up to the top.
            let above = path.ancestors().skip(1);
            parents.extend(
                above
                    .take_while(|dir| dir.starts_with(&self.dir))
                    .map(Path::to_path_buf),
            );
        }
        parents
            .iter()
            .try_for_each(|dir| files::sync_dir(dir).map_err(at(dir)))
    }

    /// Partial tiles whose full ones are there are of no more use.
    fn remove_outgrown(&self, before: TreeSize, now: TreeSize) -> Result<(), TileDirError> {
        let kinds = (0..8).map(TileKind::Hashes).chain([TileKind::Entries]);
        for kind in kinds {
            let count = match kind {
                TileKind::Hashes(level) => before.0.checked_shr(u32::from(level) * 8).unwrap_or(0),
                TileKind::Entries => before.0,
            };
            let index = count / TILE_WIDTH as u64;
            let full =
                TileId::at(kind, index, now).filter(|id| usize::from(id.width()) == TILE_WIDTH);
            let Some(full) = full else { continue };
            let outgrown = self.dir.join(format!("{full}.p"));
            match fs::remove_dir_all(&outgrown) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(at(&outgrown)(e)),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Only what an export that was interrupted has left may be in a directory without a checkpoint.
fn check_empty(dir: &Path) -> Result<(), TileDirError> {
    for entry in fs::read_dir(dir).map_err(at(dir))? {
        let name = entry.map_err(at(dir))?.file_name();
        let known = name
            .to_str()
            .is_some_and(|name| name == "tile" || name.starts_with(".new-"));
        if !known {
            return Err(TileDirError::Foreign(dir.to_owned()));
        }
    }
    Ok(())
}

fn read_head(path: &Path) -> Result<TreeHead, TileDirError> {
    let bytes = fs::read(path).map_err(at(path))?;
    if bytes.len() > MAX_NOTE {
        return Err(damaged(path, "it is too long"));
    }
    let note = SignedNote::parse(&bytes).map_err(|e| damaged(path, e))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|e| damaged(path, e))?;
    TreeHead::of_checkpoint(&checkpoint).map_err(|e| damaged(path, e))
}

/// Every file of a tree of this size is there, and as long as it has to be. What is in those that
/// nothing is built upon is for verifiers to hash.
fn check_files(dir: &Path, size: TreeSize) -> Result<(), TileDirError> {
    let width = TILE_WIDTH as u64;
    let levels = (0..8).map(|level| (TileKind::Hashes(level), u32::from(level) * 8));
    for (kind, shift) in levels.chain([(TileKind::Entries, 0)]) {
        let count = size.0.checked_shr(shift).unwrap_or(0);
        for index in 0..count.div_ceil(width) {
            let Some(id) = TileId::at(kind, index, size) else {
                continue;
            };
            let path = dir.join(id.to_string());
            let bytes = fs::read(&path).map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => damaged(&path, "it is missing"),
                _ => at(&path)(e),
            })?;
            let (held, whole) = match kind {
                TileKind::Hashes(_) => (bytes.len() / 32, bytes.len() % 32 == 0),
                TileKind::Entries => entries(&bytes),
            };
            if !whole || held != usize::from(id.width()) {
                let reason = format!("it is cut off or too long: it should hold {}", id.width());
                return Err(damaged(&path, reason));
            }
        }
    }
    Ok(())
}

/// How many entries a bundle holds, and whether it ends with one.
fn entries(mut bundle: &[u8]) -> (usize, bool) {
    let mut held = 0;
    while let Some((len, rest)) = bundle.split_first_chunk::<2>() {
        let Some(rest) = rest.get(usize::from(u16::from_be_bytes(*len))..) else {
            return (held, false);
        };
        bundle = rest;
        held += 1;
    }
    (held, bundle.is_empty())
}

/// The tree that the files hold, which must be the one that the checkpoint states.
fn resume(dir: &Path, head: TreeHead) -> Result<TreeWriter, TileDirError> {
    let files = TileFiles {
        dir,
        size: head.tree.size,
    };
    let writer = TreeWriter::resume(&files, head.tree.size).map_err(|e| damaged(dir, e))?;
    if writer.root() == head.tree {
        Ok(writer)
    } else {
        Err(damaged(
            dir,
            "its tiles have another root than its checkpoint",
        ))
    }
}

/// The tiles of a tree as files.
struct TileFiles<'a> {
    dir: &'a Path,
    size: TreeSize,
}

impl TileFiles<'_> {
    fn hashes(&self, level: u8, range: Range<u64>) -> Result<Vec<TreeHash>, io::Error> {
        let width = TILE_WIDTH as u64;
        let id = TileId::at(TileKind::Hashes(level), range.start / width, self.size);
        let id = id.ok_or_else(|| io::Error::other("a tile lies outside of the tree"))?;
        let path = self.dir.join(id.to_string());
        let bytes = fs::read(&path)
            .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        let row = TileRow::parse(&bytes).map_err(io::Error::other)?;
        let first = usize::try_from(range.start % width).unwrap_or(0);
        let count = usize::try_from(range.end - range.start).unwrap_or(0);
        // What is not there shows in the number of hashes.
        let end = (first + count).min(row.len());
        Ok(row.get(first..end).unwrap_or_default().to_vec())
    }
}

impl TreeSource for TileFiles<'_> {
    type Error = io::Error;

    fn leaf_hashes(&self, range: Range<u64>) -> Result<Vec<TreeHash>, io::Error> {
        self.hashes(0, range)
    }

    fn stored_hashes(&self, level: u8, range: Range<u64>) -> Result<Vec<TreeHash>, io::Error> {
        self.hashes(level, range)
    }
}
