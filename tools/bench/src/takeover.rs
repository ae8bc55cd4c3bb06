//! How long a ledger is without a leader: from the kill of one, from its last beat if it hangs, or from the
//! start of a node where there was none, to the first append that the next one acknowledges. Beside the
//! limits that it should stay below.
//!
//! The ledger holds tasks that have ended, and some that run meanwhile: their shims outlive every node.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ledger_core::ids::Id;
use ledger_core::store::durable::DurableStore;
use ledger_core::time::Millis;
use opsledger::api::wire::{AppendRequest, CancelRequest, CheckpointRequest, Role};
use opsledger::client::Client;
use projections::tasks::StateName;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::comparison::{Bar, Comparison, median, params};
use crate::error::{Context, Failure};
use crate::exec::task;
use crate::node::{Ledger, Node, runtime};
use crate::note;
use crate::samples;
use crate::settings::Settings;

/// Most milliseconds for half of the takeovers from leaders that were killed.
const P50_LIMIT: f64 = 100.0;
/// Most milliseconds for 99 of 100.
const P99_LIMIT: f64 = 500.0;
/// Most milliseconds where the leader hangs: its lease of three seconds, and half a second.
const HUNG_LIMIT: f64 = 3500.0;
/// Most milliseconds for each 500,000 events where nothing but the log is there.
const REPLAY_LIMIT: f64 = 1000.0;
const REPLAY_EVENTS: f64 = 500_000.0;

/// Most milliseconds where a checkpoint is there.
const RESTORE_LIMIT: f64 = 200.0;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at a node that is not looked at by the clock.
const PAUSE: Duration = Duration::from_millis(10);
/// Between two looks by which is measured.
const GLANCE: Duration = Duration::from_micros(500);

/// Names of nodes that take over from each other.
const NAMES: [&str; 2] = ["a", "b"];

/// Kills leaders, lets them hang, and starts nodes where there was none.
///
/// # Errors
/// The first [`Failure`].
pub(crate) fn compare(
    dir: &Path,
    ledger: &Ledger,
    settings: &Settings,
) -> Result<Vec<Comparison>, Failure> {
    let home = tempfile::tempdir_in(dir).context("making a directory for nodes")?;
    note::progress("takeover: making a ledger");
    ledger.init(home.path(), settings.running_tasks + 4, "")?;
    let mut store = DurableStore::open(&home.path().join("data")).context("opening the ledger")?;
    let events = samples::fill(&mut store, samples::histories(settings.past_tasks))?;
    store.close().context("closing the ledger")?;

    let mut drill = Drill {
        ledger,
        home: home.path(),
        runtime: runtime()?,
        leader: None,
        started: 0,
    };
    // The first ones have nothing but the log: none lives for long enough to make a checkpoint.
    note::progress("takeover: starting nodes over the log");
    let mut replayed = vec![drill.begin()?];
    for _ in 1..settings.restarts {
        drill.lose()?;
        replayed.push(drill.begin()?);
    }
    note::progress("takeover: starting nodes over a checkpoint");
    drill.save()?;
    let mut restored = Vec::new();
    for _ in 0..settings.restarts {
        drill.lose()?;
        restored.push(drill.begin()?);
    }
    note::progress("takeover: starting tasks");
    drill.submit(settings.running_tasks)?;
    let mut killed = Vec::new();
    for round in 1..=settings.takeovers {
        note::progress(&format!("takeover: kill {round} of {}", settings.takeovers));
        killed.push(drill.take_over(Loss::Killed)?);
    }
    let mut hung = Vec::new();
    for round in 1..=settings.restarts {
        note::progress(&format!("takeover: hang {round} of {}", settings.restarts));
        hung.push(drill.take_over(Loss::Hung)?);
    }
    note::progress("takeover: ending the tasks");
    drill.end(settings.running_tasks)?;
    note::done();
    let times = Times {
        killed,
        hung,
        replayed,
        restored,
    };
    Ok(times.compared(events, settings.running_tasks))
}

/// How long each of them took, in milliseconds.
struct Times {
    killed: Vec<f64>,
    hung: Vec<f64>,
    replayed: Vec<f64>,
    restored: Vec<f64>,
}

impl Times {
    /// Beside their limits.
    fn compared(&self, events: u64, running: u32) -> Vec<Comparison> {
        let Self {
            killed,
            hung,
            replayed,
            restored,
        } = self;
        let about = |what: &str, rounds: usize| {
            params([
                ("what", what.into()),
                ("events", events.into()),
                ("running", running.into()),
                ("rounds", rounds.into()),
            ])
        };
        let against_limit = |what: &str, rounds: usize, ms: f64, limit: f64| {
            Comparison::of_rounds(
                ("takeover", "ms"),
                about(what, rounds),
                &[ms],
                ("limit", &[limit]),
                Some(Bar::AtMost(1.0)),
            )
        };
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 events")]
        let replay_limit = REPLAY_LIMIT * events as f64 / REPLAY_EVENTS;
        vec![
            against_limit(
                "killed, p50",
                killed.len(),
                percentile(killed, 50),
                P50_LIMIT,
            ),
            against_limit(
                "killed, p99",
                killed.len(),
                percentile(killed, 99),
                P99_LIMIT,
            ),
            against_limit("hung, p50", hung.len(), median(hung), HUNG_LIMIT),
            against_limit(
                "from the log alone, p50",
                replayed.len(),
                median(replayed),
                replay_limit,
            ),
            against_limit(
                "from a checkpoint, p50",
                restored.len(),
                median(restored),
                RESTORE_LIMIT,
            ),
        ]
    }
}

/// So many of a hundred took at most so long.
fn percentile(times: &[f64], percent: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// What happens to a leader.
#[derive(Debug, Clone, Copy)]
enum Loss {
    Killed,
    Hung,
}

/// Nodes over one ledger, of which one leads.
struct Drill<'a> {
    ledger: &'a Ledger,
    home: &'a Path,
    runtime: Runtime,
    leader: Option<(Node, Client)>,
    /// How many were started.
    started: usize,
}

impl Drill<'_> {
    fn start(&mut self) -> Result<(Node, PathBuf), Failure> {
        let name = NAMES[self.started % NAMES.len()];
        self.started += 1;
        let node = Node::up(self.ledger, self.home, name)?;
        let socket = node.data_dir().join("run").join(format!("{name}.sock"));
        Ok((node, socket))
    }

    /// Starts a node where there is none; how long it takes to acknowledge an append.
    fn begin(&mut self) -> Result<f64, Failure> {
        let begun = Instant::now();
        let (mut node, socket) = self.start()?;
        let client = self.runtime.block_on(async {
            let client = connected(&mut node, &socket).await?;
            appended(&mut node, &client).await?;
            Ok::<_, Failure>(client)
        })?;
        let took = ms(begun);
        self.leader = Some((node, client));
        Ok(took)
    }

    /// Has a checkpoint made.
    fn save(&self) -> Result<(), Failure> {
        let client = self.leader()?;
        let request = CheckpointRequest::default();
        let made = self.runtime.block_on(client.checkpoint(&request));
        made.context("making a checkpoint").map(drop)
    }

    /// Kills the leader, beside which there is nobody.
    fn lose(&mut self) -> Result<(), Failure> {
        self.leader.take().map_or(Ok(()), |(node, _)| node.crash())
    }

    fn leader(&self) -> Result<&Client, Failure> {
        let (_, client) = self
            .leader
            .as_ref()
            .ok_or_else(|| Failure::new("no node leads"))?;
        Ok(client)
    }

    /// Starts tasks that run until they are cancelled.
    fn submit(&self, tasks: u32) -> Result<(), Failure> {
        let client = self.leader()?;
        self.runtime.block_on(async {
            for n in 0..tasks {
                let mut sleeper = task(vec!["/bin/sleep".into(), "3600".into()]);
                sleeper.task_id = Some(running(n)?);
                sleeper.max_runtime_ms = Some(Millis(7_200_000));
                client.submit(&sleeper).await.context("submitting")?;
            }
            for n in 0..tasks {
                let id = running(n)?;
                let begun = Instant::now();
                while client
                    .task(&id, None)
                    .await
                    .context("looking at a task")?
                    .process
                    .is_none()
                {
                    in_time(begun, "a task does not start")?;
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Ok(())
        })
    }

    /// Loses the leader once another node stands by that knows all that was written; how long it takes
    /// that one to acknowledge an append.
    fn take_over(&mut self, loss: Loss) -> Result<f64, Failure> {
        let (mut next, socket) = self.start()?;
        let (leader, client) = self
            .leader
            .take()
            .ok_or_else(|| Failure::new("no node leads"))?;
        let (took, client) = self.runtime.block_on(async {
            let head = client.head().await.context("asking for the head")?.seq;
            let client = connected(&mut next, &socket).await?;
            let begun = Instant::now();
            loop {
                let standing = client.node().await.context("asking a standby")?;
                if standing.role == Role::Standby && standing.seq >= head {
                    break;
                }
                in_time(begun, "a standby does not catch up")?;
                tokio::time::sleep(PAUSE).await;
            }
            let lost = Instant::now();
            match loss {
                Loss::Killed => leader.crash()?,
                Loss::Hung => leader.hang()?,
            }
            appended(&mut next, &client).await?;
            Ok::<_, Failure>((ms(lost), client))
        })?;
        self.leader = Some((next, client));
        Ok(took)
    }

    /// Ends the tasks, none of which may be lost, and the node.
    fn end(mut self, tasks: u32) -> Result<(), Failure> {
        let client = self.leader()?;
        self.runtime.block_on(async {
            for n in 0..tasks {
                let id = running(n)?;
                let request = CancelRequest::default();
                client.cancel(&id, &request).await.context("cancelling")?;
            }
            for n in 0..tasks {
                let view = client
                    .wait(&running(n)?)
                    .await
                    .context("waiting for a task")?;
                if (view.state, view.attempts.len()) != (StateName::Cancelled, 1) {
                    return Err(Failure::new(format!("a task was lost: {view:?}")));
                }
            }
            Ok(())
        })?;
        self.leader.take().map_or(Ok(()), |(node, _)| node.stop())
    }
}

fn running(n: u32) -> Result<Id, Failure> {
    Id::new(format!("running-{n}")).context("naming a task")
}

fn in_time(begun: Instant, what: &str) -> Result<(), Failure> {
    match begun.elapsed() < PATIENCE {
        true => Ok(()),
        false => Err(Failure::new(what)),
    }
}

async fn connected(node: &mut Node, socket: &Path) -> Result<Client, Failure> {
    let begun = Instant::now();
    loop {
        // It may not listen yet.
        match Client::connect(socket).await {
            Ok(client) => return Ok(client),
            Err(error) => in_time(begun, &format!("the node does not listen: {error}"))?,
        }
        node.still_there()?;
        tokio::time::sleep(GLANCE).await;
    }
}

/// Appends once the node can.
async fn appended(node: &mut Node, client: &Client) -> Result<(), Failure> {
    let event = json!({"kind": "app.drill", "data": {}});
    let request: AppendRequest =
        serde_json::from_value(json!({"events": [event]})).context("making a request")?;
    let begun = Instant::now();
    loop {
        match client.append(&request).await {
            Ok(_) => return Ok(()),
            Err(error) => in_time(begun, &format!("the node does not append: {error}"))?,
        }
        node.still_there()?;
        tokio::time::sleep(GLANCE).await;
    }
}
