//! What becomes of processes of others in a drawn history.

use ledger_core::event::*;
use ledger_core::ids::Entity;
use ledger_core::time::{Micros, Millis};

use super::History;

/// How far the reaper has come with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    Watched,
    Reaping(ReapCause),
}

impl History {
    /// One more is watched, or the next step of one that is.
    pub(super) fn watch(&mut self, pick: u32) {
        let at = pick as usize % (self.foreign.len() + 1);
        match self.foreign.iter().nth(at).map(|(s, f)| (s.clone(), *f)) {
            None => self.watch_another(pick),
            Some((subject, foreign)) => {
                let event = self.next_of_foreign(&subject, foreign, pick / 7);
                self.append(vec![(subject, event.into())]);
            }
        }
    }

    fn watch_another(&mut self, pick: u32) {
        self.drawn += 1;
        let pid = i32::try_from(self.drawn).expect("histories are short");
        let subject = process_subject("boot", pid, 9).expect("the boot id is an id");
        let watched = ProcessWatched {
            pid,
            start_time: 9,
            boot_id: "boot".into(),
            pgid: 2,
            uid: 1000,
            command: format!("sleep {pick}\u{1b}\n\"x\""),
            started_at: self.now,
            max_runtime_ms: Millis(1000),
            stall_after_ms: pick.is_multiple_of(2).then_some(Millis(500)),
            grace_ms: Millis(5),
        };
        self.foreign.insert(subject.clone(), Foreign::Watched);
        self.append(vec![(subject, ProcessEvent::Watched(watched).into())]);
    }

    fn next_of_foreign(&mut self, subject: &Entity, now: Foreign, pick: u32) -> ProcessEvent {
        let steps = vec![LadderStep {
            signal: "SIGTERM".into(),
            after_us: Micros(1),
            processes: 2,
        }];
        if pick.is_multiple_of(5) {
            self.foreign.remove(subject);
            let reason = match pick % 3 {
                0 => UnwatchReason::Asked,
                1 => UnwatchReason::Recycled,
                _ => UnwatchReason::Rebooted,
            };
            return ProcessEvent::Unwatched(ProcessUnwatched { reason });
        }
        match (now, pick % 4) {
            (_, 0) => {
                self.foreign.remove(subject);
                let seen = EndSeen::AtOnce;
                let runtime_us = Some(Micros(3));
                ProcessEvent::Ended(ProcessEnded { seen, runtime_us })
            }
            (Foreign::Watched, n) => {
                let cause = if n == 1 {
                    ReapCause::Stalled
                } else {
                    ReapCause::MaxRuntime
                };
                self.foreign
                    .insert(subject.clone(), Foreign::Reaping(cause));
                ProcessEvent::Reaping(ProcessReaping {
                    cause,
                    runtime_us: Micros(9),
                    idle_us: None,
                })
            }
            (Foreign::Reaping(_), 1) => ProcessEvent::Survived(ProcessSurvived {
                steps,
                survivors: vec![Survivor {
                    pid: 9,
                    start_time: 9,
                    state: 'D',
                }],
            }),
            (Foreign::Reaping(cause), _) => {
                self.foreign.remove(subject);
                let runtime_us = Micros(10);
                ProcessEvent::Terminated(ProcessTerminated {
                    cause,
                    steps,
                    runtime_us,
                })
            }
        }
    }
}
