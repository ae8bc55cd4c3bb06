//! What has become of snapshots of files, set by set, as far as the log knows.

use std::collections::BTreeMap;

use ledger_core::envelope::Header;
use ledger_core::event::{SnapshotCreated, SnapshotEvent};
use ledger_core::hash::Hash;
use ledger_core::ids::{Id, Seq};
use ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// How many snapshots of a set are remembered. Those that are removed are said to be; this is for those
/// that somebody removes without a word.
const REMEMBERED: usize = 1000;

/// The latest snapshot of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSnapshot {
    /// What was recorded of it.
    #[serde(flatten)]
    pub facts: SnapshotCreated,
    /// The event that says so.
    pub recorded: Seq,
    /// When.
    pub at: Timestamp,
}

/// A snapshot that could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedSnapshot {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// The snapshots of a set since the first event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFacts {
    /// Those that were made and not removed, with the hashes of their manifests.
    pub kept: BTreeMap<Id, Hash>,
    /// How many could not be made.
    pub failed: u64,
    /// How many times files were brought back.
    pub restored: u64,
    /// The latest that was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastSnapshot>,
    /// The latest that could not be made, if none was made after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<FailedSnapshot>,
}

/// Every set of which something is recorded.
pub type SnapshotFacts = BTreeMap<Id, SetFacts>;

pub(super) fn fold(
    sets: &mut SnapshotFacts,
    header: &Header<'_>,
    event: &SnapshotEvent,
) -> Result<(), String> {
    let set = Id::new(header.subject_id()).map_err(|e| format!("not the name of a set: {e}"))?;
    let set = sets.entry(set).or_default();
    match event {
        SnapshotEvent::Created(e) => {
            set.kept.insert(e.snapshot.clone(), e.manifest);
            if set.kept.len() > REMEMBERED {
                set.kept.pop_first();
            }
            set.failing = None;
            set.last = Some(LastSnapshot {
                facts: e.clone(),
                recorded: header.seq,
                at: header.recorded_at,
            });
        }
        SnapshotEvent::Failed(e) => {
            set.failed += 1;
            set.failing = Some(FailedSnapshot {
                at: header.recorded_at,
                reason: e.reason.clone(),
            });
        }
        SnapshotEvent::Pruned(e) => {
            for name in &e.snapshots {
                set.kept.remove(name);
            }
        }
        SnapshotEvent::Restored(_) => set.restored += 1,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ledger_core::event::*;
    use proptest::prelude::*;

    use super::*;
    use crate::framework::{Projection, rebuild, unwatched};
    use crate::status::Status;
    use crate::testkit::History;

    fn created(n: u32) -> SnapshotEvent {
        SnapshotEvent::Created(SnapshotCreated {
            snapshot: Id::new(format!("s{n}")).unwrap(),
            manifest: Hash::of(&n.to_be_bytes()),
            files: 1,
            bytes: u64::from(n),
            written: 0,
            lost: 0,
            changing: 0,
        })
    }

    fn event(kind: u32, n: u32) -> SnapshotEvent {
        match kind % 4 {
            0 => created(n),
            1 => SnapshotEvent::Failed(SnapshotFailed {
                reason: format!("for reason {n}"),
            }),
            2 => SnapshotEvent::Pruned(SnapshotPruned {
                snapshots: vec![Id::new(format!("s{n}")).unwrap()],
            }),
            _ => SnapshotEvent::Restored(SnapshotRestored {
                snapshot: Id::new(format!("s{n}")).unwrap(),
                manifest: Hash::ZERO,
                into: "/x".into(),
                files: 1,
                replaced: 1,
            }),
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_and_what_fails_is_what_a_recount_says(
            steps in prop::collection::vec((0_u32..2, 0_u32..4, 0_u32..5), 1..40),
        ) {
            let mut history = History::new();
            let mut model: BTreeMap<u32, (Vec<u32>, Option<u32>, u64)> = BTreeMap::new();
            for &(set, kind, n) in &steps {
                let name = Id::new(format!("set{set}")).unwrap();
                history.append(vec![(snapshot_subject(&name), event(kind, n).into())]);
                let (kept, failing, failed) = model.entry(set).or_default();
                match kind {
                    0 => {
                        kept.retain(|k| *k != n);
                        kept.push(n);
                        *failing = None;
                    }
                    1 => (*failing, *failed) = (Some(n), *failed + 1),
                    2 => kept.retain(|k| *k != n),
                    _ => {}
                }
            }
            let fold = rebuild::<Status>(history.store(), None, &mut unwatched).unwrap();
            let status = fold.into_state();
            prop_assert_eq!(status.report(history.now()).events.snapshot, steps.len() as u64);
            prop_assert_eq!(status.snapshots().len(), model.len());
            for (set, (mut kept, failing, failed)) in model {
                let facts = &status.snapshots()[&*format!("set{set}")];
                kept.sort_unstable();
                let names: Vec<String> = kept.iter().map(|n| format!("s{n}")).collect();
                prop_assert!(facts.kept.keys().map(|name| &**name).eq(names.iter().map(|n| &**n)));
                let reason = failing.map(|n| format!("for reason {n}"));
                prop_assert_eq!(facts.failing.as_ref().map(|f| f.reason.clone()), reason);
                prop_assert_eq!(facts.failed, failed);
            }
            let mut rows = Vec::new();
            status.rows(&mut |key, value| rows.push((key.to_owned(), value.to_owned())));
            let back = Status::from_rows(&mut rows.into_iter()).unwrap();
            prop_assert_eq!(back.snapshots(), status.snapshots());
        }
    }

    #[test]
    fn so_many_are_remembered() {
        let mut history = History::new();
        let set = snapshot_subject(&Id::new("x").unwrap());
        for n in 0..1010 {
            history.append(vec![(set.clone(), created(n).into())]);
        }
        let fold = rebuild::<Status>(history.store(), None, &mut unwatched).unwrap();
        assert_eq!(fold.state().snapshots()["x"].kept.len(), REMEMBERED);
    }
}
