//! Points in time as people write them. The current time and zone are given, so that what a text
//! means is a function of its arguments.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};
use ledger_core::time::Timestamp;

use super::FilterError;
use crate::units::parse_duration;

/// Reads a time: `15m` (so long before `now`), `now`, `today` and `yesterday` (their midnight in
/// `zone`), a date or date and time in `zone`, or RFC 3339. Times before 1970 count as 1970.
///
/// # Errors
/// [`FilterError::When`] if it is none of these.
pub fn parse_when(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, FilterError> {
    if let Ok(ago) = parse_duration(text) {
        return Ok(Timestamp(now.0.saturating_sub(ago.0.saturating_mul(1000))));
    }
    let today = || now.to_jiff().to_zoned(zone.clone()).start_of_day();
    let moment: Option<Zoned> = match text {
        "now" => return Ok(now),
        "today" => today().ok(),
        "yesterday" => today().and_then(|day| day.checked_sub(1.day())).ok(),
        _ => parse_absolute(text, zone),
    };
    moment
        .map(|moment| {
            let micros = u64::try_from(moment.timestamp().as_microsecond()).unwrap_or(0);
            Timestamp(micros).min(Timestamp::MAX)
        })
        .ok_or_else(|| FilterError::When(text.chars().take(80).collect()))
}

fn parse_absolute(text: &str, zone: &TimeZone) -> Option<Zoned> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(moment.to_zoned(zone.clone()));
    }
    let civil = match text.parse::<DateTime>() {
        Ok(civil) => civil,
        Err(_) => text.parse::<Date>().ok()?.at(0, 0, 0, 0),
    };
    civil.to_zoned(zone.clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_given_zone() {
        let now: Timestamp = "2026-01-31T08:30:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let at = |text: &str| parse_when(text, now, &zone).unwrap().to_string();
        assert_eq!(at("15m"), "2026-01-31T08:15:00.000000Z");
        assert_eq!(at("now"), "2026-01-31T08:30:00.000000Z");
        assert_eq!(at("today"), "2026-01-30T22:00:00.000000Z");
        assert_eq!(at("yesterday"), "2026-01-29T22:00:00.000000Z");
        assert_eq!(at("2026-01-05"), "2026-01-04T22:00:00.000000Z");
        assert_eq!(at("2026-01-05 08:00"), "2026-01-05T06:00:00.000000Z");
        assert_eq!(at("2026-01-05T08:00:01.5"), "2026-01-05T06:00:01.500000Z");
        assert_eq!(
            at("2026-01-05T08:00:00+01:00"),
            "2026-01-05T07:00:00.000000Z"
        );
        assert_eq!(at("99999999d"), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at("1950-01-01"), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at("9999-12-30 12:00"), "9999-12-30T10:00:00.000000Z");
        for bad in [
            "",
            "soon",
            "2026-13-01",
            "15",
            "-5m",
            "2026",
            "9999-12-31 12:00",
        ] {
            let error = FilterError::When(bad.to_owned());
            assert_eq!(parse_when(bad, now, &zone), Err(error), "{bad}");
        }
    }
}
