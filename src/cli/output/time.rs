//! Times as they are shown: local with their zone on a terminal, RFC 3339 in UTC everywhere else
//! and with `--utc`.

use jiff::tz::TimeZone;
use ledger_core::time::Timestamp;

/// How times are shown.
#[derive(Debug, Clone)]
pub(crate) enum Times {
    /// In this zone, for people: `2026-01-31 09:00:00 CET`.
    Local(TimeZone),
    /// `2026-01-31T08:00:00.000000Z`.
    Utc,
}

impl Times {
    /// A time with its date.
    pub(crate) fn full(&self, at: Timestamp) -> String {
        self.local(at, "%Y-%m-%d %H:%M:%S %Z")
            .unwrap_or_else(|| at.to_string())
    }

    /// A time in as few characters as tell it, beside a date shown elsewhere.
    pub(crate) fn short(&self, at: Timestamp) -> String {
        self.local(at, "%H:%M:%S").unwrap_or_else(|| at.to_string())
    }

    /// RFC 3339 with the offset of the zone, whole seconds on a terminal.
    pub(crate) fn iso(&self, at: Timestamp) -> String {
        self.local(at, "%Y-%m-%dT%H:%M:%S%:z")
            .unwrap_or_else(|| at.to_string())
    }

    /// The day, where times are shown without theirs.
    pub(crate) fn day(&self, at: Timestamp) -> Option<String> {
        self.local(at, "%Y-%m-%d %Z")
    }

    fn local(&self, at: Timestamp, format: &str) -> Option<String> {
        match self {
            Self::Local(zone) => Some(
                at.to_jiff()
                    .to_zoned(zone.clone())
                    .strftime(format)
                    .to_string(),
            ),
            Self::Utc => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_their_zone_and_programs_utc() {
        let at: Timestamp = "2026-01-31T23:30:00.5Z".parse().unwrap();
        let local = Times::Local(TimeZone::fixed(jiff::tz::offset(1)));
        assert_eq!(local.full(at), "2026-02-01 00:30:00 +01");
        assert_eq!(local.short(at), "00:30:00");
        assert_eq!(local.iso(at), "2026-02-01T00:30:00+01:00");
        assert_eq!(local.day(at).as_deref(), Some("2026-02-01 +01"));
        assert_eq!(Times::Utc.short(at), "2026-01-31T23:30:00.500000Z");
        assert_eq!(Times::Utc.day(at), None);
    }
}
