//! A job's table as far as it has been read, key by key.

use std::collections::BTreeMap;

use ledger_core::event::{
    Builtin, BuiltinJob, Exec, JobSpec, Missed, Overlap, Payload, Priority, Schedule,
    TaskSubmitted, Terms,
};
use ledger_core::ids::Id;
use ledger_core::time::Millis;
use toml::de::DeValue;

use super::fit::Unfit;
use super::{flag, texts};
use crate::config::{TasksConfig, duration, text, whole};
use crate::jobs::decide::{MADE_UP, MAX_MADE_UP};
use crate::names::id_as;
use crate::scheduler::terms::MAX_ATTEMPTS;

/// The zone of a cron expression that names none.
const DEFAULT_ZONE: &str = "UTC";

/// A job as far as it has been read.
pub(super) struct Draft {
    pub(super) enabled: bool,
    schedule: Option<Schedule>,
    time_zone: Option<String>,
    overlap: Overlap,
    missed: Missed,
    at_most: Option<u32>,
    priority: Priority,
    max_runtime: Millis,
    grace: Millis,
    terms: Terms,
    exec: Exec,
    builtin: Option<BuiltinJob>,
}

impl Draft {
    pub(super) fn new(own: Option<&JobSpec>, tasks: &TasksConfig) -> Self {
        let task = own.map(|own| &own.task);
        Self {
            enabled: true,
            schedule: own.map(|own| own.schedule.clone()),
            time_zone: None,
            overlap: Overlap::Skip,
            missed: Missed::RunOnce,
            at_most: None,
            priority: task.map_or(Priority::Standard, |task| task.priority),
            max_runtime: task.map_or(tasks.max_runtime, |task| task.max_runtime_ms),
            grace: tasks.grace,
            terms: Terms::default(),
            exec: Exec {
                argv: Vec::new(),
                env: BTreeMap::new(),
                cwd: None,
                stdin: None,
            },
            builtin: task.and_then(|task| match &task.payload {
                Payload::Builtin(builtin) => Some(builtin.job),
                Payload::Exec(_) => None,
            }),
        }
    }

    pub(super) fn set(&mut self, key: &str, value: &DeValue<'_>) -> Result<(), String> {
        match key {
            "enabled" => self.enabled = flag(value)?,
            "every" => {
                let every_ms = duration(value)?;
                self.schedule = Some(Schedule::Every { every_ms });
            }
            "cron" => {
                self.schedule = Some(Schedule::Cron {
                    expression: text(value)?.to_owned(),
                    time_zone: DEFAULT_ZONE.to_owned(),
                });
            }
            "time_zone" => self.time_zone = Some(text(value)?.to_owned()),
            "overlap" => {
                self.overlap = match text(value)? {
                    "skip" => Overlap::Skip,
                    "queue" => Overlap::Queue,
                    "cancel_running" => Overlap::CancelRunning,
                    _ => return Err("is `skip`, `queue` or `cancel_running`".to_owned()),
                }
            }
            "missed" => {
                self.missed = match text(value)? {
                    "run_once" => Missed::RunOnce,
                    "skip" => Missed::Skip,
                    "run_all" => Missed::RunAll { at_most: MADE_UP },
                    _ => return Err("is `run_once`, `skip` or `run_all`".to_owned()),
                }
            }
            "missed_at_most" => self.at_most = Some(whole(value, 1, MAX_MADE_UP)?),
            "priority" => self.priority = priority(value)?,
            "max_runtime" => self.max_runtime = duration(value)?,
            "grace" => self.grace = duration(value)?,
            "max_attempts" => self.terms.max_attempts = whole(value, 1, MAX_ATTEMPTS)?,
            "rate_key" => self.terms.rate_key = Some(shared_key(value)?),
            "concurrency_key" => self.terms.concurrency_key = Some(shared_key(value)?),
            "stall_after" => self.terms.stall_after_ms = Some(duration(value)?),
            "command" => {
                self.exec.argv = texts(value)?;
                self.builtin = None;
            }
            "builtin" => {
                self.builtin = Some(text(value)?.parse().map_err(|e| format!("is wrong: {e}"))?);
            }
            "env" => self.exec.env = variables(value)?,
            "cwd" => self.exec.cwd = Some(text(value)?.to_owned()),
            "stdin" => self.exec.stdin = Some(text(value)?.to_owned()),
            // Its name was read before.
            _ => {}
        }
        Ok(())
    }

    pub(super) fn finish(self, source: &str) -> Result<JobSpec, Unfit> {
        let mut schedule = self
            .schedule
            .ok_or_else(|| Unfit::table("needs `every` or `cron`: when is it due?"))?;
        match (&mut schedule, self.time_zone) {
            (Schedule::Cron { time_zone, .. }, Some(named)) => *time_zone = named,
            (Schedule::Every { .. }, Some(_)) => {
                return Err(Unfit::of(
                    "time_zone",
                    "has no effect: only `cron` goes by it",
                ));
            }
            (_, None) => {}
        }
        let missed = match (self.missed, self.at_most) {
            (Missed::RunAll { .. }, Some(at_most)) => Missed::RunAll { at_most },
            (Missed::RunOnce | Missed::Skip, Some(_)) => {
                let problem = "has no effect: only missed = \"run_all\" goes by it";
                return Err(Unfit::of("missed_at_most", problem));
            }
            (missed, None) => missed,
        };
        let payload = match self.builtin {
            Some(job) => {
                let exec = &self.exec;
                let of_commands = [
                    ("env", exec.env.is_empty()),
                    ("cwd", exec.cwd.is_none()),
                    ("stdin", exec.stdin.is_none()),
                ];
                if let Some((key, _)) = of_commands.into_iter().find(|(_, absent)| !absent) {
                    let problem = "has no effect: the job is built in, and runs no command";
                    return Err(Unfit::of(key, problem));
                }
                Payload::Builtin(Builtin { job })
            }
            None if self.exec.argv.is_empty() => {
                let problem = "needs a `command`, such as [\"git\", \"gc\"], or a `builtin`";
                return Err(Unfit::table(problem));
            }
            None => Payload::Exec(self.exec),
        };
        Ok(JobSpec {
            schedule,
            overlap: self.overlap,
            missed,
            task: TaskSubmitted {
                priority: self.priority,
                payload,
                max_runtime_ms: self.max_runtime,
                grace_ms: self.grace,
                terms: (self.terms != Terms::default()).then(|| Box::new(self.terms)),
            },
            source: source.to_owned(),
        })
    }
}

/// A number, or one of its names.
fn priority(value: &DeValue<'_>) -> Result<Priority, String> {
    let wrong = |e: ledger_core::event::UnknownPriority| format!("is wrong: {e}");
    match value.as_str() {
        Some(name) => name.parse().map_err(wrong),
        None => Priority::try_from(u64::from(whole(value, 0, 2)?)).map_err(wrong),
    }
}

/// The name of a key that tasks share.
fn shared_key(value: &DeValue<'_>) -> Result<Id, String> {
    id_as("a key", text(value)?).map_err(|e| format!("is wrong: {e}"))
}

fn variables(value: &DeValue<'_>) -> Result<BTreeMap<String, String>, String> {
    let table = value
        .as_table()
        .ok_or_else(|| "must be a table of texts".to_owned())?;
    let pairs = table.iter().map(|(name, value)| {
        let value = text(value.get_ref())?;
        Ok((name.get_ref().to_string(), value.to_owned()))
    });
    pairs.collect()
}
