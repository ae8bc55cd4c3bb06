//! What a process does at this moment, as `/proc/PID/stat` says, and the clock that it counts by.

use std::io;
use std::io::Read;
use std::sync::OnceLock;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use crate::shim::ProcessStat;

/// One reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Who it is and where it belongs.
    pub stat: ProcessStat,
    /// Resident memory in pages.
    pub rss_pages: u64,
}

impl Sample {
    /// Takes one; `None` if there is no such process.
    ///
    /// # Errors
    /// If `/proc` can't be read or is not in the documented format.
    pub fn of(pid: i32) -> io::Result<Option<Self>> {
        if pid <= 0 {
            return Ok(None);
        }
        let mut bytes = [0; 1024];
        let read = std::fs::File::open(format!("/proc/{pid}/stat"))
            .and_then(|mut file| file.read(&mut bytes));
        match read {
            Ok(n) => match Self::parse(&bytes[..n]) {
                Some(sample) => Ok(Some(sample)),
                None => Err(io::Error::other(format!(
                    "/proc/{pid}/stat is not understood"
                ))),
            },
            Err(e) if is_gone(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads the content of a `stat` file; `None` if it is not in the documented format.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let stat = ProcessStat::parse(bytes)?;
        // The name may hold anything, so fields are counted from the last parenthesis.
        let close = bytes.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(&bytes[close + 1..]).ok()?;
        // The twenty-fourth field; the third is the first behind the name.
        let rss: i64 = rest.split_ascii_whitespace().nth(21)?.parse().ok()?;
        Some(Self {
            stat,
            rss_pages: u64::try_from(rss).unwrap_or(0),
        })
    }

    /// CPU time.
    pub fn cpu(&self) -> Duration {
        of_ticks(self.stat.cpu_ticks)
    }

    /// Resident memory in KiB.
    pub fn rss_kib(&self) -> u64 {
        self.rss_pages.saturating_mul(page_size()) / 1024
    }
}

/// Whether an error of reading below `/proc/PID` means that the process has gone.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Clock ticks as a time. The kernel counts a hundred a second wherever it says nothing else.
pub fn of_ticks(ticks: u64) -> Duration {
    static PER_SECOND: OnceLock<u64> = OnceLock::new();
    let per_second = *PER_SECOND.get_or_init(|| of_system(SysconfVar::CLK_TCK, 100));
    let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(per_second);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn page_size() -> u64 {
    static SIZE: OnceLock<u64> = OnceLock::new();
    *SIZE.get_or_init(|| of_system(SysconfVar::PAGE_SIZE, 4096))
}

fn of_system(variable: SysconfVar, otherwise: u64) -> u64 {
    let value = sysconf(variable).ok().flatten();
    value
        .and_then(|value| u64::try_from(value).ok())
        .filter(|value| *value > 0)
        .unwrap_or(otherwise)
}

/// Time since boot, suspend included: what start times are counted by.
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str) -> Vec<u8> {
        format!("7 ({name}) D 1 7 7 0 -1 2097216 1 2 3 4 50 60 -1 80 20 0 3 0 4242 100 25 1 2")
            .into_bytes()
    }

    #[test]
    fn fields_are_found_behind_any_name() {
        for name in ["sh", ") S 1 2 3 (", "a b\nc", ""] {
            let sample = Sample::parse(&line(name)).unwrap();
            assert_eq!(
                (sample.stat.letter, sample.stat.cpu_ticks, sample.rss_pages),
                ('D', 190, 25)
            );
            assert!(sample.stat.kernel);
            assert_eq!((sample.stat.pid, sample.stat.start_time), (7, 4242));
        }
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let whole = line("sh");
        for cut in 0..whole.len() - " 25 1 2".len() {
            assert_eq!(Sample::parse(&whole[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn this_process_runs_since_a_moment() {
        let me = i32::try_from(std::process::id()).unwrap();
        let sample = Sample::of(me).unwrap().unwrap();
        assert!(!sample.stat.kernel && sample.rss_kib() > 0);
        assert!(of_ticks(sample.stat.start_time) <= since_boot());
        assert_eq!(Sample::of(0).unwrap(), None);
        assert_eq!(Sample::of(i32::MAX).unwrap(), None);
    }
}
