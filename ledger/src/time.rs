//! Instants and durations as the log records them: whole microseconds of UTC, whole milliseconds.
//!
//! This module only converts; it never asks what time it is (see [`crate::clock`]).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time: microseconds since 1970-01-01T00:00:00Z. Shown as RFC 3339 with six digits,
/// serialized as that text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The latest instant that can be written, 9999-12-30T22:00:00.999999Z: in every time zone
    /// still a year of four digits.
    pub const MAX: Self = Self(253_402_207_200_999_999);

    /// The time from `earlier` until this one; zero if that lies after it.
    pub const fn since(self, earlier: Self) -> Micros {
        Micros(self.0.saturating_sub(earlier.0))
    }

    /// This instant and `d` more, at most [`Timestamp::MAX`].
    #[must_use]
    pub fn plus(self, d: Millis) -> Self {
        Self(self.0.saturating_add(d.0.saturating_mul(1000))).min(Self::MAX)
    }

    /// As jiff's type, for zones and formatting.
    pub fn to_jiff(self) -> jiff::Timestamp {
        let micros = i64::try_from(self.0.min(Self::MAX.0)).unwrap_or(i64::MAX);
        jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.to_jiff())
    }
}

/// Why a text is not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time such as 2026-01-31T08:00:00Z")]
pub struct TimeError;

impl FromStr for Timestamp {
    type Err = TimeError;
    fn from_str(s: &str) -> Result<Self, TimeError> {
        let t: jiff::Timestamp = s.parse().map_err(|_| TimeError)?;
        u64::try_from(t.as_microsecond())
            .map(Self)
            .map_err(|_| TimeError)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        crate::text::parsed(d, "a time in RFC 3339")
    }
}

/// A duration in whole milliseconds: limits, grace periods, delays.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// A duration in whole microseconds: what was measured.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_round_trip_as_text() {
        let t = Timestamp(1_700_000_000_123_456);
        assert_eq!(t.to_string(), "2023-11-14T22:13:20.123456Z");
        assert_eq!(t.to_string().parse(), Ok(t));
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-30T22:00:00.999999Z");
        assert_eq!(Timestamp(0).to_string(), "1970-01-01T00:00:00.000000Z");
        assert!("1969-12-31T00:00:00Z".parse::<Timestamp>().is_err());
        assert!("yesterday".parse::<Timestamp>().is_err());
    }
}
