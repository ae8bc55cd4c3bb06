//! That an event is in a ledger: a C2SP tlog-proof that carries the event.
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra base64(the event's bytes)      may be left out; the event is then given beside it
//! index 41                             seq 42
//! bqiqBFvfeT+M3JQQ8tNDIRSk6O1PmT1WBe07D+8aoMY=
//! …                                    from the leaf's sibling up
//!
//! the head: a signed note
//! ```
//! The specification leaves `extra` to the application and says not to trust it. Nobody does: the
//! bytes are hashed, and the hash leads to the signed root or it does not.

use std::fmt;

use super::{
    Lines, ProofError, ProofTextError, check_hashes, check_head, parse_note, write_hashes,
};
use crate::base64;
use crate::codec::{MAX_EVENT, decode};
use crate::envelope::EventRef;
use crate::ids::Seq;
use crate::merkle::{LeafIndex, TreeHash, TreeSize, check_inclusion};
use crate::tree_head::{SignedNote, Trust, TrustedHead, decimal};

/// First line of the file.
pub const INCLUSION_HEADER: &str = "c2sp.org/tlog-proof@v1";

const EXTRA: &str = "extra ";
const INDEX: &str = "index ";

/// Proves that an event is in a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    index: LeafIndex,
    hashes: Vec<TreeHash>,
    event: Option<Vec<u8>>,
    head: SignedNote,
}

/// What an inclusion proof has shown.
#[derive(Debug, Clone)]
pub struct ProvenEvent<'a> {
    /// The head of the ledger that the event is in.
    pub head: TrustedHead,
    /// The event.
    pub event: EventRef<'a>,
}

impl InclusionProof {
    /// A proof that [`crate::merkle::inclusion`] made at the head's size. With the event it needs
    /// nothing beside it.
    ///
    /// # Errors
    /// [`ProofTextError`] if the proof could not be read back.
    pub fn new(
        index: LeafIndex,
        hashes: Vec<TreeHash>,
        event: Option<Vec<u8>>,
        head: SignedNote,
    ) -> Result<Self, ProofTextError> {
        check_hashes(&hashes)?;
        check_head(&head)?;
        if let Some(event) = &event {
            check_event(event)?;
        }
        Ok(Self {
            index,
            hashes,
            event,
            head,
        })
    }

    /// The place of the event.
    pub fn seq(&self) -> Seq {
        self.index.seq()
    }

    /// The event's bytes, if the proof carries them; not to be trusted before
    /// [`InclusionProof::check`].
    pub fn event(&self) -> Option<&[u8]> {
        self.event.as_deref()
    }

    /// The head, as it was signed.
    pub fn head(&self) -> &SignedNote {
        &self.head
    }

    /// Reads a proof; takes exactly what is printed.
    ///
    /// # Errors
    /// [`ProofTextError`] if the bytes are not a proof of this kind.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofTextError> {
        let mut lines = Lines::begin(bytes, INCLUSION_HEADER)?;
        let mut line = lines.next()?;
        let mut event = None;
        if let Some(extra) = line.strip_prefix(EXTRA) {
            event = Some(base64::decode(extra).ok_or_else(|| lines.bad())?);
            line = lines.next()?;
        }
        let index = line.strip_prefix(INDEX).and_then(decimal);
        let index = index.filter(|&index| index < TreeSize::MAX.0);
        let index = LeafIndex(index.ok_or_else(|| lines.bad())?);
        let (hashes, head) = lines.hashes()?;
        Self::new(index, hashes, event, parse_note(head)?)
    }

    /// Checks the proof with the event that it carries.
    ///
    /// # Errors
    /// [`ProofError`] if it does not show that the event is in a ledger that is to be believed.
    pub fn check(&self, trust: &Trust) -> Result<ProvenEvent<'_>, ProofError> {
        let event = self.event.as_deref().ok_or(ProofError::NoEvent)?;
        self.check_event(event, trust)
    }

    /// Checks the proof with an event from elsewhere.
    ///
    /// # Errors
    /// As [`InclusionProof::check`].
    pub fn check_event<'a>(
        &self,
        event: &'a [u8],
        trust: &Trust,
    ) -> Result<ProvenEvent<'a>, ProofError> {
        let head = trust.open(&self.head)?;
        let leaf = TreeHash::leaf(event);
        check_inclusion(&leaf, self.index, &head.head.tree, &self.hashes)?;
        let event = decode(event)?;
        let (says, proven) = (event.header.seq, self.seq());
        if says != proven {
            return Err(ProofError::Seq { says, proven });
        }
        Ok(ProvenEvent { head, event })
    }
}

fn check_event(event: &[u8]) -> Result<(), ProofTextError> {
    match event.len() {
        1..=MAX_EVENT => Ok(()),
        other => Err(ProofTextError::Event(other)),
    }
}

impl fmt::Display for InclusionProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{INCLUSION_HEADER}")?;
        if let Some(event) = &self.event {
            writeln!(f, "{EXTRA}{}", base64::encode(event))?;
        }
        writeln!(f, "{INDEX}{}", self.index)?;
        write_hashes(f, &self.hashes)?;
        write!(f, "{}", self.head)
    }
}
