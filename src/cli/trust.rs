//! Keys, heads and proofs that are given on the command line or lie in files.

use std::io::Read;
use std::path::Path;

use ledger_core::proof::ProofError;
use ledger_core::store::{LogReader, ReadError};
use ledger_core::tree_head::{KeyError, SignedNote, Trust, TrustError, VerifierKey, holds_secret};

use super::error::Failure;
use crate::api::wire::{ApiError, ErrorCode};
use crate::keys::{self, KEY_DIR, PUBLIC_FILE};

/// More than any head, proof or key.
const MAX_FILE: u64 = 1024 * 1024;

/// Where a proof or a head comes from.
pub(crate) const STDIN: &str = "-";

/// Reads a file, or standard input if it is called `-`.
///
/// # Errors
/// [`Failure`] if it can't be read or is larger than anything that belongs here.
pub(crate) fn read(file: &str) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorCode::NotFound,
            _ => ErrorCode::Failed,
        };
        ApiError::new(code, format!("{file} can't be read")).because(error)
    };
    let source: Box<dyn Read> = if file == STDIN {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(failed)?)
    };
    let mut bytes = Vec::new();
    source
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ApiError::new(
            ErrorCode::Usage,
            format!("{file} is neither a head nor a proof"),
        )
        .because("it is larger than 1 MiB")
        .into());
    }
    Ok(bytes)
}

/// A signed note from a file.
///
/// # Errors
/// [`Failure`] if it is not one.
pub(crate) fn read_note(file: &str) -> Result<SignedNote, Failure> {
    let note = SignedNote::parse(&read(file)?);
    Ok(note.map_err(|e| {
        ApiError::new(
            ErrorCode::Usage,
            format!("{file} does not hold a signed head"),
        )
        .because(e)
        .hint("`ledger head > FILE` makes one")
    })?)
}

/// A verifier key: its text, or the name of a file that holds it.
///
/// # Errors
/// [`Failure`] if it is neither.
pub(crate) fn verifier_key(text: &str) -> Result<VerifierKey, Failure> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    if holds_secret(text) {
        return Err(secret("what was given in place of a verifier key").into());
    }
    let malformed = |why: KeyFault| {
        let why = match why {
            KeyFault::Private => return secret(text),
            KeyFault::Other(why) => why,
        };
        ApiError::new(ErrorCode::Usage, format!("{text} is not a verifier key"))
            .because(why)
            .hint("a verifier key is a line NAME+ID+KEY, such as `ledger head --key` prints, or a file that holds one")
    };
    let bytes = match read(text) {
        Ok(bytes) => bytes,
        Err(_) if !Path::new(text).exists() => {
            let why = "it is no key, and no file has that name";
            return Err(malformed(KeyFault::Other(why.into())).into());
        }
        Err(error) => return Err(error),
    };
    let content = str::from_utf8(&bytes).map_err(|e| malformed(KeyFault::Other(e.to_string())))?;
    let key = content.trim_end().parse();
    Ok(key.map_err(|error| match error {
        KeyError::Private => malformed(KeyFault::Private),
        other => malformed(KeyFault::Other(other.to_string())),
    })?)
}

/// Why a text is no verifier key.
enum KeyFault {
    Private,
    Other(String),
}

/// A signer key was given where others are to see a verifier key. It is not shown.
fn secret(what: &str) -> ApiError {
    ApiError::new(ErrorCode::Usage, format!("{what} is a private key"))
        .because("a verifier key is wanted, which is public")
        .hint("`ledger head --key` prints a ledger's, and `ledger witness init` has printed a witness's; if others may have seen this one, it is no secret any more")
}

/// A file of a signer key that was named: not the key itself, which would be shown in errors.
///
/// # Errors
/// [`Failure`] if it is.
pub(crate) fn key_file(path: &Path) -> Result<&Path, Failure> {
    if holds_secret(&path.to_string_lossy()) {
        return Err(ApiError::new(
            ErrorCode::Usage,
            "what was given as the name of a file is a private key",
        )
        .hint(
            "write it into a file (mode 0600) and name that; it may be in the shell's history now",
        )
        .into());
    }
    Ok(path)
}

/// Believes the keys that are named, or else the one of the ledger at hand.
///
/// # Errors
/// [`Failure`] if there is none.
pub(crate) fn trust(named: &[String], data_dir: Option<&Path>) -> Result<Trust, Failure> {
    let mut keys = Vec::new();
    for key in named {
        keys.push(verifier_key(key)?);
    }
    if keys.is_empty() {
        let file = data_dir.map(|dir| dir.join(KEY_DIR).join(PUBLIC_FILE));
        let file = file.filter(|file| file.exists()).ok_or_else(|| {
            ApiError::new(ErrorCode::Usage, "it is not said whose signature to trust")
                .hint("name the ledger's verifier key with --key: `ledger head --key` prints it, and keys/ledger.pub holds it")
        })?;
        keys.push(verifier_key(&file.to_string_lossy())?);
    }
    Trust::new(keys, Vec::new(), 0).map_err(|e| untrusted(&e).into())
}

/// The key of a ledger at hand, as far as its first event vouches for it.
pub(crate) enum OwnKey {
    /// It is the one that the first event names.
    Fits(VerifierKey),
    /// It is not, or the first event can't be believed itself: why.
    Foreign(String),
}

/// The key of the ledger at hand, held against its first event.
///
/// # Errors
/// [`Failure`] if there is none.
pub(crate) fn own_key(data_dir: &Path, reader: &dyn LogReader) -> Result<OwnKey, Failure> {
    let created = match keys::created(reader) {
        Ok(created) => created,
        Err(ReadError::Io(error)) => return Err(ReadError::Io(error).into()),
        Err(damaged) => return Ok(OwnKey::Foreign(damaged.to_string())),
    };
    let unnamed = |why: String| {
        ApiError::new(ErrorCode::Usage, "it is not said whose signature to trust")
            .because(why)
            .hint(
                "name the ledger's verifier key: `ledger head --key` prints it where the ledger is",
            )
    };
    let Some(expected) = created.and_then(|created| created.key_fingerprint) else {
        return Err(unnamed("this ledger was made without a key".to_owned()).into());
    };
    let path = data_dir.join(KEY_DIR).join(PUBLIC_FILE);
    if !path.exists() {
        return Err(unnamed(format!("there is no {}", path.display())).into());
    }
    let key = verifier_key(&path.to_string_lossy())?;
    if key.fingerprint() == expected {
        return Ok(OwnKey::Fits(key));
    }
    let path = path.display();
    Ok(OwnKey::Foreign(format!(
        "{path} holds another key than the one that the ledger's first event names"
    )))
}

/// Why a head is not believed, at the boundary.
pub(crate) fn untrusted(error: &TrustError) -> ApiError {
    let code = match error {
        TrustError::Kind(_) | TrustError::Quorum { .. } => ErrorCode::Usage,
        TrustError::Forged(_) => ErrorCode::Tampered,
        TrustError::Unsigned { .. } | TrustError::Origin { .. } | TrustError::Witnesses { .. } => {
            ErrorCode::Unanchored
        }
        TrustError::Checkpoint(_) | TrustError::Head(_) => ErrorCode::Usage,
    };
    ApiError::new(code, "the head is not to be believed").because(error)
}

/// Why a proof is not believed, at the boundary.
pub(crate) fn unproven(error: &ProofError) -> ApiError {
    match error {
        ProofError::Trust(error) => untrusted(error),
        ProofError::NoEvent => ApiError::new(ErrorCode::Usage, error.to_string()),
        ProofError::Fault(_)
        | ProofError::Event(_)
        | ProofError::Seq { .. }
        | ProofError::Ledgers
        | ProofError::Chains => {
            ApiError::new(ErrorCode::Tampered, "the proof does not hold").because(error)
        }
    }
}
