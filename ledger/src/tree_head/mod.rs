//! Signed tree heads: what a ledger commits itself to, in a form that others' software reads.
//!
//! A head is a C2SP checkpoint (`c2sp.org/tlog-checkpoint`) in a signed note
//! (`c2sp.org/signed-note`), signed with Ed25519; witnesses add timestamped cosignatures
//! (`c2sp.org/tlog-cosignature`).
//!
//! ```text
//! opsledger/01980000-0000-7000-8000-000000000001     origin: this ledger
//! 3                                                  its events, which is the last one's seq
//! lh2dwBeuEd2Fl1A5RZJrB6AJjQTyTUQTazZ9u1jgkDY=       root of the tree over them
//! chain 254d1882163442838c9fc80f380e6ddb2ece8299…    the last one's hash in the chain
//!
//! — opsledger/01980000-0000-7000-8000-000000000001 gahjaHdxDGyZhRf1SkUGkDsAvng…
//! ```
//!
//! Invariants:
//! - The `chain` line ties chain and tree together: whoever has a head can check a copy of the
//!   ledger by either, and a head that agrees with one of the two but not the other is a lie that
//!   its signature proves.
//! - A key's name is the origin of the ledger that it signs for. A signature by another name does
//!   not make a head, however good it is.
//! - A text is never looked at before a signature on it has been checked ([`Trust::open`]).
//! - What is read has one form: [`SignedNote::parse`], [`Checkpoint::parse`] and the keys' parsers
//!   take exactly what is printed, within limits, and never panic.

mod checkpoint;
mod key;
mod key_file;
mod note;
mod trust;

pub(crate) use checkpoint::decimal;
pub use checkpoint::{Checkpoint, CheckpointError, MAX_CHECKPOINT};
pub use key::{
    KeyError, KeyId, KeyName, MAX_KEY_NAME, SignatureKind, SignerKey, UnixSeconds, VerifierKey,
    holds_secret,
};
pub use key_file::{KEY_FILE_MODE, KeyFileError, create_key_file, read_key_file};
pub use note::{MAX_NOTE, MAX_SIGNATURES, NoteError, NoteSignature, SignedNote};
pub use trust::{Cosigned, Trust, TrustError, TrustedHead};

use crate::hash::Hash;
use crate::ids::{LedgerId, Seq};
use crate::merkle::TreeRoot;

/// What the origin of every ledger begins with; the ledger id follows.
pub const ORIGIN: &str = "opsledger/";
/// What the extension line with the chain hash begins with; 64 hex digits follow.
pub const CHAIN: &str = "chain ";

/// Where a ledger stands: its tree and its chain after the same event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// Which ledger.
    pub ledger: LedgerId,
    /// The tree over its events.
    pub tree: TreeRoot,
    /// The chain's hash of the last of them; zero if there are none.
    pub chain: Hash,
}

/// Why a checkpoint is not the head of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeHeadError {
    /// It is of something else.
    #[error("`{0}` is not the origin of a ledger: that is `{ORIGIN}` and a ledger id")]
    Origin(String),
    /// The chain hash is missing, doubled or malformed.
    #[error("the checkpoint has no line `{CHAIN}` with 64 hex digits, or several")]
    Chain,
}

impl TreeHead {
    /// The last event that it covers.
    pub fn seq(&self) -> Seq {
        self.tree.size.last()
    }

    /// The origin of a ledger's heads.
    pub fn origin(ledger: LedgerId) -> String {
        format!("{ORIGIN}{ledger}")
    }

    /// The name of the key that signs a ledger's heads: their origin.
    pub fn key_name(ledger: LedgerId) -> KeyName {
        KeyName::of_ledger(ledger)
    }

    /// As a checkpoint.
    pub fn checkpoint(&self) -> Checkpoint {
        let chain = format!("{CHAIN}{}", self.chain);
        Checkpoint::new(Self::origin(self.ledger), self.tree, vec![chain])
            .expect("origin and chain line are printable and short")
    }

    /// The head that a checkpoint states. Other extension lines than the chain's are let be, for
    /// those that come later.
    ///
    /// # Errors
    /// [`TreeHeadError`] if it is not the head of a ledger.
    pub fn of_checkpoint(checkpoint: &Checkpoint) -> Result<Self, TreeHeadError> {
        let origin = checkpoint.origin();
        let ledger = origin.strip_prefix(ORIGIN).and_then(|id| id.parse().ok());
        // Ids can be written in many ways, origins in one.
        let ledger: LedgerId = ledger
            .filter(|&ledger| Self::origin(ledger) == origin)
            .ok_or_else(|| TreeHeadError::Origin(origin.to_owned()))?;
        let mut chains = checkpoint
            .extensions()
            .iter()
            .filter_map(|line| line.strip_prefix(CHAIN));
        let (Some(chain), None) = (chains.next(), chains.next()) else {
            return Err(TreeHeadError::Chain);
        };
        let hash: Hash = chain.parse().map_err(|_| TreeHeadError::Chain)?;
        if hash.to_string() != chain {
            return Err(TreeHeadError::Chain);
        }
        Ok(Self {
            ledger,
            tree: checkpoint.tree(),
            chain: hash,
        })
    }

    /// Signs the head.
    pub fn sign(&self, key: &SignerKey) -> SignedNote {
        let text = self.checkpoint().to_string();
        let signature = key.sign(&text);
        SignedNote::new(text, signature).expect("a checkpoint is a note's text")
    }
}
