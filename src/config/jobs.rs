//! Jobs as they are written: `[jobs.NAME]` and `[[job]]` tables of `ledger.toml` and of the files
//! below `jobs.d/`.
//!
//! The node's own jobs are there unless they are turned off; a table of such a name changes what it
//! names and leaves the rest.

mod draft;
mod fit;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use ledger_core::event::{
    Builtin, BuiltinJob, JobSpec, Missed, Overlap, Payload, Priority, Schedule, TaskSubmitted,
};
use ledger_core::ids::Id;
use ledger_core::time::Millis;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::draft::Draft;
use self::fit::{Form, Unfit, rivals, unsound};
use super::{CheckpointConfig, ConfigError, Found, Located, TasksConfig, text, unknown};
use crate::names::id_as;

/// The directory of files with more jobs, in the data directory.
pub const JOBS_DIR: &str = "jobs.d";
/// What a job is said to come from that nobody has written.
pub const BUILT_IN: &str = "built in";
/// How long a job of the node's own may take.
const BUILTIN_RUNTIME: Millis = Millis(120_000);
/// How long a checkpoint may take: a state of millions of tasks is written, read and compared.
const CHECKPOINT_RUNTIME: Millis = Millis(600_000);
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
/// [`ConfigError::Faults`] with every fault and its line. `taken` says of a name whether another file
/// has it.
pub fn parse_file(
    text: &str,
    path: &Path,
    source: &str,
    tasks: &TasksConfig,
    taken: &dyn Fn(&Id) -> Option<String>,
) -> Result<BTreeMap<Id, JobSpec>, ConfigError> {
    let read = || {
        let table = super::toml_table(text)?;
        let own = JobsConfig::default().defined;
        let reader = Reader { source, tasks, own };
        let (mut found, mut written) = (Found::default(), Vec::new());
        for (name, value) in table.get_ref() {
            if matches!(name.get_ref().as_ref(), "jobs" | "job") {
                written.extend(reader.section(name, value, None, &mut found));
            } else {
                found.add(unknown("section", name, ["jobs", "job"].into_iter()));
            }
        }
        for Written { name, at, .. } in &written {
            if let Some(other) = taken(name) {
                let fault = format!("is a job of {other} already");
                found.add(Located::value(*at..*at, name, fault));
            }
        }
        let mut jobs = BTreeMap::new();
        for Written { name, spec, .. } in once_each(written, &mut found) {
            jobs.extend(spec.map(|spec| (name, spec)));
        }
        found.or(jobs)
    };
    read().map_err(|found| found.located(text, path))
}

/// Reads `[jobs…]` and `[[job]]` of the configuration; `tasks` is what holds for tasks.
pub(super) fn read(
    table: &DeTable<'_>,
    tasks: &TasksConfig,
    checkpoint: &CheckpointConfig,
    found: &mut Found,
) -> JobsConfig {
    let mut config = JobsConfig::default();
    let own = own_name(BuiltinJob::StateCheckpoint);
    if let Some(spec) = config.defined.get_mut(&own) {
        spec.schedule = Schedule::Every {
            every_ms: checkpoint.every,
        };
    }
    let reader = Reader {
        source: super::FILE_NAME,
        tasks,
        own: config.defined.clone(),
    };
    if !checkpoint.enabled {
        config.defined.remove(&own);
    }
    let mut written = Vec::new();
    for (name, value) in table {
        if matches!(name.get_ref().as_ref(), "jobs" | "job") {
            let builtin = Some(&mut config.builtin);
            written.extend(reader.section(name, value, builtin, found));
        }
    }
    if !config.builtin {
        config.defined.clear();
    }
    for Written { name, at, spec } in once_each(written, found) {
        if name == own && spec.is_some() {
            found.keep(beside_checkpoint(table, checkpoint, at));
        }
        match spec {
            Some(spec) => config.defined.insert(name, spec),
            None => config.defined.remove(&name),
        };
    }
    config
}

/// What `[checkpoint]` and the job that makes checkpoints both say, of which one would silently win.
fn beside_checkpoint(
    table: &DeTable<'_>,
    checkpoint: &CheckpointConfig,
    at: usize,
) -> Result<(), Located> {
    let keys = |path: &[&str]| {
        let first = table.get(path[0])?.get_ref().as_table()?;
        let inner = path[1..].iter();
        inner
            .copied()
            .try_fold(first, |keys, key| keys.get(key)?.get_ref().as_table())
    };
    let own = BuiltinJob::StateCheckpoint.name();
    let said = |keys: Option<&DeTable<'_>>, key: &str| Some(keys?.get(key)?.span());
    let scheduled = ["every", "cron"].into_iter().find_map(|key| {
        let span = said(keys(&["jobs", own]), key)?;
        Some((format!("jobs.{own}.{key}"), span))
    });
    if !checkpoint.enabled {
        let problem = "is turned off by checkpoint.enabled = false; remove one of them";
        return Err(Located::value(
            at..at,
            &format!("jobs.{own}"),
            problem.to_owned(),
        ));
    }
    match (scheduled, said(keys(&["checkpoint"]), "every")) {
        (Some((key, span)), Some(_)) => {
            let problem = "stands beside checkpoint.every; remove one of them".to_owned();
            Err(Located::value(span, &key, problem))
        }
        _ => Ok(()),
    }
}

/// Those whose name no other before has.
fn once_each(written: Vec<Written>, found: &mut Found) -> Vec<Written> {
    let mut seen = BTreeSet::new();
    let (once, again): (Vec<_>, Vec<_>) = written
        .into_iter()
        .partition(|written| seen.insert(written.name.clone()));
    for Written { name, at, .. } in again {
        let problem = "is a job of this file already".to_owned();
        found.add(Located::value(at..at, &name, problem));
    }
    once
}

struct Reader<'a> {
    source: &'a str,
    tasks: &'a TasksConfig,
    /// The node's own jobs, as they are if no table says otherwise.
    own: BTreeMap<Id, JobSpec>,
}

impl Reader<'_> {
    /// `jobs` with its tables, or the list `job`. `builtin` is where that setting goes; without it
    /// there is none.
    fn section(
        &self,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        builtin: Option<&mut bool>,
        found: &mut Found,
    ) -> Vec<Written> {
        let section = name.get_ref().as_ref();
        match (section, value.get_ref()) {
            ("jobs", DeValue::Table(jobs)) => self.named(jobs, builtin, found),
            ("job", DeValue::Array(jobs)) => {
                let jobs = jobs.iter();
                jobs.filter_map(|job| self.listed(job, found)).collect()
            }
            _ => {
                let problem = "is written [jobs.NAME], or [[job]] with a name".to_owned();
                found.add(Located::value(value.span(), section, problem));
                Vec::new()
            }
        }
    }

    fn named(
        &self,
        jobs: &DeTable<'_>,
        mut builtin: Option<&mut bool>,
        found: &mut Found,
    ) -> Vec<Written> {
        let mut written = Vec::new();
        for (key, value) in jobs {
            if let DeValue::Table(keys) = value.get_ref() {
                let name = found.keep(job_name(key.get_ref(), key.span()));
                let job =
                    name.and_then(|name| self.job(name, keys, key.span(), Form::Named, found));
                written.extend(job);
                continue;
            }
            let setting = builtin.as_deref_mut();
            let Some(setting) = setting.filter(|_| key.get_ref() == "builtin") else {
                found.add(unknown("key", key, ["builtin"].into_iter()));
                continue;
            };
            let read = flag(value.get_ref())
                .map_err(|problem| Located::value(value.span(), "jobs.builtin", problem));
            *setting = found.keep(read).unwrap_or(*setting);
        }
        written
    }

    fn listed(&self, job: &Spanned<DeValue<'_>>, found: &mut Found) -> Option<Written> {
        let wrong = |problem: &str| Located::value(job.span(), "job", problem.to_owned());
        let DeValue::Table(keys) = job.get_ref() else {
            found.add(wrong("is a list of tables; write [[job]]"));
            return None;
        };
        let Some(name) = keys.get("name") else {
            found.add(wrong("needs a `name`"));
            return None;
        };
        let told = text(name.get_ref())
            .map_err(|problem| Located::value(name.span(), "job.name", problem));
        let told = found.keep(told)?;
        let id = found.keep(job_name(told, name.span()))?;
        self.job(id, keys, name.span(), Form::Listed, found)
    }

    fn job(
        &self,
        name: Id,
        keys: &DeTable<'_>,
        at: Range<usize>,
        form: Form,
        found: &mut Found,
    ) -> Option<Written> {
        let before = found.len();
        let mut draft = Draft::new(self.own.get(&name), self.tasks);
        for (key, value) in keys {
            let known = KEYS.iter().find(|known| **known == key.get_ref().as_ref());
            let Some(known) = known else {
                found.add(unknown("key", key, KEYS.into_iter()));
                continue;
            };
            if let Err(problem) = draft.set(known, value.get_ref()) {
                let full = format!("jobs.{name}.{known}");
                found.add(Located::value(value.span(), &full, problem));
            }
        }
        // At the key it is about if that is written, else at the head of the table.
        let wrong =
            |Unfit { key, problem }: Unfit| match key.and_then(|key| Some((key, keys.get(key)?))) {
                Some((key, value)) => {
                    Located::value(value.span(), &format!("jobs.{name}.{key}"), problem)
                }
                None => Located::value(at.clone(), &format!("jobs.{name}"), problem),
            };
        for unfit in rivals(&name, keys, form) {
            found.add(wrong(unfit));
        }
        // What is missing or does not go together is told once each key can be read.
        if found.len() > before {
            return None;
        }
        let enabled = draft.enabled;
        let mut unfit = Vec::new();
        let spec = draft.finish(self.source, &mut unfit);
        unfit.extend(spec.iter().flat_map(|spec| unsound(&name, spec)));
        if !unfit.is_empty() {
            unfit.into_iter().for_each(|unfit| found.add(wrong(unfit)));
            return None;
        }
        let spec = spec?;
        Some(Written {
            name,
            at: at.start,
            spec: enabled.then_some(spec),
        })
    }
}

fn job_name(name: &str, at: Range<usize>) -> Result<Id, Located> {
    id_as("a name", name).map_err(|e| Located::value(at, name, format!("is wrong: {e}")))
}

pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    value
        .as_bool()
        .ok_or_else(|| "must be true or false".to_owned())
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

/// A fault of a file as a whole.
pub fn fault(path: &Path, problem: &str) -> String {
    format!("{}: {problem}", path.display())
}
