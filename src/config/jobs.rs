//! Jobs as they are written: `[jobs.NAME]` and `[[job]]` tables of `ledger.toml` and of the files
//! below `jobs.d/`.
//!
//! The node's own jobs are there unless they are turned off; a table of such a name changes what it
//! names and leaves the rest.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use ledger_core::event::{
    Builtin, BuiltinJob, Exec, JobSpec, Missed, Overlap, Payload, Priority, Schedule,
    TaskSubmitted, Terms,
};
use ledger_core::ids::Id;
use ledger_core::time::Millis;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    CheckpointConfig, ConfigError, Fault, Located, TasksConfig, duration, located, text, unknown,
    whole,
};
use crate::jobs::decide::{MADE_UP, MAX_MADE_UP, check};
use crate::scheduler::terms::MAX_ATTEMPTS;
use crate::{redact, scheduler};

/// The directory of files with more jobs, in the data directory.
pub const JOBS_DIR: &str = "jobs.d";
/// What a job is said to come from that nobody has written.
pub const BUILT_IN: &str = "built in";
/// How long a job of the node's own may take.
const BUILTIN_RUNTIME: Millis = Millis(120_000);
/// How long a checkpoint may take: a state of millions of tasks is written, read and compared.
const CHECKPOINT_RUNTIME: Millis = Millis(600_000);
/// The zone of a cron expression that names none.
const DEFAULT_ZONE: &str = "UTC";
/// Every key of a job's table.
const KEYS: [&str; 20] = [
    "name",
    "enabled",
    "every",
    "cron",
    "time_zone",
    "overlap",
    "missed",
    "missed_at_most",
    "priority",
    "max_runtime",
    "grace",
    "max_attempts",
    "rate_key",
    "concurrency_key",
    "stall_after",
    "command",
    "builtin",
    "env",
    "cwd",
    "stdin",
];

/// `[jobs]`: what runs by the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobsConfig {
    /// `builtin`: whether the node's own jobs are defined. Default: yes.
    pub builtin: bool,
    /// Every job, those of the node's own included.
    pub defined: BTreeMap<Id, JobSpec>,
}

impl Default for JobsConfig {
    fn default() -> Self {
        let own = BuiltinJob::ALL.into_iter();
        Self {
            builtin: true,
            defined: own.map(|job| (own_name(job), own_spec(job))).collect(),
        }
    }
}

fn own_name(job: BuiltinJob) -> Id {
    Id::new(job.name()).expect("the names of the node's own jobs are ids")
}

/// What a job of the node's own is if nobody says otherwise.
fn own_spec(job: BuiltinJob) -> JobSpec {
    let (minutes, priority) = match job {
        BuiltinJob::ZombieCleanup | BuiltinJob::HealthCheck => (5, Priority::Interactive),
        BuiltinJob::OpsRefresh => (15, Priority::Standard),
        BuiltinJob::StateCheckpoint => (120, Priority::Background),
    };
    let runtime = match job {
        BuiltinJob::StateCheckpoint => CHECKPOINT_RUNTIME,
        _ => BUILTIN_RUNTIME,
    };
    JobSpec {
        schedule: Schedule::Every {
            every_ms: Millis(minutes * 60_000),
        },
        overlap: Overlap::Skip,
        missed: Missed::RunOnce,
        task: TaskSubmitted {
            priority,
            payload: Payload::Builtin(Builtin { job }),
            max_runtime_ms: runtime,
            grace_ms: TasksConfig::default().grace,
            terms: None,
        },
        source: BUILT_IN.to_owned(),
    }
}

/// A job that was read, and where it stands in the text.
pub(super) struct Written {
    name: Id,
    at: usize,
    /// Nothing if it is turned off.
    spec: Option<JobSpec>,
}

/// Reads a file of [`JOBS_DIR`]: what it defines. `source` is what its jobs are said to come from.
///
/// # Errors
/// [`ConfigError::Fault`] with the line and what is wrong there. `taken` says of a name whether
/// another file has it.
pub fn parse_file(
    text: &str,
    path: &Path,
    source: &str,
    tasks: &TasksConfig,
    taken: &dyn Fn(&Id) -> Option<String>,
) -> Result<BTreeMap<Id, JobSpec>, ConfigError> {
    let read = || {
        let table = super::toml_table(text)?;
        let mut jobs = BTreeMap::new();
        for (name, value) in table.get_ref() {
            if !matches!(name.get_ref().as_ref(), "jobs" | "job") {
                return Err(unknown("section", name, ["jobs", "job"].into_iter()));
            }
            let reader = Reader { source, tasks };
            for written in reader.section(name, value, None)? {
                if let Some(other) = taken(&written.name) {
                    let fault = format!("is a job of {other} already");
                    return Err(Located::value(written.at..written.at, &written.name, fault));
                }
                jobs.extend(written.spec.map(|spec| (written.name, spec)));
            }
        }
        Ok(jobs)
    };
    read().map_err(|fault| located(text, path, fault))
}

/// Reads `[jobs…]` and `[[job]]` of the configuration; `tasks` is what holds for tasks.
pub(super) fn read(
    table: &DeTable<'_>,
    tasks: &TasksConfig,
    checkpoint: &CheckpointConfig,
) -> Result<JobsConfig, Located> {
    let mut config = JobsConfig::default();
    let own = own_name(BuiltinJob::StateCheckpoint);
    if let Some(spec) = config.defined.get_mut(&own) {
        spec.schedule = Schedule::Every {
            every_ms: checkpoint.every,
        };
    }
    if !checkpoint.enabled {
        config.defined.remove(&own);
    }
    let source = super::FILE_NAME;
    let reader = Reader { source, tasks };
    let mut written = Vec::new();
    for (name, value) in table {
        if matches!(name.get_ref().as_ref(), "jobs" | "job") {
            written.extend(reader.section(name, value, Some(&mut config.builtin))?);
        }
    }
    if !config.builtin {
        config.defined.clear();
    }
    let mut seen = BTreeMap::new();
    for Written { name, at, spec } in written {
        if seen.insert(name.clone(), ()).is_some() {
            let problem = "is a job of this file already".to_owned();
            return Err(Located::value(at..at, &name, problem));
        }
        match spec {
            Some(spec) => config.defined.insert(name, spec),
            None => config.defined.remove(&name),
        };
    }
    Ok(config)
}

struct Reader<'a> {
    source: &'a str,
    tasks: &'a TasksConfig,
}

impl Reader<'_> {
    /// `jobs` with its tables, or the list `job`. `builtin` is where that setting goes; without it
    /// there is none.
    fn section(
        &self,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        mut builtin: Option<&mut bool>,
    ) -> Result<Vec<Written>, Located> {
        let section = name.get_ref().as_ref();
        let mut written = Vec::new();
        match (section, value.get_ref()) {
            ("jobs", DeValue::Table(jobs)) => {
                for (key, value) in jobs {
                    if let DeValue::Table(keys) = value.get_ref() {
                        let job = job_name(key.get_ref(), key.span())?;
                        written.push(self.job(job, keys, key.span())?);
                        continue;
                    }
                    let setting = builtin.as_deref_mut();
                    let Some(setting) = setting.filter(|_| key.get_ref() == "builtin") else {
                        return Err(unknown("key", key, ["builtin"].into_iter()));
                    };
                    *setting = flag(value.get_ref())
                        .map_err(|problem| Located::value(value.span(), "jobs.builtin", problem))?;
                }
            }
            ("job", DeValue::Array(jobs)) => {
                for job in jobs.iter() {
                    let DeValue::Table(keys) = job.get_ref() else {
                        let problem = "is a list of tables; write [[job]]".to_owned();
                        return Err(Located::value(job.span(), "job", problem));
                    };
                    let Some(name) = keys.get("name") else {
                        let problem = "needs a `name`".to_owned();
                        return Err(Located::value(job.span(), "job", problem));
                    };
                    let told = text(name.get_ref())
                        .map_err(|problem| Located::value(name.span(), "job.name", problem))?;
                    let job = job_name(told, name.span())?;
                    written.push(self.job(job, keys, name.span())?);
                }
            }
            _ => {
                let problem = "is written [jobs.NAME], or [[job]] with a name".to_owned();
                return Err(Located::value(value.span(), section, problem));
            }
        }
        Ok(written)
    }

    fn job(&self, name: Id, keys: &DeTable<'_>, at: Range<usize>) -> Result<Written, Located> {
        let own = BuiltinJob::ALL.into_iter().find(|job| job.name() == &*name);
        let mut draft = Draft::new(own.map(own_spec), self.tasks);
        for (key, value) in keys {
            let known = KEYS.iter().find(|known| **known == key.get_ref().as_ref());
            let known = known.ok_or_else(|| unknown("key", key, KEYS.into_iter()))?;
            let full = format!("jobs.{name}.{known}");
            let set = draft.set(known, value.get_ref());
            set.map_err(|problem| Located::value(value.span(), &full, problem))?;
        }
        let whole = format!("jobs.{name}");
        let wrong = |problem| Located::value(at.clone(), &whole, problem);
        let enabled = draft.enabled;
        let spec = draft.finish(self.source).map_err(wrong)?;
        check(&name, &spec).map_err(wrong)?;
        scheduler::decide::check(&spec.task).map_err(|refusal| wrong(refusal.to_string()))?;
        if let Some(field) = redact::secret_in_payload(&spec.task.payload) {
            return Err(wrong(format!(
                "holds what looks like a secret in {field}, and the ledger never forgets; put it into a file and pass the path"
            )));
        }
        Ok(Written {
            name,
            at: at.start,
            spec: enabled.then_some(spec),
        })
    }
}

fn job_name(name: &str, at: Range<usize>) -> Result<Id, Located> {
    Id::new(name).map_err(|e| Located::value(at, name, format!("is not a name: {e}")))
}

/// A job as far as it has been read.
struct Draft {
    enabled: bool,
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
    fn new(own: Option<JobSpec>, tasks: &TasksConfig) -> Self {
        let task = own.as_ref().map(|own| &own.task);
        Self {
            enabled: true,
            schedule: own.as_ref().map(|own| own.schedule.clone()),
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

    fn set(&mut self, key: &str, value: &DeValue<'_>) -> Result<(), String> {
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

    fn finish(self, source: &str) -> Result<JobSpec, String> {
        let mut schedule = self
            .schedule
            .ok_or("needs `every` or `cron`: when is it due?")?;
        match (&mut schedule, self.time_zone) {
            (Schedule::Cron { time_zone, .. }, Some(named)) => *time_zone = named,
            (Schedule::Every { .. }, Some(_)) => {
                return Err("has a `time_zone`, which only `cron` goes by".to_owned());
            }
            (_, None) => {}
        }
        let missed = match (self.missed, self.at_most) {
            (Missed::RunAll { .. }, Some(at_most)) => Missed::RunAll { at_most },
            (Missed::RunOnce | Missed::Skip, Some(_)) => {
                return Err("has `missed_at_most`, which only missed = \"run_all\" goes by".into());
            }
            (missed, None) => missed,
        };
        let plain =
            self.exec.env.is_empty() && self.exec.cwd.is_none() && self.exec.stdin.is_none();
        let payload = match self.builtin {
            Some(job) if plain && self.exec.argv.is_empty() => Payload::Builtin(Builtin { job }),
            Some(_) => return Err("is built in: it has no command, env, cwd or stdin".to_owned()),
            None if self.exec.argv.is_empty() => {
                return Err("needs a `command`, such as [\"git\", \"gc\"], or a `builtin`".into());
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

pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| "must be true or false".to_owned())
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
    Id::new(text(value)?).map_err(|e| format!("is not a key: {e}"))
}

pub(super) fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let list = value
        .as_array()
        .ok_or_else(|| "must be a list of texts".to_owned())?;
    let texts = list
        .iter()
        .map(|item| text(item.get_ref()).map(str::to_owned));
    texts.collect()
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

/// A fault of a file that is not TOML's or a key's.
pub fn fault(path: &Path, problem: &str) -> ConfigError {
    ConfigError::Fault {
        path: path.to_path_buf(),
        line: 1,
        fault: Fault::Syntax(problem.to_owned()),
    }
}
