//! The filter options of every command that reads events, and the position that `--at` names.

use clap::Args;
use jiff::tz::TimeZone;
use ledger_core::clock;
use ledger_core::ids::Seq;
use ledger_core::store::LogReader;
use ledger_core::time::Timestamp;
use projections::framework::seq_at;

use super::error::Failure;
use crate::api::wire::{ApiError, ErrorCode};
use crate::audit::filter::{
    Filter, FilterError, SeqRange, parse_correlation, parse_regex, parse_term, parse_when,
};

/// Which events. The same option again widens, another one narrows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Only this kind; a glob such as task.* (repeatable)
    #[arg(long, short = 'k', value_name = "KIND")]
    pub(crate) kind: Vec<String>,
    /// Only this subject; a glob such as task/build-* (repeatable)
    #[arg(long, short = 's', value_name = "SUBJECT")]
    pub(crate) subject: Vec<String>,
    /// Only caused by this actor, provably or by its own word; a glob (repeatable)
    #[arg(long, value_name = "ACTOR")]
    pub(crate) actor: Vec<String>,
    /// Only of this lease term (repeatable)
    #[arg(long, value_name = "TERM")]
    pub(crate) term: Vec<String>,
    /// Only at or after this time: RFC 3339, 15m (ago), today, 2026-01-31
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Only these positions, both ends included: A..B, A.., ..B (repeatable)
    #[arg(long, value_name = "A..B")]
    pub(crate) seq: Vec<String>,
    /// Only of this request (repeatable)
    #[arg(long, value_name = "ID")]
    pub(crate) correlation: Vec<String>,
    /// Only with this regular expression in kind, subject, actor or payload (repeatable)
    #[arg(long, short = 'g', value_name = "REGEX")]
    pub(crate) grep: Vec<String>,
    /// Only where a payload field has this value: data.priority=0; also != < <= > >= and ~ for a
    /// regular expression (repeatable)
    #[arg(long = "where", short = 'w', value_name = "CONDITION")]
    pub(crate) conditions: Vec<String>,
}

impl FilterArgs {
    /// The filter that they mean now.
    ///
    /// # Errors
    /// [`FilterError`] that says what is wrong with which.
    pub(crate) fn filter(&self) -> Result<Filter, FilterError> {
        fn each<T>(
            texts: &[String],
            parse: impl Fn(&str) -> Result<T, FilterError>,
        ) -> Result<Vec<T>, FilterError> {
            texts.iter().map(|text| parse(text)).collect()
        }
        Ok(Filter {
            kinds: each(&self.kind, str::parse)?,
            subjects: each(&self.subject, str::parse)?,
            actors: each(&self.actor, str::parse)?,
            terms: each(&self.term, parse_term)?,
            since: self.since.as_deref().map(when).transpose()?,
            until: self.until.as_deref().map(when).transpose()?,
            seqs: each(&self.seq, str::parse)?,
            correlations: each(&self.correlation, parse_correlation)?,
            grep: each(&self.grep, parse_regex)?,
            conditions: each(&self.conditions, str::parse)?,
        })
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether they name where to begin.
    pub(crate) fn has_beginning(&self) -> bool {
        self.since.is_some() || !self.seq.is_empty()
    }
}

/// The time that a text means now and here.
///
/// # Errors
/// [`FilterError`] if it means none.
pub(crate) fn when(text: &str) -> Result<Timestamp, FilterError> {
    parse_when(text, clock::now(), &TimeZone::system())
}

/// The positions that a filter can match in this ledger: its times are turned into positions, so
/// that what lies outside is not even read.
///
/// # Errors
/// [`Failure`] if the ledger can't be read.
pub(crate) fn positions(reader: &dyn LogReader, filter: &Filter) -> Result<SeqRange, Failure> {
    let bounds = filter.bounds();
    // The last event before a time; `since` begins behind it and `until` ends with it.
    let before = |time: Timestamp| match time.0.checked_sub(1) {
        Some(micros) => seq_at(reader, Timestamp(micros)),
        None => Ok(Seq::ZERO),
    };
    let mut range = SeqRange {
        first: bounds.first.max(Seq::FIRST),
        last: bounds.last.min(reader.head()?.seq),
    };
    if let Some(since) = filter.since {
        range.first = range.first.max(before(since)?.next());
    }
    if let Some(until) = filter.until {
        range.last = range.last.min(before(until)?);
    }
    Ok(range)
}

/// As of which position to answer.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AtArg {
    /// As of this position or time instead of now: 120, 15m (ago), 2026-01-31T08:00:00Z
    #[arg(long, value_name = "SEQ|TIME")]
    pub(crate) at: Option<String>,
}

impl AtArg {
    /// The position, if one was named.
    ///
    /// # Errors
    /// [`ErrorCode::Usage`] if it is neither a position nor a time, [`ErrorCode::NotFound`] if
    /// the ledger doesn't reach as far or had not begun.
    pub(crate) fn seq(&self, reader: &dyn LogReader) -> Result<Option<Seq>, Failure> {
        let Some(text) = &self.at else {
            return Ok(None);
        };
        let seq = match text.parse::<u64>() {
            Ok(seq) => Seq(seq),
            Err(_) => {
                let time = when(text)?;
                // What was then can still change.
                if time > clock::now() {
                    let future = format!("there is nothing as of {text}");
                    let future = ApiError::new(ErrorCode::NotFound, future);
                    return Err(future.because("that time has not come").into());
                }
                seq_at(reader, time)?
            }
        };
        let head = reader.head()?.seq;
        let absent = |why: String| {
            ApiError::new(
                ErrorCode::NotFound,
                format!("there is nothing as of {text}"),
            )
            .because(why)
        };
        if seq > head {
            return Err(absent(format!("the ledger ends at seq {head}")).into());
        }
        if seq == Seq::ZERO {
            return Err(absent("the ledger begins after it".to_owned()).into());
        }
        Ok(Some(seq))
    }
}
