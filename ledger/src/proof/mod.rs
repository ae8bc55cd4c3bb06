//! Proofs as files: everything that is needed to check them, without a ledger and without a
//! network, but for the key that one believes.
//!
//! | what | form | says |
//! |---|---|---|
//! | [`InclusionProof`] | C2SP tlog-proof, version 1 | this event is in the ledger, at this place |
//! | [`ConsistencyProof`] | of this project, alike | the ledger with the one head has grown to that with the other |
//!
//! Both carry their heads as signed notes. What a proof says of itself is believed no more than
//! the hashes bear out: the event's place follows from the path to the root, the root is the
//! head's, and the head is signed. Parsers take exactly what is printed, within limits, and never
//! panic.

mod consistency;
mod inclusion;

use std::fmt;

pub use consistency::{CONSISTENCY_HEADER, ConsistencyProof, ProvenGrowth};
pub use inclusion::{INCLUSION_HEADER, InclusionProof, ProvenEvent};

use crate::codec::{DecodeError, MAX_EVENT};
use crate::ids::Seq;
use crate::merkle::{ProofFault, TreeHash};
use crate::tree_head::{MAX_NOTE, NoteError, SignedNote, TrustError};

/// Most hashes of a proof: no tree is higher.
pub const MAX_HASHES: usize = 64;
/// Longest proof, in bytes: two heads, or one and the longest event, with some to spare.
pub const MAX_PROOF: usize = 2 * MAX_NOTE + 2 * MAX_EVENT;

/// Why bytes are not a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofTextError {
    /// It is too long.
    #[error("a proof is at most {MAX_PROOF} bytes long, not {0}")]
    Long(usize),
    /// It is not text.
    #[error("a proof is UTF-8")]
    Text,
    /// It is something else.
    #[error("a proof begins with `{INCLUSION_HEADER}` or `{CONSISTENCY_HEADER}`")]
    Header,
    /// A line is missing or is not what belongs there.
    #[error("line {0} of the proof is not what belongs there")]
    Line(usize),
    /// It has too many hashes.
    #[error("a proof has at most {MAX_HASHES} hashes")]
    Hashes,
    /// The event is too long.
    #[error("an event is 1 to {MAX_EVENT} bytes long, not {0}")]
    Event(usize),
    /// There are not as many heads as there should be, or one has an empty line in its text.
    #[error("the proof does not end with its heads")]
    Heads,
    /// A head is malformed.
    #[error("the head in the proof is malformed: {0}")]
    Note(#[from] NoteError),
}

/// Why a proof is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// A head is not believed.
    #[error("the head is not to be believed: {0}")]
    Trust(#[from] TrustError),
    /// The hashes don't prove it.
    #[error(transparent)]
    Fault(#[from] ProofFault),
    /// The proof does not carry the event, and none was given.
    #[error("the proof does not carry its event, which is needed to check it")]
    NoEvent,
    /// What is in the tree there is not an event.
    #[error("what is proven is not an event: {0}")]
    Event(#[from] DecodeError),
    /// The event is one of another place.
    #[error("the event says it is seq {says}, but is at the place of seq {proven}")]
    Seq {
        /// What it says.
        says: Seq,
        /// Where it is.
        proven: Seq,
    },
    /// The heads are of two ledgers.
    #[error("the two heads are of different ledgers")]
    Ledgers,
    /// The heads agree on the tree but not on the chain.
    #[error("the two heads are of one size and one tree, but of different chains")]
    Chains,
}

/// A proof of either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// That an event is in a ledger.
    Inclusion(InclusionProof),
    /// That a ledger has only grown.
    Consistency(ConsistencyProof),
}

impl Proof {
    /// Reads a proof of either kind.
    ///
    /// # Errors
    /// [`ProofTextError`] if the bytes are neither.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofTextError> {
        let header = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
        if header == INCLUSION_HEADER.as_bytes() {
            InclusionProof::parse(bytes).map(Self::Inclusion)
        } else if header == CONSISTENCY_HEADER.as_bytes() {
            ConsistencyProof::parse(bytes).map(Self::Consistency)
        } else {
            Err(ProofTextError::Header)
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inclusion(proof) => proof.fmt(f),
            Self::Consistency(proof) => proof.fmt(f),
        }
    }
}

/// The lines of a proof, up to the heads.
struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Lines<'a> {
    /// The lines behind the first, which must be `header`.
    fn begin(bytes: &'a [u8], header: &str) -> Result<Self, ProofTextError> {
        if bytes.len() > MAX_PROOF {
            return Err(ProofTextError::Long(bytes.len()));
        }
        let rest = str::from_utf8(bytes).map_err(|_| ProofTextError::Text)?;
        let mut lines = Self { rest, number: 0 };
        match lines.next() {
            Ok(line) if line == header => Ok(lines),
            _ => Err(ProofTextError::Header),
        }
    }

    fn next(&mut self) -> Result<&'a str, ProofTextError> {
        self.number += 1;
        let (line, rest) = self.rest.split_once('\n').ok_or_else(|| self.bad())?;
        self.rest = rest;
        Ok(line)
    }

    /// The line that was looked at last is not what belongs there.
    fn bad(&self) -> ProofTextError {
        ProofTextError::Line(self.number)
    }

    /// The hashes up to an empty line, and what is behind it.
    fn hashes(mut self) -> Result<(Vec<TreeHash>, &'a str), ProofTextError> {
        let mut hashes = Vec::new();
        loop {
            match self.next()? {
                "" => return Ok((hashes, self.rest)),
                line => hashes.push(line.parse().map_err(|_| self.bad())?),
            }
        }
    }
}

fn check_hashes(hashes: &[TreeHash]) -> Result<(), ProofTextError> {
    match hashes.len() {
        0..=MAX_HASHES => Ok(()),
        _ => Err(ProofTextError::Hashes),
    }
}

/// A head's text has no empty lines: they divide a proof.
fn check_head(note: &SignedNote) -> Result<(), ProofTextError> {
    if note.text().starts_with('\n') || note.text().contains("\n\n") {
        return Err(ProofTextError::Heads);
    }
    Ok(())
}

fn write_hashes(f: &mut fmt::Formatter<'_>, hashes: &[TreeHash]) -> fmt::Result {
    hashes.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
    f.write_str("\n")
}

fn parse_note(text: &str) -> Result<SignedNote, ProofTextError> {
    Ok(SignedNote::parse(text.as_bytes())?)
}
