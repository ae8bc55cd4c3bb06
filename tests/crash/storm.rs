//! A node that is killed again and again while clients hand it work and try again on every error:
//! every acknowledged task is there under its receipt and ends, and nothing runs twice.
//!
//! Where the node is killed follows from a seed (`STORM_SEED` sets another): after so many more
//! events in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use opsledger::api::wire::{
    ApiError, AppendEvent, AppendRequest, ErrorCode, Receipt, SubmitReceipt,
};
use opsledger::client::Client;
use opsledger::node::ports::SeededRandom;
use serde_json::value::RawValue;
use tokio::sync::watch;

use crate::support::{Ledger, id, script, show};

const KILLS: u64 = 15;
const CLIENTS: u64 = 4;
const TASKS: u64 = 50;

fn draw(random: &mut SeededRandom, below: u64) -> u64 {
    let bytes = random.draw();
    u64::from_le_bytes(bytes[..8].try_into().unwrap()) % below
}

/// What a client was told.
#[derive(Default)]
struct Told {
    tasks: Vec<SubmitReceipt>,
    appends: Vec<Receipt>,
}

/// One client's share of the work.
struct Worker {
    number: u64,
    socket: PathBuf,
    /// Which life of the node leads; moves when another one does.
    life: watch::Receiver<u64>,
    connected: Option<(u64, Arc<Client>)>,
    runs: PathBuf,
}

impl Worker {
    /// A connection to the life of the node that leads now.
    async fn client(&mut self) -> Option<(u64, Arc<Client>)> {
        let life = *self.life.borrow();
        if self.connected.as_ref().is_none_or(|(of, _)| *of != life) {
            let client = Client::connect(&self.socket).await.ok()?;
            self.connected = Some((life, Arc::new(client)));
        }
        self.connected.clone()
    }

    /// Asks until there is an answer, each time of another life of the node.
    async fn insist<T, F: Future<Output = Result<T, ApiError>>>(
        &mut self,
        ask: impl Fn(Arc<Client>) -> F,
    ) -> T {
        loop {
            let life = *self.life.borrow();
            let error = match self.client().await {
                None => None,
                Some((_, client)) => match ask(client).await {
                    Ok(answer) => return answer,
                    Err(error) => Some(error),
                },
            };
            if let Some(error) = error {
                let gone = [ErrorCode::Lost, ErrorCode::NotLeader, ErrorCode::Refused];
                assert!(gone.contains(&error.code), "{error}");
            }
            self.connected = None;
            self.life.wait_for(|now| *now != life).await.unwrap();
        }
    }

    async fn work(mut self) -> Told {
        let mut told = Told::default();
        for n in 0..TASKS {
            let key = format!("client{}-{n}", self.number);
            let pause = if n % 3 == 0 { "sleep 0.02;" } else { "" };
            let mut request = script(&format!(
                "echo $LEDGER_TASK_ID $LEDGER_ATTEMPT >> {}; {pause} exit $((LEDGER_ATTEMPT - 1))",
                show(&self.runs)
            ));
            request.priority = ledger_core::event::Priority::try_from(n % 3).unwrap();
            request.idempotency_key = Some(id(&key));
            told.tasks.push(
                self.insist(|client| {
                    let request = request.clone();
                    async move { client.submit(&request).await }
                })
                .await,
            );
            let append = AppendRequest {
                events: vec![AppendEvent {
                    kind: "app.storm".parse().unwrap(),
                    subject: None,
                    expected_version: None,
                    data: RawValue::from_string(format!("{{\"key\":\"{key}\"}}")).unwrap(),
                }],
                idempotency_key: Some(id(&format!("append-{key}"))),
                expected_head: None,
                claimed_actor: None,
                correlation: None,
                cause: None,
                traceparent: None,
            };
            told.appends.push(
                self.insist(|client| {
                    let append = append.clone();
                    async move { client.append(&append).await }
                })
                .await,
            );
        }
        told
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again() {
    let seed = std::env::var("STORM_SEED").map_or(1, |seed| seed.parse().unwrap());
    println!("STORM_SEED={seed}");
    let mut seed_bytes = [0; 32];
    seed_bytes[..8].copy_from_slice(&u64::to_le_bytes(seed));
    let mut random = SeededRandom::new(seed_bytes);

    let ledger = Ledger::configured("[scheduler]\nmax_running = 4\n");
    let runs = ledger.path("runs");
    let mut node = ledger.up().await;
    let (lives, life) = watch::channel(node.term);
    let workers: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let worker = Worker {
                number,
                socket: node.socket.clone(),
                life: life.clone(),
                connected: None,
                runs: runs.clone(),
            };
            tokio::spawn(worker.work())
        })
        .collect();
    for _ in 0..KILLS {
        let mut follower = node.follow(1).await;
        let head = node.client.head().await.unwrap().seq.0;
        let until = head + draw(&mut random, 60);
        // Once everything has ended there are no more events to wait for.
        let quiet = async |follower: &mut crate::support::Follower| {
            while follower.next().await.is_some_and(|event| event.seq < until) {}
        };
        let patience = std::time::Duration::from_secs(2);
        let _ = tokio::time::timeout(patience, quiet(&mut follower)).await;
        node.crash();
        if draw(&mut random, 3) == 0 {
            die_coming_up(&ledger, draw(&mut random, 1_000_000));
        }
        node = ledger.up().await;
        lives.send_replace(node.term);
    }
    let mut told = Told::default();
    for worker in workers {
        let one = worker.await.unwrap();
        told.tasks.extend(one.tasks);
        told.appends.extend(one.appends);
    }
    for receipt in &told.tasks {
        assert_eq!(
            node.end_of(&receipt.task_id).await.exit_code,
            Some(0),
            "{receipt:?}"
        );
    }
    assert!(node.term > KILLS, "each life has a term of its own");
    node.stop_well();
    judge(&ledger, &told, &runs);
}

/// A node that is killed while it comes up, wherever it has got to by then.
fn die_coming_up(ledger: &Ledger, turns: u64) {
    let mut command = ledger.command(&["up"]);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
    for _ in 0..turns {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn judge(ledger: &Ledger, told: &Told, runs: &std::path::Path) {
    let log = ledger.assert_sound();
    let at = |seq: u64| &log.0[usize::try_from(seq).unwrap() - 1];
    let mut tasks = BTreeSet::new();
    for receipt in &told.tasks {
        let event = at(receipt.seq.0);
        assert_eq!(
            (event.kind.as_str(), event.hash),
            ("task.submitted", receipt.hash)
        );
        assert_eq!(event.of, receipt.task_id.as_str());
        assert_eq!(event.term, receipt.term.0);
        assert!(
            tasks.insert(event.of.clone()),
            "two requests, one task: {receipt:?}"
        );
    }
    for receipt in &told.appends {
        let event = at(receipt.seq.0);
        assert_eq!(
            (event.kind.as_str(), event.hash),
            ("app.storm", receipt.hash)
        );
    }
    let all = usize::try_from(CLIENTS * TASKS).unwrap();
    assert_eq!((tasks.len(), told.appends.len()), (all, all));
    // Tries that were never acknowledged count once too.
    assert_eq!(
        (log.count("task.submitted"), log.count("app.storm")),
        (all, all)
    );
    assert_eq!(
        (log.count("task.completed"), log.count("task.lost")),
        (all, 0)
    );
    let mut begun = BTreeMap::new();
    for line in std::fs::read_to_string(runs).unwrap().lines() {
        *begun.entry(line.to_owned()).or_insert(0) += 1;
    }
    let ran: BTreeSet<_> = log
        .of_kind("task.completed")
        .iter()
        .map(|e| format!("{} {}", e.of, e.data["attempt"]))
        .collect();
    assert_eq!(begun.keys().cloned().collect::<BTreeSet<_>>(), ran);
    let twice: Vec<_> = begun.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "ran twice: {twice:?}");
}
