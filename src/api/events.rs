//! `/v1/events`, `/v1/blocks`, `/v1/head`: the log itself.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use ledger_core::chain::{ChainKey, Links};
use ledger_core::codec;
use ledger_core::envelope::{EventRef, Origin, TraceParent};
use ledger_core::event::{APP_PREFIX, Event};
use ledger_core::hash::Hash;
use ledger_core::ids::{Entity, Id, Seq};
use ledger_core::store::LogReader;
use projections::subjects::Version;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::blobs::{self, Naming};
use super::error::{failed, usage};
use super::extract::{Asked, Content};
use super::same;
use super::server::{Api, Caller, blocking, json};
use super::tasks::{receipt, unexpected};
use super::wire::{ApiError, AppendRequest, ErrorCode, HeadInfo, MAX_BATCH, Receipt};
use crate::node::command::{AppEvent, Command, Reply};
use crate::redact;

/// The subject of an application's event that names none.
const DEFAULT_SUBJECT: &str = "app/default";
/// Blocks on their way to a reader who is slower than the disk.
const STREAM_DEPTH: usize = 8;

pub(super) async fn append(
    State(api): State<Arc<Api>>,
    Caller(origin): Caller,
    Content(body): Content,
) -> Result<Json<Receipt>, ApiError> {
    let (origin, wanted) = wanted(&body, origin)?;
    let (events, naming) = blobs::settle(&api, wanted.events, &origin, wanted.key.as_ref()).await?;
    // Whoever sends it again is held to what was sent first.
    let keyed = wanted.key.is_some().then(|| events.clone());
    let command = Command::Append {
        events,
        key: wanted.key,
        expected_head: wanted.expected_head,
    };
    match ask(&api, origin, command, naming).await? {
        Reply::Recorded(head) => Ok(Json(receipt(head, false))),
        Reply::Replayed(seq) => {
            let reader = Arc::clone(&api.reader);
            let found = blocking(move || event_at(reader.as_ref(), seq)).await??;
            let header = found.event()?.header;
            if !header.kind.starts_with(APP_PREFIX) {
                return Err(ApiError::new(
                    ErrorCode::Conflict,
                    format!("the idempotency key was used for another request, seq {seq}"),
                )
                .hint(same::look_at(seq)));
            }
            let receipt = Receipt {
                seq,
                hash: found.hash,
                term: header.term,
                replayed: true,
            };
            let reader = Arc::clone(&api.reader);
            let events = keyed.unwrap_or_default();
            blocking(move || same::check_append(reader.as_ref(), &events, seq)).await??;
            Ok(Json(receipt))
        }
        other => Err(unexpected(&other)),
    }
}

/// What an append asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) events: Vec<AppEvent>,
    key: Option<Id>,
    expected_head: Option<Seq>,
}

/// What a body asks for, by whom.
pub(super) fn wanted(body: &Bytes, origin: Origin) -> Result<(Origin, Wanted), ApiError> {
    let request: AppendRequest = json(body)?;
    if !(1..=MAX_BATCH).contains(&request.events.len()) {
        return Err(usage(format!("an append has 1 to {MAX_BATCH} events")));
    }
    let traceparent = match request.traceparent.as_deref() {
        None => None,
        Some(text) => Some(
            TraceParent::new(text)
                .ok_or_else(|| usage("traceparent is not a W3C trace context of version 00"))?,
        ),
    };
    let origin = Origin {
        claimed_actor: request.claimed_actor,
        correlation: request.correlation,
        cause: request.cause,
        traceparent,
        ..origin
    };
    let all = request.events.len();
    let numbered = (1..).zip(request.events);
    let events = numbered.map(|(n, event)| app_event(event).map_err(|e| of_batch(e, n, all)));
    let events = events.collect::<Result<_, _>>()?;
    let wanted = Wanted {
        events,
        key: request.idempotency_key,
        expected_head: request.expected_head,
    };
    Ok((origin, wanted))
}

/// Asks the core, and keeps the blobs that the events name until it has answered, even if the client
/// goes away meanwhile.
async fn ask(
    api: &Arc<Api>,
    origin: Origin,
    command: Command,
    naming: Naming,
) -> Result<Reply, ApiError> {
    if naming.is_empty() {
        return api.ask(origin, command).await;
    }
    let api = Arc::clone(api);
    let asked = tokio::spawn(async move {
        let answer = api.ask(origin, command).await;
        if matches!(answer, Ok(Reply::Recorded(_))) {
            naming.done(&api);
        }
        answer
    });
    asked
        .await
        .map_err(|e| failed("the request was abandoned", e))?
}

/// A fault of one event of many names which.
fn of_batch(mut error: ApiError, n: usize, all: usize) -> ApiError {
    if all > 1 {
        error.message = format!("event {n} of {all}: {}", error.message);
    }
    error
}

fn app_event(event: super::wire::AppendEvent) -> Result<AppEvent, ApiError> {
    if !event.kind.starts_with(APP_PREFIX) || event.kind.len() == APP_PREFIX.len() {
        return Err(ApiError::new(
            ErrorCode::Refused,
            format!("kind {} can't be appended from outside", event.kind),
        )
        .hint("an application's own kinds start with `app.`, such as app.deploy.done"));
    }
    let subject = match event.subject {
        Some(subject) => subject,
        None => Entity::new(DEFAULT_SUBJECT).expect("the constant follows the rule of entities"),
    };
    let data = codec::minify_object(event.data.get())
        .map_err(|e| usage(format!("the data of {} is refused", event.kind)).because(e))?;
    Ok(AppEvent {
        kind: event.kind,
        subject,
        data: redact::json(&data).into_owned(),
        expected: event.expected_version.map(Version::from),
    })
}

pub(super) async fn head(State(api): State<Arc<Api>>) -> Json<HeadInfo> {
    let head = *api.head.borrow();
    Json(HeadInfo {
        ledger_id: api.reader.ledger_id(),
        seq: head.seq,
        hash: head.hash,
        term: head.term,
        recorded_at: head.recorded_at,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockQuery {
    #[serde(default)]
    from: Option<Seq>,
    #[serde(default)]
    follow: bool,
}

/// Raw blocks, each behind its length: whoever reads them checks the chain himself. A follower
/// gets every block that holds something new; its first events may have been sent before.
pub(super) async fn blocks(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<BlockQuery>,
) -> Result<Response, ApiError> {
    let from = query.from.unwrap_or(Seq::FIRST).max(Seq::FIRST);
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(STREAM_DEPTH);
    tokio::spawn(feed(api, from, query.follow, sender));
    let body = Body::from_stream(ReceiverStream::new(receiver));
    Ok(([("content-type", "application/octet-stream")], body).into_response())
}

/// Sends blocks from `next` on; goes on when there is more, if asked to, until the reader or the
/// node goes away.
async fn feed(api: Arc<Api>, mut next: Seq, follow: bool, sender: mpsc::Sender<io::Result<Bytes>>) {
    // A follower is sent what came before the end, the end itself included.
    let mut ending = false;
    let (mut head, mut stopping) = (api.head.clone(), api.stopping.clone());
    loop {
        let end = head.borrow_and_update().seq;
        if next <= end {
            let (reader, sender) = (Arc::clone(&api.reader), sender.clone());
            let sent =
                tokio::task::spawn_blocking(move || send_blocks(reader.as_ref(), next, &sender));
            match sent.await {
                Ok(Some(after)) => next = after,
                Ok(None) | Err(_) => return,
            }
        }
        if !follow || ending {
            return;
        }
        tokio::select! {
            changed = head.changed() => ending = changed.is_err(),
            _ = stopping.wait_for(|stop| *stop) => ending = true,
            () = sender.closed() => return,
        }
    }
}

/// Sends what is there from `next` on; returns what comes after it, or nothing if the reader has
/// gone or an error was sent.
fn send_blocks(
    reader: &dyn LogReader,
    mut next: Seq,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> Option<Seq> {
    let blocks = match reader.blocks(next) {
        Ok(blocks) => blocks,
        Err(error) => {
            let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
            return None;
        }
    };
    for block in blocks {
        let framed = block.map(|block| {
            next = block.last().next();
            let bytes = block.as_bytes();
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            [&len.to_le_bytes(), bytes].concat().into()
        });
        let failed = framed.is_err();
        let item = framed.map_err(|e| io::Error::other(e.to_string()));
        if sender.blocking_send(item).is_err() || failed {
            return None;
        }
    }
    Some(next)
}

/// One event by its position, checked, with its place in the chain.
pub(super) struct Found {
    bytes: Vec<u8>,
    pub(super) hash: Hash,
}

impl Found {
    pub(super) fn event(&self) -> Result<EventRef<'_>, ApiError> {
        codec::decode(&self.bytes).map_err(|e| failed("an event does not decode", e))
    }

    pub(super) fn payload(&self) -> Result<Event, ApiError> {
        Event::decode(&self.event()?).map_err(|e| failed("an event does not decode", e))
    }
}

/// Reads one event and checks the block that holds it.
pub(super) fn event_at(reader: &dyn LogReader, seq: Seq) -> Result<Found, ApiError> {
    let broken =
        |e: String| ApiError::new(ErrorCode::Tampered, "the ledger can't be read").because(e);
    let block = reader
        .blocks(seq)
        .and_then(|mut blocks| blocks.next().transpose())
        .map_err(|e| broken(e.to_string()))?
        .filter(|block| block.first() <= seq && seq <= block.last())
        .ok_or_else(|| ApiError::new(ErrorCode::NotFound, format!("there is no seq {seq}")))?;
    let key = ChainKey::new(reader.ledger_id());
    block.check(&key).map_err(|e| broken(e.to_string()))?;
    let mut links = Links::new(key, block.prev_hash());
    for (bytes, at) in block.iter().zip(block.first().0..) {
        let hash = links.next(bytes);
        if at == seq.0 {
            return Ok(Found {
                bytes: bytes.to_vec(),
                hash,
            });
        }
    }
    Err(broken(format!("seq {seq} is not in its block")))
}
