//! What a node costs that has nothing to do: CPU and memory of the node and its spawner, beside
//! the limits that they should stay below.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::{SysconfVar, sysconf};

use crate::comparison::{Bar, Comparison, params};
use crate::error::{Context, Failure};
use crate::node::{Ledger, Node};
use crate::note;

/// How long a node is watched.
const WATCHED: Duration = Duration::from_secs(5);
/// How long it has to come to rest.
const REST: Duration = Duration::from_secs(1);
/// Most CPU, in percent of one core.
const CPU_LIMIT: f64 = 1.0;
/// Most resident memory, in MiB.
const MEMORY_LIMIT: f64 = 40.0;

/// Watches a node that has nothing to do.
///
/// # Errors
/// [`Failure`] if it does not run or can't be watched.
pub(crate) fn compare(dir: &Path, ledger: &Ledger) -> Result<Vec<Comparison>, Failure> {
    let home = tempfile::tempdir_in(dir).context("making a directory for a node")?;
    let node = Node::start(ledger, home.path(), 4, "")?;
    note::progress("idle: watching a node that has nothing to do");
    std::thread::sleep(REST);
    let pids = with_children(node.pid());
    let (before, start) = (cpu_seconds(&pids)?, Instant::now());
    std::thread::sleep(WATCHED);
    let (after, seconds) = (cpu_seconds(&pids)?, start.elapsed().as_secs_f64());
    let memory = resident_mib(&pids)?;
    note::done();
    node.stop()?;
    let against_limit = |what: &str, unit, value: f64, limit: f64| {
        Comparison::of_rounds(
            ("idle", unit),
            params([
                ("what", what.into()),
                ("processes", pids.len().into()),
                ("seconds", WATCHED.as_secs().into()),
            ]),
            &[value],
            ("limit", &[limit]),
            Some(Bar::AtMost(1.0)),
        )
    };
    let cpu = (after - before) / seconds * 100.0;
    Ok(vec![
        against_limit("cpu", "% of a core", cpu, CPU_LIMIT),
        against_limit("memory", "MiB", memory, MEMORY_LIMIT),
    ])
}

/// A process and all its descendants, as of now.
fn with_children(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut next = 0;
    while let Some(&parent) = pids.get(next) {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{parent}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            pids.extend(
                children
                    .split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    pids
}

/// CPU time that the processes have used so far, user and system, in seconds.
///
/// # Errors
/// [`Failure`] if one of them has gone.
pub(crate) fn cpu_seconds(pids: &[u32]) -> Result<f64, Failure> {
    let ticks_per_second = sysconf(SysconfVar::CLK_TCK)
        .context("asking for the clock's ticks")?
        .ok_or_else(|| Failure::new("the system does not say how its clock ticks"))?;
    let mut ticks = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat = fs::read_to_string(&path).context(format!("reading {path}"))?;
        ticks +=
            ticks_in(&stat).ok_or_else(|| Failure::new(format!("{path} is not understood")))?;
    }
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 ticks")]
    let seconds = ticks as f64 / ticks_per_second as f64;
    Ok(seconds)
}

/// utime and stime, fields 14 and 15; the name in field 2 may hold blanks and parentheses.
fn ticks_in(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident memory of the processes together; what they share counts for each.
fn resident_mib(pids: &[u32]) -> Result<f64, Failure> {
    let mut kib = 0.0;
    for pid in pids {
        let path = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&path).context(format!("reading {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        kib += line
            .and_then(|line| line.split_ascii_whitespace().next()?.parse::<f64>().ok())
            .ok_or_else(|| Failure::new(format!("{path} is not understood")))?;
    }
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 41 2 0 0";
        assert_eq!(ticks_in(stat), Some(43));
        assert_eq!(ticks_in("7 (a"), None);
    }

    #[test]
    fn this_process_is_there() {
        let pids = with_children(std::process::id());
        assert_eq!(pids.first(), Some(&std::process::id()));
        assert!(resident_mib(&pids[..1]).unwrap() > 0.0);
    }
}
