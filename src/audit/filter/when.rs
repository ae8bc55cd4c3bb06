//! Points in time as people write them. The current time and zone are given, so that what a text
//! means is a function of its arguments.

use jiff::civil::{Date, DateTime, Time};
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
        .ok_or_else(|| FilterError::When(short(text)))
}

/// Reads a time that lies ahead of `now`: `15m` (from now), `18:00` (the next time that it is that late
/// in `zone`), `tomorrow` (its midnight), or what [`parse_when`] takes.
///
/// # Errors
/// [`FilterError::Ahead`] if it is none of these.
pub fn parse_ahead(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, FilterError> {
    if let Ok(ahead) = parse_duration(text) {
        return Ok(now.plus(ahead));
    }
    let here = now.to_jiff().to_zoned(zone.clone());
    let day = |days: i64| here.checked_add(days.days()).ok();
    let moment = match (text, text.parse::<Time>()) {
        ("tomorrow", _) => day(1).and_then(|day| day.start_of_day().ok()),
        // A date alone is a time of day to the parser, were it not asked for its colon.
        (_, Ok(time)) if text.contains(':') && !text.contains('-') => {
            let on = |days| day(days)?.with().time(time).build().ok();
            on(0).filter(|at| *at > here).or_else(|| on(1))
        }
        _ => None,
    };
    match moment {
        Some(moment) => Ok(Timestamp(
            u64::try_from(moment.timestamp().as_microsecond()).unwrap_or(0),
        )),
        None => parse_when(text, now, zone).map_err(|_| FilterError::Ahead(short(text))),
    }
}

/// As much of a text as an error shows.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
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
    fn times_ahead_are_counted_from_now() {
        let now: Timestamp = "2026-01-31T08:30:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let at = |text: &str| parse_ahead(text, now, &zone).unwrap().to_string();
        for (text, expected) in [
            ("15m", "2026-01-31T08:45:00.000000Z"),
            ("tomorrow", "2026-01-31T22:00:00.000000Z"),
            ("18:00", "2026-01-31T16:00:00.000000Z"),
            ("10:30", "2026-02-01T08:30:00.000000Z"),
            ("08:00:30", "2026-02-01T06:00:30.000000Z"),
            ("2026-02-05", "2026-02-04T22:00:00.000000Z"),
            ("2026-02-05 08:00", "2026-02-05T06:00:00.000000Z"),
            ("2026-02-05T08:00:00+01:00", "2026-02-05T07:00:00.000000Z"),
            ("now", "2026-01-31T08:30:00.000000Z"),
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
        for bad in ["", "soon", "2026-02-30", "25:00", "0800", "-5m", "2026"] {
            let error = FilterError::Ahead(bad.to_owned());
            assert_eq!(parse_ahead(bad, now, &zone), Err(error), "{bad}");
        }
    }

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
