//! `ledger task retry`.

use ledger_core::ids::Id;

use crate::api::wire::Receipt;
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Node;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task
    #[arg(value_name = "ID")]
    id: Id,
}

pub(crate) fn run(globals: &Globals, args: &Args) -> Result<Exit, Failure> {
    let node = Node::require(&globals.data_dir()?)?;
    let receipt = node.wait(node.client().retry(&args.id))?;
    print(
        globals,
        &format!("task {} is queued again", args.id),
        &receipt,
    )
}

/// Shows what was recorded.
pub(crate) fn print(globals: &Globals, what: &str, receipt: &Receipt) -> Result<Exit, Failure> {
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(receipt)?;
    } else {
        let Receipt {
            seq, term, hash, ..
        } = receipt;
        out.line(format_args!("{what}\nseq {seq} term {term} hash {hash}"))?;
    }
    out.finish()?;
    Ok(Exit::OK)
}
