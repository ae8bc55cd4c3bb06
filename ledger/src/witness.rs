//! Witnesses: whoever cosigns the heads of a log, each only if it has grown out of the one before.
//!
//! ```text
//! head ──> signed by the log? ──> grown out of the last one? ──> state on disk ──> cosigned head
//! ```
//! A cosignature says that the witness has never signed anything that contradicts it. That holds only
//! if it never forgets what it has signed, so:
//! - The state names its log and its witness, and holds the last head with both signatures on it: a
//!   state that was tampered with is found out, but for being exchanged for an older one.
//! - A new state is on disk before the cosignature leaves ([`WitnessState::replace`]).
//! - A state is made once, on purpose ([`WitnessState::create`]); one that is missing is never made
//!   anew in passing.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::merkle::{ProofFault, TreeHash, TreeSize, check_consistency};
use crate::tree_head::{
    Checkpoint, MAX_NOTE, NoteError, SignatureKind, SignedNote, SignerKey, Trust, TrustError,
    TrustedHead, UnixSeconds, VerifierKey,
};

/// First line of a state's file.
pub const STATE_HEADER: &str = "opsledger/witness-state@v1";

/// More than the largest state.
const MAX_STATE: u64 = MAX_NOTE as u64 + 4096;

/// Why a text is not a witness's state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// A line is missing, or another belongs there.
    #[error("line {0} of the state is not what belongs there")]
    Line(usize),
    /// A key is of a kind that is for something else.
    #[error("the key of {0} is of a kind that is for something else")]
    Kind(String),
    /// The head is malformed.
    #[error("the head in the state is malformed: {0}")]
    Note(#[from] NoteError),
    /// The head is not signed by the log and cosigned by the witness.
    #[error("the head in the state is not to be believed: {0}")]
    Head(#[from] TrustError),
}

/// Why a state can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateFileError {
    /// There is one already.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// There is none.
    #[error("there is no witness's state in {0}")]
    Missing(PathBuf),
    /// The file system refused.
    #[error("{path}: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        error: io::Error,
    },
    /// It holds something else.
    #[error("{path} does not hold a witness's state: {error}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: StateError,
    },
}

/// Why a head is not cosigned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not signed by the log, or is of another.
    #[error("it is not a head of the log that this witness watches: {0}")]
    Untrusted(#[from] TrustError),
    /// The log was larger before.
    #[error("the head has {head} events, and one of {last} was cosigned before")]
    Smaller {
        /// How large it is.
        head: TreeSize,
        /// How large the last one was.
        last: TreeSize,
    },
    /// There are two heads of one size.
    #[error("another head of {0} events was cosigned before")]
    Forked(TreeSize),
    /// It is not shown that the log has only grown.
    #[error(
        "it is not shown that the log has only grown since the head that was cosigned last: {0}"
    )]
    Inconsistent(ProofFault),
    /// The key is not that of the witness whose state this is.
    #[error("the key is of {key}, the state of {witness}")]
    Key {
        /// Whose the key is.
        key: String,
        /// Whose the state is.
        witness: String,
    },
    /// The note has no room.
    #[error("the head has no room for another signature: {0}")]
    Note(#[from] NoteError),
}

/// What a witness remembers of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessState {
    log: VerifierKey,
    witness: VerifierKey,
    last: Option<(SignedNote, TrustedHead)>,
}

impl WitnessState {
    /// A witness that has seen nothing yet.
    ///
    /// # Errors
    /// [`StateError::Kind`] if a key is for something else.
    pub fn new(log: VerifierKey, witness: VerifierKey) -> Result<Self, StateError> {
        for (key, kind) in [
            (&log, SignatureKind::Note),
            (&witness, SignatureKind::Cosignature),
        ] {
            if key.kind() != kind {
                return Err(StateError::Kind(key.name().to_string()));
            }
        }
        Ok(Self {
            log,
            witness,
            last: None,
        })
    }

    /// Whose heads it cosigns.
    pub fn log(&self) -> &VerifierKey {
        &self.log
    }

    /// Who cosigns.
    pub fn witness(&self) -> &VerifierKey {
        &self.witness
    }

    /// The last head that was cosigned, with all signatures.
    pub fn note(&self) -> Option<&SignedNote> {
        self.last.as_ref().map(|(note, _)| note)
    }

    /// What that head says.
    pub fn last(&self) -> Option<&TrustedHead> {
        self.last.as_ref().map(|(_, head)| head)
    }

    fn trust(&self, quorum: usize) -> Result<Trust, TrustError> {
        Trust::new(vec![self.log.clone()], vec![self.witness.clone()], quorum)
    }

    /// From which size to which it must be shown that the log has grown before this head is
    /// cosigned; nothing if it needs no showing.
    ///
    /// # Errors
    /// [`Refusal`] if it would not be cosigned whatever is shown.
    pub fn growth(&self, note: &SignedNote) -> Result<Option<(TreeSize, TreeSize)>, Refusal> {
        // Signatures of ours that it may carry already are of no interest.
        let head = Trust::in_log(self.log.clone())?.open(note)?.head;
        let Some(last) = self.last().map(|last| last.head) else {
            return Ok(None);
        };
        let (old, new) = (last.tree.size, head.tree.size);
        if new < old {
            return Err(Refusal::Smaller {
                head: new,
                last: old,
            });
        }
        if new == old {
            return if head == last {
                Ok(None)
            } else {
                Err(Refusal::Forked(new))
            };
        }
        Ok(Some((old, new)))
    }

    /// Cosigns a head: checks the log's signature, and with the hashes of a consistency proof that the
    /// log has only grown since the last one. Returns the state to be kept, whose note is the
    /// cosigned head, to be handed out once the state is on disk.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn cosign(
        &self,
        mut note: SignedNote,
        proof: &[TreeHash],
        key: &SignerKey,
        now: UnixSeconds,
    ) -> Result<Self, Refusal> {
        if key.witness_verifier() != self.witness {
            return Err(Refusal::Key {
                key: key.witness_verifier().to_string(),
                witness: self.witness.to_string(),
            });
        }
        let growth = self.growth(&note)?;
        let log = Trust::in_log(self.log.clone())?;
        let head = log.open(&note)?.head;
        if let (Some(_), Some(last)) = (growth, self.last()) {
            check_consistency(&last.head.tree, &head.tree, proof).map_err(Refusal::Inconsistent)?;
        }
        // A clock that was set back does not make the later cosignature look like the earlier one.
        let before = self.last().and_then(|last| last.cosigned.first());
        let at = before.map_or(now, |before| before.at.max(now));
        // Extension lines that came later are signed as they stand.
        let checkpoint = Checkpoint::parse(note.text()).map_err(TrustError::from)?;
        note.add(key.cosign(&checkpoint, at))?;
        let opened = self.trust(1)?.open(&note)?;
        Ok(Self {
            last: Some((note, opened)),
            ..self.clone()
        })
    }

    /// Reads a state; takes exactly what is printed.
    ///
    /// # Errors
    /// [`StateError`] if the text is not one, or its signatures don't hold.
    pub fn parse(text: &str) -> Result<Self, StateError> {
        let mut rest = text;
        let mut line = |number: usize, begin: &str| {
            let split = rest
                .strip_prefix(begin)
                .and_then(|rest| rest.split_once('\n'));
            let (line, more) = split.ok_or(StateError::Line(number))?;
            rest = more;
            Ok::<_, StateError>(line)
        };
        let key = |number: usize, line: &str| line.parse().map_err(|_| StateError::Line(number));
        if !line(1, STATE_HEADER)?.is_empty() {
            return Err(StateError::Line(1));
        }
        let log = key(2, line(2, "log ")?)?;
        let witness = key(3, line(3, "witness ")?)?;
        if !line(4, "")?.is_empty() {
            return Err(StateError::Line(4));
        }
        let mut state = Self::new(log, witness)?;
        if !rest.is_empty() {
            let note = SignedNote::parse(rest.as_bytes())?;
            let head = state.trust(1)?.open(&note)?;
            state.last = Some((note, head));
        }
        Ok(state)
    }

    /// Reads a state from its file.
    ///
    /// # Errors
    /// [`StateFileError`]
    pub fn read(path: &Path) -> Result<Self, StateFileError> {
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StateFileError::Missing(path.to_owned()),
            _ => io_error(path)(error),
        })?;
        let mut text = String::new();
        let read = file.take(MAX_STATE).read_to_string(&mut text);
        match read {
            Err(error) if error.kind() != io::ErrorKind::InvalidData => {
                return Err(io_error(path)(error));
            }
            // What is not text has no first line of ours either.
            Ok(_) | Err(_) => {}
        }
        Self::parse(&text).map_err(|error| StateFileError::Malformed {
            path: path.to_owned(),
            error,
        })
    }

    /// Writes a state into a new file. When this returns, file and name are on disk.
    ///
    /// # Errors
    /// [`StateFileError::Exists`] if there is anything under that name.
    pub fn create(&self, path: &Path) -> Result<(), StateFileError> {
        let written = write_new(path, &self.to_string()).and_then(|()| sync_directory(path));
        written.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => StateFileError::Exists(path.to_owned()),
            _ => io_error(path)(error),
        })
    }

    /// Puts a state into the place of the one before. When this returns, it is on disk; if it fails
    /// the one before is there, or this one.
    ///
    /// # Errors
    /// [`StateFileError::Io`]
    pub fn replace(&self, path: &Path) -> Result<(), StateFileError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        let written = match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => write_new(&new, &self.to_string()),
        };
        written
            .and_then(|()| fs::rename(&new, path))
            .and_then(|()| sync_directory(path))
            .map_err(io_error(path))
    }
}

impl fmt::Display for WitnessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{STATE_HEADER}\nlog {}\nwitness {}\n\n",
            self.log, self.witness
        )?;
        self.note().map_or(Ok(()), |note| write!(f, "{note}"))
    }
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> StateFileError + '_ {
    |error| StateFileError::Io {
        path: path.to_owned(),
        error,
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .inspect_err(|_| {
            // Half a state would only be in the way.
            let _ = fs::remove_file(path);
        })
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
