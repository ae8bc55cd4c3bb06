//! Random histories on the store and on a plain list, with restarts and kills in between.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::*;
use crate::hash::Hash;
use crate::ids::{Seq, Term};
use crate::store::for_each_event;
use crate::store::samples::{batch, genesis, ledger_id};

#[derive(Debug, Clone)]
enum Op {
    /// A batch of events of these sizes, this many terms later.
    Append(Vec<usize>, u64),
    /// A batch that follows another head than the store's.
    AppendStale,
    /// A batch of an earlier term.
    AppendFenced,
    Close,
    /// The files as they are are opened elsewhere.
    Kill,
    /// The power fails: as a kill, with a head file of before.
    LagAndKill,
    Read(prop::sample::Index),
}

fn op() -> impl Strategy<Value = Op> {
    let sizes = proptest::collection::vec(
        prop_oneof![4 => 0usize..400, 2 => 400usize..9000, 1 => 9000usize..60_000],
        0..12,
    );
    prop_oneof![
        8 => (sizes, 0u64..2).prop_map(|(s, t)| Op::Append(s, t)),
        2 => (0usize..60).prop_map(|n| Op::Append(vec![150; n], 0)),
        1 => Just(Op::AppendStale),
        1 => Just(Op::AppendFenced),
        1 => Just(Op::Close),
        1 => Just(Op::Kill),
        1 => Just(Op::LagAndKill),
        2 => any::<prop::sample::Index>().prop_map(Op::Read),
    ]
}

struct World {
    root: TempDir,
    dir: PathBuf,
    lives: usize,
    store: Option<RedbStore>,
    old_head: Vec<u8>,
    model: Vec<Hash>,
    head: Head,
    bytes: u64,
}

impl World {
    fn new() -> Self {
        let root = TempDir::new().unwrap();
        let dir = root.path().join("0");
        fs::create_dir(&dir).unwrap();
        let id = ledger_id(1);
        let first = genesis(id);
        let store = RedbStore::create(&dir, id, &first).unwrap();
        Self {
            old_head: fs::read(dir.join(HEAD_FILE)).unwrap(),
            model: first.events().map(|(_, hash)| hash).collect(),
            head: first.head(),
            bytes: first.byte_len() as u64,
            store: Some(store),
            lives: 0,
            root,
            dir,
        }
    }

    fn store(&mut self) -> &mut RedbStore {
        self.store.as_mut().unwrap()
    }

    /// Copies the files as they are and goes on with the copy.
    fn kill(&mut self, head: Option<Vec<u8>>) {
        self.lives += 1;
        let next = self.root.path().join(self.lives.to_string());
        fs::create_dir(&next).unwrap();
        let copy = |name: &str, from: &Path| fs::copy(from.join(name), next.join(name)).unwrap();
        copy(STORE_FILE, &self.dir);
        copy(HEAD_FILE, &self.dir);
        if let Some(head) = head {
            fs::write(next.join(HEAD_FILE), head).unwrap();
        }
        self.store = Some(RedbStore::open(&next).unwrap());
        fs::remove_dir_all(std::mem::replace(&mut self.dir, next)).unwrap();
    }

    fn apply(&mut self, op: Op) {
        let head = self.head;
        match op {
            Op::Append(sizes, later) => {
                let term = Term(head.term.0.max(1) + later);
                let batch = batch(ledger_id(1), head, term, &sizes);
                let after = self.store().append(&batch).unwrap();
                if !sizes.is_empty() {
                    self.model.extend(batch.events().map(|(_, hash)| hash));
                    self.head = batch.head();
                    self.bytes += batch.byte_len() as u64;
                }
                assert_eq!(after, self.head);
            }
            Op::AppendStale => {
                let other = Head {
                    seq: Seq(head.seq.0 + 1),
                    ..head
                };
                let stale = batch(ledger_id(1), other, Term(head.term.0.max(1)), &[5]);
                let refused = self.store().append(&stale);
                assert!(matches!(refused, Err(AppendError::HeadMismatch { .. })));
            }
            Op::AppendFenced if head.term > Term::ZERO => {
                let late = batch(ledger_id(1), head, Term(head.term.0 - 1), &[5]);
                let refused = self.store().append(&late);
                assert!(matches!(refused, Err(AppendError::Fenced { .. })));
            }
            Op::AppendFenced => {}
            Op::Close => {
                self.store.take().unwrap().close().unwrap();
                self.old_head = fs::read(self.dir.join(HEAD_FILE)).unwrap();
                self.store = Some(RedbStore::open(&self.dir).unwrap());
            }
            Op::Kill => self.kill(None),
            Op::LagAndKill => self.kill(Some(self.old_head.clone())),
            Op::Read(from) => {
                let from = from.index(self.model.len() + 2);
                let mut seen = Vec::new();
                let reader = self.store().reader();
                let walk = for_each_event(&reader, Seq(from as u64), |e| -> ControlFlow<()> {
                    seen.push(e.hash);
                    ControlFlow::Continue(())
                });
                assert!(walk.is_ok(), "{walk:?}");
                let expected = self.model.get(from.saturating_sub(1)..);
                assert_eq!(seen, expected.unwrap_or_default());
            }
        }
        let (head, bytes) = (self.head, self.bytes);
        let store = self.store();
        assert_eq!(store.head(), head);
        assert_eq!(store.reader().event_bytes(), bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn the_store_is_a_list_of_events(ops in proptest::collection::vec(op(), 1..25)) {
        let mut world = World::new();
        for op in ops {
            world.apply(op);
        }
        world.apply(Op::Close);
        world.store = None;
        let one = std::num::NonZeroUsize::MIN;
        let report = crate::verify::verify_offline(&world.dir, one, &|_, _| {}).unwrap();
        prop_assert!(report.is_intact(), "{:?}", report.findings);
        prop_assert_eq!(report.head, world.head);
    }
}
