//! A schedule that can be asked when it is due: pure, but for the time zone database.
//!
//! Where a zone's clocks change, a job of one fixed time of day (`30 2 * * *`) that falls into the
//! hour that is left out is due at the first moment after it, and one that falls into the hour that
//! comes twice is due the first time only. All other expressions (`*/15 * * * *`) are due whenever
//! the clock shows what they say: not in the hour left out, and in both that are the same. An
//! interval knows no clocks.

use std::collections::VecDeque;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use ledger_core::event::Schedule;
use ledger_core::time::{Millis, Timestamp};

use crate::units::count_of;

/// Shortest interval.
const SHORTEST: Millis = Millis(1000);
/// Longest interval: a year.
const LONGEST: Millis = Millis(366 * 24 * 3_600_000);
/// Where the search for the latest due times begins, in seconds before now.
const FIRST_WINDOW: u64 = 3600;

/// Why a schedule can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// An interval that is none.
    #[error("an interval is a number of whole seconds from 1s to 366d")]
    Interval,
    /// Not a cron expression.
    #[error("`{expression}` is not a cron expression: {reason}")]
    Expression {
        /// What was written.
        expression: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No such zone.
    #[error(
        "there is no time zone `{0}`; write a name of the IANA database, such as `Europe/Berlin` or `UTC`"
    )]
    Zone(String),
    /// It fires on no day there is.
    #[error("`{0}` is never due: there is no such day")]
    Never(String),
}

/// What was due and is not decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// The first that was due.
    pub first: Timestamp,
    /// The last one that is too old to be among the latest, if there is one.
    pub older: Option<Timestamp>,
    /// The latest, oldest first; at least one.
    pub latest: Vec<Timestamp>,
}

/// When a job is due.
#[derive(Debug, Clone)]
pub enum Timetable {
    /// Again and again after so long.
    Every(Millis),
    /// By the calendar.
    Cron(Box<Cron>, TimeZone),
}

impl Timetable {
    /// Reads a schedule.
    ///
    /// # Errors
    /// [`ScheduleError`] if it makes no sense, or never comes.
    pub fn new(schedule: &Schedule) -> Result<Self, ScheduleError> {
        match schedule {
            Schedule::Every { every_ms } => {
                let whole = every_ms.0.is_multiple_of(1000);
                if whole && (SHORTEST..=LONGEST).contains(every_ms) {
                    Ok(Self::Every(*every_ms))
                } else {
                    Err(ScheduleError::Interval)
                }
            }
            Schedule::Cron {
                expression,
                time_zone,
            } => {
                let cron = cron(expression)?;
                let zone =
                    TimeZone::get(time_zone).map_err(|_| ScheduleError::Zone(time_zone.clone()))?;
                let timetable = Self::Cron(Box::new(cron), zone);
                // Any day there is comes within 28 years, but for centuries without a leap day.
                match timetable.after(Timestamp(0)) {
                    Some(_) => Ok(timetable),
                    None => Err(ScheduleError::Never(expression.clone())),
                }
            }
        }
    }

    /// When it is due next after `at`; never, if it is not again.
    pub fn after(&self, at: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(every) => {
                let next = at.plus(*every);
                (next > at).then_some(next)
            }
            Self::Cron(cron, zone) => {
                let second = i64::try_from(at.0 / 1_000_000).ok()?;
                let from = jiff::Timestamp::from_second(second).ok()?;
                let next = cron.find_next_occurrence(&from.to_zoned(zone.clone()), false);
                let next = next.ok()?.timestamp().as_microsecond();
                let next = u64::try_from(next).ok().map(Timestamp);
                next.filter(|next| *next > at && *next <= Timestamp::MAX)
            }
        }
    }

    /// What was due after `from` and up to `now`: the latest `want` of it at most one by one, and how
    /// far the rest goes. Nothing if nothing was.
    pub fn backlog(&self, from: Timestamp, now: Timestamp, want: usize) -> Option<Backlog> {
        let first = self.after(from).filter(|first| *first <= now)?;
        let want = want.max(1);
        let mut latest = self.latest(from, now, want + 1);
        let older = if latest.len() > want {
            latest.pop_front()
        } else {
            None
        };
        Some(Backlog {
            first,
            older,
            latest: latest.into(),
        })
    }

    /// The latest `count` due times after `from` and up to `now`, or all there are.
    fn latest(&self, from: Timestamp, now: Timestamp, count: usize) -> VecDeque<Timestamp> {
        if let Self::Every(every) = self {
            let step = every.0 * 1000;
            let all = now.since(from).0 / step;
            let skipped = all.saturating_sub(count as u64);
            return (skipped + 1..=all)
                .map(|n| Timestamp(from.0 + n * step))
                .collect();
        }
        // Forward alone, so that what is found here is what `after` finds step by step; from further
        // and further back until there are enough.
        let mut window = FIRST_WINDOW;
        loop {
            let back = Timestamp(now.0.saturating_sub(window.saturating_mul(1_000_000)));
            let start = from.max(back);
            let mut found = VecDeque::with_capacity(count);
            let mut at = start;
            while let Some(next) = self.after(at).filter(|next| *next <= now) {
                if found.len() == count {
                    found.pop_front();
                }
                found.push_back(next);
                at = next;
            }
            if found.len() == count || start == from {
                return found;
            }
            window = window.saturating_mul(2);
        }
    }

    /// What a schedule that begins at `now` counts from: interval after interval on whole seconds,
    /// the first not too early; by the calendar from the second that it is.
    pub fn anchor(&self, now: Timestamp) -> Timestamp {
        let second = now.0 / 1_000_000;
        match self {
            Self::Every(_) => Timestamp(now.0.div_ceil(1_000_000) * 1_000_000),
            Self::Cron(..) => Timestamp(second * 1_000_000),
        }
    }
}

/// The fields of a cron expression, and what each may say. Of five, the first is left out.
const FIELDS: [(&str, &str); 6] = [
    ("second", "a second is from 0 to 59"),
    ("minute", "a minute is from 0 to 59"),
    ("hour", "an hour is from 0 to 23"),
    (
        "day",
        "a day is from 1 to 31, or L for the last of the month",
    ),
    ("month", "a month is from 1 to 12, or JAN to DEC"),
    (
        "weekday",
        "a weekday is from 0 (SUN) to 6 (SAT), or 7 for SUN",
    ),
];

/// Reads a cron expression of five fields, of six with seconds first, or a nickname.
fn cron(expression: &str) -> Result<Cron, ScheduleError> {
    let parser = CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .build();
    let wrong = |reason: String| ScheduleError::Expression {
        expression: expression.to_owned(),
        reason,
    };
    let written: Vec<&str> = expression.split_whitespace().collect();
    if expression.starts_with('@') {
        let parsed = parser.parse(expression);
        return parsed.map_err(|_| {
            wrong("there are @hourly, @daily, @weekly, @monthly and @yearly".to_owned())
        });
    }
    if !matches!(written.len(), 5 | 6) {
        return Err(wrong(format!(
            "it has {}, not five (minute, hour, day, month, weekday) or six (second first)",
            count_of(written.len() as u64, "field")
        )));
    }
    parser.parse(expression).map_err(|_| {
        // Which field it is shows when each stands among others that say nothing.
        let alone = |at: usize| {
            let mut fields = vec!["*"; written.len()];
            fields[at] = written[at];
            parser.parse(&fields.join(" ")).is_err()
        };
        let names = &FIELDS[FIELDS.len() - written.len()..];
        match (0..written.len()).find(|at| alone(*at)) {
            Some(at) => {
                let ((name, allowed), said) = (names[at], written[at]);
                wrong(format!(
                    "its {name} is `{said}`; {allowed}; also *, lists (1,2), ranges (1-5) and steps (*/2)"
                ))
            }
            None => wrong("its fields don't go together".to_owned()),
        }
    })
}
