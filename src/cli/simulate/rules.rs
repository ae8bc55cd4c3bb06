//! The rules of a simulation: those that are configured, and what is to be different.

use std::path::Path;
use std::str::FromStr;

use crate::api::wire::{ApiError, ErrorCode};
use crate::cli::error::Failure;
use crate::config::{Config, MAX_RUNNING};
use crate::scheduler::policy::Policy;

/// `--slots`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slots {
    /// So many.
    Exactly(u32),
    /// So many more than configured.
    More(u32),
    /// So many fewer.
    Fewer(u32),
}

impl FromStr for Slots {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (make, digits): (fn(u32) -> Self, _) = match text.split_at_checked(1) {
            Some(("+", rest)) => (Self::More, rest),
            Some(("-", rest)) => (Self::Fewer, rest),
            _ => (Self::Exactly, text),
        };
        let wrong = || format!("write a number such as 8, +2 or -1, of at most {MAX_RUNNING}");
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        let n = digits
            .parse()
            .ok()
            .filter(|n| (1..=MAX_RUNNING).contains(n));
        n.map(make).ok_or_else(wrong)
    }
}

/// `--load`.
pub(super) fn load(text: &str) -> Result<f64, String> {
    number(text, 0.001, 1000.0)
}

/// `--hung`, as a share.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    number(digits, 0.0, 100.0).map(|percent| percent / 100.0)
}

/// `--limit-factor`.
pub(super) fn factor(text: &str) -> Result<f64, String> {
    number(text, 0.001, 1_000_000.0)
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    // What is not a number is in no range.
    let number = text.parse::<f64>().ok();
    let number = number.filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("write a number from {least} to {most}"))
}

/// What holds here, with what is to be different.
///
/// # Errors
/// [`Failure`] if the settings can't be used, or a change can't be made to them.
pub(super) fn policy(
    data_dir: Option<&Path>,
    file: Option<&Path>,
    changes: &[String],
    slots: Option<Slots>,
) -> Result<(usize, Policy), Failure> {
    let mut config = match (data_dir, file) {
        (None, None) => Config::default(),
        (dir, file) => Config::load(dir.unwrap_or(Path::new("")), file)?,
    };
    let before = config.policy().max_running;
    for change in changes {
        config.change(change).map_err(|fault| {
            ApiError::new(ErrorCode::Usage, format!("--set {change}: {fault}")).hint(
                "write KEY=VALUE with a key of [scheduler], such as max_running=8 or \
                 background.boost_after=30s",
            )
        })?;
    }
    let mut policy = config.policy();
    let configured = u32::try_from(policy.max_running).unwrap_or(MAX_RUNNING);
    let wanted = match slots {
        None => Some(configured),
        Some(Slots::Exactly(n)) => Some(n),
        Some(Slots::More(n)) => configured.checked_add(n),
        Some(Slots::Fewer(n)) => configured.checked_sub(n),
    };
    let wanted = wanted.filter(|n| (1..=MAX_RUNNING).contains(n));
    let wanted = wanted.ok_or_else(|| {
        ApiError::new(ErrorCode::Usage, "there can't be so many slots")
            .because(format!(
                "{configured} are configured; 1 to {MAX_RUNNING} can be"
            ))
            .hint("name another number with --slots")
    })?;
    policy.max_running = usize::try_from(wanted).unwrap_or(usize::MAX);
    Ok((before, policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_so_many_or_so_many_more() {
        assert_eq!("8".parse(), Ok(Slots::Exactly(8)));
        assert_eq!("+2".parse(), Ok(Slots::More(2)));
        assert_eq!("-1".parse(), Ok(Slots::Fewer(1)));
        for bad in [
            "",
            "+",
            "0",
            "-0",
            "++1",
            "1e3",
            "10001",
            "99999999999",
            "é",
            "8 ",
        ] {
            assert!(bad.parse::<Slots>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert_eq!(load("1.2"), Ok(1.2));
        assert_eq!(percent("3%"), Ok(0.03));
        assert_eq!(percent("100"), Ok(1.0));
        for bad in ["NaN", "inf", "-1", "0", "1e9", "", "one"] {
            assert!(load(bad).is_err(), "{bad}");
        }
        assert!(percent("101").is_err() && percent("nan%").is_err());
        assert!(factor("0").is_err());
    }

    #[test]
    fn changes_are_made_in_their_order_and_slots_last() {
        let set = |changes: &[&str], slots| {
            let changes: Vec<String> = changes.iter().map(|&c| c.to_owned()).collect();
            policy(None, None, &changes, slots).map(|(_, policy)| policy)
        };
        let changed = [
            "max_running=6",
            "background.boost_after=5s",
            "rate.x.rate=60/1m",
        ];
        let policy = set(&changed, Some(Slots::More(2))).unwrap();
        assert_eq!(policy.max_running, 8);
        assert_eq!(policy.queues[2].boost_after.unwrap().0, 5_000);
        assert!(policy.rates.contains_key("x"));
        assert!(set(&["max_running=1"], Some(Slots::Fewer(1))).is_err());
        assert!(set(&["max_runing=1"], None).is_err());
    }
}
