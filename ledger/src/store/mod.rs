//! Stores: where the events live. One contract, several implementations, one conformance suite
//! that each must pass.
//!
//! - [`LogWriter::append`] is atomic and durable when it returns, and the only place where terms
//!   and the expected head are checked: a writer that was superseded cannot write.
//! - [`LogReader`] reads at any time, from any thread, only what is durable.
//! - The unit of reading is the [`Block`]: events in order with the chain hash at both edges, so
//!   that blocks can be checked in parallel.

mod block;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod durable;
pub(crate) mod journal;
pub mod memory;
pub mod redb;
#[cfg(any(test, feature = "conformance"))]
pub mod samples;
mod scan;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
mod stream;
mod tree;

pub use block::{BLOCK_CAP, BLOCK_HEADER, Block, BlockFault, BlockIter, Checked, Edge, pack};
pub use scan::{ChainWalk, for_each_event};
pub use stream::{MAX_BLOCK, read_block, write_block};
pub use tree::LogTree;

use std::path::PathBuf;

use crate::chain::{Batch, Head};
use crate::ids::{LedgerId, Seq, Term};
use crate::merkle::TreeRoot;

/// Why an append was refused or failed. Nothing of the batch was acknowledged. After a refusal
/// nothing of it is in the store; after [`AppendError::Full`] and [`AppendError::Io`] the writer
/// must be dropped, and the store opened anew tells whether the whole batch is in it or nothing.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A later term has written: this writer no longer leads.
    #[error("fenced: the ledger is in term {store}, this writer in term {writer}")]
    Fenced {
        /// Highest term in the store.
        store: Term,
        /// The batch's term.
        writer: Term,
    },
    /// The batch does not follow the store's head.
    #[error(
        "the batch follows seq {batch}, but the ledger ends at seq {store}, or its hash differs"
    )]
    HeadMismatch {
        /// Where the store ends.
        store: Seq,
        /// What the batch follows.
        batch: Seq,
    },
    /// The batch belongs to another ledger.
    #[error("the batch belongs to another ledger")]
    OtherLedger,
    /// The disk is full.
    #[error("the disk is full")]
    Full(#[source] std::io::Error),
    /// The disk failed, or the store's files did.
    #[error("the store could not be written: {0}")]
    Io(#[source] std::io::Error),
}

/// Why reading stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system failed.
    #[error("the store could not be read: {0}")]
    Io(#[source] std::io::Error),
    /// What was read is not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// A block is not what it should be.
    #[error("the block at seq {seq} is damaged: {fault}")]
    Block {
        /// First seq of the block.
        seq: Seq,
        /// What is wrong with it.
        fault: BlockFault,
    },
}

/// Why a store could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no ledger.
    #[error("there is no ledger in {0}")]
    Missing(PathBuf),
    /// There is one already.
    #[error("there is a ledger in {0} already")]
    Exists(PathBuf),
    /// Another process has it open.
    #[error("another process has the ledger open")]
    InUse,
    /// Made by newer software.
    #[error("the store has layout {found}; this binary knows layouts up to {known}")]
    Newer {
        /// What the store says.
        found: u32,
        /// What this code knows.
        known: u32,
    },
    /// The file system refused.
    #[error("{what}: {error}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        error: std::io::Error,
    },
    /// Not a store, or a damaged one.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The store is not there, and other parts of a ledger are.
    #[error("{STORE_FILE} is gone from {dir}, and {left} is still there", STORE_FILE = redb::STORE_FILE)]
    Gone {
        /// Where it should be.
        dir: PathBuf,
        /// What is left, in words.
        left: &'static str,
    },
}

impl OpenError {
    /// What is wrong with the files themselves, if that is why.
    pub fn damage(&self) -> Option<String> {
        match self {
            Self::Damaged(what) => Some(what.clone()),
            Self::Gone { .. } => Some(self.to_string()),
            Self::Missing(_)
            | Self::Exists(_)
            | Self::InUse
            | Self::Newer { .. }
            | Self::Io { .. } => None,
        }
    }
}

/// Reading failed while a store was being opened: a disk that fails is not a damaged store.
impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => Self::Io {
                what: "reading the store".into(),
                error,
            },
            ReadError::Damaged(what) => Self::Damaged(what),
            other @ ReadError::Block { .. } => Self::Damaged(other.to_string()),
        }
    }
}

/// Appends to one ledger; there is at most one.
pub trait LogWriter: Send {
    /// Which ledger this is.
    fn ledger_id(&self) -> LedgerId;

    /// Where it ends.
    fn head(&self) -> Head;

    /// Appends a batch as one: when this returns, all of it is on disk.
    ///
    /// # Errors
    /// [`AppendError`]; nothing of the batch was acknowledged.
    fn append(&mut self, batch: &Batch) -> Result<Head, AppendError>;
}

/// The iterator that [`LogReader::blocks`] returns.
pub type Blocks<'a> = Box<dyn Iterator<Item = Result<Block, ReadError>> + Send + 'a>;

/// Reads one ledger's durable events.
pub trait LogReader: Send + Sync {
    /// Which ledger this is.
    fn ledger_id(&self) -> LedgerId;

    /// Where it ends.
    ///
    /// # Errors
    /// [`ReadError`] if the store can't be read.
    fn head(&self) -> Result<Head, ReadError>;

    /// The blocks that hold `from` and everything after it, in order, as of the moment of the
    /// call. The first may begin before `from`. Blocks are structurally sound; their hashes are
    /// checked by whoever reads them ([`Block::check`]).
    ///
    /// # Errors
    /// [`ReadError`] if the store can't be read.
    fn blocks(&self, from: Seq) -> Result<Blocks<'_>, ReadError>;

    /// The Merkle tree over all events that are there now. A store that keeps the tree's rows
    /// answers without reading its events; this reads all of them.
    ///
    /// # Errors
    /// [`ReadError`] if the store can't be read.
    fn tree(&self) -> Result<LogTree<'_>, ReadError> {
        LogTree::of_blocks(self.blocks(Seq::FIRST)?)
    }
}

/// A ledger's files, opened for reading alone: what verification needs beside the events.
pub trait Offline: LogReader {
    /// What the head file says.
    ///
    /// # Errors
    /// [`redb::HeadFileFault`] if it is missing or damaged.
    fn head_file(&self) -> Result<redb::HeadFile, redb::HeadFileFault>;

    /// Where what can be read ends. [`LogReader::head`] is an error instead if that is known not to
    /// be all of the ledger, and [`LogReader::blocks`] ends with one.
    ///
    /// # Errors
    /// [`ReadError`] if nothing can be read.
    fn end(&self) -> Result<Head, ReadError>;

    /// Bytes of all encoded events together, as the store counts them.
    fn event_bytes(&self) -> u64;

    /// The tree that the store says it keeps, which covers the sealed events; nothing if its layout
    /// has none.
    fn stored_tree(&self) -> Option<TreeRoot>;

    /// A row of that tree as it is stored, if it is there.
    ///
    /// # Errors
    /// [`ReadError`] if it can't be read.
    fn tree_row(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, ReadError>;

    /// Checks the store's own structures, which the chain does not cover.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] with what was found.
    fn check_structure(&self) -> Result<(), ReadError>;

    /// Whether the files are still those that were opened.
    ///
    /// # Errors
    /// [`ReadError::Io`] if a node has opened the ledger since.
    fn check_undisturbed(&self) -> Result<(), ReadError>;
}
