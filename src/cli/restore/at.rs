//! `ledger restore --at SEQ|TIME --into DIR`: the ledger's state as of then, in a directory of its own,
//! to look at with every command. The ledger itself, at work or at rest, keeps every byte.

use std::path::Path;

use ledger_core::blobs::BlobReport;
use ledger_core::hash::Hash;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::merkle::TreeRoot;
use ledger_core::time::Timestamp;
use serde::Serialize;

use super::{lost, of_found};
use crate::cli::error::{Exit, Failure};
use crate::cli::filter_args::AtArg;
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::progress::Progress;
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Source;
use crate::node::fork::{Forked, fork};
use crate::units::count_of;

#[derive(Serialize)]
struct Shown {
    data_dir: String,
    ledger_id: LedgerId,
    from_seq: Seq,
    from_hash: Hash,
    /// When the last event that was taken was recorded.
    as_of: Timestamp,
    /// The tree over what was taken: what the ledger's own had grown to by then.
    tree: Tree,
    /// The ledger's own, which was proven to have grown out of it.
    source: Tree,
    incarnation: String,
    seq: Seq,
    hash: Hash,
    paused: bool,
    /// The blobs that events name, and which of them are not there.
    blobs: BlobReport,
}

#[derive(Serialize)]
struct Tree {
    size: u64,
    root: String,
}

impl From<TreeRoot> for Tree {
    fn from(tree: TreeRoot) -> Self {
        Self {
            size: tree.size.0,
            root: tree.hash.to_string(),
        }
    }
}

pub(super) fn run(globals: &Globals, at: Option<String>, into: &Path) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    source.require_whole()?;
    let reader = source.reader();
    let upto = match (AtArg { at }).seq(reader)? {
        Some(seq) => seq,
        None => reader.head()?.seq,
    };
    let bar = Progress::events("copying", upto.0);
    let forked = fork(reader, &data_dir, upto, into, &|done, total| {
        bar.of(done, total);
    });
    drop(bar);
    show(globals, into, forked.map_err(of_found)?)
}

fn show(globals: &Globals, into: &Path, forked: Forked) -> Result<Exit, Failure> {
    let Forked {
        founded,
        upto,
        tree,
        source,
    } = forked;
    let exit = lost(&founded.blobs);
    let data_dir = into.display().to_string();
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&Shown {
            data_dir,
            ledger_id: founded.ledger_id,
            from_seq: upto.seq,
            from_hash: upto.hash,
            as_of: upto.recorded_at,
            tree: tree.into(),
            source: source.into(),
            incarnation: founded.incarnation,
            seq: founded.head.seq,
            hash: founded.head.hash,
            paused: true,
            blobs: founded.blobs,
        })?;
    } else {
        let as_of = out.times.full(upto.recorded_at);
        out.wrapped(format_args!(
            "ledger {} is in {}, as of seq {}, {as_of}, with hash {}",
            founded.ledger_id,
            escape(&data_dir),
            upto.seq,
            upto.hash
        ))?;
        out.wrapped(format_args!(
            "proven: the tree over the ledger's {} has grown out of that over these {}, root {}",
            count_of(source.size.0, "event"),
            tree.size.0,
            tree.hash
        ))?;
        out.wrapped(format_args!(
            "seq {} says where it came from; nothing is started until `ledger resume`",
            founded.head.seq
        ))?;
        out.wrapped("look at it with --data-dir: `ledger status`, `query`, `task list`, `verify`")?;
    }
    out.finish()?;
    Ok(exit)
}
