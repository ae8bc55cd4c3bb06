//! Durations and sizes as people write them: `500ms`, `30s`, `64KiB`; and how both are shown.
//!
//! Shared by the command line and `ledger.toml`, so that a value means the same in both. Whole
//! numbers only: nothing is rounded on the way in, and whatever does not fit into 64 bits is an
//! error instead of another number.

use ledger_core::time::{Micros, Millis};

/// Why a text is not a duration or a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error(
        "{0:?} is not a duration; write a whole number and a unit, such as 500ms, 30s, 5m, 2h or 7d"
    )]
    Duration(String),
    /// Not a size.
    #[error(
        "{0:?} is not a size; write a whole number and a unit, such as 512B, 64KiB, 10MiB or 1GiB"
    )]
    Size(String),
    /// Too large a number.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

/// Milliseconds of each unit of time.
const TIME_UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// Bytes of each unit of size: binary units, and decimal ones for who writes those.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Reads a duration: a whole number directly followed by `ms`, `s`, `m`, `h`, `d` or `w`.
///
/// # Errors
/// [`UnitError`] if it is not one, or is longer than 64 bits of milliseconds.
pub fn parse_duration(text: &str) -> Result<Millis, UnitError> {
    parse(text, &TIME_UNITS, UnitError::Duration).map(Millis)
}

/// Reads a size in bytes: a whole number directly followed by `B`, `KiB` … `TiB` or `kB` … `TB`.
///
/// # Errors
/// [`UnitError`] if it is not one, or is larger than 64 bits of bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    parse(text, &SIZE_UNITS, UnitError::Size)
}

fn parse(
    text: &str,
    units: &[(&str, u64)],
    error: fn(String) -> UnitError,
) -> Result<u64, UnitError> {
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(end);
    let factor = units
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, f)| *f);
    let (false, Some(factor)) = (digits.is_empty(), factor) else {
        return Err(error(text.to_owned()));
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(|| UnitError::TooLarge(text.to_owned()))
}

/// A limit as it would be written: the largest unit that divides it (`30s`, `90s`, `500ms`).
pub fn format_limit(limit: Millis) -> String {
    let (unit, factor) = TIME_UNITS
        .iter()
        .rev()
        .filter(|(unit, _)| *unit != "w")
        .find(|(_, factor)| limit.0 >= *factor && limit.0.is_multiple_of(*factor))
        .unwrap_or(&("ms", 1));
    format!("{}{unit}", limit.0 / factor)
}

/// A measured time for people, to three digits or two units, in at most seven characters below
/// a million days: `840 µs`, `12.3 ms`, `1.24 s`, `2m 05s`, `3h 07m`, `12d 05h`, `294d`.
pub fn format_duration(time: Micros) -> String {
    let us = time.0;
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => scaled(us, 1_000, "ms"),
        1_000_000..60_000_000 => scaled(us, 1_000_000, "s"),
        60_000_000..3_600_000_000 => {
            let s = us / 1_000_000;
            format!("{}m {:02}s", s / 60, s % 60)
        }
        3_600_000_000..86_400_000_000 => {
            let m = us / 60_000_000;
            format!("{}h {:02}m", m / 60, m % 60)
        }
        86_400_000_000..8_640_000_000_000 => {
            let h = us / 3_600_000_000;
            format!("{}d {:02}h", h / 24, h % 24)
        }
        _ => format!("{}d", us / 86_400_000_000),
    }
}

/// A size for people, to three digits: `512 B`, `64.0 KiB`, `1.50 MiB`.
pub fn format_size(bytes: u64) -> String {
    let unit = ["KiB", "MiB", "GiB", "TiB", "PiB"]
        .iter()
        .zip((1..).map(|n| 1_u64 << (10 * n)));
    match unit.take_while(|(_, factor)| bytes >= *factor).last() {
        None => format!("{bytes} B"),
        Some((unit, factor)) => scaled(bytes, factor, unit),
    }
}

/// A count with its thousands set apart: `1,234,567`.
pub fn format_count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How many there are of a thing: `1 event`, `1,234 events`.
pub fn count_of(n: u64, thing: &str) -> String {
    let s = match n {
        1 => "",
        _ if thing.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {thing}{s}", format_count(n))
}

/// `value / factor` with as many decimals as make three digits, cut and not rounded, so that
/// 999,999 µs never shows as 1000 ms.
fn scaled(value: u64, factor: u64, unit: &str) -> String {
    let whole = value / factor;
    let part = u128::from(value % factor) * 1000 / u128::from(factor);
    match whole {
        0..10 => format!("{whole}.{:02} {unit}", part / 10),
        10..100 => format!("{whole}.{} {unit}", part / 100),
        _ => format!("{whole} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_and_sizes_are_read_as_written() {
        for (text, ms) in [("0ms", 0), ("500ms", 500), ("30s", 30_000), ("5m", 300_000)] {
            assert_eq!(parse_duration(text), Ok(Millis(ms)), "{text}");
        }
        assert_eq!(parse_duration("2h"), Ok(Millis(7_200_000)));
        assert_eq!(parse_duration("7d"), Ok(Millis(604_800_000)));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("1MB"), Ok(1_000_000));
    }

    #[test]
    fn what_is_not_one_is_refused_by_name() {
        for bad in [
            "", "s", "5", "-5s", "+5s", "5 s", "1.5s", "5S", "5sec", "٣s", "1e3s",
        ] {
            assert_eq!(
                parse_duration(bad),
                Err(UnitError::Duration(bad.into())),
                "{bad}"
            );
        }
        for bad in ["", "64", "64kib", "64K", "MiB"] {
            assert_eq!(parse_size(bad), Err(UnitError::Size(bad.into())), "{bad}");
        }
        for huge in ["18446744073709551615s", "99999999999999999999ms"] {
            assert_eq!(parse_duration(huge), Err(UnitError::TooLarge(huge.into())));
        }
        assert!(parse_size("16777216TiB").is_err());
        assert!(parse_size("16777215TiB").is_ok());
    }

    #[test]
    fn times_and_sizes_show_three_digits() {
        let shown = |us| format_duration(Micros(us));
        assert_eq!(shown(840), "840 µs");
        assert_eq!(shown(1_240_000), "1.24 s");
        assert_eq!(shown(999_999), "999 ms");
        assert_eq!(shown(125_000_000), "2m 05s");
        assert_eq!(shown(11_220_000_000), "3h 07m");
        assert_eq!(shown(u64::MAX), "213503982d");
        assert_eq!(shown(8_639_999_999_999), "99d 23h");
        assert_eq!(format_size(0), "0 B");
        assert_eq!(format_size(65_536), "64.0 KiB");
        assert_eq!(format_size(u64::MAX), "16383 PiB");
        assert_eq!(format_limit(Millis(90_000)), "90s");
        assert_eq!(format_limit(Millis(0)), "0ms");
        assert_eq!(format_limit(Millis(604_800_000)), "7d");
        assert_eq!(format_count(1_234_567), "1,234,567");
        assert_eq!(format_count(100), "100");
        assert_eq!(count_of(1, "event"), "1 event");
        assert_eq!(count_of(0, "event"), "0 events");
    }

    proptest! {
        #[test]
        fn a_shown_limit_reads_back(ms in any::<u64>()) {
            prop_assert_eq!(parse_duration(&format_limit(Millis(ms))), Ok(Millis(ms)));
        }

        #[test]
        fn no_text_panics(text in ".{0,12}") {
            let _ = parse_duration(&text);
            let _ = parse_size(&text);
        }
    }
}
