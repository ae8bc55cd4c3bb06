//! Checking blobs: each that an event names is there, has the size that was said, and hashes right.
//! Findings are data; nothing is repaired. What no event names is not looked at.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::io::Read as _;

use serde::Serialize;

use super::BlobError;
use super::named::each_named;
use super::read::{BlobDir, of_reading};
use super::reference::BlobRef;
use crate::hash::Hash;
use crate::ids::Seq;
use crate::store::{LogReader, ReadError};

/// Findings beyond these are counted and not listed.
pub const MAX_FINDINGS: usize = 100;

/// What is wrong with a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum BlobFault {
    /// It is not there.
    Missing,
    /// It is longer or shorter than the event says.
    Size {
        /// What the event says.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// Its bytes have another hash than its name.
    Hash {
        /// Their hash.
        found: Hash,
    },
    /// It can't be read.
    Unreadable {
        /// Why.
        error: String,
    },
}

/// A blob that is not what an event says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlobFinding {
    /// The event that names it; the first, if several say the same of it.
    pub seq: Seq,
    /// The blob.
    pub digest: Hash,
    /// What is wrong.
    #[serde(flatten)]
    pub fault: BlobFault,
}

impl fmt::Display for BlobFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "seq {} names blob {}: {}",
            self.seq, self.digest, self.fault
        )
    }
}

impl fmt::Display for BlobFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it is missing"),
            Self::Size { expected, found } => {
                write!(f, "expected {expected} bytes, found {found}")
            }
            Self::Hash { found } => write!(f, "its bytes have the hash {found}"),
            Self::Unreadable { error } => write!(f, "it can't be read: {error}"),
        }
    }
}

/// What a check has found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BlobReport {
    /// Different blobs that were checked.
    pub blobs: u64,
    /// Bytes that were hashed.
    pub bytes: u64,
    /// The first findings, in the order of the events.
    pub findings: Vec<BlobFinding>,
    /// All findings.
    pub found: u64,
}

impl BlobReport {
    /// Whether every blob is there as it was named.
    pub fn is_intact(&self) -> bool {
        self.found == 0
    }
}

/// Checks every blob that an event of the ledger names; `progress` is told the bytes hashed so far.
/// Memory is bounded by the number of different blobs, not by their size.
///
/// # Errors
/// [`ReadError`] if the events can't be read. What is wrong with blobs is a finding.
pub fn verify(
    reader: &dyn LogReader,
    blobs: &BlobDir,
    progress: &dyn Fn(u64),
) -> Result<BlobReport, ReadError> {
    let head = reader.head()?.seq;
    let mut check = Check {
        blobs,
        progress,
        known: HashMap::new(),
        told: HashSet::new(),
        report: BlobReport::default(),
        buffer: vec![0; 64 * 1024],
    };
    each_named(reader, Seq::FIRST..=head, &mut |seq, named| {
        check.take(seq, &named);
    })?;
    Ok(check.report)
}

/// What is known of a blob's bytes: how many they are, or what is wrong with them.
pub(super) type Known = Result<u64, BlobFault>;

struct Check<'a> {
    blobs: &'a BlobDir,
    progress: &'a dyn Fn(u64),
    /// Each is read once.
    known: HashMap<Hash, Known>,
    /// What was said of them and found wrong.
    told: HashSet<(Hash, u64)>,
    report: BlobReport,
    buffer: Vec<u8>,
}

impl Check<'_> {
    fn take(&mut self, seq: Seq, named: &BlobRef) {
        let digest = named.blake3;
        if !self.known.contains_key(&digest) {
            let known = self.read(digest);
            self.report.blobs += 1;
            self.known.insert(digest, known);
        }
        let fault = match &self.known[&digest] {
            Ok(found) if *found == named.bytes => return,
            Ok(found) => BlobFault::Size {
                expected: named.bytes,
                found: *found,
            },
            Err(fault) => fault.clone(),
        };
        if !self.told.insert((digest, named.bytes)) {
            return;
        }
        self.report.found += 1;
        if self.report.findings.len() < MAX_FINDINGS {
            self.report
                .findings
                .push(BlobFinding { seq, digest, fault });
        }
    }

    fn read(&mut self, digest: Hash) -> Known {
        let (report, progress) = (&mut self.report, self.progress);
        let read = read_whole(self.blobs, digest, &mut self.buffer, &mut |bytes| {
            report.bytes += bytes.len() as u64;
            progress(report.bytes);
            Ok::<(), Infallible>(())
        });
        match read {
            Ok(known) => known,
            Err(never) => match never {},
        }
    }
}

/// Checks one blob: how many bytes it has, or what is wrong with it.
///
/// # Errors
/// [`BlobFault`].
pub fn check(
    blobs: &BlobDir,
    digest: Hash,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, BlobFault> {
    let mut buffer = vec![0; 64 * 1024];
    let read = read_whole(blobs, digest, &mut buffer, &mut |bytes| {
        progress(bytes.len() as u64);
        Ok::<(), Infallible>(())
    });
    match read {
        Ok(known) => known,
        Err(never) => match never {},
    }
}

/// Reads a blob to its end, and shows its bytes to `each`. Whether they were right is known at the end.
///
/// # Errors
/// What `each` says.
pub(super) fn read_whole<E>(
    blobs: &BlobDir,
    digest: Hash,
    buffer: &mut [u8],
    each: &mut dyn FnMut(&[u8]) -> Result<(), E>,
) -> Result<Known, E> {
    let fault = |error: BlobError| match error {
        BlobError::Missing(_) => BlobFault::Missing,
        BlobError::Damaged { found, .. } => BlobFault::Hash { found },
        other => BlobFault::Unreadable {
            error: other.to_string(),
        },
    };
    let mut blob = match blobs.read(digest) {
        Ok(blob) => blob,
        Err(error) => return Ok(Err(fault(error))),
    };
    let mut bytes = 0;
    loop {
        match blob.read(buffer) {
            Ok(0) => return Ok(Ok(bytes)),
            Ok(count) => {
                bytes += count as u64;
                each(&buffer[..count])?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Err(fault(of_reading(error)))),
        }
    }
}
