//! Whether a tree stands still: it uses no CPU time and writes nothing.
//!
//! What it has done is looked at a few times within the limit, and compared with the look before:
//! any difference is progress. With a cgroup of version 2 the CPU time is exact to the microsecond and
//! includes who has ended; otherwise it is that of `/proc`, in ticks of 10 ms, so that less than
//! that within the limit is taken for nothing.
//!
//! Time in which the machine is suspended does not count: nothing could have been done in it.

use std::time::Duration;

use super::cgroup::Cgroup;
use super::protocol::SpawnRequest;
use super::{sys, tree};

/// How often is looked within the limit: a standstill is found at most a quarter of it late.
const LOOKS: u32 = 4;

/// What a tree has done up to a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace {
    cpu: Cpu,
    written: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cpu {
    /// Of all that ever were in a cgroup, microseconds.
    Cgroup(u64),
    /// Of those that are there: pid, start time and ticks.
    Processes(Vec<(i32, u64, u64)>),
}

impl Trace {
    /// What the tree below the shim has done, and what it has written.
    pub(super) fn take(cgroup: Option<&Cgroup>, shim: i32, written: u64) -> Self {
        let cpu = match cgroup.and_then(Cgroup::cpu_us) {
            Some(used) => Cpu::Cgroup(used),
            None => {
                let stats = tree::descendants(shim);
                let traces = stats.iter().map(|s| (s.pid, s.start_time, s.cpu_ticks));
                let mut traces: Vec<_> = traces.collect();
                traces.sort_unstable();
                Cpu::Processes(traces)
            }
        };
        Self { cpu, written }
    }
}

/// For how long a tree has done nothing.
#[derive(Debug)]
pub(super) struct Standstill {
    limit: Duration,
    last: Option<Trace>,
    /// Since when nothing has changed, on the clock that stands while the machine is suspended.
    since: Duration,
}

impl Standstill {
    /// From now on, if the request limits it.
    pub(super) fn of(request: &SpawnRequest) -> Option<Self> {
        let limit = Duration::from_millis(request.stall_after_ms?);
        Some(Self {
            limit,
            last: None,
            since: sys::awake(),
        })
    }

    /// How long to wait before the next look.
    pub(super) fn pause(&self) -> Duration {
        let still = sys::awake().saturating_sub(self.since);
        let left = self.limit.saturating_sub(still);
        left.min(self.limit / LOOKS).max(Duration::from_millis(1))
    }

    /// Takes what the tree has done by now; whether it has stood still for too long.
    pub(super) fn is_over(&mut self, trace: Trace) -> bool {
        let now = sys::awake();
        self.judge(trace, now)
    }

    fn judge(&mut self, trace: Trace, now: Duration) -> bool {
        if self.last.as_ref() != Some(&trace) {
            self.last = Some(trace);
            self.since = now;
        }
        now.saturating_sub(self.since) >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(cpu: u64, written: u64) -> Trace {
        Trace {
            cpu: Cpu::Cgroup(cpu),
            written,
        }
    }

    #[test]
    fn any_change_begins_the_wait_anew() {
        let ms = Duration::from_millis;
        let mut still = Standstill {
            limit: ms(100),
            last: None,
            since: ms(0),
        };
        // CPU time, output, CPU time again.
        let looks = [
            (40, 1, 0),
            (100, 2, 0),
            (190, 2, 1),
            (280, 3, 1),
            (379, 3, 1),
        ];
        for (at, cpu, written) in looks {
            assert!(!still.judge(trace(cpu, written), ms(at)), "at {at}");
        }
        assert!(still.judge(trace(3, 1), ms(380)));
    }

    #[test]
    fn others_in_the_place_of_those_that_ended_are_progress() {
        let of = |processes: &[(i32, u64, u64)]| Trace {
            cpu: Cpu::Processes(processes.to_vec()),
            written: 0,
        };
        assert_ne!(of(&[(5, 1, 0)]), of(&[(5, 2, 0)]));
        assert_ne!(of(&[(5, 1, 0)]), of(&[]));
        assert_eq!(of(&[(5, 1, 0)]), of(&[(5, 1, 0)]));
    }
}
