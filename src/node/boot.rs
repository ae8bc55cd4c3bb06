//! Making a ledger, and coming up on one: lock, open, fold, take the lease.
//!
//! The order matters: nothing is read before the lock is held, nothing is served before the
//! lease is durable, nothing is dispatched before open work was looked into.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::clock;
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::{
    Event, LEDGER_FORMAT, LeaseAcquired, LedgerCreated, LedgerEvent, NodeStarted,
};
use ledger_core::ids::{Entity, Id, LedgerId, Term};
use ledger_core::store::durable::{DurableStore, OfflineReader, check_vacant};
use ledger_core::store::{LogReader, Offline, OpenError, for_each_event};
use ledger_core::tree_head::{KeyFileError, SignerKey, VerifierKey};
use projections::framework::{Fold, Health, rebuild, unwatched};

use super::command::Now;
use super::core::{Core, CoreConfig, ledger_subject};
use super::decision::Decision;
use super::ports::{SeededRandom, Stopwatch};
use super::reserve;
use super::room::Wanted;
use crate::config::{Config, RESERVE};
use crate::keys;
use crate::lease::lock::{DirLock, LockError};
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
        seq: ledger_core::ids::Seq,
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
    reserve::ensure(dir, bytes).map_err(|error| match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            let wanted = Wanted { bytes, dir };
            BootError::Full(format!("{error}; the reserve: {wanted}"))
        }
        _ => BootError::Io {
            path: dir.join(reserve::RESERVE_FILE),
            error,
        },
    })
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
}

/// Locks, opens, folds and takes the lease.
pub(super) fn boot(dir: &Path, node: &Id, config: &Config) -> Result<Booted, BootError> {
    if !dir.is_dir() {
        return Err(OpenError::Missing(dir.to_owned()).into());
    }
    let max_running = config.scheduler.max_running;
    let lock = DirLock::take(dir)?;
    // A writer trusts redb's record of free pages; were that damaged, it would overwrite events.
    // Looking first costs about a third of a second for a million events.
    OfflineReader::open(dir)?
        .check_structure()
        .map_err(OpenError::from)?;
    make_reserve(dir, config.disk.reserve)?;
    let store = DurableStore::open(dir)?;
    let begun = Stopwatch::start();
    let reader = store.reader();
    let fold: Fold<Decision> =
        rebuild(&reader, None, &mut unwatched).map_err(|e| BootError::Replay(e.to_string()))?;
    refuse_unknown(&reader, &fold)?;
    let replay = begun.elapsed();
    let io = |error| BootError::Io {
        path: dir.to_owned(),
        error,
    };
    let me = ProcessIdentity::current().map_err(|e| BootError::Identity(e.to_string()))?;
    let mut random = SeededRandom::from_system().map_err(io)?;
    let policy = config.policy();
    let config = CoreConfig {
        ledger: reader.ledger_id(),
        head: reader
            .head()
            .map_err(|e| BootError::Replay(e.to_string()))?,
        state: fold.state().clone(),
        replay,
        policy,
        tenure: LeaseAcquired {
            holder: node.clone(),
            pid: me.pid,
            boot_id: me.boot_id,
            incarnation: random.draw().iter().map(|b| format!("{b:02x}")).collect(),
        },
        started: NodeStarted {
            software: software(),
            host: host_name(),
            max_running,
        },
        random: Box::new(random),
    };
    let (core, first) = Core::start(Now { wall: clock::now() }, config);
    Ok(Booted {
        lock,
        store,
        core,
        first,
    })
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
