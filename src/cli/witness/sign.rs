//! `ledger witness sign`: cosigns a head, if nothing that was cosigned before contradicts it. That
//! the ledger has only grown is shown by the ledger at hand, or by a proof in a file.

use std::fs::File;
use std::path::{Path, PathBuf};

use ledger_core::clock;
use ledger_core::files::publish;
use ledger_core::merkle::{TreeHash, TreeSize};
use ledger_core::proof::ConsistencyProof;
use ledger_core::time::Timestamp;
use ledger_core::tree_head::{KeyFileError, TreeHead, read_key_file};
use ledger_core::witness::WitnessState;
use nix::fcntl::{Flock, FlockArg};
use serde::Serialize;

use super::{Files, of_refusal, of_state};
use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::error::{Exit, Failure, of_io};
use crate::cli::globals::Globals;
use crate::cli::head::signed_head;
use crate::cli::output::escape::escape;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Source;
use crate::cli::trust::{read, read_note};

/// What the exit codes mean.
pub(crate) const CODES: &str = "Exit code 4: the head is not signed by the ledger's key, or \
    contradicts what was cosigned before.\nThe state is on disk before the cosigned head is written \
    anywhere; `ledger witness head` prints it again.";

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The signed head to cosign, or `-` [default: the newer one of --proof, else that of the ledger
    /// at hand as it is now]
    #[arg(value_name = "HEAD|-")]
    head: Option<String>,
    #[command(flatten)]
    files: Files,
    /// Take from this file that the ledger has only grown, as `ledger prove --since` wrote it
    /// [default: ask the ledger at hand]
    #[arg(long, value_name = "FILE|-")]
    proof: Option<String>,
    /// Write the cosigned head into this file, in the place of what is there, once it is whole
    /// [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What was signed, for programs.
#[derive(Serialize)]
struct Signed<'a> {
    witness: &'a str,
    seq: ledger_core::ids::Seq,
    at: Timestamp,
    note: &'a str,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let key_path = args.files.key()?;
    let key = read_key_file(&key_path).map_err(|e| of_key(&e))?;
    // Two at a time could sign what contradicts each other.
    let _lock = lock(&key_path)?;
    let path = &args.files.state;
    let state = WitnessState::read(path).map_err(|e| of_state(&e))?;
    let proof = args.proof.as_deref().map(read_proof).transpose()?;
    let note = match (&args.head, &proof) {
        (Some(file), _) => read_note(file)?,
        (None, Some(proof)) => proof.new_head().clone(),
        (None, None) => {
            let data_dir = globals.data_dir()?;
            signed_head(&Source::open(&data_dir)?, &data_dir)?
        }
    };
    let refused = |e| of_refusal(&e, path);
    let hashes = match (state.growth(&note).map_err(refused)?, &proof) {
        (None, _) => Vec::new(),
        (Some(_), Some(proof)) => proof.hashes().to_vec(),
        (Some((old, new)), None) => at_hand(globals, &state, old, new)?,
    };
    let state = state.cosign(note, &hashes, &key, clock::now().into());
    let state = state.map_err(refused)?;
    state.replace(path).map_err(|e| of_state(&e))?;
    print(globals, args.out.as_deref(), &state)
}

/// Shows what was signed; it is in the state already.
fn print(globals: &Globals, to: Option<&Path>, state: &WitnessState) -> Result<Exit, Failure> {
    let (Some(note), Some(head)) = (state.note(), state.last()) else {
        return Ok(Exit::OK);
    };
    if let Some(path) = to {
        publish(path, note.to_string().as_bytes()).map_err(|error| {
            of_io(format!("{} can't be written", path.display()), &error)
                .because(error)
                .hint("the head is cosigned and in the state: `ledger witness head` prints it")
        })?;
    }
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        let at = head.cosigned.first().map_or(0, |by| by.at.0);
        out.json(&Signed {
            witness: &state.witness().to_string(),
            seq: head.head.seq(),
            at: Timestamp(at.saturating_mul(1_000_000)).min(Timestamp::MAX),
            note: &note.to_string(),
        })?;
    } else if let Some(path) = to {
        let path = path.display().to_string();
        let seq = head.head.seq();
        out.line(format_args!("seq {seq} is cosigned, in {}", escape(&path)))?;
    } else {
        out.raw(&note.to_string())?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

fn of_key(error: &KeyFileError) -> ApiError {
    let code = match error {
        KeyFileError::Missing(_) => ErrorCode::NotFound,
        KeyFileError::Exposed { .. } => ErrorCode::Refused,
        KeyFileError::Exists(_)
        | KeyFileError::Io { .. }
        | KeyFileError::NotAFile(_)
        | KeyFileError::Malformed { .. } => ErrorCode::Failed,
    };
    ApiError::new(code, "the witness has no key to sign with").because(error)
}

/// Held for as long as the state is looked at and changed. The state's own file is exchanged, so the
/// key's is locked.
fn lock(key: &Path) -> Result<Flock<File>, Failure> {
    let failed = |why: &dyn std::fmt::Display| {
        ApiError::new(
            ErrorCode::Failed,
            format!("{} can't be locked", key.display()),
        )
        .because(why)
    };
    let file = File::open(key).map_err(|e| failed(&e))?;
    Ok(Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| failed(&e))?)
}

fn read_proof(file: &str) -> Result<ConsistencyProof, Failure> {
    let proof = ConsistencyProof::parse(&read(file)?);
    Ok(proof.map_err(|e| {
        ApiError::new(
            ErrorCode::Usage,
            format!("{file} does not hold a consistency proof"),
        )
        .because(e)
        .hint("`ledger prove --since HEAD > FILE` makes one")
    })?)
}

/// Asks the ledger at hand how it has grown. Its answer is held against both heads, so it need not
/// be believed.
fn at_hand(
    globals: &Globals,
    state: &WitnessState,
    old: TreeSize,
    new: TreeSize,
) -> Result<Vec<TreeHash>, Failure> {
    let source = Source::open(&globals.data_dir()?)?;
    let reader = source.reader();
    let log = state.log().name();
    if TreeHead::key_name(reader.ledger_id()) != *log {
        return Err(ApiError::new(
            ErrorCode::Refused,
            "it is not shown that the ledger has only grown",
        )
        .because(format!("the ledger at hand is not {log}"))
        .hint("give a proof with --proof: `ledger prove --since HEAD` makes one")
        .into());
    }
    let tree = reader.tree()?;
    let hashes = tree.consistency(old, new).map_err(|error| {
        ApiError::new(
            ErrorCode::Unanchored,
            "the ledger at hand can't show that it has only grown",
        )
        .because(error)
        .hint("it does not reach as far as the head; is this the ledger that the head is of?")
    })?;
    Ok(hashes)
}
