//! `[scheduler]`, its tables for each queue, `[rate.NAME]` and `[concurrency.NAME]`: the rules of
//! dispatch.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ledger_core::event::Priority;
use ledger_core::ids::Id;
use ledger_core::time::{Micros, Millis};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Config, Found, Located, MAX_RUNNING, duration, text, unknown, whole};
use crate::names::id_as;
use crate::scheduler::policy::{BackoffPolicy, Policy, QueuePolicy, Rate};
use crate::units::parse_duration;

/// `[scheduler]`: how much runs at once, and what waiting and failing lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// `max_running`: attempts that run at once, 1 to [`MAX_RUNNING`]. Default: twice the number
    /// of cores, at least 4.
    pub max_running: u32,
    /// `backoff_base`: the longest pause after a first failure. Default 1 s.
    pub backoff_base: Millis,
    /// `backoff_cap`: the longest pause of all. Default 5 min.
    pub backoff_cap: Millis,
    /// `[scheduler.interactive]`, `[scheduler.standard]`, `[scheduler.background]`.
    pub queues: [QueuePolicy; 3],
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let max_running = u32::try_from(cores.saturating_mul(2)).unwrap_or(MAX_RUNNING);
        let (queues, backoff) = (Policy::default().queues, BackoffPolicy::default());
        Self {
            max_running: max_running.clamp(4, MAX_RUNNING),
            backoff_base: backoff.base,
            backoff_cap: backoff.cap,
            queues,
        }
    }
}

impl Config {
    /// The rules that the scheduler goes by.
    pub fn policy(&self) -> Policy {
        let SchedulerConfig {
            max_running,
            backoff_base,
            backoff_cap,
            queues,
        } = self.scheduler;
        Policy {
            max_running: usize::try_from(max_running).unwrap_or(usize::MAX),
            queues,
            rates: self.rates.clone(),
            concurrency: self.concurrency.clone(),
            backoff: BackoffPolicy {
                base: backoff_base,
                cap: backoff_cap,
            },
        }
    }
}

pub(super) type Key<'t> = Spanned<Cow<'t, str>>;
/// A key of a table of `T`, and how it is set.
pub(super) type Setters<T> = [(&'static str, fn(&mut T, &DeValue<'_>) -> Result<(), String>)];

/// Sets what a table says; `path` is its name. What of it can't be used is found.
pub(super) fn set_all<T>(
    into: &mut T,
    path: &str,
    table: &DeTable<'_>,
    setters: &Setters<T>,
    found: &mut Found,
) {
    for (key, value) in table {
        let setter = setters
            .iter()
            .find(|(name, _)| *name == key.get_ref().as_ref());
        let Some((name, set)) = setter else {
            found.add(unknown("key", key, setters.iter().map(|(name, _)| *name)));
            continue;
        };
        if let Err(problem) = set(into, value.get_ref()) {
            found.add(Located::value(
                value.span(),
                &format!("{path}.{name}"),
                problem,
            ));
        }
    }
}

/// `[scheduler.QUEUE]`.
pub(super) fn queue(config: &mut Config, key: &Key<'_>, table: &DeTable<'_>, found: &mut Found) {
    let setters: &Setters<QueuePolicy> = &[
        ("max_running", |q, v| {
            let limit = whole(v, 1, MAX_RUNNING)?;
            q.max_running = usize::try_from(limit).ok();
            Ok(())
        }),
        ("boost_after", |q, v| {
            duration_or_none(v).map(|d| q.boost_after = d)
        }),
        ("quantum", |q, v| duration_or_none(v).map(|d| q.quantum = d)),
    ];
    let name = key.get_ref().as_ref();
    let queues = Priority::ALL.iter().map(|queue| queue.name());
    let level = queues.clone().position(|queue| queue == name);
    let Some(level) = level else {
        return found.add(unknown("key", key, queues));
    };
    let queue = &mut config.scheduler.queues[level];
    set_all(queue, &format!("scheduler.{name}"), table, setters, found);
    if let (0, Some(written)) = (level, table.get("boost_after")) {
        let problem = "has no effect: there is no more urgent queue".to_owned();
        let path = format!("scheduler.{name}.boost_after");
        found.add(Located::value(written.span(), &path, problem));
    }
}

/// A rate as it is read: both keys may come in either order.
#[derive(Default)]
struct RateText {
    rate: Option<(u32, Millis)>,
    burst: Option<u32>,
}

/// `[rate.NAME]`.
pub(super) fn rate(config: &mut Config, key: &Key<'_>, table: &DeTable<'_>, found: &mut Found) {
    let path = format!("rate.{}", key.get_ref());
    let name = found.keep(key_name(key, &path));
    let mut read = RateText::default();
    let setters: &Setters<RateText> = &[
        ("rate", |r, v| {
            per_time(text(v)?).map(|rate| r.rate = Some(rate))
        }),
        ("burst", |r, v| {
            whole(v, 1, 1_000_000).map(|burst| r.burst = Some(burst))
        }),
    ];
    set_all(&mut read, &path, table, setters, found);
    if table.get("rate").is_none() {
        let problem = "is missing; write so many per time, such as \"60/1m\"".to_owned();
        found.add(Located::value(key.span(), &format!("{path}.rate"), problem));
    }
    let (Some(name), Some((count, time))) = (name, read.rate) else {
        return;
    };
    // Rounded up: never more often than allowed.
    let interval = time.0.saturating_mul(1000).div_ceil(u64::from(count));
    let rate = Rate {
        interval: Micros(interval.max(1)),
        burst: read.burst.unwrap_or(1),
    };
    config.rates.insert(name, rate);
}

/// `[concurrency.NAME]`.
pub(super) fn concurrency(
    config: &mut Config,
    key: &Key<'_>,
    table: &DeTable<'_>,
    found: &mut Found,
) {
    let path = format!("concurrency.{}", key.get_ref());
    let name = found.keep(key_name(key, &path));
    let mut limit = None;
    let setters: &Setters<Option<u32>> = &[("max_running", |limit, v| {
        whole(v, 1, MAX_RUNNING).map(|n| *limit = Some(n))
    })];
    set_all(&mut limit, &path, table, setters, found);
    if table.get("max_running").is_none() {
        let problem = "is missing; write how many may run at once".to_owned();
        let path = format!("{path}.max_running");
        found.add(Located::value(key.span(), &path, problem));
    }
    let limit = limit.and_then(|n| usize::try_from(n).ok());
    if let (Some(name), Some(limit)) = (name, limit) {
        config.concurrency.insert(name, limit);
    }
}

pub(super) fn key_name(key: &Key<'_>, path: &str) -> Result<Id, Located> {
    let name = id_as("a name", key.get_ref());
    name.map_err(|e| Located::value(key.span(), path, format!("is wrong: {e}")))
}

fn duration_or_none(value: &DeValue<'_>) -> Result<Option<Millis>, String> {
    match value.as_str() {
        Some("none") => Ok(None),
        _ => duration(value).map(Some),
    }
}

/// So many in so long: `60/1m`, `10/s`.
fn per_time(text: &str) -> Result<(u32, Millis), String> {
    let wrong = || "must be so many per time, such as \"60/1m\" or \"10/s\"".to_owned();
    let (count, time) = text.split_once('/').ok_or_else(wrong)?;
    let count: u32 = count.trim().parse().map_err(|_| wrong())?;
    let time = time.trim();
    let time = if time.starts_with(|c: char| c.is_ascii_digit()) {
        parse_duration(time)
    } else {
        parse_duration(&format!("1{time}"))
    };
    let time = time.map_err(|_| wrong())?;
    if count == 0 || time.0 == 0 || time.0 > 366 * 24 * 3_600_000 {
        return Err("must be at least 1, in at least 1ms and at most 366d".to_owned());
    }
    Ok((count, time))
}

/// The maps of keys that limits are configured for.
pub(super) type Rates = BTreeMap<Id, Rate>;
/// See [`Rates`].
pub(super) type Concurrency = BTreeMap<Id, usize>;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("l.toml")).map_err(|e| e.to_string())
    }

    #[test]
    fn the_rules_of_queues_and_keys_can_be_set() {
        let config = parse(
            "[scheduler]\nbackoff_base = \"100ms\"\nbackoff_cap = \"1s\"\n\
             [scheduler.interactive]\nquantum = \"1s\"\n\
             [scheduler.background]\nmax_running = 2\nboost_after = \"none\"\nquantum = \"1h\"\n\
             [rate.openai]\nrate = \"60/1m\"\nburst = 5\n[rate.other]\nrate = \"7/s\"\n\
             [concurrency.repo-1]\nmax_running = 3\n",
        );
        let policy = config.unwrap().policy();
        let defaults = Policy::default();
        assert_eq!(policy.queues[0].quantum, Some(Millis(1000)));
        assert_eq!(policy.queues[1], defaults.queues[1]);
        let background = QueuePolicy {
            max_running: Some(2),
            boost_after: None,
            quantum: Some(Millis(3_600_000)),
        };
        assert_eq!(policy.queues[2], background);
        let rate = |interval, burst| Rate {
            interval: Micros(interval),
            burst,
        };
        assert_eq!(policy.rates["openai"], rate(1_000_000, 5));
        assert_eq!(policy.rates["other"], rate(142_858, 1));
        assert_eq!(policy.concurrency["repo-1"], 3);
        let backoff = (policy.backoff.base, policy.backoff.cap);
        assert_eq!(backoff, (Millis(100), Millis(1000)));
    }

    #[test]
    fn faults_in_tables_name_the_line_and_what_was_meant() {
        for (text, expected) in [
            (
                "[scheduler.backgroud]\nquantum = \"1s\"",
                "l.toml:1: there is no key `backgroud`; did you mean `background`?",
            ),
            (
                "[scheduler.standard]\nboost_afer = \"1s\"",
                "l.toml:2: there is no key `boost_afer`; did you mean `boost_after`?",
            ),
            (
                "[scheduler.standard]\nquantum = \"0s\"",
                "l.toml:2: `scheduler.standard.quantum` must be longer than nothing",
            ),
            (
                "[scheduler.interactive]\nboost_after = \"1s\"",
                "l.toml:2: `scheduler.interactive.boost_after` has no effect: there is no more \
                 urgent queue",
            ),
            (
                "[rate.x]\nrate = \"fast\"",
                "l.toml:2: `rate.x.rate` must be so many per time, such as \"60/1m\" or \"10/s\"",
            ),
            (
                "[rate.x]\nburst = 2",
                "l.toml:1: `rate.x.rate` is missing; write so many per time, such as \"60/1m\"",
            ),
            (
                "[rate]\nx = 1",
                "l.toml:2: `rate.x` is a table; write [rate.x] on a line of its own",
            ),
            (
                "[concurrency.x]\nmax_running = 0",
                "l.toml:2: `concurrency.x.max_running` must be a whole number from 1 to 10000",
            ),
        ] {
            assert_eq!(parse(text), Err(expected.to_owned()), "{text}");
        }
    }
}
