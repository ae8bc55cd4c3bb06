//! How attempts of a drawn history end, and what is recorded of that.

use ledger_core::event::*;
use ledger_core::hash::Hash;
use ledger_core::ids::Id;
use ledger_core::time::{Micros, Millis};

use super::Open;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Completed,
    Failed,
    TimedOut,
    Lost,
    Cancelled,
}

impl Ending {
    pub(super) fn task(
        self,
        attempt: Attempt,
        runtime_us: Micros,
        demoted_to: Option<Priority>,
    ) -> TaskEvent {
        let stream = StreamDigest {
            bytes: 6,
            blake3: Hash::of(b"hello\n"),
            tail: "hello\n".into(),
            dropped_bytes: 0,
            error: None,
        };
        let outputs = Outputs {
            stdout: stream.clone(),
            stderr: stream,
        };
        match self {
            Self::Completed => TaskEvent::Completed(TaskCompleted {
                attempt,
                runtime_us,
                outputs,
            }),
            Self::Failed => TaskEvent::Failed(TaskFailed {
                attempt,
                failure: Failure::Exit { code: 1 },
                runtime_us,
                outputs,
                demoted_to,
            }),
            Self::TimedOut => TaskEvent::TimedOut(TaskTimedOut {
                attempt,
                max_runtime_ms: Millis(30_000),
                stalled_ms: (attempt.0 == 2).then_some(Millis(500)),
                runtime_us,
                outputs,
                demoted_to,
            }),
            Self::Lost => TaskEvent::Lost(TaskLost {
                attempt,
                reason: "gone".into(),
            }),
            Self::Cancelled => TaskEvent::Cancelled(TaskCancelled {
                attempt: Some(attempt),
                reason: None,
                runtime_us: Some(runtime_us),
                outputs: Some(outputs),
            }),
        }
    }

    /// What is said before the process ends, now and then.
    pub(super) fn outlived(self, task: &Id, open: &Open, pick: u32) -> Option<ProcessEvent> {
        let reaped = matches!(self, Self::TimedOut | Self::Cancelled);
        (reaped && pick.is_multiple_of(4)).then(|| {
            ProcessEvent::Unkillable(ProcessUnkillable {
                task: task.clone(),
                attempt: Attempt(open.attempt),
                steps: Vec::new(),
                survivors: vec![Survivor {
                    pid: 9,
                    start_time: 7,
                    state: 'D',
                }],
                processes: 1,
            })
        })
    }

    pub(super) fn process(self, open: &Open) -> ProcessEvent {
        let (end, usage) = (ProcessEnd::Exited { code: 0 }, Usage::default());
        let cause = match self {
            Self::Completed if open.attempt == 2 => LadderCause::Leftovers,
            Self::Completed | Self::Failed => {
                return ProcessEvent::Exited(ProcessExited { end, usage });
            }
            Self::Lost => {
                return ProcessEvent::Lost(ProcessLost {
                    reason: "gone".into(),
                    orphans_ended: 0,
                });
            }
            Self::TimedOut if open.attempt == 2 => LadderCause::Stalled,
            Self::TimedOut => LadderCause::MaxRuntime,
            Self::Cancelled => LadderCause::Cancel,
        };
        let steps = vec![LadderStep {
            signal: "SIGTERM".into(),
            after_us: Micros(1),
            processes: 1,
        }];
        ProcessEvent::Reaped(ProcessReaped {
            cause,
            steps,
            end,
            usage,
        })
    }
}
