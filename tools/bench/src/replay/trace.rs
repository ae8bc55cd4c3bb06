//! A recorded workload as the tasks that stand for it: each call is a task that sleeps for as long as the
//! call took. Reading recordings and putting calls in order is [`opsledger::simulate`]'s.
//!
//! A recorded command is data: what runs is `sleep`.

use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;
use std::time::Duration;

use ledger_core::event::Priority;
use ledger_core::time::Millis;
use opsledger::simulate::mix::Made;
use opsledger::simulate::trace::{CALLS_SOURCE, Call, read_calls};

use crate::error::{Context, Failure};

/// Shortest task: below it, starting a process is all there is.
const SHORTEST: Duration = Duration::from_millis(5);

/// A task that stands for a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Planned {
    /// When it is submitted, since the replay began.
    pub(super) arrival: Duration,
    /// How long it sleeps.
    pub(super) sleep: Duration,
    /// Its queue.
    pub(super) queue: Priority,
}

impl Planned {
    /// How long it may run: far longer than it should, and no longer than can be waited for.
    pub(super) fn max_runtime(&self) -> Millis {
        let limit = self.sleep * 4 + Duration::from_secs(2);
        Millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
    }

    /// What runs.
    pub(super) fn argv(&self) -> Vec<String> {
        vec!["sleep".into(), format!("{:.3}", self.sleep.as_secs_f64())]
    }
}

/// All tasks of a replay, by arrival.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Plan {
    /// The tasks.
    pub(super) tasks: Vec<Planned>,
    /// How many runs they come from.
    pub(super) runs: usize,
    /// Calls that never ended, which are left out.
    pub(super) left_out: usize,
    /// Pauses that were cut.
    pub(super) pauses_cut: usize,
}

/// Opens a recording, which should be `what`.
///
/// # Errors
/// [`Failure`] that says where to get one if there is no such file.
pub(crate) fn open(path: &Path, what: &str) -> Result<BufReader<File>, Failure> {
    match File::open(path) {
        Ok(file) => Ok(BufReader::new(file)),
        Err(e) if e.kind() == ErrorKind::NotFound => Err(Failure::new(format!(
            "there is no {}: it should be {what}",
            path.display()
        ))),
        Err(e) => Err(e).context(format!("opening {}", path.display())),
    }
}

/// Reads recorded calls.
///
/// # Errors
/// [`Failure`] with the line and what is wrong with it, or where to get a recording if there is no such
/// file.
pub(crate) fn calls(path: &Path) -> Result<Vec<Call>, Failure> {
    read_calls(open(path, CALLS_SOURCE)?).context(path.display().to_string())
}

impl Plan {
    /// Reads a recording; all its times are divided by `scale`.
    ///
    /// # Errors
    /// As [`calls`].
    pub(super) fn read(path: &Path, scale: f64) -> Result<Self, Failure> {
        Ok(Self::of(Made::of(calls(path)?), scale))
    }

    fn of(made: Made, scale: f64) -> Self {
        let planned = |(arrival, call): (Duration, Call)| {
            Some(Planned {
                arrival: arrival.div_f64(scale),
                sleep: call.duration?.div_f64(scale).max(SHORTEST),
                queue: call.queue,
            })
        };
        Self {
            runs: made.runs,
            left_out: made.unended,
            pauses_cut: made.pauses_cut,
            tasks: made.calls.into_iter().filter_map(planned).collect(),
        }
    }

    /// All sleeping together.
    pub(super) fn work(&self) -> Duration {
        self.tasks.iter().map(|task| task.sleep).sum()
    }

    /// When the last task arrives.
    pub(super) fn last_arrival(&self) -> Duration {
        self.tasks
            .last()
            .map_or(Duration::ZERO, |task| task.arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, scale: f64) -> Result<Plan, Failure> {
        let calls = read_calls(text.as_bytes()).context("calls.jsonl")?;
        Ok(Plan::of(Made::of(calls), scale))
    }

    #[test]
    fn calls_become_tasks_in_the_order_of_their_arrival() {
        let text = r#"{"run":"a","tool":"Read","start_s":0.0,"duration_s":0.01}
{"run":"a","tool":"Bash","start_s":40.0,"duration_s":31.0,"command":"make never run"}

{"run":"a","tool":"Bash","start_s":50.0}
{"run":"b","tool":"Edit","start_s":2.0,"duration_s":4}
"#;
        let plan = plan(text, 20.0).unwrap();
        assert_eq!((plan.runs, plan.left_out, plan.pauses_cut), (2, 1, 0));
        let told: Vec<_> = plan
            .tasks
            .iter()
            .map(|t| (t.arrival.as_millis(), t.sleep.as_millis(), t.queue))
            .collect();
        let expected = [
            (0, 5, Priority::Interactive),
            (100, 200, Priority::Standard),
            (2000, 1550, Priority::Background),
        ];
        assert_eq!(told, expected);
        assert_eq!(plan.tasks[2].argv(), ["sleep", "1.550"]);
        assert_eq!(plan.tasks[2].max_runtime(), Millis(8200));
    }

    #[test]
    fn a_long_pause_is_cut_and_counted() {
        let text = r#"{"run":"a","tool":"Read","start_s":0,"duration_s":1}
{"run":"a","tool":"Read","start_s":8000,"duration_s":1}
{"run":"a","tool":"Read","start_s":8010,"duration_s":1}"#;
        let plan = plan(text, 1.0).unwrap();
        assert_eq!(plan.pauses_cut, 1);
        assert_eq!(plan.last_arrival(), Duration::from_secs(610));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let line = |bad: &str| {
            let good = r#"{"run":"a","tool":"Read","start_s":0}"#;
            plan(&format!("{good}\n{bad}"), 1.0)
                .unwrap_err()
                .to_string()
        };
        for bad in [
            "nonsense",
            r#"{"run":"a","tool":"Read"}"#,
            r#"{"run":"a","tool":"Read","start_s":-1e9}"#,
            r#"{"run":"a","tool":"Read","start_s":1,"duration_s":1e9}"#,
        ] {
            assert!(
                line(bad).starts_with("calls.jsonl: line 2: "),
                "{}",
                line(bad)
            );
        }
    }

    #[test]
    fn a_missing_recording_says_where_one_is_found() {
        let error = Plan::read(Path::new("no/such/file"), 1.0).unwrap_err();
        assert!(error.to_string().contains("agentcgroup"), "{error}");
    }
}
