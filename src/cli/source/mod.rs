//! Where events come from: the node, if one runs, or else the files. Both are a [`LogReader`], so
//! every command reads, checks and folds the same way, and says the same, with a node or without.
//!
//! A node found through its socket is not believed: the chain of what it sends is checked here.

pub(crate) mod follow;
mod node;
pub(crate) mod scan;

use std::path::Path;
use std::time::{Duration, Instant};

use ledger_core::store::durable::OfflineReader;
use ledger_core::store::{LogReader, OpenError};

pub(crate) use node::{Node, runtime};

use super::error::Failure;
use crate::api::wire::{ApiError, ErrorCode};

/// How long a node that holds the lock may take until it answers on its socket.
const STARTING: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// A ledger to read.
#[derive(Debug)]
pub(crate) enum Source {
    /// Through the node that has it open.
    Node(Box<Node>),
    /// From its files.
    Files(Box<OfflineReader>),
}

impl Source {
    /// Opens the ledger in a data directory for reading.
    ///
    /// # Errors
    /// [`Failure`]: there is none, it is damaged, or it is in use and nobody answers.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, Failure> {
        Ok(Self::try_open(data_dir)??)
    }

    /// As [`Source::open`], with what is wrong with the files themselves apart from all else.
    ///
    /// # Errors
    /// [`Failure`] if that can't even be told.
    pub(crate) fn try_open(data_dir: &Path) -> Result<Result<Self, OpenError>, Failure> {
        exists(data_dir)?;
        let deadline = Instant::now() + STARTING;
        loop {
            if let Some(node) = Node::find(data_dir)? {
                return Ok(Ok(Self::Node(Box::new(node))));
            }
            match OfflineReader::open(data_dir) {
                // Between taking the lock and listening, a node is neither.
                Err(OpenError::InUse) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                opened => return Ok(opened.map(|files| Self::Files(Box::new(files)))),
            }
        }
    }

    /// Refuses files that are not known to be all of the ledger: what is made of them would pass for it.
    /// A node has looked before it led.
    ///
    /// # Errors
    /// [`ErrorCode::Tampered`] if acknowledged events are missing, or nothing says how far they reach.
    pub(crate) fn require_whole(&self) -> Result<(), Failure> {
        match self {
            Self::Node(_) => Ok(()),
            Self::Files(files) => Ok(files.check_head()?),
        }
    }

    /// What to read with.
    pub(crate) fn reader(&self) -> &dyn LogReader {
        match self {
            Self::Node(node) => &**node,
            Self::Files(files) => &**files,
        }
    }
}

impl Node {
    /// The node that leads, for commands that change something.
    ///
    /// # Errors
    /// [`Failure`] that says how to start one if none runs.
    pub(crate) fn require(data_dir: &Path) -> Result<Self, Failure> {
        match Source::open(data_dir)? {
            Source::Node(node) => Ok(*node),
            Source::Files(_) => Err(ApiError::new(ErrorCode::Refused, "no node is running")
                .because("only a node may change the ledger, and none answers here")
                .hint("start one with `ledger up`")
                .into()),
        }
    }
}

fn exists(data_dir: &Path) -> Result<(), Failure> {
    match std::fs::metadata(data_dir) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(ApiError::new(
            ErrorCode::Failed,
            format!("{} can't be opened", data_dir.display()),
        )
        .because(e)
        .into()),
        Ok(_) | Err(_) => Err(OpenError::Missing(data_dir.to_owned()).into()),
    }
}
