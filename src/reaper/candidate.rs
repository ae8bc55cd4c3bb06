//! What must be known of a process before it is watched: read once from `/proc`, then judged by
//! `decide` as data.

use std::io::{self, Read};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};

use super::sample::{Sample, is_gone, of_ticks, since_boot};
use crate::redact;
use crate::shim::ProcessIdentity;

/// Longest command line that is kept, in characters.
const MAX_COMMAND: usize = 256;
/// As much of a command line as is read, in bytes.
const READ_COMMAND: u64 = 4096;
/// Descriptors that are left for connections, shims and files.
const KEPT_DESCRIPTORS: u64 = 512;
/// How often a process without arguments is looked at, a millisecond apart.
const EMPTY_LOOKS: usize = 10;
/// More ancestors than any process has: a chain that changes while it is read ends somewhere.
const MAX_ANCESTORS: usize = 1000;

/// How a process is related to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kin {
    /// Not at all.
    Stranger,
    /// It is the node.
    Node,
    /// The node runs below it.
    Ancestor,
    /// It runs below the node: its spawner, a shim, or what they have started.
    Descendant,
}

/// A process that may come to be watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Who it is.
    pub identity: ProcessIdentity,
    /// Its process group.
    pub pgid: i32,
    /// The user that started it.
    pub uid: u32,
    /// The user whose rights it has.
    pub effective_uid: u32,
    /// The user that the node runs as.
    pub node_uid: u32,
    /// How many processes the node may watch at most: each takes a descriptor.
    pub room: usize,
    /// Its command line, redacted and cut; its name in brackets if it has none.
    pub command: String,
    /// Whether it is a thread of the kernel.
    pub is_kernel_thread: bool,
    /// Whether it has ended and only its parent has not looked yet.
    pub has_ended: bool,
    /// How it is related to the node.
    pub kin: Kin,
    /// Pid and start time of those above it, its parent first.
    pub ancestors: Vec<(i32, u64)>,
    /// How long it has run.
    pub runtime: Duration,
}

impl Candidate {
    /// Reads what there is to know; `None` if there is no such process.
    ///
    /// # Errors
    /// If `/proc` can't be read.
    pub fn of(pid: i32) -> io::Result<Option<Self>> {
        let Some(sample) = Sample::of(pid)? else {
            return Ok(None);
        };
        let (Some((uid, effective_uid)), Some(command)) = (uids(pid)?, command(pid)?) else {
            return Ok(None);
        };
        let identity = sample.stat.identity().map_err(io::Error::other)?;
        let ancestors = ancestors(sample.stat.parent)?;
        // What was read of another process that has the number now is not kept.
        match Sample::of(pid)? {
            Some(again) if again.stat.start_time == identity.start_time => {}
            Some(_) | None => return Ok(None),
        }
        let me = own_pid();
        let is_above = |pid| ancestors.iter().any(|(above, _)| *above == pid);
        let kin = if pid == me {
            Kin::Node
        } else if is_above(me) {
            Kin::Descendant
        } else if own_chain()?.contains(&pid) {
            Kin::Ancestor
        } else {
            Kin::Stranger
        };
        Ok(Some(Self {
            pgid: sample.stat.group,
            uid,
            effective_uid,
            node_uid: nix::unistd::geteuid().as_raw(),
            room: room(),
            command,
            is_kernel_thread: sample.stat.kernel,
            has_ended: !sample.stat.is_alive(),
            kin,
            ancestors,
            runtime: since_boot().saturating_sub(of_ticks(identity.start_time)),
            identity,
        }))
    }
}

/// Descriptors that the node has for watching, beside all others.
fn room() -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    usize::try_from(limit.saturating_sub(KEPT_DESCRIPTORS)).unwrap_or(usize::MAX)
}

fn own_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(i32::MAX)
}

/// This process and all above it.
///
/// # Errors
/// If `/proc` can't be read.
pub(super) fn own_chain() -> io::Result<Vec<i32>> {
    let above = ancestors(own_pid())?;
    Ok(above.into_iter().map(|(pid, _)| pid).collect())
}

/// `pid` and all above it, as long as they are there.
fn ancestors(pid: i32) -> io::Result<Vec<(i32, u64)>> {
    let (mut chain, mut next) = (Vec::new(), pid);
    while chain.len() < MAX_ANCESTORS
        && let Some(sample) = Sample::of(next)?
    {
        chain.push((next, sample.stat.start_time));
        next = sample.stat.parent;
    }
    Ok(chain)
}

/// The real and the effective user; `None` if the process has gone.
fn uids(pid: i32) -> io::Result<Option<(u32, u32)>> {
    let status = match std::fs::read(format!("/proc/{pid}/status")) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if is_gone(&e) => return Ok(None),
        Err(e) => return Err(e),
    };
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let mut ids = line.unwrap_or_default().split_ascii_whitespace();
    let mut next = || ids.next()?.parse().ok();
    match (next(), next()) {
        (Some(real), Some(effective)) => Ok(Some((real, effective))),
        _ => Err(io::Error::other(format!(
            "/proc/{pid}/status is not understood"
        ))),
    }
}

/// The command line as people would type it; `None` if the process has gone.
fn command(pid: i32) -> io::Result<Option<String>> {
    // A program that was started just now has a name before it has arguments.
    for _ in 0..EMPTY_LOOKS {
        // A thread of the kernel runs no file, and never has any.
        let runs_a_file = std::fs::read_link(format!("/proc/{pid}/exe")).is_ok();
        if !runs_a_file || !command_line(pid).is_ok_and(|line| line.is_empty()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let read = command_line(pid).and_then(|line| match line.is_empty() {
        true => Ok((read_of(pid, "comm")?, true)),
        false => Ok((line, false)),
    });
    match read {
        Ok((bytes, is_name)) => {
            let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
            let text = text.trim_end();
            let text = if is_name {
                format!("[{text}]")
            } else {
                text.to_owned()
            };
            Ok(Some(
                redact::text(&text).chars().take(MAX_COMMAND).collect(),
            ))
        }
        Err(e) if is_gone(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

fn command_line(pid: i32) -> io::Result<Vec<u8>> {
    read_of(pid, "cmdline")
}

fn read_of(pid: i32, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/{name}"))?;
    file.take(READ_COMMAND).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_knows_itself_and_what_it_runs_below() {
        let me = Candidate::of(own_pid()).unwrap().unwrap();
        assert_eq!(me.kin, Kin::Node);
        assert!(!me.command.is_empty() && !me.has_ended && !me.is_kernel_thread);
        let (parent, _) = me.ancestors[0];
        if let Some(above) = Candidate::of(parent).unwrap() {
            assert_eq!(above.kin, Kin::Ancestor);
        }
        assert_eq!(Candidate::of(i32::MAX).unwrap(), None);
    }

    #[test]
    fn a_child_is_a_descendant_and_its_command_is_redacted() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read x", "sh", "password=hunter22"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let seen = Candidate::of(pid).unwrap().unwrap();
        // Its input ends with this, and so does it.
        child.wait().unwrap();
        assert_eq!(seen.kin, Kin::Descendant);
        assert_eq!(seen.command, "sh -c read x sh [redacted:password]");
    }
}
