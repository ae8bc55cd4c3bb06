//! Schedules: daylight saving, odd zones, leap days, what never comes.

use ledger_core::event::Schedule;
use ledger_core::time::{Millis, Timestamp};

use super::super::{ScheduleError, Timetable};

fn cron(expression: &str, time_zone: &str) -> Schedule {
    Schedule::Cron {
        expression: expression.into(),
        time_zone: time_zone.into(),
    }
}

fn every(ms: u64) -> Schedule {
    Schedule::Every {
        every_ms: Millis(ms),
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The next few times after one, as text without what is always zero.
fn times(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
    let timetable = Timetable::new(schedule).unwrap();
    let mut now = at(from);
    let mut times = Vec::new();
    for _ in 0..count {
        now = timetable.after(now).unwrap();
        times.push(now.to_string().replace(".000000Z", "Z"));
    }
    times
}

#[test]
fn a_time_of_day_in_the_hour_left_out_comes_right_after_it() {
    // 02:00 to 03:00 is left out on 2026-03-29; 02:30 is 01:30Z before and 00:30Z after.
    assert_eq!(
        times(
            &cron("30 2 * * *", "Europe/Berlin"),
            "2026-03-28T00:00:00Z",
            3
        ),
        [
            "2026-03-28T01:30:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-30T00:30:00Z"
        ]
    );
}

#[test]
fn a_time_of_day_in_the_hour_that_comes_twice_comes_once() {
    assert_eq!(
        times(
            &cron("30 2 * * *", "Europe/Berlin"),
            "2026-10-24T12:00:00Z",
            2
        ),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
}

#[test]
fn what_is_due_every_so_often_follows_the_clock_through_both() {
    let often = cron("*/30 * * * *", "Europe/Berlin");
    assert_eq!(
        times(&often, "2026-03-29T00:00:00Z", 4),
        [
            "2026-03-29T00:30:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-29T01:30:00Z",
            "2026-03-29T02:00:00Z"
        ]
    );
    assert_eq!(
        times(&often, "2026-10-24T23:50:00Z", 6),
        [
            "2026-10-25T00:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:00:00Z",
            "2026-10-25T02:30:00Z"
        ]
    );
}

#[test]
fn an_interval_knows_no_clocks() {
    let ours = times(&every(3_600_000), "2026-03-28T23:30:00Z", 4);
    assert_eq!(ours.last().unwrap(), "2026-03-29T03:30:00Z");
    let timetable = Timetable::new(&every(3_600_000)).unwrap();
    let now = at("2026-03-28T23:30:00.000001Z");
    assert_eq!(timetable.anchor(now), at("2026-03-28T23:30:01Z"));
}

#[test]
fn clocks_that_change_by_half_an_hour_are_followed() {
    // Lord Howe: 02:00 becomes 02:30 on 2026-10-04, and 02:00 becomes 01:30 on 2026-04-05.
    let zone = "Australia/Lord_Howe";
    assert_eq!(
        times(&cron("15 2 * * *", zone), "2026-10-02T18:00:00Z", 3),
        [
            "2026-10-03T15:30:00Z",
            "2026-10-04T15:15:00Z",
            "2026-10-05T15:15:00Z"
        ]
    );
    assert_eq!(
        times(&cron("45 1 * * *", zone), "2026-04-03T18:00:00Z", 2),
        ["2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"]
    );
    assert_eq!(
        times(
            &cron("0 12 * * *", "Asia/Kathmandu"),
            "2026-01-01T00:00:00Z",
            1
        ),
        ["2026-01-01T06:15:00Z"]
    );
}

#[test]
fn a_leap_day_is_waited_for_also_across_a_century() {
    assert_eq!(
        times(&cron("0 0 29 2 *", "UTC"), "2025-01-01T00:00:00Z", 2),
        ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]
    );
    assert_eq!(
        times(&cron("0 0 29 2 *", "UTC"), "2096-03-01T00:00:00Z", 1),
        ["2104-02-29T00:00:00Z"]
    );
}

#[test]
fn five_fields_six_fields_and_names_are_understood() {
    for (expression, next) in [
        ("0 9 * * MON-FRI", "2026-01-05T09:00:00Z"),
        ("0 9 * * 1-5", "2026-01-05T09:00:00Z"),
        ("15 30 9 * * *", "2026-01-03T09:30:15Z"),
        ("@hourly", "2026-01-03T01:00:00Z"),
        ("0 0 L * *", "2026-01-31T00:00:00Z"),
        ("0 12 1 JAN,JUL *", "2026-07-01T12:00:00Z"),
    ] {
        let found = times(&cron(expression, "UTC"), "2026-01-03T00:00:00Z", 1);
        assert_eq!(found, [next], "{expression}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let refused = |schedule: &Schedule| Timetable::new(schedule).unwrap_err();
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *"] {
        assert_eq!(
            refused(&cron(never, "UTC")),
            ScheduleError::Never(never.into())
        );
    }
    for wrong in [
        "",
        "* * * *",
        "60 * * * *",
        "* * * * * * *",
        "@reboot",
        "a b c d e",
        "0 24 * * *",
    ] {
        let error = refused(&cron(wrong, "UTC"));
        assert!(
            matches!(error, ScheduleError::Expression { .. }),
            "{wrong}: {error}"
        );
    }
    let zone = refused(&cron("0 0 * * *", "Europe/Atlantis"));
    assert_eq!(zone, ScheduleError::Zone("Europe/Atlantis".into()));
    for interval in [0, 999, 1500, 367 * 24 * 3_600_000] {
        assert_eq!(refused(&every(interval)), ScheduleError::Interval);
    }
}

#[test]
fn zones_are_there_without_a_system_that_has_them() {
    let bundled = jiff::tz::TimeZoneDatabase::bundled();
    for zone in [
        "UTC",
        "Europe/Berlin",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
    ] {
        assert!(bundled.get(zone).is_ok(), "{zone}");
    }
}

#[test]
fn a_backlog_is_what_one_step_after_the_other_finds() {
    let from = at("2026-03-28T22:00:00Z");
    for (schedule, until) in [
        (every(1000), "2026-03-28T22:10:00.5Z"),
        (every(7_000), "2026-03-28T22:00:06.999999Z"),
        (cron("*/10 * * * * *", "UTC"), "2026-03-29T00:00:00Z"),
        (
            cron("*/30 * * * *", "Europe/Berlin"),
            "2026-03-31T00:00:00Z",
        ),
        (cron("30 2 * * *", "Europe/Berlin"), "2026-11-05T00:00:00Z"),
        (cron("0 0 29 2 *", "UTC"), "2048-01-01T00:00:00Z"),
    ] {
        let timetable = Timetable::new(&schedule).unwrap();
        let now = at(until);
        let mut all = Vec::new();
        let mut last = from;
        while let Some(next) = timetable.after(last).filter(|next| *next <= now) {
            all.push(next);
            last = next;
        }
        for want in [1, 2, 5, 1000] {
            let found = timetable.backlog(from, now, want);
            let Some(first) = all.first() else {
                assert_eq!(found, None);
                continue;
            };
            let found = found.unwrap();
            let (older, latest) = all.split_at(all.len().saturating_sub(want));
            assert_eq!(found.first, *first);
            assert_eq!(found.latest, latest, "{schedule:?} {want}");
            assert_eq!(found.older, older.last().copied());
        }
    }
}
