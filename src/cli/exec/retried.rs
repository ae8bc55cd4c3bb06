//! What is said when an attempt has ended and the task has not: how it ended, and when it is tried
//! again.

use ledger_core::event::Attempt;
use ledger_core::time::Timestamp;
use projections::tasks::{Closing, Held, TaskView};

use crate::cli::output::event::signal_name;
use crate::cli::task::view::held_by;
use crate::units::{format_duration, format_limit};

/// One line about an attempt that has ended; none if it has not.
pub(crate) fn said(view: &TaskView, attempt: Attempt, now: Timestamp) -> Option<String> {
    let mut ended = view.attempts.iter();
    let record = ended.find(|record| record.attempt == attempt)?;
    let how = match record.closing {
        Closing::Exit(code) => format!("failed with exit code {code}"),
        Closing::Signal(signal) => format!("was ended by {}", signal_name(signal)),
        Closing::Spawn => "could not be started".to_owned(),
        Closing::NotExecutable => "can't be run".to_owned(),
        Closing::TimedOut => {
            format!("ran longer than {}", format_limit(view.max_runtime_ms))
        }
        Closing::Stalled => {
            let after = view.terms.stall_after_ms.unwrap_or_default();
            format!("did nothing for {}", format_limit(after))
        }
        Closing::Lost => "was lost: its processes ended without an outcome".to_owned(),
        Closing::Cancelled => "was cancelled".to_owned(),
        Closing::Completed => "completed".to_owned(),
    };
    let next = attempt.next();
    let then = match &view.held {
        // Only while it is the next one that waits.
        Some(held) if view.next_attempt == Some(next) => match held {
            Held::Backoff { until } | Held::NotBefore { until } => {
                format!("follows in {}", format_duration(until.since(now)))
            }
            Held::Paused { .. }
            | Held::Dependency { .. }
            | Held::RateKey { .. }
            | Held::ConcurrencyKey { .. } => format!("is held ({})", held_by(held)),
        },
        Some(_) | None => "follows".to_owned(),
    };
    let id = &view.task_id;
    Some(format!(
        "attempt {attempt} of task {id} {how}; attempt {next} {then}"
    ))
}
