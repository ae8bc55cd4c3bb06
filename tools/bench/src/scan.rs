//! Reading a ledger from its first event to its last: walked, and verified, each beside a bare
//! walk over the same table in the same engine, which checks and decodes nothing.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use ledger_core::ids::Seq;
use ledger_core::store::durable::OfflineReader;
use ledger_core::store::redb::STORE_FILE;
use ledger_core::store::{BLOCK_HEADER, LogReader};
use ledger_core::verify::verify_offline;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use crate::comparison::{Bar, Comparison, params};
use crate::error::{Context, Failure};
use crate::rounds::{Contestant, interleave};
use crate::samples::{self, Samples};
use crate::settings::Settings;

/// The table that the store keeps its blocks in.
const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");

/// Least ratio of `verify`.
const VERIFY_BAR: f64 = 0.35;

/// Compares `scan` and `verify` with a bare walk.
///
/// # Errors
/// The first [`Failure`].
pub(crate) fn compare(dir: &Path, settings: &Settings) -> Result<Vec<Comparison>, Failure> {
    let home = tempfile::tempdir_in(dir).context("making a directory for the ledger")?;
    let mut store = samples::create(home.path())?;
    let events = samples::fill(&mut store, Samples::new(3).events(settings.scan_events))?;
    store.close().context("closing the ledger")?;

    let path = home.path();
    let mut contestants = [
        Contestant::new("scan", || rate(events, || scan(path))),
        Contestant::new("verify", || rate(events, || verify(path))),
        Contestant::new("redb", || rate(events, || bare(path))),
    ];
    let figures = interleave("scan", settings.rounds, &mut contestants)?;
    let rows = [("scan", None), ("verify", Some(Bar::AtLeast(VERIFY_BAR)))];
    let rows = rows.into_iter().zip(&figures);
    Ok(rows
        .map(|((figure, bar), ours)| {
            Comparison::of_rounds(
                (figure, "events/s"),
                params([("events", events.into())]),
                ours,
                ("redb", &figures[2]),
                bar,
            )
        })
        .collect())
}

/// Events a second of a walk, which must have seen all of them.
fn rate(events: u64, walk: impl FnOnce() -> Result<u64, Failure>) -> Result<f64, Failure> {
    let start = Instant::now();
    let seen = walk()?;
    let seconds = start.elapsed().as_secs_f64();
    if seen != events {
        return Err(Failure::new(format!(
            "a walk over {events} events saw {seen}"
        )));
    }
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 events")]
    let count = events as f64;
    Ok(count / seconds)
}

/// Every event, its header decoded.
fn scan(dir: &Path) -> Result<u64, Failure> {
    let reader = OfflineReader::open(dir).context("opening the ledger")?;
    let mut seen = 0;
    for block in reader.blocks(Seq::FIRST).context("reading the ledger")? {
        let block = block.context("reading the ledger")?;
        for event in block.events() {
            black_box(event.context("decoding an event")?);
            seen += 1;
        }
    }
    Ok(seen)
}

/// Everything that `ledger verify` checks, its files included.
fn verify(dir: &Path) -> Result<u64, Failure> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let report = verify_offline(dir, threads, &|_, _| {}).context("verifying the ledger")?;
    if !report.is_intact() {
        return Err(Failure::new(
            "the ledger that was just written is not intact",
        ));
    }
    Ok(report.events)
}

/// A walk that knows only redb and where frames begin: touches every cache line, decodes nothing.
fn bare(dir: &Path) -> Result<u64, Failure> {
    let walk = || -> Result<u64, redb::Error> {
        let database = redb::Builder::new().open_read_only(dir.join(STORE_FILE))?;
        let table = database.begin_read()?.open_table(BLOCKS)?;
        let mut seen = 0;
        for entry in table.iter()? {
            let (_, value) = entry?;
            let bytes = value.value();
            let touched: u64 = bytes.iter().step_by(64).map(|&b| u64::from(b)).sum();
            black_box(touched);
            seen += frames(bytes);
        }
        Ok(seen)
    };
    walk().context("walking the engine's table")
}

/// How many events a block's bytes hold.
fn frames(mut block: &[u8]) -> u64 {
    let mut seen = 0;
    block = block.get(BLOCK_HEADER..).unwrap_or_default();
    while let Some((len, rest)) = block.split_first_chunk() {
        let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
        block = rest.get(len..).unwrap_or_default();
        seen += 1;
    }
    seen
}
