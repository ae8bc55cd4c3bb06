//! What it costs a node to watch a thousand processes of others that do nothing: CPU of the node while
//! it sweeps, beside the limit that it should stay below.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ledger_core::time::Millis;
use opsledger::api::wire::WatchRequest;

use crate::comparison::{Bar, Comparison, params};
use crate::error::{Context, Failure};
use crate::idle::cpu_seconds;
use crate::node::{Ledger, Node, runtime};
use crate::note;

/// How many processes are watched.
const PROCESSES: usize = 1000;
/// How long the node is watched: a few sweeps.
const WATCHED: Duration = Duration::from_secs(20);
/// How long it has to come to rest.
const REST: Duration = Duration::from_secs(2);
/// Most CPU, in percent of one core.
const CPU_LIMIT: f64 = 1.0;

/// Processes that sleep; ended when dropped.
struct Sleepers(Vec<Child>);

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended needs no ending.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Sleepers {
    fn start() -> Result<Self, Failure> {
        let mut sleepers = Self(Vec::new());
        for _ in 0..PROCESSES {
            let child = Command::new("sleep")
                .arg("3600")
                .stdin(Stdio::null())
                .spawn()
                .context("starting a process to watch")?;
            sleepers.0.push(child);
        }
        Ok(sleepers)
    }
}

/// Has processes watched that may run for an hour; every other one may also not stand still for so
/// long, so that sweeps read `/proc` for it.
async fn watch(node: &Node, sleepers: &Sleepers) -> Result<(), Failure> {
    let client = node.client().await?;
    for (n, child) in sleepers.0.iter().enumerate() {
        let hour = Millis(3_600_000);
        let request = WatchRequest {
            pid: i32::try_from(child.id()).context("a pid")?,
            max_runtime_ms: Some(hour),
            stall_after_ms: (n % 2 == 0).then_some(hour),
            grace_ms: None,
        };
        client
            .watch(&request)
            .await
            .context("having a process watched")?;
    }
    Ok(())
}

/// Watches a node that watches.
///
/// # Errors
/// [`Failure`] if it does not run or can't be watched.
pub(crate) fn compare(dir: &Path, ledger: &Ledger) -> Result<Vec<Comparison>, Failure> {
    let home = tempfile::tempdir_in(dir).context("making a directory for a node")?;
    let node = Node::start(ledger, home.path(), 4, "")?;
    note::progress("watched: starting processes and having them watched");
    let sleepers = Sleepers::start()?;
    runtime()?.block_on(watch(&node, &sleepers))?;
    note::progress("watched: watching the node that watches them");
    std::thread::sleep(REST);
    let pid = [node.pid()];
    let (before, start) = (cpu_seconds(&pid)?, Instant::now());
    std::thread::sleep(WATCHED);
    let (after, seconds) = (cpu_seconds(&pid)?, start.elapsed().as_secs_f64());
    note::done();
    drop(sleepers);
    node.stop()?;
    let cpu = (after - before) / seconds * 100.0;
    Ok(vec![Comparison::of_rounds(
        ("watched", "% of a core"),
        params([
            ("processes", PROCESSES.into()),
            ("seconds", WATCHED.as_secs().into()),
        ]),
        &[cpu],
        ("limit", &[CPU_LIMIT]),
        Some(Bar::AtMost(1.0)),
    )])
}
