//! `ledger projections list`: with a node, how its projections are; without, what their snapshots
//! say of themselves.

use ledger_core::ids::Seq;
use projections::framework::{SnapshotError, ViewDir};
use projections::views;

use crate::api::wire::ProjectionInfo;
use crate::cli::error::{Exit, Failure};
use crate::cli::globals::Globals;
use crate::cli::output::escape::escape;
use crate::cli::output::table::{Column, Table};
use crate::cli::output::{Buffering, Paging};
use crate::cli::source::Source;

/// Options.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(globals: &Globals, _: &Args) -> Result<Exit, Failure> {
    let data_dir = globals.data_dir()?;
    let source = Source::open(&data_dir)?;
    let infos = match &source {
        Source::Node(node) => node.wait(node.client().projections())?,
        Source::Files(_) => snapshots(&data_dir)?,
    };
    let head = source.reader().head()?.seq;
    let mut out = globals.out(Paging::Never, Buffering::Full);
    if globals.json {
        out.json(&infos)?;
    } else {
        let mut table = Table::new(&[
            Column::text("PROJECTION"),
            Column::number("VERSION"),
            Column::number("SEQ"),
            Column::text("DIGEST"),
            Column::elastic("STATE"),
        ]);
        for info in &infos {
            table.row(row(info, head));
        }
        let paint = out.paint;
        let lines = table.render(out.width, paint, &|_, cell| cell.to_owned());
        out.lines(lines)?;
    }
    out.finish()?;
    Ok(Exit::OK)
}

fn row(info: &ProjectionInfo, head: Seq) -> Vec<String> {
    let state = match &info.poisoned {
        Some(reason) => format!("stopped: {}", escape(reason)),
        None if info.seq < head => format!("{} behind", head.0 - info.seq.0),
        None => "up to date".to_owned(),
    };
    vec![
        info.name.clone(),
        info.version.to_string(),
        info.seq.to_string(),
        info.digest
            .map_or_else(|| "-".to_owned(), |digest| digest.short()),
        state,
    ]
}

/// What the snapshots of all projections say of themselves; one that is not there, or not whole,
/// stands at 0: the next node folds it from the first event.
pub(crate) fn snapshots(data_dir: &std::path::Path) -> Result<Vec<ProjectionInfo>, Failure> {
    let path = data_dir.join("views");
    // Opening the directory would make it.
    let dir = path
        .symlink_metadata()
        .is_ok()
        .then(|| ViewDir::open(&path))
        .transpose()?;
    let info = |view: Box<dyn projections::framework::View>| {
        let none = ProjectionInfo {
            name: view.name().to_owned(),
            version: view.version(),
            seq: Seq::ZERO,
            digest: None,
            poisoned: None,
        };
        match dir.as_ref().map(|dir| dir.header(view.name())) {
            None | Some(Err(SnapshotError::Missing)) => none,
            Some(Ok(header)) => ProjectionInfo {
                version: header.version,
                seq: header.position.seq,
                digest: Some(header.digest),
                ..none
            },
            Some(Err(error)) => ProjectionInfo {
                poisoned: Some(error.to_string()),
                ..none
            },
        }
    };
    Ok(views::all().into_iter().map(info).collect())
}
