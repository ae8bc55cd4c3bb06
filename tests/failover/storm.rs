//! Takeovers in a row, while clients submit: nothing that was acknowledged is lost or runs twice.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opsledger::client::Client;
use tokio::task::JoinSet;

use crate::support::Member;
use crate::support::{Ledger, exec, id, named};

/// Leaders that are killed; more by `LEDGER_TAKEOVERS`.
const TAKEOVERS: usize = 10;
/// Clients that submit meanwhile.
const CLIENTS: usize = 4;

fn takeovers() -> usize {
    let wanted = std::env::var("LEDGER_TAKEOVERS").ok();
    wanted.map_or(TAKEOVERS, |n| n.parse().expect("a number"))
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_takeovers_in_a_row() {
    let ledger = Ledger::new();
    let takeovers = takeovers();
    let mut leader = Member::leader(&ledger, "n0").await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for who in 0..CLIENTS {
        clients.spawn(submit(ledger.dir.clone(), who, Arc::clone(&stop)));
    }
    for round in 1..=takeovers {
        let mut standby = Member::standby(&ledger, &format!("n{round}")).await;
        // It is killed in the middle of whatever it does then.
        let head = leader.client().await.head().await.unwrap().seq;
        leader.stands(|s| s.seq.0 > head.0 + 10).await;
        leader.crash();
        assert_eq!(standby.leads().await, round as u64 + 1);
        leader = standby;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    while let Some(submitted) = clients.join_next().await {
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
    assert_eq!(log.count("lease.acquired"), takeovers + 1);
    assert_eq!(log.count("lease.lost"), takeovers);
}
