//! How long a command that obeys SIGTERM takes to be gone: from when its cancel is acknowledged until
//! what became of it is durable (`process.reaped` and the end of its task are one batch), beside what
//! it should stay below. In between are the signal to the shim, the shim's to the tree, the end of
//! the command, its outcome on disk, and a sync.

use std::path::Path;
use std::time::{Duration, Instant};

use ledger_core::ids::Id;
use opsledger::api::wire::CancelRequest;
use opsledger::client::Client;
use projections::tasks::StateName;

use crate::comparison::{Bar, Comparison, params};
use crate::error::{Context, Failure};
use crate::exec::task;
use crate::node::{Ledger, Node, runtime};
use crate::note;
use crate::settings::Settings;

/// Most milliseconds for half of them.
const P50_LIMIT: f64 = 10.0;
/// Most milliseconds for 99 of 100.
const P99_LIMIT: f64 = 50.0;

/// Cancels commands one after another.
///
/// # Errors
/// The first [`Failure`].
pub(crate) fn compare(
    dir: &Path,
    ledger: &Ledger,
    settings: &Settings,
) -> Result<Vec<Comparison>, Failure> {
    let home = tempfile::tempdir_in(dir).context("making a directory for a node")?;
    let node = Node::start(ledger, home.path(), 4, "")?;
    note::progress("reap: cancelling commands that obey");
    let cancels = settings.cancels;
    let mut times = runtime()?.block_on(async {
        let client = node.client().await?;
        let waiter = node.client().await?;
        let mut times = Vec::with_capacity(cancels);
        for _ in 0..cancels {
            times.push(cancel_one(&client, &waiter).await?);
        }
        Ok::<_, Failure>(times)
    })?;
    note::done();
    node.stop()?;
    times.sort_unstable();
    let against_limit = |what: &str, percent: usize, limit: f64| {
        let at = (times.len() * percent).div_ceil(100).max(1) - 1;
        Comparison::of_rounds(
            ("reap", "ms"),
            params([("what", what.into()), ("cancels", cancels.into())]),
            &[times[at].as_secs_f64() * 1000.0],
            ("limit", &[limit]),
            Some(Bar::AtMost(1.0)),
        )
    };
    Ok(vec![
        against_limit("p50", 50, P50_LIMIT),
        against_limit("p99", 99, P99_LIMIT),
    ])
}

/// Runs a command until it is cancelled; from the acknowledgment to its end.
async fn cancel_one(client: &Client, waiter: &Client) -> Result<Duration, Failure> {
    let sleeper = task(vec!["/bin/sleep".into(), "600".into()]);
    let receipt = client.submit(&sleeper).await.context("submitting")?;
    let id = receipt.task_id;
    wait_for_process(client, &id).await?;
    let ended = async {
        let view = waiter.wait(&id).await;
        (view, Instant::now())
    };
    let asked = async {
        let asked = client.cancel(&id, &CancelRequest::default()).await;
        (asked, Instant::now())
    };
    let ((view, gone), (asked, acknowledged)) = tokio::join!(ended, asked);
    asked.context("cancelling")?;
    let view = view.context("waiting for the end")?;
    if view.state != StateName::Cancelled {
        return Err(Failure::new(format!("task {id} is {:?}", view.state)));
    }
    Ok(gone.saturating_duration_since(acknowledged))
}

async fn wait_for_process(client: &Client, id: &Id) -> Result<(), Failure> {
    loop {
        let view = client.task(id, None).await.context("looking at a task")?;
        if view.process.is_some() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
