//! Processes that somebody else started (here: these tests), watched by a node and ended by it, or
//! not: what is recorded, what signals arrive, and what happens when the node goes meanwhile.

use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use ledger_core::time::Millis;
use opsledger::api::wire::{ErrorCode, ReapRequest, WatchReceipt, WatchRequest};
use opsledger::reaper::decide::Act;
use opsledger::reaper::verdict::Verdict;

use crate::support::{
    Ledger, Logged, Node, id, identity, is_ci, is_gone, named, script, text, wait_gone,
};

/// A process of ours that leads its own group. Dropping it kills all of the group.
pub(crate) struct Stranger {
    child: Child,
    says: BufReader<ChildStdout>,
}

impl Stranger {
    /// A shell that runs until its input ends, unless the script says otherwise.
    pub(crate) fn run(text: &str) -> Self {
        let mut child = Command::new("sh")
            .args(["-c", text])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        Self { child, says }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Waits for its end, with its input kept open.
    fn end(&mut self) -> ExitStatus {
        let stdin = self.child.stdin.take();
        let status = self.child.wait().unwrap();
        drop(stdin);
        status
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.pid());
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

pub(crate) fn request(pid: i32, max_runtime: u64) -> WatchRequest {
    WatchRequest {
        pid,
        max_runtime_ms: Some(Millis(max_runtime)),
        stall_after_ms: None,
        grace_ms: Some(Millis(60_000)),
    }
}

/// Long enough for a process to be watched before it is over.
pub(crate) const SOON: u64 = 3_000;
pub(crate) const NEVER: u64 = 3_600_000;

pub(crate) async fn watch(node: &Node, request: &WatchRequest) -> WatchReceipt {
    node.client.watch(request).await.unwrap()
}

/// The next event of this kind about a process.
pub(crate) async fn told(node: &Node, kind: &str, process: &str) -> Logged {
    node.event(|e| e.kind == kind && *e.of == *process).await
}

pub(crate) fn signals(event: &Logged) -> Vec<&str> {
    let steps = event.data["steps"].as_array().unwrap();
    steps
        .iter()
        .map(|step| step["signal"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn one_that_runs_too_long_is_ended_by_sigterm() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let mut stranger = Stranger::run("read x");
    let receipt = watch(&node, &request(stranger.pid(), SOON)).await;
    assert_eq!(receipt.command, "sh -c read x");
    let terminated = told(&node, "process.terminated", &receipt.id).await;
    assert_eq!(stranger.end().signal(), Some(15));
    assert_eq!(signals(&terminated), ["SIGTERM"]);
    assert_eq!(terminated.data["cause"], "max_runtime");
    let log = node.log().await;
    let order = log.only("process.reaping");
    assert!(order.data["runtime_us"].as_u64().unwrap() >= SOON * 1000);
    let after = terminated.data["steps"][0]["after_us"].as_u64().unwrap();
    assert!(after >= order.data["runtime_us"].as_u64().unwrap());
    let list = node.client.processes(None).await.unwrap();
    assert!(list.processes.is_empty());
    let counters = list.reaper.kept.counters;
    assert_eq!((counters.watched, counters.all_reaped()), (1, 1));
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn one_that_ignores_sigterm_is_killed_with_all_that_belongs_to_it() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    // One in its group, one in a session of its own.
    let mut stranger = Stranger::run(
        "trap '' TERM; sleep 600 & echo $!; setsid sh -c 'echo $$; while :; do sleep 600; done' & \
         while :; do sleep 600; done",
    );
    let below: Vec<_> = (0..2)
        .map(|_| identity(stranger.line().parse().unwrap()))
        .collect();
    let mut asked = request(stranger.pid(), SOON);
    asked.grace_ms = Some(Millis(200));
    let receipt = watch(&node, &asked).await;
    let terminated = told(&node, "process.terminated", &receipt.id).await;
    assert_eq!(stranger.end().signal(), Some(9));
    assert_eq!(signals(&terminated), ["SIGTERM", "SIGKILL"]);
    assert!(below.iter().all(is_gone));
    let steps = &terminated.data["steps"];
    let at = |n: usize| steps[n]["after_us"].as_u64().unwrap();
    assert!(at(1) - at(0) >= 200_000, "{steps}");
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn one_that_ends_by_itself_is_seen_at_once() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let mut stranger = Stranger::run("read x");
    let receipt = watch(&node, &request(stranger.pid(), NEVER)).await;
    // The reaper answers in turn: it holds the process by now.
    let sweep = ReapRequest { dry_run: true };
    node.client.reap(&sweep).await.unwrap();
    drop(stranger.child.stdin.take());
    stranger.child.wait().unwrap();
    let ended = told(&node, "process.ended", &receipt.id).await;
    assert_eq!(ended.data["seen"], "at_once");
    assert!(ended.data["runtime_us"].is_u64());
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("process.reaping"), 0);
}

#[tokio::test]
async fn one_that_stands_still_is_ended_and_one_that_works_is_not() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let still = Stranger::run("read x");
    let works = Stranger::run("while :; do :; done");
    let stalls = |pid| WatchRequest {
        max_runtime_ms: None,
        stall_after_ms: Some(Millis(1_000)),
        ..request(pid, NEVER)
    };
    let busy = watch(&node, &stalls(works.pid())).await;
    let idle = watch(&node, &stalls(still.pid())).await;
    let terminated = told(&node, "process.terminated", &idle.id).await;
    assert_eq!(terminated.data["cause"], "stalled");
    let log = node.log().await;
    assert!(
        log.only("process.reaping").data["idle_us"]
            .as_u64()
            .unwrap()
            >= 1_000_000
    );
    assert!(works.pid() > 0 && !is_gone(&identity(works.pid())));
    node.client.unwatch(&busy.id).await.unwrap();
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn what_is_watched_outlives_the_node_that_is_killed() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let mut stays = Stranger::run("read x");
    let mut goes = Stranger::run("read x");
    let reaped = watch(&node, &request(stays.pid(), 2 * SOON)).await;
    let ended = watch(&node, &request(goes.pid(), NEVER)).await;
    node.crash();
    drop(goes.child.stdin.take());
    goes.child.wait().unwrap();
    let node = ledger.up().await;
    let found = told(&node, "process.ended", &ended.id).await;
    assert_eq!(found.data["seen"], "found_gone");
    assert!(found.data["runtime_us"].is_null());
    let terminated = told(&node, "process.terminated", &reaped.id).await;
    assert_eq!((terminated.term, stays.end().signal()), (2, Some(15)));
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("process.watched"), 2);
}

#[tokio::test]
async fn a_ladder_goes_on_with_the_next_node() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    // The second SIGTERM ends it; the first is told.
    let mut stranger = Stranger::run(
        "n=0; trap 'n=$((n+1)); echo $n; [ $n = 1 ] || exit 0' TERM; echo ready; \
         while :; do read x; done",
    );
    assert_eq!(stranger.line(), "ready");
    let receipt = watch(&node, &request(stranger.pid(), SOON)).await;
    assert_eq!(stranger.line(), "1");
    let refused = node.client.unwatch(&receipt.id).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Conflict, "{refused}");
    node.crash();
    assert!(!is_gone(&identity(stranger.pid())));
    let node = ledger.up().await;
    assert_eq!(stranger.line(), "2");
    stranger.end();
    let terminated = told(&node, "process.terminated", &receipt.id).await;
    assert_eq!(
        (terminated.term, signals(&terminated)),
        (2, vec!["SIGTERM"])
    );
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("process.reaping"), 1);
    assert_eq!(log.only("process.reaping").term, 1);
}

/// Starts a process under a number that has just become free, if this machine lets us.
fn under(pid: i32) -> Option<Stranger> {
    for _ in 0..200 {
        let last = (pid - 1).to_string();
        if std::fs::write("/proc/sys/kernel/ns_last_pid", last).is_err() {
            return None;
        }
        let stranger = Stranger::run("read x");
        if stranger.pid() == pid {
            return Some(stranger);
        }
    }
    None
}

#[tokio::test]
async fn who_has_the_number_of_one_that_was_watched_is_never_signaled() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let first = Stranger::run("read x");
    let pid = first.pid();
    let receipt = watch(&node, &request(pid, SOON)).await;
    let was = identity(pid);
    node.crash();
    drop(first);
    wait_gone(&was);
    let Some(innocent) = under(pid) else {
        assert!(!is_ci(), "CI must be able to choose pids (ns_last_pid)");
        eprintln!("not run: this machine does not let pids be chosen");
        return;
    };
    let node = ledger.up().await;
    let unwatched = told(&node, "process.unwatched", &receipt.id).await;
    assert_eq!(unwatched.data["reason"], "recycled");
    let list = node.client.processes(None).await.unwrap();
    assert_eq!(list.reaper.kept.counters.recycled, 1);
    assert!(!is_gone(&identity(innocent.pid())));
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.count("process.reaping"), 0);
}

/// A child that has ended and was not waited for.
fn zombie() -> Child {
    let child = Command::new("true").spawn().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    let flags = nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT;
    nix::sys::wait::waitid(nix::sys::wait::Id::Pid(pid), flags).unwrap();
    child
}

#[tokio::test]
async fn the_innocent_are_refused_with_their_exit_codes() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let stranger = Stranger::run("read x");
    let receipt = watch(&node, &request(stranger.pid(), NEVER)).await;
    node.submit(named("t", script("read x < /dev/zero; sleep 600")))
        .await;
    let attempt = node.registered("t", 1).await;
    let of_attempt = attempt.data["pid"].to_string();
    let shim = attempt.data["shim_pid"].to_string();
    let own = |pid: i32| pid.to_string();
    let me = i32::try_from(std::process::id()).unwrap();
    let (watched, mine) = (own(stranger.pid()), own(me));
    let (of_node, spawner) = (own(node.pid()), own(node.spawner()));
    let kernel_threads = ["2".to_owned()];
    let mut cases = vec![
        (&of_attempt, 6, "belongs to attempt 1 of task t"),
        (&shim, 6, "belongs to attempt 1 of task t"),
        (&watched, 8, "is watched already"),
        (&mine, 6, "this node runs below it"),
        (&of_node, 6, "it is this node"),
        (&spawner, 6, "this node has started it"),
    ];
    let [init, nobody] = ["1".to_owned(), i32::MAX.to_string()];
    cases.push((&init, 6, "everything else runs below it"));
    cases.push((&nobody, 7, "there is no process"));
    let mut ended = zombie();
    let zombie = ended.id().to_string();
    cases.push((&zombie, 7, "has ended, and its parent has not asked how"));
    let name = std::fs::read_to_string("/proc/2/comm").unwrap_or_default();
    if name.trim() == "kthreadd" {
        cases.push((&kernel_threads[0], 6, "a thread of the kernel"));
    }
    for (pid, code, why) in cases {
        let ran = ledger.cli(&["reap", "watch", pid, "--max-runtime", "30d"]);
        let said = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(code), "{pid}: {said}");
        assert!(said.contains(why), "{pid}: {said}");
    }
    ended.wait().unwrap();
    let usage = [
        &["0", "--max-runtime", "1m"][..],
        &["abc", "--max-runtime", "1m"],
        &["-5", "--max-runtime", "1m"],
        &[&watched],
        &[&watched, "--max-runtime", "soon"],
    ];
    for arguments in usage {
        let ran = ledger.cli(&[&["reap", "watch"], arguments].concat());
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}");
    }
    for (target, code) in [(&*of_attempt, 6), ("999999", 7), ("no such", 2)] {
        let ran = ledger.cli(&["reap", "unwatch", target]);
        assert_eq!(
            ran.status.code(),
            Some(code),
            "{target}: {}",
            text(&ran.stderr)
        );
    }
    let late = Stranger::run("read x");
    let error = node.client.watch(&request(late.pid(), 1)).await;
    let error = error.unwrap_err();
    assert_eq!(error.code, ErrorCode::Refused, "{error}");
    assert!(
        error.message.contains("already, longer than 1ms"),
        "{error}"
    );
    let subject = format!("process/{}", receipt.id);
    let ran = ledger.cli(&["reap", "unwatch", &subject]);
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    assert!(!is_gone(&identity(stranger.pid())));
    node.client
        .cancel(&id("t"), &Default::default())
        .await
        .unwrap();
    node.end_of("t").await;
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn what_is_watched_is_shown_with_and_without_a_node() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let empty = ledger.cli(&["reap", "--dry-run"]);
    assert_eq!(text(&empty.stderr), "nothing is watched\n");
    let stranger = Stranger::run("read x; echo \"$0\"");
    watch(&node, &request(stranger.pid(), NEVER)).await;
    node.submit(named("t", script("sleep 600"))).await;
    let registered = node.registered("t", 1).await;
    let ps = ledger.cli(&["ps"]);
    let dry_run = ledger.cli(&["reap", "--dry-run"]);
    let sweep = ledger.cli(&["reap"]);
    let status = ledger.cli(&["status"]);
    let list = node.client.processes(None).await.unwrap();
    let [foreign, attempt] = &list.processes[..] else {
        panic!("{list:?}");
    };
    assert_eq!(
        (foreign.verdict, attempt.verdict),
        (Verdict::Running, Verdict::Running)
    );
    assert!(foreign.rss_kib > Some(0) && attempt.state.is_some());
    assert!(list.reaper.swept.unwrap().sweeps >= 1);
    let would = node.client.reap(&ReapRequest { dry_run: true }).await;
    let acts: Vec<_> = would.unwrap().processes.iter().map(|p| p.act).collect();
    assert_eq!(acts, [Act::Nothing, Act::Attended]);
    let then = ledger.cli(&["ps", "--at", &registered.seq.to_string()]);
    node.stop_well();
    let offline = ledger.cli(&["ps"]);
    let refused = ledger.cli(&["reap", "--dry-run"]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    let line = text(&status.stdout);
    let line = line.lines().find(|line| line.starts_with("reaper"));
    let shown = [
        text(&ps.stdout),
        text(&dry_run.stdout),
        text(&sweep.stdout),
        line.unwrap_or_default().to_owned(),
        text(&offline.stdout),
        text(&then.stdout),
    ];
    let times = r"\d+(\.\d+)? (µs|ms|s)\b|\d+m \d+s";
    insta::with_settings!({filters => vec![
        (times, "[TIME]"),
        (r"\d+(\.\d+)? [KM]iB", "[SIZE]"),
        (r"(?m)^ *\d+  +", "[PID]  "),
        (r"\d+ sweeps? (.*) \d+ checks?", "[SWEEPS]"),
        (r"of (1h|10m)  +", "of $1  "),
        (r"BECAUSE  +", "BECAUSE  "),
        (r"(?m)^ *PID  +", "PID  "),
        (r" +\[TIME\]", " [TIME]"),
        (r" +\[SIZE\]", " [SIZE]"),
        (r"  [A-Z]  running", "  [S]  running"),
        (r" +(AGE|LIMIT|CPU|MEMORY|1h|10m)\b", " $1"),
    ]}, {
        insta::assert_snapshot!("watched", shown.join("\n"));
    });
    let node = ledger.up().await;
    node.client
        .cancel(&id("t"), &Default::default())
        .await
        .unwrap();
    node.end_of("t").await;
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn what_is_being_ended_is_overdue_or_stuck_until_it_is_gone() {
    let ledger = Ledger::new();
    let node = ledger.up().await;
    let deaf = || Stranger::run("trap 'echo term' TERM; echo ready; while :; do read x; done");
    let (mut long, mut idle) = (deaf(), deaf());
    assert_eq!((long.line(), idle.line()), ("ready".into(), "ready".into()));
    let overdue = watch(&node, &request(long.pid(), SOON)).await;
    let stalls = WatchRequest {
        stall_after_ms: Some(Millis(1_000)),
        ..request(idle.pid(), NEVER)
    };
    let stuck = watch(&node, &stalls).await;
    for receipt in [&overdue, &stuck] {
        told(&node, "process.reaping", &receipt.id).await;
    }
    // Its own words come after the reaper has begun.
    assert_eq!((long.line(), idle.line()), ("term".into(), "term".into()));
    let found = node.client.reap(&ReapRequest { dry_run: true }).await;
    let found = found.unwrap().processes;
    for (receipt, verdict) in [(&overdue, Verdict::Overdue), (&stuck, Verdict::Stuck)] {
        let one = found.iter().find(|one| one.pid == receipt.pid).unwrap();
        assert_eq!((one.verdict, one.act), (verdict, Act::GoOn), "{one:?}");
    }
    drop((long, idle));
    for receipt in [&overdue, &stuck] {
        let terminated = told(&node, "process.terminated", &receipt.id).await;
        assert_eq!(signals(&terminated), ["SIGTERM"], "somebody else killed it");
    }
    node.stop_well();
    ledger.assert_sound();
}

#[tokio::test]
async fn one_that_has_ended_before_its_tree_is_defunct() {
    let ledger = Ledger::new();
    let (mut left, gate) = (ledger.fifo("left"), ledger.fifo("gate"));
    let node = ledger.up().await;
    let text = format!(
        "sh -c 'trap \"\" TERM; echo $$ > {}; exec sleep 600' & read x < {}",
        left.show(),
        gate.show()
    );
    node.submit(named("t", script(&text))).await;
    let leftover = identity(left.pid());
    let attempt = node.registered("t", 1).await;
    let leader = identity(i32::try_from(attempt.data["pid"].as_i64().unwrap()).unwrap());
    gate.tell("end");
    // Its shim keeps it, and with it the number of its group, until the rest has gone.
    wait_gone(&leader);
    let list = node.client.processes(None).await.unwrap();
    assert_eq!(list.processes[0].verdict, Verdict::Defunct);
    assert!(text_of(&ledger.cli(&["ps"])).contains("defunct"));
    crate::support::end(&leftover);
    assert_eq!(node.end_of("t").await.state.as_str(), "completed");
    assert!(
        node.client
            .processes(None)
            .await
            .unwrap()
            .processes
            .is_empty()
    );
    node.stop_well();
    let log = ledger.assert_sound();
    assert_eq!(log.only("process.reaped").data["cause"], "leftovers");
}

fn text_of(ran: &std::process::Output) -> String {
    assert!(ran.status.success(), "{ran:?}");
    text(&ran.stdout)
}
