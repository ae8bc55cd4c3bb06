//! Whom to believe: the keys of logs, the keys of witnesses, and how many of those are enough.

use super::key::{KeyName, SignatureKind, Signed, UnixSeconds, VerifierKey};
use super::note::SignedNote;
use super::{Checkpoint, CheckpointError, TreeHead, TreeHeadError};

/// Keys that are believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Trust {
    logs: Vec<VerifierKey>,
    witnesses: Vec<VerifierKey>,
    quorum: usize,
}

/// Why a head is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// A key is of the wrong kind for what it should do.
    #[error("the key of {0} is of a kind that is for something else")]
    Kind(KeyName),
    /// More witnesses are asked for than are known.
    #[error("{quorum} witnesses are asked for, but {known} are known")]
    Quorum {
        /// How many are asked for.
        quorum: usize,
        /// How many are known.
        known: usize,
    },
    /// A signature is not by the key that it names.
    #[error("a signature says it is by {0}, and is not")]
    Forged(KeyName),
    /// No key that is believed has signed.
    #[error("it is not signed by a key that you trust; it names {named}")]
    Unsigned {
        /// The names of those that it says have signed it.
        named: String,
    },
    /// It is signed by one whose heads have another origin.
    #[error("it is signed by {signed}, but is of {origin}")]
    Origin {
        /// Who signed.
        signed: KeyName,
        /// What it is of.
        origin: String,
    },
    /// Too few witnesses have cosigned.
    #[error("{found} of the {needed} witnesses have cosigned")]
    Witnesses {
        /// How many are asked for.
        needed: usize,
        /// How many there are.
        found: usize,
    },
    /// What is signed is not a checkpoint.
    #[error("what is signed is not a checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// What is signed is not the head of a ledger.
    #[error(transparent)]
    Head(#[from] TreeHeadError),
}

/// A witness's word for a head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Whose.
    pub witness: KeyName,
    /// When.
    pub at: UnixSeconds,
}

/// A head that is believed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedHead {
    /// The head.
    pub head: TreeHead,
    /// The witnesses that cosigned it.
    pub cosigned: Vec<Cosigned>,
}

impl Trust {
    /// Believes what one of `logs` has signed and at least `quorum` of `witnesses` have cosigned.
    ///
    /// # Errors
    /// [`TrustError::Kind`] or [`TrustError::Quorum`] if that can never be.
    pub fn new(
        logs: Vec<VerifierKey>,
        witnesses: Vec<VerifierKey>,
        quorum: usize,
    ) -> Result<Self, TrustError> {
        let wrong = |keys: &[VerifierKey], kind| {
            let wrong = keys.iter().find(|key| key.kind() != kind);
            wrong.map_or(Ok(()), |key| Err(TrustError::Kind(key.name().clone())))
        };
        wrong(&logs, SignatureKind::Note)?;
        wrong(&witnesses, SignatureKind::Cosignature)?;
        // A key that was given twice is one witness.
        let mut known: Vec<VerifierKey> = Vec::new();
        for key in witnesses {
            if !known
                .iter()
                .any(|old| old.fingerprint() == key.fingerprint())
            {
                known.push(key);
            }
        }
        if quorum > known.len() {
            let known = known.len();
            return Err(TrustError::Quorum { quorum, known });
        }
        Ok(Self {
            logs,
            witnesses: known,
            quorum,
        })
    }

    /// Believes what a log has signed; no witness is asked for.
    ///
    /// # Errors
    /// [`TrustError::Kind`] if the key is a witness's.
    pub fn in_log(key: VerifierKey) -> Result<Self, TrustError> {
        Self::new(vec![key], Vec::new(), 0)
    }

    /// The head in a note, if it is to be believed. Signatures by keys that are not known are let
    /// be; one that names a known key and is not by it spoils the note.
    ///
    /// # Errors
    /// [`TrustError`]
    pub fn open(&self, note: &SignedNote) -> Result<TrustedHead, TrustError> {
        let mut signers = Vec::new();
        for key in &self.logs {
            if !signed_by(note, key)?.is_empty() {
                signers.push(key.name());
            }
        }
        let Some(first) = signers.first() else {
            let named = note.signatures().iter();
            let named: Vec<&str> = named.map(|by| by.name().as_str()).collect();
            return Err(TrustError::Unsigned {
                named: named.join(", "),
            });
        };
        let checkpoint = Checkpoint::parse(note.text())?;
        let origin = checkpoint.origin();
        if !signers.iter().any(|name| name.as_str() == origin) {
            return Err(TrustError::Origin {
                signed: (*first).clone(),
                origin: origin.to_owned(),
            });
        }
        let cosigned = self.cosigned(note)?;
        if cosigned.len() < self.quorum {
            return Err(TrustError::Witnesses {
                needed: self.quorum,
                found: cosigned.len(),
            });
        }
        let head = TreeHead::of_checkpoint(&checkpoint)?;
        Ok(TrustedHead { head, cosigned })
    }

    /// The witnesses that have cosigned, each with the latest of its times.
    fn cosigned(&self, note: &SignedNote) -> Result<Vec<Cosigned>, TrustError> {
        let mut cosigned = Vec::new();
        for key in &self.witnesses {
            let times = signed_by(note, key)?.into_iter();
            let latest = times.filter_map(|signed| match signed {
                Signed::At(time) => Some(time),
                Signed::Note => None,
            });
            if let Some(at) = latest.max() {
                let witness = key.name().clone();
                cosigned.push(Cosigned { witness, at });
            }
        }
        Ok(cosigned)
    }
}

fn signed_by(note: &SignedNote, key: &VerifierKey) -> Result<Vec<Signed>, TrustError> {
    let signed = note.signed_by(key);
    signed.ok_or_else(|| TrustError::Forged(key.name().clone()))
}
