//! Durable appends: producers that each wait for their own event to be on disk before they send
//! the next, as clients of a node do.
//!
//! ```text
//! producers (tasks) --> inbox --> group commit --> engine --> ack to each producer of the group
//! ```
//!
//! Producers are tasks of one single-threaded runtime, since waking a task costs less than waking
//! a thread, and are the same for everyone. Peers commit in one thread that takes all that waits
//! as one group: the least a group commit can cost. Ours is the node's: one thread encodes and
//! chains what arrives while another writes the batch before ([`ours`]). Everyone chains the same
//! BLAKE3 hash over records of the same size.

mod file;
mod fjall;
mod ours;
mod sqlite;
mod tree;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use ledger_core::chain::{ChainKey, Head, Links};
use ledger_core::clock;
use ledger_core::hash::Hash;
use tokio::sync::oneshot;

use crate::comparison::{Bar, Comparison, params};
use crate::error::{Context, Failure};
use crate::rounds::{Contestant, interleave};
use crate::samples::{PAYLOAD, RECORD, Samples};
use crate::settings::Settings;

/// Most events of one group, as in the node.
const MAX_GROUP: usize = 4096;

/// How many producers there are in each comparison.
const PRODUCERS: [usize; 3] = [1, 64, 1024];

/// Least ratios: producers, peer, ratio. At 1024 producers the tree's SHA-256 bounds what can be had,
/// where the processor has no instructions for it.
const BARS: [(usize, &str, f64); 11] = [
    (1, "file", 0.8),
    (64, "file", 0.8),
    (1024, "file", 0.55),
    (1, "redb", 2.0),
    (64, "redb", 2.0),
    (1, "sqlite", 1.0),
    (64, "sqlite", 1.0),
    (1024, "sqlite", 1.0),
    (1, "fjall", 1.0),
    (64, "fjall", 1.0),
    (1024, "fjall", 1.0),
];
/// Most that the slowest hundredth of acknowledgments may take, in those of the file.
const LATENCY_BAR: f64 = 4.0;
/// Producers while it is measured.
const LATENCY_PRODUCERS: usize = 64;

/// A producer's event and its wish to know when it is on disk.
struct Request {
    data: String,
    ack: oneshot::Sender<()>,
}

/// What arrives at a group commit.
enum Mail {
    /// An event.
    Append(Request),
    /// Ours alone: the batch in flight is on disk up to here.
    Durable(Head),
    /// No more events will come.
    Stop,
}

/// Compares ours with every peer at every number of producers.
///
/// # Errors
/// The first [`Failure`].
pub(crate) fn compare(dir: &Path, settings: &Settings) -> Result<Vec<Comparison>, Failure> {
    let mut comparisons = Vec::new();
    let mut sustained = Vec::new();
    for producers in PRODUCERS {
        let span = settings.span;
        let mut contestants = [
            Contestant::new("ours", || {
                let home = Home::new(dir)?;
                let store = crate::samples::create_durable(home.path())?;
                throughput(producers, span, |mail| ours::serve(store, mail))
            }),
            Contestant::new("file", || {
                let home = Home::new(dir)?;
                let engine = file::FrameFile::create(home.path())?;
                throughput(producers, span, |mail| group_commit(engine, mail))
            }),
            Contestant::new("redb", || {
                let home = Home::new(dir)?;
                let store = crate::samples::create(home.path())?;
                throughput(producers, span, |mail| ours::serve(store, mail))
            }),
            Contestant::new("sqlite", || {
                let home = Home::new(dir)?;
                let engine = sqlite::Sqlite::create(home.path())?;
                throughput(producers, span, |mail| group_commit(engine, mail))
            }),
            Contestant::new("fjall", || {
                let home = Home::new(dir)?;
                let engine = fjall::Fjall::create(home.path())?;
                throughput(producers, span, |mail| group_commit(engine, mail))
            }),
        ];
        let figure = format!("append with {producers} producers");
        let figures = interleave(&figure, settings.rounds, &mut contestants)?;
        // The last, most producers, is what the tree's hashes are held against.
        sustained.clone_from(&figures[0]);
        for (peer, theirs) in contestants.iter().zip(&figures).skip(1) {
            let bar = BARS
                .iter()
                .find(|bar| (bar.0, bar.1) == (producers, peer.name()));
            let bar = bar.map(|bar| Bar::AtLeast(bar.2));
            comparisons.push(Comparison::of_rounds(
                ("append", "events/s"),
                params([("producers", producers.into())]),
                &figures[0],
                (peer.name(), theirs),
                bar,
            ));
        }
    }
    comparisons.extend(tree::compare(settings, &sustained)?);
    comparisons.push(latency(dir, settings)?);
    Ok(comparisons)
}

/// The slowest hundredth of acknowledgments, while blocks are being sealed all the time.
fn latency(dir: &Path, settings: &Settings) -> Result<Comparison, Failure> {
    let (producers, span) = (LATENCY_PRODUCERS, settings.span);
    let p99 = |produced: Produced| produced.p99_us();
    let mut contestants = [
        Contestant::new("ours", || {
            let home = Home::new(dir)?;
            let store = crate::samples::create_durable(home.path())?;
            produced(producers, span, |mail| ours::serve(store, mail)).map(p99)
        }),
        Contestant::new("file", || {
            let home = Home::new(dir)?;
            let engine = file::FrameFile::create(home.path())?;
            produced(producers, span, |mail| group_commit(engine, mail)).map(p99)
        }),
    ];
    let figures = interleave(
        "p99 of an acknowledgment",
        settings.rounds,
        &mut contestants,
    )?;
    Ok(Comparison::of_rounds(
        ("ack p99", "us"),
        params([("producers", producers.into())]),
        &figures[0],
        ("file", &figures[1]),
        Some(Bar::AtMost(LATENCY_BAR)),
    ))
}

/// A directory for one round, removed with everything in it.
struct Home(tempfile::TempDir);

impl Home {
    fn new(dir: &Path) -> Result<Self, Failure> {
        tempfile::tempdir_in(dir)
            .map(Self)
            .context("making a directory for a round")
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// What a group commit is given: the inbox, and a way to send itself mail.
struct Post {
    inbox: Receiver<Mail>,
    own: Sender<Mail>,
}

/// What the producers share.
#[derive(Default)]
struct Tally {
    acks: AtomicU64,
    stop: AtomicBool,
}

/// What producers saw.
struct Produced {
    /// Acknowledged events a second.
    rate: f64,
    /// How long each acknowledgment took, in microseconds.
    waits: Vec<u32>,
}

impl Produced {
    fn p99_us(mut self) -> f64 {
        self.waits.sort_unstable();
        let at = self.waits.len() * 99 / 100;
        self.waits.get(at).copied().map_or(f64::NAN, f64::from)
    }
}

/// Acknowledged events a second over `span`, after a tenth of it to warm up.
fn throughput(
    producers: usize,
    span: Duration,
    serve: impl FnOnce(Post) -> Result<(), Failure> + Send,
) -> Result<f64, Failure> {
    produced(producers, span, serve).map(|produced| produced.rate)
}

fn produced(
    producers: usize,
    span: Duration,
    serve: impl FnOnce(Post) -> Result<(), Failure> + Send,
) -> Result<Produced, Failure> {
    let (sender, inbox) = unbounded();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .context("starting the producers' runtime")?;
    std::thread::scope(|scope| {
        let own = sender.clone();
        let server = scope.spawn(move || serve(Post { inbox, own }));
        let produced = runtime.block_on(produce(producers, span, &sender));
        let stopped = sender.send(Mail::Stop);
        let served = server
            .join()
            .map_err(|_| Failure::new("an engine panicked"));
        // An engine that failed is gone and takes no mail; its own words say more.
        served??;
        stopped.context("stopping an engine")?;
        Ok(produced)
    })
}

async fn produce(producers: usize, span: Duration, inbox: &Sender<Mail>) -> Produced {
    let tally = Arc::new(Tally::default());
    let tasks: Vec<_> = (0..producers as u64)
        .map(|seed| {
            let (tally, inbox) = (Arc::clone(&tally), inbox.clone());
            let data = Samples::new(seed).payload();
            tokio::spawn(producer(data, inbox, tally))
        })
        .collect();
    tokio::time::sleep(span / 10).await;
    let (start, before) = (Instant::now(), tally.acks.load(Ordering::Relaxed));
    tokio::time::sleep(span).await;
    let (end, after) = (Instant::now(), tally.acks.load(Ordering::Relaxed));
    tally.stop.store(true, Ordering::Relaxed);
    let mut waits = Vec::new();
    for task in tasks {
        // A producer can't panic, and one that was cut off has nothing to say.
        waits.extend(task.await.unwrap_or_default());
    }
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 events")]
    let acks = (after - before) as f64;
    Produced {
        rate: acks / (end - start).as_secs_f64(),
        waits,
    }
}

/// Sends, waits until it is on disk, sends again. Returns how long each wait was, in microseconds.
async fn producer(data: String, inbox: Sender<Mail>, tally: Arc<Tally>) -> Vec<u32> {
    let mut waits = Vec::new();
    while !tally.stop.load(Ordering::Relaxed) {
        let (ack, durable) = oneshot::channel();
        let data = data.clone();
        let begun = Instant::now();
        if inbox.send(Mail::Append(Request { data, ack })).is_err() || durable.await.is_err() {
            break;
        }
        waits.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
        tally.acks.fetch_add(1, Ordering::Relaxed);
    }
    waits
}

/// A peer's store: takes a group of records and has them on disk when it returns.
trait Engine: Send {
    fn commit(&mut self, group: &Group) -> Result<(), Failure>;
}

/// A peer's records of one group, each as long as an encoded event of ours, and their hashes.
struct Group {
    next: u64,
    links: Links,
    bytes: Vec<u8>,
    hashes: Vec<Hash>,
}

impl Group {
    fn new() -> Self {
        Self {
            next: 0,
            links: Links::new(ChainKey::new(clock::new_ledger_id()), Hash::ZERO),
            bytes: Vec::new(),
            hashes: Vec::new(),
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.hashes.clear();
    }

    /// Adds a record: a header as long as ours that begins with the position, then the payload.
    fn push(&mut self, payload: &str) {
        self.next += 1;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&self.next.to_le_bytes());
        self.bytes.resize(start + RECORD - PAYLOAD, b'h');
        self.bytes.extend_from_slice(payload.as_bytes());
        self.hashes.push(self.links.next(&self.bytes[start..]));
    }

    /// Position, bytes and hash of each.
    fn records(&self) -> impl Iterator<Item = (u64, &[u8], &Hash)> {
        let first = self.next + 1 - self.hashes.len() as u64;
        let records = self.bytes.chunks_exact(RECORD).zip(&self.hashes);
        (first..)
            .zip(records)
            .map(|(seq, (bytes, hash))| (seq, bytes, hash))
    }
}

/// Takes all that waits as one group, commits it, acknowledges it, and so on.
fn group_commit(mut engine: impl Engine, Post { inbox, own }: Post) -> Result<(), Failure> {
    drop(own);
    let mut group = Group::new();
    let mut acks = Vec::new();
    let mut stopped = false;
    while !stopped {
        let Ok(first) = inbox.recv() else { break };
        group.clear();
        for mail in std::iter::once(first).chain(inbox.try_iter().take(MAX_GROUP - 1)) {
            match mail {
                Mail::Append(request) => {
                    group.push(&request.data);
                    acks.push(request.ack);
                }
                Mail::Durable(_) => {}
                Mail::Stop => stopped = true,
            }
        }
        engine.commit(&group)?;
        for ack in acks.drain(..) {
            // A producer that has gone needs no answer.
            let _ = ack.send(());
        }
    }
    Ok(())
}
