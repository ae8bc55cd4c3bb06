//! A recorded workload: the tool calls of agents' runs, one JSON object a line, and the tasks that
//! stand for them.
//!
//! | field | |
//! |---|---|
//! | `run` | which run of an agent |
//! | `tool` | what was called: `Read`, `Bash` … |
//! | `start_s` | when, in seconds since the run began |
//! | `duration_s` | for how long; absent if it never ended |
//!
//! Other fields are passed over. A recorded command is one of them: it is data and is never kept,
//! let alone run; what runs is `sleep` for as long as the call took.
//!
//! All runs begin together, as a fleet's do, and each call arrives when it did in its run, whatever
//! has become of the call before: the recording already holds how long agents waited and thought. A
//! pause of more than [`LONGEST_PAUSE`] is cut to it, so that one run that was left standing does
//! not decide how long a replay takes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::time::Duration;

use ledger_core::event::Priority;
use ledger_core::time::Millis;
use serde::Deserialize;

use crate::error::{Context, Failure};

/// Longest line, in bytes.
const MAX_LINE: u64 = 1024 * 1024;
/// Most calls in a recording.
const MAX_CALLS: usize = 1_000_000;
/// Longest time in a recording that is believed, in seconds: a week.
const MAX_SECONDS: f64 = 7.0 * 86_400.0;
/// Longest pause between two calls of a run, before scaling.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Shortest task: below it, starting a process is all there is.
const SHORTEST: Duration = Duration::from_millis(5);
/// A shell call of this length was a build or a test run.
const LONG_SHELL: Duration = Duration::from_secs(30);

/// Where the recording that this was made for is found.
const SOURCE: &str = "a recording of agents' tool calls, one JSON object a line with run, tool, \
                      start_s and duration_s; one can be extracted from the experiments of \
                      eunomia-bpf/agentcgroup on GitHub";

/// A recorded call.
#[derive(Debug, Clone, Deserialize)]
struct Call {
    run: String,
    tool: String,
    start_s: f64,
    duration_s: Option<f64>,
}

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

impl Plan {
    /// Reads a recording; all its times are divided by `scale`.
    ///
    /// # Errors
    /// [`Failure`] with the line and what is wrong with it, or where to get a recording if there
    /// is no such file.
    pub(super) fn read(path: &Path, scale: f64) -> Result<Self, Failure> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(Failure::new(format!(
                    "there is no {}: it should be {SOURCE}",
                    path.display()
                )));
            }
            Err(e) => return Err(e).context(format!("opening {}", path.display())),
        };
        let calls = read_calls(BufReader::new(file), path)?;
        Ok(Self::of(calls, scale))
    }

    fn of(calls: Vec<Call>, scale: f64) -> Self {
        let mut runs: BTreeMap<String, Vec<Call>> = BTreeMap::new();
        for call in calls {
            runs.entry(call.run.clone()).or_default().push(call);
        }
        let mut plan = Self {
            tasks: Vec::new(),
            runs: runs.len(),
            left_out: 0,
            pauses_cut: 0,
        };
        for mut calls in runs.into_values() {
            calls.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
            plan.add_run(&calls, scale);
        }
        plan.tasks.sort_by_key(|task| task.arrival);
        plan
    }

    fn add_run(&mut self, calls: &[Call], scale: f64) {
        let mut arrival = Duration::ZERO;
        let mut before = 0.0;
        for call in calls {
            let mut pause = Duration::from_secs_f64(call.start_s - before);
            if pause > LONGEST_PAUSE {
                pause = LONGEST_PAUSE;
                self.pauses_cut += 1;
            }
            arrival += pause;
            before = call.start_s;
            let Some(seconds) = call.duration_s else {
                self.left_out += 1;
                continue;
            };
            let duration = Duration::from_secs_f64(seconds);
            self.tasks.push(Planned {
                arrival: arrival.div_f64(scale),
                sleep: duration.div_f64(scale).max(SHORTEST),
                queue: queue_of(&call.tool, duration),
            });
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

/// An agent waits at once for what it reads and searches; a long build can wait for everyone.
fn queue_of(tool: &str, duration: Duration) -> Priority {
    match tool {
        "Read" | "Grep" | "Glob" | "LS" | "WebSearch" | "WebFetch" | "TodoRead" | "BashOutput" => {
            Priority::Interactive
        }
        "Bash" if duration > LONG_SHELL => Priority::Background,
        _ => Priority::Standard,
    }
}

fn read_calls(mut reader: impl BufRead, path: &Path) -> Result<Vec<Call>, Failure> {
    let mut calls = Vec::new();
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let place = || format!("{}:{number}", path.display());
        let read = (&mut reader).take(MAX_LINE).read_line(&mut line);
        if read.context(place())? == 0 {
            break;
        }
        if line.len() as u64 == MAX_LINE {
            return Err(Failure::new(format!("{}: the line is too long", place())));
        }
        if line.trim().is_empty() {
            continue;
        }
        let mut call: Call = serde_json::from_str(&line).context(place())?;
        // Recordings have calls that began shortly before their run's clock did.
        if (-MAX_SECONDS..0.0).contains(&call.start_s) {
            call.start_s = 0.0;
        }
        let believed = |seconds: f64| (0.0..=MAX_SECONDS).contains(&seconds);
        if !believed(call.start_s) || !call.duration_s.is_none_or(believed) {
            return Err(Failure::new(format!(
                "{}: times are 0 to {MAX_SECONDS} seconds",
                place()
            )));
        }
        if calls.len() == MAX_CALLS {
            return Err(Failure::new(format!(
                "{}: at most {MAX_CALLS} calls are replayed",
                place()
            )));
        }
        calls.push(call);
    }
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str, scale: f64) -> Result<Plan, Failure> {
        read_calls(text.as_bytes(), Path::new("calls.jsonl")).map(|calls| Plan::of(calls, scale))
    }

    #[test]
    fn calls_become_tasks_in_the_order_of_their_arrival() {
        let text = r#"{"run":"a","tool":"Read","start_s":0.0,"duration_s":0.01}
{"run":"a","tool":"Bash","start_s":40.0,"duration_s":31.0,"command":"never run"}

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
        assert_eq!(plan.last_arrival(), LONGEST_PAUSE + Duration::from_secs(10));
    }

    #[test]
    fn calls_out_of_order_are_sorted_within_their_run() {
        let text = r#"{"run":"a","tool":"Read","start_s":9,"duration_s":1}
{"run":"a","tool":"Read","start_s":3,"duration_s":2}"#;
        let plan = plan(text, 1.0).unwrap();
        assert_eq!(plan.tasks[0].arrival, Duration::from_secs(3));
        assert_eq!(plan.tasks[1].arrival, Duration::from_secs(9));
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
            assert!(line(bad).starts_with("calls.jsonl:2: "), "{}", line(bad));
        }
    }

    #[test]
    fn a_missing_recording_says_where_one_is_found() {
        let error = Plan::read(Path::new("no/such/file"), 1.0).unwrap_err();
        assert!(error.to_string().contains("agentcgroup"), "{error}");
    }
}
