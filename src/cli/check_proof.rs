//! `ledger check-proof`: is what a proof says true? Needs the proof and a key, and no ledger.

use ledger_core::envelope::EventRef;
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::proof::Proof;
use ledger_core::tree_head::TreeHead;
use serde::Serialize;
use serde_json::value::RawValue;

use super::error::{Exit, Failure};
use super::globals::Globals;
use super::output::event::fields;
use super::output::{Buffering, Paging};
use super::trust::{read, trust, unproven};
use crate::api::wire::{ApiError, ErrorCode};
use crate::units::count_of;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The proof, as `ledger prove` wrote it; `-` reads it from standard input
    #[arg(value_name = "FILE|-")]
    proof: String,
    /// Trust this key, given as text or as the name of a file; may be repeated [default: the key
    /// of the ledger at hand, if there is one]
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
}

/// A head, for programs.
#[derive(Serialize)]
struct Head {
    ledger_id: LedgerId,
    seq: Seq,
    root: String,
    chain: Hash,
}

impl From<&TreeHead> for Head {
    fn from(head: &TreeHead) -> Self {
        Self {
            ledger_id: head.ledger,
            seq: head.seq(),
            root: head.tree.hash.to_string(),
            chain: head.chain,
        }
    }
}

/// What was proven, for programs.
#[derive(Serialize)]
#[serde(tag = "proven", rename_all = "snake_case")]
enum Proven<'a> {
    Inclusion { head: Head, event: Event<'a> },
    Consistency { old: Head, new: Head },
}

/// The event that is proven to be there.
#[derive(Serialize)]
struct Event<'a> {
    seq: Seq,
    term: ledger_core::ids::Term,
    recorded_at: ledger_core::time::Timestamp,
    event_id: String,
    kind: &'a str,
    version: u16,
    subject: &'a str,
    actor: &'a str,
    data: &'a RawValue,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let bytes = read(&args.proof)?;
    let proof = Proof::parse(&bytes).map_err(|e| {
        ApiError::new(
            ErrorCode::Usage,
            format!("{} does not hold a proof", args.proof),
        )
        .because(e)
        .hint("`ledger prove SEQ > FILE` makes one")
    })?;
    let data_dir = globals.data_dir().ok();
    let trust = trust(&args.key, data_dir.as_deref())?;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    let proven = out.paint.good("proven");
    match &proof {
        Proof::Inclusion(proof) => {
            let shown = proof.check(&trust).map_err(|e| unproven(&e))?;
            let head = &shown.head.head;
            if globals.json {
                out.json(&Proven::Inclusion {
                    head: head.into(),
                    event: event(&shown.event)?,
                })?;
            } else {
                out.line(format_args!(
                    "{proven}: seq {} is in ledger {}, among its first {}",
                    shown.event.header.seq,
                    head.ledger,
                    count_of(head.seq().0, "event"),
                ))?;
                let lines = fields(&out, &shown.event);
                out.lines(lines)?;
            }
        }
        Proof::Consistency(proof) => {
            let shown = proof.check(&trust).map_err(|e| unproven(&e))?;
            let (old, new) = (&shown.old.head, &shown.new.head);
            if globals.json {
                out.json(&Proven::Consistency {
                    old: old.into(),
                    new: new.into(),
                })?;
            } else {
                out.line(format_args!(
                    "{proven}: ledger {} has only grown from seq {} to seq {}",
                    new.ledger,
                    old.seq(),
                    new.seq(),
                ))?;
            }
        }
    }
    out.finish()?;
    Ok(Exit::OK)
}

fn event<'a>(event: &EventRef<'a>) -> Result<Event<'a>, Failure> {
    let header = &event.header;
    // What was signed may be anything.
    let data = serde_json::from_str(event.data).map_err(|e| {
        ApiError::new(ErrorCode::Tampered, "the data of the event is not JSON").because(e)
    })?;
    Ok(Event {
        seq: header.seq,
        term: header.term,
        recorded_at: header.recorded_at,
        event_id: header.event_id.to_string(),
        kind: header.kind,
        version: header.version,
        subject: header.subject,
        actor: header.actor,
        data,
    })
}
