//! `/v1/tasks`: hand over, list, show, wait, cancel, retry.

use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use ledger_core::clock;
use ledger_core::envelope::Origin;
use ledger_core::event::{Event, Priority, TaskEvent, TaskSubmitted};
use ledger_core::ids::{Id, Seq};
use projections::tasks::{StateName, TaskView, Tasks};
use serde::Deserialize;

use super::error::{failed, usage};
use super::events::{Found, event_at};
use super::extract::{Asked, Content, Name, TaskId};
use super::same;
use super::server::{Api, Caller, Defaults, blocking, json};
use super::views::as_of;
use super::wire::{
    ApiError, CancelRequest, ErrorCode, PriorityRequest, QueueRequest, Receipt, SubmitReceipt,
    SubmitRequest, TaskQuery, TaskReport,
};
use crate::node::command::{Command, Reply};
use crate::redact;
use crate::scheduler::held;

/// Most tasks in one list.
const MAX_LIST: usize = 10_000;
/// Tasks in a list where nothing was said.
const DEFAULT_LIST: usize = 100;

/// The receipt of a task that was just submitted.
pub(super) fn submitted(api: &Api, reply: Reply) -> Result<Json<SubmitReceipt>, ApiError> {
    match reply {
        Reply::Submitted {
            task_id,
            queue,
            position,
            held,
            head,
        } => Ok(Json(SubmitReceipt {
            task_id,
            queue,
            position: u64::try_from(position).unwrap_or(u64::MAX),
            seq: head.seq,
            hash: head.hash,
            term: head.term,
            replayed: false,
            paused: is_paused(api),
            held,
        })),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn submit(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    Content(body): Content,
) -> Result<Json<SubmitReceipt>, ApiError> {
    let (origin, command) = submit_command(&body, origin, api.defaults)?;
    match api.ask(origin, command).await? {
        Reply::Replayed(seq) => {
            let reader = Arc::clone(&api.reader);
            let found = blocking(move || event_at(reader.as_ref(), seq)).await??;
            let receipt = first_submit(&found, &json(&body)?)?;
            let task = receipt.task_id.clone();
            let (policy, now) = (Arc::clone(&api.policy), clock::now());
            let view = with_tasks(&api, None, move |tasks| {
                let task = tasks.get(&task)?;
                Some(held::view(tasks, &policy, task, now))
            });
            let view = view.await?;
            Ok(Json(SubmitReceipt {
                paused: is_paused(&api),
                position: view
                    .as_ref()
                    .and_then(|view| view.position)
                    .unwrap_or_default(),
                held: view.and_then(|view| view.held),
                ..receipt
            }))
        }
        other => submitted(&api, other),
    }
}

/// What a body asks for, by whom.
pub(super) fn submit_command(
    body: &Bytes,
    origin: Origin,
    defaults: Defaults,
) -> Result<(Origin, Command), ApiError> {
    let request: SubmitRequest = json(body)?;
    if let Some(field) = redact::secret_in_payload(&request.payload) {
        return Err(ApiError::new(
            ErrorCode::Refused,
            format!("{field} holds what looks like a secret, and the ledger never forgets"),
        )
        .hint("put it into a file that only the task's user can read, and pass the path"));
    }
    let origin = Origin {
        claimed_actor: request.claimed_actor,
        correlation: request.correlation,
        ..origin
    };
    let task = TaskSubmitted {
        priority: request.priority,
        payload: request.payload,
        max_runtime_ms: request.max_runtime_ms.unwrap_or(defaults.max_runtime),
        grace_ms: request.grace_ms.unwrap_or(defaults.grace),
        terms: request.terms.map(Box::new),
    };
    let key = request.idempotency_key;
    let command = Command::Submit {
        task_id: request.task_id,
        task,
        key,
    };
    Ok((origin, command))
}

/// The receipt of the submit that the same idempotency key was used for before, if that is this one.
fn first_submit(found: &Found, request: &SubmitRequest) -> Result<SubmitReceipt, ApiError> {
    let event = found.event()?;
    let (Event::Task(TaskEvent::Submitted(task)), Ok(task_id)) =
        (found.payload()?, Id::new(event.header.subject_id()))
    else {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            format!(
                "the idempotency key was used for another request, seq {}",
                event.header.seq
            ),
        )
        .hint(same::look_at(event.header.seq)));
    };
    same::check_submit(request, &task_id, &task)?;
    Ok(SubmitReceipt {
        task_id,
        queue: task.priority,
        position: 0,
        seq: event.header.seq,
        hash: found.hash,
        term: event.header.term,
        replayed: true,
        paused: false,
        held: None,
    })
}

/// As far as the view has come, which is far behind only what happens at the same time.
fn is_paused(api: &Api) -> bool {
    let paused = api.views.with_status(|status, _| status.is_paused());
    paused.unwrap_or(false)
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<TaskQuery>,
) -> Result<Response, ApiError> {
    let state = query.state.as_deref().map(StateName::from_str).transpose();
    let state = state.map_err(|e| usage(e.to_string()))?;
    let queue = query
        .priority
        .map(|p| Priority::try_from(u64::from(p)))
        .transpose();
    let queue = queue.map_err(|e| usage(e.to_string()))?;
    let limit = query.limit.unwrap_or(DEFAULT_LIST).min(MAX_LIST);
    let prefix = query.prefix;
    let (policy, now) = (Arc::clone(&api.policy), clock::now());
    let collect = move |tasks: &Tasks| {
        let mut lines = Vec::new();
        let views = tasks
            .iter()
            .rev()
            .filter(|task| queue.is_none_or(|q| task.priority == q))
            .filter(|task| prefix.as_deref().is_none_or(|p| task.id.starts_with(p)))
            .map(|task| held::view(tasks, &policy, task, now))
            .filter(|view| state.is_none_or(|s| view.state == s))
            .take(limit);
        for view in views {
            serde_json::to_writer(&mut lines, &view).map_err(|e| failed("listing tasks", e))?;
            lines.push(b'\n');
        }
        Ok::<_, ApiError>(lines)
    };
    let lines = with_tasks(&api, query.at, collect).await??;
    Ok(([("content-type", "application/x-ndjson")], lines).into_response())
}

/// Tasks as they are, or as they were at a position.
pub(super) async fn with_tasks<T: Send + 'static>(
    api: &Arc<Api>,
    at: Option<Seq>,
    f: impl FnOnce(&Tasks) -> T + Send + 'static,
) -> Result<T, ApiError> {
    match at {
        None => {
            api.views_caught_up().await?;
            let views = Arc::clone(&api.views);
            blocking(move || views.with_tasks(|tasks, _| f(tasks)))
                .await?
                .ok_or_else(|| ApiError::new(ErrorCode::Failed, "the node has no view of tasks"))
        }
        Some(at) => {
            let reader = Arc::clone(&api.reader);
            blocking(move || {
                let fold = as_of::<Tasks>(reader.as_ref(), at)?;
                Ok(f(fold.state()))
            })
            .await?
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct At {
    #[serde(default)]
    pub(super) at: Option<Seq>,
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    TaskId(task): TaskId,
    Asked(At { at }): Asked<At>,
) -> Result<Json<TaskView>, ApiError> {
    let wanted = task.clone();
    let (policy, now) = (Arc::clone(&api.policy), clock::now());
    let view = with_tasks(&api, at, move |tasks| {
        let task = tasks.get(&wanted)?;
        Some(held::view(tasks, &policy, task, now))
    })
    .await?;
    detailed(&api, view.ok_or_else(|| unknown(&task))?)
        .await
        .map(Json)
}

/// A task together with what stands in its events alone.
async fn detailed(api: &Api, mut view: TaskView) -> Result<TaskView, ApiError> {
    let (reader, details) = (Arc::clone(&api.reader), view.details());
    let details: Vec<_> = blocking(move || {
        let read = |seq| {
            let found = event_at(reader.as_ref(), seq)?;
            let cause = found.event()?.header.cause;
            // What can't be understood, of a later version, has nothing to add.
            Ok(found.payload().ok().map(|event| (cause, event)))
        };
        let found = details.map(read);
        found
            .filter_map(Result::transpose)
            .collect::<Result<_, ApiError>>()
    })
    .await??;
    view.add(details);
    Ok(view)
}

pub(super) async fn wait(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    TaskId(task): TaskId,
) -> Result<Json<TaskView>, ApiError> {
    match api.ask(origin, Command::AwaitEnd { task_id: task }).await? {
        // How its processes were ended is a part of how it ended.
        Reply::TaskEnded(view) if view.state == StateName::Cancelled => {
            detailed(&api, *view).await.map(Json)
        }
        Reply::TaskEnded(view) => Ok(Json(*view)),
        other => Err(unexpected(&other)),
    }
}

pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    TaskId(task): TaskId,
    Content(body): Content,
) -> Result<Json<Receipt>, ApiError> {
    let request = if body.is_empty() {
        CancelRequest::default()
    } else {
        json(&body)?
    };
    let reason = request.reason.map(|r| redact::text(&r).into_owned());
    recorded(
        api.ask(
            origin,
            Command::Cancel {
                task_id: task,
                reason,
            },
        )
        .await?,
    )
}

pub(super) async fn retry(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    TaskId(task): TaskId,
) -> Result<Json<Receipt>, ApiError> {
    recorded(api.ask(origin, Command::Retry { task_id: task }).await?)
}

pub(super) async fn set_priority(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    TaskId(task_id): TaskId,
    Content(body): Content,
) -> Result<Json<Receipt>, ApiError> {
    let PriorityRequest { priority } = json(&body)?;
    let command = Command::SetPriority { task_id, priority };
    recorded(api.ask(origin, command).await?)
}

pub(super) async fn report(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    TaskId(task_id): TaskId,
    Content(body): Content,
) -> Result<Json<Receipt>, ApiError> {
    let TaskReport {
        attempt,
        retry_after_ms,
    } = json(&body)?;
    let command = Command::RetryAfter {
        task_id,
        attempt,
        retry_after: retry_after_ms,
    };
    recorded(api.ask(origin, command).await?)
}

pub(super) async fn pause_queue(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    Name(name): Name,
    Content(body): Content,
) -> Result<Json<Receipt>, ApiError> {
    let (queue, reason) = queue_request(&name, &body)?;
    let command = Command::PauseQueue { queue, reason };
    recorded(api.ask(origin, command).await?)
}

pub(super) async fn resume_queue(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    Name(name): Name,
    Content(body): Content,
) -> Result<Json<Receipt>, ApiError> {
    let (queue, reason) = queue_request(&name, &body)?;
    let command = Command::ResumeQueue { queue, reason };
    recorded(api.ask(origin, command).await?)
}

fn queue_request(name: &str, body: &Bytes) -> Result<(Priority, Option<String>), ApiError> {
    let queue: Priority = name.parse().map_err(|_| {
        ApiError::new(ErrorCode::NotFound, format!("there is no queue {name}"))
            .hint("the queues are interactive (0), standard (1) and background (2)")
    })?;
    let request = if body.is_empty() {
        QueueRequest::default()
    } else {
        json(body)?
    };
    let reason = request.reason.map(|r| redact::text(&r).into_owned());
    Ok((queue, reason))
}

pub(super) fn recorded(reply: Reply) -> Result<Json<Receipt>, ApiError> {
    match reply {
        Reply::Recorded(head) => Ok(Json(receipt(head, false))),
        Reply::Unchanged(head) => Ok(Json(receipt(head, true))),
        other => Err(unexpected(&other)),
    }
}

pub(super) fn receipt(head: ledger_core::chain::Head, replayed: bool) -> Receipt {
    Receipt {
        seq: head.seq,
        hash: head.hash,
        term: head.term,
        replayed,
    }
}

pub(super) fn unknown(task: &Id) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is no task {task}"))
        .hint("see `ledger task list` for the tasks there are")
}

/// The core answered a question that was not asked: a defect, said without a panic.
pub(super) fn unexpected(reply: &Reply) -> ApiError {
    tracing::error!(?reply, "an answer of the wrong kind");
    ApiError::new(
        ErrorCode::Failed,
        "the node gave an answer of the wrong kind",
    )
}
