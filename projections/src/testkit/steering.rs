//! What operators, clocks and running tasks do to what waits in a drawn history.

use ledger_core::event::*;
use ledger_core::ids::Id;
use ledger_core::time::Millis;

use super::{History, entity, id};

impl History {
    pub(super) fn pause_queue(&mut self, pick: u32) {
        let queue = Priority::ALL[pick as usize % 3];
        let event = if self.queues_paused.remove(&queue) {
            QueueEvent::Resumed(QueueResumed { reason: None })
        } else {
            self.queues_paused.insert(queue);
            let reason = Some("quiet".into());
            QueueEvent::Paused(QueuePaused { reason })
        };
        self.append(vec![(queue_subject(queue), event.into())]);
    }

    pub(super) fn reprioritize(&mut self, pick: u32) {
        let Some((name, _)) = self.queued.front().cloned() else {
            return;
        };
        let priority = Priority::ALL[pick as usize % 3];
        let before = self.priorities.insert(name.clone(), priority);
        let moved = TaskEvent::Reprioritized(TaskReprioritized {
            priority,
            before: before.unwrap_or(priority),
            since: self.now,
        });
        self.append(vec![(entity("task", &name), moved.into())]);
    }

    pub(super) fn throttle(&mut self, pick: u32) {
        let Some(name) = self.picked(pick) else {
            return;
        };
        let retry_after_ms = Millis(u64::from(pick % 1000));
        let throttled = TaskEvent::Throttled(TaskThrottled {
            attempt: Attempt(self.running[&name].attempt),
            rate_key: id("provider"),
            retry_after_ms,
            until: self.now.plus(retry_after_ms),
        });
        self.append(vec![(entity("task", &name), throttled.into())]);
    }

    /// One that waits and may expire does.
    pub(super) fn expire(&mut self) {
        let patient = |(name, _): &(Id, u32)| self.patient.contains(name);
        let Some(at) = self.queued.iter().position(patient) else {
            return;
        };
        if let Some((name, next)) = self.queued.remove(at) {
            let dead = TaskEvent::Dead(TaskDead {
                reason: DeadReason::Expired,
                attempts: next - 1,
                dependency: None,
            });
            self.append(vec![(entity("task", &name), dead.into())]);
            self.dead.push_back((name, next - 1));
        }
    }
}
