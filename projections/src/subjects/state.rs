//! Where subjects stand.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use ledger_core::ids::Seq;

/// How many subjects are remembered at most.
pub const REMEMBERED: usize = 1_000_000;

/// Where a subject stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// No application has recorded anything about it.
    New,
    /// The last event that one has.
    At(Seq),
}

impl From<Seq> for Version {
    /// As numbers have it: 0 for a subject without events.
    fn from(seq: Seq) -> Self {
        match seq {
            Seq(0) => Self::New,
            seq => Self::At(seq),
        }
    }
}

impl From<Version> for Seq {
    fn from(version: Version) -> Self {
        match version {
            Version::New => Self(0),
            Version::At(seq) => seq,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New => f.pad("new"),
            Self::At(seq) => fmt::Display::fmt(seq, f),
        }
    }
}

/// A text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a version is the seq of a subject's last event, or `new`")]
pub struct VersionError;

impl FromStr for Version {
    type Err = VersionError;
    fn from_str(text: &str) -> Result<Self, VersionError> {
        match text {
            "new" => Ok(Self::New),
            number => match number.parse() {
                Ok(0) | Err(_) => Err(VersionError),
                Ok(seq) => Ok(Self::At(Seq(seq))),
            },
        }
    }
}

/// A subject is not among those that are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// If there are events about it, the last of them stands here or before.
    pub by: Seq,
}

/// The versions of the subjects that changed last.
///
/// Invariant: every version is above `forgotten`; no two are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    /// Looked up and counted; walked only for rows, which are sorted, and to forget, which asks for
    /// each alone.
    // tidy: allow(hash-order) — see above: no order of it can be seen
    pub(super) versions: HashMap<Box<str>, Seq>,
    /// The highest version that was forgotten; 0 if none was.
    pub(super) forgotten: Seq,
    /// [`REMEMBERED`], fewer in tests.
    pub(super) capacity: usize,
}

impl Default for Subjects {
    fn default() -> Self {
        Self::with_capacity(REMEMBERED)
    }
}

impl Subjects {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            versions: Default::default(),
            forgotten: Seq(0),
            capacity,
        }
    }

    /// The version of a subject.
    ///
    /// # Errors
    /// [`Forgotten`] if it is not remembered and may have been.
    pub fn version(&self, subject: &str) -> Result<Version, Forgotten> {
        match self.versions.get(subject) {
            Some(seq) => Ok(Version::At(*seq)),
            None if self.forgotten == Seq(0) => Ok(Version::New),
            None => Err(Forgotten { by: self.forgotten }),
        }
    }

    /// How many subjects are remembered.
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    /// Whether no subject is remembered.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// An event about a subject.
    pub(super) fn advance(&mut self, subject: &str, seq: Seq) {
        if let Some(version) = self.versions.get_mut(subject) {
            *version = seq;
            return;
        }
        self.versions.insert(subject.into(), seq);
        if self.versions.len() > self.capacity {
            self.forget();
        }
    }

    /// Forgets those that have not changed for longest: one beyond the capacity and an eighth of it.
    fn forget(&mut self) {
        let excess = self.versions.len() - self.capacity + self.capacity / 8;
        let mut seqs: Vec<Seq> = self.versions.values().copied().collect();
        let (_, last, _) = seqs.select_nth_unstable(excess - 1);
        let last = *last;
        self.versions.retain(|_, seq| *seq > last);
        self.forgotten = last;
    }
}
