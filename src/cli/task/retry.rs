//! `ledger task retry`.

use ledger_core::hash::Hash;
use ledger_core::ids::{Id, Seq, Term};

use super::view::meant;
use crate::api::wire::Receipt;
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Node;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task: its id, or at least 8 characters that no other begins with
    #[arg(value_name = "ID")]
    id: Id,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let id = meant(&node, &args.id)?;
    let receipt = node.wait(node.client().retry(&id))?;
    print(globals, &format!("task {id} is queued again"), &receipt)
}

/// Where an event stands; the hash has a line of its own, as it takes up most of one.
pub(crate) fn recorded(seq: Seq, term: Term, hash: &Hash) -> String {
    format!("seq {seq} term {term}\nhash {hash}")
}

/// Shows what was recorded, or that there was nothing to do, for which no event stands.
pub(crate) fn print(globals: &Globals, what: &str, receipt: &Receipt) -> Result<Exit, Failure> {
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(receipt)?;
    } else if receipt.replayed {
        out.line(what)?;
    } else {
        let Receipt {
            seq, term, hash, ..
        } = receipt;
        out.fitted(what)?;
        out.line(recorded(*seq, *term, hash))?;
    }
    out.finish()?;
    Ok(Exit::OK)
}
