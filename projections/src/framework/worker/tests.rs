//! The worker: follows, catches up, saves, and what it does when the log and its files disagree.

mod ending;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ledger_core::chain::Head;
use ledger_core::ids::{Entity, LedgerId, Seq};
use ledger_core::store::memory::MemoryStore;
use ledger_core::store::{Blocks, LogReader, ReadError};

use super::{Source, ViewWorker, WorkerError};
use crate::framework::tests::{Counter, Subjects, app, rows};
use crate::framework::{Fold, Health, Position, View, ViewDir, rebuild, unwatched};
use crate::testkit::{History, LEDGER};

const LONG: Duration = Duration::from_secs(60);

struct Home {
    _temp: tempfile::TempDir,
    dir: ViewDir,
}

impl Home {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = ViewDir::open(temp.path().join("views")).unwrap();
        Self { _temp: temp, dir }
    }

    fn start(&self, reader: impl LogReader + 'static) -> ViewWorker {
        let all: Vec<Box<dyn View>> = vec![
            Box::<Fold<Subjects>>::default(),
            Box::<Fold<Counter>>::default(),
        ];
        ViewWorker::start(all, self.dir.clone(), Arc::new(reader))
    }
}

fn check(worker: &ViewWorker, history: &History) {
    worker.wait_for(history.head().seq, LONG).unwrap();
    let rebuilt = rebuild::<Subjects>(history.store(), None, &mut unwatched).unwrap();
    let at = Position::from(history.head());
    let live = worker.with::<Subjects, _>(|fold| (fold.position(), fold.state().clone()));
    assert_eq!(live, Some((at, rebuilt.state().clone())));
    assert_eq!(worker.with_view("subjects", rows).unwrap(), rows(&rebuilt));
}

fn source(worker: &ViewWorker, name: &str) -> Source {
    let states = worker.states();
    states.into_iter().find(|s| s.name == name).unwrap().source
}

#[test]
fn it_follows_batches_saves_and_starts_from_its_snapshots() {
    let home = Home::new();
    let mut history = History::new();
    let worker = home.start(history.store().clone());
    let mut sent = 0;
    for choice in 0..300u32 {
        history.step(choice.wrapping_mul(2_654_435_761));
        for batch in &history.batches()[sent..] {
            worker.durable(Arc::clone(batch));
        }
        sent = history.batches().len();
    }
    check(&worker, &history);
    assert!(matches!(
        source(&worker, "subjects"),
        Source::Rebuilt { .. }
    ));
    worker.stop();
    let at = history.head().seq;
    assert_eq!(home.dir.header("subjects").unwrap().position.seq, at);
    // Behind the snapshot the log has grown.
    (0..40).for_each(|choice| history.step(choice));
    let worker = home.start(history.store().clone());
    check(&worker, &history);
    assert_eq!(source(&worker, "subjects"), Source::Snapshot { at });
    drop(worker);
    assert_eq!(
        home.dir.header("subjects").unwrap().position.seq,
        at,
        "dropping saves nothing"
    );
}

#[test]
fn a_worker_that_runs_for_long_saves_in_between() {
    let home = Home::new();
    let mut history = History::new();
    let worker = home.start(history.store().clone());
    let subject = Entity::new("app/x").unwrap();
    // As many as are folded before the next snapshot is due, and some.
    for _ in 0..51 {
        let note = (
            "app.a".to_owned(),
            1,
            subject.clone(),
            "{}".to_owned(),
            None,
        );
        history.append_raw(vec![note; 1000]);
        worker.durable(Arc::clone(history.batches().last().unwrap()));
    }
    check(&worker, &history);
    // It is written by another thread, which tells nobody; if it never is, this hangs.
    let saved = loop {
        match home.dir.header("counter") {
            Ok(header) => break header.position,
            Err(_) => std::thread::yield_now(),
        }
    };
    assert!(saved.seq >= Seq(50_000), "{saved:?}");
    drop(worker);
    let worker = home.start(history.store().clone());
    check(&worker, &history);
    let from_it = Source::Snapshot { at: saved.seq };
    assert_eq!(source(&worker, "counter"), from_it);
    let counted = worker.with::<Counter, _>(|live| live.state().0);
    assert_eq!(counted, Some(51_000));
}

#[test]
fn batches_that_never_came_are_read_from_the_log() {
    let home = Home::new();
    let mut history = History::new();
    let worker = home.start(history.store().clone());
    for round in 0..50u32 {
        (0..10).for_each(|choice| history.step(round * 31 + choice));
        // Only the last of them is told, or only how far the log goes.
        if round % 2 == 0 {
            worker.durable(Arc::clone(history.batches().last().unwrap()));
        } else {
            worker.durable_upto(history.head().seq);
        }
    }
    check(&worker, &history);
}

#[test]
fn more_than_the_inbox_holds_is_read_from_the_log() {
    let home = Home::new();
    let history = History::seeded(11, 4000);
    assert!(history.batches().len() > 1024);
    let worker = home.start(history.store().clone());
    // A reader holds the views, so nothing is taken in meanwhile.
    worker
        .with_view("subjects", |_| {
            for batch in history.batches() {
                worker.durable(Arc::clone(batch));
            }
        })
        .unwrap();
    check(&worker, &history);
}

#[test]
fn a_poisoned_view_stops_alone_and_says_where() {
    let home = Home::new();
    let mut history = History::new();
    app(&mut history, "app.a");
    let worker = home.start(history.store().clone());
    worker.wait_for(history.head().seq, LONG).unwrap();
    app(&mut history, "app.bad");
    let bad = history.head().seq;
    app(&mut history, "app.a");
    for batch in history.batches() {
        worker.durable(Arc::clone(batch));
    }
    check(&worker, &history);
    let poisoned = |worker: &ViewWorker| {
        let states = worker.states();
        let state = states.into_iter().find(|s| s.name == "counter").unwrap();
        let health = Health::Poisoned {
            seq: bad,
            reason: "bad".to_owned(),
        };
        assert_eq!((state.position.seq, state.health), (Seq(bad.0 - 1), health));
    };
    poisoned(&worker);
    // Rebuilding meets the same event; so does the next start.
    worker.rebuild("counter").unwrap();
    poisoned(&worker);
    worker.stop();
    let worker = home.start(history.store().clone());
    check(&worker, &history);
    poisoned(&worker);
}

#[test]
fn a_poisoned_worker_keeps_nobody_waiting() {
    let home = Home::new();
    let mut history = History::new();
    app(&mut history, "app.bad");
    let only: Vec<Box<dyn View>> = vec![Box::<Fold<Counter>>::default()];
    let reader = Arc::new(history.store().clone());
    let worker = ViewWorker::start(only, home.dir.clone(), reader);
    worker.durable_upto(history.head().seq);
    worker.wait_for(history.head().seq, LONG).unwrap();
    assert!(worker.with::<Subjects, _>(|_| ()).is_none());
}

#[test]
fn snapshots_of_another_history_or_damaged_ones_are_rebuilt() {
    let home = Home::new();
    // The same ledger id, another past: as after a restored backup.
    let other = History::seeded(1, 300);
    let worker = home.start(other.store().clone());
    worker.wait_for(other.head().seq, LONG).unwrap();
    worker.stop();
    let counter = home.dir.file("counter").unwrap();
    std::fs::write(&counter, "nonsense").unwrap();
    for history in [History::seeded(2, 400), History::seeded(2, 10)] {
        let worker = home.start(history.store().clone());
        check(&worker, &history);
        let Source::Rebuilt { why } = source(&worker, "subjects") else {
            panic!("used a snapshot of another history");
        };
        assert!(why.contains("its position, seq"), "{why}");
        let Source::Rebuilt { why } = source(&worker, "counter") else {
            panic!("used a damaged snapshot");
        };
        assert!(why.contains("damaged"), "{why}");
    }
}

#[test]
fn a_batch_of_another_history_is_not_folded() {
    let home = Home::new();
    let mut history = History::seeded(21, 5);
    let worker = home.start(history.store().clone());
    check(&worker, &history);
    let mut other = History::seeded(22, 50);
    for batch in other.batches() {
        worker.durable(Arc::clone(batch));
    }
    other.step(0);
    while history.head().seq <= other.head().seq {
        history.step(0);
        worker.durable(Arc::clone(history.batches().last().unwrap()));
    }
    check(&worker, &history);
}

#[test]
fn a_view_is_rebuilt_and_compared_while_it_runs() {
    let home = Home::new();
    let mut history = History::seeded(4, 300);
    let worker = home.start(history.store().clone());
    check(&worker, &history);
    let state = worker.rebuild("subjects").unwrap();
    assert_eq!(state.position, Position::from(history.head()));
    assert!(matches!(state.source, Source::Rebuilt { .. }));
    (0..20).for_each(|choice| history.step(choice));
    worker.durable_upto(history.head().seq);
    check(&worker, &history);
    let comparison = worker.check("subjects").unwrap();
    assert_eq!(comparison.difference, None);
    assert_eq!(comparison.live, comparison.rebuilt);
    let unknown = worker.check("nothing");
    assert!(matches!(unknown, Err(WorkerError::NoSuchView(_))));
}

#[test]
fn a_live_view_that_is_wrong_is_found_and_mended() {
    let home = Home::new();
    let mut history = History::seeded(4, 60);
    app(&mut history, "app.a");
    // A snapshot whose position is right and whose content is not.
    let at = Position::from(history.head());
    home.dir
        .save(&Fold::resume(Counter(77), at), LEDGER)
        .unwrap();
    let worker = home.start(history.store().clone());
    worker.wait_for(history.head().seq, LONG).unwrap();
    let difference = worker.check("counter").unwrap().difference.unwrap();
    assert_eq!(difference.live.as_deref(), Some("77"));
    worker.rebuild("counter").unwrap();
    assert_eq!(worker.check("counter").unwrap().difference, None);
    assert_ne!(worker.with::<Counter, _>(|f| f.state().0), Some(77));
}

/// A store that can't be read while `broken` is set.
struct Failing {
    store: MemoryStore,
    broken: Arc<AtomicBool>,
}

impl LogReader for Failing {
    fn ledger_id(&self) -> LedgerId {
        LogReader::ledger_id(&self.store)
    }
    fn head(&self) -> Result<Head, ReadError> {
        LogReader::head(&self.store)
    }
    fn blocks(&self, from: Seq) -> Result<Blocks<'_>, ReadError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(ReadError::Damaged("broken".to_owned()));
        }
        self.store.blocks(from)
    }
}

#[test]
fn a_log_that_cannot_be_read_is_said_and_tried_again_when_it_grows() {
    let home = Home::new();
    let mut history = History::seeded(6, 30);
    let broken = Arc::new(AtomicBool::new(true));
    let worker = home.start(Failing {
        store: history.store().clone(),
        broken: Arc::clone(&broken),
    });
    let behind = worker.wait_for(history.head().seq, Duration::ZERO);
    assert!(matches!(behind, Err(WorkerError::Behind { .. })));
    // It fails at the start, and when it is told that there is more.
    worker.durable_upto(history.head().seq);
    while worker.fault().is_none() {
        std::thread::yield_now();
    }
    broken.store(false, Ordering::SeqCst);
    history.step(0);
    worker.durable_upto(history.head().seq);
    check(&worker, &history);
    // The views are there a moment before the fault is taken back; if it never is, this hangs.
    while worker.fault().is_some() {
        std::thread::yield_now();
    }
}

#[test]
fn a_stopped_worker_answers_waiters() {
    let home = Home::new();
    let history = History::seeded(6, 30);
    let worker = Arc::new(home.start(history.store().clone()));
    let waiter = Arc::clone(&worker);
    let far = Seq(history.head().seq.0 + 1000);
    let (begun, wait_begun) = crossbeam_channel::bounded(1);
    let waiting = std::thread::spawn(move || {
        begun.send(()).unwrap();
        let result = waiter.wait_for(far, LONG);
        drop(waiter);
        result
    });
    wait_begun.recv().unwrap();
    worker.stop();
    let result = waiting.join().unwrap();
    assert!(matches!(result, Err(WorkerError::Stopped)), "{result:?}");
    assert!(matches!(
        worker.rebuild("subjects"),
        Err(WorkerError::Stopped)
    ));
}
