//! What a ledger costs that has grown: opening it after a kill, proving an event, its size, and the
//! memory of whoever grew it, each beside the limit that it should stay below.
//!
//! The ledger is grown by a process of its own, which then kills itself as a crash would: with
//! nothing closed, and the journal as it stands.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use ledger_core::chain::{BatchBuilder, ChainKey};
use ledger_core::ids::{Seq, Term};
use ledger_core::merkle::LeafIndex;
use ledger_core::store::durable::{DurableStore, Settings as StoreSettings};
use ledger_core::store::{LogReader, LogWriter};
use nix::sys::signal::{Signal, raise};

use crate::comparison::{Bar, Comparison, median, params};
use crate::error::{Context, Failure};
use crate::note;
use crate::samples::{self, Samples};
use crate::settings::Settings;

/// Events of one append while a ledger is grown.
const BATCH: usize = 500;
/// Times that opening is measured; the ledger is left as a kill leaves it each time.
const OPENINGS: usize = 5;
/// Events that are proven.
const PROOFS: u64 = 201;

/// Longest opening with the sealer in step, in milliseconds.
const OPEN_LIMIT: f64 = 10.0;
/// Longest opening when the sealer has fallen behind as far as it may.
const LAG_LIMIT: f64 = 25.0;
/// Longest proof, in milliseconds.
const PROOF_LIMIT: f64 = 1.0;
/// Most bytes on disk for a byte of events.
const SIZE_LIMIT: f64 = 1.05;
/// Most memory for a byte of it at a tenth of the ledger.
const MEMORY_LIMIT: f64 = 1.1;

/// How far the sealer is let to seal while a ledger is grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sealed {
    /// As far as it does when it is given the time.
    InStep,
    /// Not at all, until so many events are unsealed: as many as may be.
    Never,
}

/// Grows a ledger, says how much memory that took at most, and is killed.
///
/// # Errors
/// [`Failure`] if it lives.
pub(crate) fn grow(dir: &Path, events: usize, sealed: Sealed) -> Result<(), Failure> {
    let mut store = match sealed {
        Sealed::InStep if !dir.exists() => {
            fs::create_dir(dir).context("making a directory")?;
            samples::create_durable(dir)?
        }
        Sealed::InStep => DurableStore::open(dir).context("opening the ledger")?,
        Sealed::Never => {
            let settings = StoreSettings {
                seal_bytes: usize::MAX,
                lag_bytes: usize::MAX,
                ..StoreSettings::default()
            };
            DurableStore::open_with(dir, settings).context("opening the ledger")?
        }
    };
    let events = match sealed {
        Sealed::InStep => events,
        // What the opening before left unsealed counts.
        Sealed::Never => {
            let behind = store.head().seq.0 - store.reader().sealed().0;
            events.saturating_sub(usize::try_from(behind).unwrap_or(usize::MAX))
        }
    };
    let mut builder = BatchBuilder::new(ChainKey::new(store.ledger_id()), store.head(), Term(1));
    let mut drafts = Samples::new(store.head().seq.0).events(events).peekable();
    while drafts.peek().is_some() {
        for drafts in drafts.by_ref().take(BATCH) {
            builder
                .push(&drafts, samples::EPOCH)
                .context("encoding an event")?;
        }
        store.append(&builder.take()).context("appending")?;
    }
    if sealed == Sealed::InStep {
        store.wait_until_in_step().context("sealing")?;
    }
    fs::write(dir.with_extension("peak"), peak_kib()?.to_string()).context("noting the memory")?;
    raise(Signal::SIGKILL).context("ending as a crash does")?;
    Err(Failure::new("a kill had no effect"))
}

/// The most memory that this process has had, in KiB.
fn peak_kib() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok())
        .ok_or_else(|| Failure::new("/proc/self/status is not understood"))
}

/// Grows a ledger in a process of its own; returns the peak of its memory in KiB.
fn grown(dir: &Path, events: usize, sealed: Sealed) -> Result<f64, Failure> {
    let program = std::env::current_exe().context("looking for this program")?;
    let how = match sealed {
        Sealed::InStep => "in-step",
        Sealed::Never => "never",
    };
    let status = Command::new(program)
        .arg("grow")
        .arg(dir)
        .args([&events.to_string(), how])
        .status()
        .context("starting a process that grows a ledger")?;
    if status.success() || status.code().is_some() {
        return Err(Failure::new("the process that grows a ledger failed"));
    }
    let peak = fs::read_to_string(dir.with_extension("peak")).context("reading its memory")?;
    peak.trim().parse().context("reading its memory")
}

/// Measures a ledger that has grown.
///
/// # Errors
/// The first [`Failure`].
pub(crate) fn compare(dir: &Path, settings: &Settings) -> Result<Vec<Comparison>, Failure> {
    let home = tempfile::tempdir_in(dir).context("making a directory for the ledger")?;
    let events = settings.store_events;
    note::progress("store: growing a ledger");
    let small = grown(&home.path().join("small"), events / 10, Sealed::InStep)?;
    let path = home.path().join("ledger");
    let large = grown(&path, events, Sealed::InStep)?;
    note::progress("store: proving events");
    let store = DurableStore::open(&path).context("opening the ledger")?;
    store.wait_until_in_step().context("sealing")?;
    let proofs = proofs(&store)?;
    let bytes = store.reader().event_bytes();
    store.close().context("closing the ledger")?;
    let size = size_on_disk(&path)? / to_f64(bytes);
    note::progress("store: opening it after a kill");
    let in_step = openings(&path, BATCH * 4, Sealed::InStep)?;
    note::progress("store: opening it with a sealer that has fallen behind");
    let lag = StoreSettings::default().lag_bytes / samples::RECORD;
    let behind = openings(&path, lag, Sealed::Never)?;
    note::done();
    let row = |what: &str, unit, ours: &[f64], (peer, theirs): (&'static str, f64), bar| {
        Comparison::of_rounds(
            ("store", unit),
            params([("what", what.into()), ("events", events.into())]),
            ours,
            (peer, &vec![theirs; ours.len()]),
            Some(Bar::AtMost(bar)),
        )
    };
    let limit = |limit| ("limit", limit);
    Ok(vec![
        row("open after kill -9", "ms", &in_step, limit(OPEN_LIMIT), 1.0),
        row("open, sealer behind", "ms", &behind, limit(LAG_LIMIT), 1.0),
        row("proof", "ms", &[median(&proofs)], limit(PROOF_LIMIT), 1.0),
        row("disk / event bytes", "x", &[size], limit(SIZE_LIMIT), 1.0),
        row(
            "peak memory",
            "KiB",
            &[large],
            ("a tenth", small),
            MEMORY_LIMIT,
        ),
    ])
}

/// Milliseconds that opening takes after a process has appended so many events and was killed.
fn openings(path: &Path, events: usize, sealed: Sealed) -> Result<Vec<f64>, Failure> {
    let mut times = Vec::with_capacity(OPENINGS);
    for _ in 0..OPENINGS {
        grown(path, events, sealed)?;
        let start = Instant::now();
        let store = DurableStore::open(path).context("opening the ledger")?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        store.close().context("closing the ledger")?;
    }
    Ok(times)
}

/// Milliseconds that proofs take, of events all over the ledger, each under the head of its moment.
fn proofs(store: &DurableStore) -> Result<Vec<f64>, Failure> {
    let reader = store.reader();
    let end = store.head().seq.0;
    let mut times = Vec::new();
    for n in 0..PROOFS {
        let start = Instant::now();
        let tree = reader.tree().context("reading the tree")?;
        let seq = Seq(1 + n * (end - 1) / PROOFS);
        let index = LeafIndex::of(seq).unwrap_or(LeafIndex(0));
        let proof = tree.inclusion(index, tree.root().size);
        std::hint::black_box(proof.context("proving an event")?);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// Bytes that the files of a directory take on the disk.
fn size_on_disk(dir: &Path) -> Result<f64, Failure> {
    let mut bytes = 0.0;
    for entry in fs::read_dir(dir).context("listing the ledger")? {
        let entry = entry.context("listing the ledger")?;
        let meta = entry.metadata().context("looking at a file")?;
        bytes += if meta.is_dir() {
            size_on_disk(&entry.path())?
        } else {
            // `st_blocks` counts in units of 512 bytes, whatever the file system's are.
            to_f64(meta.blocks() * 512)
        };
    }
    Ok(bytes)
}

#[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 bytes")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
