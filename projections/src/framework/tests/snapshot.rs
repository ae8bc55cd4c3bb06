//! Snapshots: what was written comes back, and whatever else is there is refused.

use std::os::unix::fs::{PermissionsExt, symlink};

use ledger_core::ids::{LedgerId, Uuid};

use super::{Counter, Subjects, app, rows, same};
use crate::framework::snapshot::read;
use crate::framework::{
    ApplyError, Fold, Projection, RestoreError, SnapshotError, View, ViewDir, catch_up, rebuild,
    rebuild_into, unwatched,
};
use crate::testkit::{History, LEDGER};

fn dir() -> (tempfile::TempDir, ViewDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = ViewDir::open(temp.path().join("views")).unwrap();
    (temp, dir)
}

#[test]
fn what_was_saved_is_loaded_and_goes_on() {
    let (_temp, dir) = dir();
    let mut history = History::seeded(5, 400);
    let saved = rebuild_into::<Subjects>(&dir, history.store(), None, &mut unwatched).unwrap();
    let header = dir.header("subjects").unwrap();
    assert_eq!(
        (header.position, header.digest),
        (saved.position(), saved.digest())
    );
    assert_eq!(header.rows as usize, rows(&saved).len());
    let mut loaded = dir.load::<Subjects>(LEDGER).unwrap();
    same(&loaded, &saved);
    (0..50).for_each(|choice| history.step(choice * 7));
    catch_up(&mut loaded, history.store(), None, &mut unwatched).unwrap();
    same(
        &loaded,
        &rebuild(history.store(), None, &mut unwatched).unwrap(),
    );
    // A later one replaces it; nothing else is left behind.
    dir.save(&loaded, LEDGER).unwrap();
    same(&dir.load::<Subjects>(LEDGER).unwrap(), &loaded);
    let path = dir.file("subjects").unwrap();
    let beside: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 1);
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[test]
fn a_snapshot_changed_or_cut_anywhere_is_refused_or_says_the_same() {
    let (_temp, dir) = dir();
    let history = History::seeded(5, 8);
    let saved = rebuild_into::<Subjects>(&dir, history.store(), None, &mut unwatched).unwrap();
    let path = dir.file("subjects").unwrap();
    let good = std::fs::read(&path).unwrap();
    let load = |bytes: &[u8]| read::<Subjects>(&mut &*bytes, LEDGER);
    same(&load(&good).unwrap(), &saved);
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            match load(&bad) {
                Err(SnapshotError::Damaged(_) | SnapshotError::Version { .. }) => {}
                Err(other) => panic!("byte {at}: {other}"),
                // An escape may be written in capitals, say; then the content is the same.
                Ok(loaded) => same(&loaded, &saved),
            }
        }
        let cut = load(&good[..at]);
        assert!(
            matches!(cut, Err(SnapshotError::Damaged(_))),
            "cut at {at}: {cut:?}"
        );
    }
    for more in ["\n", "x", "[\"zzz\",1]\n", "[\"zzz\",1]"] {
        let longer = load(&[&good, more.as_bytes()].concat());
        assert!(
            matches!(longer, Err(SnapshotError::Damaged(_))),
            "{longer:?}"
        );
    }
}

/// `Counter`, one version later.
#[derive(Debug, Default, Clone)]
struct Later(Counter);

impl Projection for Later {
    const NAME: &'static str = Counter::NAME;
    const VERSION: u32 = Counter::VERSION + 1;
    fn wants(kind: &str) -> bool {
        Counter::wants(kind)
    }
    fn apply(
        &mut self,
        header: &ledger_core::envelope::Header<'_>,
        event: &ledger_core::event::Event,
    ) -> Result<(), ApplyError> {
        self.0.apply(header, event)
    }
    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        emit("fruit", "1");
        self.0.rows(emit);
    }
    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        Counter::from_rows(rows).map(Self)
    }
}

#[test]
fn another_version_ledger_or_name_is_refused() {
    let (_temp, dir) = dir();
    let mut history = History::new();
    app(&mut history, "app.a");
    assert!(matches!(
        dir.load::<Counter>(LEDGER),
        Err(SnapshotError::Missing)
    ));
    let mut counter = rebuild_into::<Counter>(&dir, history.store(), None, &mut unwatched).unwrap();
    assert!(matches!(
        dir.load::<Later>(LEDGER),
        Err(SnapshotError::Version { found: 1, known: 2 })
    ));
    let other = LedgerId(Uuid::from_u128(9));
    let loaded = dir.load::<Counter>(other);
    assert!(matches!(loaded, Err(SnapshotError::OtherLedger(l)) if l == LEDGER));
    // A refused load leaves the view as it was.
    let before = counter.clone();
    assert!(View::load(&mut counter, &dir, other).is_err());
    same(&counter, &before);
    let (from, to) = (dir.file("counter").unwrap(), dir.file("subjects").unwrap());
    std::fs::rename(&from, &to).unwrap();
    let loaded = dir.load::<Subjects>(LEDGER);
    assert!(matches!(loaded, Err(SnapshotError::Damaged(_))));
}

#[test]
fn rows_out_of_order_are_never_restored() {
    let (_temp, dir) = dir();
    // `fruit` stands before `count`, against the order.
    dir.save(&Fold::<Later>::default(), LEDGER).unwrap();
    let loaded = dir.load::<Later>(LEDGER);
    assert!(matches!(loaded, Err(SnapshotError::Damaged(why)) if why.contains("order")));
}

#[test]
fn paths_stay_in_the_directory_and_links_are_not_followed() {
    let (temp, dir) = dir();
    for name in ["", "../x", "a/b", "A", "a.b", "a\0", &"a".repeat(65)] {
        assert!(
            matches!(dir.file(name), Err(SnapshotError::Io { .. })),
            "{name:?}"
        );
    }
    let fold = Fold::<Counter>::default();
    dir.save(&fold, LEDGER).unwrap();
    let (path, aside) = (dir.file("counter").unwrap(), temp.path().join("aside"));
    std::fs::rename(&path, &aside).unwrap();
    symlink(&aside, &path).unwrap();
    assert!(matches!(
        dir.load::<Counter>(LEDGER),
        Err(SnapshotError::Damaged(_))
    ));
    // Neither the file nor the temporary file is written through a link.
    let untouched = std::fs::read(&aside).unwrap();
    symlink(&aside, path.with_extension("view.tmp")).unwrap();
    let mut history = History::new();
    app(&mut history, "app.a");
    let fold = rebuild::<Counter>(history.store(), None, &mut unwatched).unwrap();
    dir.save(&fold, LEDGER).unwrap();
    assert_eq!(std::fs::read(&aside).unwrap(), untouched);
    same(&dir.load::<Counter>(LEDGER).unwrap(), &fold);
    let link = temp.path().join("link");
    symlink(temp.path(), &link).unwrap();
    assert!(matches!(
        ViewDir::open(&link),
        Err(SnapshotError::Io { .. })
    ));
    assert!(matches!(
        ViewDir::open(&aside),
        Err(SnapshotError::Io { .. })
    ));
}

#[test]
fn a_failed_save_leaves_the_one_before() {
    let (temp, dir) = dir();
    let fold = Fold::<Counter>::default();
    dir.save(&fold, LEDGER).unwrap();
    // A directory in the place of the temporary file can't be written.
    let path = dir.file("counter").unwrap();
    std::fs::create_dir(path.with_extension("view.tmp")).unwrap();
    assert!(matches!(
        dir.save(&fold, LEDGER),
        Err(SnapshotError::Io { .. })
    ));
    same(&dir.load::<Counter>(LEDGER).unwrap(), &fold);
    drop(temp);
}
