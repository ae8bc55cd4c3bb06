//! The options that say what a task waits for and how often it is tried.

use ledger_core::event::Terms;
use ledger_core::ids::Id;
use ledger_core::time::{Millis, Timestamp};

use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::tail::duration;
use crate::units::parse_duration;

/// What it waits for, and how often it is tried.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TermsArgs {
    /// How many attempts may fail or run too long; between them is a pause that grows
    #[arg(long, value_name = "N", default_value = "1")]
    max_attempts: u32,
    /// Don't start it before: 10m (from now), 2026-01-31T08:00:00Z
    #[arg(long, value_name = "WHEN")]
    not_before: Option<String>,
    /// Give it up if it still waits by then: 1h (from now), 2026-01-31T08:00:00Z
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,
    /// Start it once this task has completed (repeatable)
    #[arg(long, value_name = "ID")]
    depends_on: Vec<Id>,
    /// Count its starts against the rate of this key (`[rate.KEY]` in ledger.toml)
    #[arg(long, value_name = "KEY")]
    rate_key: Option<Id>,
    /// Run it beside no other task of this key, or as many as `[concurrency.KEY]` allows
    #[arg(long, value_name = "KEY")]
    concurrency_key: Option<Id>,
    /// End an attempt that has used no CPU time and written nothing for so long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    stall_after: Option<Millis>,
}

impl TermsArgs {
    /// The terms, with times counted from `now`; none if nothing was asked for.
    ///
    /// # Errors
    /// [`ErrorCode::Usage`] if a time is not one.
    pub(crate) fn terms(self, now: Timestamp) -> Result<Option<Terms>, ApiError> {
        let when = |name, text: Option<String>| text.map(|text| moment(name, &text, now));
        let terms = Terms {
            max_attempts: self.max_attempts,
            not_before: when("--not-before", self.not_before).transpose()?,
            expires_at: when("--expires", self.expires).transpose()?,
            depends_on: self.depends_on,
            rate_key: self.rate_key,
            concurrency_key: self.concurrency_key,
            stall_after_ms: self.stall_after,
        };
        Ok((terms != Terms::default()).then_some(terms))
    }
}

/// A time that lies ahead: as such, or as how far.
fn moment(name: &str, text: &str, now: Timestamp) -> Result<Timestamp, ApiError> {
    if let Ok(ahead) = parse_duration(text) {
        return Ok(now.plus(ahead));
    }
    text.parse().map_err(|_| {
        ApiError::new(ErrorCode::Usage, format!("{name} {text:?} is not a time"))
            .hint("write how far it is from now (30s, 10m, 2h) or when (2026-01-31T08:00:00Z)")
    })
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
        assert!(
            moment("--expires", "soon", now)
                .unwrap_err()
                .message
                .contains("--expires")
        );
    }
}
