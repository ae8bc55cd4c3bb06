//! Reading a ledger that no node has open, without changing a byte of it: redb through an overlay,
//! and the journal as it lies there.

use std::path::Path;

use super::reader::join;
use super::tail::Tail;
use super::{JOURNAL_DIR, Settings, open_journal, or_gone};
use crate::chain::Head;
use crate::ids::{LedgerId, Seq};
use crate::merkle::TreeRoot;
use crate::store::journal::{Recovered, SegmentDir, recover, segment_name};
use crate::store::redb::{self, HeadFile, HeadFileFault, check_head_file};
use crate::store::{Blocks, LogReader, LogTree, Offline, OpenError, ReadError};

/// A ledger's files, opened for reading alone.
#[derive(Debug)]
pub struct OfflineReader {
    sealed: redb::OfflineReader,
    tail: Tail,
    /// Why what can be read is not all of the ledger, if it isn't.
    missing: Option<String>,
}

impl OfflineReader {
    /// Opens the ledger in `dir` for reading. Does not fail over the head file, nor over a journal
    /// that stops making sense; see [`OfflineReader::check_head`].
    ///
    /// # Errors
    /// [`OpenError::InUse`] while a node has it open, else as opening for writing.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let files = open_journal(dir)?;
        let sealed = redb::OfflineReader::open(dir).map_err(|e| or_gone(e, dir, &files))?;
        Self::over(sealed, &files)
    }

    /// Reads the journal in `files` behind the sealed events.
    pub(super) fn over(
        sealed: redb::OfflineReader,
        files: &dyn SegmentDir,
    ) -> Result<Self, OpenError> {
        let recovered = recover(files, sealed.ledger_id(), sealed.sealed().head);
        let undisturbed = || sealed.check_undisturbed().map_err(|_| OpenError::InUse);
        let recovered = recovered.map_err(|error| undisturbed().err().unwrap_or(error))?;
        let tail = Tail::new(sealed.sealed(), &recovered.batches, Settings::default());
        let known = sealed.head_file().map_or(Seq::ZERO, |said| said.seq);
        let missing = missing(&recovered, tail.head(), known);
        if missing.is_some() {
            // A node that has started since uses segments again.
            undisturbed()?;
        }
        Ok(Self {
            missing,
            tail,
            sealed,
        })
    }

    /// Whether the ledger reaches as far as it is known to.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] if acknowledged events are missing, or the head file is.
    pub fn check_head(&self) -> Result<(), OpenError> {
        if let Some(missing) = &self.missing {
            return Err(OpenError::Damaged(missing.clone()));
        }
        check_head_file(self, self.head_file())
    }
}

impl LogReader for OfflineReader {
    fn ledger_id(&self) -> LedgerId {
        self.sealed.ledger_id()
    }

    fn head(&self) -> Result<Head, ReadError> {
        match &self.missing {
            None => Ok(self.tail.head()),
            Some(missing) => Err(ReadError::Damaged(missing.clone())),
        }
    }

    fn blocks(&self, from: Seq) -> Result<Blocks<'_>, ReadError> {
        let sealed = self.sealed.blocks(from)?;
        let found = join(sealed, self.tail.snapshot(|_| ()).0, from);
        let missing = self.missing.iter();
        let end = missing.map(|missing| Err(ReadError::Damaged(missing.clone())));
        Ok(Box::new(found.chain(end)))
    }

    fn tree(&self) -> Result<LogTree<'_>, ReadError> {
        // An end that is missing is an error here as well.
        self.head()?;
        let (snapshot, ()) = self.tail.snapshot(|_| ());
        let mut tree = self.sealed.tree_of(snapshot.sealed.head)?;
        snapshot.grow(&mut tree);
        Ok(tree)
    }
}

/// Why a ledger that ends at `head` is not all there, in words for people.
fn missing(recovered: &Recovered, head: Head, known: Seq) -> Option<String> {
    if let Some(fault) = &recovered.fault {
        return Some(fault.to_string());
    }
    let next = head.seq.next();
    let place = match recovered.end {
        // In a journal, damage looks like an end.
        Some((segment, at)) => format!(
            "no sound frame in {JOURNAL_DIR}/{} at byte {at}",
            segment_name(segment)
        ),
        None => format!("no segment of {JOURNAL_DIR}/ holds any"),
    };
    (known > head.seq).then(|| {
        format!("acknowledged events are missing from seq {next} on, up to seq {known}: {place}")
    })
}

impl Offline for OfflineReader {
    fn head_file(&self) -> Result<HeadFile, HeadFileFault> {
        self.sealed.head_file()
    }

    fn end(&self) -> Result<Head, ReadError> {
        Ok(self.tail.head())
    }

    fn event_bytes(&self) -> u64 {
        self.tail.snapshot(|_| ()).0.head.event_bytes
    }

    fn stored_tree(&self) -> Option<TreeRoot> {
        self.sealed.stored_tree()
    }

    fn tree_row(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, ReadError> {
        self.sealed.tree_row(level, index)
    }

    fn check_structure(&self) -> Result<(), ReadError> {
        self.sealed.check_structure()
    }

    fn check_undisturbed(&self) -> Result<(), ReadError> {
        self.sealed.check_undisturbed()
    }
}
