//! `[checkpoint]` of `ledger.toml`.

use ledger_core::time::Millis;
use toml::de::DeValue;

use super::{Config, duration, whole};
use crate::node::checkpoints::Keep;

/// `[checkpoint]`: when checkpoints are made, and how many are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointConfig {
    /// `enabled`: whether the node makes any by itself. Default: yes.
    pub enabled: bool,
    /// `every`: how often it makes one: the schedule of the job `state-checkpoint`. Default 2 h.
    pub every: Millis,
    /// `every_events`: after how many events it makes one, however long that took; 0 for never.
    /// Default 200,000: as many as are folded in less than half a second.
    pub every_events: u32,
    /// `compare_after`: how long after a node has begun to lead its state is held against other folds.
    /// Default 30 s: until then whatever the host has is for the work that is taken up.
    pub compare_after: Millis,
    /// `keep`: how many of the newest are kept. Default 24.
    pub keep: u32,
    /// `daily`: for how many days the last of each day is kept as well. Default 30.
    pub daily: u32,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            every: Millis(2 * 3_600_000),
            every_events: 200_000,
            compare_after: Millis(30_000),
            keep: 24,
            daily: 30,
        }
    }
}

impl CheckpointConfig {
    /// What of them is kept.
    pub fn keep(&self) -> Keep {
        Keep {
            newest: usize::try_from(self.keep).unwrap_or(usize::MAX),
            days: self.daily.into(),
        }
    }

    /// After how many events one is made, if that is wanted.
    pub fn every_events(&self) -> Option<u64> {
        (self.enabled && self.every_events > 0).then_some(self.every_events.into())
    }
}

pub(super) const KEYS: &[(&str, super::Setter)] = &[
    ("enabled", |c, v| {
        flag(v).map(|on| c.checkpoint.enabled = on)
    }),
    ("every", |c, v| match duration(v)? {
        Millis(0..1000) => Err("must be at least 1s".to_owned()),
        every => {
            c.checkpoint.every = every;
            Ok(())
        }
    }),
    ("every_events", |c, v| {
        set(c, v, 0, u32::MAX, |c| &mut c.every_events)
    }),
    ("compare_after", |c, v| {
        duration(v).map(|after| c.checkpoint.compare_after = after)
    }),
    ("keep", |c, v| set(c, v, 1, 10_000, |c| &mut c.keep)),
    ("daily", |c, v| set(c, v, 0, 3_650, |c| &mut c.daily)),
];

fn set(
    config: &mut Config,
    value: &DeValue<'_>,
    min: u32,
    max: u32,
    key: impl FnOnce(&mut CheckpointConfig) -> &mut u32,
) -> Result<(), String> {
    *key(&mut config.checkpoint) = whole(value, min, max)?;
    Ok(())
}

fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    super::jobs::flag(value)
}
