//! Submitting what was planned, when it was planned, and waiting for the end of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger_core::ids::Id;
use opsledger::api::wire::{ApiError, ErrorCode, SubmitReceipt, SubmitRequest};
use opsledger::client::Client;
use projections::tasks::StateName;
use tokio::task::JoinSet;
use tokio::time::{Instant as TokioInstant, sleep_until, timeout};

use super::trace::{Plan, Planned};
use crate::error::{Context, Failure};
use crate::exec::task;
use crate::note;

/// Every so many tasks, one is submitted twice, as a client does that did not get its answer.
const SUBMIT_TWICE: usize = 10;
/// How often a submit is tried again, with the same key, if the node can't be reached.
const RETRIES: usize = 3;
/// What a replay may take beyond twice what its tasks need.
const SLACK: Duration = Duration::from_secs(120);

/// What came of it, as clients saw it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Driven {
    /// From the first submit to the last end.
    pub(super) makespan: Duration,
    /// Tasks that ended in another state than completed.
    pub(super) not_completed: usize,
    /// Submits that were repeated with the same key.
    pub(super) submitted_twice: usize,
}

/// Submits all of it and waits for all of it.
///
/// # Errors
/// [`Failure`] if the node refuses anything, a repeated submit makes a second task, or the replay
/// takes far longer than its tasks should.
pub(super) async fn drive(
    client: Client,
    plan: &Plan,
    max_running: u32,
) -> Result<Driven, Failure> {
    let limit = (plan.last_arrival() + plan.work() / max_running) * 2 + SLACK;
    timeout(limit, submit_all(Arc::new(client), plan))
        .await
        .map_err(|_| {
            Failure::new(format!(
                "the replay has not ended after {} s",
                limit.as_secs()
            ))
        })?
}

async fn submit_all(client: Arc<Client>, plan: &Plan) -> Result<Driven, Failure> {
    let start = Instant::now();
    let mut running = JoinSet::new();
    let mut driven = Driven {
        makespan: Duration::ZERO,
        not_completed: 0,
        submitted_twice: 0,
    };
    let mut ended = 0;
    for (n, planned) in plan.tasks.iter().enumerate() {
        sleep_until(TokioInstant::from_std(start + planned.arrival)).await;
        let request = request(n, planned)?;
        let twice = n.is_multiple_of(SUBMIT_TWICE);
        driven.submitted_twice += usize::from(twice);
        let client = Arc::clone(&client);
        running.spawn(async move { submit_and_wait(&client, request, twice).await });
        while let Some(state) = running.try_join_next() {
            ended += 1;
            driven.not_completed += usize::from(ended_badly(state)?);
        }
        if n.is_multiple_of(16) {
            note::progress(&format!(
                "replay: {n} of {} submitted, {ended} ended",
                plan.tasks.len()
            ));
        }
    }
    while let Some(state) = running.join_next().await {
        driven.not_completed += usize::from(ended_badly(state)?);
    }
    driven.makespan = start.elapsed();
    note::done();
    Ok(driven)
}

type Joined = Result<Result<StateName, Failure>, tokio::task::JoinError>;

fn ended_badly(joined: Joined) -> Result<bool, Failure> {
    Ok(joined.context("a client")?? != StateName::Completed)
}

fn request(n: usize, planned: &Planned) -> Result<SubmitRequest, Failure> {
    Ok(SubmitRequest {
        priority: planned.queue,
        max_runtime_ms: Some(planned.max_runtime()),
        idempotency_key: Some(Id::new(format!("call-{n}")).context("naming a call")?),
        ..task(planned.argv())
    })
}

async fn submit_and_wait(
    client: &Client,
    request: SubmitRequest,
    twice: bool,
) -> Result<StateName, Failure> {
    let receipt = submit(client, &request).await?;
    if twice {
        let again = submit(client, &request).await?;
        if !again.replayed || again.task_id != receipt.task_id || again.seq != receipt.seq {
            return Err(Failure::new(format!(
                "a repeated submit of {} made {}",
                receipt.task_id, again.task_id
            )));
        }
    }
    let view = client
        .wait(&receipt.task_id)
        .await
        .context("waiting for a task")?;
    Ok(view.state)
}

/// Submits; again if the node was not reached. The key makes that safe.
async fn submit(client: &Client, request: &SubmitRequest) -> Result<SubmitReceipt, Failure> {
    let mut tried = 0;
    loop {
        match client.submit(request).await {
            Ok(receipt) => return Ok(receipt),
            Err(ApiError {
                code:
                    ErrorCode::Lost | ErrorCode::NotLeader | ErrorCode::Failed | ErrorCode::Timeout,
                ..
            }) if tried < RETRIES => tried += 1,
            Err(error) => return Err(error).context("submitting a task"),
        }
    }
}
