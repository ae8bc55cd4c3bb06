//! The options that say what a task waits for and how often it is tried.

use jiff::tz::TimeZone;
use ledger_core::event::Terms;
use ledger_core::ids::Id;
use ledger_core::time::{Millis, Timestamp};

use crate::api::wire::{ApiError, ErrorCode};
use crate::audit::filter::parse_ahead;
use crate::names::key;
use crate::scheduler::decide::MAX_RUNTIME;
use crate::scheduler::terms::{MAX_AHEAD, MAX_ATTEMPTS, MIN_STALL_AFTER};
use crate::units::{format_limit, parse_duration};

/// What it waits for, and how often it is tried.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TermsArgs {
    /// How many attempts may fail or run too long; between them is a pause that grows
    #[arg(long, value_name = "N", default_value = "1", value_parser = attempts)]
    max_attempts: u32,
    /// Don't start it before: 10m (from now), 18:00, tomorrow, 2026-01-31, RFC 3339
    #[arg(long, value_name = "WHEN")]
    not_before: Option<String>,
    /// Give it up if it still waits by then: as --not-before
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Start it once this task has completed (repeatable)
    #[arg(long, value_name = "ID")]
    depends_on: Vec<Id>,
    /// Count its starts against the rate of this key (`[rate.KEY]` in ledger.toml)
    #[arg(long, value_name = "KEY", value_parser = key)]
    rate_key: Option<Id>,
    /// Run it beside no other task of this key, or as many as `[concurrency.KEY]` allows
    #[arg(long, value_name = "KEY", value_parser = key)]
    concurrency_key: Option<Id>,
    /// End an attempt that has used no CPU time and written nothing for so long
    #[arg(long, value_name = "DURATION", value_parser = stall_after)]
    stall_after: Option<Millis>,
}

impl TermsArgs {
    /// The terms, with times counted from `now`; none if nothing was asked for.
    ///
    /// # Errors
    /// [`ErrorCode::Usage`] if a time is not one, or can't be meant.
    pub(crate) fn terms(self, now: Timestamp) -> Result<Option<Terms>, ApiError> {
        let when = |name, text: Option<String>| text.map(|text| moment(name, &text, now));
        let not_before = when("--not-before", self.not_before).transpose()?;
        let expires_at = when("--expires", self.expires.clone()).transpose()?;
        let never = |why: String| {
            let text = self.expires.as_deref().unwrap_or_default();
            ApiError::new(
                ErrorCode::Usage,
                format!("--expires {text:?} can't be kept"),
            )
            .because(why)
            .hint("name a later time, or leave it out")
        };
        match (not_before, expires_at) {
            (_, Some(to)) if to <= now => return Err(never(format!("{to} is over"))),
            (Some(from), Some(to)) if to <= from => {
                return Err(never(format!("--not-before holds it until {from}")));
            }
            _ => {}
        }
        let terms = Terms {
            max_attempts: self.max_attempts,
            not_before,
            expires_at,
            depends_on: self.depends_on,
            rate_key: self.rate_key,
            concurrency_key: self.concurrency_key,
            stall_after_ms: self.stall_after,
        };
        Ok((terms != Terms::default()).then_some(terms))
    }
}

/// A time that lies ahead, not further than a task may wait.
fn moment(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, ApiError> {
    let wrong = |why: &dyn std::fmt::Display| {
        ApiError::new(
            ErrorCode::Usage,
            format!("{name} {text:?} is no time to wait for"),
        )
        .because(why)
    };
    let at = parse_ahead(text, now, &TimeZone::system()).map_err(|error| wrong(&error))?;
    if at > now.plus(MAX_AHEAD) {
        return Err(wrong(&"it is more than ten years ahead"));
    }
    Ok(at)
}

/// `--max-attempts`.
fn attempts(text: &str) -> Result<u32, String> {
    let number = text.parse().ok();
    let number = number.filter(|n| (1..=MAX_ATTEMPTS).contains(n));
    number.ok_or_else(|| format!("write a number from 1 to {MAX_ATTEMPTS}"))
}

/// `--stall-after`.
fn stall_after(text: &str) -> Result<Millis, String> {
    within(text, MIN_STALL_AFTER, MAX_RUNTIME)
}

/// A duration within limits.
pub(super) fn within(text: &str, least: Millis, most: Millis) -> Result<Millis, String> {
    let time = parse_duration(text).map_err(|error| error.to_string())?;
    if (least..=most).contains(&time) {
        return Ok(time);
    }
    let (least, most) = (format_limit(least), format_limit(most));
    Err(format!("write a duration from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_ahead_is_written_either_way() {
        let now = Timestamp(1_000_000);
        assert_eq!(moment("-", "2s", now).unwrap(), Timestamp(3_000_000));
        assert_eq!(
            moment("-", "1970-01-01T00:00:09Z", now).unwrap(),
            Timestamp(9_000_000)
        );
        for bad in ["soon", "2026-02-30", "9999-01-01", "99999d"] {
            let error = moment("--expires", bad, now).unwrap_err();
            let said = format!("--expires \"{bad}\" is no time to wait for");
            assert_eq!(error.message, said);
        }
    }

    #[test]
    fn what_can_not_be_kept_is_refused_before_it_is_sent() {
        let now: Timestamp = "2026-01-31T08:30:00Z".parse().unwrap();
        let terms = |not_before: Option<&str>, expires: &str| {
            let args = TermsArgs {
                max_attempts: 1,
                not_before: not_before.map(str::to_owned),
                expires: Some(expires.to_owned()),
                depends_on: Vec::new(),
                rate_key: None,
                concurrency_key: None,
                stall_after: None,
            };
            args.terms(now).map_err(|error| error.to_string())
        };
        assert!(terms(None, "2m").is_ok());
        let said = terms(None, "2026-01-30T00:00:00Z").unwrap_err();
        assert!(
            said.ends_with("can't be kept: 2026-01-30T00:00:00.000000Z is over"),
            "{said}"
        );
        let said = terms(Some("10m"), "5m").unwrap_err();
        assert!(
            said.contains("--not-before holds it until 2026-01-31T08:40"),
            "{said}"
        );
    }
}
