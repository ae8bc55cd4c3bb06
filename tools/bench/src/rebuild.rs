//! Rebuilding the tasks from a ledger of task histories, beside what bounds any rebuild: decoding
//! the payloads of the same events into their types with `serde_json`, on one thread, from memory,
//! and doing nothing else.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use ledger_core::event::Event;
use ledger_core::ids::Seq;
use ledger_core::store::durable::OfflineReader;
use ledger_core::store::{Block, LogReader};
use projections::framework::{Health, rebuild, unwatched};
use projections::tasks::Tasks;

use crate::comparison::{Bar, Comparison, params};
use crate::error::{Context, Failure};
use crate::rounds::{Contestant, interleave};
use crate::samples;
use crate::settings::Settings;

/// Least ratio.
const BAR: f64 = 0.7;

/// Compares a rebuild with bare decoding.
///
/// # Errors
/// The first [`Failure`].
pub(crate) fn compare(dir: &Path, settings: &Settings) -> Result<Vec<Comparison>, Failure> {
    let home = tempfile::tempdir_in(dir).context("making a directory for the ledger")?;
    let mut store = samples::create(home.path())?;
    let events = samples::fill(&mut store, samples::histories(settings.rebuild_tasks))?;
    store.close().context("closing the ledger")?;

    let reader = OfflineReader::open(home.path()).context("opening the ledger")?;
    let blocks: Vec<Block> = reader
        .blocks(Seq::FIRST)
        .context("reading the ledger")?
        .collect::<Result<_, _>>()
        .context("reading the ledger")?;
    drop(reader);

    let mut contestants = [
        Contestant::new("ours", || ours(home.path(), events)),
        Contestant::new("serde_json", || decode(&blocks)),
    ];
    let figures = interleave("rebuild", settings.rounds, &mut contestants)?;
    let params = params([
        ("projection", "tasks".into()),
        ("events", events.into()),
        ("tasks", settings.rebuild_tasks.into()),
    ]);
    Ok(vec![Comparison::of_rounds(
        ("rebuild", "events/s"),
        params,
        &figures[0],
        ("serde_json", &figures[1]),
        Some(Bar::AtLeast(BAR)),
    )])
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 events")]
fn rate(events: u64, since: Instant) -> f64 {
    events as f64 / since.elapsed().as_secs_f64()
}

/// From opening the ledger to the folded tasks, every block checked on the way.
fn ours(dir: &Path, events: u64) -> Result<f64, Failure> {
    let start = Instant::now();
    let reader = OfflineReader::open(dir).context("opening the ledger")?;
    let fold = rebuild::<Tasks>(&reader, None, &mut unwatched).context("rebuilding the tasks")?;
    let rate = rate(events, start);
    if fold.health() != &Health::Following || fold.position().seq.0 != events {
        return Err(Failure::new("the rebuilt tasks do not reach the head"));
    }
    Ok(rate)
}

/// Payloads into their types; headers were decoded before the clock starts.
fn decode(blocks: &[Block]) -> Result<f64, Failure> {
    let events: Vec<_> = blocks
        .iter()
        .flat_map(Block::events)
        .collect::<Result<_, _>>()
        .context("decoding headers")?;
    let start = Instant::now();
    for event in &events {
        black_box(Event::decode(event).context("decoding a payload")?);
    }
    Ok(rate(events.len() as u64, start))
}
