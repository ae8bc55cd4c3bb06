//! What a replay found, for people and as one line of JSON.

use std::fmt::{self, Write};
use std::time::Duration;

use ledger_core::time::Micros;
use projections::status::QueueReport;
use serde::Serialize;

use crate::comparison::round;

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    /// The recording's name.
    pub(super) replay: String,
    /// What its times were divided by.
    pub(super) scale: f64,
    /// Attempts that could run at once.
    pub(super) max_running: u32,
    /// Runs of agents.
    pub(super) runs: usize,
    /// Tasks, one a call.
    pub(super) tasks: usize,
    /// Calls that never ended in the recording and were left out.
    pub(super) left_out: usize,
    /// Pauses of runs that were cut.
    pub(super) pauses_cut: usize,
    /// Submits that were repeated with the same key.
    pub(super) submitted_twice: usize,
    /// Tasks that did not complete.
    pub(super) not_completed: usize,
    /// Seconds from the first submit to the last end.
    pub(super) makespan_s: f64,
    /// Seconds that the makespan can't be below: the last arrival, or all work on all slots.
    pub(super) least_s: f64,
    /// Tasks a second.
    pub(super) tasks_per_s: f64,
    /// The queues, most urgent first.
    pub(super) queues: Vec<Queue>,
    /// Events in the ledger.
    pub(super) events: u64,
    /// Bytes of these events.
    pub(super) event_bytes: u64,
    /// Bytes of the ledger's files.
    pub(super) ledger_bytes: u64,
    /// Checks by the `ledger` binary and their exit codes; absent if a signal ended it.
    pub(super) checks: Vec<Check>,
    /// `ok` or `failed`.
    pub(super) verdict: Verdict,
}

/// One queue: how long its tasks waited to be started.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Queue {
    queue: String,
    tasks: u64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl From<&QueueReport> for Queue {
    fn from(report: &QueueReport) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 microseconds")]
        let ms = |time: Option<Micros>| round(time.unwrap_or_default().0 as f64 / 1000.0, 3);
        Self {
            queue: report.name.to_string(),
            tasks: report.wait.count,
            p50_ms: ms(report.wait.p50_us),
            p95_ms: ms(report.wait.p95_us),
            p99_ms: ms(report.wait.p99_us),
            max_ms: ms(report.wait.max_us),
        }
    }
}

/// A check and how it ended.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    /// What was run.
    pub(super) command: String,
    /// Whether a node had the ledger open.
    pub(super) through: Through,
    /// Its exit code.
    pub(super) exit_code: Option<i32>,
}

/// What a check read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Through {
    /// The running node.
    Node,
    /// The files, after the node had ended.
    Files,
}

/// Whether the replay went as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// Every task completed once and every check passed.
    Ok,
    /// Something did not.
    Failed,
}

impl Report {
    /// Fills in the verdict from everything else.
    pub(super) fn judge(&mut self) {
        let sound = self.not_completed == 0
            && !self.checks.is_empty()
            && self.checks.iter().all(|check| check.exit_code == Some(0));
        self.verdict = if sound { Verdict::Ok } else { Verdict::Failed };
    }
}

/// Seconds with three decimals.
pub(super) fn seconds(duration: Duration) -> f64 {
    round(duration.as_secs_f64(), 3)
}

#[expect(clippy::cast_precision_loss, reason = "sizes of files are below 2^52")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "replay of {}: {} tasks of {} runs at {} times their speed, {} at once",
            self.replay, self.tasks, self.runs, self.scale, self.max_running
        )?;
        writeln!(
            f,
            "left out: {} calls that never ended; cut: {} pauses; repeated with the same key: {}",
            self.left_out, self.pauses_cut, self.submitted_twice
        )?;
        writeln!(
            f,
            "makespan {:.1} s (at least {:.1} s), {:.1} tasks/s",
            self.makespan_s, self.least_s, self.tasks_per_s
        )?;
        writeln!(
            f,
            "\nwaited, ms     tasks      p50      p95      p99      max"
        )?;
        for q in &self.queues {
            writeln!(
                f,
                "{:<12} {:>7} {:>8.1} {:>8.1} {:>8.1} {:>8.1}",
                q.queue, q.tasks, q.p50_ms, q.p95_ms, q.p99_ms, q.max_ms
            )?;
        }
        writeln!(
            f,
            "\nledger: {} events, {:.2} MiB of events in {:.2} MiB of files",
            self.events,
            mib(self.event_bytes),
            mib(self.ledger_bytes)
        )?;
        let mut checks = String::new();
        for check in &self.checks {
            let code = check
                .exit_code
                .map_or("signal".to_owned(), |c| c.to_string());
            let through = match check.through {
                Through::Node => "through the node",
                Through::Files => "from the files",
            };
            write!(checks, "`{}` {through}: {code}; ", check.command)?;
        }
        writeln!(f, "exit codes: {}", checks.trim_end_matches("; "))?;
        match self.verdict {
            Verdict::Ok => writeln!(f, "ok: every task completed once and every check passed"),
            Verdict::Failed => writeln!(
                f,
                "FAILED: {} tasks did not complete, {} checks did not pass",
                self.not_completed,
                self.checks
                    .iter()
                    .filter(|c| c.exit_code != Some(0))
                    .count()
            ),
        }
    }
}
