//! A data directory from a backup or an export: the same history, and what says where it came from.
//! (From the beginning of a ledger: `fork`.)
//!
//! ```text
//! .NAME.new-PID/   build ──> append lease.acquired, ledger.restored, lease.released ──> verify
//!     └── rename ──> NAME/     whole, or not there
//! ```
//! - It is built under another name beside its own, checked as `ledger verify` does, and renamed: a
//!   crash leaves nothing that could be taken for a ledger. What it leaves is removed by the next.
//! - Nothing is overwritten: its name is free, or an empty directory's.
//! - The three events are a term of their own, so that a history that goes on from here has another
//!   term than one that goes on where the backup was made, and each term begins with its holder.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ledger_core::backup::{BackupReader, ManifestError};
use ledger_core::blobs::{
    self, BLOBS_DIR, BlobDir, BlobError, BlobFault, BlobFinding, BlobReport, Carrier, named_in,
};
use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::clock;
use ledger_core::copy::{BuildError, CopyError, StoreBuilder, copy_events};
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::{
    LeaseAcquired, LedgerEvent, LedgerImported, LedgerRestored, ReleaseReason,
};
use ledger_core::export::{ImportError, import_jsonl};
use ledger_core::files;
use ledger_core::hash::Hash;
use ledger_core::ids::{Id, LedgerId, Seq};
use ledger_core::store::durable::DurableStore;
use ledger_core::store::{LogReader, LogWriter, OpenError, ReadError};
use ledger_core::verify::{Verdict, verify_offline};
use projections::framework::{Fold, rebuild, unwatched};

use super::boot::{BootError, own_uid, refuse_unknown};
use super::core::ledger_subject;
use super::decision::Decision;
use super::ports::SeededRandom;
use super::sequencer::Entry;
use crate::decided::Decided;
use crate::lease;
use crate::lease::lock::{DirLock, LockError};
use crate::shim::ProcessIdentity;

/// Why there is no new data directory.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// There is something in its place.
    #[error("{0} is not empty")]
    NotEmpty(PathBuf),
    /// There is a link in its place.
    #[error("{0} is a symbolic link")]
    Link(PathBuf),
    /// It would change what it is made from.
    #[error("{into} lies in {from}, from which it is to be made")]
    Inside {
        /// The new directory.
        into: PathBuf,
        /// The backup, or the directory of blobs.
        from: PathBuf,
    },
    /// The file system failed.
    #[error("{path} can't be read or made: {error}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It can't be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The backup's manifest can't be used.
    #[error("the manifest of the backup can't be used: {0}")]
    Manifest(#[from] ManifestError),
    /// The backup can't be read, or is damaged.
    #[error("the backup is damaged: {0}")]
    Backup(String),
    /// The ledger that it is made from can't be read, or is damaged.
    #[error("the ledger can't be copied: {0}")]
    Source(#[source] ReadError),
    /// The ledger's own tree does not begin with what was copied from it.
    #[error("what was copied is not the beginning of the ledger's tree: {0}")]
    NotItsBeginning(String),
    /// The export was not taken.
    #[error("the export is refused: {0}")]
    Import(#[from] ImportError),
    /// The store could not be built.
    #[error("the store can't be built: {0}")]
    Build(#[from] BuildError),
    /// The history can't be folded, or holds what this binary does not know.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The blobs can't be written.
    #[error("the blobs can't be written: {0}")]
    Blob(#[from] BlobError),
    /// What was built is not good.
    #[error("what was built does not verify: {0}")]
    NotGood(String),
}

/// A data directory that was made.
#[derive(Debug, Clone)]
pub struct Founded {
    /// The ledger.
    pub ledger_id: LedgerId,
    /// Where the history ended that it was made from.
    pub from: (Seq, Hash),
    /// Where it ends now.
    pub head: Head,
    /// What tells this history from others that go on from there.
    pub incarnation: String,
    /// The blobs that its events name, read back. Those that are not there were not to be had.
    pub blobs: BlobReport,
}

/// Makes the data directory `into` from the backup in `backup`.
///
/// # Errors
/// [`FoundError`]; `into` is then as it was.
pub fn restore(
    backup: &Path,
    into: &Path,
    progress: &dyn Fn(u64, u64),
) -> Result<Founded, FoundError> {
    check_outside(into, backup)?;
    let reader = BackupReader::open(backup)?;
    let (head, ledger_id) = (reader.manifest().head(), reader.ledger_id());
    found(into, |dir| {
        let mut builder = StoreBuilder::new(dir, ledger_id);
        copy_events(&reader, Head::EMPTY, head, &mut |batch| {
            progress(batch.head().seq.0, head.seq.0);
            builder.push(&batch)
        })
        .map_err(|error| match error {
            CopyError::Source(ReadError::Damaged(what)) => FoundError::Backup(what),
            CopyError::Source(error) => FoundError::Backup(error.to_string()),
            CopyError::Sink(error) => error.into(),
        })?;
        let manifest = reader.manifest();
        let digests = manifest.blobs.iter().map(|blob| blob.blake3);
        let lost = carry(&BlobDir::open(backup)?, digests, dir)?;
        let restored = |incarnation: String| {
            LedgerEvent::Restored(LedgerRestored {
                backup: manifest.name.clone(),
                seq: head.seq,
                hash: head.hash,
                made_at: manifest.made_at,
                incarnation,
            })
        };
        Ok(Built {
            store: builder.finish()?,
            who: "restore",
            event: restored,
            lost,
        })
    })
}

/// What a new directory was built of.
pub(super) struct Built<E> {
    pub(super) store: DurableStore,
    /// Who built it.
    pub(super) who: &'static str,
    /// The event that says where it came from.
    pub(super) event: E,
    /// What is wrong with the blobs that were not taken.
    pub(super) lost: Lost,
}

/// Why blobs could not be had where they should have been.
pub(super) type Lost = BTreeMap<Hash, BlobFault>;

/// What is copied must not grow while it is, and what is kept must stay what it was.
pub(super) fn check_outside(into: &Path, from: &Path) -> Result<(), FoundError> {
    check_free(into)?;
    if files::lies_in(into, from).map_err(at(into))? {
        return Err(FoundError::Inside {
            into: into.to_owned(),
            from: from.to_owned(),
        });
    }
    Ok(())
}

/// Copies blobs that are whole, and says of the others what is wrong with them: here they are missing.
/// Those who need them most have nothing but this one copy: what is left of it is worth having.
pub(super) fn carry(
    from: &BlobDir,
    digests: impl Iterator<Item = Hash>,
    dir: &Path,
) -> Result<Lost, BlobError> {
    let mut carrier = Carrier::into_dir(dir)?;
    let mut lost = Lost::new();
    for digest in digests {
        if let Err(fault) = carrier.copy(from, digest)? {
            lost.insert(digest, fault);
        }
    }
    carrier.finish()?;
    Ok(lost)
}

/// Makes the data directory `into` from exported lines, and the blobs that they name from the directory
/// `blobs`, if there is one; `progress` is told how many events were read.
///
/// # Errors
/// [`FoundError`]; `into` is then as it was.
pub fn import(
    lines: impl BufRead,
    blobs: Option<&Path>,
    into: &Path,
    progress: &dyn Fn(u64),
) -> Result<Founded, FoundError> {
    if let Some(blobs) = blobs {
        check_outside(into, &blobs.join(BLOBS_DIR))?;
        // Before everything is read in vain.
        fs::read_dir(blobs).map_err(at(blobs))?;
    }
    found(into, |dir| {
        let imported = import_jsonl(lines, dir, progress)?;
        let (seq, hash) = (imported.export.seq, imported.export.hash);
        let mut lost = Lost::new();
        if let Some(blobs) = blobs {
            let named = named_in(&imported.store.reader(), Seq::FIRST..=seq).map_err(unread)?;
            let digests: BTreeSet<Hash> = named.iter().map(|(_, named)| named.blake3).collect();
            lost = carry(&BlobDir::open(blobs)?, digests.into_iter(), dir)?;
        }
        let event = move |incarnation: String| {
            LedgerEvent::Imported(LedgerImported {
                seq,
                hash,
                incarnation,
            })
        };
        Ok(Built {
            store: imported.store,
            who: "import",
            event,
            lost,
        })
    })
}

fn at(path: &Path) -> impl Fn(io::Error) -> FoundError + '_ {
    |error| FoundError::Io {
        path: path.to_owned(),
        error,
    }
}

/// Builds beside `into`, says where it came from, verifies, and renames.
pub(super) fn found<E: FnOnce(String) -> LedgerEvent>(
    into: &Path,
    build: impl FnOnce(&Path) -> Result<Built<E>, FoundError>,
) -> Result<Founded, FoundError> {
    // Again: what was read meanwhile may have taken long.
    check_free(into)?;
    let parent = match into.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    make_dirs(parent).map_err(at(parent))?;
    let prefix = prefix(into);
    remove_interrupted(parent, &prefix)?;
    let new = parent.join(format!("{prefix}{}", std::process::id()));
    make_dirs(&new).map_err(at(&new))?;
    // Says to others that somebody is at it.
    let _lock = DirLock::take(&new)?;
    let made = build(&new).and_then(|built| {
        let mut founded = settle(&new, built.store, built.who, built.event)?;
        for blob in &mut founded.blobs.findings {
            // Why it was not taken says more than that it is not here.
            if let Some(fault) = built.lost.get(&blob.digest) {
                blob.fault = fault.clone();
            }
        }
        Ok(founded)
    });
    let made = made.and_then(|founded| {
        // Takes the place of an empty directory, and of nothing else.
        fs::rename(&new, into).map_err(at(into))?;
        fs::File::open(parent)
            .and_then(|dir| dir.sync_all())
            .map_err(at(parent))?;
        Ok(founded)
    });
    if made.is_err() {
        // If it stays, the next attempt removes it.
        let _ = fs::remove_dir_all(&new);
    }
    made
}

fn check_free(into: &Path) -> Result<(), FoundError> {
    if into.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
        return Err(FoundError::Link(into.to_owned()));
    }
    match fs::read_dir(into) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(FoundError::NotEmpty(into.to_owned())),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(at(into)(e)),
    }
}

fn make_dirs(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
}

fn prefix(into: &Path) -> String {
    let name = into.file_name().unwrap_or(OsStr::new("ledger"));
    format!(".{}.new-", name.to_string_lossy())
}

/// Removes what earlier attempts have left, unless somebody is at it.
fn remove_interrupted(parent: &Path, prefix: &str) -> Result<(), FoundError> {
    for entry in fs::read_dir(parent).map_err(at(parent))? {
        let entry = entry.map_err(at(parent))?;
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let path = entry.path();
        match DirLock::take(&path) {
            Ok(_lock) => fs::remove_dir_all(&path).map_err(at(&path))?,
            Err(LockError::Held(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Appends where it came from, closes and verifies.
pub(super) fn settle(
    dir: &Path,
    mut store: DurableStore,
    who: &'static str,
    event: impl FnOnce(String) -> LedgerEvent,
) -> Result<Founded, FoundError> {
    let ledger_id = LogWriter::ledger_id(&store);
    let from = LogWriter::head(&store);
    let now = clock::now();
    let mut random = SeededRandom::from_system().map_err(at(dir))?;
    let incarnation = clock::event_id(now, random.draw()).to_string();
    let reader = store.reader();
    let fold: Fold<Decision> =
        rebuild(&reader, None, &mut unwatched).map_err(|e| BootError::Replay(e.to_string()))?;
    refuse_unknown(&reader, &fold)?;
    let blobs = blobs::verify(&reader, &BlobDir::open(dir)?, &|_| {}).map_err(unread)?;
    // Only what was whole was written.
    let fault = |blob: &&BlobFinding| {
        matches!(
            blob.fault,
            BlobFault::Hash { .. } | BlobFault::Unreadable { .. }
        )
    };
    if let Some(bad) = blobs.findings.iter().find(fault) {
        return Err(FoundError::NotGood(bad.to_string()));
    }
    drop(reader);
    let me = ProcessIdentity::current().map_err(|e| BootError::Identity(e.to_string()))?;
    let holder = Id::new(who).expect("the words that are passed are ids");
    let tenure = LeaseAcquired {
        holder: holder.clone(),
        pid: me.pid,
        start_time: Some(me.start_time),
        boot_id: me.boot_id,
        incarnation: incarnation.clone(),
    };
    let leases = &fold.state().leases;
    let mut decided = lease::decide::acquire(leases, tenure, None);
    decided.push(Decided::new(
        ledger_subject(ledger_id),
        event(incarnation.clone()),
    ));
    decided.push(lease::decide::release(&holder, ReleaseReason::Shutdown));
    let drafts: Vec<Draft> = decided
        .into_iter()
        .map(|decided| {
            let entry = Entry::from(decided);
            Draft {
                event_id: clock::event_id(now, random.draw()),
                kind: entry.kind,
                version: 1,
                subject: entry.subject,
                origin: Origin::of(own_uid()),
                idempotency_key: None,
                data: entry.data,
            }
        })
        .collect();
    let term = leases.next_term().max(from.term.next());
    let mut builder = BatchBuilder::new(ChainKey::new(ledger_id), from, term);
    let head = builder
        .push(&drafts, now)
        .expect("these events are far below the size limit");
    store
        .append(&builder.take())
        .map_err(|e| FoundError::Build(e.into()))?;
    store.close().map_err(at(dir))?;
    verify(dir, head)?;
    Ok(Founded {
        ledger_id,
        from: (from.seq, from.hash),
        head,
        incarnation,
        blobs,
    })
}

/// What was written a moment ago.
pub(super) fn unread(error: ReadError) -> FoundError {
    FoundError::NotGood(error.to_string())
}

/// What was built must be what was meant, read from its files.
fn verify(dir: &Path, head: Head) -> Result<(), FoundError> {
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let report = verify_offline(dir, threads, &|_, _| {})
        .map_err(|error: OpenError| FoundError::NotGood(error.to_string()))?;
    if let Some(finding) = report.findings.first() {
        return Err(FoundError::NotGood(finding.to_string()));
    }
    if report.verdict != Verdict::Intact
        || (report.head.seq, report.head.hash) != (head.seq, head.hash)
    {
        return Err(FoundError::NotGood(format!(
            "it ends at seq {}, not at {}",
            report.head.seq, head.seq
        )));
    }
    Ok(())
}
