//! `/v1/blobs`: content that is too large for an event; and how an append comes to name it.
//!
//! A JSON document is checked, minified and redacted as an event's data is, in memory, so it is
//! limited to [`MAX_DOCUMENT`]; only one at a time is worked on. Anything else is opaque: it streams to
//! disk as it is, in constant memory, and nothing is taken out of it.

use std::io::{self, Read};
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use ledger_core::blobs::{
    BlobError, BlobRef, Collecting, Lease, MediaType, Stored, Upload, in_payload,
};
use ledger_core::clock;
use ledger_core::codec::{self, MAX_EVENT};
use ledger_core::envelope::Origin;
use ledger_core::hash::Hash;
use ledger_core::ids::Id;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::connections::{closing, duration};
use super::error::{answer, failed, usage};
use super::extract::{Asked, Content, Name};
use super::server::{Api, Caller, blocking, json};
use super::wire::{ApiError, CollectReport, CollectRequest, ErrorCode, MAX_DOCUMENT};
use crate::node::command::AppEvent;
use crate::redact;
use crate::units::{format_limit, format_size};

/// Chunks between the socket and the disk.
const STREAM_DEPTH: usize = 4;
/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Bytes of a refused upload that are still read, so that its sender comes to read the answer.
const PATIENCE: usize = 64 * 1024 * 1024;

/// Documents that are in memory.
static DOCUMENTS: Semaphore = Semaphore::const_new(1);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UploadQuery {
    #[serde(default)]
    media_type: Option<MediaType>,
}

pub(super) async fn upload(
    State(api): State<Arc<Api>>,
    Caller(_): Caller,
    Asked(query): Asked<UploadQuery>,
    request: Request,
) -> Response {
    let media_type = query.media_type.unwrap_or_else(MediaType::unknown);
    let mut body = request.into_body();
    let announced = body.size_hint().lower();
    let limit = api.blobs.store().limits().bytes;
    let taken = if announced > limit {
        Err(of_blob(BlobError::TooLarge { limit }))
    } else if is_json(&media_type) {
        document(&api, &mut body, media_type).await
    } else {
        opaque(&api, &mut body, media_type).await
    };
    match taken {
        Ok(stored) => Json(api.blobs.keep(stored)).into_response(),
        Err(error) => {
            drain(&api, &mut body).await;
            let status = match error.code {
                ErrorCode::Timeout => StatusCode::REQUEST_TIMEOUT,
                code => StatusCode::from_u16(code.http_status())
                    .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            };
            closing(answer(status, error))
        }
    }
}

/// Whether content is a JSON document, which is redacted.
fn is_json(media_type: &MediaType) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

/// The next bytes of a body; nothing at its end.
async fn next(api: &Api, body: &mut Body) -> Result<Option<Bytes>, ApiError> {
    let limit = api.limits.body_timeout;
    loop {
        let frame = tokio::time::timeout(duration(limit), body.frame()).await;
        let frame = frame.map_err(|_| {
            ApiError::new(ErrorCode::Timeout, "the upload has stopped")
                .because(format!("nothing came for {}", format_limit(limit)))
                .hint("nothing was stored; upload it again")
        })?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => {
                return Err(usage("the upload was cut off").because(error));
            }
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data()
                    && !bytes.is_empty()
                {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// Reads on for a while after a refusal.
async fn drain(api: &Api, body: &mut Body) {
    let mut left = PATIENCE;
    while left > 0
        && let Ok(Some(bytes)) = next(api, body).await
    {
        left = left.saturating_sub(bytes.len());
    }
}

/// A JSON object, redacted as an event's data is.
async fn document(
    api: &Arc<Api>,
    body: &mut Body,
    media_type: MediaType,
) -> Result<Stored, ApiError> {
    let _alone = DOCUMENTS.acquire().await;
    let mut text = Vec::new();
    while let Some(bytes) = next(api, body).await? {
        if text.len() + bytes.len() > MAX_DOCUMENT {
            return Err(usage("the document is too large to be redacted")
                .because(format!("at most {} are taken", format_size(MAX_DOCUMENT as u64)))
                .hint("upload it under another media type, such as application/octet-stream: nothing is taken out of it then"));
        }
        text.extend_from_slice(&bytes);
    }
    let shared = Arc::clone(api);
    blocking(move || {
        let text =
            String::from_utf8(text).map_err(|e| usage("the document is not UTF-8").because(e))?;
        let data =
            codec::minify_object(&text).map_err(|e| usage("the document is refused").because(e))?;
        drop(text);
        let data = redact::json(&data);
        shared
            .blobs
            .store()
            .put(data.as_bytes(), media_type)
            .map_err(of_blob)
    })
    .await?
}

/// What travels from the socket to the disk.
enum Part {
    Bytes(Bytes),
    /// All of it was there.
    End,
}

/// Bytes as they are.
async fn opaque(
    api: &Arc<Api>,
    body: &mut Body,
    media_type: MediaType,
) -> Result<Stored, ApiError> {
    let (parts, received) = mpsc::channel(STREAM_DEPTH);
    let shared = Arc::clone(api);
    let writer = tokio::task::spawn_blocking(move || {
        let upload = shared.blobs.store().begin().map_err(of_blob)?;
        write(upload, received, media_type)
    });
    let mut cut = None;
    loop {
        let part = match next(api, body).await {
            Ok(Some(bytes)) => Part::Bytes(bytes),
            Ok(None) => Part::End,
            Err(error) => {
                cut = Some(error);
                break;
            }
        };
        let is_end = matches!(part, Part::End);
        // A writer that has gone says why.
        if parts.send(part).await.is_err() || is_end {
            break;
        }
    }
    drop(parts);
    let written = writer
        .await
        .map_err(|e| failed("the upload was abandoned", e))?;
    match cut {
        Some(error) => Err(error),
        None => written,
    }
}

/// Writes what comes; without an end to it, nothing is stored.
fn write(
    mut upload: Upload,
    mut received: mpsc::Receiver<Part>,
    media_type: MediaType,
) -> Result<Stored, ApiError> {
    while let Some(part) = received.blocking_recv() {
        match part {
            Part::Bytes(bytes) => upload.write(&bytes).map_err(of_blob)?,
            Part::End => return upload.finish(media_type).map_err(of_blob),
        }
    }
    Err(usage("the upload was cut off"))
}

/// A failure of the blobs.
pub(super) fn of_blob(error: BlobError) -> ApiError {
    let message = error.to_string();
    match error {
        BlobError::TooLarge { .. } => ApiError::new(ErrorCode::Usage, message).hint(
            "blobs.max_size in ledger.toml is the limit; what is larger stays in a file of its own",
        ),
        BlobError::Busy { .. } => ApiError::new(ErrorCode::Refused, message).hint(
            "try again when the others are done; blobs.max_in_flight in ledger.toml is the limit",
        ),
        BlobError::Missing(_) => ApiError::new(ErrorCode::NotFound, message)
            .hint("upload it first: `ledger blob put FILE`"),
        BlobError::Size { .. } => {
            ApiError::new(ErrorCode::Conflict, message).hint("name it as the upload's answer does")
        }
        BlobError::Damaged { .. } => ApiError::new(ErrorCode::Tampered, message).hint(
            "`ledger blob verify` says which others are; uploading the same content mends it",
        ),
        BlobError::Full(cause) => ApiError::new(ErrorCode::Failed, message)
            .because(cause)
            .hint("nothing was stored; make room on the file system of the data directory"),
        BlobError::Io { .. } => ApiError::new(ErrorCode::Failed, message),
        BlobError::Failed(_) => ApiError::new(ErrorCode::Failed, message)
            .hint("see what is wrong with the disk, then start the node again"),
    }
}

pub(super) async fn download(
    State(api): State<Arc<Api>>,
    Name(name): Name,
) -> Result<Response, ApiError> {
    let digest: Hash = name
        .parse()
        .map_err(|_| usage("a blob is named by 64 hex digits"))?;
    let shared = Arc::clone(&api);
    let mut blob = blocking(move || shared.blobs.store().read(digest))
        .await?
        .map_err(of_blob)?;
    let length = blob.size();
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(STREAM_DEPTH);
    tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; CHUNK];
        loop {
            let item = match blob.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = item.is_err();
            if sender.blocking_send(item).is_err() || failed {
                return;
            }
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    Ok((headers, Body::from_stream(ReceiverStream::new(receiver))).into_response())
}

pub(super) async fn collect(
    State(api): State<Arc<Api>>,
    Caller(_): Caller,
    Content(body): Content,
) -> Result<Json<CollectReport>, ApiError> {
    let request: CollectRequest = json(&body)?;
    let how = if request.dry_run {
        Collecting::DryRun
    } else {
        Collecting::Remove
    };
    let shared = Arc::clone(&api);
    let done = blocking(move || {
        let (reader, now) = (shared.reader.as_ref(), clock::now());
        let going = || !*shared.stopping.borrow();
        let (blobs, grace) = (&shared.blobs, request.grace_ms);
        blobs.collect(reader, now, grace, how, &going)
    });
    let done = done
        .await?
        .map_err(|e| failed("the blobs can't be collected", e))?;
    Ok(Json(CollectReport {
        dry_run: request.dry_run,
        named: done.named,
        removed: done.removed,
        removed_bytes: done.removed_bytes,
        young: done.young,
        leased: done.leased,
    }))
}

/// Blobs that events are about to name: durably there, and kept until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Naming(Vec<(Hash, Lease)>);

impl Naming {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The events are durable.
    pub(super) fn done(&self, api: &Api) {
        for (digest, _) in &self.0 {
            api.blobs.named(*digest);
        }
    }
}

/// What becomes of an event's data.
enum Plan {
    Stays,
    Names(BlobRef),
    TooLarge,
}

/// Sees to the blobs of an append: what its events name is there, and data that is too large for an
/// event becomes a blob that it names instead.
pub(super) async fn settle(
    api: &Arc<Api>,
    mut events: Vec<AppEvent>,
    origin: &Origin,
    key: Option<&Id>,
) -> Result<(Vec<AppEvent>, Naming), ApiError> {
    let last = events.len().saturating_sub(1);
    let mut plans = Vec::with_capacity(events.len());
    for (i, event) in events.iter().enumerate() {
        let key = key.filter(|_| i == last);
        plans.push(plan(event, origin, key)?);
    }
    if plans.iter().all(|plan| matches!(plan, Plan::Stays)) {
        return Ok((events, Naming::default()));
    }
    let shared = Arc::clone(api);
    blocking(move || {
        let mut naming = Naming::default();
        for (event, plan) in events.iter_mut().zip(plans) {
            let (digest, lease) = match plan {
                Plan::Stays => continue,
                Plan::Names(wanted) => {
                    let lease = shared.blobs.lease(&wanted, clock::now()).map_err(of_blob)?;
                    (wanted.blake3, lease)
                }
                Plan::TooLarge => {
                    let data = event.data.as_bytes();
                    let stored = shared.blobs.store().put(data, MediaType::json());
                    let stored = stored.map_err(of_blob)?;
                    event.data = stored.reference.to_payload();
                    (stored.reference.blake3, stored.lease)
                }
            };
            naming.0.push((digest, lease));
        }
        Ok((events, naming))
    })
    .await?
}

fn plan(event: &AppEvent, origin: &Origin, key: Option<&Id>) -> Result<Plan, ApiError> {
    let named = in_payload(&event.data).map_err(|e| usage(e.to_string()))?;
    let header = codec::header_len(&event.kind, &event.subject, origin, key);
    let is_large = header + event.data.len() > MAX_EVENT;
    match named {
        Some(_) if is_large => Err(usage(format!(
            "the data of {} is too large for an event, and names a blob already",
            event.kind
        ))
        .hint("put what is large into the blob, or into an event of its own")),
        Some(named) => Ok(Plan::Names(named)),
        None if is_large => Ok(Plan::TooLarge),
        None => Ok(Plan::Stays),
    }
}
