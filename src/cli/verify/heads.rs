//! The heads that a ledger is held against: read, believed or not, and judged.
//!
//! A file that holds no head is a mistake of whoever named it. A head that is not this ledger's, that
//! nobody who is trusted has signed, or that the ledger does not extend is a finding.

use std::path::Path;

use ledger_core::ids::{LedgerId, Seq};
use ledger_core::merkle::TreeSize;
use ledger_core::store::LogReader;
use ledger_core::time::Timestamp;
use ledger_core::tree_head::{Checkpoint, Cosigned, SignedNote, TreeHead, Trust, VerifierKey};
use ledger_core::verify::{AnchorFault, AnchorFold};
use serde::Serialize;

use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::error::Failure;
use crate::cli::trust::{OwnKey, own_key, read_note, untrusted, verifier_key};

/// What was asked for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct HeadArgs {
    /// Check too that the history extends the signed head in this file, or `-`; may be repeated
    #[arg(long, value_name = "HEAD|-")]
    against: Vec<String>,
    /// Believe heads that this key has signed: a verifier key, or a file that holds it; may be
    /// repeated [default: the ledger's own key]
    #[arg(long, value_name = "KEY", requires = "against")]
    key: Vec<String>,
    /// Say whether this witness has cosigned: its verifier key, or a file that holds it; may be
    /// repeated
    #[arg(long, value_name = "KEY", requires = "against")]
    witness: Vec<String>,
    /// Believe heads only if so many of the witnesses have cosigned
    #[arg(long, value_name = "N", requires = "witness", default_value_t = 0)]
    quorum: usize,
}

/// A head from a file.
struct Given {
    file: String,
    note: SignedNote,
    /// What it says, whoever signed it.
    claimed: TreeHead,
}

/// The heads, before anything was read of the ledger.
pub(crate) struct Heads {
    given: Vec<Given>,
    keys: Vec<VerifierKey>,
    witnesses: Vec<VerifierKey>,
    quorum: usize,
}

impl Heads {
    /// Reads the files that were named.
    ///
    /// # Errors
    /// [`Failure`] if one holds something else.
    pub(crate) fn read(args: &HeadArgs) -> Result<Self, Failure> {
        let keys = |named: &[String]| -> Result<Vec<_>, Failure> {
            named.iter().map(|key| verifier_key(key)).collect()
        };
        let heads = Self {
            given: args
                .against
                .iter()
                .map(|file| read_head(file))
                .collect::<Result<_, _>>()?,
            keys: keys(&args.key)?,
            witnesses: keys(&args.witness)?,
            quorum: args.quorum,
        };
        // Keys of the wrong kind and a quorum that can't be reached are mistakes too.
        heads.trust(heads.keys.clone()).map_err(|e| *e)?;
        Ok(heads)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    fn trust(&self, keys: Vec<VerifierKey>) -> Result<Trust, Box<ApiError>> {
        let trust = Trust::new(keys, self.witnesses.clone(), self.quorum);
        trust.map_err(|e| Box::new(untrusted(&e)))
    }

    /// Says which heads are believed.
    ///
    /// # Errors
    /// [`Failure`] if it is not said whom to believe.
    pub(crate) fn believe(
        self,
        data_dir: &Path,
        reader: &dyn LogReader,
    ) -> Result<Vec<Believed>, Failure> {
        let keys = match self.keys.as_slice() {
            [] if !self.is_empty() => match own_key(data_dir, reader)? {
                OwnKey::Fits(key) => Ok(vec![key]),
                OwnKey::Foreign(why) => Err(why),
            },
            keys => Ok(keys.to_vec()),
        };
        let trust = match keys {
            Ok(keys) => Ok(self.trust(keys).map_err(|e| *e)?),
            Err(why) => Err(why),
        };
        let judge = |given: Given| Believed::of(given, reader.ledger_id(), &trust);
        Ok(self.given.into_iter().map(judge).collect())
    }
}

fn read_head(file: &str) -> Result<Given, Failure> {
    let note = read_note(file)?;
    let no_head = |why: &dyn std::fmt::Display| {
        ApiError::new(
            ErrorCode::Usage,
            format!("{file} does not hold the head of a ledger"),
        )
        .because(why)
        .hint("`ledger head > FILE` makes one")
    };
    let checkpoint = Checkpoint::parse(note.text()).map_err(|e| no_head(&e))?;
    let claimed = TreeHead::of_checkpoint(&checkpoint).map_err(|e| no_head(&e))?;
    Ok(Given {
        file: file.to_owned(),
        note,
        claimed,
    })
}

/// A head, and why it is not believed if it isn't.
pub(crate) struct Believed {
    file: String,
    head: TreeHead,
    cosigned: Vec<Cosigned>,
    fault: Option<HeadFault>,
}

impl Believed {
    fn of(given: Given, ledger: LedgerId, trust: &Result<Trust, String>) -> Self {
        let mut believed = Self {
            file: given.file,
            head: given.claimed,
            cosigned: Vec::new(),
            fault: None,
        };
        let head = given.claimed.ledger;
        if head != ledger {
            // Whoever signed it: it is no head of this ledger, and need not be opened.
            let other = AnchorFault::OtherLedger { head, ledger };
            believed.fault = Some(HeadFault::Anchor(other));
            return believed;
        }
        match trust {
            Err(why) => believed.fault = Some(HeadFault::Untrusted(why.clone())),
            Ok(trust) => match trust.open(&given.note) {
                Ok(opened) => believed.cosigned = opened.cosigned,
                Err(error) => believed.fault = Some(HeadFault::Untrusted(error.to_string())),
            },
        }
        believed
    }

    /// At which size the ledger's root is needed, if at any.
    pub(crate) fn wants(&self) -> Option<TreeSize> {
        self.fault.is_none().then_some(self.head.tree.size)
    }

    /// Holds it against the ledger that was folded.
    pub(crate) fn judge(mut self, fold: &AnchorFold) -> Judged {
        if self.fault.is_none() {
            self.fault = fold.check(&self.head).err().map(HeadFault::Anchor);
        }
        let cosigned = self.cosigned.into_iter().map(|by| Witness {
            witness: by.witness.to_string(),
            at: Timestamp(by.at.0.saturating_mul(1_000_000)).min(Timestamp::MAX),
        });
        Judged {
            file: self.file,
            ledger_id: self.head.ledger,
            seq: self.head.seq(),
            root: self.head.tree.hash.to_string(),
            cosigned: cosigned.collect(),
            fault: self.fault.map(|fault| Fault {
                what: fault.what(),
                message: fault.to_string(),
            }),
        }
    }
}

/// Why a ledger is not anchored by a head.
#[derive(Debug, thiserror::Error)]
enum HeadFault {
    #[error("the head is not to be believed: {0}")]
    Untrusted(String),
    #[error(transparent)]
    Anchor(AnchorFault),
}

impl HeadFault {
    fn what(&self) -> &'static str {
        match self {
            Self::Untrusted(_) => "untrusted",
            Self::Anchor(AnchorFault::OtherLedger { .. }) => "other_ledger",
            Self::Anchor(AnchorFault::RolledBack { .. }) => "rolled_back",
            Self::Anchor(AnchorFault::Replaced { .. }) => "replaced",
            Self::Anchor(AnchorFault::Chain { .. }) => "chain",
        }
    }
}

/// What came of a head, for people and programs.
#[derive(Debug, Serialize)]
pub(crate) struct Judged {
    /// Where it was read.
    pub(crate) file: String,
    ledger_id: LedgerId,
    /// The last event that it covers.
    pub(crate) seq: Seq,
    root: String,
    /// The witnesses whose keys were given and who have cosigned it.
    pub(crate) cosigned: Vec<Witness>,
    /// Why the ledger is not anchored by it.
    pub(crate) fault: Option<Fault>,
}

/// A witness's word.
#[derive(Debug, Serialize)]
pub(crate) struct Witness {
    pub(crate) witness: String,
    pub(crate) at: Timestamp,
}

/// What is wrong.
#[derive(Debug, Serialize)]
pub(crate) struct Fault {
    what: &'static str,
    pub(crate) message: String,
}
