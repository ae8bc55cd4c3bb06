//! `[lease]` of `ledger.toml`: how soon a node that hangs is replaced.

use ledger_core::time::Millis;

use super::{Setter, duration};
use crate::lease::timing::{Timing, TimingFault};

/// `[lease]`. Heartbeat < renew deadline < TTL, which is checked when the settings were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseConfig {
    /// `heartbeat`: how often a leader shows that it works. Default 500 ms, at least 10 ms.
    pub heartbeat: Millis,
    /// `renew_deadline`: after how long without one it stops leading by itself. Default 2 s.
    pub renew_deadline: Millis,
    /// `ttl`: after how long without one a standby may end it. Default 3 s.
    pub ttl: Millis,
}

const SHORTEST: Millis = Millis(10);
const LONGEST: Millis = Millis(24 * 3_600_000);

impl Default for LeaseConfig {
    fn default() -> Self {
        let timing = Timing::default();
        Self {
            heartbeat: timing.heartbeat(),
            renew_deadline: timing.renew_deadline(),
            ttl: timing.ttl(),
        }
    }
}

impl LeaseConfig {
    /// The times, if they are in order; else the key that is wrong and why.
    ///
    /// # Errors
    /// Never for settings that were read from a file.
    pub fn timing(self) -> Result<Timing, (&'static str, TimingFault)> {
        Timing::new(self.heartbeat, self.renew_deadline, self.ttl).map_err(|fault| match fault {
            TimingFault::Deadline => ("lease.renew_deadline", fault),
            TimingFault::Ttl => ("lease.ttl", fault),
        })
    }
}

fn time(value: &toml::de::DeValue<'_>) -> Result<Millis, String> {
    let time = duration(value)?;
    if !(SHORTEST..=LONGEST).contains(&time) {
        return Err("must be from 10ms to 24h".to_owned());
    }
    Ok(time)
}

pub(super) const KEYS: &[(&str, Setter)] = &[
    ("heartbeat", |c, v| time(v).map(|d| c.lease.heartbeat = d)),
    ("renew_deadline", |c, v| {
        time(v).map(|d| c.lease.renew_deadline = d)
    }),
    ("ttl", |c, v| time(v).map(|d| c.lease.ttl = d)),
];
