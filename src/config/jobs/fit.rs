//! What of a job does not fit together, and the key that it is about.

use ledger_core::event::JobSpec;
use ledger_core::ids::Id;
use toml::de::DeTable;

use crate::jobs::decide::{Unsound, check};
use crate::jobs::timetable::ScheduleError;
use crate::redact::{self, Place};
use crate::scheduler::check::{Part, check as check_task};

/// How a job's table is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `[jobs.NAME]`.
    Named,
    /// `[[job]]`, with a `name`.
    Listed,
}

/// What of a job does not fit, and the key that it is about.
pub(super) struct Unfit {
    pub(super) key: Option<&'static str>,
    pub(super) problem: String,
}

impl Unfit {
    pub(super) fn of(key: &'static str, problem: impl Into<String>) -> Self {
        Self {
            key: Some(key),
            problem: problem.into(),
        }
    }

    pub(super) fn table(problem: impl Into<String>) -> Self {
        Self {
            key: None,
            problem: problem.into(),
        }
    }
}

/// Keys of which one would silently win over the other.
pub(super) fn rivals(name: &Id, keys: &DeTable<'_>, form: Form) -> Vec<Unfit> {
    let mut unfit = Vec::new();
    for (key, other, why) in [
        ("cron", "every", "a job has one schedule"),
        ("command", "builtin", "a job runs one thing"),
    ] {
        if let (Some(one), Some(two)) = (keys.get(key), keys.get(other)) {
            // At the later of the two: the first was alone when it was written.
            let (later, first) = match one.span().start > two.span().start {
                true => (key, other),
                false => (other, key),
            };
            let problem = format!("stands beside `{first}`: {why}; remove one of them");
            unfit.push(Unfit::of(later, problem));
        }
    }
    let said = keys.get("name").map(|said| said.get_ref().as_str());
    if form == Form::Named && said.is_some_and(|said| said != Some(name.as_str())) {
        let problem = "is not the name in [jobs.NAME]; remove one of them";
        unfit.push(Unfit::of("name", problem));
    }
    unfit
}

/// Why no node could run the job.
pub(super) fn unsound(name: &Id, spec: &JobSpec) -> Vec<Unfit> {
    let of_job = check(name, spec).map_err(|unsound| match &unsound {
        // It is looked at below.
        Unsound::Name | Unsound::Task(_) => Unfit::table(unsound.to_string()),
        Unsound::Schedule(error) => {
            let key = match error {
                ScheduleError::Interval => "every",
                ScheduleError::Zone(_) => "time_zone",
                ScheduleError::Expression { .. } | ScheduleError::Never(_) => "cron",
            };
            Unfit::of(key, format!("is wrong: {error}"))
        }
        Unsound::AllAtOnce => Unfit::of("missed", format!("is wrong: {unsound}")),
        Unsound::MadeUp => Unfit::of("missed_at_most", format!("is wrong: {unsound}")),
    });
    let of_task = check_task(&spec.task).map_err(|unfit| {
        let key = match unfit.part {
            Part::Command => "command",
            Part::Env => "env",
            Part::Cwd => "cwd",
            Part::MaxRuntime => "max_runtime",
            Part::Grace => "grace",
            Part::MaxAttempts => "max_attempts",
            Part::StallAfter => "stall_after",
            // No key of a job sets it.
            Part::DependsOn => return Unfit::table(unfit.to_string()),
        };
        Unfit::of(key, unfit.why)
    });
    let secret = redact::secret_in_payload(&spec.task.payload).map(|place| {
        let key = match place {
            Place::Argument(_) => "command",
            Place::Variable(_) => "env",
            Place::Stdin => "stdin",
        };
        let problem = format!(
            "holds what looks like a secret in {place}, and the ledger never forgets; put it into a file and pass the path"
        );
        Unfit::of(key, problem)
    });
    let faults = [of_job.err(), of_task.err(), secret];
    faults.into_iter().flatten().collect()
}
