//! Recovery's last part: what the world says about the attempts that were open when this node took over,
//! and the event that tells how all of it went. Nothing is dispatched before.

use std::collections::BTreeSet;

use ledger_core::event::{RecoveredFrom, RecoveryCompleted, RecoveryEvent};
use ledger_core::time::Micros;
use projections::tasks::TaskState;

use super::{Core, Stage};
use crate::decided::Decided;
use crate::node::command::{AttemptId, Now};

/// How a core's state was come by, for whoever reads the ledger.
#[derive(Debug, Clone, Default)]
pub struct Restored {
    /// The checkpoint that it began with.
    pub checkpoint: Option<RecoveredFrom>,
    /// How many checkpoints were passed over.
    pub rejected: u32,
    /// How many events were folded.
    pub replayed: u64,
    /// How long opening the store took.
    pub open: Micros,
    /// How long restoring took.
    pub restore: Micros,
    /// How long the fold took.
    pub replay: Micros,
}

/// What the world said about the attempts that were open when this node took over.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    pub(super) waiting: BTreeSet<AttemptId>,
    pub(super) reattached: u32,
    pub(super) closed: u32,
    pub(super) lost: u32,
    pub(super) requeued: u32,
    pub(super) unstarted: u32,
}

impl Core {
    /// Counts what was found out of an attempt, once.
    pub(super) fn recovered(
        &mut self,
        id: &AttemptId,
        count: impl FnOnce(&mut Recovery) -> &mut u32,
    ) {
        if let Stage::Recovering(recovery) = &mut self.stage
            && recovery.waiting.remove(id)
        {
            *count(recovery) += 1;
        }
    }

    /// [`Core::recovered`] of one that was lost, once that is decided: it may be waiting again.
    pub(super) fn recovered_lost(&mut self, id: &AttemptId) {
        let queued = self
            .tasks()
            .get(&id.task)
            .is_some_and(|task| matches!(task.state, TaskState::Queued { .. }));
        if let Stage::Recovering(recovery) = &mut self.stage
            && recovery.waiting.contains(id)
            && queued
        {
            recovery.requeued += 1;
        }
        self.recovered(id, |r| &mut r.lost);
    }

    /// Leads once nothing is open that was not heard of.
    pub(super) fn finish_recovery(&mut self, now: Now) {
        let Stage::Recovering(recovery) = &self.stage else {
            return;
        };
        if !recovery.waiting.is_empty() {
            return;
        }
        let restored = std::mem::take(&mut self.restored);
        let completed = RecoveryCompleted {
            checkpoint: restored.checkpoint,
            rejected: restored.rejected,
            upto: self.replayed,
            replayed: restored.replayed,
            open_us: restored.open,
            restore_us: restored.restore,
            replay_us: restored.replay,
            reconcile_us: Micros(now.boot.0.saturating_sub(self.begun.0)),
            reattached: recovery.reattached,
            closed: recovery.closed,
            lost: recovery.lost,
            requeued: recovery.requeued,
            unstarted: recovery.unstarted,
        };
        self.stage = Stage::Leading;
        let decided = vec![Decided::new(
            self.actor.clone(),
            RecoveryEvent::Completed(completed),
        )];
        let origin = self.own_origin();
        self.record_own(now, &origin, decided);
    }
}
