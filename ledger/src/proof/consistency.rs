//! That a ledger has only grown from one head to another.
//!
//! ```text
//! opsledger/consistency-proof@v1
//! AmgAwRobsJ/naXPZtnhlnkGSOtYyKFlL7PEWtDKm5SQ=
//! …                                    as RFC 6962 orders them
//!
//! the older head: a signed note
//!
//! the newer head: a signed note
//! ```
//! There is no specification of such a file; this one is made like a tlog-proof, so that what
//! can read the one needs little more for the other. A head's text has no empty lines, so the
//! heads can be told apart.

use std::fmt;

use super::{
    Lines, ProofError, ProofTextError, check_hashes, check_head, parse_note, write_hashes,
};
use crate::merkle::{TreeHash, check_consistency};
use crate::tree_head::{SignedNote, Trust, TrustedHead};

/// First line of the file.
pub const CONSISTENCY_HEADER: &str = "opsledger/consistency-proof@v1";

/// Proves that a ledger with one head has grown to one with another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    hashes: Vec<TreeHash>,
    old: SignedNote,
    new: SignedNote,
}

/// What a consistency proof has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenGrowth {
    /// What the ledger was.
    pub old: TrustedHead,
    /// What it has become.
    pub new: TrustedHead,
}

impl ConsistencyProof {
    /// A proof that [`crate::merkle::consistency`] made for the sizes of the heads.
    ///
    /// # Errors
    /// [`ProofTextError`] if the proof could not be read back.
    pub fn new(
        hashes: Vec<TreeHash>,
        old: SignedNote,
        new: SignedNote,
    ) -> Result<Self, ProofTextError> {
        check_hashes(&hashes)?;
        check_head(&old)?;
        check_head(&new)?;
        Ok(Self { hashes, old, new })
    }

    /// The hashes, in the order of RFC 6962.
    pub fn hashes(&self) -> &[TreeHash] {
        &self.hashes
    }

    /// The older head, as it was signed.
    pub fn old(&self) -> &SignedNote {
        &self.old
    }

    /// The newer head, as it was signed.
    pub fn new_head(&self) -> &SignedNote {
        &self.new
    }

    /// Reads a proof; takes exactly what is printed.
    ///
    /// # Errors
    /// [`ProofTextError`] if the bytes are not a proof of this kind.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofTextError> {
        let lines = Lines::begin(bytes, CONSISTENCY_HEADER)?;
        let (hashes, heads) = lines.hashes()?;
        // Text, signatures, text, signatures.
        let middle = heads.match_indices("\n\n").nth(1);
        let (middle, _) = middle.ok_or(ProofTextError::Heads)?;
        let (old, new) = (&heads[..=middle], &heads[middle + 2..]);
        Self::new(hashes, parse_note(old)?, parse_note(new)?)
    }

    /// Checks the proof.
    ///
    /// # Errors
    /// [`ProofError`] if it does not show that one ledger, which is to be believed, has only grown
    /// from the older head to the newer.
    pub fn check(&self, trust: &Trust) -> Result<ProvenGrowth, ProofError> {
        let old = trust.open(&self.old)?;
        let new = trust.open(&self.new)?;
        if old.head.ledger != new.head.ledger {
            return Err(ProofError::Ledgers);
        }
        check_consistency(&old.head.tree, &new.head.tree, &self.hashes)?;
        if old.head.tree == new.head.tree && old.head.chain != new.head.chain {
            return Err(ProofError::Chains);
        }
        Ok(ProvenGrowth { old, new })
    }
}

impl fmt::Display for ConsistencyProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{CONSISTENCY_HEADER}")?;
        write_hashes(f, &self.hashes)?;
        write!(f, "{}\n{}", self.old, self.new)
    }
}
