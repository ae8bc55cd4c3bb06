//! An arm on a real node: every task is a process that sleeps, in time that runs faster than the trace's by
//! a factor. What came of it is read from the ledger that the node wrote, by the code that reads any
//! history, and told in the trace's time.

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger_core::event::{Event, Priority};
use ledger_core::ids::{Id, Seq};
use ledger_core::store::durable::OfflineReader;
use ledger_core::store::for_each_event;
use ledger_core::time::{Micros, Millis, Timestamp};
use opsledger::api::wire::{CancelRequest, QueueRequest, SubmitRequest, TaskQuery};
use opsledger::client::Client;
use opsledger::scheduler::decide::MAX_RUNTIME;
use opsledger::scheduler::policy::Policy;
use opsledger::simulate::history::{History, Wanted};
use opsledger::simulate::mix::Drawn;
use opsledger::simulate::outcome::{HeldBy, Outcome, Wait};
use opsledger::simulate::summary::Summary;
use opsledger::simulate::work::{Course, Discipline, Reaper, Work};
use tokio::task::JoinSet;
use tokio::time::{Instant as TokioInstant, sleep_until};

use super::Arm;
use crate::cli::ArmsArgs;
use crate::error::{Context, Failure};
use crate::exec::task;
use crate::node::{Ledger, Node, runtime};

/// Shortest sleep: below it, starting a process is all there is.
const SHORTEST: Duration = Duration::from_millis(1);
/// Shortest limit: on a machine with much to do starting a process takes a good part of it.
const SHORTEST_LIMIT: Millis = Millis(500);
/// How long after the horizon attempts are ended: it is reckoned from when the first submit was recorded,
/// a little after it was sent.
const SLACK: Duration = Duration::from_secs(1);
/// What hangs sleeps for so many seconds: beyond any horizon.
const FOR_EVER: u32 = 1_000_000;
/// How long the last attempts may take to end after they were told to, and the last shims to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs an arm; what came of it, and how many processes of it were there after the node had ended.
///
/// # Errors
/// [`Failure`] if the node refuses anything, or does not end what it should.
pub(super) fn run(
    arm: Arm,
    drawn: &Drawn,
    args: &ArmsArgs,
    ledger: &Ledger,
    home: &Path,
) -> Result<(Summary, usize), Failure> {
    let scale = args.time_scale.0;
    let node = Node::start(ledger, home, args.slots, &rules(arm, scale))?;
    let data_dir = node.data_dir().to_owned();
    runtime()?.block_on(async {
        let client = Arc::new(node.client().await?);
        submit_all(&client, arm, drawn, scale).await?;
        end_all(&client).await
    })?;
    node.stop()?;
    let left = processes_of(home)?;
    let reader = OfflineReader::open(&data_dir).context("opening the ledger")?;
    let outcome = outcome(&reader, drawn, arm.reaper, scale)?;
    let slots = usize::try_from(args.slots).ok();
    Ok((Summary::of(&outcome, slots), left))
}

/// The rest of `ledger.toml`: waits are as many times shorter as everything else, and where all tasks
/// are in one queue there is none to fall to.
fn rules(arm: Arm, scale: f64) -> String {
    let mut text = String::new();
    let queues = Policy::default().queues;
    for (queue, rules) in Priority::ALL.iter().zip(queues) {
        if let Some(after) = rules.boost_after {
            let after = Duration::from_millis(after.0).div_f64(scale).as_millis();
            let (name, after) = (queue.name(), after.max(1));
            text += &format!("[scheduler.{name}]\nboost_after = \"{after}ms\"\n");
        }
    }
    match arm.discipline {
        Discipline::Fifo => text + "[scheduler.interactive]\nquantum = \"none\"\n",
        Discipline::Mlfq => text,
    }
}

fn since_begin(work: &Work, scale: f64) -> Duration {
    let since = work.arrival.since(opsledger::simulate::mix::BEGIN);
    Duration::from_micros(since.0).div_f64(scale)
}

fn request(work: &Work, arm: Arm, scale: f64) -> SubmitRequest {
    let length = match work.course(1) {
        Course::Hangs | Course::Stalls(_) => FOR_EVER.to_string(),
        Course::Ends(after, _) => {
            let sleep = Duration::from_micros(after.0).div_f64(scale);
            format!("{:.4}", sleep.max(SHORTEST).as_secs_f64())
        }
    };
    let limit = Duration::from_millis(work.max_runtime.0).div_f64(scale);
    let limit = Millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
    SubmitRequest {
        task_id: Some(work.id.clone()),
        priority: arm.discipline.queue(work.queue),
        max_runtime_ms: Some(match arm.reaper {
            Reaper::On => limit.max(SHORTEST_LIMIT),
            Reaper::Off => MAX_RUNTIME,
        }),
        ..task(vec!["sleep".into(), length])
    }
}

/// Submits every task when it arrives, and returns once the horizon is past.
async fn submit_all(
    client: &Arc<Client>,
    arm: Arm,
    drawn: &Drawn,
    scale: f64,
) -> Result<(), Failure> {
    let start = TokioInstant::now();
    let mut submits = JoinSet::new();
    for work in &drawn.work {
        sleep_until(start + since_begin(work, scale)).await;
        let (client, request) = (Arc::clone(client), request(work, arm, scale));
        submits.spawn(async move { client.submit(&request).await });
        while let Some(submitted) = submits.try_join_next() {
            submitted
                .context("a client")?
                .context("submitting a task")?;
        }
    }
    while let Some(submitted) = submits.join_next().await {
        submitted
            .context("a client")?
            .context("submitting a task")?;
    }
    let horizon = Duration::from_micros(drawn.span.0).div_f64(scale);
    sleep_until(start + horizon + SLACK).await;
    Ok(())
}

/// Starts nothing more, and ends what runs.
async fn end_all(client: &Client) -> Result<(), Failure> {
    for queue in Priority::ALL {
        let request = QueueRequest { reason: None };
        let paused = client.pause_queue(queue, &request).await;
        paused.context("pausing a queue")?;
    }
    let deadline = Instant::now() + PATIENCE;
    for state in ["running", "cancelling"] {
        loop {
            let query = TaskQuery {
                state: Some(state.to_owned()),
                ..TaskQuery::default()
            };
            let open = client.tasks(&query).await.context("asking what runs")?;
            let open = open.collect().await.context("asking what runs")?;
            if open.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                return Err(Failure::new(format!("{} tasks do not end", open.len())));
            }
            for view in open {
                let request = CancelRequest { reason: None };
                // It may have ended by itself meanwhile.
                let _ = client.cancel(&view.task_id, &request).await;
                client
                    .wait(&view.task_id)
                    .await
                    .context("waiting for a task to end")?;
            }
        }
    }
    Ok(())
}

/// How many processes are there that have to do with a directory, once those that are about to go have
/// gone.
fn processes_of(home: &Path) -> Result<usize, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = look_for(home)?;
        if found == 0 || Instant::now() > deadline {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn look_for(home: &Path) -> Result<usize, Failure> {
    let named = home.to_string_lossy().into_owned().into_bytes();
    let own = std::process::id().to_string();
    let mut found = 0;
    for entry in fs::read_dir("/proc").context("looking at processes")? {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        let is_process = name.to_string_lossy().bytes().all(|b| b.is_ascii_digit());
        if !is_process || *name == *own {
            continue;
        }
        // What goes while it is looked at is not there.
        let holds =
            |what| fs::read(entry.path().join(what)).is_ok_and(|text| within(&text, &named));
        let cwd = fs::read_link(entry.path().join("cwd"));
        let there = cwd.is_ok_and(|cwd| cwd.starts_with(home));
        found += usize::from(there || holds("cmdline") || holds("environ"));
    }
    Ok(found)
}

fn within(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// What came of it by the horizon, in the trace's time.
fn outcome(
    reader: &OfflineReader,
    drawn: &Drawn,
    reaper: Reaper,
    scale: f64,
) -> Result<Outcome, Failure> {
    let mut history = History::default();
    let walked = for_each_event(reader, Seq::FIRST, |event| {
        match Event::decode(&event.event) {
            Ok(decoded) => {
                history.read(&event.event.header, &decoded, Wanted::Yes);
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    });
    if let ControlFlow::Break(error) = walked.context("reading the ledger")? {
        return Err(error).context("reading an event");
    }
    let (seen, ids) = history.seen();
    let hung: BTreeSet<&Id> = drawn
        .work
        .iter()
        .filter(|work| work.course(1) == Course::Hangs)
        .map(|work| &work.id)
        .collect();
    let queues = drawn.work.iter().map(|work| (&work.id, work.queue));
    let queues: std::collections::BTreeMap<&Id, Priority> = queues.collect();
    let horizon = Duration::from_micros(drawn.span.0).div_f64(scale);
    let end = seen.begin.0.saturating_add(micros(horizon));
    let mut seen = Outcome {
        end: seen.end.max(Timestamp(end)),
        ..seen
    }
    .cut(Timestamp(end));
    for task in &mut seen.tasks {
        // The queue it is for, whichever it was handed over to.
        task.queue = *queues.get(&ids[task.task]).unwrap_or(&task.queue);
    }
    for spell in &mut seen.spells {
        if hung.contains(&ids[spell.task]) {
            spell.held_by = match reaper {
                Reaper::On => HeldBy::Overdue,
                Reaper::Off => HeldBy::Hung,
            };
        }
    }
    Ok(slower(seen, scale))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The same in time that runs slower by a factor.
fn slower(mut outcome: Outcome, scale: f64) -> Outcome {
    let begin = outcome.begin;
    let longer = |time: Micros| Micros(micros(Duration::from_micros(time.0).mul_f64(scale)));
    let at = |at: Timestamp| Timestamp(begin.0 + longer(at.since(begin)).0);
    outcome.end = at(outcome.end);
    for task in &mut outcome.tasks {
        task.arrival = at(task.arrival);
        task.started = task.started.map(at);
        task.ended = task.ended.map(|(time, how)| (at(time), how));
        task.wait = match task.wait {
            Wait::Was(wait) => Wait::Was(longer(wait)),
            Wait::Still(wait) => Wait::Still(longer(wait)),
            Wait::None => Wait::None,
        };
    }
    for spell in &mut outcome.spells {
        spell.started = at(spell.started);
        spell.ended = spell.ended.map(at);
    }
    outcome
}
