//! Who a process is: pid, start time and boot id together.
//!
//! A pid alone names whoever has it *now*. The kernel hands a pid out again, but never twice with
//! the same start time within a boot. The command line plays no part: a process can write it.

use std::fs;
use std::io;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::error::IdentityError;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The identity of a process. Two are the same process only if all three parts are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Process id, in the pid namespace of whoever wrote it down.
    pub pid: i32,
    /// Start of the process in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
    /// `/proc/sys/kernel/random/boot_id` of the boot under which `start_time` was counted.
    pub boot_id: String,
}

impl ProcessIdentity {
    /// The identity of the process which has `pid` now; `None` if there is none.
    ///
    /// # Errors
    /// When `/proc` is unreadable or not in the documented format.
    pub fn of(pid: i32) -> Result<Option<Self>, IdentityError> {
        match ProcessStat::of(pid)? {
            Some(stat) => Ok(Some(stat.identity()?)),
            None => Ok(None),
        }
    }

    /// The identity of the calling process.
    ///
    /// # Errors
    /// When `/proc` is unreadable or not in the documented format.
    pub fn current() -> Result<Self, IdentityError> {
        read_stat("/proc/self/stat")?
            .ok_or_else(|| IdentityError::Read {
                path: "/proc/self/stat".into(),
                source: io::ErrorKind::NotFound.into(),
            })?
            .identity()
    }

    /// Whether this very process still runs. A zombie doesn't: it has ended and only its status is
    /// still to be fetched.
    ///
    /// # Errors
    /// When that can't be found out (no descriptor left, say), which must not be taken for a no.
    pub fn is_alive_same(&self) -> Result<bool, IdentityError> {
        if boot_id()? != self.boot_id {
            return Ok(false);
        }
        let stat = ProcessStat::of(self.pid)?;
        Ok(stat.is_some_and(|stat| stat.start_time == self.start_time && stat.is_alive()))
    }
}

/// The boot id of the running kernel, read once per process (and inherited by forks).
pub(super) fn boot_id() -> Result<&'static str, IdentityError> {
    static CACHE: OnceLock<String> = OnceLock::new();
    if let Some(known) = CACHE.get() {
        return Ok(known);
    }
    let text = fs::read_to_string(BOOT_ID).map_err(|source| IdentityError::Read {
        path: BOOT_ID.into(),
        source,
    })?;
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(IdentityError::Format {
            path: BOOT_ID.into(),
        });
    }
    Ok(CACHE.get_or_init(|| trimmed.to_owned()))
}

/// What the kernel says a process is doing, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// Running, sleeping, or anything else that isn't listed below.
    Active,
    /// `D`: in an uninterruptible wait; signals, even SIGKILL, must wait for it too.
    Uninterruptible,
    /// `T` or `t`: stopped by a signal or a tracer.
    Stopped,
    /// `Z` or `X`: its first thread has ended.
    Ended,
}

/// The fields of `/proc/PID/stat` that are needed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// Process id.
    pub pid: i32,
    /// State of the first thread.
    pub state: ProcessState,
    /// The same as the kernel's letter: `R`, `S`, `D` …
    pub letter: char,
    /// Whether it is a thread of the kernel.
    pub kernel: bool,
    /// CPU time that it and the children it waited for have used, in clock ticks.
    pub cpu_ticks: u64,
    /// Parent.
    pub parent: i32,
    /// Process group.
    pub group: i32,
    /// Session.
    pub session: i32,
    /// Number of threads.
    pub threads: u64,
    /// Start in clock ticks since boot.
    pub start_time: u64,
}

/// `PF_KTHREAD`.
const KERNEL_THREAD: u64 = 0x0020_0000;

impl ProcessStat {
    /// Reads the status of `pid`; `None` if there's no such process.
    ///
    /// # Errors
    /// When `/proc` is unreadable or not in the documented format.
    pub fn of(pid: i32) -> Result<Option<Self>, IdentityError> {
        if pid <= 0 {
            return Ok(None);
        }
        read_stat(&format!("/proc/{pid}/stat"))
    }

    /// Parses the content of a `stat` file; `None` if it's not in the documented format.
    ///
    /// The second field, the name, is whatever the process likes, parentheses, blanks, line ends
    /// and broken UTF-8 included; so the fields are counted from the last `)`.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let open = bytes.iter().position(|&byte| byte == b'(')?;
        let close = bytes.iter().rposition(|&byte| byte == b')')?;
        if close < open {
            return None;
        }
        let pid = std::str::from_utf8(&bytes[..open])
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let rest = std::str::from_utf8(&bytes[close + 1..]).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let letter = fields.next()?;
        let state = match letter {
            "D" => ProcessState::Uninterruptible,
            "T" | "t" => ProcessState::Stopped,
            "Z" | "X" | "x" => ProcessState::Ended,
            _ => ProcessState::Active,
        };
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        let flags: u64 = fields.nth(2)?.parse().ok()?;
        let mut cpu_ticks: u64 = 0;
        let times = [
            fields.nth(4)?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        ];
        for time in times {
            // A kernel may count children's time below zero for a moment.
            let ticks: i64 = time.parse().ok()?;
            cpu_ticks = cpu_ticks.saturating_add(u64::try_from(ticks).unwrap_or(0));
        }
        let threads = fields.nth(2)?.parse().ok()?;
        let start_time = fields.nth(1)?.parse().ok()?;
        Some(Self {
            pid,
            state,
            letter: letter.chars().next()?,
            kernel: flags & KERNEL_THREAD != 0,
            cpu_ticks,
            parent,
            group,
            session,
            threads,
            start_time,
        })
    }

    /// Whether anything of the process still runs. The state is that of the first thread, which
    /// may end before the others do.
    pub fn is_alive(&self) -> bool {
        self.state != ProcessState::Ended || self.threads > 1
    }

    /// The identity of the process.
    ///
    /// # Errors
    /// When the boot id can't be read.
    pub fn identity(&self) -> Result<ProcessIdentity, IdentityError> {
        Ok(ProcessIdentity {
            pid: self.pid,
            start_time: self.start_time,
            boot_id: boot_id()?.to_owned(),
        })
    }
}

fn read_stat(path: &str) -> Result<Option<ProcessStat>, IdentityError> {
    match read_small(path) {
        Ok(bytes) => match ProcessStat::parse(&bytes) {
            Some(stat) => Ok(Some(stat)),
            None => Err(IdentityError::Format { path: path.into() }),
        },
        Err(error) if is_gone(&error) => Ok(None),
        Err(source) => Err(IdentityError::Read {
            path: path.into(),
            source,
        }),
    }
}

/// Whether an error of reading below `/proc/PID` means that the process has gone.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// Reads a file of `/proc` in one read where it fits, without the `fstat` and the read that finds
/// the end which `fs::read` would add.
pub(super) fn read_small(path: &str) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut file = fs::File::open(path)?;
    let mut bytes = vec![0; 2048];
    let mut length = 0;
    loop {
        let count = file.read(&mut bytes[length..])?;
        length += count;
        if count == 0 || length < bytes.len() {
            break;
        }
        bytes.resize(bytes.len() * 2, 0);
    }
    bytes.truncate(length);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(pid: i32, name: &str) -> Vec<u8> {
        format!(
            "{pid} ({name}) S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 4242 100 200 184467 1 2"
        )
        .into_bytes()
    }

    #[test]
    fn fields_are_counted_from_the_last_parenthesis() {
        for name in [
            "sh",
            "a b",
            "x) R 1 2 3 (y",
            ") Z 0 0 0",
            "((",
            "new\nline",
            "",
        ] {
            let stat = ProcessStat::parse(&line(5, name)).expect(name);
            let wanted = ProcessStat {
                pid: 5,
                state: ProcessState::Active,
                letter: 'S',
                kernel: false,
                cpu_ticks: 26,
                parent: 7,
                group: 8,
                session: 9,
                threads: 3,
                start_time: 4242,
            };
            assert_eq!(stat, wanted, "name {name:?}");
        }
    }

    #[test]
    fn names_need_not_be_utf8() {
        let mut bytes = b"5 (".to_vec();
        bytes.extend([0xff, 0xfe, b')', b' ']);
        bytes.extend(b") Z 7 8 9 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 77 1");
        let stat = ProcessStat::parse(&bytes).unwrap();
        assert_eq!((stat.state, stat.start_time), (ProcessState::Ended, 77));
        assert!(!stat.is_alive());
    }

    #[test]
    fn a_dead_first_thread_does_not_make_a_dead_process() {
        let text = String::from_utf8(line(5, "x"))
            .unwrap()
            .replace(" S ", " Z ");
        assert!(ProcessStat::parse(text.as_bytes()).unwrap().is_alive());
    }

    #[test]
    fn anything_else_is_refused() {
        for bytes in [
            &b""[..],
            b"5",
            b"5 (x",
            b"5 x) S",
            b")(",
            b"5 (x) S 1 2",
            b"q (x) S 1 2 3",
        ] {
            assert_eq!(ProcessStat::parse(bytes), None, "{bytes:?}");
        }
        let whole = line(5, "x");
        for cut in 0..whole.len() - " 100 200 184467 1 2".len() - "4242".len() {
            assert_eq!(ProcessStat::parse(&whole[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn own_identity_is_alive_and_any_other_part_makes_another_process() {
        let me = ProcessIdentity::current().unwrap();
        assert_eq!(me.pid, std::process::id() as i32);
        assert_eq!(ProcessIdentity::of(me.pid).unwrap().as_ref(), Some(&me));
        assert!(me.is_alive_same().unwrap());
        let later = ProcessIdentity {
            start_time: me.start_time + 1,
            ..me.clone()
        };
        assert!(!later.is_alive_same().unwrap());
        let rebooted = ProcessIdentity {
            boot_id: "other".into(),
            ..me.clone()
        };
        assert!(!rebooted.is_alive_same().unwrap());
        assert_eq!(ProcessIdentity::of(0).unwrap(), None);
        assert_eq!(ProcessIdentity::of(-1).unwrap(), None);
        assert_eq!(ProcessIdentity::of(i32::MAX).unwrap(), None);
    }
}
