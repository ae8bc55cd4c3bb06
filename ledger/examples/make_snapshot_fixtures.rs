//! Writes the golden events of snapshots of files, as JSON lines.
//!
//! ```text
//! cargo run -p ledger-core --example make_snapshot_fixtures -- fixtures/v1/snapshot.jsonl
//! ```
//!
//! The file must not exist yet: fixtures of a released format are never written again.

#![allow(missing_docs, reason = "an example has no API")]

mod golden;

use golden::Outcome;
use ledger_core::event::{
    Event, SnapshotCreated, SnapshotEvent, SnapshotFailed, SnapshotPruned, SnapshotRestored,
    snapshot_subject,
};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Id};

fn main() -> Outcome<()> {
    golden::write(0x60, events()?)
}

fn events() -> Outcome<Vec<(Entity, Event)>> {
    let name = || Id::new("20260101T000000.000000Z");
    let manifest = Hash::of(b"a manifest");
    let created = |lost, changing| -> Outcome<SnapshotEvent> {
        Ok(SnapshotEvent::Created(SnapshotCreated {
            snapshot: name()?,
            manifest,
            files: 3,
            bytes: 4096,
            written: 1024,
            lost,
            changing,
        }))
    };
    let all = [
        created(0, 0)?,
        created(1, 2)?,
        SnapshotEvent::Failed(SnapshotFailed {
            reason: "no file beneath /srv/app fits the patterns".into(),
        }),
        SnapshotEvent::Restored(SnapshotRestored {
            snapshot: name()?,
            manifest,
            into: "/srv/app".into(),
            files: 2,
            replaced: 1,
        }),
        SnapshotEvent::Pruned(SnapshotPruned {
            snapshots: vec![name()?],
        }),
    ];
    let set = snapshot_subject(&Id::new("configs")?);
    Ok(all
        .into_iter()
        .map(|event| (set.clone(), event.into()))
        .collect())
}
