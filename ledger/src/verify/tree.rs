//! The tree that the store keeps: is it the one over the events?
//!
//! ```text
//! workers: leaf hashes of each block ──> fold: the tree grows, and gives the rows that should be stored
//! ```
//! Each row is compared when it is full, those that are not at the end, and then the root. Events
//! that are not sealed yet are in no row and are passed over. Memory does not grow with the ledger.

use std::collections::BTreeMap;

use super::examine::Examine;
use super::report::{Finding, Place, What};
use crate::envelope::EventRef;
use crate::merkle::{TileRow, TreeHash, TreeRoot, TreeSize, TreeWriter, leaf_hashes};
use crate::store::{Block, Offline};

/// Hashes leaves, in any order of blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct TreeExaminer {
    /// How many of them the store's tree has.
    sealed: TreeSize,
}

impl Examine for TreeExaminer {
    type Notes = Vec<TreeHash>;

    fn event(&self, _: &EventRef<'_>, _: &mut Vec<TreeHash>) {}

    fn block(&self, block: &Block, notes: &mut Vec<TreeHash>) {
        let wanted = (self.sealed.0 + 1).saturating_sub(block.first().0);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        leaf_hashes(block.iter().take(wanted), notes);
    }
}

/// Holds what the store keeps against the tree that grows from the notes.
pub(super) struct TreeCheck<'r> {
    reader: &'r dyn Offline,
    said: Option<TreeRoot>,
    writer: TreeWriter,
    /// The last row of each level, while it is not full.
    open: BTreeMap<u8, TileRow>,
    /// The first row that is wrong. What is above it would be, too.
    fault: Option<Finding>,
}

/// Begins to check the tree of a store, if it keeps one.
pub(super) fn check(reader: &dyn Offline) -> (TreeExaminer, TreeCheck<'_>) {
    let said = reader.stored_tree();
    let sealed = said.map_or(TreeSize::ZERO, |root| root.size);
    let check = TreeCheck {
        reader,
        said,
        writer: TreeWriter::new(),
        open: BTreeMap::new(),
        fault: None,
    };
    (TreeExaminer { sealed }, check)
}

impl TreeCheck<'_> {
    /// Takes the leaves of the next block.
    pub(super) fn fold(&mut self, leaves: &[TreeHash]) {
        if self.fault.is_some() {
            return;
        }
        for row in self.writer.append(leaves) {
            if row.is_full() {
                self.open.remove(&row.level);
                self.compare(&row);
            } else {
                self.open.insert(row.level, row);
            }
        }
    }

    /// What is wrong with the stored tree. To be asked if all events were folded.
    pub(super) fn end(mut self) -> Option<Finding> {
        let said = self.said?;
        for row in std::mem::take(&mut self.open).into_values() {
            self.compare(&row);
        }
        let root = self.writer.root();
        if self.fault.is_none() && root != said {
            self.fault = Some(finding(
                format!("root {} over {} events", root.hash, root.size),
                format!("root {} over {} events", said.hash, said.size),
            ));
        }
        self.fault
    }

    fn compare(&mut self, row: &TileRow) {
        if self.fault.is_some() {
            return;
        }
        let stored = match self.reader.tree_row(row.level, row.index) {
            Ok(Some(bytes)) if bytes == row.to_bytes() => return,
            Ok(Some(_)) => "other hashes".to_owned(),
            Ok(None) => "nothing".to_owned(),
            Err(error) => error.to_string(),
        };
        let (level, index, count) = (row.level, row.index, row.hashes.len());
        self.fault = Some(finding(
            format!("{count} hashes in row {index} of level {level}"),
            stored,
        ));
    }
}

fn finding(expected: String, found: String) -> Finding {
    Finding {
        seq: None,
        place: Place::Store,
        what: What::Tree,
        expected,
        found,
    }
}
