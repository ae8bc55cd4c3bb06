//! What a verification found, as data.

use std::fmt;

use serde::Serialize;

use crate::chain::Head;
use crate::hash::Hash;
use crate::ids::{LedgerId, Seq};
use crate::store::BlockFault;

/// More findings than these are only counted.
const MAX_FINDINGS: usize = 1000;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything agrees.
    Intact,
    /// Something does not; see the findings.
    Damaged,
}

/// Where something was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In a block.
    Block {
        /// The seq that the block begins with.
        first: Seq,
        /// Offset of the fault in the event (or of the frame in the block), where it is known.
        at: Option<usize>,
    },
    /// In the store as a whole.
    Store,
    /// In what the store says of its own end.
    Head,
    /// In the file `head`.
    HeadFile,
    /// In a head known from elsewhere.
    Known,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It can't be read at all.
    Unreadable,
    /// A block's header or frames are malformed.
    Frame,
    /// A block stands in another's place, or blocks are missing before it.
    Missing,
    /// An event's bytes are not an event.
    Encoding,
    /// An event stands at another's seq.
    Position,
    /// A term went down, or is 0 behind the first event.
    Term,
    /// Time ran backwards.
    Time,
    /// A block does not follow from the one before it.
    Link,
    /// Events do not hash to what their block says.
    Hash,
    /// The first event is not this ledger's `ledger.created`.
    Genesis,
    /// The ledger ends before a seq that it had.
    Cut,
    /// An event is not the one that it was.
    Replaced,
    /// The head file is missing or damaged.
    HeadFile,
    /// A file is of another ledger.
    OtherLedger,
    /// The store's own pages are damaged.
    Structure,
    /// The store's count of bytes is wrong.
    Bytes,
    /// The Merkle tree that the store keeps is not the one over its events.
    Tree,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Unreadable => "it can't be read",
            Self::Frame => "a block is malformed",
            Self::Missing => "events are missing, or blocks out of place",
            Self::Encoding => "these bytes are not an event",
            Self::Position => "an event stands in the place of another",
            Self::Term => "the term is not one that may follow",
            Self::Time => "time runs backwards",
            Self::Link => "the chain is broken between two blocks",
            Self::Hash => "the events are not those that were hashed",
            Self::Genesis => "the first event is not this ledger's creation",
            Self::Cut => "acknowledged events are missing at the end",
            Self::Replaced => "the event is not the one that was acknowledged",
            Self::HeadFile => "the head file is missing or damaged",
            Self::OtherLedger => "a file belongs to another ledger",
            Self::Structure => "the store's pages are damaged",
            Self::Bytes => "the store's count of bytes is wrong",
            Self::Tree => "the stored Merkle tree is not that of the events",
        })
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The event it concerns, where there is one.
    pub seq: Option<Seq>,
    /// Where.
    pub place: Place,
    /// What.
    pub what: What,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(seq) = self.seq {
            write!(f, "seq {seq}: ")?;
        }
        write!(f, "{}", self.what)?;
        // These say themselves where, and what should be there.
        if let What::Unreadable | What::HeadFile | What::Structure = self.what {
            return write!(f, ": {}", self.found);
        }
        match self.place {
            Place::Block { first, at: None } => write!(f, " (block {first})")?,
            Place::Block {
                first,
                at: Some(at),
            } => write!(f, " (block {first}, byte {at})")?,
            Place::Store => f.write_str(" (store)")?,
            Place::Head => f.write_str(" (the store's head)")?,
            Place::HeadFile => f.write_str(" (head file)")?,
            Place::Known => f.write_str(" (known head)")?,
        }
        write!(f, ": expected {}, found {}", self.expected, self.found)
    }
}

impl Finding {
    /// A block's fault as a finding.
    pub(super) fn of_block(first: Seq, fault: BlockFault) -> Self {
        let (seq, at, what, expected, found) = match fault {
            BlockFault::Length(at) => (
                first,
                Some(at),
                What::Frame,
                "frames that fill the block".to_owned(),
                "frames that don't".to_owned(),
            ),
            BlockFault::Header => (
                first,
                Some(0),
                What::Frame,
                "a sound block header".to_owned(),
                "a malformed one".to_owned(),
            ),
            BlockFault::Place { expected, found } => (
                expected,
                None,
                What::Missing,
                format!("a block that begins with seq {expected}"),
                format!("seq {found}"),
            ),
            BlockFault::Event { seq, error } => (
                seq,
                Some(error.at),
                What::Encoding,
                "an event".to_owned(),
                error.what.to_string(),
            ),
            BlockFault::Seq { expected, found } => (
                expected,
                None,
                What::Position,
                format!("seq {expected}"),
                format!("seq {found}"),
            ),
            BlockFault::Term { seq, before, found } => (
                seq,
                None,
                What::Term,
                format!("term {before} or later"),
                format!("term {found}"),
            ),
            BlockFault::Time { seq } => (
                seq,
                None,
                What::Time,
                "a time not before the last event's".to_owned(),
                "an earlier one".to_owned(),
            ),
            BlockFault::Edge {
                seq,
                expected,
                found,
            } => (
                seq,
                None,
                What::Link,
                format!("prev hash {expected}"),
                found.to_string(),
            ),
            BlockFault::Chain {
                seq,
                expected,
                found,
            } => (
                seq,
                None,
                What::Hash,
                expected.to_string(),
                found.to_string(),
            ),
        };
        Self {
            seq: Some(seq),
            place: Place::Block { first, at },
            what,
            expected,
            found,
        }
    }

    /// An event that is not there, or not that one.
    pub(super) fn of_known(
        place: Place,
        seq: Seq,
        expected: Hash,
        found: Result<Hash, Seq>,
    ) -> Self {
        let (what, expected, found) = match found {
            Ok(found) => (What::Replaced, expected.to_string(), found.to_string()),
            Err(end) => (
                What::Cut,
                format!("events up to seq {seq}"),
                format!("an end at seq {end}"),
            ),
        };
        Self {
            seq: Some(seq),
            place,
            what,
            expected,
            found,
        }
    }

    pub(super) fn unreadable(text: &str) -> Self {
        Self {
            seq: None,
            place: Place::Store,
            what: What::Unreadable,
            expected: "a store that can be read".into(),
            found: text.into(),
        }
    }
}

/// The outcome of a verification.
#[derive(Debug, Clone)]
pub struct Report {
    /// Which ledger, where it could be told.
    pub ledger_id: Option<LedgerId>,
    /// Whether all agrees.
    pub verdict: Verdict,
    /// The last event that was read, sound or not.
    pub head: Head,
    /// How many events were read.
    pub events: u64,
    /// How many blocks.
    pub blocks: u64,
    /// Bytes of the encoded events.
    pub bytes: u64,
    /// What was found, in order of seq as far as there is one; the first thousand.
    pub findings: Vec<Finding>,
    /// How many findings there are in all.
    pub found: u64,
}

impl Report {
    pub(super) fn new(ledger_id: Option<LedgerId>) -> Self {
        Self {
            ledger_id,
            verdict: Verdict::Intact,
            head: Head::EMPTY,
            events: 0,
            blocks: 0,
            bytes: 0,
            findings: Vec::new(),
            found: 0,
        }
    }

    pub(super) fn unreadable(ledger_id: LedgerId, text: &str) -> Self {
        let mut report = Self::new(Some(ledger_id));
        report.add(Finding::unreadable(text));
        report
    }

    /// The report on a store that could not even be opened, for the reason given.
    pub fn unopened(text: &str) -> Self {
        let mut report = Self::new(None);
        report.add(Finding::unreadable(text));
        report
    }

    /// Whether nothing was found.
    pub fn is_intact(&self) -> bool {
        self.verdict == Verdict::Intact
    }

    /// Adds a finding; the verdict follows.
    pub fn add(&mut self, finding: Finding) {
        self.verdict = Verdict::Damaged;
        self.found += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}
