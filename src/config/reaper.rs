//! `[reaper]` of `ledger.toml`: how the process trees of attempts are held and ended.

use ledger_core::time::Millis;

use super::{Setter, duration, text, whole};

/// `[reaper]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaperConfig {
    /// `cgroups`: whether attempts get cgroups. Default: where they can be made.
    pub cgroups: CgroupUse,
    /// `max_processes`: how many processes an attempt may have at once, 1 to 4,194,304. Kept where
    /// there's a `pids` controller. Default: no limit.
    pub max_processes: Option<u32>,
    /// `overdue_after`: how long past its limit and its grace an attempt may be before the node ends
    /// it over the head of its shim, which must have been stopped then. Default 1 min.
    pub overdue_after: Millis,
}

/// Whether attempts get cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupUse {
    /// `auto`: where they can be made.
    Auto,
    /// `off`: never.
    Off,
}

/// No kernel has more processes.
const MAX_PROCESSES: u32 = 4 << 20;

impl Default for ReaperConfig {
    fn default() -> Self {
        Self {
            cgroups: CgroupUse::Auto,
            max_processes: None,
            overdue_after: Millis(60_000),
        }
    }
}

pub(super) const KEYS: &[(&str, Setter)] = &[
    ("cgroups", |c, v| {
        c.reaper.cgroups = match text(v)? {
            "auto" => CgroupUse::Auto,
            "off" => CgroupUse::Off,
            _ => return Err("is `auto` or `off`".to_owned()),
        };
        Ok(())
    }),
    ("max_processes", |c, v| {
        c.reaper.max_processes = Some(whole(v, 1, MAX_PROCESSES)?);
        Ok(())
    }),
    ("overdue_after", |c, v| {
        duration(v).map(|d| c.reaper.overdue_after = d)
    }),
];
