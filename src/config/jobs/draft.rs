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
use crate::config::{TasksConfig, duration, text, whole, within};
use crate::jobs::decide::{MADE_UP, MAX_MADE_UP};
use crate::jobs::timetable::Timetable;
use crate::names::id_as;
use crate::scheduler::decide::{MAX_GRACE, MAX_RUNTIME};
use crate::scheduler::terms::{MAX_ATTEMPTS, MIN_STALL_AFTER};

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
                self.schedule = Some(due(Schedule::Every { every_ms })?);
            }
            "cron" => {
                self.schedule = Some(due(Schedule::Cron {
                    expression: text(value)?.to_owned(),
                    time_zone: DEFAULT_ZONE.to_owned(),
                })?);
            }
            "time_zone" => {
                let time_zone = text(value)?.to_owned();
                due(Schedule::Cron {
                    expression: "@daily".to_owned(),
                    time_zone: time_zone.clone(),
                })?;
                self.time_zone = Some(time_zone);
            }
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
            "max_runtime" => self.max_runtime = within(value, Millis(1), MAX_RUNTIME)?,
            "grace" => self.grace = within(value, Millis(1), MAX_GRACE)?,
            "max_attempts" => self.terms.max_attempts = whole(value, 1, MAX_ATTEMPTS)?,
            "rate_key" => self.terms.rate_key = Some(shared_key(value)?),
            "concurrency_key" => self.terms.concurrency_key = Some(shared_key(value)?),
            "stall_after" => {
                let after = within(value, MIN_STALL_AFTER, MAX_RUNTIME)?;
                self.terms.stall_after_ms = Some(after);
            }
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

    /// The job, if nothing of it is missing or without effect.
    pub(super) fn finish(self, source: &str, unfit: &mut Vec<Unfit>) -> Option<JobSpec> {
        let missed = match (self.missed, self.at_most) {
            (Missed::RunAll { .. }, Some(at_most)) => Missed::RunAll { at_most },
            (Missed::RunOnce | Missed::Skip, Some(_)) => {
                let problem = "has no effect: only missed = \"run_all\" goes by it";
                unfit.push(Unfit::of("missed_at_most", problem));
                self.missed
            }
            (missed, None) => missed,
        };
        let schedule = scheduled(self.schedule, self.time_zone, unfit);
        let payload = payload(self.builtin, self.exec, unfit);
        let (schedule, payload) = (schedule?, payload?);
        Some(JobSpec {
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

/// When it is due, in its zone.
fn scheduled(
    schedule: Option<Schedule>,
    zone: Option<String>,
    unfit: &mut Vec<Unfit>,
) -> Option<Schedule> {
    match (schedule, zone) {
        (None, _) => {
            unfit.push(Unfit::table("needs `every` or `cron`: when is it due?"));
            None
        }
        (Some(Schedule::Cron { expression, .. }), Some(time_zone)) => Some(Schedule::Cron {
            expression,
            time_zone,
        }),
        (Some(every @ Schedule::Every { .. }), Some(_)) => {
            let problem = "has no effect: only `cron` goes by it";
            unfit.push(Unfit::of("time_zone", problem));
            Some(every)
        }
        (schedule, None) => schedule,
    }
}

/// What it runs.
fn payload(builtin: Option<BuiltinJob>, exec: Exec, unfit: &mut Vec<Unfit>) -> Option<Payload> {
    let Some(job) = builtin else {
        if exec.argv.is_empty() {
            let problem = "needs a `command`, such as [\"git\", \"gc\"], or a `builtin`";
            unfit.push(Unfit::table(problem));
            return None;
        }
        return Some(Payload::Exec(exec));
    };
    let of_commands = [
        ("env", exec.env.is_empty()),
        ("cwd", exec.cwd.is_none()),
        ("stdin", exec.stdin.is_none()),
    ];
    for (key, _) in of_commands.into_iter().filter(|(_, absent)| !absent) {
        let problem = "has no effect: the job is built in, and runs no command";
        unfit.push(Unfit::of(key, problem));
    }
    Some(Payload::Builtin(Builtin { job }))
}

/// The schedule, if it is ever due.
fn due(schedule: Schedule) -> Result<Schedule, String> {
    let read = Timetable::new(&schedule).map_err(|error| format!("is wrong: {error}"));
    read.map(|_| schedule)
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
