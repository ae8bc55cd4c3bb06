//! `ledger head`: what the ledger commits itself to now, signed.

use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::tree_head::{SignedNote, Trust};
use serde::Serialize;

use super::error::{Exit, Failure};
use super::globals::Globals;
use super::output::{Buffering, Paging};
use super::source::Source;
use super::trust::untrusted;
use crate::api::wire::{ApiError, ErrorCode};
use crate::audit::heads;
use crate::keys::{self, KEY_DIR, PUBLIC_FILE};

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the key that heads are checked with instead
    #[arg(long)]
    key: bool,
}

/// The head, for programs.
#[derive(Serialize)]
struct Shown<'a> {
    ledger_id: LedgerId,
    seq: Seq,
    root: String,
    chain: Hash,
    key: &'a str,
    note: &'a str,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    let file = data_dir.join(KEY_DIR).join(PUBLIC_FILE);
    let public = || super::trust::verifier_key(&file.to_string_lossy());
    if args.key {
        let key = match &source {
            Source::Files(files) => keys::load(&data_dir, &**files)
                .map_err(ApiError::from)?
                .verifier(),
            // What a node says is checked against its first event.
            Source::Node(node) => {
                let (key, created) = (public()?, keys::created(&**node)?);
                if created.and_then(|c| c.key_fingerprint) != Some(key.fingerprint()) {
                    return Err(
                        ApiError::new(ErrorCode::Refused, "the key is not this ledger's")
                            .because(format!("{} does not fit its first event", file.display()))
                            .into(),
                    );
                }
                key
            }
        };
        if globals.json {
            out.json(&serde_json::json!({ "key": key.to_string() }))?;
        } else {
            out.line(&key)?;
        }
        out.finish()?;
        return Ok(Exit::OK);
    }
    let note = signed_head(&source, &data_dir)?;
    if globals.json {
        let key = public()?;
        let trust = Trust::in_log(key.clone()).map_err(|e| untrusted(&e))?;
        let head = trust.open(&note).map_err(|e| untrusted(&e))?.head;
        out.json(&Shown {
            ledger_id: head.ledger,
            seq: head.seq(),
            root: head.tree.hash.to_string(),
            chain: head.chain,
            key: &key.to_string(),
            note: &note.to_string(),
        })?;
    } else {
        out.raw(&note.to_string())?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

/// The ledger's head as it is now, by the node or from the files.
///
/// # Errors
/// [`Failure`] if there is no key, or the ledger can't be read.
pub(crate) fn signed_head(
    source: &Source,
    data_dir: &std::path::Path,
) -> Result<SignedNote, Failure> {
    match source {
        Source::Files(files) => {
            let key = keys::load(data_dir, &**files).map_err(ApiError::from)?;
            Ok(heads::sign(&**files, &key)?)
        }
        Source::Node(node) => {
            let note = node.wait(node.client().tree_head())?.note;
            Ok(SignedNote::parse(note.as_bytes()).map_err(|e| malformed(&e))?)
        }
    }
}

/// A node answered with something else.
pub(crate) fn malformed(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::Failed, "the node's answer makes no sense").because(error)
}
