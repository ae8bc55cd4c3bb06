//! A checkpoint's file.
//!
//! ```text
//! one line of JSON, padded with spaces to HEADER_LEN bytes: what it is of, and its parts
//! the parts of decision state, packed, one behind the other
//! ```
//! The header says nothing of the SHA-256 of the file: that stands in the ledger, where nobody changes it.
//! The parts' digests are those of their rows, so that they can be compared with views and other folds.

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use ledger_core::event::{CheckpointCause, CheckpointCreated, PartDigest};
use ledger_core::hash::{Hash, sha256_hex};
use ledger_core::ids::{Id, LedgerId, Seq, Term};
use ledger_core::time::Timestamp;
use projections::framework::{Fold, Position, RestoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::dir::read;
use crate::node::decision::Decision;

/// Layout of the file, packing of the parts included; apart from the parts' own versions.
pub(super) const FORMAT: u16 = 1;
/// Bytes of the first line, its line break included.
const HEADER_LEN: usize = 32 * 1024;
/// Longest extra state, in bytes of JSON.
pub const MAX_EXTRA: usize = 16 * 1024;

/// What a checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Layout of the file.
    pub format: u16,
    /// Its name.
    pub name: Id,
    /// Which ledger it is of.
    pub ledger_id: LedgerId,
    /// That ledger's name.
    pub system: String,
    /// When it was begun.
    pub made_at: Timestamp,
    /// Why it was made.
    pub cause: CheckpointCause,
    /// What made it.
    pub software: String,
    /// The last event in it.
    pub seq: Seq,
    /// Chain hash there.
    pub hash: Hash,
    /// Term there.
    pub term: Term,
    /// How many tasks are in each state.
    pub tasks: BTreeMap<String, u64>,
    /// What whoever asked for it wants kept with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Value>,
    /// Its parts, in the order in which they follow.
    pub parts: Vec<Part>,
}

/// A part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The projection that it is, its version and the digest of its rows.
    #[serde(flatten)]
    pub of: PartDigest,
    /// Bytes of it in the file.
    pub bytes: u64,
}

/// What is wrong with a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It is not there.
    #[error("its file is gone")]
    Missing,
    /// It can't be read or written.
    #[error("its file can't be used: {0}")]
    Io(#[from] io::Error),
    /// No event tells of it.
    #[error("no event tells of it: its making was interrupted, or it is of another history")]
    Unrecorded,
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It was written by another version.
    #[error("it has format {found}, this binary reads format {FORMAT}")]
    Format {
        /// What it says.
        found: u16,
    },
    /// Its rows can't be restored by this binary.
    #[error("it can't be restored: {0}")]
    Restore(#[from] RestoreError),
    /// It is of another ledger.
    #[error("it is of ledger {0}")]
    OtherLedger(LedgerId),
    /// It is not of this history.
    #[error("it is of another history: {0}")]
    OtherHistory(String),
    /// What was restored is not what was packed.
    #[error("what is restored of part {0} is not what was folded")]
    Digest(String),
}

/// Writes the state into a new file, and tells what it is.
///
/// # Errors
/// The system's; the extra state may also be too long.
pub(super) fn write(
    file: &mut (impl Write + Seek + ?Sized),
    mut header: Header,
    state: &Decision,
) -> io::Result<Header> {
    file.write_all(&[b' '; HEADER_LEN])?;
    header.parts.clear();
    state.pack(&mut |of, bytes| {
        header.parts.push(Part {
            of,
            bytes: bytes.len() as u64,
        });
        file.write_all(bytes)
    })?;
    file.seek(SeekFrom::Start(0))?;
    let mut line = serde_json::to_vec(&header)?;
    if line.len() >= HEADER_LEN {
        return Err(io::Error::other("its extra state is too long"));
    }
    line.resize(HEADER_LEN - 1, b' ');
    line.push(b'\n');
    file.write_all(&line)?;
    Ok(header)
}

/// The header of a file's bytes, and its parts.
pub(super) fn parse(bytes: &[u8]) -> Result<(Header, &[u8]), CheckpointError> {
    #[derive(Deserialize)]
    struct Format {
        format: u16,
    }
    let damaged = |e: serde_json::Error| CheckpointError::Damaged(format!("its first line: {e}"));
    let (line, rest) = bytes
        .split_at_checked(HEADER_LEN)
        .ok_or_else(|| CheckpointError::Damaged("it ends inside its first line".into()))?;
    let Format { format } = serde_json::from_slice(line).map_err(damaged)?;
    if format != FORMAT {
        return Err(CheckpointError::Format { found: format });
    }
    Ok((serde_json::from_slice(line).map_err(damaged)?, rest))
}

/// What a file's bytes say of themselves, and the state in them.
pub(super) fn restore(bytes: &[u8]) -> Result<(Header, Fold<Decision>), CheckpointError> {
    let (header, mut rest) = parse(bytes)?;
    let mut parts = BTreeMap::new();
    for part in &header.parts {
        let cut = || CheckpointError::Damaged(format!("its part {} is cut", part.of.name));
        let len = usize::try_from(part.bytes).map_err(|_| cut())?;
        let (bytes, behind) = rest.split_at_checked(len).ok_or_else(cut)?;
        parts.insert(part.of.name.as_str(), (part.of.version, bytes));
        rest = behind;
    }
    if !rest.is_empty() || parts.len() != header.parts.len() {
        return Err(CheckpointError::Damaged(
            "there is more than its parts".into(),
        ));
    }
    let state = Decision::unpack(&|name| parts.get(name).copied())?;
    let position = Position {
        seq: header.seq,
        hash: header.hash,
    };
    Ok((header, Fold::resume(state, position)))
}

/// A file that was held against the event that tells of it.
#[derive(Debug)]
pub struct Verified {
    /// What it says of itself.
    pub header: Header,
    /// The state in it.
    pub fold: Fold<Decision>,
}

/// Holds a checkpoint's bytes against what the ledger says of it: size, SHA-256, position. The hash is
/// computed beside the restoring; nothing is returned before both are done.
///
/// # Errors
/// [`CheckpointError`].
pub(super) fn load(
    bytes: &[u8],
    ledger: LedgerId,
    said: &CheckpointCreated,
) -> Result<Verified, CheckpointError> {
    if bytes.len() as u64 != said.bytes {
        let reason = format!("it has {} bytes, not {}", bytes.len(), said.bytes);
        return Err(CheckpointError::Damaged(reason));
    }
    let (found, restored) = std::thread::scope(|scope| {
        let hash = scope.spawn(|| sha256_hex(bytes));
        let restored = restore(bytes);
        (hash.join().unwrap_or_default(), restored)
    });
    // What damaged bytes lead to when they are restored says less than that they are.
    if found != said.sha256 {
        return Err(CheckpointError::Damaged(format!(
            "its SHA-256 is {found}, recorded was {}",
            said.sha256
        )));
    }
    let (header, fold) = restored?;
    if header.ledger_id != ledger {
        return Err(CheckpointError::OtherLedger(header.ledger_id));
    }
    if (header.seq, header.hash) != (said.seq, said.hash) {
        return Err(CheckpointError::OtherHistory(format!(
            "it stands for seq {}, recorded was seq {}",
            header.seq, said.seq
        )));
    }
    Ok(Verified { header, fold })
}

/// Holds a checkpoint against what the ledger says of it, as a recovery does, and what is restored against
/// the digests of what was folded: reads all of it.
///
/// # Errors
/// [`CheckpointError`].
pub fn verify(
    path: &Path,
    ledger: LedgerId,
    said: &CheckpointCreated,
) -> Result<Verified, CheckpointError> {
    let verified = load(&read(path, said.bytes)?, ledger, said)?;
    check_digests(&verified.header, verified.fold.state())?;
    Ok(verified)
}

/// Whether the rows of what was restored are those that were packed.
pub(super) fn check_digests(header: &Header, state: &Decision) -> Result<(), CheckpointError> {
    let found = state.part_digests();
    for (part, found) in header.parts.iter().zip(&found) {
        if part.of != *found {
            return Err(CheckpointError::Digest(found.name.clone()));
        }
    }
    if header.parts.len() != found.len() {
        return Err(CheckpointError::Damaged("a part is missing".into()));
    }
    Ok(())
}
