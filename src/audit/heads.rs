//! Signed heads of a ledger, and proofs under them: made by the node and by the command line, which
//! so say the same.

use ledger_core::ids::Seq;
use ledger_core::merkle::{LeafIndex, ProveError, TreeHash, TreeSize};
use ledger_core::proof::{InclusionProof, ProofTextError};
use ledger_core::store::{LogReader, ReadError};
use ledger_core::tree_head::{SignedNote, SignerKey};

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum NoProof {
    /// The ledger has no such event.
    #[error("there is no seq {seq}: the ledger ends at seq {head}")]
    Event {
        /// What was asked for.
        seq: Seq,
        /// Where it ends.
        head: Seq,
    },
    /// The ledger never was so large.
    #[error("a head of {asked} events can't be of this ledger, which has {has}")]
    Size {
        /// How many were claimed.
        asked: TreeSize,
        /// How many there are.
        has: TreeSize,
    },
    /// What the store keeps of the tree does not fit together.
    #[error("the Merkle tree can't be read: {0}")]
    Tree(ProveError<ReadError>),
    /// The proof could not be read back.
    #[error(transparent)]
    Text(#[from] ProofTextError),
    /// The ledger can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<ProveError<ReadError>> for NoProof {
    fn from(error: ProveError<ReadError>) -> Self {
        match error {
            ProveError::Source(error) => Self::Read(error),
            other => Self::Tree(other),
        }
    }
}

/// How a ledger has grown from a head to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// The hashes of the consistency proof.
    pub hashes: Vec<TreeHash>,
    /// The newer head.
    pub head: SignedNote,
}

/// The head of a ledger as it is now, signed.
///
/// # Errors
/// [`ReadError`] if the ledger can't be read.
pub fn sign(reader: &dyn LogReader, key: &SignerKey) -> Result<SignedNote, ReadError> {
    Ok(reader.tree()?.head(reader.ledger_id()).sign(key))
}

/// A proof, with everything needed to check it, that an event is in the ledger as it is now.
///
/// # Errors
/// [`NoProof`]
pub fn prove(reader: &dyn LogReader, key: &SignerKey, seq: Seq) -> Result<InclusionProof, NoProof> {
    let tree = reader.tree()?;
    let head = tree.head(reader.ledger_id());
    let index = LeafIndex::of(seq).filter(|index| index.0 < head.tree.size.0);
    let index = index.ok_or(NoProof::Event {
        seq,
        head: head.seq(),
    })?;
    let hashes = tree.inclusion(index, head.tree.size)?;
    let event = event(reader, seq)?;
    Ok(InclusionProof::new(
        index,
        hashes,
        Some(event),
        head.sign(key),
    )?)
}

/// Proves that the ledger has grown out of what it was when it had `size` events.
///
/// # Errors
/// [`NoProof`]
pub fn growth(reader: &dyn LogReader, key: &SignerKey, size: TreeSize) -> Result<Growth, NoProof> {
    let tree = reader.tree()?;
    let head = tree.head(reader.ledger_id());
    let has = head.tree.size;
    if size > has {
        return Err(NoProof::Size { asked: size, has });
    }
    let hashes = tree.consistency(size, has)?;
    Ok(Growth {
        hashes,
        head: head.sign(key),
    })
}

/// The stored bytes of an event that is there.
fn event(reader: &dyn LogReader, seq: Seq) -> Result<Vec<u8>, ReadError> {
    let gone = || ReadError::Damaged(format!("seq {seq} is not in its block"));
    let block = reader.blocks(seq)?.next().transpose()?.ok_or_else(gone)?;
    let place = seq.0.checked_sub(block.first().0);
    let place = place.and_then(|place| usize::try_from(place).ok());
    let bytes = place.and_then(|place| block.iter().nth(place));
    Ok(bytes.ok_or_else(gone)?.to_vec())
}
