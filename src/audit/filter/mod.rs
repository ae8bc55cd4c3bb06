//! Which events: the filters that every reading command and the API share.
//!
//! The same field again widens (`--kind task.* --kind lease.*`: either), another field narrows
//! (`--kind task.* --term 3`: both). Of several conditions on one payload field, those that name
//! a value (`=`, `~`) widen and those that bound it (`!=`, `<`, `<=`, `>`, `>=`) narrow, so that
//! a range can be written as two.
//!
//! A filter is a pure function of the event. The payload is only parsed where a condition asks
//! for a field of it, and only after everything cheaper has passed.

mod condition;
mod glob;
mod when;

use std::str::FromStr;

use ledger_core::envelope::ChainedEvent;
use ledger_core::ids::{Id, IdError, Seq, Term};
use ledger_core::time::Timestamp;
use regex::{Regex, RegexBuilder};

pub use condition::Condition;
pub use glob::Glob;
pub use when::{parse_ahead, parse_when};

/// Longest pattern, in bytes.
pub const MAX_PATTERN: usize = 1_000;

/// Why a filter cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A glob with characters that no kind, subject or actor has.
    #[error(
        "{0:?} matches nothing: write names of the log, with * for any run of characters and ? for any one"
    )]
    Glob(String),
    /// Not a range of positions.
    #[error("{0:?} is not a range of positions; write A..B (both included), A.., ..B or A")]
    Range(String),
    /// Not a term.
    #[error("{0:?} is not a term; write a whole number")]
    Term(String),
    /// Not a correlation id.
    #[error("{text:?} is not a correlation id: {error}")]
    Correlation {
        /// What was written.
        text: String,
        /// The rule that it breaks.
        error: IdError,
    },
    /// Not a point in time.
    #[error(
        "{0:?} is not a time; write 15m (ago), today, yesterday, now, 2026-01-31, \
         \"2026-01-31 08:00\" or RFC 3339 such as 2026-01-31T08:00:00Z"
    )]
    When(String),
    /// Not a time that lies ahead.
    #[error(
        "{0:?} is not a time; write 10m (from now), 18:00, tomorrow, 2026-01-31, \"2026-01-31 08:00\" \
         or RFC 3339 such as 2026-01-31T08:00:00Z"
    )]
    Ahead(String),
    /// Not a condition on a field.
    #[error(
        "{0:?} is not a condition; write data.FIELD=VALUE, with one of = != < <= > >= ~ (a pattern)"
    )]
    Condition(String),
    /// Not a regular expression.
    #[error("{pattern:?} is not a regular expression: {problem}")]
    Regex {
        /// What was written.
        pattern: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A field that an expression can't ask for.
    #[error(
        "there is no filter {0:?}; write kind, subject, actor, term, seq, correlation, grep or data.FIELD"
    )]
    Field(String),
}

/// Positions from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeqRange {
    /// The first.
    pub first: Seq,
    /// The last.
    pub last: Seq,
}

impl FromStr for SeqRange {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let error = || FilterError::Range(text.to_owned());
        let bound = |s: &str, open: u64| match s {
            "" => Ok(Seq(open)),
            _ if s.bytes().all(|b| b.is_ascii_digit()) => s.parse().map(Seq).map_err(|_| error()),
            _ => Err(error()),
        };
        let range = match text.split_once("..") {
            Some((first, last)) => Self {
                first: bound(first, 1)?,
                last: bound(last, u64::MAX)?,
            },
            None if text.is_empty() => return Err(error()),
            None => Self {
                first: bound(text, 1)?,
                last: bound(text, 1)?,
            },
        };
        if range.first > range.last {
            Err(error())
        } else {
            Ok(range)
        }
    }
}

/// Which events. The default lets all of them through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Any of these kinds.
    pub kinds: Vec<Glob>,
    /// Any of these subjects.
    pub subjects: Vec<Glob>,
    /// Caused by any of these, provably or by its own word.
    pub actors: Vec<Glob>,
    /// Written in any of these terms.
    pub terms: Vec<Term>,
    /// Recorded at this time or later.
    pub since: Option<Timestamp>,
    /// Recorded before this time.
    pub until: Option<Timestamp>,
    /// In any of these ranges.
    pub seqs: Vec<SeqRange>,
    /// Of any of these requests.
    pub correlations: Vec<Id>,
    /// With any of these patterns in kind, subject, actor, claimed actor or payload text.
    pub grep: Vec<Regex>,
    /// Conditions on fields of the payload.
    pub conditions: Vec<Condition>,
}

impl Filter {
    /// Whether the event is one of those asked for.
    pub fn matches(&self, event: &ChainedEvent<'_>) -> bool {
        let (header, data) = (&event.event.header, event.event.data);
        any(&self.seqs, |r| (r.first..=r.last).contains(&header.seq))
            && any(&self.terms, |term| *term == header.term)
            && self.since.is_none_or(|since| header.recorded_at >= since)
            && self.until.is_none_or(|until| header.recorded_at < until)
            && any(&self.kinds, |glob| glob.matches(header.kind))
            && any(&self.subjects, |glob| glob.matches(header.subject))
            && any(&self.actors, |glob| {
                glob.matches(header.actor) || header.claimed_actor.is_some_and(|a| glob.matches(a))
            })
            && any(&self.correlations, |id| {
                Some(id.as_str()) == header.correlation
            })
            && any(&self.grep, |regex| {
                [header.kind, header.subject, header.actor, data]
                    .iter()
                    .any(|t| regex.is_match(t))
                    || header.claimed_actor.is_some_and(|a| regex.is_match(a))
            })
            && condition::all_hold(&self.conditions, data)
    }

    /// Whether every event passes.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
            && self.subjects.is_empty()
            && self.actors.is_empty()
            && self.terms.is_empty()
            && self.since.is_none()
            && self.until.is_none()
            && self.seqs.is_empty()
            && self.correlations.is_empty()
            && self.grep.is_empty()
            && self.conditions.is_empty()
    }

    /// The positions outside of which nothing can match: where reading may begin and end.
    pub fn bounds(&self) -> SeqRange {
        SeqRange {
            first: self
                .seqs
                .iter()
                .map(|r| r.first)
                .min()
                .unwrap_or(Seq::FIRST),
            last: self
                .seqs
                .iter()
                .map(|r| r.last)
                .max()
                .unwrap_or(Seq(u64::MAX)),
        }
    }

    /// Adds a condition by the name of its field, as an expression writes it.
    ///
    /// # Errors
    /// [`FilterError`] if the field does not exist or the value does not fit it.
    pub fn add(&mut self, field: &str, value: &str) -> Result<(), FilterError> {
        match field {
            "kind" => self.kinds.push(value.parse()?),
            "subject" => self.subjects.push(value.parse()?),
            "actor" => self.actors.push(value.parse()?),
            "term" => self.terms.push(parse_term(value)?),
            "seq" => self.seqs.push(value.parse()?),
            "correlation" => self.correlations.push(parse_correlation(value)?),
            "grep" => self.grep.push(parse_regex(value)?),
            _ => return Err(FilterError::Field(field.to_owned())),
        }
        Ok(())
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    /// Reads a filter as one text: kinds, `FIELD=VALUE` and `data.FIELD=VALUE`, apart by blanks:
    /// `task.completed subject=task/build-7 data.attempt=2`.
    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for word in text.split_whitespace() {
            if word.starts_with("data.") {
                filter.conditions.push(word.parse()?);
            } else {
                match word.split_once('=') {
                    Some((field, value)) => filter.add(field, value)?,
                    None => filter.add("kind", word)?,
                }
            }
        }
        if filter.is_empty() {
            Err(FilterError::Glob(text.to_owned()))
        } else {
            Ok(filter)
        }
    }
}

/// Reads a lease term.
///
/// # Errors
/// [`FilterError::Term`] if it is not a whole number.
pub fn parse_term(text: &str) -> Result<Term, FilterError> {
    text.parse()
        .map(Term)
        .map_err(|_| FilterError::Term(text.to_owned()))
}

/// Reads a correlation id.
///
/// # Errors
/// [`FilterError::Correlation`] if it is not an id.
pub fn parse_correlation(text: &str) -> Result<Id, FilterError> {
    Id::new(text).map_err(|error| FilterError::Correlation {
        text: text.to_owned(),
        error,
    })
}

/// Reads a regular expression. Matching takes time in proportion to the text, whatever it is.
///
/// # Errors
/// [`FilterError::Regex`] if it is not one, or needs too much memory.
pub fn parse_regex(pattern: &str) -> Result<Regex, FilterError> {
    let error = |problem: &str| FilterError::Regex {
        pattern: pattern.chars().take(80).collect(),
        problem: problem.to_owned(),
    };
    if pattern.len() > MAX_PATTERN {
        return Err(error(&format!("it is longer than {MAX_PATTERN} bytes")));
    }
    RegexBuilder::new(pattern)
        .size_limit(1 << 20)
        .build()
        .map_err(|e| match e {
            regex::Error::CompiledTooBig(_) => error("it is too large"),
            // The message draws the pattern over several lines; its last line is what is wrong.
            other => error(
                other
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: "),
            ),
        })
}

/// No condition lets everything through; several are one or the other.
fn any<T>(conditions: &[T], test: impl FnMut(&T) -> bool) -> bool {
    conditions.is_empty() || conditions.iter().any(test)
}

#[cfg(test)]
mod tests;
