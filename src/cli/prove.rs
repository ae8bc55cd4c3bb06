//! `ledger prove`: proofs that can be checked without the ledger.
//!
//! A proof is checked before it is printed, so that damage shows here and not at whoever gets it.

use std::path::Path;

use ledger_core::ids::Seq;
use ledger_core::merkle::TreeHash;
use ledger_core::proof::{ConsistencyProof, InclusionProof, Proof, ProofError};
use ledger_core::tree_head::{SignedNote, Trust};
use serde::Serialize;

use super::error::{Exit, Failure};
use super::globals::Globals;
use super::head::malformed;
use super::output::{Buffering, Paging};
use super::show::position;
use super::source::Source;
use super::trust::{read_note, trust, unproven, untrusted};
use crate::api::wire::{ApiError, ErrorCode};
use crate::audit::heads::{self, Growth};
use crate::keys;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Prove that the event at this position is in the ledger
    #[arg(
        value_name = "SEQ",
        value_parser = position,
        required_unless_present = "since",
        conflicts_with = "since"
    )]
    seq: Option<u64>,
    /// Prove that the ledger has only grown since the signed head in this file, or `-`
    #[arg(long, value_name = "HEAD|-")]
    since: Option<String>,
}

/// The proof, for programs.
#[derive(Serialize)]
struct Shown<'a> {
    proof: &'a str,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let trust = trust(&[], Some(&data_dir))?;
    let proof = match (&args.since, args.seq) {
        (Some(file), _) => {
            let old = read_note(file)?;
            Proof::Consistency(consistency(&source, &data_dir, &trust, old)?)
        }
        (None, seq) => {
            let proof = inclusion(&source, &data_dir, Seq(seq.unwrap_or_default()))?;
            proof.check(&trust).map_err(|e| unsound(&e))?;
            Proof::Inclusion(proof)
        }
    };
    let text = proof.to_string();
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&Shown { proof: &text })?;
    } else {
        out.raw(&text)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

fn inclusion(source: &Source, data_dir: &Path, seq: Seq) -> Result<InclusionProof, Failure> {
    match source {
        Source::Files(files) => {
            let key = keys::load(data_dir, &**files).map_err(ApiError::from)?;
            Ok(heads::prove(&**files, &key, seq).map_err(ApiError::from)?)
        }
        Source::Node(node) => {
            let text = node.wait(node.client().prove(seq))?.proof;
            Ok(InclusionProof::parse(text.as_bytes()).map_err(|e| malformed(&e))?)
        }
    }
}

/// Proves growth from a head, which must be one of this ledger's: signed with its key, and of what
/// it was.
fn consistency(
    source: &Source,
    data_dir: &Path,
    trust: &Trust,
    old: SignedNote,
) -> Result<ConsistencyProof, Failure> {
    let said = trust.open(&old).map_err(|e| untrusted(&e))?.head;
    let growth = match source {
        Source::Files(files) => {
            let key = keys::load(data_dir, &**files).map_err(ApiError::from)?;
            heads::growth(&**files, &key, said.tree.size).map_err(ApiError::from)?
        }
        Source::Node(node) => {
            let answer = node.wait(node.client().growth(said.tree.size.0))?;
            let hashes = answer.hashes.iter().map(|hash| hash.parse());
            Growth {
                hashes: hashes
                    .collect::<Result<Vec<TreeHash>, _>>()
                    .map_err(|e| malformed(&e))?,
                head: SignedNote::parse(answer.head.as_bytes()).map_err(|e| malformed(&e))?,
            }
        }
    };
    let proof = ConsistencyProof::new(growth.hashes, old, growth.head);
    let proof = proof.map_err(|e| malformed(&e))?;
    // The old head's signature is good: if it does not fit, this is not the ledger it was made of.
    proof.check(trust).map_err(|error| match error {
        ProofError::Fault(_) | ProofError::Chains => {
            ApiError::new(ErrorCode::Unanchored, "the ledger has not grown out of that head")
                .because(error)
                .hint("its history was changed or replaced since the head was signed; keep both, and see `ledger verify`")
        }
        other => unproven(&other),
    })?;
    Ok(proof)
}

/// What the store keeps does not lead to its own head.
fn unsound(error: &ProofError) -> ApiError {
    unproven(error)
        .hint("the store's Merkle tree does not fit its events: `ledger verify` says where")
}
