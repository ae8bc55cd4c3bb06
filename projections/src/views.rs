//! The views by name: one line for each projection that people look at.
//!
//! Decision state that nobody looks at (`leases`, `idempotency`) is folded by the sequencer and is
//! not here. Adding a view is adding a line to [`all`].

use crate::checkpoints::Checkpoints;
use crate::framework::{Fold, Position, View, ViewWorker};
use crate::jobs::Jobs;
use crate::processes::Processes;
use crate::status::Status;
use crate::tasks::Tasks;

/// Every view, before the first event, sorted by name.
pub fn all() -> Vec<Box<dyn View>> {
    vec![
        Box::<Fold<Checkpoints>>::default(),
        Box::<Fold<Jobs>>::default(),
        Box::<Fold<Processes>>::default(),
        Box::<Fold<Status>>::default(),
        Box::<Fold<Tasks>>::default(),
    ]
}

/// The view of this name, before the first event.
pub fn named(name: &str) -> Option<Box<dyn View>> {
    all().into_iter().find(|view| view.name() == name)
}

impl ViewWorker {
    /// Reads the tasks and the position that they stand at; `None` if the worker was started
    /// without them. They stand still while `read` runs: be brief.
    pub fn with_tasks<R>(&self, read: impl FnOnce(&Tasks, Position) -> R) -> Option<R> {
        self.with::<Tasks, R>(|fold| read(fold.state(), fold.position()))
    }

    /// Reads the checkpoints and the position that they stand at; `None` if the worker was started
    /// without them. They stand still while `read` runs: be brief.
    pub fn with_checkpoints<R>(&self, read: impl FnOnce(&Checkpoints, Position) -> R) -> Option<R> {
        self.with::<Checkpoints, R>(|fold| read(fold.state(), fold.position()))
    }

    /// Reads the jobs and the position that they stand at; `None` if the worker was started
    /// without them. They stand still while `read` runs: be brief.
    pub fn with_jobs<R>(&self, read: impl FnOnce(&Jobs, Position) -> R) -> Option<R> {
        self.with::<Jobs, R>(|fold| read(fold.state(), fold.position()))
    }

    /// Reads the watched processes and the position that they stand at; `None` if the worker was
    /// started without them. They stand still while `read` runs: be brief.
    pub fn with_processes<R>(&self, read: impl FnOnce(&Processes, Position) -> R) -> Option<R> {
        self.with::<Processes, R>(|fold| read(fold.state(), fold.position()))
    }

    /// Reads the status and the position that it stands at; `None` if the worker was started
    /// without it. It stands still while `read` runs: be brief.
    pub fn with_status<R>(&self, read: impl FnOnce(&Status, Position) -> R) -> Option<R> {
        self.with::<Status, R>(|fold| read(fold.state(), fold.position()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::ViewDir;
    use crate::testkit::History;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn names_are_unique_and_sorted() {
        let names: Vec<_> = all().iter().map(|view| view.name()).collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
        assert_eq!(named("tasks").map(|view| view.name()), Some("tasks"));
        assert!(named("nothing").is_none());
    }

    #[test]
    fn the_worker_gives_access_by_type() {
        let temp = tempfile::tempdir().unwrap();
        let history = History::seeded(3, 40);
        let dir = ViewDir::open(temp.path().join("views")).unwrap();
        let worker = ViewWorker::start(all(), dir, Arc::new(history.store().clone()));
        let head = history.head();
        worker.wait_for(head.seq, Duration::from_secs(60)).unwrap();
        let at = Position::from(head);
        let submitted = history
            .events()
            .iter()
            .filter(|r| r.kind == "task.submitted");
        assert_eq!(
            worker.with_tasks(|tasks, p| (tasks.len(), p)),
            Some((submitted.count(), at))
        );
        let total =
            worker.with_status(|status, p| (status.report(head.recorded_at).events_total, p));
        assert_eq!(total, Some((head.seq.0, at)));
    }
}
