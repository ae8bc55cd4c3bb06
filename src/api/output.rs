//! `/v1/tasks/{id}/output`: what an attempt wrote, from the file its shim keeps; following it
//! while it grows.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use ledger_core::event::Attempt;
use ledger_core::ids::Id;
use notify::{RecursiveMode, Watcher};
use projections::tasks::TaskState;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::error::{failed, usage};
use super::extract::{Asked, TaskId};
use super::server::{Api, blocking};
use super::tasks::unknown;
use super::wire::{ApiError, ErrorCode, OutputQuery, Stream};
use crate::shim::AttemptDir;

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Chunks on their way to a reader who is slower than the disk.
const STREAM_DEPTH: usize = 4;

pub(super) async fn output(
    State(api): State<Arc<Api>>,
    TaskId(task): TaskId,
    Asked(query): Asked<OutputQuery>,
) -> Result<Response, ApiError> {
    if let Some(attempt) = query.attempt {
        attempt_dir(&api, &task, attempt)?;
    }
    api.views_caught_up().await?;
    let runs = runs(&api, &task).await?.ok_or_else(|| unknown(&task))?;
    let latest = runs.latest.map(|attempt| attempt.0);
    // Who follows may wait for a run that is still to come.
    let may_come = query.follow && !runs.ended;
    let attempt = match query.attempt {
        Some(wanted) if may_come || Some(wanted) <= latest => wanted,
        Some(wanted) => {
            return Err(ApiError::new(
                ErrorCode::NotFound,
                format!("task {task} has no attempt {wanted}"),
            )
            .hint(format!("see `ledger task show {task}` for its attempts")));
        }
        None => runs
            .next
            .filter(|_| query.follow)
            .map(|next| next.0)
            .or(latest)
            .ok_or_else(|| not_started(&task))?,
    };
    let dir = attempt_dir(&api, &task, attempt)?;
    let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
    tokio::spawn(feed(api, task, attempt, dir, query, sender));
    let body = Body::from_stream(ReceiverStream::new(receiver));
    Ok(([("content-type", "application/octet-stream")], body).into_response())
}

fn attempt_dir(api: &Api, task: &Id, attempt: u32) -> Result<AttemptDir, ApiError> {
    AttemptDir::new(&api.data_dir, task, attempt).map_err(|e| usage(e.to_string()))
}

fn not_started(task: &Id) -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        format!("task {task} has not been started"),
    )
    .hint("follow it with -f to wait for its output")
}

/// Which runs of a task there are.
struct Runs {
    /// The latest that was ordered.
    latest: Option<Attempt>,
    /// The one that the task waits for in its queue.
    next: Option<Attempt>,
    /// Whether the task has ended.
    ended: bool,
}

/// The runs of a task; nothing if there is no such task.
async fn runs(api: &Arc<Api>, task: &Id) -> Result<Option<Runs>, ApiError> {
    let (shared, task) = (Arc::clone(api), task.clone());
    blocking(move || {
        let seen = shared.views.with_tasks(|tasks, _| {
            tasks.get(&task).map(|task| Runs {
                latest: task.view().attempt,
                next: match task.state {
                    TaskState::Queued { next, .. } => Some(next),
                    _ => None,
                },
                ended: task.is_ended(),
            })
        });
        seen.flatten()
    })
    .await
}

/// Whether this attempt can write no more.
async fn is_over(api: &Arc<Api>, task: &Id, attempt: u32) -> bool {
    // The head that woke us may be ahead of the views, and nothing wakes us again if it was the
    // last: what is asked here must be as new as that head.
    if api.views_caught_up().await.is_err() {
        return true;
    }
    let (shared, task) = (Arc::clone(api), task.clone());
    let over = blocking(move || {
        let over = shared.views.with_tasks(|tasks, _| {
            tasks.get(&task).is_none_or(|task| {
                task.is_ended()
                    || task
                        .attempts
                        .iter()
                        .any(|record| record.attempt.0 >= attempt)
            })
        });
        over.unwrap_or(true)
    });
    over.await.unwrap_or(true)
}

async fn feed(
    api: Arc<Api>,
    task: Id,
    attempt: u32,
    dir: AttemptDir,
    query: OutputQuery,
    sender: mpsc::Sender<io::Result<Bytes>>,
) {
    let (mut head, mut stopping) = (api.head.clone(), api.stopping.clone());
    let (changed, mut changes) = mpsc::channel(1);
    let mut watcher = None;
    let mut file = None;
    loop {
        // Whether it is over is asked before the file is read to its end, so that what was
        // written last is never missed.
        head.borrow_and_update();
        let over = !query.follow || is_over(&api, &task, attempt).await;
        if watcher.is_none() && !over {
            watcher = watch(&dir, changed.clone());
        }
        let (opened, sent) = {
            let (dir, sender, stream) = (dir.clone(), sender.clone(), query.stream);
            let read = tokio::task::spawn_blocking(move || send_rest(file, &dir, stream, &sender));
            match read.await {
                Ok(result) => result,
                Err(_) => return,
            }
        };
        file = opened;
        if over || !sent {
            return;
        }
        tokio::select! {
            _ = changes.recv() => {}
            result = head.changed() => if result.is_err() { return },
            _ = stopping.wait_for(|stop| *stop) => return,
            () = sender.closed() => return,
        }
    }
}

/// Tells when something in the attempt's directory changes; nothing if it is not there yet, in
/// which case the ledger's head moves before there is anything to read.
fn watch(dir: &AttemptDir, changed: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading files makes events too; answering those would never end.
        if event.is_ok_and(|e| !e.kind.is_access()) {
            let _ = changed.try_send(());
        }
    })
    .ok()?;
    watcher
        .watch(&dir.path(), RecursiveMode::NonRecursive)
        .ok()?;
    Some(watcher)
}

/// Sends what the file has beyond what was read before. Gives the file back, and whether anyone
/// still listens.
fn send_rest(
    file: Option<File>,
    dir: &AttemptDir,
    stream: Stream,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> (Option<File>, bool) {
    let opened = match file {
        Some(file) => Ok(Some(file)),
        None => match stream {
            Stream::Stdout => dir.open_stdout(),
            Stream::Stderr => dir.open_stderr(),
        },
    };
    let mut file = match opened {
        Ok(Some(file)) => file,
        Ok(None) => return (None, true),
        Err(error) => {
            let error = failed("the output can't be read", error);
            let _ = sender.blocking_send(Err(io::Error::other(error)));
            return (None, false);
        }
    };
    let mut buffer = vec![0; CHUNK];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return (Some(file), true),
            Ok(count) => {
                let chunk = Bytes::copy_from_slice(&buffer[..count]);
                if sender.blocking_send(Ok(chunk)).is_err() {
                    return (None, false);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let _ = sender.blocking_send(Err(error));
                return (None, false);
            }
        }
    }
}
