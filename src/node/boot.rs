//! Making a ledger, and coming up on one: lock, open, fold, take the lease.
//!
//! The order matters: nothing is read before the lock is held, nothing is served before the
//! lease is durable, nothing is dispatched before open work was looked into.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::clock;
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::{
    Event, LEDGER_FORMAT, LeaseAcquired, LedgerCreated, LedgerEvent, NodeStarted,
};
use ledger_core::ids::{Entity, Id, LedgerId, Seq, Term};
use ledger_core::store::durable::{DurableStore, Settings, Structure, check_vacant};
use ledger_core::store::{LogReader, OpenError, for_each_event};
use ledger_core::time::Micros;
use ledger_core::tree_head::{KeyFileError, SignerKey, VerifierKey};
use projections::framework::{Fold, Health, catch_up, unwatched};

use super::checkpoints::{
    CheckpointDir, Files as _, PassedOver, Recovered, Reference, Report, fold_state,
};
use super::core::{Core, CoreConfig, Restored, ledger_subject};
use super::decision::Decision;
use super::ports::{self, SeededRandom, Stopwatch};
use super::pulse::Pulse;
use super::reserve;
use super::room::Wanted;
use crate::config::{Config, RESERVE};
use crate::keys;
use crate::lease;
use crate::lease::file::RecordFile;
use crate::lease::lock::{DirLock, LockError};
use crate::lease::record::{MAX_RECORD, Record};
use crate::run_dir;
use crate::shim::ProcessIdentity;

/// Why a node does not come up, or a ledger is not made.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The directory is locked, or can't be.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The store can't be made or opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The log does not fold.
    #[error("the ledger can't be replayed: {0}")]
    Replay(String),
    /// The log holds events that this binary does not know, so it must not decide over them.
    #[error("seq {seq} is of kind {kind}, version {version}, which this binary does not know")]
    UnknownKind {
        /// The first of them.
        seq: Seq,
        /// Its kind.
        kind: String,
        /// Its payload version.
        version: u16,
    },
    /// A file or directory could not be made.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// There is no room for the reserve.
    #[error("the disk is full: {0}")]
    Full(String),
    /// The key of a new ledger can't be made.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The system does not say who we are.
    #[error("this process can't be identified: {0}")]
    Identity(String),
}

/// A ledger that was made.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its id.
    pub ledger_id: LedgerId,
    /// Its first event.
    pub head: Head,
    /// What its signed heads are checked with.
    pub key: VerifierKey,
}

/// Makes a ledger in `dir`, which is made (0700) if it is missing, and the key that signs its heads,
/// which is a new one if none is given.
///
/// # Errors
/// [`BootError`]; there is then no new ledger.
pub fn create_ledger(dir: &Path, name: &Id, key: Option<&SignerKey>) -> Result<Created, BootError> {
    use std::os::unix::fs::DirBuilderExt;
    let io = |error| BootError::Io {
        path: dir.to_owned(),
        error,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(io)?;
    let _lock = DirLock::take(dir)?;
    // Nothing is written over what is left of another ledger: not even the key, which comes first
    // because the ledger names it.
    check_vacant(dir)?;
    make_reserve(dir, RESERVE)?;
    let ledger_id = clock::new_ledger_id();
    let key = keys::make(dir, ledger_id, key)?.verifier();
    let created = LedgerCreated {
        ledger_id,
        format: LEDGER_FORMAT,
        name: name.clone(),
        software: software(),
        key_fingerprint: Some(key.fingerprint()),
    };
    let (kind, data) = Event::from(LedgerEvent::Created(created))
        .kind_and_data()
        .expect("ledger.created is an event of our own");
    let now = clock::now();
    let named = "kinds and entities made of constants and a UUID follow their rules";
    let draft = Draft {
        event_id: clock::event_id(now, SeededRandom::from_system().map_err(io)?.draw()),
        kind: kind.parse().expect(named),
        version: 1,
        subject: ledger_subject(ledger_id),
        origin: Origin::of(own_uid()),
        idempotency_key: None,
        data,
    };
    let mut builder = BatchBuilder::new(ChainKey::new(ledger_id), Head::EMPTY, Term::ZERO);
    let head = builder
        .push(&[draft], now)
        .expect("ledger.created is far below the size limit");
    DurableStore::create(dir, ledger_id, &builder.take())?
        .close()
        .map_err(io)?;
    Ok(Created {
        ledger_id,
        head,
        key,
    })
}

/// Makes the reserve as long as it is to be.
fn make_reserve(dir: &Path, bytes: u64) -> Result<(), BootError> {
    let path = dir.join(reserve::RESERVE_FILE);
    reserve::ensure(dir, bytes).map_err(|e| no_room(e, "the reserve", Wanted { bytes, dir }, path))
}

/// Why a file was not made, with how much room there is if that is why.
fn no_room(error: std::io::Error, what: &str, wanted: Wanted<'_>, path: PathBuf) -> BootError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            BootError::Full(format!("{error}; {what}: {wanted}"))
        }
        _ => BootError::Io { path, error },
    }
}

/// The user that this process runs as, as an actor.
pub fn own_uid() -> Entity {
    let uid = nix::unistd::geteuid().as_raw();
    Entity::of("uid", &uid.to_string()).expect("a number is an id")
}

/// This software, as events name it.
pub fn software() -> String {
    format!("opsledger {}", env!("CARGO_PKG_VERSION"))
}

/// All that is needed to lead, in the order it was acquired.
pub(super) struct Booted {
    pub(super) lock: DirLock,
    pub(super) store: DurableStore,
    pub(super) core: Core,
    pub(super) first: Vec<super::command::Output>,
    pub(super) aftermath: Aftermath,
    /// Says that this process lives, until whoever works says so himself.
    pub(super) pulse: Pulse,
}

/// What is still to be told of how state was come by.
pub(super) struct Aftermath {
    /// Checkpoints that can't be used.
    pub(super) passed_over: Vec<PassedOver>,
    /// What the state was at an earlier position, if it was come by on another way than by the files.
    pub(super) digests: Option<Reference>,
}

/// What a standby has made of the history.
pub(super) struct Warm {
    pub(super) fold: Fold<Decision>,
    /// What that was at an earlier position.
    pub(super) digests: Option<Reference>,
}

/// The lock, and what is known already by whoever waited for it.
pub(super) struct Turn {
    pub(super) lock: DirLock,
    /// What a standby has folded; it may stand anywhere in the history, or in another one.
    pub(super) warm: Option<Warm>,
    /// A holder that somebody has ended, as far as that is known: not necessarily the last one.
    pub(super) ended: Option<lease::decide::Ended>,
}

impl Turn {
    /// The turn of a node that did not have to wait.
    pub(super) fn cold(lock: DirLock, ended: Option<lease::decide::Ended>) -> Self {
        Self {
            lock,
            warm: None,
            ended,
        }
    }
}

/// Opens, folds and takes the lease.
pub(super) fn boot(
    dir: &Path,
    node: &Id,
    config: &Config,
    Turn { lock, warm, ended }: Turn,
) -> Result<Booted, BootError> {
    let max_running = config.scheduler.max_running;
    let io = |error| BootError::Io {
        path: dir.to_owned(),
        error,
    };
    let me = ProcessIdentity::current().map_err(|e| BootError::Identity(e.to_string()))?;
    let mut random = SeededRandom::from_system().map_err(io)?;
    let incarnation: String = random.draw().iter().map(|b| format!("{b:02x}")).collect();
    let timing = config.lease.timing().unwrap_or_default();
    // Not before the directory is known to be a ledger: nothing is made in any other.
    let record = Record::new(
        node.clone(),
        me.clone(),
        incarnation.clone(),
        None,
        timing.ttl(),
    );
    let (bytes, path) = (MAX_RECORD as u64, run_dir::path(dir));
    let record = RecordFile::create(dir, record)
        .map_err(|e| no_room(e, "the lease's record", Wanted { bytes, dir }, path))?;
    let pulse = Pulse::start(record, timing).map_err(io)?;
    make_reserve(dir, config.disk.reserve)?;
    let opening = Stopwatch::start();
    let settings = Settings {
        structure: Structure::CheckedFirst,
        ..Settings::default()
    };
    let store = patiently(|| DurableStore::open_with(dir, settings))?;
    let open = opening.elapsed();
    let reader = store.reader();
    let (Recovered { fold, report }, digests) = fold(dir, &reader, warm)?;
    refuse_unknown(&reader, &fold)?;
    let restored = Restored {
        checkpoint: report.checkpoint,
        rejected: u32::try_from(report.passed_over.len()).unwrap_or(u32::MAX),
        replayed: report.replayed,
        open,
        restore: report.restore,
        replay: report.replay,
    };
    let policy = config.policy();
    let config = CoreConfig {
        ledger: reader.ledger_id(),
        head: reader
            .head()
            .map_err(|e| BootError::Replay(e.to_string()))?,
        state: fold.into_state(),
        restored,
        policy,
        tenure: LeaseAcquired {
            holder: node.clone(),
            pid: me.pid,
            start_time: Some(me.start_time),
            boot_id: me.boot_id,
            incarnation,
        },
        ended,
        started: NodeStarted {
            software: software(),
            host: host_name(),
            max_running,
            clock: None,
        },
        random: Box::new(random),
    };
    let (core, first) = Core::start(ports::now(), config);
    Ok(Booted {
        lock,
        store,
        core,
        first,
        aftermath: Aftermath {
            passed_over: report.passed_over,
            digests,
        },
        pulse,
    })
}

/// How long who had the lock may take to let go of the store: a process that ends closes one file
/// after the other.
const LETTING_GO: Micros = Micros(5_000_000);

/// Opens something of the store as soon as nobody else has it open any more. The lock is ours, so that
/// is soon.
fn patiently<T>(open: impl Fn() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let begun = Stopwatch::start();
    loop {
        match open() {
            Err(OpenError::InUse) if begun.elapsed() < LETTING_GO => {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return opened,
        }
    }
}

/// All of the log, folded: from where a standby stands, if that is in this history; else from the newest
/// checkpoint that holds.
fn fold(
    dir: &Path,
    reader: &dyn LogReader,
    warm: Option<Warm>,
) -> Result<(Recovered, Option<Reference>), BootError> {
    let checkpoints = CheckpointDir::new(dir);
    let warm = warm.filter(|warm| is_ahead(warm.fold.position().seq, &checkpoints));
    if let Some(Warm { mut fold, digests }) = warm {
        let (begun, from) = (Stopwatch::start(), fold.position().seq);
        match catch_up(&mut fold, reader, None, &mut unwatched) {
            Ok(()) => {
                let report = Report {
                    replayed: fold.position().seq.0.saturating_sub(from.0),
                    replay: begun.elapsed(),
                    ..Report::default()
                };
                return Ok((Recovered { fold, report }, digests));
            }
            // The files are what counts, whatever was heard of them.
            Err(error) => tracing::warn!(%error, "what was followed does not continue; replaying"),
        }
    }
    let recovered = fold_state(&checkpoints, reader);
    let recovered = recovered.map_err(|e| BootError::Replay(e.to_string()))?;
    Ok((recovered, None))
}

/// How many events cost about as much to fold as a checkpoint to restore.
const WORTH: u64 = 100_000;

/// Whether a standby that stands at `seq` is better off than with the newest checkpoint: not if it has
/// followed nothing, or has begun far behind.
fn is_ahead(seq: Seq, checkpoints: &CheckpointDir) -> bool {
    let newest = checkpoints
        .list()
        .ok()
        .and_then(|all| all.last().map(|one| one.seq));
    match newest {
        Some(newest) => seq > Seq::ZERO && newest.0.saturating_sub(seq.0) < WORTH,
        None => true,
    }
}

/// Whoever decides must have understood everything that was decided before.
pub(super) fn refuse_unknown(
    reader: &dyn LogReader,
    fold: &Fold<Decision>,
) -> Result<(), BootError> {
    if let Some((seq, kind, version)) = fold.state().unknown() {
        return Err(BootError::UnknownKind {
            seq,
            kind: kind.to_owned(),
            version,
        });
    }
    let Health::Poisoned { seq, reason } = fold.health() else {
        return Ok(());
    };
    // A later version of a payload is somebody else's word for it, not damage.
    let found = for_each_event(reader, *seq, |chained| {
        let header = &chained.event.header;
        ControlFlow::Break(match Event::decode(&chained.event) {
            Ok(Event::Unknown) => Some((header.kind.to_owned(), header.version)),
            Ok(_) | Err(_) => None,
        })
    });
    match found {
        Ok(ControlFlow::Break(Some((kind, version)))) => Err(BootError::UnknownKind {
            seq: *seq,
            kind,
            version,
        }),
        _ => Err(BootError::Replay(format!("at seq {seq}: {reason}"))),
    }
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .map(|name| {
            name.to_string_lossy()
                .chars()
                .filter(|c| !c.is_control())
                .take(255)
                .collect()
        })
        .unwrap_or_default()
}
