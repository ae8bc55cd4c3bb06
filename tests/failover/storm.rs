//! Takeovers in a row, while clients submit: nothing that was acknowledged is lost or runs twice.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use opsledger::client::Client;
use tokio::task::JoinSet;

use crate::support::{Ledger, Log, Member, exec, id, named};

/// Leaders that are killed; more by `LEDGER_TAKEOVERS`.
const TAKEOVERS: usize = 10;
/// Rounds of blows of every kind; more by `LEDGER_BLOWS`.
const BLOWS: usize = 2;
/// Clients that submit meanwhile.
const CLIENTS: usize = 4;

fn wanted(variable: &str, default: usize) -> usize {
    let wanted = std::env::var(variable).ok();
    wanted.map_or(default, |n| n.parse().expect("a number"))
}

/// Submits one task after the other until told to stop. One whose answer was lost is submitted again
/// under its key, as a careful client does.
async fn submit(dir: PathBuf, who: usize, stop: Arc<AtomicBool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    let mut client = None;
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let task = format!("t{who}-{n}");
        let mut request = named(&task, exec(&["true"]));
        request.idempotency_key = Some(id(&task));
        loop {
            let reached = match client.take() {
                Some(client) => Some(client),
                None => Client::discover(&dir).await.ok().flatten(),
            };
            let Some(reached) = reached else { continue };
            if let Ok(receipt) = reached.submit(&request).await {
                assert_eq!(receipt.task_id.as_str(), task);
                // One at a time, so that the queue stays short.
                if reached.wait(&receipt.task_id).await.is_ok() {
                    client = Some(reached);
                }
                break;
            }
        }
        acknowledged.push(task);
    }
    acknowledged
}

/// Clients at work.
struct Clients {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<String>>,
}

impl Clients {
    fn begin(ledger: &Ledger) -> Self {
        let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for who in 0..CLIENTS {
            tasks.spawn(submit(ledger.dir.clone(), who, Arc::clone(&stop)));
        }
        Self { stop, tasks }
    }

    /// Stops them, and the last leader once all that was acknowledged has ended: each task once, and well.
    async fn conclude(mut self, ledger: &Ledger, leader: Member) -> Log {
        self.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        while let Some(submitted) = self.tasks.join_next().await {
            acknowledged.extend(submitted.unwrap());
        }
        let client = leader.client().await;
        for task in &acknowledged {
            client.wait(&id(task)).await.unwrap();
        }
        leader.stop_well();
        let log = ledger.assert_sound();
        let submitted: Vec<_> = log.of_kind("task.submitted");
        let distinct: BTreeSet<_> = submitted.iter().map(|e| e.of.as_str()).collect();
        assert_eq!(distinct.len(), submitted.len(), "a task was doubled");
        for task in &acknowledged {
            let end = log.end_of(task);
            assert_eq!(end.kind, "task.completed", "{task}");
            let run = log.of_task(task);
            let ended = run.iter().filter(|e| e.kind == "task.completed").count();
            assert_eq!(ended, 1, "{task} ended twice");
        }
        log
    }
}

/// Waits until a leader is in the middle of whatever it does.
async fn at_work(leader: &Member) {
    let head = leader.client().await.head().await.unwrap().seq;
    leader.stands(|s| s.seq.0 > head.0 + 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_takeovers_in_a_row() {
    let ledger = Ledger::new();
    let takeovers = wanted("LEDGER_TAKEOVERS", TAKEOVERS);
    let mut leader = Member::leader(&ledger, "n0").await;
    let clients = Clients::begin(&ledger);
    for round in 1..=takeovers {
        let mut standby = Member::standby(&ledger, &format!("n{round}")).await;
        at_work(&leader).await;
        leader.crash();
        assert_eq!(standby.leads().await, round as u64 + 1);
        leader = standby;
    }
    let log = clients.conclude(&ledger, leader).await;
    assert_eq!(log.count("lease.acquired"), takeovers + 1);
    assert_eq!(log.count("lease.lost"), takeovers);
}

/// What befalls a leader.
#[derive(Debug, Clone, Copy)]
enum Blow {
    /// SIGKILL.
    Killed,
    /// SIGSTOP, for good.
    Stopped,
    /// It gets the CPU for a moment every few seconds: too seldom to renew in time.
    Starved,
}

/// Lets a process run so seldom until told to leave off.
struct Starving {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Starving {
    /// Longer than the renew deadline, shorter than the TTL.
    const WITHOUT: Duration = Duration::from_millis(2400);
    const WITH: Duration = Duration::from_millis(15);

    fn begin(member: &Member) -> Self {
        let (enough, pid) = (Arc::new(AtomicBool::new(false)), member.pid());
        let told = Arc::clone(&enough);
        // It is not waited for before this has ended, so its number stays its own.
        let thread = std::thread::spawn(move || {
            // Gone is as good as starved.
            let signal = |signal| {
                let _ = kill(Pid::from_raw(pid), signal);
            };
            while !told.load(Ordering::Relaxed) {
                signal(Signal::SIGSTOP);
                // tidy: allow(sleep) — nothing is waited for: this is what starves it
                std::thread::sleep(Self::WITHOUT);
                signal(Signal::SIGCONT);
                // tidy: allow(sleep) — nothing is waited for: this is all that it gets
                std::thread::sleep(Self::WITH);
            }
        });
        Self { enough, thread }
    }

    fn end(self) {
        self.enough.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_are_killed_stopped_and_starved_while_clients_submit() {
    let ledger = Ledger::configured(
        "[lease]\nheartbeat = \"200ms\"\nrenew_deadline = \"2s\"\nttl = \"3s\"\n",
    );
    let blows = [Blow::Stopped, Blow::Killed, Blow::Starved];
    let rounds = blows.len() * wanted("LEDGER_BLOWS", BLOWS);
    let mut leader = Member::leader(&ledger, "n0").await;
    let clients = Clients::begin(&ledger);
    for (round, blow) in (1..=rounds).zip(blows.iter().cycle()) {
        let mut standby = Member::standby(&ledger, &format!("n{round}")).await;
        at_work(&leader).await;
        match blow {
            Blow::Killed => leader.crash(),
            Blow::Stopped => {
                leader.signal(Signal::SIGSTOP);
                assert!(standby.leads().await > round as u64, "{round}: {blow:?}");
                assert_eq!(leader.wait().signal(), Some(libc::SIGKILL));
            }
            Blow::Starved => {
                let starving = Starving::begin(&leader);
                assert!(standby.leads().await > round as u64, "{round}: {blow:?}");
                starving.end();
                // Ended, or one that stands by now: either way it leads no more.
                leader.crash();
            }
        }
        if matches!(blow, Blow::Killed) {
            assert!(standby.leads().await > round as u64, "{round}: {blow:?}");
        }
        leader = standby;
    }
    let log = clients.conclude(&ledger, leader).await;
    assert!(log.count("lease.acquired") > rounds);
    assert!(log.count("lease.fenced") >= wanted("LEDGER_BLOWS", BLOWS));
}
