//! Writes the golden export and backup: every `ledger.*` kind, a signed head, two files.
//!
//! ```sh
//! cargo run -p ledger-core --example make_portable_fixtures -- fixtures/v1/portable
//! ```
//! They are never written anew: what is there is what version 1 wrote.

#![allow(missing_docs, reason = "an example has no API")]

use std::error::Error;
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::Path;

use ledger_core::backup::{Basis, Catalog, Request};
use ledger_core::blobs::BlobDir;
use ledger_core::chain::{BatchBuilder, ChainKey, Head};
use ledger_core::clock::event_id;
use ledger_core::envelope::{Draft, Origin};
use ledger_core::event::{
    Event, LEDGER_FORMAT, LeaseAcquired, LeaseEvent, LedgerBackedUp, LedgerBackupFailed,
    LedgerBackupsPruned, LedgerCreated, LedgerEvent, LedgerExported, LedgerImported,
    LedgerRestored, LedgerResumed, LedgerSalvaged,
};
use ledger_core::export::{Extent, JsonlWriter};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Id, Kind, LedgerId, Seq, Term};
use ledger_core::store::memory::MemoryStore;
use ledger_core::store::{LogReader, LogWriter, for_each_event};
use ledger_core::time::Timestamp;
use ledger_core::tree_head::{SignerKey, TreeHead};
use uuid::Uuid;

type Outcome<T> = Result<T, Box<dyn Error>>;

const LEDGER: LedgerId = LedgerId(Uuid::from_u128(0x0198_7654_3210_7abc_8def_0123_4567_89ac));
const BEGUN: u64 = 1_767_225_600_000_000;

fn main() -> Outcome<()> {
    let dir = std::env::args()
        .nth(1)
        .ok_or("give the directory to write")?;
    let dir = Path::new(&dir);
    fs::create_dir(dir)?;
    let key = SignerKey::from_seed(TreeHead::key_name(LEDGER), &[7; 32]);
    let mut store = MemoryStore::new(LEDGER);
    append(&mut store, Term::ZERO, vec![created(&key)?])?;
    append(&mut store, Term(1), vec![acquired("alpha")?])?;
    let catalog = Catalog::new(&dir.join("backups"));
    let mut made_at = Timestamp(BEGUN);
    for part in [kept()?, moved()?] {
        append(&mut store, Term(2), part)?;
        let request = Request {
            made_at,
            software: "opsledger 0.1.0",
            basis: Basis::Newest,
            blobs: &BlobDir::open(dir)?,
            threads: NonZeroUsize::MIN,
        };
        catalog.lock()?.create(&store, request, &|_, _| {})?;
        made_at = Timestamp(BEGUN + 3_600_000_000);
    }
    export(&store, &key, dir)
}

fn export(store: &MemoryStore, key: &SignerKey, dir: &Path) -> Outcome<()> {
    let mut lines = JsonlWriter::new(File::create_new(dir.join("export.jsonl"))?);
    let walked = for_each_event(store, Seq::FIRST, |event| match lines.write(&event) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    })?;
    if let ControlFlow::Break(error) = walked {
        return Err(error.into());
    }
    let note = store.tree()?.head(LEDGER).sign(key).to_string();
    let head = LogReader::head(store)?;
    lines.finish(LEDGER, head, Extent::Complete, Some(note))?;
    Ok(())
}

fn append(store: &mut MemoryStore, term: Term, events: Vec<(&str, Event)>) -> Outcome<()> {
    let head: Head = LogWriter::head(store);
    let mut builder = BatchBuilder::new(ChainKey::new(LEDGER), head, term);
    for (actor, event) in events {
        let seq = builder.head().seq.0;
        let at = Timestamp(BEGUN + seq * 1_234_567);
        let (kind, data) = event.kind_and_data().ok_or("a kind of ours")?;
        let subject = if kind.starts_with("lease.") {
            "lease/main".to_owned()
        } else {
            format!("ledger/{LEDGER}")
        };
        let mut random = [0x5A; 10];
        random[9] = u8::try_from(seq)?;
        let draft = Draft {
            event_id: event_id(at, random),
            kind: Kind::new(kind)?,
            version: 1,
            subject: Entity::new(subject)?,
            origin: Origin::of(Entity::new(actor)?),
            idempotency_key: None,
            data,
        };
        builder.push(&[draft], at)?;
    }
    store.append(&builder.take())?;
    Ok(())
}

fn created(key: &SignerKey) -> Outcome<(&'static str, Event)> {
    let created = LedgerEvent::Created(LedgerCreated {
        ledger_id: LEDGER,
        format: LEDGER_FORMAT,
        name: Id::new("portable")?,
        software: "opsledger 0.1.0".into(),
        key_fingerprint: Some(key.verifier().fingerprint()),
    });
    Ok(("uid/1000", created.into()))
}

fn acquired(holder: &str) -> Outcome<(&'static str, Event)> {
    let acquired = LeaseEvent::Acquired(LeaseAcquired {
        holder: Id::new(holder)?,
        pid: 4242,
        start_time: None,
        boot_id: "2b1c3d4e-0000-4000-8000-00805f9b34fb".into(),
        incarnation: "k3v9".into(),
    });
    Ok(("node/alpha", acquired.into()))
}

fn kept() -> Outcome<Vec<(&'static str, Event)>> {
    let dir = || "/var/backups/ledger".to_owned();
    let name = || Id::new("20260101T000000.000000Z-3");
    let backed_up = LedgerBackedUp {
        backup: name()?,
        dir: dir(),
        seq: Seq(3),
        hash: Hash::of(b"an event"),
        manifest: Hash::of(b"a manifest"),
        bytes: 70_000,
        written: 300,
    };
    let failed = LedgerBackupFailed {
        dir: dir(),
        reason: "/var/backups/ledger: No space left on device (os error 28)".into(),
    };
    let pruned = LedgerBackupsPruned {
        dir: dir(),
        backups: vec![name()?],
    };
    let exported = LedgerExported {
        format: "tiles".into(),
        seq: Seq(3),
        hash: Hash::of(b"an event"),
        events: 3,
        complete: true,
    };
    Ok(vec![
        acquired("restore")?,
        ("node/alpha", LedgerEvent::BackedUp(backed_up).into()),
        ("node/alpha", LedgerEvent::BackupFailed(failed).into()),
        ("node/alpha", LedgerEvent::BackupsPruned(pruned).into()),
        ("uid/1000", LedgerEvent::Exported(exported).into()),
    ])
}

fn moved() -> Outcome<Vec<(&'static str, Event)>> {
    let incarnation = || "019b76da-a800-7000-8000-0123456789ab".to_owned();
    let restored = LedgerRestored {
        backup: Id::new("20260101T000000.000000Z-3")?,
        seq: Seq(3),
        hash: Hash::of(b"an event"),
        made_at: Timestamp(BEGUN),
        incarnation: incarnation(),
    };
    let imported = LedgerImported {
        seq: Seq(3),
        hash: Hash::of(b"an event"),
        incarnation: incarnation(),
    };
    let salvaged = LedgerSalvaged {
        source: "/srv/damaged".into(),
        seq: Seq(3),
        hash: Hash::of(b"an event"),
        claimed_seq: Some(Seq(9)),
        claimed_hash: Some(Hash::of(b"another")),
        fault: "seq 4: the chain is broken between two blocks".into(),
        left_events: 5,
        left_bytes: 1800,
        incarnation: incarnation(),
    };
    let resumed = |reason: Option<&str>| LedgerResumed {
        reason: reason.map(str::to_owned),
    };
    Ok(vec![
        ("uid/1000", LedgerEvent::Restored(restored).into()),
        (
            "uid/1000",
            LedgerEvent::Resumed(resumed(Some("checked"))).into(),
        ),
        ("uid/1000", LedgerEvent::Imported(imported).into()),
        ("uid/1000", LedgerEvent::Salvaged(salvaged).into()),
        ("uid/1000", LedgerEvent::Resumed(resumed(None)).into()),
    ])
}
