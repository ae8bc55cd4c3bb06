//! How a worker ends, what it leaves behind, and how the next one goes on from there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use ledger_core::chain::Head;
use ledger_core::envelope::Header;
use ledger_core::event::Event;
use ledger_core::ids::{LedgerId, Seq};
use ledger_core::store::memory::MemoryStore;
use ledger_core::store::{Blocks, LogReader, ReadError};

use super::{Home, LONG, check, source};
use crate::framework::tests::{Counter, Subjects, app};
use crate::framework::worker::{Source, ViewWorker, WorkerError, lock};
use crate::framework::{
    ApplyError, Fold, Health, Position, Projection, RestoreError, View, rebuild, unwatched,
};
use crate::testkit::History;

/// Says when it has handed out so many blocks, and waits for leave to go on.
struct Gated {
    store: MemoryStore,
    /// Only the first read meets the gate.
    closed: AtomicBool,
    after: usize,
    there: Sender<()>,
    leave: Receiver<()>,
}

impl LogReader for Gated {
    fn ledger_id(&self) -> LedgerId {
        LogReader::ledger_id(&self.store)
    }
    fn head(&self) -> Result<Head, ReadError> {
        LogReader::head(&self.store)
    }
    fn blocks(&self, from: Seq) -> Result<Blocks<'_>, ReadError> {
        let blocks = self.store.blocks(from)?;
        Ok(Box::new(blocks.enumerate().map(|(n, block)| {
            if n == self.after && self.closed.swap(false, Ordering::SeqCst) {
                self.there.send(()).unwrap();
                self.leave.recv().unwrap();
            }
            block
        })))
    }
}

/// Stops a worker on another thread; returns once it has been told to.
fn begin_to_stop(worker: &Arc<ViewWorker>) -> std::thread::JoinHandle<()> {
    let stopping = Arc::clone(worker);
    let thread = std::thread::spawn(move || stopping.stop());
    while lock(&worker.shared.inbox).stop.is_none() {
        std::thread::yield_now();
    }
    thread
}

#[test]
fn stopping_breaks_off_a_long_read_and_the_next_start_goes_on_from_there() {
    let home = Home::new();
    let history = History::seeded(31, 900);
    let alone = history.head().seq.0 < 2000;
    assert!(alone, "no helper reads ahead of the gate");
    let (there, is_there) = bounded(1);
    let (leave, may_leave) = bounded(1);
    let after = 200;
    let worker = Arc::new(home.start(Gated {
        store: history.store().clone(),
        closed: AtomicBool::new(true),
        after,
        there,
        leave: may_leave,
    }));
    is_there.recv().unwrap();
    let stopping = begin_to_stop(&worker);
    leave.send(()).unwrap();
    stopping.join().unwrap();
    let waited = worker.wait_for(history.head().seq, LONG);
    assert!(matches!(waited, Err(WorkerError::Stopped)), "{waited:?}");
    // The block that was on its way was still folded, and nothing after it.
    let block = history.store().blocks(Seq::FIRST).unwrap().nth(after);
    let at = block.unwrap().unwrap().last();
    assert!(at < history.head().seq);
    let fold = rebuild::<Subjects>(history.store(), Some(at), &mut unwatched).unwrap();
    let left = worker.with::<Subjects, _>(|live| (live.position(), live.state().clone()));
    assert_eq!(left, Some((fold.position(), fold.state().clone())));
    assert_eq!(
        home.dir.header("subjects").unwrap().position,
        fold.position()
    );

    let worker = home.start(history.store().clone());
    check(&worker, &history);
    assert_eq!(source(&worker, "subjects"), Source::Snapshot { at });
}

#[test]
fn stopping_folds_the_batches_at_hand() {
    let home = Home::new();
    let mut history = History::seeded(32, 20);
    let worker = Arc::new(home.start(history.store().clone()));
    check(&worker, &history);
    let sent = history.batches().len();
    (0..50).for_each(|_| history.step(0));
    // While a reader holds a view nothing is folded. The worker takes the first batch and waits;
    // by the time it goes on everything else has come, the order to stop last.
    let stopping = worker
        .with_view("subjects", |_| {
            let mut batches = history.batches()[sent..].iter();
            worker.durable(Arc::clone(batches.next().unwrap()));
            while !lock(&worker.shared.inbox).batches.is_empty() {
                std::thread::yield_now();
            }
            batches.for_each(|batch| worker.durable(Arc::clone(batch)));
            begin_to_stop(&worker)
        })
        .unwrap();
    stopping.join().unwrap();
    check(&worker, &history);
    let saved = home.dir.header("subjects").unwrap().position;
    assert_eq!(saved, Position::from(history.head()));
}

#[test]
fn a_worker_that_has_stopped_moves_no_more_and_can_be_read() {
    let home = Home::new();
    let mut history = History::seeded(33, 40);
    let worker = home.start(history.store().clone());
    check(&worker, &history);
    let at = history.head().seq;
    worker.stop();
    worker.stop();
    (0..2000).for_each(|_| history.step(0));
    for batch in history.batches() {
        worker.durable(Arc::clone(batch));
    }
    worker.durable_upto(history.head().seq);
    assert_eq!(worker.reached(), at);
    worker.wait_for(at, LONG).unwrap();
    let waited = worker.wait_for(history.head().seq, LONG);
    assert!(matches!(waited, Err(WorkerError::Stopped)), "{waited:?}");
    assert!(worker.states().iter().all(|state| state.position.seq == at));
    assert_eq!(worker.check("subjects").unwrap().difference, None);
}

#[test]
fn views_that_stand_apart_come_together_without_folding_anything_twice() {
    let home = Home::new();
    let mut history = History::seeded(34, 200);
    (0..5).for_each(|_| app(&mut history, "app.a"));
    let worker = home.start(history.store().clone());
    check(&worker, &history);
    worker.stop();
    let at = history.head().seq;
    // One has to begin anew, the other is far ahead of it, and the log has grown.
    std::fs::remove_file(home.dir.file("counter").unwrap()).unwrap();
    (0..5).for_each(|_| app(&mut history, "app.a"));
    (0..100).for_each(|choice| history.step(choice));
    let worker = home.start(history.store().clone());
    check(&worker, &history);
    assert_eq!(source(&worker, "subjects"), Source::Snapshot { at });
    assert!(matches!(source(&worker, "counter"), Source::Rebuilt { .. }));
    let counted = rebuild::<Counter>(history.store(), None, &mut unwatched).unwrap();
    let live = worker.with::<Counter, _>(|live| (live.position(), live.state().clone()));
    assert_eq!(live, Some((counted.position(), counted.state().clone())));
}

/// What [`Counter`] is in a later version of the program, in which `app.bad` is as good as any.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Lenient(Counter);

impl Projection for Lenient {
    const NAME: &'static str = Counter::NAME;
    const VERSION: u32 = Counter::VERSION;

    fn wants(kind: &str) -> bool {
        Counter::wants(kind)
    }
    fn apply(&mut self, _: &Header<'_>, _: &Event) -> Result<(), ApplyError> {
        self.0.0 += 1;
        Ok(())
    }
    fn rows(&self, emit: &mut dyn FnMut(&str, &str)) {
        self.0.rows(emit);
    }
    fn from_rows(rows: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        Counter::from_rows(rows).map(Self)
    }
}

fn start_with(home: &Home, view: Box<dyn View>, history: &History) -> ViewWorker {
    let reader = Arc::new(history.store().clone());
    ViewWorker::start(vec![view], home.dir.clone(), reader)
}

#[test]
fn a_poisoned_view_goes_on_where_it_stopped_once_the_event_is_understood() {
    let home = Home::new();
    let mut history = History::new();
    (0..3).for_each(|_| app(&mut history, "app.a"));
    let before = history.head().seq;
    app(&mut history, "app.bad");
    app(&mut history, "app.a");
    let worker = start_with(&home, Box::<Fold<Counter>>::default(), &history);
    worker.durable_upto(history.head().seq);
    worker.wait_for(history.head().seq, LONG).unwrap();
    worker.stop();
    let state = worker.states().remove(0);
    assert_eq!(state.position.seq, before);
    assert!(matches!(state.health, Health::Poisoned { .. }));
    assert_eq!(home.dir.header("counter").unwrap().position.seq, before);

    let worker = start_with(&home, Box::<Fold<Lenient>>::default(), &history);
    worker.wait_for(history.head().seq, LONG).unwrap();
    assert_eq!(source(&worker, "counter"), Source::Snapshot { at: before });
    let live = worker.with::<Lenient, _>(|live| (live.health().clone(), live.state().0.0));
    assert_eq!(live, Some((Health::Following, 5)));
}

/// Panics at `app.bad`: a defect, which no event should be able to bring out.
#[derive(Debug, Default, Clone)]
struct Defective;

impl Projection for Defective {
    const NAME: &'static str = "defective";
    const VERSION: u32 = 1;

    fn wants(kind: &str) -> bool {
        kind.starts_with("app.")
    }
    fn apply(&mut self, header: &Header<'_>, _: &Event) -> Result<(), ApplyError> {
        assert_ne!(header.kind, "app.bad", "a panic that a test wants");
        Ok(())
    }
    fn rows(&self, _: &mut dyn FnMut(&str, &str)) {}
    fn from_rows(_: &mut dyn Iterator<Item = (String, String)>) -> Result<Self, RestoreError> {
        Ok(Self)
    }
}

#[test]
fn a_view_that_panics_ends_the_worker_and_keeps_nobody_waiting() {
    let home = Home::new();
    let mut history = History::new();
    app(&mut history, "app.a");
    let before = history.head().seq;
    let worker = start_with(&home, Box::<Fold<Defective>>::default(), &history);
    worker.wait_for(before, LONG).unwrap();
    app(&mut history, "app.bad");
    worker.durable(Arc::clone(history.batches().last().unwrap()));
    let waited = worker.wait_for(history.head().seq, LONG);
    assert!(matches!(waited, Err(WorkerError::Stopped)), "{waited:?}");
    assert_eq!(worker.states()[0].position.seq, before);
    worker.stop();
}
